//! A connection as a door reads and writes it, over TCP or WebSocket alike.
//!
//! [`Incoming`] gives what the peer sent: chunks of a TCP stream, whole messages of a WebSocket. [`Outbox`] takes what it
//! is sent, never waits, and is bounded: a peer that takes nothing for long, or for whom too much waits, is closed. One
//! task a connection writes. Knows no door's protocol.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use model::Metrics;
use model::metrics::count;
use model::panics::contained;
use parking_lot::Mutex;
use protocol::ws::{Decoder, Event, Limits, Opcode, close_frame, encode_frame};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Bytes read at once.
const READ_BYTES: usize = 4_096;
/// Bytes given to the kernel at once.
const WRITE_BYTES: usize = 65_536;
/// How long a closed peer may take to read what it was sent last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Anything that a connection runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that nothing has been read from.
pub(crate) enum Link {
    /// Bytes.
    Tcp(TcpStream),
    /// The same, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// Messages; what is sent goes in frames of this kind.
    WebSocket(Box<TokioIo<Upgraded>>, Opcode),
}

/// The bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Longest message of a WebSocket.
    pub message_bytes_max: usize,
    /// Bytes that may wait for the peer.
    pub backlog_bytes_max: usize,
    /// How long the peer may take nothing.
    pub patience: Duration,
}

/// Why nothing more comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer has closed, or the connection broke.
    Closed,
    /// The peer broke the protocol of WebSockets. It has been told.
    Broken,
}

/// What the peer sends.
pub(crate) struct Incoming {
    /// Present until this is dropped.
    stream: Option<ReadHalf<Box<dyn Stream>>>,
    frames: Option<Frames>,
    outbox: Outbox,
}

/// What a WebSocket needs to be read.
struct Frames {
    decoder: Decoder,
    limits: Limits,
}

/// What the peer is sent. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    ready: Notify,
    ended: CancellationToken,
    opcode: Option<Opcode>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing is taken any more; the connection ends when what waits is written.
    closing: bool,
}

impl Link {
    /// Starts the task that writes.
    pub fn open(self, bounds: Bounds, metrics: Arc<Metrics>) -> (Incoming, Outbox) {
        let (stream, opcode): (Box<dyn Stream>, _) = match self {
            Self::Tcp(stream) => (Box::new(stream), None),
            Self::Tls(stream) => (stream, None),
            Self::WebSocket(stream, opcode) => (stream, Some(opcode)),
        };
        let (reading, writing) = split(stream);
        let shared = Shared {
            queue: Mutex::default(),
            ready: Notify::new(),
            ended: CancellationToken::new(),
            opcode,
            bounds,
            metrics,
        };
        let outbox = Outbox(Arc::new(shared));
        tokio::spawn(contained(write_out(writing, outbox.clone())));
        let frames = opcode
            .map(|_| Frames { decoder: Decoder::default(), limits: Limits::from_client(bounds.message_bytes_max) });
        (Incoming { stream: Some(reading), frames, outbox: outbox.clone() }, outbox)
    }
}

