//! What is handed to the HTTP side: connections that are not for `/ws`, and how they are read there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Tls;

/// A connection that does not ask for `/ws`. Nothing has been read from it but what its TLS needed.
#[derive(Debug)]
pub struct HttpConnection {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) tls: Option<Box<Tls>>,
    /// Decrypted already.
    pub(crate) head: Vec<u8>,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Option<Box<state::Permit>>,
}

impl HttpConnection {
    /// Its bytes in plain, who connected, and its place among the connections of its address, given back when
    /// dropped. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn open(self) -> io::Result<(HttpStream, SocketAddr, Option<Box<state::Permit>>)> {
        let Self { stream, tls, head, peer, place } = self;
        Ok((HttpStream { stream: TcpStream::from_std(stream)?, tls, head }, peer, place))
    }
}

/// A connection as the HTTP side reads and writes it.
#[derive(Debug)]
pub struct HttpStream {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    head: Vec<u8>,
}

/// The socket without waiting.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HttpStream {
    /// Tries until it succeeds, fails or has to wait for the socket to take more.
    fn when_writable<T>(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Tls, &mut Now<'_>) -> io::Result<T>,
    ) -> Option<Poll<io::Result<T>>> {
        let Self { stream, tls, .. } = self;
        let tls = tls.as_mut()?;
        loop {
            match attempt(tls, &mut Now(stream)) {
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
            match tls.read(&mut Now(&this.stream), out.initialize_unfilled()) {
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
        match this.when_writable(context, |tls, socket| tls.write(socket, bytes)) {
            Some(polled) => polled,
            None => Pin::new(&mut this.stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.when_writable(context, |tls, socket| tls.flush(socket)) {
            Some(polled) => polled,
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(polled) = this.when_writable(context, |tls, socket| tls.close(socket)) {
            ready!(polled)?;
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
