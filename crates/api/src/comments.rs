//! Comments over HTTP: sending one, reading what came after another, waiting for the next, liking.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{CommentStatus, Metrics, RoomId, Snowflake, UserId, WireError, rfc3339_ms};
use protocol::comment::CommentJson;
use protocol::message::CommentDraft;
use room::HubRoom;
use room::hub::Page;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::caller::Caller;
use crate::error::Answer;
use crate::extract::{Json as Body, Path, Query};
use crate::{App, Services};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 500;
/// Longest poll, in seconds.
const WAIT_S_MAX: u64 = 30;

/// Takes a comment; 201 says that it is kept, or held for a moderator.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Body(draft): Body<CommentDraft>,
) -> Answer {
    #[derive(Serialize)]
    struct Created {
        id: Snowflake,
        status: CommentStatus,
        created_at: String,
    }
    let who = caller.author()?;
    if draft.room_id.as_ref().is_some_and(|named| *named != room) {
        return Err(WireError::invalid("room_id is another room than the path's").into());
    }
    let admitted = app.admission.admit(who, &room, draft).await?;
    let created_at = rfc3339_ms(admitted.created_at_ms);
    Ok((StatusCode::CREATED, Json(Created { id: admitted.id, status: admitted.status, created_at })).into_response())
}

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    since_id: Option<u64>,
    limit: Option<usize>,
    wait_s: Option<u64>,
}

/// What was published after `since_id`, at once or, with `wait_s`, as soon as there is something.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<PageQuery>,
) -> Answer {
    #[derive(Serialize)]
    struct Listed<'a> {
        comments: Vec<CommentJson<'a>>,
        latest_id: Snowflake,
    }
    caller.enter(&app, &room).await?;
    let held = app.hub.hold(&room).await?;
    let reader = caller.identity().map(|who| who.user_id.clone());
    let page = next_page(&app, &held, reader, query).await?;
    // Waiting takes long enough to be thrown out meanwhile.
    caller.enter(&app, &room).await?;
    let comments = page.comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(Listed { comments, latest_id: page.latest_id }).into_response())
}

async fn next_page(
    app: &Services,
    room: &HubRoom,
    reader: Option<UserId>,
    query: PageQuery,
) -> Result<Page, WireError> {
    if query.since_id.is_some_and(|id| i64::try_from(id).is_err()) {
        return Err(WireError::invalid("since_id must be an id or 0"));
    }
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let deadline = Instant::now() + Duration::from_secs(query.wait_s.unwrap_or(0).min(WAIT_S_MAX));
    let mut draining = app.draining.clone();
    let _waiting = Streaming::of(&app.metrics);
    // Listening starts before the page is read, so that nothing falls between the two.
    let mut changed = room.changed();
    let poll = app.hub.poll(room, query.since_id, reader).await?;
    loop {
        changed.mark_unchanged();
        let page = poll.page(limit).await?;
        if page.has_news || *draining.borrow() {
            return Ok(page);
        }
        tokio::select! {
            biased;
            heard = changed.changed() => if heard.is_err() { return Ok(page) },
            () = tokio::time::sleep_until(deadline) => return Ok(page),
            _ = draining.changed() => return Ok(page),
        }
    }
}

/// Counts an open event stream or a waiting poll for as long as it lives.
pub(crate) struct Streaming(Arc<Metrics>);

impl Streaming {
    pub fn of(metrics: &Arc<Metrics>) -> Self {
        metrics.streams.inc();
        Self(metrics.clone())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

#[derive(Serialize)]
struct Likes {
    like_count: u64,
}

/// Likes a comment.
pub(crate) async fn like(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let like_count = app.ingest.like(caller.author()?, id).await?;
    Ok(Json(Likes { like_count }).into_response())
}

/// Takes a like back.
pub(crate) async fn unlike(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let like_count = app.ingest.unlike(caller.author()?, id).await?;
    Ok(Json(Likes { like_count }).into_response())
}
