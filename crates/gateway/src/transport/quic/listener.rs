//! Accepts QUIC connections, reads the one request of each, and ends sessions in words.
//!
//! Runs on Tokio: one task for the socket, one for each connection. A connection's task asks a shard about the request
//! through its inbox, then waits for what is rare: the client's stream, its end, the shard's close. It never touches messages.
//!
//! What a stranger can make it hold is bounded: handshakes under way (beyond some, addresses are validated by a retry
//! first, RFC 9000 §8.1.2), time, streams and bytes of each connection.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::metrics::count_by;
use model::panics::contained;
use model::{Code, WireError};
use protocol::handshake::{Request, SubProtocol, query_pairs};
use protocol::ws::Opcode;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use quinn_proto::RandomConnectionIdGenerator;
use socket2::SockRef;
use tokio::sync::{Semaphore, oneshot, watch};
use wtransport_proto::headers::Headers;

use super::h3::{self, H3Error};
use super::{SessionClose, SessionHandle, Verdict};
use crate::conn::Upgrade;
use crate::conn::handshake::check_upgrade;
use crate::shard::inbox::Inbound;
use crate::{Common, ServerTls, TlsError};

/// Handshakes under way at once; further connections are refused.
const HANDSHAKES_MAX: usize = 1_024;
/// From so many on, an address must answer a retry before anything is kept for it.
const RETRY_FROM: usize = 64;
/// Bytes the kernel should hold of datagrams in each direction.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// Fewer than this lose datagrams when many viewers are served.
const SOCKET_BYTES_MIN: usize = 1024 * 1024;
/// Bytes of a connection that may be under way without an acknowledgement.
const SEND_WINDOW: u64 = 256 * 1024;
/// Datagrams that may wait for the network; older ones are dropped first.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Bytes a client may send before they are read: on a stream, and on all streams together.
const STREAM_WINDOW: u32 = 64 * 1024;
const RECEIVE_WINDOW: u32 = 128 * 1024;
/// Streams a client may have open: the request, its messages, and what it opens in vain.
const BIDI_STREAMS_MAX: u32 = 4;
/// Control and QPACK, and what a client opens in vain. These are never read: nothing in them concerns a session.
const UNI_STREAMS_MAX: u32 = 8;
/// Streams beyond the first that end a session.
const EXTRA_STREAMS_MAX: u32 = 16;
/// Bytes of our connection ids; eight are enough to never meet twice.
const CONNECTION_ID_BYTES: usize = 8;
/// How long the peer may take to acknowledge the last bytes.
const LAST_BYTES_WITHIN: Duration = Duration::from_secs(2);
/// How long a client may take to hang up after it was told the end of its session.
const HANG_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long the shard may take to answer a request: its room has to be warm.
const VERDICT_WITHIN: Duration = Duration::from_secs(40);
/// How much longer than a silent socket a silent connection lives, so that the shard ends it in words.
const IDLE_EXTRA_S: u32 = 10;

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The certificate or the cryptography does not serve for QUIC.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cryptography lacks what QUIC begins with.
    #[error("TLS cannot be used for QUIC: {0}")]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The socket cannot be used.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// The running listener.
pub(crate) struct QuicListener {
    endpoint: Endpoint,
    accepting: watch::Sender<bool>,
}

impl QuicListener {
    /// Accepts sessions on `socket`. Must be called within a Tokio runtime.
    pub fn start(socket: UdpSocket, tls: &ServerTls, common: Arc<Common>) -> Result<Self, QuicError> {
        enlarge_buffers(&socket)?;
        let config = server_config(tls, common.services.settings.dead_after_s())?;
        let endpoint = Endpoint::new(endpoint_config(), Some(config), socket, Arc::new(TokioRuntime))?;
        let (accepting, accepts) = watch::channel(true);
        tokio::spawn(accept_all(endpoint.clone(), common, accepts));
        Ok(Self { endpoint, accepting })
    }

    /// Stops accepting.
    pub fn refuse_new(&self) {
        self.accepting.send_replace(false);
        self.endpoint.set_server_config(None);
    }

