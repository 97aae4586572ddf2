//! WebTransport: sessions over HTTP/3 and QUIC, on UDP.
//!
//! [`listener`] accepts connections and requests on Tokio and gives each session to a shard; [`h3`] has the bytes of HTTP/3,
//! [`framing`] those of messages. [`QuicStream`] is the shard's side: it reads and writes as sockets do, never blocks, and a
//! waker in the shard's inbox stands for epoll's edge. One session a connection, one bidirectional stream a session.
//!
//! A shard writes WebSocket frames; they become messages here. A close frame becomes WT_CLOSE_SESSION. Batches of a client
//! that asked for datagrams go beside the stream ([`BatchSender`]): a lost one delays nothing behind it.

mod framing;
mod h3;
pub(crate) mod listener;

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hub::batch::ConnRef;
use protocol::varint::put_varint;
use protocol::ws::Opcode;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::oneshot;

use crate::shard::inbox::{Inbound, Inbox};
use crate::transport::BatchSent;
use crate::transport::quic::framing::{GROWTH_MAX, MessageReader, ServerFrame, server_frame};

/// The most that one read takes from a stream.
const READ_BYTES: usize = 4 * 1024;
/// A batch that its stream has not delivered within this time is of no use to a live viewer.
const STALE: Duration = Duration::from_secs(2);
/// Streams of batches that may be under way; beyond them the oldest is reset.
const BATCH_STREAMS_MAX: usize = 64;
/// The code with which stale batches are reset.
const STALE_BATCH: quinn::VarInt = quinn::VarInt::from_u32(1);

/// What a shard decides about a request.
pub(super) enum Verdict {
    /// It is a session of this connection.
    Accept(ConnRef),
    /// It is refused with this HTTP status.
    Refuse(u16),
}

/// How a session ends.
pub(super) struct SessionClose {
    code: u16,
    reason: Vec<u8>,
    /// The stream, whose rest goes first; absent when nobody takes it.
    rest: Option<SendStream>,
}

/// What [`listener`] gives to a shard with a session, and keeps the other ends of.
pub(crate) struct SessionHandle {
    connection: Connection,
    session: u64,
    opcode: Opcode,
    message_bytes_max: usize,
    datagrams: bool,
    verdict: oneshot::Sender<Verdict>,
    close: oneshot::Sender<SessionClose>,
}

/// A client's stream: where it is written to, and where it is read.
pub(crate) type ClientStream = (SendStream, RecvStream);

/// A session as a shard reads and writes it.
pub(crate) struct QuicStream {
    opcode: Opcode,
    message_bytes_max: usize,
    /// The client's stream; absent until it has opened one.
    stream: Option<ClientStream>,
    edge: Arc<Edge>,
    waker: Waker,
    incoming: MessageReader,
    /// Messages that the stream has not taken yet, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// Its end without a word ends the connection.
    close: Option<oneshot::Sender<SessionClose>>,
    batches: Option<BatchSender>,
}

/// Tells a shard that a session may be read or written again, once until the shard has seen it.
struct Edge {
    inbox: Arc<Inbox>,
    conn: ConnRef,
    queued: AtomicBool,
}

impl Wake for Edge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.inbox.push(Inbound::SessionReady(self.conn));
        }
    }
}

impl SessionHandle {
    /// Answers a request that has no [`QuicStream`] yet.
    pub fn refuse(self, status: u16) {
        // Nobody waits for the answer of a connection that is gone.
        let _ = self.verdict.send(Verdict::Refuse(status));
    }
}

impl QuicStream {
    pub fn new(handle: SessionHandle, inbox: Arc<Inbox>, conn: ConnRef) -> Self {
        let SessionHandle { connection, session, opcode, message_bytes_max, datagrams, verdict, close } = handle;
        let edge = Arc::new(Edge { inbox, conn, queued: AtomicBool::new(false) });
        Self {
            batches: datagrams.then(|| BatchSender::new(connection, session)),
            opcode,
            message_bytes_max,
            stream: None,
            waker: edge.clone().into(),
            edge,
            incoming: MessageReader::default(),
            outgoing: Vec::new(),
            sent: 0,
            verdict: Some(verdict),
            close: Some(close),
        }
    }

    /// Answers the request with success.
    pub fn accept(&mut self) {
        let conn = self.edge.conn;
        let sent = self.verdict.take().map(|verdict| verdict.send(Verdict::Accept(conn)));
        if matches!(sent, Some(Err(_))) {
            // The connection is gone, and with it the task that would say so.
            self.edge.inbox.push(Inbound::SessionEnded(conn, None));
        }
    }

    /// Answers the request with an HTTP status.
    pub fn refuse(&mut self, status: u16) {
        if let Some(verdict) = self.verdict.take() {
            // Nobody waits for the answer of a connection that is gone.
            let _ = verdict.send(Verdict::Refuse(status));
        }
    }

    /// The client has opened its stream. Only the first one counts.
    pub fn attach(&mut self, stream: ClientStream) {
        self.stream.get_or_insert(stream);
    }

    /// The shard has seen the edge: the next one is told again.
    pub fn rearm(&self) {
        self.edge.queued.store(false, Ordering::SeqCst);
    }

