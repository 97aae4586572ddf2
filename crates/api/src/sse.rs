//! Server-Sent Events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): a room for
//! readers who only listen, over plain HTTP.
//!
//! Each stream is a tap of the hub: fed from memory, cut when it falls too far behind, resumed by
//! `Last-Event-ID`. Whoever is banned, or whose token ends, hears nothing more.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use model::{RoomId, Snowflake, UserId, WireError};
use protocol::comment::{batch, fragment};
use protocol::message::{JoinRoom, encode_event};
use room::batch::EventFrame;
use room::hub::{Tap, TapMessage};
use serde::Deserialize;
use tokio::sync::watch;

use crate::App;
use crate::caller::Caller;
use crate::comments::Streaming;
use crate::error::Answer;
use crate::extract::{Path, Query};

/// A sign of life, so that proxies do not take silence for death.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a reader comes back after its stream ended: this, and up to as much again by chance, so that
/// not all come back at once.
const RETRY_MS: u64 = 3_000;
/// Users in `only_user_ids`.
const ONLY_USERS_MAX: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Wishes {
    since_id: Option<u64>,
    history: Option<u32>,
    history_s: Option<u32>,
    max_per_s: Option<u32>,
    only_user_ids: Option<String>,
}

/// Opens a stream: what was missed first, then what comes.
pub(crate) async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(room_id): Path<RoomId>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
) -> Answer {
    caller.enter(&app, &room_id).await?;
    let options = options(room_id, wishes, &headers)?;
    let user = caller.identity().map(|who| who.user_id.clone());
    let tap = app.hub.tap(&options, user).await?;
    let mut response = Sse::new(stream(app, caller, tap))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))
        .into_response();
    // Some proxies would collect the stream before they pass it on.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn options(room_id: RoomId, wishes: Wishes, headers: &HeaderMap) -> Result<JoinRoom, WireError> {
    // A browser repeats the address with its old `since_id`; the header is the newer of the two.
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<Snowflake>().ok());
    let asked = wishes.since_id.and_then(|id| protocol::message::parse_cursor(&id.to_string()));
    let Wishes { history, history_s, max_per_s, .. } = wishes;
    let only_user_ids = wishes.only_user_ids.as_deref().map(users).transpose()?;
    Ok(JoinRoom { room_id, since_id: resumed.or(asked), history, history_s, max_per_s, only_user_ids })
}

fn users(list: &str) -> Result<Vec<UserId>, WireError> {
    let users: Result<Vec<UserId>, _> = list.split(',').take(ONLY_USERS_MAX + 1).map(str::parse).collect();
    match users.map_err(|error| WireError::invalid(format!("only_user_ids: {error}")))? {
        users if users.len() > ONLY_USERS_MAX => {
            Err(WireError::invalid(format!("only_user_ids may name {ONLY_USERS_MAX} users")))
        }
        users => Ok(users),
    }
}

/// One reader's place: dropping it ends the tap.
struct Reader {
    app: App,
    caller: Caller,
    tap: Tap,
    draining: watch::Receiver<bool>,
    _counted: Streaming,
}

fn stream(app: App, caller: Caller, mut tap: Tap) -> impl Stream<Item = Result<Event, Infallible>> {
    let retry = Duration::from_millis(RETRY_MS + rand::random_range(0..RETRY_MS));
    let mut first = vec![Event::default().retry(retry)];
    first.extend(missed(&mut tap));
    let (draining, counted) = (app.draining.clone(), Streaming::of(&app.metrics));
    let reader = Reader { app, caller, tap, draining, _counted: counted };
    let rest = futures::stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((event, reader))
    });
    futures::stream::iter(first).chain(rest).map(Ok)
}

/// The history as the first `comments` event, when there is any.
fn missed(tap: &mut Tap) -> Option<Event> {
    let history = std::mem::take(&mut tap.history);
    if history.is_empty() && tap.omitted == 0 {
        return None;
    }
    let fragments: Vec<_> = history.iter().map(|comment| fragment(comment, None)).collect();
    let message = batch(tap.room.id().as_str(), fragments.iter().map(Vec::as_slice), tap.omitted);
    Some(comments(&message, history.last().map(|comment| comment.id)))
}

impl Reader {
    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        let message = tokio::select! {
            message = self.tap.messages.recv() => message?,
            _ = self.draining.wait_for(|draining| *draining) => return None,
        };
        if !self.is_welcome().await {
            return None;
        }
        Some(match message {
            TapMessage::Comments { message, last_id } => comments(&message, last_id),
            TapMessage::Event(frame) => event(&frame, self.caller.identity().map(|who| &who.user_id)),
        })
    }

    async fn is_welcome(&self) -> bool {
        let expires_at_ms = self.caller.identity().and_then(|who| who.expires_at_ms);
        let expired = expires_at_ms.is_some_and(|at_ms| at_ms <= self.app.clock.now_ms());
        !expired && self.caller.enter(&self.app, self.tap.room.id()).await.is_ok()
    }
}

fn comments(message: &[u8], last_id: Option<Snowflake>) -> Event {
    let event = Event::default().event("comments").data(String::from_utf8_lossy(message));
    match last_id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

/// Nothing is acknowledged here, so an event only says to whom it matters most.
fn event(frame: &EventFrame, user: Option<&UserId>) -> Event {
    let critical = frame.event.critical_for.includes(user);
    Event::default().event("event").data(String::from_utf8_lossy(&encode_event(&frame.event, critical)))
}