    /// Ends what is left, once the shards have ended their sessions.
    pub async fn end(self) {
        self.endpoint.close(h3::NO_ERROR, b"");
        // A peer that is gone takes no longer than this.
        let _ = tokio::time::timeout(LAST_BYTES_WITHIN, self.endpoint.wait_idle()).await;
    }
}

/// Asks the kernel for larger buffers, and says how to allow them where it does not.
fn enlarge_buffers(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = SockRef::from(socket);
    // Linux grants what its limits allow and says nothing.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if granted < SOCKET_BYTES_MIN {
        tracing::warn!(
            granted_bytes = granted,
            "the kernel's buffers for UDP are small, so QUIC loses datagrams under load; as root: \
             sysctl -w net.core.rmem_max={SOCKET_BYTES} net.core.wmem_max={SOCKET_BYTES}"
        );
    }
    Ok(())
}

/// Connection ids are random throughout. quinn's own have 24 random bits, so with thousands of connections the id of a retry
/// is another connection's now and then, and the client's packets go there.
fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID_BYTES)));
    config
}

fn server_config(tls: &ServerTls, dead_after_s: u32) -> Result<ServerConfig, QuicError> {
    let mut transport = TransportConfig::default();
    // Seconds in milliseconds fit a varint for centuries.
    let idle_ms = dead_after_s.saturating_add(IDLE_EXTRA_S).saturating_mul(1_000);
    transport
        .max_idle_timeout(Some(VarInt::from_u32(idle_ms).into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(STREAM_WINDOW as usize))
        .datagram_send_buffer_size(DATAGRAM_BYTES_MAX);
    let crypto = QuicServerConfig::try_from(tls.quic_config()?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport)).max_incoming(HANDSHAKES_MAX);
    Ok(config)
}

async fn accept_all(endpoint: Endpoint, common: Arc<Common>, mut accepts: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = accepts.wait_for(|accepts| !*accepts) => None,
        };
        let Some(incoming) = incoming else { return };
        let under_way = HANDSHAKES_MAX - slots.available_permits();
        if under_way >= RETRY_FROM && incoming.may_retry() && !incoming.remote_address_validated() {
            count_handshake(&common, "quic_retry");
            // Fails only where no retry may be sent.
            let _ = incoming.retry();
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            count_handshake(&common, "overloaded");
            incoming.refuse();
            continue;
        };
        let common = common.clone();
        tokio::spawn(contained(async move {
            let within = Duration::from_secs(common.services.settings.sockets.handshake_s.into());
            let opened = tokio::time::timeout(within, open(incoming)).await;
            drop(slot);
            match opened {
                Ok(Ok(request)) => serve(request, &common).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a QUIC handshake failed");
                    count_handshake(&common, "quic");
                }
                Err(_) => count_handshake(&common, "timeout"),
            }
        }));
    }
}

fn count_handshake(common: &Common, outcome: &'static str) {
    count_by(&common.services.metrics.handshakes, "outcome", outcome, 1);
}

/// A connection and its one request.
struct SessionRequest {
    connection: Connection,
    /// Our control stream; its end would end the connection.
    control: SendStream,
    send: SendStream,
    receive: RecvStream,
    headers: Headers,
}

impl SessionRequest {
    fn session(&self) -> u64 {
        quinn::VarInt::from(self.send.id()).into_inner()
    }
}

async fn open(incoming: Incoming) -> Result<SessionRequest, H3Error> {
    let connection = incoming.await.map_err(io::Error::other)?;
    let opened = open_session(&connection).await;
    if opened.is_err() {
        connection.close(h3::PROTOCOL_ERROR, b"");
    }
    let (control, send, receive, headers) = opened?;
    Ok(SessionRequest { connection, control, send, receive, headers })
}

async fn open_session(connection: &Connection) -> Result<(SendStream, SendStream, RecvStream, Headers), H3Error> {
    let mut control = connection.open_uni().await.map_err(io::Error::other)?;
    h3::write(&mut control, &h3::control_stream(), false).await?;
    let (send, mut receive) = connection.accept_bi().await.map_err(io::Error::other)?;
    let headers = h3::read_request(&mut receive).await?;
    Ok((control, send, receive, headers))
}

