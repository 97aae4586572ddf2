//! Imports recorded comments as a session that has ended, to be replayed like any other.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::panics::contain;
use model::{Comment, Kind, Level, RoomId, Session, Snowflake, Style, UserId, WireError, rfc3339_ms};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;
use words::Verdict;

use super::RoomModerator;
use crate::error::{Answer, BodyRefused, Refused, TextRefused, Unknown, unavailable};
use crate::extract::{Path, body_bytes, parse};
use crate::{App, Services};

/// Longest body of an import, in bytes; larger files come in several calls.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most comments of one call.
const COMMENTS_MAX: usize = 50_000;
/// The largest offset in a recording, in milliseconds: a week.
const OFFSET_MS_MAX: i64 = 7 * 86_400_000;
/// Bodies in memory at once; others wait unread.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// Longest title of a recording.
const TITLE_CHARS_MAX: usize = 200;
/// The sender of a comment whose file names none.
const UNNAMED: &str = "imported";

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(import).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
}

/// A recording, or a further part of one.
#[derive(Deserialize, ToSchema)]
struct Recording {
    /// Adds to this session, imported before; a new one is made when absent.
    session_id: Option<Snowflake>,
    #[serde(default)]
    session: SessionDraft,
    #[schema(max_items = 50_000)]
    comments: Vec<RecordedComment>,
}

