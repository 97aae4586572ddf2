//! From readable sockets to commands.
//!
//! Every socket is read into the shard's one scratch buffer; a connection keeps bytes only while a
//! message is unfinished or its turn has to wait. One async command per connection is under way at a
//! time: until its answer is there the socket is not read, and TCP tells the client to wait. The same
//! holds for a client that does not read its answers.

use model::WireError;
use protocol::handshake::SubProtocol;
use protocol::message::{self, ClientMessage};
use protocol::ws::{self, Event, Limits, ProtocolError};

use crate::conn::Stage;
use crate::shard::Shard;
use crate::timers::Seat;

/// Reads of one socket in one turn, so that one that floods does not keep the others waiting.
const READS_PER_TURN: usize = 2;
/// A client with so many bytes of unread answers is not read from.
const ANSWERS_BYTES_MAX: usize = 32 * 1024;
/// Bad messages within a minute that close a socket.
const STRIKES_MAX: usize = 20;
/// The message that idle viewers send all day, as the client package writes it.
const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;

/// Whether the next message of a read is to be looked at.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

impl Shard {
    /// Goes on with a socket: its request, messages that were held back, then what the kernel has.
    pub fn pump(&mut self, index: u32) {
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.conn(index) else { return };
            let readable = conn.readable;
            let more = match conn.stage {
                Stage::Arriving(_) if readable => self.arrive(index),
                Stage::Closing { .. } if readable => self.discard(index),
                Stage::Open => self.may_read(index) && self.read_on(index),
                _ => false,
            };
            if !more {
                return;
            }
        }
        let Some(conn) = self.conns.get(index as usize) else { return };
        if conn.readable || conn.held {
            let seat: Seat = conn.seat(index as usize);
            self.again.push_back(seat);
        }
    }

    /// Whether an open socket's next message may be looked at now.
    fn may_read(&self, index: u32) -> bool {
        let Some(conn) = self.conns.get(index as usize) else { return false };
        let choked = conn.backlog.as_ref().is_some_and(|backlog| backlog.kept_bytes() > ANSWERS_BYTES_MAX);
        !conn.busy && !choked && conn.is_open() && self.drain_until.is_none()
    }

    /// Looks at messages held back, or reads once. False when there is nothing for now.
    fn read_on(&mut self, index: u32) -> bool {
        let Some(conn) = self.conn(index) else { return false };
        if conn.held {
            conn.held = false;
            self.consume(index, &mut []);
            return true;
        }
        if !conn.readable {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                let filled = n == scratch.len();
                if let Some(conn) = self.conn(index) {
                    conn.has_read(filled);
                }
                self.consume(index, scratch.get_mut(..n).unwrap_or_default());
            }
            Some(Ok(None)) => {
                if let Some(conn) = self.conn(index) {
                    conn.readable = false;
                }
            }
            _ => self.gone(index),
        }
        self.scratch = scratch;
        true
    }

    /// Looks at every message in `bytes`, until one has to wait. Answers leave in one write.
    fn consume(&mut self, index: u32, bytes: &mut [u8]) {
        let (now, limits) = (self.now, self.limits(index));
        let Some(conn) = self.conn(index) else { return };
        conn.last_seen = now;
        let mut decoder = std::mem::take(&mut conn.decoder);
        self.tally.bytes_in += bytes.len() as u64;
        let mut events = decoder.read(bytes, limits);
        let mut stopped = false;
        while !stopped {
            match events.next_event() {
                Ok(Some(event)) => stopped = self.event(index, event) == Flow::Stop,
                Ok(None) => break,
                Err(error) => {
                    self.protocol_error(index, error);
                    break;
                }
            }
        }
        drop(events);
        if let Some(conn) = self.conn(index) {
            conn.decoder = decoder;
            conn.held = stopped && conn.decoder.held_bytes() > 0;
        }
        self.flush_answers(index);
    }

    fn event(&mut self, index: u32, event: Event<'_>) -> Flow {
        match event {
            Event::Text(text) => self.text(index, text),
            Event::Binary(bytes) => {
                self.tally.messages_in += 1;
                self.binary(index, bytes);
            }
            Event::Deflated { text, payload } => self.deflated(index, text, payload),
            Event::Ping(payload) => {
                ws::frame_header(ws::Opcode::Pong, payload.len(), &mut self.answers);
                self.answers.extend_from_slice(payload);
                self.tally.frames_out += 1;
            }
            Event::Pong(_) => {}
            Event::Close { code, .. } => self.closed_by_peer(index, code),
        }
        if self.answers.len() > ANSWERS_BYTES_MAX {
            self.flush_answers(index);
        }
        if self.may_read(index) { Flow::Go } else { Flow::Stop }
    }

    fn text(&mut self, index: u32, text: &str) {
        self.tally.messages_in += 1;
        if self.protocol(index) == SubProtocol::Proto {
            self.answer_error(index, &WireError::invalid("barrage.v1.proto has binary messages only"), None);
            return self.strike(index, "text_message");
        }
        if text == HEARTBEAT {
            return self.command(index, ClientMessage::Heartbeat, None);
        }
        match message::parse(text) {
            Ok(incoming) => self.command(index, incoming.message, incoming.reference),
            Err((reference, error)) => {
                self.answer_error(index, &error, reference);
                self.strike(index, "message");
            }
        }
    }

    /// Inflates a message and reads it; the limit on messages holds for what it inflates to.
    fn deflated(&mut self, index: u32, text: bool, payload: &[u8]) {
        let bytes_max = self.common.services.settings.message_bytes_max;
        let mut message = std::mem::take(&mut self.inflated);
        let inflated = self.inflater.inflate(payload, bytes_max, &mut message);
        match inflated.and_then(|()| if text { ws::text(&message).map(Some) } else { Ok(None) }) {
            Ok(Some(text)) => self.text(index, text),
            Ok(None) => {
                self.tally.messages_in += 1;
                self.binary(index, &message);
            }
            Err(error) => self.protocol_error(index, error),
        }
        self.inflated = message;
    }

    /// Counts input that does not parse; too much of it closes the socket.
    pub fn strike(&mut self, index: u32, reason: &'static str) {
        self.count(&self.common.services.metrics.parse_errors, "reason", reason);
        let now = self.now;
        let Some(conn) = self.conn(index) else { return };
        if conn.strikes.get_or_insert_default().add(now) >= STRIKES_MAX {
            self.close(index, 4010, "too many messages that do not parse");
        }
    }

    fn protocol_error(&mut self, index: u32, error: ProtocolError) {
        self.count(&self.common.services.metrics.parse_errors, "reason", error.label());
        self.close(index, error.close_code(), &error.to_string());
    }

    /// What a closing peer still sends is read and forgotten, so that our close is not lost to a reset.
    fn discard(&mut self, index: u32) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        self.scratch = scratch;
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                self.shut_now(index);
                return true;
            }
            Some(Ok(None)) => {
                if let Some(conn) = self.conn(index) {
                    conn.readable = false;
                }
            }
            _ => self.doom(index),
        }
        false
    }

    pub fn limits(&self, index: u32) -> Limits {
        let deflated = self.conns.get(index as usize).is_some_and(|conn| conn.form.deflated);
        Limits::from_client(self.common.services.settings.message_bytes_max).deflate(deflated)
    }
}
