//! Deleting comments.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::Snowflake;

use super::By;
use crate::App;
use crate::error::Answer;
use crate::extract::Path;

/// Deletes a comment from screens, history and replay.
pub(crate) async fn remove(State(app): State<App>, By(who): By, Path(id): Path<Snowflake>) -> Answer {
    app.ingest.delete_comment(&who, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
