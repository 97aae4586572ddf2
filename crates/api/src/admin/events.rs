//! Events that operators send to a room: announcements, gifts, follows and notices.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::OperatorEvent;
use model::{Gift, RoomId, Snowflake};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::RoomModerator;
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, TextRefused};
use crate::extract::{JsonBody, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(announce)).routes(routes!(give)).routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
struct EventSent {
    event_id: Snowflake,
}

#[derive(Deserialize, ToSchema)]
struct Announcement {
    #[schema(min_length = 1, max_length = 1_000)]
    content: String,
    /// Whether every viewer is to acknowledge it.
    #[serde(default = "yes")]
    #[schema(default = true)]
    critical: bool,
}

fn yes() -> bool {
    true
}

/// An event, and whether it is critical.
#[derive(Deserialize, ToSchema)]
struct MaybeCritical<T> {
    #[serde(flatten)]
    event: T,
    /// Whether every viewer is to acknowledge it. The room's owner acknowledges a gift in any case; so does its giver, if an
    /// admin sends it.
    #[serde(default)]
    critical: bool,
}

/// Announces something to everybody in the room
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/announcements", tag = "moderation", operation_id = "announce", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    request_body = Announcement,
    responses((status = 201, description = "Sent.", body = EventSent), Refused, BodyRefused, TextRefused),
)]
async fn announce(
    State(app): State<App>,
    RoomModerator(who): RoomModerator,
    Path(room): Path<RoomId>,
    JsonBody(announcement): JsonBody<Announcement>,
) -> Answer {
    let event_id = app.ingest.announce(&who, &room, &announcement.content, announcement.critical).await?;
    Ok((StatusCode::CREATED, Json(EventSent { event_id })).into_response())
}

/// A gift to give.
#[derive(Deserialize, ToSchema)]
struct NewGift {
    #[serde(flatten)]
    gift: MaybeCritical<Gift>,
    /// The sender's own id for it. A repeat in the same room within seven days gets the first answer and counts nothing; without
    /// one, each request is a gift of its own.
    #[schema(min_length = 1, max_length = 64, nullable = false)]
    client_msg_id: Option<String>,
}

/// Shows a gift and adds its value to the giver's score
///
/// Starts a session where a comment would; a room that takes no comments because it is closed takes no gifts.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/gifts", tag = "moderation", operation_id = "give_gift", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    request_body = NewGift,
    responses((status = 201, description = "Sent.", body = EventSent), Refused, BodyRefused, TextRefused),
)]
async fn give(
    State(app): State<App>,
    RoomModerator(who): RoomModerator,
    Path(room): Path<RoomId>,
    JsonBody(NewGift { gift: MaybeCritical { event, critical }, client_msg_id }): JsonBody<NewGift>,
) -> Answer {
    let event_id = app.ingest.publish_gift(&who, &room, event, critical, client_msg_id.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(EventSent { event_id })).into_response())
}

/// Shows a follow or a notice
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/events", tag = "moderation", operation_id = "show_event", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    request_body = MaybeCritical<OperatorEvent>,
    responses((status = 201, description = "Sent.", body = EventSent), Refused, BodyRefused, TextRefused),
)]
async fn show(
    State(app): State<App>,
    RoomModerator(who): RoomModerator,
    Path(room): Path<RoomId>,
    JsonBody(MaybeCritical { event, critical }): JsonBody<MaybeCritical<OperatorEvent>>,
) -> Answer {
    let event_id = app.ingest.publish_operator_event(&who, &room, event, critical).await?;
    Ok((StatusCode::CREATED, Json(EventSent { event_id })).into_response())
}
