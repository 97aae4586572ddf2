//! Deleting comments.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::Moderator;
use ingest::moderation::ModerationError;
use model::Snowflake;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AsModerator;
use super::reasons::ReasonQuery;
use crate::error::{Answer, Refused, Unknown};
use crate::extract::{Path, Query};
use crate::{App, Services};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(remove))
}

/// Deletes a comment from screens, history and replay
///
/// One that is not kept is deleted while its room still shows it. One that is held is rejected, and its text erased.
#[utoipa::path(
    delete, path = "/admin/comments/{id}", tag = "moderation", operation_id = "delete_comment", security(("bearer" = [])),
    params(("id" = Snowflake, Path), ReasonQuery),
    responses((status = 204, description = "Deleted."), Refused, Unknown),
)]
async fn remove(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path(id): Path<Snowflake>,
    Query(ReasonQuery { reason }): Query<ReasonQuery>,
) -> Answer {
    delete_comment(&app, &who, id, reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deletes a comment, kept or not, for a reason of the list or for none.
///
/// # Errors
/// When there is none, the reason is not on the list, or this moderator may not.
pub async fn delete_comment(
    app: &Services,
    who: &Moderator,
    id: Snowflake,
    reason: Option<&str>,
) -> Result<(), ModerationError> {
    let done = app.ingest.delete_comment(who, id, reason).await;
    if !matches!(done, Err(ModerationError::NotFound(_))) {
        return done;
    }
    if let Some(room) = app.hub.room_of(id) {
        return app.ingest.delete_unstored_comment(who, &room, id, reason).await;
    }
    if app.ingest.wait_until_persisted(id).await.map_err(ModerationError::from)? {
        return app.ingest.delete_comment(who, id, reason).await;
    }
    done
}
