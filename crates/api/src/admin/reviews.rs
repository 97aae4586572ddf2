//! Comments held for a decision.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::{Review, ReviewStatus};

use super::{By, list_limit};
use crate::App;
use crate::error::Answer;
use crate::extract::{Path, Query};

#[derive(Serialize)]
struct ReviewView<'a> {
    id: Snowflake,
    room_id: &'a RoomId,
    user_id: &'a UserId,
    username: &'a str,
    content: &'a str,
    created_at: String,
    status: ReviewStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    word: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<String>,
}

impl<'a> From<&'a Review> for ReviewView<'a> {
    fn from(review: &'a Review) -> Self {
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
            decided_by: review.decided_by.as_deref(),
            decided_at: review.decided_at_ms.map(rfc3339_ms),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    status: Option<ReviewStatus>,
    room_id: Option<RoomId>,
    limit: Option<usize>,
}

/// Reviews of the rooms this moderator may see, oldest first; the pending ones unless asked otherwise.
pub(crate) async fn list(State(app): State<App>, By(who): By, Query(asked): Query<Asked>) -> Answer {
    #[derive(Serialize)]
    struct Reviews<'a> {
        reviews: Vec<ReviewView<'a>>,
    }
    let status = Some(asked.status.unwrap_or(ReviewStatus::Pending));
    let reviews = app.ingest.reviews(&who, status, asked.room_id.as_ref(), list_limit(asked.limit)).await?;
    Ok(Json(Reviews { reviews: reviews.iter().map(ReviewView::from).collect() }).into_response())
}

/// Publishes a held comment.
pub(crate) async fn approve(State(app): State<App>, By(who): By, Path(id): Path<Snowflake>) -> Answer {
    let review = app.ingest.decide_review(&who, id, true).await?;
    Ok(Json(ReviewView::from(&review)).into_response())
}

/// Keeps a held comment back for good.
pub(crate) async fn reject(State(app): State<App>, By(who): By, Path(id): Path<Snowflake>) -> Answer {
    let review = app.ingest.decide_review(&who, id, false).await?;
    Ok(Json(ReviewView::from(&review)).into_response())
}
