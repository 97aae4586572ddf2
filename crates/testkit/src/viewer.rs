//! A socket as a viewer's client holds it: read in the background, so that no viewer is slow by accident.

use std::time::Duration;

use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{HEARD_MAX, PATIENCE};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A refused upgrade.
#[derive(Debug)]
pub struct Refused {
    /// Status code; 0 when there was no answer at all.
    pub status: u16,
    /// `code` of the error in the body, or why there was no answer.
    pub code: String,
    /// The whole body.
    pub body: Value,
}

enum Heard {
    Json(Value),
    Bytes(Vec<u8>),
    /// A close frame; 1006 is an end without one (RFC 6455, 7.1.5).
    Closed(u16, String),
}

/// An open socket.
pub struct Viewer {
    /// The sub-protocol that the server chose.
    pub protocol: Option<String>,
    /// All comments given so far, histories included, in the order they came.
    pub given: Vec<Value>,
    /// The sum of all `omitted` so far, of batches alone.
    pub omitted: u64,
    out: SplitSink<Socket, Message>,
    incoming: mpsc::Receiver<Heard>,
    reader: AbortHandle,
    /// Messages nobody asked for yet, oldest first.
    unread: Vec<Value>,
    /// Binary messages nobody asked for yet.
    unread_bytes: Vec<Vec<u8>>,
    /// Everything, for whoever has to find out why a test failed.
    heard: Vec<String>,
    closed: Option<(u16, String)>,
    room: String,
    asked: u64,
}

