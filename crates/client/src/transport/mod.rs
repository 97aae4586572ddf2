//! What carries messages between the client and the server. The client takes the first that works here.
//!
//! Another way is another [`Transport`]: it is given a [`Target`], and a [`Link`] is two channels of messages as JSON.

mod http;
mod proto;
mod segments;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::mpsc;
use url::Url;

use crate::client::DevIdentity;

pub use self::http::{event_stream, long_poll, segments, segments_from};
pub use self::websocket::{proto_socket, web_socket};

/// Messages that may wait in each direction of a link.
pub const LINK_MESSAGES: usize = 2_048;

/// The name of live segments, as a transport and in what the server prefers.
pub(crate) const SEGMENTS: &str = "segments";

/// Whom to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server, `http` or `https`.
    pub origin: Url,
    /// The token of this attempt.
    pub token: Option<String>,
    /// The identity on a development server; a token wins over it.
    pub identity: Option<DevIdentity>,
    /// Names this device.
    pub device_id: Option<String>,
    /// Whom TLS believes.
    pub tls: Arc<ClientConfig>,
}

/// An open way. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    /// Messages to the server.
    pub outgoing: mpsc::Sender<Value>,
    /// Messages of the server, and the end.
    pub incoming: mpsc::Receiver<Received>,
}

/// What comes over a link.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A message of the protocol.
    Message(Value),
    /// Whether the server would rather have us read live segments.
    PrefersSegments(bool),
    /// The end. Nothing follows.
    Closed(Closed),
}

/// How a link ended, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// A close code; 1006 where there was none; below 1000 the HTTP status of a refusal.
    pub code: u16,
    /// For people; of a close with 1012 the ordered delay in milliseconds.
    pub reason: String,
    /// How long to wait before the next attempt, if the server said so.
    pub retry_after: Option<Duration>,
    /// The server has much to do and would rather have us read live segments.
    pub prefers_segments: bool,
}

impl Closed {
    /// An end that says nothing of what to do next.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), retry_after: None, prefers_segments: false }
    }
}

/// A way to carry messages.
pub trait Transport: Send + Sync {
    /// Its name, such as `websocket`.
    fn name(&self) -> &'static str;

    /// Opens a link, or says why there is none.
    fn connect(&self, target: Target) -> BoxFuture<'static, Result<Link, Closed>>;
}

/// The transports of a client that names none: WebSocket, event streams with HTTP, long polling, live segments.
#[must_use]
pub fn defaults() -> Vec<Arc<dyn Transport>> {
    vec![web_socket(), event_stream(), long_poll(), segments()]
}
