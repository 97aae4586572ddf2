//! Connections between nodes: plain TCP, or TLS with a certificate on both sides.
//!
//! [`PeerSecurity`] is how this node proves itself and what it asks of others. [`super::serve`] takes connections from
//! [`incoming`]; the senders call [`connect`].

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster::tls::{PeerTls, tls_failure};
use futures::stream::{FuturesUnordered, unfold};
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{CONNECT_MAX, CONNECTION_WINDOW, PING, PONG_MAX, STREAM_WINDOW, Secret};

/// Handshakes at once. Further connections wait in the listener's queue.
const HANDSHAKES_MAX: usize = 64;
/// Pause after a connection that could not be accepted: the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How every TLS connection begins (RFC 8446 §5.1): a record of the type handshake. HTTP/2 begins with a letter.
const TLS_HANDSHAKE: u8 = 22;

/// How a node proves itself to others, and what it asks of them.
#[derive(Clone)]
pub struct PeerSecurity {
    /// What only nodes of the deployment know.
    pub secret: Secret,
    /// Certificates; without them nothing is encrypted.
    pub tls: Option<Arc<PeerTls>>,
    /// Whether nodes without TLS are spoken to all the same.
    pub tls_optional: bool,
}

impl From<Secret> for PeerSecurity {
    fn from(secret: Secret) -> Self {
        Self { secret, tls: None, tls_optional: false }
    }
}

/// A connection between two nodes.
pub(super) enum PeerStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that adds the secret to every call.
pub(super) type Spoken = InterceptedService<Channel, Secret>;

/// Connects to another node.
pub(super) async fn connect(address: &str, security: &PeerSecurity) -> Result<Spoken, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (address, security) = (address.to_owned(), security.clone());
    let secret = security.secret.clone();
    let dial = move |_: Uri| {
        let (address, security) = (address.clone(), security.clone());
        async move { dial(&address, &security).await.map(TokioIo::new) }
    };
    Ok(InterceptedService::new(endpoint.connect_with_connector(service_fn(dial)).await?, secret))
}

async fn dial(address: &str, security: &PeerSecurity) -> io::Result<PeerStream> {
    if let Some(tls) = &security.tls {
        match tls.dial(address).await {
            Ok(stream) => return Ok(PeerStream::Tls(Box::new(stream))),
            // It may be a node from before the certificates.
            Err(_) if security.tls_optional => {}
            Err(error) => return Err(error),
        }
    }
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(PeerStream::Plain(socket))
}

/// Logs why another node is not connected. What TLS says is for people to mend; everything else ends by itself.
pub(super) fn log_failure(address: &str, error: &(dyn Error + 'static)) {
    match tls_failure(error) {
        Some(error) => {
            tracing::warn!(address, %error, "no TLS with another node: look at [nodes] here and there");
        }
        None => tracing::debug!(address, %error, "no connection with another node"),
    }
}

/// Connections from other nodes, whose handshakes run side by side.
pub(super) fn incoming(
    listener: TcpListener,
    security: PeerSecurity,
) -> impl Stream<Item = io::Result<PeerStream>> + Send {
    unfold((listener, FuturesUnordered::new(), security), |(listener, mut handshakes, security)| async move {
        loop {
            let accepted = tokio::select! {
                Some(done) = handshakes.next(), if !handshakes.is_empty() => {
                    match done {
                        Some(stream) => return Some((Ok(stream), (listener, handshakes, security))),
                        None => continue,
                    }
                }
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => accepted,
            };
            match accepted {
                Ok((socket, from)) => handshakes.push(shake_hands(socket, from, security.clone())),
                Err(error) => {
                    tracing::warn!(%error, "a connection from another node could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn shake_hands(socket: TcpStream, from: SocketAddr, security: PeerSecurity) -> Option<PeerStream> {
    // Without it an answer may wait for the other side's acknowledgement; it works all the same.
    let _ = socket.set_nodelay(true);
    let Some(tls) = &security.tls else { return Some(PeerStream::Plain(socket)) };
    let shaken = timeout(CONNECT_MAX, async {
        let mut first = [0];
        let is_tls = socket.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE];
        if !is_tls && security.tls_optional {
            return Ok(PeerStream::Plain(socket));
        }
        tls.accept(socket).await.map(|stream| PeerStream::Tls(Box::new(stream)))
    });
    let error = match shaken.await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    match tls_failure(&error) {
        Some(tokio_rustls::rustls::Error::InvalidMessage(_)) => {
            tracing::warn!(from = %from.ip(), "a connection without TLS was refused; nodes have to have [nodes] certificates");
        }
        Some(error) => {
            tracing::warn!(from = %from.ip(), %error, "a node was refused: nodes.ca_file does not vouch for its certificate");
        }
        // A check of a load balancer, or a node that has gone.
        None => tracing::debug!(from = %from.ip(), %error, "a connection ended before its handshake"),
    }
    None
}

impl Connected for PeerStream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// One call of whichever stream it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            PeerStream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            PeerStream::Tls($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