    /// Reads what arrived, as frames of a client; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((_, receive)) = &mut self.stream else { return Err(ErrorKind::WouldBlock.into()) };
        let mut raw = [0; READ_BYTES];
        let take = READ_BYTES.min(buffer.len() / GROWTH_MAX);
        let raw = raw.get_mut(..take).unwrap_or_default();
        loop {
            let read = match receive.poll_read(&mut Context::from_waker(&self.waker), raw) {
                Poll::Pending => return Err(ErrorKind::WouldBlock.into()),
                Poll::Ready(read) => read.map_err(io::Error::other)?,
            };
            let raw = raw.get(..read).unwrap_or_default();
            let n = self.incoming.frames(raw, self.opcode, self.message_bytes_max, buffer);
            // A length that is not complete yet is no frame.
            if n > 0 || read == 0 {
                return Ok(n);
            }
        }
    }

    /// Takes whole frames, unless earlier ones still wait for the stream. Returns how many bytes it took, which is all of
    /// them: what the stream does not take at once goes first the next time.
    ///
    /// # Errors
    /// `WouldBlock` while earlier ones wait.
    pub fn write(&mut self, mut frames: &[u8]) -> io::Result<usize> {
        let all = frames.len();
        if let Err(error) = self.flush() {
            match server_frame(frames) {
                // A close does not wait for a client that takes nothing.
                Some((ServerFrame::Close(..), _)) => self.outgoing = Vec::new(),
                _ => return Err(error),
            }
        }
        while let Some((frame, rest)) = server_frame(frames) {
            match frame {
                ServerFrame::Message(message) => {
                    put_varint(message.len() as u64, &mut self.outgoing);
                    self.outgoing.extend_from_slice(message);
                }
                ServerFrame::Close(code, reason) => self.close(code, reason),
                ServerFrame::Other => {}
            }
            frames = rest;
        }
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(all),
        }
    }

    /// Writes the messages taken already.
    ///
    /// # Errors
    /// `WouldBlock` when some of them remain.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let Some((send, _)) = &mut self.stream else { return Err(ErrorKind::WouldBlock.into()) };
            match Pin::new(send).poll_write(&mut Context::from_waker(&self.waker), rest) {
                Poll::Pending => return Err(ErrorKind::WouldBlock.into()),
                Poll::Ready(written) => self.sent += written.map_err(io::Error::other)?,
            }
        }
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// Whether messages wait for the stream.
    pub fn has_pending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Ends the session behind what was written, or at once when the client takes nothing.
    fn close(&mut self, code: u16, reason: &[u8]) {
        let Some(close) = self.close.take() else { return };
        let flushed = self.flush().is_ok();
        (self.outgoing, self.sent) = (Vec::new(), 0);
        let rest = self.stream.take().and_then(|(mut send, _)| {
            let ended = if flushed { send.finish() } else { send.reset(h3::NO_ERROR) };
            ended.is_ok().then_some(send).filter(|_| flushed)
        });
        // Without a receiver the connection is gone already.
        let _ = close.send(SessionClose { code, reason: reason.to_vec(), rest });
    }

    /// Where batches go that the client wants beside the stream.
    pub fn batches(&mut self) -> Option<&mut BatchSender> {
        self.batches.as_mut()
    }
}

/// Sends each batch apart from all others, behind its number.
pub(crate) struct BatchSender {
    connection: Connection,
    session: u64,
    /// The number of the next batch.
    seq: u32,
    /// Streams that may not be delivered yet, oldest first.
    streams: VecDeque<(Instant, SendStream)>,
}

impl BatchSender {
    fn new(connection: Connection, session: u64) -> Self {
        Self { connection, session, seq: 0, streams: VecDeque::new() }
    }

    /// Sends each of these frames, and calls `sent` for it with its length.
    pub fn send(&mut self, mut frames: &[u8], mut sent: impl FnMut(BatchSent, usize)) {
        while let Some((frame, rest)) = server_frame(frames) {
            if let ServerFrame::Message(message) = frame {
                sent(self.send_message(message), message.len());
            }
            frames = rest;
        }
    }

    fn send_message(&mut self, message: &[u8]) -> BatchSent {
        let seq = self.seq.to_be_bytes();
        self.seq = self.seq.wrapping_add(1);
        self.reset_stale();
        let mut datagram = Vec::with_capacity(message.len() + 12);
        h3::datagram(self.session, &mut datagram);
        datagram.extend_from_slice(&seq);
        datagram.extend_from_slice(message);
        let fits = self.connection.max_datagram_size().is_some_and(|max| datagram.len() <= max);
        if fits && self.connection.send_datagram(Bytes::from(datagram)).is_ok() {
            return BatchSent::Datagram;
        }
        match self.send_on_stream(seq, message) {
            Some(()) => BatchSent::Stream,
            None => BatchSent::Dropped,
        }
    }

    fn send_on_stream(&mut self, seq: [u8; 4], message: &[u8]) -> Option<()> {
        // Neither waits: what cannot leave now would be stale when it can.
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(mut stream)) = std::pin::pin!(self.connection.open_uni()).poll(&mut context) else {
            return None;
        };
        let mut bytes = Vec::with_capacity(message.len() + 24);
        h3::uni_stream(self.session, &mut bytes);
        bytes.extend_from_slice(&seq);
        bytes.extend_from_slice(message);
        let whole =
            matches!(Pin::new(&mut stream).poll_write(&mut context, &bytes), Poll::Ready(Ok(n)) if n == bytes.len());
        if !whole || stream.finish().is_err() {
            // Reset fails only for a stream that has ended.
            let _ = stream.reset(STALE_BATCH);
            return None;
        }
        self.streams.push_back((Instant::now(), stream));
        Some(())
    }

    /// Resets streams that are too old; those that were delivered are only forgotten.
    fn reset_stale(&mut self) {
        let now = Instant::now();
        let stale = |since: &Instant| now.duration_since(*since) >= STALE;
        while self.streams.len() >= BATCH_STREAMS_MAX || self.streams.front().is_some_and(|(since, _)| stale(since)) {
            if let Some((_, mut stream)) = self.streams.pop_front() {
                // Fails when all of it was delivered.
                let _ = stream.reset(STALE_BATCH);
            }
        }
    }
}
