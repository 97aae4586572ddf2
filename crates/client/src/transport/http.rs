//! The socket's messages over plain HTTP, for networks that let no WebSocket through: requests are calls of the API; what a room
//! tells comes as an event stream, by long polling, or as live segments.
//!
//! The client above never learns the difference. What HTTP cannot carry is refused with `unavailable` (watching presence) or
//! dropped (typing notices, receipts: nothing is repeated there).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use url::Url;

use super::segments::{Read, SegmentReader};
use super::{Closed, LINK_MESSAGES, Link, Received, SEGMENTS, Target, Transport};
use crate::clock::ServerClock;
use crate::error::{ABNORMAL, UNAUTHORIZED};
use crate::http::Api;
use crate::{Error, sse};

/// How long the first byte of a stream may take: a network that collects streams never passes one on.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// How long the history after it may take.
const HISTORY_WITHIN: Duration = Duration::from_millis(500);
/// A stream without a sign of life for so long has ended: the server gives one every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
const HEARTBEAT_S: u64 = 30;
const WAIT_S: u64 = 25;
/// Comments of a page of polling, and pages read after an outage.
const PAGE: usize = 100;
const RESUME_PAGES: usize = 20;
/// A poll that waits has this much longer than the server was asked to wait.
const POLL_TIMEOUT: Duration = Duration::from_secs(WAIT_S + 15);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Stream,
    Poll,
    /// From the cache at this address, or from the server itself.
    Segments(Option<Url>),
}

/// Event streams, and HTTP for what is sent.
#[must_use]
pub fn event_stream() -> Arc<dyn Transport> {
    Arc::new(Way::Stream)
}

/// Long polling, and HTTP for what is sent.
#[must_use]
pub fn long_poll() -> Arc<dyn Transport> {
    Arc::new(Way::Poll)
}

/// Live segments, which any HTTP cache carries, and HTTP for what is sent. About a second and a half behind.
#[must_use]
pub fn segments() -> Arc<dyn Transport> {
    Arc::new(Way::Segments(None))
}

/// Live segments from a cache in front of the server, at this address.
#[must_use]
pub fn segments_from(cdn: Url) -> Arc<dyn Transport> {
    Arc::new(Way::Segments(Some(cdn)))
}

impl Transport for Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Stream => "event-stream",
            Self::Poll => "long-poll",
            Self::Segments(_) => SEGMENTS,
        }
    }

    fn connect(&self, target: Target) -> BoxFuture<'static, Result<Link, Closed>> {
        let way = self.clone();
        Box::pin(async move {
            let Target { origin, token, identity, device_id, tls } = target;
            let is_anonymous = token.is_none() && identity.is_none();
            let user_id = match &token {
                Some(token) => subject_of(token),
                None => identity.as_ref().map(|identity| identity.user_id.clone()),
            };
            let api = Api::with(&origin, token, identity, &tls).map_err(|error| closed(&error))?;
            // Whether there is a server at all.
            let prefers_segments = match api.call::<Value>(Method::GET, &["server"], &(), None::<&()>).await {
                Ok(server) => server["prefer"] == SEGMENTS,
                // One with too much to do for this may still be behind a cache that has segments.
                Err(error) if matches!(way, Way::Segments(_)) && error.code == "overloaded" => true,
                Err(error) => return Err(closed(&error)),
            };
            let (outgoing, to_send) = mpsc::channel(LINK_MESSAGES);
            let (received, incoming) = mpsc::channel(LINK_MESSAGES);
            let session = Session {
                origin,
                tls,
                way,
                api,
                said: Said(received),
                rooms: HashMap::new(),
                polls_chat: false,
                clock: Arc::new(Mutex::new(ServerClock::new())),
            };
            if !is_anonymous {
                session.greet(user_id, device_id.as_deref(), &Value::Null).await;
            }
            session.said.prefers_segments(prefers_segments).await;
            tokio::spawn(session.run(to_send));
            Ok(Link { outgoing, incoming })
        })
    }
}

/// What the client hears.
#[derive(Clone)]
pub(super) struct Said(mpsc::Sender<Received>);

