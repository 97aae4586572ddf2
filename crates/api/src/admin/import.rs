//! Bringing recorded comments in as a session that has ended, to be replayed like any other.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::tokens::short_name;
use model::identity::USERNAME_CHARS_MAX;
use model::{Comment, Kind, Level, RoomId, Session, Snowflake, Style, UserId, WireError};
use serde::{Deserialize, Serialize};

use super::By;
use crate::error::{Answer, away};
use crate::extract::{Json as Body, Path};
use crate::{App, Services};

/// Comments in one call.
const COMMENTS_MAX: usize = 50_000;
/// The farthest place in a recording, in milliseconds: a week.
const OFFSET_MS_MAX: i64 = 7 * 86_400_000;
/// The sender of a comment whose file names none.
const NOBODY: &str = "imported";

/// A recording, or a further part of one.
#[derive(Deserialize)]
pub(crate) struct Recording {
    /// Adds to this session, imported before; a new one is made when absent.
    session_id: Option<Snowflake>,
    #[serde(default)]
    session: SessionDraft,
    comments: Vec<Recorded>,
}

#[derive(Default, Deserialize)]
struct SessionDraft {
    started_at: Option<times::Time>,
}

#[derive(Deserialize)]
struct Recorded {
    offset_ms: i64,
    content: String,
    user_id: Option<String>,
    username: Option<String>,
    style: Option<Style>,
    created_at: Option<times::Time>,
}

/// RFC 3339 times in a body.
mod times {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer};

    /// Unix milliseconds.
    #[derive(Clone, Copy)]
    pub struct Time(pub i64);

    impl<'de> Deserialize<'de> for Time {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            let time = text.parse::<jiff::Timestamp>().map_err(|_| D::Error::custom("a time must be RFC 3339"))?;
            Ok(Self(time.as_millisecond()))
        }
    }
}

/// Imports; comments of which nothing readable is left, or whose place is out of range, are skipped.
pub(crate) async fn import(
    State(app): State<App>,
    By(who): By,
    Path(room): Path<RoomId>,
    Body(recording): Body<Recording>,
) -> Answer {
    #[derive(Serialize)]
    struct Imported {
        session_id: Snowflake,
        imported: u64,
        skipped: u64,
    }
    app.ingest.authorise(&who, Some(&room)).await?;
    if recording.comments.len() > COMMENTS_MAX {
        let message = format!("at most {COMMENTS_MAX} comments a call; send the rest with this call's session_id");
        return Err(WireError::invalid(message).into());
    }
    let sent = recording.comments.len() as u64;
    let session = session(&app, room.clone(), &recording).await?;
    let session_id = session.id;
    let comments = recording.comments.into_iter().filter_map(|one| comment(&app, &session, one).transpose());
    let comments = comments.collect::<Result<_, _>>()?;
    let imported = app.ingest.import(&who, &room, session, comments).await?;
    let answer = Imported { session_id, imported, skipped: sent.saturating_sub(imported) };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The session to import into, ending no earlier than the last of these comments.
async fn session(app: &Services, room_id: RoomId, recording: &Recording) -> Result<Session, WireError> {
    let offsets = recording.comments.iter().map(|comment| comment.offset_ms);
    let last_ms = offsets.filter(|offset| (0..=OFFSET_MS_MAX).contains(offset)).max().unwrap_or(0);
    let before = match recording.session_id {
        Some(id) => Some(finished(app, &room_id, id).await?),
        None => None,
    };
    let (id, started_at_ms, ended_at_ms) = match before {
        Some(session) => (session.id, session.started_at_ms, session.ended_at_ms.unwrap_or(0)),
        None => {
            let started = recording.session.started_at.map(|time| time.0);
            (app.ingest.ids.next()?, started.unwrap_or_else(|| app.clock.now_ms() - last_ms), 0)
        }
    };
    let ended_at_ms = Some(ended_at_ms.max(started_at_ms.saturating_add(last_ms)));
    Ok(Session { id, room_id, started_at_ms, ended_at_ms, explicit: true })
}

async fn finished(app: &Services, room: &RoomId, id: Snowflake) -> Result<Session, WireError> {
    let session = app.store.session(id).await.map_err(away)?.filter(|session| session.room_id == *room);
    let session = session.ok_or_else(|| WireError::not_found("there is no such session in this room"))?;
    match session.ended_at_ms {
        Some(_) => Ok(session),
        None => Err(WireError::invalid("session_id names a session that is still on")),
    }
}

fn comment(app: &Services, session: &Session, one: Recorded) -> Result<Option<Comment>, WireError> {
    let chars_max = app.ingest.limits.comment_chars_max as usize;
    let content: String = words::sanitise(&one.content).chars().take(chars_max).collect();
    if content.is_empty() || !(0..=OFFSET_MS_MAX).contains(&one.offset_ms) {
        return Ok(None);
    }
    let Some(user_id) = user_id(one.user_id.as_deref()) else { return Ok(None) };
    let shown = one.username.as_deref().map(words::sanitise).filter(|name| !name.is_empty());
    let username = shown.map_or_else(
        || short_name(one.user_id.as_deref().unwrap_or(NOBODY)),
        |name| name.chars().take(USERNAME_CHARS_MAX).collect(),
    );
    let created_at_ms = one.created_at.map_or(session.started_at_ms.saturating_add(one.offset_ms), |time| time.0);
    Ok(Some(Comment {
        id: app.ingest.ids.next()?,
        room_id: session.room_id.clone(),
        session_id: Some(session.id),
        user_id,
        username: username.into(),
        level: Level::Normal,
        content: content.into(),
        style: one.style.unwrap_or_default(),
        kind: Kind::Imported,
        mentions: [].into(),
        created_at_ms,
        offset_ms: one.offset_ms,
        like_count: 0,
    }))
}

/// A file's name for a sender as a user id: as it is where it can be one, otherwise a number made of
/// it, so that one sender stays one.
fn user_id(name: Option<&str>) -> Option<UserId> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or(NOBODY);
    let made = || UserId::new(&format!("{NOBODY}-{:016x}", words::same_text_key(name)));
    UserId::new(name).or_else(|_| made()).ok()
}
