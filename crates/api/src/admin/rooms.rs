//! A room's settings, and its opening and closing.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::room::RoomPatch;
use model::{RoomId, RoomSettings, Session, Snowflake, WireError, rfc3339_ms};
use serde::Serialize;

use super::By;
use crate::App;
use crate::error::{Answer, away};
use crate::extract::{Json as Body, Path};

#[derive(Serialize)]
struct View<'a> {
    room_id: &'a RoomId,
    #[serde(flatten)]
    settings: &'a RoomSettings,
    /// As of a second ago; the same on every node.
    hot: bool,
}

/// The settings; `not_found` for a room that never was configured or spoken in.
pub(crate) async fn show(State(app): State<App>, By(who): By, Path(room): Path<RoomId>) -> Answer {
    app.ingest.authorise(&who, Some(&room)).await?;
    let row = app.store.room(&room).await.map_err(away)?;
    let settings = row.ok_or_else(|| WireError::not_found("there is no such room yet"))?.settings;
    Ok(Json(View { room_id: &room, settings: &settings, hot: app.heat.is_hot(&room) }).into_response())
}

/// Changes settings; what is absent stays.
pub(crate) async fn save(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(patch): Body<RoomPatch>,
) -> Answer {
    let info = app.ingest.configure_room(&who, &room, patch).await?;
    Ok(Json(View { room_id: &room, settings: &info.settings, hot: app.heat.is_hot(&room) }).into_response())
}

#[derive(Serialize)]
struct Turned {
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<Snowflake>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

impl From<Option<&Session>> for Turned {
    fn from(session: Option<&Session>) -> Self {
        Self {
            session_id: session.map(|session| session.id),
            started_at: session.map(|session| rfc3339_ms(session.started_at_ms)),
            ended_at: session.and_then(|session| session.ended_at_ms).map(rfc3339_ms),
        }
    }
}

/// Opens a session; opening an open room returns the session that is on.
pub(crate) async fn open(State(app): State<App>, By(who): By, Path(room): Path<RoomId>) -> Answer {
    let session = app.ingest.open_room(&who, &room).await?;
    Ok(Json(Turned::from(Some(&*session))).into_response())
}

/// Closes the room; answers with the session that ended, if one was on.
pub(crate) async fn close(State(app): State<App>, By(who): By, Path(room): Path<RoomId>) -> Answer {
    let session = app.ingest.close_room(&who, &room).await?;
    Ok(Json(Turned::from(session.as_deref())).into_response())
}
