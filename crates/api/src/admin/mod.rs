//! Moderation and operation: a thin skin over `ingest`'s moderation, which decides who may what and
//! keeps the audit trail. One file per thing administered.

pub(crate) mod audit;
pub(crate) mod bans;
pub(crate) mod comments;
pub(crate) mod events;
pub(crate) mod import;
pub(crate) mod reviews;
pub(crate) mod rooms;
pub(crate) mod tokens;
pub(crate) mod words;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use ingest::Moderator;

use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;

/// Lines of a list when nothing is asked for.
const LIST_DEFAULT: usize = 100;
/// Most lines of a list.
const LIST_MAX: usize = 1_000;

fn list_limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX)
}

/// The moderator who asks: to be had only by those who could be one.
pub(crate) struct By(pub Moderator);

impl FromRequestParts<App> for By {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self(caller.moderator(app)?))
    }
}
