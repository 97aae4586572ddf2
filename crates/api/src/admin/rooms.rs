//! A room's settings, and its opening and closing.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::room::RoomPatch;
use model::{RoomId, RoomSettings, Session, Snowflake, WireError, rfc3339_ms};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, RoomModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, TextRefused, Unknown, unavailable};
use crate::extract::{JsonBody, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(show, save)).routes(routes!(open)).routes(routes!(close))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConfiguredRoom)]
struct SettingsView<'a> {
    room_id: &'a RoomId,
    #[serde(flatten)]
    settings: &'a RoomSettings,
    /// Whether the room gets so many comments, on all nodes together, that it is treated as a hot one.
    hot: bool,
}

/// Shows a room's settings
///
/// A room that was never configured and never got a comment is `not_found`.
#[utoipa::path(
    get, path = "/admin/rooms/{room_id}", tag = "moderation", operation_id = "show_settings", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    responses((status = 200, description = "The settings.", body = SettingsView), Refused, Unknown),
)]
async fn show(State(app): State<App>, AsModerator(who): AsModerator, Path(room): Path<RoomId>) -> Answer {
    app.ingest.authorise(&who, Some(&room)).await?;
    let row = app.store.room(&room).await.map_err(unavailable)?;
    let settings = row.ok_or_else(|| WireError::not_found("there is no such room yet"))?.settings;
    Ok(Json(SettingsView { room_id: &room, settings: &settings, hot: app.heat.is_hot(&room) }).into_response())
}

/// Changes a room's settings
///
/// What is absent stays; null clears what can be empty.
#[utoipa::path(
    put, path = "/admin/rooms/{room_id}", tag = "moderation", operation_id = "save_settings", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    request_body = RoomPatch,
    responses((status = 200, description = "The settings as they are now.", body = SettingsView), Refused, BodyRefused, TextRefused),
)]
async fn save(
    State(app): State<App>,
    RoomModerator(who): RoomModerator,
    Path(room): Path<RoomId>,
    JsonBody(patch): JsonBody<RoomPatch>,
) -> Answer {
    let info = app.ingest.configure_room(&who, &room, patch).await?;
    Ok(Json(SettingsView { room_id: &room, settings: &info.settings, hot: app.heat.is_hot(&room) }).into_response())
}

#[derive(Serialize, ToSchema)]
struct SessionTimes {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<Snowflake>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    ended_at: Option<String>,
}

impl From<Option<&Session>> for SessionTimes {
    fn from(session: Option<&Session>) -> Self {
        Self {
            session_id: session.map(|session| session.id),
            started_at: session.map(|session| rfc3339_ms(session.started_at_ms)),
            ended_at: session.and_then(|session| session.ended_at_ms).map(rfc3339_ms),
        }
    }
}

/// Opens a session
///
/// Opening an open room answers with the session that is on.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/open", tag = "moderation", operation_id = "open_room", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    responses((status = 200, description = "The session that is on.", body = SessionTimes), Refused),
)]
async fn open(State(app): State<App>, AsModerator(who): AsModerator, Path(room): Path<RoomId>) -> Answer {
    let session = app.ingest.open_room(&who, &room).await?;
    Ok(Json(SessionTimes::from(Some(&*session))).into_response())
}

/// Closes a room
///
/// Comments are refused until it is opened again.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/close", tag = "moderation", operation_id = "close_room", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    responses((status = 200, description = "The session that ended; an empty object when none was on.", body = SessionTimes), Refused),
)]
async fn close(State(app): State<App>, AsModerator(who): AsModerator, Path(room): Path<RoomId>) -> Answer {
    let session = app.ingest.close_room(&who, &room).await?;
    Ok(Json(SessionTimes::from(session.as_deref())).into_response())
}
