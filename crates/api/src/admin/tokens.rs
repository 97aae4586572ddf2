//! Revoking tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::UserId;
use serde::Deserialize;

use super::By;
use crate::App;
use crate::error::Answer;
use crate::extract::Json as Body;

#[derive(Deserialize)]
pub(crate) struct Whose {
    user_id: UserId,
}

/// Refuses a user's tokens issued until now.
pub(crate) async fn revoke(State(app): State<App>, By(who): By, Body(whose): Body<Whose>) -> Answer {
    app.ingest.revoke_tokens(&who, &app.tokens, &whose.user_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