impl Said {
    pub(super) async fn prefers_segments(&self, prefers: bool) {
        let _ = self.0.send(Received::PrefersSegments(prefers)).await;
    }

    pub(super) async fn say(&self, message: Value) {
        // A link that nobody reads ends with its task.
        let _ = self.0.send(Received::Message(message)).await;
    }

    async fn answer(&self, request: &Value, kind: &str, mut fields: Value) {
        if !fields.is_object() {
            fields = json!({});
        }
        fields["type"] = kind.into();
        if !request["ref"].is_null() {
            fields["ref"] = request["ref"].clone();
        }
        self.say(fields).await;
    }
}

struct Session {
    origin: Url,
    tls: Arc<rustls::ClientConfig>,
    way: Way,
    api: Api,
    said: Said,
    rooms: HashMap<String, AbortHandle>,
    polls_chat: bool,
    /// What segments tell of the server's clock.
    clock: Arc<Mutex<ServerClock>>,
}

/// Readers of rooms and of messages; one that fails ends the connection, as a broken socket would.
type Readers = JoinSet<Closed>;

impl Session {
    async fn run(mut self, mut to_send: mpsc::Receiver<Value>) {
        let mut readers = Readers::new();
        let end = loop {
            tokio::select! {
                message = to_send.recv() => {
                    let Some(message) = message else { return };
                    if let Err(error) = self.handle(&message, &mut readers).await
                        && let Some(end) = self.failed(&message, &error).await
                    {
                        break end;
                    }
                }
                // One that was aborted has ended because the client wanted it.
                Some(Ok(end)) = readers.join_next(), if !readers.is_empty() => break end,
            }
        };
        let _ = self.said.0.send(Received::Closed(end)).await;
    }

    /// What a socket would be told unasked. A token is believed until a request is refused.
    async fn greet(&self, user_id: Option<String>, device_id: Option<&str>, request: &Value) {
        let greeting = json!({
            "user_id": user_id.unwrap_or_default(),
            "device_id": device_id.unwrap_or("http"),
            "connection_id": "http",
            "heartbeat_s": HEARTBEAT_S,
        });
        self.said.answer(request, "connected", greeting).await;
    }

    /// Tells the client of a refusal; or says that the connection is over.
    async fn failed(&self, message: &Value, error: &Error) -> Option<Closed> {
        if error.code == "network" || error.status == Some(401) {
            return Some(closed(error));
        }
        let mut fields = json!({ "code": error.code, "message": error.message });
        if let Some(after) = error.retry_after {
            fields["retry_after_ms"] = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into();
        }
        self.said.answer(message, "error", fields).await;
        None
    }

    async fn handle(&mut self, message: &Value, readers: &mut Readers) -> Result<(), Error> {
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        let room_id = text("room_id");
        match text("type") {
            // Segments come or fail by themselves, and tell the server's clock: nothing is asked of the server itself.
            "heartbeat" if matches!(self.way, Way::Segments(_)) => {
                let clock = self.clock.lock().clone();
                let known = clock.error().map(|_| json!({ "server_time_ms": clock.now_ms() }));
                self.said.answer(message, "heartbeat_ack", known.unwrap_or_default()).await;
            }
            "heartbeat" => {
                let server: Value = self.call(Method::GET, &["server"]).await?;
                self.said.answer(message, "heartbeat_ack", json!({ "server_time_ms": server["server_time_ms"] })).await;
            }
            "login" => {
                let token = text("token").to_owned();
                let user_id = subject_of(&token);
                self.api = Api::with(&self.origin, Some(token), None, &self.tls)?;
                self.greet(user_id, message["device_id"].as_str(), message).await;
            }
            "join_room" => self.join(message, readers).await?,
            "leave_room" => {
                self.rooms.remove(room_id).iter().for_each(AbortHandle::abort);
                self.said.answer(message, "room_left", json!({ "room_id": room_id })).await;
            }
            "comment" => {
                let body = part(message, &["client_msg_id", "content", "style", "mentions"]);
                let mut ack = self.post(&["rooms", room_id, "comments"], &body).await?;
                ack["client_msg_id"] = message["client_msg_id"].clone();
                self.said.answer(message, "comment_ack", ack).await;
            }
            "like" => {
                let mut ack = self.call(Method::POST, &["comments", text("comment_id"), "like"]).await?;
                ack["comment_id"] = message["comment_id"].clone();
                self.said.answer(message, "like_ack", ack).await;
            }
            // Nothing is repeated here, and nobody is told who types.
            "ack" | "typing" => {}
            _ => self.chat(message, readers).await?,
        }
        Ok(())
    }

