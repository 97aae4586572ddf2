//! Rooms as viewers see them: the list, one room, its hot comments and its ranking.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use ingest::rooms::RoomInfo;
use model::{Identity, Level, RankingEntry, RoomId, RoomState, Snowflake, Speakers, UserId, WireError};
use protocol::comment::CommentJson;
use protocol::message::pin_fields;
use serde::{Deserialize, Serialize};
use store::{RoomRow, RoomScope};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::cacheable::Caching;
use crate::caller::Caller;
use crate::error::{Answer, Refused, unavailable};
use crate::extract::{Path, Query};
use crate::params::Limit;
use crate::signed_prefix::SegmentCaller;
use crate::{App, Services};

/// Rooms in the list.
const LIST_MAX: usize = 100;
/// Rooms looked at for the list; those that ban the caller are left out of it.
const LOOKED_AT_MAX: usize = 400;

/// Places of the ranking's top, and how long a cache may keep it.
const TOP_PLACES: usize = 10_000;
const TOP_AGE_S: u32 = 1;

type HotLimit = Limit<10, 100>;
type RankingLimit = Limit<100, 10_000>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(hot))
        .routes(routes!(ranking))
        .routes(routes!(ranking_top))
}

/// A room as `GET /rooms/{room_id}` shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
struct RoomView {
    room_id: RoomId,
    /// The room's id when it was given no name.
    name: String,
    #[schema(required)]
    owner_id: Option<UserId>,
    /// An http(s) URL or a path of this site.
    #[schema(required)]
    video_url: Option<String>,
    state: RoomState,
    accepts_comments: bool,
    speakers: Speakers,
    /// Seconds between two comments of one normal or VIP user; 0 is off.
    slow_mode_s: u32,
    /// Sockets and streams on all nodes, at most 30 s ago.
    viewers: u64,
    /// The session that is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<Snowflake>,
    /// The pinned comment, with its end if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pin: Option<serde_json::Value>,
}

async fn view(app: &Services, room_id: RoomId, info: &RoomInfo) -> RoomView {
    let settings = &info.settings;
    let name = if settings.name.is_empty() { room_id.as_str() } else { &settings.name };
    RoomView {
        name: name.to_owned(),
        owner_id: settings.owner_id.clone(),
        video_url: settings.video_url.clone(),
        state: info.state(),
        accepts_comments: app.ingest.rooms.accepts_comments(info),
        speakers: settings.speakers,
        slow_mode_s: settings.slow_mode_s,
        viewers: app.hub.viewers_everywhere(&room_id).await,
        session_id: info.session.as_ref().map(|session| session.id),
        pin: settings
            .pin
            .as_deref()
            .filter(|pin| pin.until_ms.is_none_or(|until_ms| until_ms > app.clock.now_ms()))
            .map(pin_fields),
        room_id,
    }
}

#[derive(Serialize, ToSchema)]
struct RoomList {
    rooms: Vec<RoomView>,
}

/// Lists the rooms that the caller may enter
///
/// At most 100: first those that are live, then by last activity.
#[utoipa::path(
    get, path = "/rooms", tag = "rooms", operation_id = "list_rooms",
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "The rooms.", body = RoomList), Refused),
)]
async fn list(State(app): State<App>, caller: Caller) -> Answer {
    app.ingest.may_connect(caller.reader(&app))?;
    let mut rooms = Vec::new();
    for row in listed(&app, &caller).await? {
        if caller.may_read(&app, &row.room_id).await.is_ok() {
            let info = app.ingest.rooms.info(&row.room_id).await.map_err(unavailable)?;
            rooms.push(view(&app, row.room_id, &info).await);
        }
    }
    rooms.sort_by_key(|room| room.state != RoomState::Live);
    rooms.truncate(LIST_MAX);
    Ok(Json(RoomList { rooms }).into_response())
}

