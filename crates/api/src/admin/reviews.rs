//! Comments held for a decision.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::{LabelScore, Review, ReviewStatus};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reasons::Decision;
use super::{AsModerator, ListLimit, SomeModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Conflict, Refused, Unknown};
use crate::extract::{OptionalJsonBody, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(claim))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Review)]
struct ReviewView<'a> {
    id: Snowflake,
    room_id: &'a RoomId,
    user_id: &'a UserId,
    username: &'a str,
    content: &'a str,
    #[schema(format = DateTime)]
    created_at: String,
    status: ReviewStatus,
    /// The word that held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    word: Option<&'a str>,
    /// The rule, hook or classifier that held it, or what it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'a str>,
    /// What the hook or the classifier found.
    labels: &'a [LabelScore],
    /// Who is deciding about it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    claimed_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    decided_at: Option<String>,
}

impl<'a> ReviewView<'a> {
    fn new(review: &'a Review, now_ms: i64) -> Self {
        let comment = &review.comment;
        Self {
            id: comment.id,
            room_id: &comment.room_id,
            user_id: &comment.user_id,
            username: &comment.username,
            content: &comment.content,
            created_at: rfc3339_ms(comment.created_at_ms),
            status: review.status,
            word: review.word.as_deref(),
            reason: review.reason.as_deref(),
            labels: &review.labels,
            claimed_by: review.claimed_at(now_ms).filter(|_| review.status == ReviewStatus::Pending),
            decided_by: review.decided_by.as_deref(),
            decided_at: review.decided_at_ms.map(rfc3339_ms),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReviewsQuery {
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
struct ReviewList<'a> {
    reviews: Vec<ReviewView<'a>>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists comments held for a decision
///
/// Of the rooms that the caller moderates.
#[utoipa::path(
    get, path = "/admin/reviews", tag = "moderation", operation_id = "list_reviews", security(("bearer" = [])),
    params(ReviewsQuery),
    responses((status = 200, description = "Oldest first.", body = ReviewList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<ReviewsQuery>) -> Answer {
    let status = Some(query.status.unwrap_or(ReviewStatus::Pending));
    let limit = query.limit.get();
    let mut reviews = app.ingest.reviews(&who, status, query.room_id.as_ref(), query.cursor, limit + 1).await?;
    let more = reviews.len() > limit;
    reviews.truncate(limit);
    let next_cursor = reviews.last().filter(|_| more).map(|review| review.comment.id);
    let now_ms = app.clock.now_ms();
    let reviews = reviews.iter().map(|review| ReviewView::new(review, now_ms)).collect();
    Ok(Json(ReviewList { reviews, next_cursor }).into_response())
}

/// Publishes a held comment
#[utoipa::path(
    post, path = "/admin/reviews/{id}/approve", tag = "moderation", operation_id = "approve_review", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "Decided.", body = ReviewView), Refused, Unknown, Conflict),
)]
async fn approve(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    let review = app.ingest.decide_review(&who, id, true, None).await?;
    Ok(Json(ReviewView::new(&review, app.clock.now_ms())).into_response())
}

/// Rejects a held comment for good
///
/// The reason stands in the audit trail.
#[utoipa::path(
    post, path = "/admin/reviews/{id}/reject", tag = "moderation", operation_id = "reject_review", security(("bearer" = [])),
    params(("id" = Snowflake, Path)), request_body = Option<Decision>,
    responses((status = 200, description = "Decided.", body = ReviewView), Refused, Unknown, Conflict, BodyRefused),
)]
async fn reject(
    State(app): State<App>,
    SomeModerator(who): SomeModerator,
    Path(id): Path<Snowflake>,
    OptionalJsonBody(Decision { reason }): OptionalJsonBody<Decision>,
) -> Answer {
    let review = app.ingest.decide_review(&who, id, false, reason.as_deref()).await?;
    Ok(Json(ReviewView::new(&review, app.clock.now_ms())).into_response())
}

/// Claims a held comment
///
/// For a minute nobody else decides about it; the same moderator may prolong it.
#[utoipa::path(
    post, path = "/admin/reviews/{id}/claim", tag = "moderation", operation_id = "claim_review", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "Claimed.", body = ReviewView), Refused, Unknown, Conflict),
)]
async fn claim(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    let review = app.ingest.claim_review(&who, id).await?;
    Ok(Json(ReviewView::new(&review, app.clock.now_ms())).into_response())
}
