//! Actions of operators: kicking a user, draining this node.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::UserId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AsModerator;
use crate::App;
use crate::error::{Answer, Refused};
use crate::extract::Path;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(kick)).routes(routes!(drain))
}

/// Closes a user's sockets; the user may come back
#[utoipa::path(
    post, path = "/admin/users/{user_id}/kick", tag = "moderation", operation_id = "kick_user",
    security(("bearer" = [])), params(("user_id" = UserId, Path)),
    responses((status = 204, description = "The sockets close with 4003, reason `kicked`."), Refused),
)]
async fn kick(State(app): State<App>, AsModerator(who): AsModerator, Path(user): Path<UserId>) -> Answer {
    app.ingest.kick(&who, &user).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends this node as SIGTERM does
#[utoipa::path(
    post, path = "/admin/drain", tag = "service", operation_id = "drain", security(("bearer" = [])),
    responses((status = 202, description = "The node drains from now on."), Refused),
)]
async fn drain(State(app): State<App>, AsModerator(who): AsModerator) -> Answer {
    app.ingest.authorise_drain(&who, &app.settings.node_id).await?;
    app.shutdown.notify_one();
    Ok((StatusCode::ACCEPTED, axum::Json(serde_json::json!({}))).into_response())
}