#[derive(Default, Deserialize, ToSchema)]
struct SessionDraft {
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<times::Time>,
    /// How long the whole recording is, when it comes in several parts: then all have one start.
    #[schema(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    duration_ms: Option<i64>,
    /// Cut at 200 characters.
    title: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct RecordedComment {
    #[schema(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    offset_ms: i64,
    content: String,
    user_id: Option<String>,
    username: Option<String>,
    style: Option<Style>,
    #[schema(value_type = Option<String>, format = DateTime)]
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

#[derive(Serialize, ToSchema)]
struct Imported {
    /// The session that has them. It has ended.
    session_id: Snowflake,
    /// When the recording began. It may be before the moment asked for: a recording never ends in the future.
    #[schema(format = DateTime)]
    started_at: String,
    imported: u64,
    skipped: u64,
    /// Comments whose text was cut.
    cut: u64,
}

/// Imports recorded comments
///
/// At most 50,000 comments and 16 MiB a call; pass the answer's `session_id` to add more. Comments of which nothing
/// readable is left, with a blocked word, or whose offset is negative or beyond a week, are skipped; texts that are too
/// long are cut. A recording never ends in the future: where it would, its start moves back.
#[utoipa::path(
    post, path = "/admin/rooms/{room_id}/import", tag = "moderation", operation_id = "import_comments", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    request_body = Recording,
    responses((status = 201, description = "Imported.", body = Imported), Refused, Unknown, BodyRefused, TextRefused),
)]
async fn import(
    State(app): State<App>,
    RoomModerator(who): RoomModerator,
    Path(room): Path<RoomId>,
    request: Request,
) -> Answer {
    // Few at a time, and off the threads that serve everybody: these bodies are large.
    let _turn = AT_ONCE.acquire().await.map_err(|_| WireError::unavailable())?;
    let bytes = body_bytes(request, &()).await?;
    let recording: Recording = blocking(move || parse(&bytes)).await??;
    if recording.comments.len() > COMMENTS_MAX {
        let message = format!("at most {COMMENTS_MAX} comments a call; send the rest with this call's session_id");
        return Err(WireError::invalid(message).into());
    }
    let sent = recording.comments.len() as u64;
    let session = session(&app, room.clone(), &recording).await?;
    let (session_id, started_at) = (session.id, rfc3339_ms(session.started_at_ms));
    let title = recording.session.title.as_deref().map(|title| app.ingest.operator_text(title)).transpose()?;
    let title = title.filter(|title| !title.is_empty());
    let title: Option<String> = title.map(|title| title.chars().take(TITLE_CHARS_MAX).collect());
    let (services, of) = (app.clone(), session.clone());
    let (comments, cut) = blocking(move || {
        let mut cut = 0;
        let comments = recording.comments.into_iter();
        let comments = comments.filter_map(|one| comment(&services, &of, one, &mut cut).transpose());
        comments.collect::<Result<Vec<_>, _>>().map(|comments| (comments, cut))
    })
    .await??;
    let imported = app.ingest.import(&who, &room, session, title.as_deref(), comments).await?;
    let answer = Imported { session_id, started_at, imported, skipped: sent.saturating_sub(imported), cut };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Runs work that takes a while on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WireError> {
    let done = tokio::task::spawn_blocking(|| contain(work)).await;
    done.ok().flatten().ok_or_else(WireError::unavailable)
}

/// The session to import into. It lasts at least until the last of these comments, and never ends in the future: a part
/// that is longer than was known moves the start back.
async fn session(app: &Services, room_id: RoomId, recording: &Recording) -> Result<Session, WireError> {
    let offsets = recording.comments.iter().map(|comment| comment.offset_ms).chain(recording.session.duration_ms);
    let lasts_ms = offsets.filter(|offset| (0..=OFFSET_MS_MAX).contains(offset)).max().unwrap_or(0);
    let latest_start_ms = app.clock.now_ms() - lasts_ms;
    let before = match recording.session_id {
        Some(id) => Some(finished(app, &room_id, id).await?),
        None => None,
    };
    let (id, started_at_ms, ended_at_ms) = match before {
        Some(session) => (session.id, session.started_at_ms, session.ended_at_ms.unwrap_or(0)),
        None => {
            let started = recording.session.started_at.map(|time| time.0);
            (app.ingest.ids.next()?, started.unwrap_or(latest_start_ms), 0)
        }
    };
    let started_at_ms = started_at_ms.min(latest_start_ms);
    let ended_at_ms = Some(ended_at_ms.max(started_at_ms.saturating_add(lasts_ms)));
    Ok(Session { id, room_id, started_at_ms, ended_at_ms, explicit: true })
}

async fn finished(app: &Services, room: &RoomId, id: Snowflake) -> Result<Session, WireError> {
    let session = app.store.session(id).await.map_err(unavailable)?.filter(|session| session.room_id == *room);
    let session = session.ok_or_else(|| WireError::not_found("there is no such session in this room"))?;
    match session.ended_at_ms {
        Some(_) => Ok(session),
        None => Err(WireError::invalid("session_id names a session that is still on")),
    }
}

fn comment(
    app: &Services,
    session: &Session,
    one: RecordedComment,
    cut: &mut u64,
) -> Result<Option<Comment>, WireError> {
    let content = words::sanitise_lines(&one.content);
    if content.is_empty() || !(0..=OFFSET_MS_MAX).contains(&one.offset_ms) {
        return Ok(None);
    }
    let Some(user_id) = user_id(one.user_id.as_deref()) else { return Ok(None) };
    let end = content.char_indices().nth(app.ingest.limits.comment_chars_max as usize).map(|(end, _)| end);
    *cut += u64::from(end.is_some());
    let content = end.and_then(|end| content.get(..end)).unwrap_or(&content).trim_end();
    let content = match app.ingest.filter.check_private(content) {
        Verdict::Clean | Verdict::Review { .. } => content.to_owned(),
        Verdict::Masked(masked) => masked,
        Verdict::Block { .. } => return Ok(None),
    };
    let mut names = [&one.username, &one.user_id].into_iter().flatten();
    let username = names.find_map(|name| words::clean_name(name)).unwrap_or_else(|| UNNAMED.into());
    let username = app.ingest.shown_name(&user_id, &username);
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
        shadow: false,
    }))
}

/// A file's name for a sender as a user id: as it is where it can be one, otherwise a number made of
/// it, so that one sender stays one.
fn user_id(name: Option<&str>) -> Option<UserId> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
    let made = || UserId::new(&format!("{UNNAMED}-{:016x}", words::same_text_key(name)));
    UserId::new(name).or_else(|_| made()).ok()
}
