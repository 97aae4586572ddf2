//! What every door that holds connections shares: admission by address, counting, upgrades, listeners, and the drain.
//!
//! [`crate::Doors`] owns it; the doors' sessions hold it. Knows no protocol of a door.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::Services;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanout::ChannelFanout;
use hyper_util::rt::TokioIo;
use model::metrics::count;
use model::panics::contained;
use model::{Code, Metrics, WireError};
use protocol::forwarded::{PROXY_BYTES_MAX, ProxyHeader, ProxySource, proxy_header};
use protocol::handshake::accept_key;
use protocol::ws::Opcode;
use rustls::ServerConfig;
use state::{Addresses, ForwardedHeaders, Permit};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::DoorSettings;
use crate::link::{Bounds, Incoming, Link, Outbox};

/// How long a session's last bytes may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The drain's delays: somewhere in this many milliseconds.
const RECONNECT_MS: u64 = 5_000;

/// A connection's permit among those of its address. Its holder drops it at the connection's end.
#[derive(Debug, Clone)]
pub struct ConnectionPermit(pub Option<Arc<Permit>>);

/// What the sessions of all doors share.
pub(crate) struct Edge {
    pub app: Arc<Services>,
    pub addresses: Arc<Addresses>,
    /// Between this door and those of other nodes.
    pub channels: Arc<dyn ChannelFanout>,
    pub settings: DoorSettings,
    pub tasks: TaskTracker,
}

/// One open connection, counted until it is dropped.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    door: &'static str,
    _permits: [Option<Arc<Permit>>; 2],
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.door_connections.get_or_create(&vec![("door", self.door)]).dec();
    }
}

impl Edge {
    /// Waits for the drain.
    pub async fn draining(&self) {
        // Its sender lives as long as the server.
        let _ = self.app.draining.clone().wait_for(|draining| *draining).await;
    }

    /// A delay after which to come back, in milliseconds, so that not all come at once.
    pub fn reconnect_ms(&self) -> u64 {
        rand::random_range(0..RECONNECT_MS)
    }

    fn bounds(&self) -> Bounds {
        let message_bytes_max = self.settings.limits.message_bytes_max;
        let settings::Sockets { backlog_bytes_max, slow_patience_s, .. } = self.settings.sockets;
        Bounds { message_bytes_max, backlog_bytes_max, patience: Duration::from_secs(slow_patience_s.into()) }
    }

    /// Counts a connection, unless its address has too many.
    fn admit(
        &self,
        door: &'static str,
        peer: IpAddr,
        forwarded: ForwardedHeaders<'_>,
        held: Option<Arc<Permit>>,
    ) -> Result<Counted, WireError> {
        let too_many = |_| {
            count(&self.app.metrics.handshakes, "outcome", "rate_limited");
            WireError::new(Code::RateLimited, "too many connections from this address").retry_after_ms(10_000)
        };
        let client = self.addresses.client(peer, forwarded);
        self.addresses.count_handshake(client, self.app.clock.now_ms()).map_err(too_many)?;
        let is_forwarded = client != peer.to_canonical();
        let permit = match (is_forwarded, &held) {
            (false, Some(_)) => None,
            _ => self.addresses.connect(client).map_err(too_many)?.map(Arc::new),
        };
        count(&self.app.metrics.handshakes, "outcome", "accepted");
        self.app.metrics.door_connections.get_or_create(&vec![("door", door)]).inc();
        Ok(Counted { metrics: self.app.metrics.clone(), door, _permits: [held, permit] })
    }

    /// Answers an upgrade and runs a session on it; or refuses it.
    pub fn upgrade<S: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        door: &'static str,
        (opcode, protocol): (Opcode, Option<&'static str>),
        mut request: Request,
        session: impl FnOnce(Arc<Self>, Incoming, Outbox) -> S + Send + 'static,
    ) -> Response {
        let Some(accept) = upgrade_key(request.headers()).map(accept_key) else { return not_an_upgrade() };
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(peer)| peer.ip());
        let held = request.extensions().get::<ConnectionPermit>().and_then(|permit| permit.0.clone());
        let lines = |name: &str| {
            let lines = request.headers().get_all(name).iter();
            let lines: Vec<String> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
            (!lines.is_empty()).then(|| lines.join(","))
        };
        let (x_forwarded_for, forwarded) = (lines("x-forwarded-for"), lines("forwarded"));
        let forwarded =
            ForwardedHeaders { x_forwarded_for: x_forwarded_for.as_deref(), forwarded: forwarded.as_deref() };
        let counted = match self.admit(door, peer, forwarded, held) {
            Ok(counted) => counted,
            Err(error) => return api::ApiError::from(error).into_response(),
        };
        let upgraded = hyper::upgrade::on(&mut request);
        let edge = self.clone();
        self.tasks.spawn(contained(async move {
            let _counted = counted;
            // A client that goes away before its answer is its own affair.
            let Ok(upgraded) = upgraded.await else { return };
            edge.run(Link::WebSocket(Box::new(TokioIo::new(upgraded)), opcode), session).await;
        }));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_bytes(&accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }

    async fn run<S: Future<Output = ()>>(
        self: Arc<Self>,
        link: Link,
        session: impl FnOnce(Arc<Self>, Incoming, Outbox) -> S,
    ) {
        let (incoming, outbox) = link.open(self.bounds(), self.app.metrics.clone());
        session(self, incoming, outbox.clone()).await;
        outbox.close(1000, "");
        let _ = timeout(LAST_WORDS, outbox.ended()).await;
    }

