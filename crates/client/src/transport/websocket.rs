//! `/ws`, with JSON or Protobuf.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::{Closed, LINK_MESSAGES, Link, Received, SEGMENTS, Target, Transport, proto};
use crate::Error;
use crate::error::{ABNORMAL, NORMAL};

/// Longest message of a server: a batch, or a page of messages.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long the close may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A close without a code (RFC 6455, 7.1.5).
const NO_CODE: u16 = 1005;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How the messages of a socket are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "barrage.v1.json",
            Self::Protobuf => "barrage.v1.proto",
        }
    }

    fn write(self, message: &Value) -> Result<Message, Error> {
        match self {
            Self::Json => Ok(Message::text(message.to_string())),
            Self::Protobuf => proto::write_frame(message).map(Message::binary),
        }
    }

    /// What does not parse is of a newer server, or of none: it is passed over.
    fn read(self, message: &Message) -> Option<Value> {
        match (self, message) {
            (Self::Json, Message::Text(text)) => serde_json::from_str(text).ok(),
            (Self::Protobuf, Message::Binary(bytes)) => proto::read_frame(bytes),
            _ => None,
        }
    }
}

/// WebSocket, with the sub-protocol `barrage.v1.json`.
#[must_use]
pub fn web_socket() -> Arc<dyn Transport> {
    Arc::new(Encoding::Json)
}

/// WebSocket, with the sub-protocol `barrage.v1.proto`, whose messages are smaller.
#[must_use]
pub fn proto_socket() -> Arc<dyn Transport> {
    Arc::new(Encoding::Protobuf)
}

impl Transport for Encoding {
    fn name(&self) -> &'static str {
        match self {
            Self::Json => "websocket",
            Self::Protobuf => "protobuf",
        }
    }

    fn connect(&self, target: Target) -> BoxFuture<'static, Result<Link, Closed>> {
        let encoding = *self;
        Box::pin(async move {
            let socket = open(&target, encoding).await?;
            let (outgoing, to_send) = mpsc::channel(LINK_MESSAGES);
            let (received, incoming) = mpsc::channel(LINK_MESSAGES);
            tokio::spawn(run(socket, encoding, to_send, received));
            Ok(Link { outgoing, incoming })
        })
    }
}

async fn open(target: &Target, encoding: Encoding) -> Result<Socket, Closed> {
    let mut url = target.origin.clone();
    url.set_path("/ws");
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let invalid = |what: &str| Closed::new(ABNORMAL, what);
    url.set_scheme(scheme).map_err(|()| invalid("the address is neither http nor https"))?;
    {
        let mut query = url.query_pairs_mut();
        if let (None, Some(identity)) = (&target.token, &target.identity) {
            query.extend_pairs(identity.pairs());
        }
        query.extend_pairs(target.device_id.iter().map(|device_id| ("device_id", device_id)));
    }
    let mut request = url.as_str().into_client_request().map_err(|error| invalid(&error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(encoding.subprotocol()));
    if let Some(token) = &target.token {
        let bearer = HeaderValue::try_from(format!("Bearer {token}"));
        let mut bearer = bearer.map_err(|_| invalid("the token is no header"))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    let connector = Connector::Rustls(target.tls.clone());
    match connect_async_tls_with_config(request, Some(config), true, Some(connector)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(refused(&response)),
        Err(error) => Err(Closed::new(ABNORMAL, error.to_string())),
    }
}

/// An upgrade that the server refused with an HTTP error.
fn refused(response: &Response<Option<Vec<u8>>>) -> Closed {
    let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
    let error = Error::of(&body["error"]);
    Closed {
        code: response.status().as_u16(),
        reason: error.to_string(),
        retry_after: error.retry_after,
        prefers_segments: body["error"]["prefer"] == SEGMENTS,
    }
}

/// The answer to a request that this encoding cannot carry.
fn unsent(message: &Value, error: &Error) -> Value {
    json!({ "type": "error", "ref": message["ref"], "code": error.code, "message": error.message })
}

async fn run(
    mut socket: Socket,
    encoding: Encoding,
    mut to_send: mpsc::Receiver<Value>,
    received: mpsc::Sender<Received>,
) {
    let closed = loop {
        tokio::select! {
            message = to_send.recv() => match message {
                Some(message) => match encoding.write(&message) {
                    Ok(frame) => {
                        if let Err(error) = socket.send(frame).await {
                            break Closed::new(ABNORMAL, error.to_string());
                        }
                    }
                    // A link that nobody reads ends with its task.
                    Err(error) => drop(received.send(Received::Message(unsent(&message, &error))).await),
                },
                // Nobody holds the link any more.
                None => {
                    let frame = CloseFrame { code: NORMAL.into(), reason: "".into() };
                    let _ = timeout(LAST_WORDS, socket.close(Some(frame))).await;
                    return;
                }
            },
            message = socket.next() => match message {
                Some(Ok(frame @ (Message::Text(_) | Message::Binary(_)))) => {
                    let Some(message) = encoding.read(&frame) else { continue };
                    if received.send(Received::Message(message)).await.is_err() {
                        let _ = timeout(LAST_WORDS, socket.close(None)).await;
                        return;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                    let (code, reason) = frame.unwrap_or((NO_CODE, String::new()));
                    // Answers the close.
                    let _ = timeout(LAST_WORDS, socket.flush()).await;
                    break Closed::new(code, reason);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Closed::new(ABNORMAL, error.to_string()),
                None => break Closed::new(ABNORMAL, "the connection ended without a close"),
            },
        }
    };
    let _ = received.send(Received::Closed(closed)).await;
}