/// Asks a shard about the request, answers it, and keeps the session until its end.
async fn serve(mut request: SessionRequest, common: &Common) {
    let peer = request.connection.remote_address();
    let (verdict, decided) = oneshot::channel();
    let (close, closed) = oneshot::channel();
    let session = request.session();
    let status = match offer(&request, peer, common) {
        Err(error) => {
            count_handshake(common, error.code.as_str());
            error.code.status()
        }
        Ok(offer) => {
            let handle = SessionHandle {
                connection: request.connection.clone(),
                session,
                opcode: if offer.protocol == SubProtocol::Proto { Opcode::Binary } else { Opcode::Text },
                message_bytes_max: common.services.settings.limits.message_bytes_max,
                datagrams: offer.datagrams,
                verdict,
                close,
            };
            let turn = common.next_shard.fetch_add(1, Ordering::Relaxed);
            let shard = (turn % common.inboxes.len() as u64) as usize;
            let Some(inbox) = common.inboxes.get(shard) else { return };
            inbox.push(Inbound::Session(Box::new(NewSession { handle, upgrade: offer.upgrade, peer: peer.ip() })));
            let verdict = tokio::select! {
                verdict = tokio::time::timeout(VERDICT_WITHIN, decided) => verdict.ok().and_then(Result::ok),
                _ = request.connection.closed() => None,
            };
            match verdict {
                Some(Verdict::Accept(conn)) => {
                    let sessions = &common.services.metrics.webtransport_sessions;
                    sessions.inc();
                    let code = hold(&mut request, closed, conn, inbox, common).await;
                    sessions.dec();
                    return inbox.push(Inbound::SessionEnded(conn, code));
                }
                Some(Verdict::Refuse(status)) => status,
                None => 503,
            }
        }
    };
    refuse(&mut request, status).await;
}

/// A session for a shard.
pub(crate) struct NewSession {
    pub handle: SessionHandle,
    pub upgrade: Upgrade,
    /// Whose connections it counts among.
    pub peer: IpAddr,
}

/// What a request asks for, checked.
struct Offer {
    upgrade: Upgrade,
    protocol: SubProtocol,
    datagrams: bool,
}

fn offer(request: &SessionRequest, peer: SocketAddr, common: &Common) -> Result<Offer, WireError> {
    let header = |name: &str| request.headers.get(name);
    let (path, query) = header(":path").map_or(("", ""), |path| path.split_once('?').unwrap_or((path, "")));
    let is_session = header(":method") == Some("CONNECT") && header(":protocol") == Some("webtransport");
    if !is_session || path != "/wt" || !common.services.settings.accepts_sockets {
        return Err(WireError::new(Code::NotFound, "only /wt is served over HTTP/3"));
    }
    let (mut protocol, mut datagrams) = ("barrage.v1.json", false);
    for (name, value) in query_pairs(query) {
        match (&*name, &*value) {
            ("protocol", "" | "json") => {}
            ("protocol", "proto") => protocol = "barrage.v1.proto",
            ("protocol", _) => return Err(WireError::invalid("protocol must be json or proto")),
            ("datagrams", value) => datagrams = value == "true",
            _ => {}
        }
    }
    let upgrade = Request {
        head_bytes: 0,
        path,
        query,
        host: header(":authority").unwrap_or_default(),
        key: "",
        protocols: Some(Cow::Borrowed(protocol)),
        extensions: None,
        origin: header("origin"),
        authorization: header("authorization"),
        forwarded_for: header("x-forwarded-for").map(Cow::Borrowed),
        forwarded: header("forwarded").map(Cow::Borrowed),
        user_agent: header("user-agent"),
    };
    let upgrade = check_upgrade(&upgrade, peer.ip(), common)?;
    Ok(Offer { protocol: upgrade.protocol.unwrap_or(SubProtocol::Json), upgrade, datagrams })
}

async fn refuse(request: &mut SessionRequest, status: u16) {
    if h3::write(&mut request.send, &h3::response(status), true).await.is_ok() {
        acknowledged(&request.send).await;
    }
    request.connection.close(h3::NO_ERROR, b"");
}

