//! Deleting comments.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::ModerationError;
use model::Snowflake;

use super::By;
use crate::App;
use crate::error::Answer;
use crate::extract::Path;

/// Deletes a comment from screens, history and replay. One that is not kept is deleted while its room still shows it.
pub(crate) async fn remove(State(app): State<App>, By(who): By, Path(id): Path<Snowflake>) -> Answer {
    match (app.ingest.delete_comment(&who, id).await, app.hub.room_of(id)) {
        (Err(ModerationError::NotFound(_)), Some(room)) => app.ingest.delete_passing_comment(&who, &room, id).await?,
        (Err(ModerationError::NotFound(_)), None)
            if app.ingest.is_kept_soon(id).await.map_err(ModerationError::from)? =>
        {
            app.ingest.delete_comment(&who, id).await?;
        }
        (done, _) => done?,
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