    /// A connection as it is, or after the handshake of TLS; none when the peer does not manage that in time.
    async fn secure(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Link> {
        // Lines are short, and each is somebody's.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return Some(Link::Tcp(stream)) };
        let within = Duration::from_secs(self.settings.sockets.handshake_s.into());
        let handshake = timeout(within, TlsAcceptor::from(tls).accept(stream));
        let secured = tokio::select! { () = self.draining() => return None, secured = handshake => secured };
        match secured {
            Ok(Ok(stream)) => Some(Link::Tls(Box::new(stream))),
            // What is no TLS, or distrusts the certificate, is the peer's affair.
            Ok(Err(_)) | Err(_) => {
                count(&self.app.metrics.handshakes, "outcome", "tls");
                None
            }
        }
    }

    /// A connection of a trusted proxy, without its PROXY header, and whom that names. None when it begins otherwise: nobody
    /// can say whose it is. The header comes before TLS.
    async fn proxied(&self, mut stream: TcpStream, peer: SocketAddr) -> Option<(TcpStream, SocketAddr)> {
        let within = Duration::from_secs(self.settings.sockets.handshake_s.into());
        let header = timeout(within, proxy_source(&mut stream));
        let header = tokio::select! { () = self.draining() => return None, header = header => header };
        match header {
            Ok(Ok(Some(source))) => Some((stream, self.addresses.proxied(peer, source))),
            Ok(Ok(None)) | Err(_) => {
                tracing::debug!(%peer, "no PROXY header from a trusted proxy");
                count(&self.app.metrics.handshakes, "outcome", "proxy_header");
                None
            }
            // The proxy has gone, as health checks do.
            Ok(Err(_)) => None,
        }
    }

    /// Runs a session for a client whose address is known, unless that has too many.
    async fn serve<S: Future<Output = ()>>(
        self: Arc<Self>,
        door: &'static str,
        stream: TcpStream,
        client: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        session: impl FnOnce(Arc<Self>, Incoming, Outbox) -> S,
    ) {
        if let Ok(counted) = self.admit(door, client.ip(), ForwardedHeaders::default(), None) {
            self.serve_counted(counted, stream, tls, session).await;
        }
    }

    async fn serve_counted<S: Future<Output = ()>>(
        self: Arc<Self>,
        counted: Counted,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        session: impl FnOnce(Arc<Self>, Incoming, Outbox) -> S,
    ) {
        let _counted = counted;
        if let Some(link) = self.secure(stream, tls).await {
            self.run(link, session).await;
        }
    }

    /// Accepts connections until the drain, each with a session of its own.
    pub async fn accept<S: Future<Output = ()> + Send + 'static>(
        self: Arc<Self>,
        door: &'static str,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        session: impl Fn(Arc<Self>, Incoming, Outbox) -> S + Clone + Send + 'static,
    ) {
        let mut has_logged = false;
        loop {
            let accepted = tokio::select! {
                () = self.draining() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) if self.addresses.sends_proxy_header(peer.ip()) => {
                    let (edge, tls, session) = (self.clone(), tls.clone(), session.clone());
                    self.tasks.spawn(contained(async move {
                        let Some((stream, client)) = edge.proxied(stream, peer).await else { return };
                        edge.serve(door, stream, client, tls, session).await;
                    }));
                }
                Ok((stream, peer)) => {
                    // A flooding address is not answered, and costs no task.
                    let Ok(counted) = self.admit(door, peer.ip(), ForwardedHeaders::default(), None) else { continue };
                    let (edge, tls, session) = (self.clone(), tls.clone(), session.clone());
                    self.tasks.spawn(contained(edge.serve_counted(counted, stream, tls, session)));
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_logged, true) {
                        tracing::error!(%error, door, "accepting connections failed; trying again every 100 ms");
                    }
                    count(&self.app.metrics.handshakes, "outcome", "accept_failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Reads a PROXY header, and nothing of what follows it; none when the connection begins otherwise.
async fn proxy_source(stream: &mut TcpStream) -> io::Result<Option<ProxySource>> {
    let (mut bytes, mut read) = ([0; PROXY_BYTES_MAX], 0);
    loop {
        let peeked = stream.peek(bytes.get_mut(read..).unwrap_or_default()).await?;
        if peeked == 0 {
            return if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
        }
        let (end, source) = match proxy_header(bytes.get(..read + peeked).unwrap_or_default()) {
            ProxyHeader::Invalid => return Ok(None),
            // All of it is the header's: taken out, so that the next look waits for more.
            ProxyHeader::Incomplete => (read + peeked, None),
            ProxyHeader::Complete { bytes, source } => (bytes, Some(source)),
        };
        stream.read_exact(bytes.get_mut(read..end).unwrap_or_default()).await?;
        if source.is_some() {
            return Ok(source);
        }
        read = end;
    }
}

/// Whether a request asks for a WebSocket.
pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Whether a client offers a sub-protocol.
pub(crate) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The key of a well-formed upgrade (RFC 6455, section 4.2.1).
fn upgrade_key(headers: &HeaderMap) -> Option<&str> {
    let is_upgrade = asks_for_upgrade(headers) && has_token(headers, header::CONNECTION, "upgrade");
    let is_spoken = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    (is_upgrade && is_spoken && key.len() == 24).then_some(key)
}

fn not_an_upgrade() -> Response {
    let error = WireError::invalid("this address speaks WebSocket, version 13");
    let mut response = api::ApiError::from(error).with_status(StatusCode::UPGRADE_REQUIRED).into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}
