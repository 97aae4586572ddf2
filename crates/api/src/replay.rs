//! The past: a room's sessions, and their comments in the order of the recording.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::{Comment, RoomId, Snowflake, UserId, WireError, rfc3339_ms};
use protocol::comment::CommentJson;
use serde::{Deserialize, Serialize};
use store::{ReplayQuery, SessionRow};

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, away};
use crate::extract::{Path, Query};

const PAGE_DEFAULT: usize = 500;
const PAGE_MAX: usize = 1_000;
const SESSIONS_DEFAULT: usize = 100;
const SESSIONS_MAX: usize = 1_000;

#[derive(Serialize)]
struct SessionView {
    session_id: Snowflake,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_s: Option<i64>,
    comment_count: u64,
}

impl From<SessionRow> for SessionView {
    fn from(SessionRow { session, comment_count }: SessionRow) -> Self {
        let lasted_ms = |ended_at_ms: i64| ended_at_ms.saturating_sub(session.started_at_ms).max(0);
        Self {
            session_id: session.id,
            started_at: rfc3339_ms(session.started_at_ms),
            ended_at: session.ended_at_ms.map(rfc3339_ms),
            duration_s: session.ended_at_ms.map(|ended| lasted_ms(ended) / 1_000),
            comment_count,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct SessionsQuery {
    limit: Option<usize>,
}

/// The room's sessions, newest first.
pub(crate) async fn sessions(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<SessionsQuery>,
) -> Answer {
    #[derive(Serialize)]
    struct Sessions {
        sessions: Vec<SessionView>,
    }
    caller.enter(&app, &room).await?;
    let limit = query.limit.unwrap_or(SESSIONS_DEFAULT).clamp(1, SESSIONS_MAX);
    let rows = app.store.sessions(&room, limit).await.map_err(away)?;
    Ok(Json(Sessions { sessions: rows.into_iter().map(SessionView::from).collect() }).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    session_id: Option<Snowflake>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    by_user: Option<UserId>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// A page of a recording, by `offset_ms`.
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Path(room_id): Path<RoomId>,
    Query(asked): Query<Asked>,
) -> Answer {
    #[derive(Serialize)]
    struct Page<'a> {
        comments: Vec<CommentJson<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    caller.enter(&app, &room_id).await?;
    if let Some(id) = asked.session_id {
        let session = app.store.session(id).await.map_err(away)?;
        if session.is_none_or(|session| session.room_id != room_id) {
            return Err(WireError::not_found("there is no such session in this room").into());
        }
    }
    let limit = asked.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let query = ReplayQuery {
        room_id,
        session_id: asked.session_id,
        from_ms: asked.from_ms.unwrap_or(0),
        to_ms: asked.to_ms.unwrap_or(i64::MAX),
        by_user: asked.by_user,
        after: asked.cursor.as_deref().map(read_cursor).transpose()?,
        limit: limit + 1,
    };
    let mut comments = app.store.replay(query).await.map_err(away)?;
    let more = comments.len() > limit;
    comments.truncate(limit);
    let next_cursor = comments.last().filter(|_| more).map(|comment| cursor(comment));
    let comments = comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(Page { comments, next_cursor }).into_response())
}

/// Where the next page goes on: after this comment. Opaque to clients.
fn cursor(comment: &Comment) -> String {
    BASE64.encode(format!("{}:{}", comment.offset_ms, comment.id))
}

fn read_cursor(cursor: &str) -> Result<(i64, Snowflake), WireError> {
    let place = BASE64.decode(cursor).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (offset_ms, id) = text.split_once(':')?;
        Some((offset_ms.parse().ok()?, id.parse().ok()?))
    });
    place.ok_or_else(|| WireError::invalid("cursor is none of ours"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back_as_they_were(offset_ms: i64, id in 1..i64::MAX as u64) {
            let text = BASE64.encode(format!("{offset_ms}:{id}"));
            prop_assert_eq!(read_cursor(&text), Ok((offset_ms, Snowflake(id))));
        }

        #[test]
        fn no_text_is_fatal(text: String) {
            let _ = read_cursor(&text);
        }
    }
}
