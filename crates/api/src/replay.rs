//! The past: a room's sessions, and their comments in the order of the recording.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::{Comment, EventBody, RoomId, Snowflake, UserId, WireError, rfc3339_ms};
use protocol::comment::CommentJson;
use protocol::message::recorded_event;
use serde::{Deserialize, Serialize};
use store::{ReplayQuery, SessionRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::error::{Answer, Refused, Unknown, unavailable};
use crate::extract::{Path, Query};
use crate::params::Limit;
use crate::{App, Services};

/// Comments of a recording that only some see.
const SHADOWS_MAX: usize = 1_000;

type PageLimit = Limit<500, 1_000>;
type SessionLimit = Limit<100, 1_000>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(sessions)).routes(routes!(replay)).routes(routes!(events))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionView {
    session_id: Snowflake,
    #[schema(format = DateTime)]
    started_at: String,
    /// Absent while the session is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    duration_s: Option<i64>,
    comment_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    /// Whether the comments lie in the archive; absent while they do not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
}

impl From<SessionRow> for SessionView {
    fn from(SessionRow { session, comment_count, title, archived }: SessionRow) -> Self {
        let lasted_ms = |ended_at_ms: i64| ended_at_ms.saturating_sub(session.started_at_ms).max(0);
        Self {
            session_id: session.id,
            started_at: rfc3339_ms(session.started_at_ms),
            ended_at: session.ended_at_ms.map(rfc3339_ms),
            duration_s: session.ended_at_ms.map(|ended| lasted_ms(ended) / 1_000),
            comment_count,
            title,
            archived,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SessionsQuery {
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: SessionLimit,
}

#[derive(Serialize, ToSchema)]
struct SessionList {
    sessions: Vec<SessionView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists a room's sessions
#[utoipa::path(
    get, path = "/rooms/{room_id}/sessions", tag = "replay", operation_id = "list_sessions",
    params(("room_id" = RoomId, Path), SessionsQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "Newest first.", body = SessionList), Refused),
)]
async fn sessions(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<SessionsQuery>,
) -> Answer {
    caller.may_read(&app, &room).await?;
    let limit = query.limit.get();
    let mut rows = app.store.sessions_before(&room, query.cursor, limit + 1).await.map_err(unavailable)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.session.id);
    let sessions = rows.into_iter().map(SessionView::from).collect();
    Ok(Json(SessionList { sessions, next_cursor }).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RecordingQuery {
    /// One session. Absent: the whole room.
    #[param(nullable = false)]
    session_id: Option<Snowflake>,
    /// From this offset on.
    #[param(nullable = false, minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    from_ms: Option<i64>,
    /// Up to, but not including, this offset.
    #[param(nullable = false, minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    to_ms: Option<i64>,
    /// This user's comments alone.
    #[param(nullable = false)]
    by_user: Option<UserId>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    limit: PageLimit,
}

#[derive(Serialize, ToSchema)]
struct RecordingPage<'a> {
    /// By `offset_ms`.
    comments: Vec<CommentJson<'a>>,
    /// What the session showed in this page's time beside comments, by `offset_ms`: pins, polls and questions as events of a
    /// socket. Absent when there was nothing, and where no `session_id` is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, nullable = false)]
    events: Vec<RecordedEvent>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// Reads a page of a recording
#[utoipa::path(
    get, path = "/rooms/{room_id}/replay", tag = "replay", operation_id = "read_recording",
    params(("room_id" = RoomId, Path), RecordingQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "A page.", body = RecordingPage), Refused, Unknown),
)]
async fn replay(
    State(app): State<App>,
    caller: Caller,
    Path(room_id): Path<RoomId>,
    Query(query): Query<RecordingQuery>,
) -> Answer {
    caller.may_read(&app, &room_id).await?;
    if let Some(id) = query.session_id {
        let session = app.store.session(id).await.map_err(unavailable)?;
        if session.is_none_or(|session| session.room_id != room_id) {
            return Err(WireError::not_found("there is no such session in this room").into());
        }
    }
    let limit = query.limit.get();
    let page = ReplayQuery {
        room_id,
        session_id: query.session_id,
        from_ms: query.from_ms.unwrap_or(0),
        to_ms: query.to_ms.unwrap_or(i64::MAX),
        by_user: query.by_user,
        after: query.cursor.as_deref().map(parse_cursor).transpose()?,
        limit: limit + 1,
    };
    let mut comments = app.store.replay(page.clone()).await.map_err(unavailable)?;
    add_shadows(&app, &caller, &page, &mut comments).await?;
    let more = comments.len() > limit;
    comments.truncate(limit);
    let next_cursor = comments.last().filter(|_| more).map(|comment| cursor(comment));
    let events = match page.session_id.filter(|_| page.by_user.is_none()) {
        Some(session) => {
            // From where the page before ended, to where the next one begins.
            let from_ms = page.after.map_or(page.from_ms, |(offset_ms, _)| offset_ms);
            let last_ms = comments.last().filter(|_| more).map(|comment| comment.offset_ms);
            recorded(&app, &page.room_id, session, from_ms, last_ms.unwrap_or(page.to_ms)).await?
        }
        None => Vec::new(),
    };
    let comments = comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(RecordingPage { comments, events, next_cursor }).into_response())
}

