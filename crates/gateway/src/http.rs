//! Connections that are not for `/ws`, as the HTTP side reads and writes them.
//!
//! A shard makes an [`HttpConnection`] of what it does not serve; the HTTP server opens it. Never looks at a request.
//! A peer that does not take what it asked for loses its connection, as a socket does.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::transport::{TlsSession, unacknowledged_bytes};

/// What a peer must take while its patience lasts. Links of 1990 manage it; a drip of single bytes does not.
const TAKEN_MIN: u64 = 4 * 1024;

/// A connection that does not ask for `/ws`. Nothing has been read from it but what its TLS needed.
#[derive(Debug)]
pub struct HttpConnection {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) tls: Option<Box<TlsSession>>,
    /// Bytes read and decrypted already.
    pub(crate) head: Vec<u8>,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: Option<Box<state::Permit>>,
}

impl HttpConnection {
    /// Its plaintext stream, its peer, and its permit among the connections of its address, returned when dropped. Writes
    /// fail when the peer takes next to nothing for as long as `patience`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn open(self, patience: Duration) -> io::Result<(HttpStream, SocketAddr, Option<Box<state::Permit>>)> {
        let Self { stream, tls, head, peer, permit } = self;
        let stream = HttpStream { stream: TcpStream::from_std(stream)?, tls, head, patience, blocked: None };
        Ok((stream, peer, permit))
    }
}

/// A connection as the HTTP side reads and writes it.
#[derive(Debug)]
pub struct HttpStream {
    stream: TcpStream,
    tls: Option<Box<TlsSession>>,
    head: Vec<u8>,
    patience: Duration,
    /// Present while the peer does not take what is to be written.
    blocked: Option<Box<Blocked>>,
}

/// Since when a peer takes too little.
#[derive(Debug)]
struct Blocked {
    until: Pin<Box<Sleep>>,
    /// Written since then.
    written: u64,
    /// What the kernel had and the peer had not acknowledged.
    unacknowledged: u64,
}

/// The socket as blocking-style reads and writes that never wait.
struct NonBlocking<'a>(&'a TcpStream);

impl Read for NonBlocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HttpStream {
    /// Passes a write on. When it waits for the peer, gives up once the peer has taken fewer than [`TAKEN_MIN`] bytes for
    /// as long as the patience lasts.
    fn paced<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let unacknowledged = u64::from(unacknowledged_bytes(&self.stream));
        let patience = self.patience;
        let blocked = self.blocked.get_or_insert_with(|| {
            Box::new(Blocked { until: Box::pin(tokio::time::sleep(patience)), written: 0, unacknowledged })
        });
        while blocked.until.as_mut().poll(context).is_ready() {
            if (blocked.unacknowledged + blocked.written).saturating_sub(unacknowledged) < TAKEN_MIN {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            (blocked.written, blocked.unacknowledged) = (0, unacknowledged);
            blocked.until.as_mut().reset(Instant::now() + patience);
        }
        Poll::Pending
    }

    fn count_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(n)), Some(blocked)) = (&written, &mut self.blocked) {
            blocked.written += *n as u64;
        }
        written
    }

    /// Repeats an attempt until it succeeds, fails, or waits for the socket to become writable. `None` without TLS.
    fn poll_tls<T>(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut TlsSession, &mut NonBlocking<'_>) -> io::Result<T>,
    ) -> Option<Poll<io::Result<T>>> {
        let Self { stream, tls, .. } = self;
        let tls = tls.as_mut()?;
        loop {
            match attempt(tls, &mut NonBlocking(stream)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => match stream.poll_write_ready(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                    Poll::Pending => return Some(Poll::Pending),
                },
                done => return Some(Poll::Ready(done)),
            }
        }
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.head.is_empty() {
            let n = this.head.len().min(out.remaining());
            out.put_slice(&this.head.drain(..n).collect::<Vec<_>>());
            return Poll::Ready(Ok(()));
        }
        let Some(tls) = &mut this.tls else { return Pin::new(&mut this.stream).poll_read(context, out) };
        loop {
            match tls.read(&mut NonBlocking(&this.stream), out.initialize_unfilled()) {
                Ok(n) => {
                    out.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(this.stream.poll_read_ready(context))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.poll_tls(context, |tls, socket| tls.write(socket, bytes)) {
            Some(polled) => polled,
            None => Pin::new(&mut this.stream).poll_write(context, bytes),
        };
        let written = this.count_written(written);
        this.paced(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.tls.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return Pin::new(this).poll_write(context, first);
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        let written = this.count_written(written);
        this.paced(context, written)
    }

    /// Without TLS, shared bytes go to the kernel from where they are, and no connection has a copy.
    fn is_write_vectored(&self) -> bool {
        self.tls.is_none()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match this.poll_tls(context, |tls, socket| tls.flush(socket)) {
            Some(polled) => polled,
            None => Poll::Ready(Ok(())),
        };
        if flushed.is_ready() {
            this.blocked = None; // The kernel has everything.
        }
        this.paced(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(polled) = this.poll_tls(context, |tls, socket| tls.close(socket)) {
            ready!(this.paced(context, polled))?;
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
