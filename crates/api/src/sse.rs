//! Server-Sent Events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): a room for
//! readers who only listen, over plain HTTP.
//!
//! Each stream is a tap of the hub: fed from memory, cut when it falls too far behind, resumed by
//! `Last-Event-ID`. Whoever is banned, or whose token ends, hears nothing more.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use hub::batch::{BatchItem, SharedEvent, TapBatch};
use hub::{Tap, TapMessage};
use model::{RoomId, Snowflake, UserId, WireError};
use protocol::comment::{batch, fragment};
use protocol::message::{JoinRoom, encode_event};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, Refused};
use crate::extract::{Path, Query};
use crate::params::{SinceId, only_users};
use crate::shares::StreamGuard;

/// A sign of life, so that proxies do not take silence for death.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a reader comes back after its stream ended: this, and up to as much again by chance, so that
/// not all come back at once.
const RETRY_MS: u64 = 3_000;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// Resumes after this comment; the header `Last-Event-ID` wins.
    #[param(inline, nullable = false)]
    since_id: Option<SinceId>,
    /// Comments of history, at most 100.
    #[param(nullable = false, maximum = 4_294_967_295_u64)]
    history: Option<u32>,
    /// Or seconds of history, at most 60.
    #[param(nullable = false, maximum = 4_294_967_295_u64)]
    history_s: Option<u32>,
    /// Comments a second; 0 means events only.
    #[param(nullable = false, maximum = 4_294_967_295_u64)]
    max_per_s: Option<u32>,
    /// These users' comments alone: at most 20 ids, separated by commas.
    #[param(nullable = false)]
    only_user_ids: Option<String>,
}

/// Streams a room's comments and events
///
/// Server-Sent Events: `comments` and `event`, whose data are the socket's JSON messages of the same name. First what
/// the reader missed, then what comes. An event's id is that of its newest comment; `Last-Event-ID` resumes after it.
#[utoipa::path(
    get, path = "/rooms/{room_id}/events", tag = "rooms", operation_id = "stream_events",
    params(
        ("room_id" = RoomId, Path),
        StreamQuery,
        ("Last-Event-ID" = Option<Snowflake>, Header, description = "Browsers send it when they come back."),
    ),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream"), Refused),
)]
async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(room_id): Path<RoomId>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Answer {
    caller.may_read(&app, &room_id).await?;
    let options = join_options(room_id, query, &headers)?;
    let user = caller.identity().map(|who| who.user_id.clone());
    let counted = app.shares.stream(user.as_ref())?;
    let moderates = app.ingest.sees_shadows(caller.reader(&app), &options.room_id);
    let tap = app.hub.tap_as(&options, &caller.opener(&app), moderates).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // Some proxies would collect the stream before they pass it on.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream(app, caller, tap, counted))).into_response())
}

fn join_options(room_id: RoomId, query: StreamQuery, headers: &HeaderMap) -> Result<JoinRoom, WireError> {
    // A browser repeats the address with its old `since_id`; the header is the newer of the two.
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<Snowflake>().ok());
    let StreamQuery { since_id, history, history_s, max_per_s, only_user_ids } = query;
    let only_user_ids = only_user_ids.as_deref().map(only_users).transpose()?;
    Ok(JoinRoom {
        room_id,
        since_id: resumed.or(since_id.map(|SinceId(id)| id)),
        history,
        history_s,
        max_per_s,
        only_user_ids,
    })
}

/// One open stream. Dropping it ends the tap.
struct StreamReader {
    app: App,
    caller: Caller,
    tap: Tap,
    draining: watch::Receiver<bool>,
    _counted: StreamGuard,
}

/// The stream's bytes. A batch's are shared by all streams that are given it: a reader who takes nothing holds no copy.
fn stream(
    app: App,
    caller: Caller,
    mut tap: Tap,
    counted: StreamGuard,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let retry_ms = RETRY_MS + rand::random_range(0..RETRY_MS);
    let mut first = vec![Bytes::from(format!("retry: {retry_ms}\n\n"))];
    first.extend(history_event(&mut tap));
    let draining = app.draining.clone();
    let reader = StreamReader { app, caller, tap, draining, _counted: counted };
    let rest = futures::stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((event, reader))
    });
    futures::stream::iter(first).chain(rest).map(Ok)
}

/// The history as the first `comments` event, when there is any.
fn history_event(tap: &mut Tap) -> Option<Bytes> {
    let history = std::mem::take(&mut tap.history);
    if history.is_empty() && tap.omitted == 0 {
        return None;
    }
    let fragments: Vec<_> = history.iter().map(|comment| fragment(comment, None)).collect();
    let message = batch(tap.room.id().as_str(), fragments.iter().map(Vec::as_slice), tap.omitted);
    Some(event_bytes("comments", &message, history.last().map(|comment| comment.id)))
}

impl StreamReader {
    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        let who = self.caller.reader(&self.app);
        let message = tokio::select! {
            // First, so that nothing is sent after a refusal.
            biased;
            _ = self.app.ingest.until_refused(who, Some(self.tap.room.id())) => return None,
            _ = self.draining.wait_for(|draining| *draining) => return None,
            message = self.tap.messages.recv() => message?,
            () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": keep-alive\n\n")),
        };
        Some(match message {
            TapMessage::Comments(batch) => encoded(&batch, self.tap.room.id()).clone(),
            TapMessage::Event(shared) => room_event(&shared, self.caller.identity().map(|who| &who.user_id)),
        })
    }
}

/// A batch as a `comments` event, encoded once for all event streams that are given it.
fn encoded<'a>(shared: &'a TapBatch, room: &RoomId) -> &'a Bytes {
    let encode = || {
        let message = batch(room.as_str(), shared.items().map(BatchItem::json), shared.omitted);
        event_bytes("comments", &message, shared.last_id())
    };
    shared.encoded.get_or_encode(0, encode)
}

/// One event. Its message is JSON, which has no line feed of its own.
fn event_bytes(name: &str, message: &[u8], id: Option<Snowflake>) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 64);
    event.extend_from_slice(b"event: ");
    event.extend_from_slice(name.as_bytes());
    event.extend_from_slice(b"\ndata: ");
    event.extend_from_slice(message);
    if let Some(id) = id {
        event.extend_from_slice(format!("\nid: {id}").as_bytes());
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// Nothing is acknowledged here, so an event only says to whom it matters most.
fn room_event(shared: &SharedEvent, user: Option<&UserId>) -> Bytes {
    event_bytes("event", &encode_event(&shared.event, shared.is_critical_for(user)), None)
}