    async fn chat(&mut self, message: &Value, readers: &mut Readers) -> Result<(), Error> {
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        let id = text("message_id");
        let (kind, mut answer) = match text("type") {
            "send_message" | "send_group_message" => {
                let names = ["client_msg_id", "to_user", "group_id", "content", "msg_type", "reply_to", "uploads"];
                ("message_ack", self.post(&["messages"], &part(message, &names)).await?)
            }
            "mark_as_read" => ("read_ack", self.call(Method::POST, &["messages", id, "read"]).await?),
            "recall_message" => ("recall_ack", self.call(Method::POST, &["messages", id, "recall"]).await?),
            "edit_message" => {
                let body = part(message, &["content"]);
                ("edit_ack", self.api.call(Method::PATCH, &["messages", id], &(), Some(&body)).await?)
            }
            "react" => {
                let method = if message["on"] == false { Method::DELETE } else { Method::PUT };
                ("react_ack", self.call(method, &["messages", id, "reactions", text("emoji")]).await?)
            }
            "sync_messages" => {
                let query = query_of(message, &["since_id", "since_change", "limit"]);
                let page: Value = self.api.call(Method::GET, &["messages"], &query, None::<&()>).await?;
                if page["more"] != true && !std::mem::replace(&mut self.polls_chat, true) {
                    readers.spawn(poll_messages(self.api.clone(), self.said.clone(), page.clone()));
                }
                ("sync_response", page)
            }
            other => return Err(Error::new("unavailable", format!("{other} needs a WebSocket"))),
        };
        if !id.is_empty() {
            if !answer.is_object() {
                answer = json!({});
            }
            answer["message_id"] = id.into();
        }
        self.said.answer(message, kind, answer).await;
        Ok(())
    }

    async fn call(&self, method: Method, path: &[&str]) -> Result<Value, Error> {
        self.api.call(method, path, &(), None::<&()>).await
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.api.call(Method::POST, path, &(), Some(body)).await
    }

    async fn join(&mut self, request: &Value, readers: &mut Readers) -> Result<(), Error> {
        let room_id = request["room_id"].as_str().unwrap_or_default().to_owned();
        self.rooms.remove(&room_id).iter().for_each(AbortHandle::abort);
        let info = match self.call(Method::GET, &["rooms", &room_id]).await {
            // Caches still have its segments.
            Err(error) if matches!(self.way, Way::Segments(_)) && error.code == "overloaded" => Value::Null,
            info => info?,
        };
        let (api, said) = (self.api.clone(), self.said.clone());
        let reading: BoxFuture<'static, Closed>;
        let (history, omitted) = match &self.way {
            Way::Stream => {
                let mut stream = EventStream::open(&api, &room_id, request).await?;
                let (history, omitted, event) = stream.history().await?;
                reading = Box::pin(stream.read(said, event));
                (history, omitted)
            }
            Way::Poll => {
                let mut poll = Poll::new(api, &room_id, request);
                let missed = poll.missed(request).await?;
                reading = Box::pin(poll.read(said));
                missed
            }
            Way::Segments(cdn) => {
                let mut reader = SegmentReader::new(api, &room_id, request, cdn.clone(), self.clock.clone());
                let missed = reader.open(request["since_id"].as_str()).await?;
                reading = Box::pin(read_segments(reader, room_id.clone(), said, missed.events));
                (missed.comments.into(), missed.omitted)
            }
        };
        let mut joined = json!({ "room_id": room_id, "history": history });
        for name in ["state", "viewers"].into_iter().filter(|name| !info[*name].is_null()) {
            joined[name] = info[name].clone();
        }
        if omitted > 0 {
            joined["omitted"] = omitted.into();
        }
        self.said.answer(request, "room_joined", joined).await;
        self.rooms.insert(room_id, readers.spawn(reading));
        Ok(())
    }
}

