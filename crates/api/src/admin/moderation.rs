//! What moderators do to a whole room at once: the shield, what proposes it, and hiding many comments.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::Raid;
use ingest::moderation::{NukeReport, NukeRequest};
use model::moderation::Moderation;
use model::{RoomId, Snowflake, rfc3339_ms};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit};
use crate::App;
use crate::error::{Answer, BodyRefused, Conflict, Refused, Unknown};
use crate::extract::{JsonBody, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(shield))
        .routes(routes!(nuke))
        .routes(routes!(undo))
        .routes(routes!(raids))
        .routes(routes!(dismiss))
}

#[derive(Deserialize, ToSchema)]
struct ShieldBody {
    /// Raises it, or lowers it.
    on: bool,
    /// What holds while it is up, over the room's rules. Absent: no links, no copies, nothing from young accounts.
    #[serde(default)]
    #[schema(value_type = Option<Moderation>)]
    preset: Option<Map<String, Value>>,
}

#[derive(Serialize, ToSchema)]
struct ShieldView<'a> {
    room_id: &'a RoomId,
    on: bool,
    /// The rules in force.
    moderation: Option<&'a Moderation>,
}

/// Raises or lowers a room's shield
///
/// A set of rules over the room's own; lowering it restores those.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/shield", tag = "moderation", operation_id = "shield_room", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)), request_body = ShieldBody,
    responses((status = 200, description = "The rules in force.", body = ShieldView), Refused, BodyRefused),
)]
async fn shield(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path(room): Path<RoomId>,
    JsonBody(body): JsonBody<ShieldBody>,
) -> Answer {
    let info = app.ingest.shield_room(&who, &room, body.on, body.preset.as_ref()).await?;
    let moderation = info.settings.moderation.as_deref();
    Ok(Json(ShieldView { room_id: &room, on: info.settings.unshielded.is_some(), moderation }).into_response())
}

/// Hides what matches in a room
///
/// Of its last minutes, at most 10,000 comments. `preview` counts only. Viewers are told `comment_deleted`. With `mute_s` the
/// authors are muted too, at most 1,000.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/nuke", tag = "moderation", operation_id = "nuke_comments", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)), request_body = NukeRequest,
    responses((status = 200, description = "How many.", body = NukeReport), Refused, BodyRefused),
)]
async fn nuke(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path(room): Path<RoomId>,
    JsonBody(request): JsonBody<NukeRequest>,
) -> Answer {
    Ok(Json(app.ingest.nuke(&who, &room, &request).await?).into_response())
}

/// Shows again what one action hid, and lifts its mutes
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/undo/{action_id}", tag = "moderation", operation_id = "undo_action",
    security(("bearer" = [])), params(("room_id" = RoomId, Path), ("action_id" = Snowflake, Path)),
    responses((status = 200, description = "How many.", body = NukeReport), Refused, Unknown, Conflict),
)]
async fn undo(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path((room, action)): Path<(RoomId, Snowflake)>,
) -> Answer {
    Ok(Json(app.ingest.undo(&who, &room, action).await?).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RaidsQuery {
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Raid)]
struct RaidView {
    room_id: RoomId,
    /// `newcomers`: many people who never spoke here, or whose accounts are young. `copies`: many who say nearly the same.
    kind: String,
    #[schema(format = DateTime)]
    at: String,
    /// Comments of the 10 s before.
    comments: usize,
    /// People who wrote them.
    users: usize,
    /// What raising the shield would lay over the room's rules.
    #[schema(value_type = Moderation)]
    preset: Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
struct RaidList {
    raids: Vec<RaidView>,
}

/// Lists raids for which the shield is proposed
///
/// Of the last quarter of an hour, as long as the shield is down and nobody has dismissed them.
#[utoipa::path(
    get, path = "/admin/raids", tag = "moderation", operation_id = "list_raids", security(("bearer" = [])),
    params(RaidsQuery),
    responses((status = 200, description = "One for each room.", body = RaidList), Refused),
)]
async fn raids(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<RaidsQuery>) -> Answer {
    let raids = app.ingest.raids(&who, query.room_id.as_ref(), query.limit.get()).await?;
    let view = |Raid { room_id, kind, at_ms, comments, users }| RaidView {
        room_id,
        kind,
        at: rfc3339_ms(at_ms),
        comments,
        users,
        preset: Moderation::shield_preset(),
    };
    Ok(Json(RaidList { raids: raids.into_iter().map(view).collect() }).into_response())
}

/// Dismisses the raid of a room
#[utoipa::path(
    delete, path = "/admin/rooms/{room_id}/raid", tag = "moderation", operation_id = "dismiss_raid",
    security(("bearer" = [])), params(("room_id" = RoomId, Path)),
    responses((status = 204, description = "Nothing is proposed."), Refused, Unknown),
)]
async fn dismiss(State(app): State<App>, AsModerator(who): AsModerator, Path(room): Path<RoomId>) -> Answer {
    app.ingest.dismiss_raid(&who, &room).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
