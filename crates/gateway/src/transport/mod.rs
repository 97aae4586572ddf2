//! What is under a socket: plain TCP, TLS, or a WebTransport session over QUIC.
//!
//! [`crate::conn::Conn`] reads and writes through [`Transport`] and knows no other name. A transport is a file (or folder)
//! here, a variant, and an arm in each method below. It never blocks, never frames, and never decides when to write.
//! An enum instead of a trait object: a send to a socket costs a comparison, not an indirect call.

#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(not(feature = "quic"))]
#[path = "without_quic.rs"]
pub(crate) mod quic;
mod tcp;
mod tls;

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

pub use quic::listener::QuicError;
pub(crate) use tcp::{configure_listener, unacknowledged_bytes};
pub(crate) use tls::TlsSession;
pub use tls::{ServerTls, TlsError};

use crate::transport::quic::{BatchSender, QuicStream};
use crate::transport::tls::TlsStream;

/// How a batch left that was sent beside a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "quic"), expect(dead_code, reason = "nothing is sent beside a stream without QUIC"))]
pub(crate) enum BatchSent {
    /// In one datagram.
    Datagram,
    /// On a stream of its own, because it is longer than a datagram.
    Stream,
    /// Not at all: the client grants no stream, or takes nothing.
    Dropped,
}

pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(TlsStream),
    Quic(Box<QuicStream>),
}

impl Transport {
    /// A transport over an accepted socket: TLS when there is a certificate.
    pub fn new(socket: TcpStream, tls: Option<&ServerTls>) -> Result<Self, TlsError> {
        Ok(match tls {
            None => Self::Tcp(socket),
            Some(tls) => Self::Tls(TlsStream { socket, session: Box::new(tls.accept()?) }),
        })
    }

    /// Watches the socket for reading and writing, for as long as it lives.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.socket() {
            Some(socket) => registry.register(socket, token, Interest::READABLE | Interest::WRITABLE),
            // Its waker is in the inbox.
            None => Ok(()),
        }
    }

    /// Stops watching the socket.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket().map_or(Ok(()), |socket| registry.deregister(socket))
    }

    /// The socket, when all of the connection's state is in the kernel.
    pub fn plain(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(socket) => Some(socket.as_fd()),
            Self::Tls(_) | Self::Quic(_) => None,
        }
    }

    /// A transport over the plain socket of another process.
    pub fn from_plain(socket: OwnedFd) -> Self {
        Self::Tcp(TcpStream::from_std(socket.into()))
    }

    /// Stops watching the socket and gives it away, with its TLS session.
    pub fn release(mut self, registry: &Registry) -> io::Result<(std::net::TcpStream, Option<Box<TlsSession>>)> {
        if let Some(socket) = self.socket() {
            registry.deregister(socket)?;
        }
        let (socket, session) = match self {
            Self::Tcp(socket) => (socket, None),
            Self::Tls(TlsStream { socket, session }) => (socket, Some(session)),
            Self::Quic(_) => return Err(ErrorKind::Unsupported.into()),
        };
        Ok((OwnedFd::from(socket).into(), session))
    }

    /// Copies the first bytes without reading them; `None` where only a read can tell, because they are encrypted.
    pub fn peek(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Some(socket.peek(buffer)),
            Self::Tls(_) | Self::Quic(_) => None,
        }
    }

    /// Copies the first bytes that are on the wire, encrypted or not.
    pub fn peek_raw(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) | Self::Tls(TlsStream { socket, .. }) => socket.peek(buffer),
            Self::Quic(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Reads as many bytes as `buffer` has, which were peeked at, off the wire.
    pub fn skip_raw(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self.socket() {
            Some(socket) => io::Read::read_exact(socket, buffer),
            None => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Reads once; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => io::Read::read(socket, buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Quic(stream) => stream.read(buffer),
        }
    }

    /// Whether more may follow a read at once. A plain read that left room in its buffer has emptied the kernel's, and
    /// the next bytes come with their own edge. TLS and QUIC read less than they are offered.
    pub fn may_have_more(&self, filled: bool) -> bool {
        match self {
            Self::Tcp(_) => filled,
            Self::Tls(_) | Self::Quic(_) => true,
        }
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Quic(_))
    }

    /// Whether the transport itself holds bytes that the kernel has not taken.
    pub fn has_pending(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(stream) => stream.session.has_pending(),
            Self::Quic(stream) => stream.has_pending(),
        }
    }

    /// Shuts our side. Nothing else may wait by then. The caller repeats it when the socket becomes writable.
    pub fn shutdown(&mut self) {
        let closed = match self {
            Self::Tcp(_) => true,
            Self::Tls(stream) => stream.close().is_ok(),
            // Its close frame has ended the session.
            Self::Quic(_) => false,
        };
        if closed && let Some(socket) = self.socket() {
            // Fails only when the peer is gone already, which the next read tells.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Bytes written that the peer has not acknowledged; 0 where the kernel cannot say.
    pub fn unacknowledged_bytes(&self) -> u32 {
        match self {
            Self::Tcp(socket) | Self::Tls(TlsStream { socket, .. }) => tcp::unacknowledged_bytes(socket),
            // Its window is so small that acknowledged bytes show as writes.
            Self::Quic(_) => 0,
        }
    }

    /// Whether a close needs not wait for what is written before it.
    pub fn closes_beside(&self) -> bool {
        matches!(self, Self::Quic(_))
    }

    /// The session, where there is no socket of its own.
    pub fn session(&mut self) -> Option<&mut QuicStream> {
        match self {
            Self::Tcp(_) | Self::Tls(_) => None,
            Self::Quic(stream) => Some(stream),
        }
    }

    /// Where batches go that are sent beside the stream.
    pub fn batches(&mut self) -> Option<&mut BatchSender> {
        self.session()?.batches()
    }

    fn socket(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Tcp(socket) | Self::Tls(TlsStream { socket, .. }) => Some(socket),
            Self::Quic(_) => None,
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Quic(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(slices),
            // Each record is encrypted for itself; each message is framed for itself.
            Self::Tls(_) | Self::Quic(_) => {
                slices.iter().find(|slice| !slice.is_empty()).map_or(Ok(0), |slice| self.write(slice))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
            Self::Quic(stream) => stream.flush(),
        }
    }
}
