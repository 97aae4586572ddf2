//! Moderation and operation over HTTP. One file per resource.
//!
//! `ingest` decides who may do what and keeps the audit trail; this module reads requests and writes answers.

mod appeals;
mod archive;
mod audit;
mod bans;
mod comments;
mod erasures;
mod events;
mod import;
mod moderation;
mod nodes;
mod notes;
mod reasons;
mod reviews;
mod roles;
mod rooms;
mod samples;
mod tokens;
mod webhooks;
mod words;

pub use self::comments::delete_comment;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use ingest::Moderator;
use model::RoomId;
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::extract::Path;
use crate::params::Limit;

/// Entries of one list.
type ListLimit = Limit<100, 1_000>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .merge(appeals::router())
        .merge(archive::router())
        .merge(audit::router())
        .merge(bans::router())
        .merge(comments::router())
        .merge(erasures::router())
        .merge(events::router())
        .merge(import::router())
        .merge(moderation::router())
        .merge(nodes::router())
        .merge(notes::router())
        .merge(reasons::router())
        .merge(reviews::router())
        .merge(roles::router())
        .merge(rooms::router())
        .merge(samples::router())
        .merge(tokens::router())
        .merge(webhooks::router())
        .merge(words::router())
}

/// The caller as a moderator. Refuses callers who cannot be one; `ingest` decides what this one may do.
///
/// Handlers with a body take one of the three below, which ask for rights before the body is read.
struct AsModerator(Moderator);

/// The moderator of the room in the path.
struct RoomModerator(Moderator);

/// Who moderates some room at least; `ingest` decides about the room in the body.
struct SomeModerator(Moderator);

/// Who moderates everywhere.
struct GlobalModerator(Moderator);

impl FromRequestParts<App> for RoomModerator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let AsModerator(who) = AsModerator::from_request_parts(parts, app).await?;
        let Path(room) = Path::<RoomId>::from_request_parts(parts, app).await?;
        app.ingest.authorise(&who, Some(&room)).await?;
        Ok(Self(who))
    }
}

impl FromRequestParts<App> for SomeModerator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let AsModerator(who) = AsModerator::from_request_parts(parts, app).await?;
        app.ingest.authorise_somewhere(&who).await?;
        Ok(Self(who))
    }
}

impl FromRequestParts<App> for GlobalModerator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let AsModerator(who) = AsModerator::from_request_parts(parts, app).await?;
        app.ingest.authorise(&who, None).await?;
        Ok(Self(who))
    }
}

impl FromRequestParts<App> for AsModerator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self(caller.moderator(app)?))
    }
}