/// Waits until the peer has all of a finished stream, or for a while.
async fn acknowledged(stream: &SendStream) {
    // The connection may end meanwhile: that is an end, too.
    let _ = tokio::time::timeout(LAST_BYTES_WITHIN, stream.stopped()).await;
}

/// Keeps an accepted session. Returns the code with which the client ended it; `None` when the connection was lost, or the
/// shard ended it.
async fn hold(
    request: &mut SessionRequest,
    closed: oneshot::Receiver<SessionClose>,
    conn: hub::batch::ConnRef,
    inbox: &crate::shard::inbox::Inbox,
    common: &Common,
) -> Option<u32> {
    let session = request.session();
    let connection = request.connection.clone();
    if h3::write(&mut request.send, &h3::response(200), false).await.is_err() {
        return None;
    }
    let ended = {
        let mut streams = pin!(accept_streams(&connection, session, conn, inbox));
        let mut datagrams = pin!(ignore_datagrams(&connection, common));
        let mut client_close = pin!(h3::read_close(&mut request.receive));
        tokio::select! {
            close = closed => close.ok().map(Ended::ByShard),
            code = &mut client_close => Some(Ended::ByClient(code)),
            () = &mut streams => {
                connection.close(h3::EXCESSIVE_LOAD, b"too many streams");
                None
            }
            () = &mut datagrams => None,
        }
    };
    match ended {
        Some(Ended::ByShard(close)) => {
            end_session(request, close).await;
            None
        }
        Some(Ended::ByClient(code)) => {
            let lost = connection.close_reason().is_some();
            // The answer of RFC 9297: our side of the request ends, too.
            if request.send.finish().is_ok() {
                acknowledged(&request.send).await;
            }
            connection.close(h3::NO_ERROR, b"");
            code.or_else(|| (!lost).then_some(0))
        }
        None => {
            connection.close(h3::NO_ERROR, b"");
            None
        }
    }
}

/// Who ended a session.
enum Ended {
    ByShard(SessionClose),
    ByClient(Option<u32>),
}

/// Ends a session with its code and reason, behind the rest of its stream, then the connection.
async fn end_session(request: &mut SessionRequest, close: SessionClose) {
    let SessionClose { code, reason, rest } = close;
    if let Some(rest) = rest {
        acknowledged(&rest).await;
    }
    if h3::write(&mut request.send, &h3::close_session(code, &reason), true).await.is_ok() {
        let session = request.session();
        // Who is told to come back learns that this connection takes no further request.
        let _ = h3::write(&mut request.control, &h3::goaway(session), false).await;
        acknowledged(&request.send).await;
        // Who has read it hangs up. A connection that ends sooner may overtake the reading.
        let _ = tokio::time::timeout(HANG_UP_WITHIN, request.connection.closed()).await;
    }
    request.connection.close(h3::NO_ERROR, b"");
}

/// Gives the first stream of the session to its shard and refuses all others. Ends when there are too many of them.
async fn accept_streams(
    connection: &Connection,
    session: u64,
    conn: hub::batch::ConnRef,
    inbox: &crate::shard::inbox::Inbox,
) {
    let (mut attached, mut extra) = (false, 0);
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let header = tokio::time::timeout(LAST_BYTES_WITHIN, h3::read_bidi_header(&mut receive, session)).await;
        if !attached && matches!(header, Ok(Ok(true))) {
            attached = true;
            inbox.push(Inbound::SessionStream(conn, Box::new((send, receive))));
            continue;
        }
        extra += 1;
        if extra > EXTRA_STREAMS_MAX {
            return;
        }
        // Both fail only for streams that have ended.
        let _ = send.reset(h3::STREAM_REJECTED);
        let _ = receive.stop(h3::STREAM_REJECTED);
    }
    std::future::pending().await
}

/// Counts what clients send by datagram. Ends with the connection.
async fn ignore_datagrams(connection: &Connection, common: &Common) {
    while connection.read_datagram().await.is_ok() {
        common.services.metrics.datagrams_ignored.inc();
    }
}
