//! From readable sockets to messages.
//!
//! The shard reads every socket into its one scratch buffer. A connection keeps bytes only while a message is unfinished or
//! its turn has to wait. One async command per connection runs at a time: until its reply the socket is not read, and TCP
//! makes the client wait. The same holds for a client that does not read its answers. [`super::messages`] handles what is read.

use protocol::ws::{self, Event, Limits};

use crate::conn::Stage;
use crate::shard::Shard;

/// Reads of one socket in one turn, so that one that floods does not keep the others waiting.
const READS_PER_TURN: usize = 2;
/// A client with this many bytes of unread answers is not read from.
const ANSWERS_BYTES_MAX: usize = 32 * 1024;

/// Whether to handle the next message of a read.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Shard {
    /// Reads a socket on: its request, buffered messages, then what the kernel has.
    pub fn read_input(&mut self, index: u32) {
        let frozen = self.frozen;
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.conn(index) else { return };
            let readable = conn.readable;
            let more = match conn.stage {
                Stage::Handshake(_) if readable && !frozen => self.read_request(index),
                Stage::Closing { .. } if readable => self.discard(index),
                Stage::Open => self.may_read(index) && self.read_messages(index),
                _ => false,
            };
            if !more {
                return;
            }
        }
        let Some(conn) = self.conns.get(index as usize) else { return };
        if conn.readable || conn.has_buffered {
            self.resume.push_back(conn.token(index));
        }
    }

    /// Whether an open socket's next message may be handled now.
    fn may_read(&self, index: u32) -> bool {
        let Some(conn) = self.conns.get(index as usize) else { return false };
        let choked = conn.backlog.as_ref().is_some_and(|backlog| backlog.unskippable_bytes() > ANSWERS_BYTES_MAX);
        !conn.busy && !choked && conn.is_open() && !self.stops_accepting()
    }

    /// Handles buffered messages, or reads once. False when there is nothing for now.
    fn read_messages(&mut self, index: u32) -> bool {
        let Some(conn) = self.conn(index) else { return false };
        if conn.has_buffered {
            conn.has_buffered = false;
            self.handle_bytes(index, &mut []);
            return true;
        }
        if !conn.readable {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                self.handle_bytes(index, scratch.get_mut(..n).unwrap_or_default());
            }
            Some(Ok(None)) => {}
            _ => self.connection_lost(index),
        }
        self.scratch = scratch;
        true
    }

    /// Handles every message in `bytes`, until one has to wait. Answers leave in one write.
    fn handle_bytes(&mut self, index: u32, bytes: &mut [u8]) {
        let (now, limits) = (self.now, self.limits(index));
        let Some(conn) = self.conn(index) else { return };
        conn.last_seen = now;
        let mut decoder = std::mem::take(&mut conn.decoder);
        self.counters.bytes_in += bytes.len() as u64;
        let mut events = decoder.read(bytes, limits);
        let mut stopped = false;
        while !stopped {
            match events.next_event() {
                Ok(Some(event)) => stopped = self.handle_frame(index, event) == Flow::Stop,
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
            conn.has_buffered = stopped && conn.decoder.buffered_bytes() > 0;
        }
        self.flush_answers(index);
    }

    fn handle_frame(&mut self, index: u32, event: Event<'_>) -> Flow {
        match event {
            Event::Text(text) => self.handle_text(index, text),
            Event::Binary(bytes) => {
                self.counters.messages_in += 1;
                self.handle_binary(index, bytes);
            }
            Event::Deflated { text, payload } => self.handle_deflated(index, text, payload),
            Event::Ping(payload) => {
                ws::frame_header(ws::Opcode::Pong, payload.len(), &mut self.answers);
                self.answers.extend_from_slice(payload);
                self.counters.frames_out += 1;
            }
            Event::Pong(_) => {}
            Event::Close { code, .. } => self.closed_by_peer(index, code),
        }
        if self.answers.len() > ANSWERS_BYTES_MAX {
            self.flush_answers(index);
        }
        if self.may_read(index) { Flow::Continue } else { Flow::Stop }
    }

    /// Reads and forgets what a closing peer still sends, so that our close is not lost to a reset.
    fn discard(&mut self, index: u32) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        self.scratch = scratch;
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                self.shut_now(index);
                return true;
            }
            Some(Ok(None)) => {}
            _ => self.remove(index),
        }
        false
    }

    pub fn limits(&self, index: u32) -> Limits {
        let deflated = self.conns.get(index as usize).is_some_and(|conn| conn.form.deflated);
        Limits::from_client(self.common.services.settings.escaped_bytes_max).deflate(deflated)
    }
}