/// A room's event stream.
struct EventStream {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: sse::Parser,
}

impl EventStream {
    async fn open(api: &Api, room_id: &str, request: &Value) -> Result<Self, Error> {
        let mut query = query_of(request, &["since_id", "history", "history_s", "max_per_s"]);
        if let Some(users) = request["only_user_ids"].as_array() {
            let users: Vec<&str> = users.iter().filter_map(Value::as_str).collect();
            query.push(("only_user_ids", users.join(",")));
        }
        let opening = timeout(FIRST_BYTE, api.stream(&["rooms", room_id, "events"], &query)).await;
        let response: Response = opening.map_err(|_| Error::new("network", "event streams do not come through"))??;
        let mut stream = Self { bytes: response.bytes_stream().boxed(), parser: sse::Parser::default() };
        stream.read_more(FIRST_BYTE).await?;
        Ok(stream)
    }

    async fn read_more(&mut self, within: Duration) -> Result<(), Error> {
        let ended = |why: String| Error::new("network", why);
        let next = timeout(within, self.bytes.next()).await.map_err(|_| ended("the stream is silent".to_owned()))?;
        let bytes = next.ok_or_else(|| ended("the stream ended".to_owned()))?;
        self.parser.push(&bytes.map_err(|error| ended(error.to_string()))?);
        Ok(())
    }

    /// What came first, if that comes at once: comments and their `omitted`; or an event.
    async fn history(&mut self) -> Result<(Value, u64, Option<Value>), Error> {
        let first = timeout(HISTORY_WITHIN, self.message()).await;
        Ok(match first {
            Err(_) => (json!([]), 0, None),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(mut message)) if message["type"] == "comments" => {
                (message["comments"].take(), message["omitted"].as_u64().unwrap_or(0), None)
            }
            Ok(Ok(event)) => (json!([]), 0, Some(event)),
        })
    }

    /// The next message. Dropping the future loses nothing.
    async fn message(&mut self) -> Result<Value, Error> {
        loop {
            while let Some(event) = self.parser.next_event() {
                if let Ok(message) = serde_json::from_str(&event.data) {
                    return Ok(message);
                }
            }
            self.read_more(SILENCE).await?;
        }
    }

    async fn read(mut self, said: Said, first: Option<Value>) -> Closed {
        if let Some(event) = first {
            said.say(event).await;
        }
        loop {
            match self.message().await {
                Ok(message) => said.say(message).await,
                Err(error) => return closed(&error),
            }
        }
    }
}

/// A room by long polling.
struct Poll {
    api: Api,
    room_id: String,
    since_id: Option<String>,
    only: Option<String>,
    /// Events alone, which polling does not tell.
    events_only: bool,
}

impl Poll {
    fn new(api: Api, room_id: &str, request: &Value) -> Self {
        let users: Option<Vec<&str>> =
            request["only_user_ids"].as_array().map(|users| users.iter().filter_map(Value::as_str).collect());
        Self {
            api,
            room_id: room_id.to_owned(),
            since_id: request["since_id"].as_str().map(str::to_owned),
            only: users.filter(|users| !users.is_empty()).map(|users| users.join(",")),
            events_only: request["max_per_s"] == 0,
        }
    }