/// The rooms that a caller may enter, as far as settings and tokens say: bans are looked at afterwards.
async fn listed(app: &Services, caller: &Caller) -> Result<Vec<RoomRow>, WireError> {
    let rows = match caller.identity() {
        Some(Identity { rooms: Some(rooms), .. }) => {
            app.store.rooms_of(&RoomScope::Listed(rooms.to_vec()), LOOKED_AT_MAX).await
        }
        Some(who) if who.level == Level::Admin => app.store.rooms(LOOKED_AT_MAX).await,
        Some(who) => app.store.open_rooms(Some(&who.user_id), LOOKED_AT_MAX).await,
        None if caller.holds_key() => app.store.rooms(LOOKED_AT_MAX).await,
        None => app.store.open_rooms(None, LOOKED_AT_MAX).await,
    };
    rows.map_err(unavailable)
}

/// Shows a room
///
/// One that nobody configured is idle, with every setting at its default.
#[utoipa::path(
    get, path = "/rooms/{room_id}", tag = "rooms", operation_id = "show_room", params(("room_id" = RoomId, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "The room.", body = RoomView), Refused),
)]
async fn show(State(app): State<App>, caller: Caller, Path(room): Path<RoomId>) -> Answer {
    caller.may_read(&app, &room).await?;
    let info = app.ingest.rooms.info(&room).await.map_err(unavailable)?;
    Ok(Json(view(&app, room, &info).await).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HotQuery {
    #[serde(default)]
    #[param(inline)]
    limit: HotLimit,
}

#[derive(Serialize, ToSchema)]
struct HotComments<'a> {
    comments: Vec<CommentJson<'a>>,
}

/// Lists the most liked comments
///
/// Of the session that is on, or of the last one.
#[utoipa::path(
    get, path = "/rooms/{room_id}/hot", tag = "rooms", operation_id = "list_hot_comments",
    params(("room_id" = RoomId, Path), HotQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "Most liked first.", body = HotComments), Refused),
)]
async fn hot(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<HotQuery>,
) -> Answer {
    caller.may_read(&app, &room).await?;
    let comments = app.boards.hot(&room, query.limit.get(), app.clock.now_ms()).await.map_err(unavailable)?;
    let comments = comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(HotComments { comments }).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RankingQuery {
    #[serde(default)]
    #[param(inline)]
    limit: RankingLimit,
}

/// As [`crate::ranking_bodies`] writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it stands in the reference")]
struct Ranking<'a> {
    entries: &'a [RankingEntry],
}

/// Ranks who said and gave most
///
/// In the session that is on, or in the last one. The score is comments accepted plus the value of gifts.
#[utoipa::path(
    get, path = "/rooms/{room_id}/ranking", tag = "rooms", operation_id = "rank_users",
    params(("room_id" = RoomId, Path), RankingQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "Best first.", body = Ranking), Refused),
)]
async fn ranking(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<RankingQuery>,
    headers: HeaderMap,
) -> Answer {
    caller.may_read(&app, &room).await?;
    let limit = query.limit.get();
    let entries = app.boards.ranking(&room, limit, app.clock.now_ms()).await.map_err(unavailable)?;
    Ok(app.shares.rankings.answer(room, entries, limit, &headers).await)
}

/// Shows the ranking's top as an object for caches
///
/// The first 10,000 places, compressed once for all who ask, with an entity tag that changes when the ranking does.
#[utoipa::path(
    get, path = "/rooms/{room_id}/ranking.top", tag = "rooms", operation_id = "show_ranking_top",
    params(("room_id" = RoomId, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses(
        (status = 200, description = "Best first.", body = Ranking, headers(
            ("ETag" = String, description = "Another one for each content coding."),
            ("Cache-Control" = String, description = "`public, max-age=1`, or `private` where a token was needed."),
        )),
        (status = 304, description = "The client has it."), Refused,
    ),
)]
async fn ranking_top(
    State(app): State<App>,
    caller: SegmentCaller,
    Path(room): Path<RoomId>,
    headers: HeaderMap,
) -> Answer {
    let is_public = caller.may_read(&app, &room).await?;
    let entries = app.boards.ranking(&room, TOP_PLACES, app.clock.now_ms()).await.map_err(unavailable)?;
    let caching = Caching { is_public, max_age_s: TOP_AGE_S, is_immutable: false };
    Ok(app.shares.rankings.cacheable(room, entries, TOP_PLACES, (&headers, caching)).await?)
}
