//! What the house tells a room: announcements and gifts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{Gift, RoomId, Snowflake};
use serde::{Deserialize, Serialize};

use super::By;
use crate::App;
use crate::error::Answer;
use crate::extract::{Json as Body, Path};

#[derive(Serialize)]
struct Told {
    event_id: Snowflake,
}

#[derive(Deserialize)]
pub(crate) struct Announcement {
    content: String,
}

/// Announces something to everybody in the room.
pub(crate) async fn announce(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(announcement): Body<Announcement>,
) -> Answer {
    let event_id = app.ingest.announce(&who, &room, &announcement.content).await?;
    Ok((StatusCode::CREATED, Json(Told { event_id })).into_response())
}

/// Shows a gift and adds its value to the giver's score.
pub(crate) async fn give(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(gift): Body<Gift>,
) -> Answer {
    let event_id = app.ingest.give(&who, &room, gift).await?;
    Ok((StatusCode::CREATED, Json(Told { event_id })).into_response())
}
