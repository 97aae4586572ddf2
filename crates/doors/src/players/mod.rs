//! Comments for other people's players, read and written over plain HTTP.
//!
//! A player names a room, which means the newest session there with comments; `session_id` names another. Reading is
//! bounded: of more comments than an answer takes, an even sample is given. Writing goes through the rules of all
//! comments, and into the room itself while it is live.

mod bilibili;
mod dandanplay;
mod dplayer;

use std::net::IpAddr;
use std::sync::Arc;

use api::{App, Caller, Services, add_shadows};
use axum::Router;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ingest::Admitted;
use model::{Comment, Identity, Mode, RoomId, Size, Snowflake, Style, WireError};
use protocol::comment::CommentJson;
use protocol::handshake::query_pairs;
use protocol::message::CommentDraft;
use recording::{ExportFormat, Writer};
use serde_json::Value;
use store::ReplayQuery;
use tokio::sync::Semaphore;

/// Comments of one answer.
const COMMENTS_MAX: usize = 10_000;
/// Comments read for it.
const READ_MAX: usize = 50_000;
/// Comments read at once.
const PAGE: usize = 1_000;
/// Answers made at the same time; others wait.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
/// Sessions looked at for one with comments.
const SESSIONS_MAX: usize = 100;

pub(crate) fn router() -> Router<App> {
    Router::new().merge(dplayer::router()).merge(dandanplay::router()).merge(bilibili::router())
}

/// What a player asks for.
struct Wanted {
    room: RoomId,
    session_id: Option<Snowflake>,
}

impl Wanted {
    fn new(room: &str, query: Option<&str>) -> Result<Self, WireError> {
        let room = RoomId::new(room).map_err(|error| WireError::invalid(error.to_string()))?;
        let session_id = parameter(query, "session_id").map(|id| id.parse()).transpose();
        let session_id = session_id.map_err(|_| WireError::invalid("session_id must be a session's id"))?;
        Ok(Self { room, session_id })
    }

    /// The session that it means; none while the room has no comments.
    async fn session(&self, app: &Services) -> Result<Option<Snowflake>, WireError> {
        let away = |_| WireError::unavailable();
        if let Some(id) = self.session_id {
            let session = app.store.session(id).await.map_err(away)?;
            return match session.filter(|session| session.room_id == self.room) {
                Some(session) => Ok(Some(session.id)),
                None => Err(WireError::not_found("there is no such session in this room")),
            };
        }
        let sessions = app.store.sessions(&self.room, SESSIONS_MAX).await.map_err(away)?;
        Ok(sessions.into_iter().find(|row| row.comment_count > 0).map(|row| row.session.id))
    }

    /// Its comments between two offsets: all of them, or an even sample of `most`.
    async fn comments(
        &self,
        app: &Services,
        caller: &Caller,
        (from_ms, to_ms): (i64, i64),
        most: usize,
    ) -> Result<Vec<Arc<Comment>>, WireError> {
        caller.may_read(app, &self.room).await?;
        let _turn = AT_ONCE.acquire().await.map_err(|_| WireError::unavailable())?;
        let Some(session_id) = self.session(app).await? else { return Ok(Vec::new()) };
        let (mut comments, mut after) = (Vec::new(), None);
        while comments.len() < READ_MAX {
            let page = ReplayQuery {
                room_id: self.room.clone(),
                session_id: Some(session_id),
                from_ms,
                to_ms,
                by_user: None,
                after,
                limit: PAGE,
            };
            let asked = page.clone();
            let mut page = app.store.replay(page).await.map_err(|_| WireError::unavailable())?;
            add_shadows(app, caller, &asked, &mut page).await?;
            after = page.last().map(|last| (last.offset_ms, last.id));
            let is_last = page.len() < PAGE;
            comments.extend(page);
            if is_last {
                break;
            }
        }
        Ok(even_sample(comments, most))
    }

    /// Says something: in the room while it is live, otherwise at a moment of the recording.
    async fn say(&self, app: &Services, who: &Identity, said: Said) -> Result<Admitted, WireError> {
        let is_live = app.ingest.rooms.info(&self.room).await.is_ok_and(|info| info.session.is_some());
        let session_id = if is_live && self.session_id.is_none() { None } else { self.session(app).await? };
        let draft = CommentDraft {
            room_id: None,
            content: said.text,
            client_msg_id: None,
            style: Some(said.style),
            mentions: Vec::new(),
            session_id,
            offset_ms: session_id.map(|_| said.offset_ms),
            address: Some(said.address),
        };
        app.admission.admit(who, &self.room, draft).await
    }
}

