//! The erasure of a person: asked for, and looked at.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{Snowflake, UserId, rfc3339_ms};
use serde::Serialize;
use store::erasure::{ErasureCounts, ErasureReceipt, ErasureStatus};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AsModerator;
use crate::App;
use crate::error::{Answer, Refused, Unknown};
use crate::extract::Path;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(erase)).routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
struct ErasureBegun {
    erasure_id: Snowflake,
}

#[derive(Serialize, ToSchema)]
struct ErasureView {
    status: ErasureStatus,
    /// When it was asked for.
    #[schema(format = DateTime)]
    at: String,
    /// What was erased so far.
    counts: ErasureCounts,
}

impl From<ErasureReceipt> for ErasureView {
    fn from(ErasureReceipt { status, at_ms, counts }: ErasureReceipt) -> Self {
        Self { status, at: rfc3339_ms(at_ms), counts }
    }
}

/// Erases everything of a person
///
/// Comments, held ones, messages (for the other side too), uploads, likes, reactions, votes, questions, appeals, roles, keys,
/// the name, and the person's name in the audit trail. It goes on after a restart. Asking again makes a new receipt.
#[utoipa::path(
    delete, path = "/admin/users/{user_id}/data", tag = "moderation", operation_id = "erase_user",
    security(("bearer" = [])), params(("user_id" = UserId, Path)),
    responses((status = 202, description = "It has begun.", body = ErasureBegun), Refused),
)]
async fn erase(State(app): State<App>, AsModerator(who): AsModerator, Path(user): Path<UserId>) -> Answer {
    let erasure_id = app.ingest.request_erasure(&who, &user).await?;
    Ok((StatusCode::ACCEPTED, Json(ErasureBegun { erasure_id })).into_response())
}

/// Shows how far an erasure is
#[utoipa::path(
    get, path = "/admin/erasures/{id}", tag = "moderation", operation_id = "show_erasure", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "The receipt.", body = ErasureView), Refused, Unknown),
)]
async fn show(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    let receipt = app.ingest.erasure(&who, id).await?;
    Ok(Json(ErasureView::from(receipt)).into_response())
}
