//! Revoking tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::UserId;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::GlobalModerator;
use crate::App;
use crate::error::{Answer, BodyRefused, Refused};
use crate::extract::JsonBody;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(revoke))
}

#[derive(Deserialize, ToSchema)]
struct RevokeTokens {
    user_id: UserId,
}

/// Revokes a user's tokens that were issued until now
#[utoipa::path(
    post, path = "/admin/tokens/revoke", tag = "moderation", operation_id = "revoke_tokens", security(("bearer" = [])),
    request_body = RevokeTokens,
    responses((status = 204, description = "Revoked."), Refused, BodyRefused),
)]
async fn revoke(
    State(app): State<App>,
    GlobalModerator(who): GlobalModerator,
    JsonBody(body): JsonBody<RevokeTokens>,
) -> Answer {
    app.ingest.revoke_tokens(&who, &body.user_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