    async fn page(&mut self, limit: usize, wait_s: u64) -> Result<Vec<Value>, Error> {
        let mut query = vec![("limit", limit.to_string()), ("wait_s", wait_s.to_string())];
        query.extend(self.since_id.clone().map(|since_id| ("since_id", since_id)));
        query.extend(self.only.clone().map(|only| ("only_user_ids", only)));
        let path = ["rooms", self.room_id.as_str(), "comments"];
        let mut page = self.api.wait(&path, &query, POLL_TIMEOUT).await?;
        self.since_id = page["latest_id"].as_str().map(str::to_owned);
        Ok(page["comments"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// What came before, or what was missed: the newest, and how many more there were.
    async fn missed(&mut self, request: &Value) -> Result<(Value, u64), Error> {
        let keep = request["history"].as_u64().map_or(50, |history| history.min(PAGE as u64) as usize);
        let resumes = self.since_id.is_some();
        let mut missed = Vec::new();
        for _ in 0..RESUME_PAGES {
            let page = self.page(if resumes { PAGE } else { keep.max(1) }, 0).await?;
            let is_last = page.len() < PAGE;
            missed.extend(page);
            if !resumes || is_last {
                break;
            }
        }
        if self.events_only || (keep == 0 && !resumes) {
            missed.clear();
        }
        let omitted = missed.len().saturating_sub(keep);
        missed.drain(..omitted);
        Ok((missed.into(), if resumes { omitted as u64 } else { 0 }))
    }

    async fn read(mut self, said: Said) -> Closed {
        loop {
            match self.page(PAGE, WAIT_S).await {
                Ok(comments) if comments.is_empty() || self.events_only => {}
                Ok(comments) => {
                    said.say(json!({ "type": "comments", "room_id": self.room_id, "comments": comments })).await;
                }
                Err(error) => return closed(&error),
            }
        }
    }
}

/// A room by live segments. The events of before come first.
async fn read_segments(mut reader: SegmentReader, room_id: String, said: Said, events: Vec<Value>) -> Closed {
    let mut read = Ok(Read { events, ..Read::default() });
    loop {
        let Read { comments, events, omitted, prefers_segments } = match read {
            Ok(read) => read,
            Err(error) => return closed(&error),
        };
        if !comments.is_empty() || omitted > 0 {
            let mut batch = json!({ "type": "comments", "room_id": room_id, "comments": comments });
            if omitted > 0 {
                batch["omitted"] = omitted.into();
            }
            said.say(batch).await;
        }
        for event in events {
            said.say(event).await;
        }
        if let Some(prefers) = prefers_segments {
            said.prefers_segments(prefers).await;
        }
        read = reader.next().await;
    }
}

/// Once a device has caught up, what comes then is pushed as a socket would.
async fn poll_messages(api: Api, said: Said, mut page: Value) -> Closed {
    loop {
        let mut query = query_of(
            &json!({ "since_id": page["latest_id"], "since_change": page["latest_change"] }),
            &["since_id", "since_change"],
        );
        query.push(("wait_s", WAIT_S.to_string()));
        page = match api.wait(&["messages"], &query, POLL_TIMEOUT).await {
            Ok(page) => page,
            Err(error) => return closed(&error),
        };
        for message in page["messages"].as_array().into_iter().flatten() {
            let mut push = message.clone();
            push["server_msg_id"] = push["id"].take();
            push["type"] = "new_message".into();
            said.say(push).await;
        }
        for change in page["changes"].as_array().into_iter().flatten() {
            let mut push = change.clone();
            push["type"] = "message_changed".into();
            said.say(push).await;
        }
    }
}

/// Some fields of a message.
fn part(message: &Value, names: &[&str]) -> Value {
    let present = names.iter().filter(|name| !message[**name].is_null());
    Value::Object(present.map(|name| ((*name).to_owned(), message[*name].clone())).collect())
}

/// Some fields of a message as a query.
fn query_of(message: &Value, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let text = |name: &str| match &message[name] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    names.iter().filter_map(|name| Some((*name, text(name)?))).collect()
}

fn closed(error: &Error) -> Closed {
    let code = if error.status == Some(401) { UNAUTHORIZED } else { ABNORMAL };
    Closed { retry_after: error.retry_after, ..Closed::new(code, error.to_string()) }
}

/// Whose token this is, for want of somebody who says so; the server verifies it with each request.
fn subject_of(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is() {
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(r#"{"sub":"ann"}"#));
        assert_eq!(subject_of(&token).as_deref(), Some("ann"));
        for none in ["", "a.b", "a.!.c", "e30.e30.x"] {
            assert_eq!(subject_of(none), None, "{none}");
        }
    }
}