impl Viewer {
    /// Opens a socket at `/ws?query`; `headers` are added to the request.
    ///
    /// # Errors
    /// When the server refuses the upgrade or is not there.
    pub async fn open(address: &str, query: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let mut request = format!("ws://{address}/ws?{query}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let (socket, response) = match connect_async(request).await {
            Ok(open) => open,
            Err(Error::Http(response)) => return Err(refused(&response)),
            Err(error) => return Err(Refused { status: 0, code: error.to_string(), body: Value::Null }),
        };
        let protocol = response.headers().get("sec-websocket-protocol");
        let protocol = protocol.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (out, mut from) = socket.split();
        let (sender, incoming) = mpsc::channel(HEARD_MAX);
        let reader = tokio::spawn(async move {
            loop {
                let Some(heard) = hear(from.next().await) else { continue };
                let over = matches!(heard, Heard::Closed(..));
                if sender.send(heard).await.is_err() || over {
                    return;
                }
            }
        });
        let reader = reader.abort_handle();
        let room = query.split('&').find_map(|pair| pair.strip_prefix("room_id=")).unwrap_or_default().to_owned();
        let (given, unread, unread_bytes, heard) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            protocol,
            given,
            omitted: 0,
            out,
            incoming,
            reader,
            unread,
            unread_bytes,
            heard,
            closed: None,
            room,
            asked: 0,
        })
    }

    /// Sends a JSON message.
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.heard.push(format!("> {}", text.chars().take(400).collect::<String>()));
        self.out.send(Message::text(text)).await.unwrap_or_else(|error| panic!("{error}; {}", self.dump()));
    }

    /// Sends a binary message.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.heard.push(format!("> {} bytes", bytes.len()));
        self.out.send(Message::binary(bytes)).await.unwrap();
    }

    /// Sends a message with a `ref` of its own and returns what answers it, an `error` included.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        self.asked += 1;
        let reference = json!(format!("test-{}", self.asked));
        message["ref"] = reference.clone();
        let what = format!("the answer to {message}");
        self.send(message).await;
        self.expect(&what, |answer| answer["ref"] == reference).await
    }

    /// The same on a connection that may end: nothing when it did before the answer came.
    pub async fn attempt(&mut self, mut message: Value) -> Option<Value> {
        self.asked += 1;
        let reference = json!(format!("test-{}", self.asked));
        message["ref"] = reference.clone();
        self.heard.push(format!("> {message}"));
        let deadline = Instant::now() + PATIENCE;
        let sent = self.out.send(Message::text(message.to_string())).await;
        while sent.is_ok() && self.closed.is_none() {
            if let Some(place) = self.unread.iter().position(|answer| answer["ref"] == reference) {
                return Some(self.unread.remove(place));
            }
            self.hear_one(&message.to_string(), deadline).await;
        }
        None
    }

    /// Takes every message of these types that has come by now, oldest first; waits for nothing.
    pub fn take(&mut self, kinds: &[&str]) -> Vec<Value> {
        while let Ok(heard) = self.incoming.try_recv() {
            self.note_any(heard);
        }
        let wanted = |message: &Value| message["type"].as_str().is_some_and(|kind| kinds.contains(&kind));
        let (taken, left) = std::mem::take(&mut self.unread).into_iter().partition(wanted);
        self.unread = left;
        taken
    }

    /// Waits until something comes, the close included.
    pub async fn hear(&mut self, what: &str) {
        if self.closed.is_none() {
            self.hear_one(what, Instant::now() + PATIENCE).await;
        }
    }

    /// Whether the server has closed it, as far as was heard.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Comments in the room of the query; returns the answer.
    pub async fn comment(&mut self, content: &str) -> Value {
        let room = self.room.clone();
        self.ask(json!({ "type": "comment", "room_id": room, "content": content })).await
    }

    /// Comments and must be accepted; the comment's id.
    pub async fn say(&mut self, content: &str) -> String {
        let ack = self.comment(content).await;
        assert_eq!((&ack["type"], &ack["status"]), (&json!("comment_ack"), &json!("accepted")), "{content}: {ack}");
        ack["id"].as_str().expect("an id").to_owned()
    }

    /// Asks, and must be refused with this code; the error.
    pub async fn refused(&mut self, message: Value, code: &str) -> Value {
        let answer = self.ask(message).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{answer}");
        answer
    }

    /// Joins a room; the answer.
    pub async fn join(&mut self, room: &str, mut wishes: Value) -> Value {
        wishes["type"] = json!("join_room");
        wishes["room_id"] = json!(room);
        let answer = self.ask(wishes).await;
        assert_eq!(answer["type"], "room_joined", "{answer}");
        answer
    }

    /// Waits until a comment with this content has been given; the comment.
    pub async fn sees(&mut self, content: &str) -> Value {
        let what = format!("the comment {content:?}");
        self.given_when(&what, |given| given.iter().find(|comment| comment["content"] == content).cloned()).await
    }

    /// Waits until the comments given so far are as they should be.
    pub async fn given_when<T>(&mut self, what: &str, fits: impl Fn(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = fits(&self.given) {
                return answer;
            }
            self.hear_one(what, deadline).await;
        }
    }

    /// Waits until what was given and what was omitted add up to `total`, merged comments counted once.
    pub async fn accounts_for(&mut self, total: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.given.len() as u64 + self.omitted < total {
            let what = format!("{total} comments, given {} and omitted {}", self.given.len(), self.omitted);
            self.hear_one(&what, deadline).await;
        }
        assert_eq!(self.given.len() as u64 + self.omitted, total, "{}", self.dump());
    }

    /// The contents of all comments given so far.
    #[must_use]
    pub fn contents(&self) -> Vec<&str> {
        self.given.iter().filter_map(|comment| comment["content"].as_str()).collect()
    }

    /// The first message nobody asked for yet that fits; those before it stay to be asked for.
    pub async fn expect(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.expect_within(PATIENCE, what, fits).await
    }

    /// The same with a deadline of its own.
    pub async fn expect_within(&mut self, within: Duration, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        loop {
            if let Some(place) = self.unread.iter().position(&fits) {
                return self.unread.remove(place);
            }
            self.hear_one(what, deadline).await;
        }
    }

    /// The next message of this type.
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        self.expect(kind, |message| message["type"] == kind).await
    }

    /// The next event of this kind.
    pub async fn event(&mut self, kind: &str) -> Value {
        self.expect(kind, |message| message["type"] == "event" && message["kind"] == kind).await
    }

    /// The next binary message.
    pub async fn bytes(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.unread_bytes.is_empty() {
            self.hear_one("a binary message", deadline).await;
        }
        self.unread_bytes.remove(0)
    }

    /// What has come and was not asked for, after everything sent so far has been answered.
    pub async fn settled(&mut self) -> &[Value] {
        let answer = self.ask(json!({ "type": "heartbeat" })).await;
        assert_eq!(answer["type"], "heartbeat_ack", "{answer}");
        &self.unread
    }

    /// Waits for the close; its code and reason.
    pub async fn wait_close(&mut self) -> (u16, String) {
        self.wait_close_within(PATIENCE).await
    }

    /// The same with a deadline of its own.
    pub async fn wait_close_within(&mut self, within: Duration) -> (u16, String) {
        let deadline = Instant::now() + within;
        while self.closed.is_none() {
            self.hear_one("the close", deadline).await;
        }
        self.closed.clone().unwrap_or_default()
    }

    /// Closes as a page that is left does.
    pub async fn close(mut self) {
        let _ = self.out.close().await; // The server may have closed first.
    }

    /// Ends without a close, as a device that loses its network and whose system notices.
    pub fn cut(self) {
        self.reader.abort();
    }

    async fn hear_one(&mut self, what: &str, deadline: Instant) {
        if let Some((code, reason)) = &self.closed {
            panic!("closed with {code} {reason:?} before {what}; {}", self.dump());
        }
        let heard = timeout_at(deadline, self.incoming.recv()).await;
        let heard = heard.unwrap_or_else(|_| panic!("waited in vain for {what}; {}", self.dump()));
        let heard = heard.unwrap_or_else(|| panic!("nothing more to hear, but {what} was to come; {}", self.dump()));
        self.note_any(heard);
    }

    fn note_any(&mut self, heard: Heard) {
        match heard {
            Heard::Json(message) => self.note(message),
            Heard::Bytes(bytes) => {
                self.heard.push(format!("< {} bytes", bytes.len()));
                self.unread_bytes.push(bytes);
            }
            Heard::Closed(code, reason) => {
                self.heard.push(format!("< close {code} {reason}"));
                self.closed = Some((code, reason));
            }
        }
    }

    fn note(&mut self, message: Value) {
        self.heard.push(format!("< {message}"));
        let comments = if message["type"] == "room_joined" { &message["history"] } else { &message["comments"] };
        if message["type"] != "event" {
            self.given.extend(comments.as_array().into_iter().flatten().cloned());
        }
        if message["type"] == "comments" {
            self.omitted += message["omitted"].as_u64().unwrap_or(0);
        }
        self.unread.push(message);
    }

    fn dump(&self) -> String {
        let from = self.heard.len().saturating_sub(60);
        format!("the conversation:\n{}", self.heard.get(from..).unwrap_or_default().join("\n"))
    }
}

fn hear(next: Option<Result<Message, Error>>) -> Option<Heard> {
    Some(match next {
        Some(Ok(Message::Text(text))) => Heard::Json(serde_json::from_str(&text).expect("the server sends JSON")),
        Some(Ok(Message::Binary(bytes))) => Heard::Bytes(bytes.to_vec()),
        Some(Ok(Message::Close(Some(frame)))) => Heard::Closed(frame.code.into(), frame.reason.to_string()),
        Some(Ok(Message::Close(None))) => Heard::Closed(1005, String::new()),
        Some(Ok(_)) => return None,
        Some(Err(error)) => Heard::Closed(1006, error.to_string()),
        None => Heard::Closed(1006, "the end".into()),
    })
}

fn refused(response: &tokio_tungstenite::tungstenite::http::Response<Option<Vec<u8>>>) -> Refused {
    let body = response.body().as_deref().unwrap_or_default();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
    Refused { status: response.status().as_u16(), code, body }
}
