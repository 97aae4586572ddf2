//! What the house tells a room: announcements, gifts, and other events of its own programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::Shown;
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
    /// Announcements are acknowledged unless somebody says otherwise.
    #[serde(default = "yes")]
    critical: bool,
}

fn yes() -> bool {
    true
}

/// An event that may be marked critical.
#[derive(Deserialize)]
pub(crate) struct Marked<T> {
    #[serde(flatten)]
    event: T,
    #[serde(default)]
    critical: bool,
}

/// Announces something to everybody in the room.
pub(crate) async fn announce(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(announcement): Body<Announcement>,
) -> Answer {
    let event_id = app.ingest.announce(&who, &room, &announcement.content, announcement.critical).await?;
    Ok((StatusCode::CREATED, Json(Told { event_id })).into_response())
}

/// Shows a gift and adds its value to the giver's score.
pub(crate) async fn give(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(Marked { event, critical }): Body<Marked<Gift>>,
) -> Answer {
    let event_id = app.ingest.give(&who, &room, event, critical).await?;
    Ok((StatusCode::CREATED, Json(Told { event_id })).into_response())
}

/// Shows a follow or a notice.
pub(crate) async fn show(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(Marked { event, critical }): Body<Marked<Shown>>,
) -> Answer {
    let event_id = app.ingest.show(&who, &room, event, critical).await?;
    Ok((StatusCode::CREATED, Json(Told { event_id })).into_response())
}