type RecordedEvent = serde_json::Map<String, serde_json::Value>;

async fn recorded(
    app: &Services,
    room: &RoomId,
    session: Snowflake,
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<RecordedEvent>, WireError> {
    let moments = app.ingest.moments(room, session, from_ms, to_ms).await.map_err(unavailable)?;
    let event = |(offset_ms, body): &(i64, EventBody)| {
        let mut fields = recorded_event(body);
        fields.insert("offset_ms".into(), (*offset_ms).into());
        fields
    };
    Ok(moments.iter().map(event).collect())
}

#[derive(Deserialize)]
struct SessionPlace {
    room_id: RoomId,
    session_id: Snowflake,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// From this offset on.
    #[param(nullable = false, minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    from_ms: Option<i64>,
    /// Up to, but not including, this offset.
    #[param(nullable = false, minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    to_ms: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct EventList {
    /// Each an event of a socket with its `offset_ms`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<RecordedEvent>,
}

/// Reads what a session showed beside comments
///
/// Pins, polls and questions, for players that read the comments as segments.
#[utoipa::path(
    get, path = "/rooms/{room_id}/sessions/{session_id}/events", tag = "replay", operation_id = "read_recorded_events",
    params(("room_id" = RoomId, Path), ("session_id" = Snowflake, Path), EventsQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "By `offset_ms`.", body = EventList), Refused, Unknown),
)]
async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(SessionPlace { room_id, session_id }): Path<SessionPlace>,
    Query(query): Query<EventsQuery>,
) -> Answer {
    caller.may_read(&app, &room_id).await?;
    let session = app.store.session(session_id).await.map_err(unavailable)?;
    if session.is_none_or(|session| session.room_id != room_id) {
        return Err(WireError::not_found("there is no such session in this room").into());
    }
    let (from_ms, to_ms) = (query.from_ms.unwrap_or(0), query.to_ms.unwrap_or(i64::MAX));
    Ok(Json(EventList { events: recorded(&app, &room_id, session_id, from_ms, to_ms).await? }).into_response())
}

/// Adds to a page the comments that this caller sees and others do not, in their places.
///
/// # Errors
/// `unavailable` when the store is away.
pub async fn add_shadows(
    app: &Services,
    caller: &Caller,
    page: &ReplayQuery,
    comments: &mut Vec<Arc<Comment>>,
) -> Result<(), WireError> {
    let moderates = app.ingest.sees_shadows(caller.reader(app), &page.room_id);
    let by = caller.identity().map(|who| &who.user_id).filter(|_| !moderates);
    if !moderates && by.is_none() {
        return Ok(());
    }
    let seen = app.store.shadowed_comments(&page.room_id, by, SHADOWS_MAX).await.map_err(unavailable)?;
    if seen.is_empty() {
        return Ok(());
    }
    let asked = |comment: &Comment| {
        (page.from_ms..page.to_ms).contains(&comment.offset_ms)
            && page.session_id.is_none_or(|session| comment.session_id == Some(session))
            && page.by_user.as_ref().is_none_or(|user| *user == comment.user_id)
            && page.after.is_none_or(|after| (comment.offset_ms, comment.id) > after)
    };
    comments.extend(seen.into_iter().map(|found| found.comment).filter(|comment| asked(comment)));
    comments.sort_by_key(|comment| (comment.offset_ms, comment.id));
    comments.truncate(page.limit);
    Ok(())
}

/// The next page begins after this comment. Opaque to clients.
fn cursor(comment: &Comment) -> String {
    BASE64.encode(format!("{}:{}", comment.offset_ms, comment.id))
}

fn parse_cursor(cursor: &str) -> Result<(i64, Snowflake), WireError> {
    let position = BASE64.decode(cursor).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (offset_ms, id) = text.split_once(':')?;
        Some((offset_ms.parse().ok()?, id.parse().ok()?))
    });
    position.ok_or_else(|| WireError::invalid("cursor must be a next_cursor of an earlier answer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back_as_they_were(offset_ms: i64, id in 1..i64::MAX as u64) {
            let text = BASE64.encode(format!("{offset_ms}:{id}"));
            prop_assert_eq!(parse_cursor(&text), Ok((offset_ms, Snowflake(id))));
        }

        #[test]
        fn no_text_is_fatal(text: String) {
            let _ = parse_cursor(&text);
        }
    }
}
