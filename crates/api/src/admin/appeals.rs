//! Appeals of authors, and the decisions about them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::Appeal;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::ReviewStatus;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reasons::Decision;
use super::{AsModerator, ListLimit, SomeModerator};
use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, Refused, Unknown};
use crate::extract::{JsonBody, OptionalJsonBody, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Appeal)]
struct AppealView {
    id: Snowflake,
    comment_id: Snowflake,
    room_id: RoomId,
    user_id: UserId,
    text: String,
    /// The comment, where its text is still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    status: ReviewStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_by: Option<String>,
}

impl From<Appeal> for AppealView {
    fn from(appeal: Appeal) -> Self {
        let Appeal { id, room_id, user_id, text, content, created_at_ms, status, decided_by } = appeal;
        let created_at = rfc3339_ms(created_at_ms);
        Self { id, comment_id: id, room_id, user_id, text, content, created_at, status, decided_by }
    }
}

#[derive(Deserialize, ToSchema)]
struct NewAppeal {
    comment_id: Snowflake,
    #[schema(min_length = 1, max_length = 500)]
    text: String,
}

/// Appeals against a held or removed comment
///
/// Its author does, once. The decision comes as a `notice` with the `comment_id`.
#[utoipa::path(
    post, path = "/appeals", tag = "rooms", operation_id = "create_appeal", request_body = NewAppeal,
    responses((status = 201, description = "Waits for a decision.", body = AppealView), Refused, Unknown, Conflict, BodyRefused),
)]
async fn create(State(app): State<App>, caller: Caller, JsonBody(new): JsonBody<NewAppeal>) -> Answer {
    let appeal = app.ingest.appeal(caller.author()?, new.comment_id, &new.text).await?;
    Ok((StatusCode::CREATED, Json(AppealView::from(appeal))).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AppealsQuery {
    /// Absent: `pending`.
    #[param(nullable = false)]
    status: Option<ReviewStatus>,
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

#[derive(Serialize, ToSchema)]
struct AppealList {
    appeals: Vec<AppealView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists appeals
#[utoipa::path(
    get, path = "/admin/appeals", tag = "moderation", operation_id = "list_appeals", security(("bearer" = [])),
    params(AppealsQuery),
    responses((status = 200, description = "Oldest first.", body = AppealList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<AppealsQuery>) -> Answer {
    let status = query.status.unwrap_or(ReviewStatus::Pending);
    let limit = query.limit.get();
    let mut appeals = app.ingest.appeals(&who, query.room_id.as_ref(), status, query.cursor, limit + 1).await?;
    let more = appeals.len() > limit;
    appeals.truncate(limit);
    let next_cursor = appeals.last().filter(|_| more).map(|appeal| appeal.id);
    Ok(Json(AppealList { appeals: appeals.into_iter().map(AppealView::from).collect(), next_cursor }).into_response())
}

/// Grants an appeal
///
/// A held or rejected comment is published, and a hidden one is shown again.
#[utoipa::path(
    post, path = "/admin/appeals/{id}/approve", tag = "moderation", operation_id = "approve_appeal", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "Decided.", body = AppealView), Refused, Unknown, Conflict),
)]
async fn approve(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(AppealView::from(app.ingest.decide_appeal(&who, id, true, None).await?)).into_response())
}

/// Declines an appeal
///
/// The author is told the reason.
#[utoipa::path(
    post, path = "/admin/appeals/{id}/reject", tag = "moderation", operation_id = "reject_appeal", security(("bearer" = [])),
    params(("id" = Snowflake, Path)), request_body = Option<Decision>,
    responses((status = 200, description = "Decided.", body = AppealView), Refused, Unknown, Conflict, BodyRefused),
)]
async fn reject(
    State(app): State<App>,
    SomeModerator(who): SomeModerator,
    Path(id): Path<Snowflake>,
    OptionalJsonBody(Decision { reason }): OptionalJsonBody<Decision>,
) -> Answer {
    Ok(Json(AppealView::from(app.ingest.decide_appeal(&who, id, false, reason.as_deref()).await?)).into_response())
}