impl Incoming {
    /// The next bytes or message. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<u8>, End> {
        let mut bytes = Vec::new();
        loop {
            if let Some(frames) = &mut self.frames
                && let Some(message) = frames.message(&mut bytes, &self.outbox)?
            {
                return Ok(message);
            }
            bytes = self.read().await?;
            if self.frames.is_none() {
                return Ok(bytes);
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, End> {
        let Some(stream) = &mut self.stream else { return Err(End::Closed) };
        let mut bytes = vec![0; READ_BYTES];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => Err(End::Closed),
            Ok(n) => {
                bytes.truncate(n);
                self.outbox.0.metrics.bytes_in.inc_by(n as u64);
                Ok(bytes)
            }
        }
    }
}

impl Drop for Incoming {
    /// Reads what is still coming for a moment: a connection that is closed with input unread is reset, and the peer
    /// would not see what it was sent last.
    fn drop(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            tokio::spawn(async move {
                let _ = timeout(LAST_WORDS, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
            });
        }
    }
}

impl Frames {
    /// The first whole message of what is buffered and `bytes`; what follows it is kept.
    fn message(&mut self, bytes: &mut [u8], outbox: &Outbox) -> Result<Option<Vec<u8>>, End> {
        let mut events = self.decoder.read(bytes, self.limits);
        loop {
            match events.next_event() {
                Ok(None) => return Ok(None),
                Ok(Some(Event::Text(text))) => return Ok(Some(outbox.received(text.as_bytes()))),
                Ok(Some(Event::Binary(bytes))) => return Ok(Some(outbox.received(bytes))),
                // Compression is not negotiated, so the decoder refuses compressed messages itself.
                Ok(Some(Event::Pong(_) | Event::Deflated { .. })) => {}
                Ok(Some(Event::Ping(payload))) => outbox.push(encode_frame(Opcode::Pong, payload)),
                Ok(Some(Event::Close { code, .. })) => {
                    outbox.close(code.unwrap_or(1000), "");
                    return Err(End::Closed);
                }
                Err(error) => {
                    count(&outbox.0.metrics.parse_errors, "reason", error.label());
                    outbox.close(error.close_code(), "");
                    return Err(End::Broken);
                }
            }
        }
    }
}

impl Outbox {
    /// Sends bytes, or one message.
    pub fn send(&self, payload: &[u8]) {
        match self.0.opcode {
            Some(opcode) => {
                self.0.metrics.frames_out.inc();
                self.push(encode_frame(opcode, payload));
            }
            None => self.push(Bytes::copy_from_slice(payload)),
        }
    }

    /// Closes once what waits has been written. Over WebSocket the code and the reason say why.
    pub fn close(&self, code: u16, reason: &str) {
        let mut queue = self.0.queue.lock();
        if !std::mem::replace(&mut queue.closing, true) && self.0.opcode.is_some() {
            let frame = close_frame(code, reason);
            queue.bytes += frame.len();
            queue.waiting.push_back(frame);
        }
        drop(queue);
        self.0.ready.notify_one();
    }

    /// Waits until nothing can be sent any more.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    fn received(&self, payload: &[u8]) -> Vec<u8> {
        self.0.metrics.messages_in.inc();
        payload.to_vec()
    }

    fn push(&self, bytes: Bytes) {
        let mut queue = self.0.queue.lock();
        if queue.closing {
            return;
        }
        queue.bytes += bytes.len();
        queue.waiting.push_back(bytes);
        let is_too_slow = queue.bytes > self.0.bounds.backlog_bytes_max;
        if is_too_slow {
            // What waits would take longer than the peer has patience for: it comes back and resumes.
            queue.waiting.clear();
            queue.bytes = 0;
        }
        drop(queue);
        if is_too_slow {
            count(&self.0.metrics.closes, "code", "4008");
            self.close(4008, "too slow");
        }
        self.0.ready.notify_one();
    }

    /// What waits, at most as much as is written at once; `None` when the connection is to end.
    fn take(&self) -> Option<BytesMut> {
        let mut queue = self.0.queue.lock();
        let mut taken = BytesMut::new();
        while taken.len() < WRITE_BYTES
            && let Some(bytes) = queue.waiting.pop_front()
        {
            queue.bytes -= bytes.len();
            taken.extend_from_slice(&bytes);
        }
        if taken.is_empty() && queue.closing { None } else { Some(taken) }
    }
}

async fn write_out(mut stream: WriteHalf<Box<dyn Stream>>, outbox: Outbox) {
    let patience = outbox.0.bounds.patience;
    while let Some(bytes) = outbox.take() {
        if bytes.is_empty() {
            outbox.0.ready.notified().await;
            continue;
        }
        match timeout(patience, write_all(&mut stream, &bytes)).await {
            Ok(Ok(())) => {
                outbox.0.metrics.bytes_out.inc_by(bytes.len() as u64);
            }
            Ok(Err(_)) => break,
            Err(_) => {
                count(&outbox.0.metrics.closes, "code", "4008");
                break;
            }
        }
    }
    // The peer may be gone already.
    let _ = timeout(LAST_WORDS, stream.shutdown()).await;
    outbox.0.queue.lock().closing = true;
    outbox.0.ended.cancel();
}

async fn write_all(stream: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
