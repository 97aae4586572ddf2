//! Rooms as viewers see them: the list, one room, its hot comments and its ranking.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use ingest::rooms::RoomInfo;
use model::{RankingEntry, RoomId, RoomState, Snowflake, UserId};
use protocol::comment::CommentJson;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::error::{Answer, away};
use crate::extract::{Path, Query};
use crate::{App, Services};

/// Rooms in the list.
const LIST_MAX: usize = 100;
/// Rooms looked at for the list; those the caller may not enter are left out of it.
const LOOKED_AT_MAX: usize = 400;
const HOT_DEFAULT: usize = 10;
const HOT_MAX: usize = 100;
const RANKING_DEFAULT: usize = 100;
const RANKING_MAX: usize = 10_000;

/// A room as `GET /rooms/{room_id}` shows it.
#[derive(Serialize)]
struct RoomView {
    room_id: RoomId,
    name: String,
    owner_id: Option<UserId>,
    video_url: Option<String>,
    state: RoomState,
    accepts_comments: bool,
    viewers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<Snowflake>,
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
        viewers: app.hub.viewers_everywhere(&room_id).await,
        session_id: info.session.as_ref().map(|session| session.id),
        room_id,
    }
}

/// The rooms this caller may enter: those on air first, then by their last activity.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer {
    #[derive(Serialize)]
    struct Rooms {
        rooms: Vec<RoomView>,
    }
    if matches!(caller, Caller::Nobody) && !(app.settings.anonymous_read || app.settings.dev) {
        caller.author()?;
    }
    let mut rooms = Vec::new();
    for row in app.store.rooms(LOOKED_AT_MAX).await.map_err(away)? {
        let told_everywhere = row.room_id.is_everywhere();
        if !told_everywhere && caller.enter(&app, &row.room_id).await.is_ok() {
            let info = app.ingest.rooms.info(&row.room_id).await.map_err(away)?;
            rooms.push(view(&app, row.room_id, &info).await);
        }
    }
    rooms.sort_by_key(|room| room.state != RoomState::Live);
    rooms.truncate(LIST_MAX);
    Ok(Json(Rooms { rooms }).into_response())
}

/// One room; one that nobody configured is idle, with every setting at its default.
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(room): Path<RoomId>) -> Answer {
    caller.enter(&app, &room).await?;
    let info = app.ingest.rooms.info(&room).await.map_err(away)?;
    Ok(Json(view(&app, room, &info).await).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Top {
    limit: Option<usize>,
}

/// The most liked comments of the session that is on, or of the last one.
pub(crate) async fn hot(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(top): Query<Top>,
) -> Answer {
    #[derive(Serialize)]
    struct Hot<'a> {
        comments: Vec<CommentJson<'a>>,
    }
    caller.enter(&app, &room).await?;
    let limit = top.limit.unwrap_or(HOT_DEFAULT).clamp(1, HOT_MAX);
    let comments = app.boards.hot(&room, limit, app.clock.now_ms()).await.map_err(away)?;
    let comments = comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(Hot { comments }).into_response())
}

/// Who said and gave most in the session that is on, or in the last one.
pub(crate) async fn ranking(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(top): Query<Top>,
) -> Answer {
    #[derive(Serialize)]
    struct Ranking<'a> {
        entries: &'a [RankingEntry],
    }
    caller.enter(&app, &room).await?;
    let limit = top.limit.unwrap_or(RANKING_DEFAULT).clamp(1, RANKING_MAX);
    let entries = app.boards.ranking(&room, limit, app.clock.now_ms()).await.map_err(away)?;
    let entries = entries.get(..limit).unwrap_or(&entries);
    Ok(Json(Ranking { entries }).into_response())
}