/// What somebody says with a player.
struct Said {
    text: String,
    style: Style,
    offset_ms: i64,
    address: IpAddr,
}

/// `most` of these, evenly spread.
fn even_sample<T: Clone>(all: Vec<T>, most: usize) -> Vec<T> {
    if all.len() <= most {
        return all;
    }
    (0..most).filter_map(|n| all.get(n * all.len() / most).cloned()).collect()
}

/// A value of the query; an empty one is none.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query_pairs(query.unwrap_or_default());
    pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// A recording as one of the formats that `export` writes.
fn written(format: ExportFormat, comments: &[Arc<Comment>]) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(format, &mut bytes);
    for comment in comments {
        let comment = serde_json::to_value(CommentJson(comment, None)).map_err(|_| WireError::unavailable())?;
        writer.comment(&comment).map_err(|_| WireError::unavailable())?;
    }
    writer.finish().map_err(|_| WireError::unavailable())?;
    Ok(bytes)
}

/// An answer that browsers ask for again each time.
fn answer(content_type: &'static str, body: Vec<u8>) -> Response {
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), cache], body).into_response()
}

/// The person who writes: by token, or on a development server by a name.
fn author(app: &Services, caller: &Caller, token: Option<&str>, name: Option<&str>) -> Result<Identity, WireError> {
    if let Some(who) = caller.identity() {
        return Ok(who.clone());
    }
    match token.filter(|token| token.contains('.')) {
        Some(token) => crate::identity::by_token(app, token),
        None => name
            .and_then(|name| crate::identity::by_name(app, name))
            .ok_or_else(|| WireError::new(model::Code::Unauthorized, "a token is needed")),
    }
}

/// A number, however the player writes it.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

/// Seconds into a recording as milliseconds.
fn offset_ms(seconds: &Value) -> Result<i64, WireError> {
    let seconds = number(seconds).filter(|seconds| (0.0..1e9).contains(seconds));
    let seconds = seconds.ok_or_else(|| WireError::invalid("time must be seconds from 0"))?;
    Ok((seconds * 1_000.0).round() as i64)
}

/// A colour as a number, or as `#RRGGBB`; white when there is none.
fn color(value: &Value) -> Result<u32, WireError> {
    let hex = value.as_str().and_then(|text| text.strip_prefix('#'));
    let rgb = match hex {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if value.is_null() => Some(0xff_ffff),
        None => number(value).filter(|number| (0.0..=16_777_215.0).contains(number)).map(|number| number as u32),
    };
    rgb.filter(|rgb| *rgb <= 0xff_ffff).ok_or_else(|| WireError::invalid("color must be a number up to 16777215"))
}

fn style(mode: Mode, color: u32) -> Style {
    Style { mode, color, size: Size::Normal }
}

/// The query of a request.
fn query(parts: &Parts) -> Option<&str> {
    parts.uri.query()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sample_is_even_and_keeps_what_fits() {
        assert_eq!(even_sample(vec![1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(even_sample((0..10).collect(), 5), [0, 2, 4, 6, 8]);
    }

    #[test]
    fn players_write_numbers_in_many_ways() {
        for (value, ms) in [(json!(1.5), 1_500), (json!("2"), 2_000), (json!(0), 0)] {
            assert_eq!(offset_ms(&value), Ok(ms), "{value}");
        }
        for value in [json!(-1), json!("NaN"), json!(null), json!([]), json!(1e300)] {
            assert!(offset_ms(&value).is_err(), "{value}");
        }
        for (value, rgb) in
            [(json!(0), 0), (json!("255"), 255), (json!("#FF0000"), 0xff_0000), (json!(null), 0xff_ffff)]
        {
            assert_eq!(color(&value), Ok(rgb), "{value}");
        }
        for value in [json!(-1), json!(16_777_216), json!("red"), json!("#12345678"), json!({})] {
            assert!(color(&value).is_err(), "{value}");
        }
    }
}
