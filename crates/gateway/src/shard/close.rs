//! What one socket alone is sent, and how sockets end.
//!
//! A close is queued behind what a socket still has to take. Our side is shut when the peer has answered the close (RFC
//! 6455, 7.1.1), or after a while without an answer. Until the peer hangs up or a few seconds have passed, its input is
//! discarded: so the peer reads the close instead of a reset, and does not take the end of the stream for a lost connection.
//! Slots are freed only at the end of a turn ([`Shard::free_removed`]), so an index means one socket within a turn.

use std::io::{ErrorKind, Write as _};
use std::time::Instant;

use model::WireError;
use protocol::message::ServerMessage;
use protocol::{encode, ws};
use serde_json::value::RawValue;

use crate::conn::{Conn, Sent, Stage, TOO_SLOW};
use crate::encode::comments;
use crate::shard::Shard;

/// How long our side stays open for the peer's answer to our close, in seconds (one less by rounding).
const ANSWER_S: u32 = 2;
/// How long the peer may take to hang up after our close, in seconds.
const LINGER_S: u32 = 5;
/// The close code of sockets that a fault of ours ended (RFC 6455, 7.4.1).
pub(crate) const BROKEN: u16 = 1011;
/// How long a socket that is too slow may take to read its close, in seconds.
const SLOW_LINGER_S: u32 = 60;
/// The delay after which drained sockets reconnect, in milliseconds, spread evenly.
const RECONNECT_MS: std::ops::RangeInclusive<u32> = 1_000..=5_000;

impl Shard {
    /// Adds an answer to those gathered for the socket being read.
    pub fn answer(&mut self, index: u32, message: &ServerMessage<'_>, reference: Option<&RawValue>) {
        encode::message(self.protocol(index), message, reference, &mut self.answers);
        self.counters.frames_out += 1;
    }

    pub fn answer_error(&mut self, index: u32, error: &WireError, reference: Option<&RawValue>) {
        encode::error(self.protocol(index), error, reference, &mut self.answers);
        self.counters.frames_out += 1;
    }

    /// Sends the gathered answers in one write.
    pub fn flush_answers(&mut self, index: u32) {
        if self.answers.is_empty() {
            return;
        }
        let mut answers = std::mem::take(&mut self.answers);
        self.send_frames(index, &answers);
        answers.clear();
        self.answers = answers;
    }

    /// Sends finished frames to one open socket; never skipped.
    pub fn send_frames(&mut self, index: u32, frames: &[u8]) {
        if !frames.is_empty() && self.conns.get(index as usize).is_some_and(Conn::is_open) {
            self.send_raw(index, frames);
        }
    }

    /// Sends bytes to one socket, whatever its stage.
    pub fn send_raw(&mut self, index: u32, bytes: &[u8]) {
        let (budget, now) = (self.budget(), self.now);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| !conn.removed) else { return };
        let sent = conn.send_unskippable(bytes, budget, now, &mut self.counters);
        self.after_send(index, sent);
    }

    /// Acts on the result of a send.
    pub fn after_send(&mut self, index: u32, sent: Sent) {
        match sent {
            Sent::Whole => {}
            Sent::Queued => {
                self.report_skipped(index);
                self.schedule(index);
            }
            Sent::Overflow => self.close(index, TOO_SLOW, "too slow"),
            Sent::Gone => self.connection_lost(index),
        }
    }

    pub fn budget(&self) -> usize {
        self.common.services.settings.sockets.backlog_bytes_max
    }

    /// The socket has become writable.
    pub fn flush(&mut self, index: u32) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| !conn.removed) else { return };
        if conn.backlog.is_none() {
            return self.flush_transport(index);
        }
        let mut missed = Vec::new();
        match conn.flush(now, &mut self.counters, &mut missed) {
            Ok(false) => {
                self.report_skipped(index);
                self.schedule(index);
            }
            Ok(true) => {
                self.send_missed(index, &missed);
                self.finish_closing(index);
                self.read_input(index);
            }
            Err(_) => self.connection_lost(index),
        }
    }

    /// Writes what the transport itself still holds.
    fn flush_transport(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.transport.has_pending()) else { return };
        match conn.transport.flush() {
            Ok(()) => self.finish_closing(index),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.connection_lost(index),
        }
    }

    /// Tells a slow viewer how many comments were skipped, at most once a tick.
    fn report_skipped(&mut self, index: u32) {
        let (budget, now) = (self.budget(), self.now);
        let Some(backlog) = self.conn(index).and_then(|conn| conn.backlog.as_mut()) else { return };
        let missed = backlog.missed_to_report(budget, now);
        self.send_missed(index, &missed);
    }

    fn send_missed(&mut self, index: u32, missed: &[(u32, u64)]) {
        let Some(form) = self.conns.get(index as usize).map(|conn| conn.form) else { return };
        let mut frames = Vec::new();
        for (room, missed) in missed.iter().filter(|(_, missed)| *missed > 0) {
            if let Some(room) = self.rooms.get(room) {
                // An empty batch is too short to be compressed.
                frames.extend_from_slice(&comments(form, usize::MAX, room.room.id(), std::iter::empty(), *missed));
                self.counters.frames_out += 1;
            }
        }
        self.send_frames(index, &frames);
    }

    /// Closes an open socket with a code and a reason, behind what it still has to take. One that is too slow takes only
    /// the rest of a started frame.
    pub fn close(&mut self, index: u32, code: u16, reason: &str) {
        self.flush_answers(index);
        let linger = if code == TOO_SLOW { SLOW_LINGER_S } else { LINGER_S };
        let (until, shut_at) = (self.now + linger, Some(self.now + ANSWER_S));
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.is_open()) else { return };
        conn.stage = Stage::Closing { until, shut_at };
        conn.timer_at = u32::MAX;
        if let Some(backlog) = conn.backlog.as_mut().filter(|_| code == TOO_SLOW) {
            let before = backlog.bytes();
            backlog.clear_unstarted();
            self.counters.backlog_bytes -= (before - backlog.bytes()) as i64;
            if backlog.bytes() == 0 || conn.transport.closes_beside() {
                self.counters.backlog_bytes -= backlog.bytes() as i64;
                conn.backlog = None;
            }
        }
        // A close is a few bytes: it is queued however much waits already.
        let sent = conn.send_unskippable(&ws::close_frame(code, reason), usize::MAX, self.now, &mut self.counters);
        self.counters.frames_out += 1;
        self.count(&self.common.services.metrics.closes, "code", code_label(code));
        self.detach(index);
        match sent {
            Sent::Gone => self.remove(index),
            Sent::Whole | Sent::Queued | Sent::Overflow => self.finish_closing(index),
        }
        self.schedule(index);
    }

    /// Answers the peer's close with the same code.
    pub fn closed_by_peer(&mut self, index: u32, code: Option<u16>) {
        self.close(index, code.unwrap_or(1000), "");
        self.shut_now(index);
    }

    /// Shuts our side: the peer has answered our close, or had time enough.
    pub fn shut_now(&mut self, index: u32) {
        let Some(Stage::Closing { shut_at, .. }) = self.conn(index).map(|conn| &mut conn.stage) else { return };
        if shut_at.take().is_some() {
            self.finish_closing(index);
            self.schedule(index);
        }
    }

    /// Shuts our side when that is due and the kernel has everything, the close included.
    pub fn finish_closing(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if matches!(conn.stage, Stage::Closing { shut_at: None, .. }) && conn.backlog.is_none() {
            conn.transport.shutdown();
        }
    }

    /// The connection ended without a close.
    pub fn connection_lost(&mut self, index: u32) {
        if self.conns.get(index as usize).is_some_and(Conn::is_open) {
            self.count(&self.common.services.metrics.closes, "code", "1006");
        }
        self.remove(index);
    }

    /// Frees the slot at the end of the turn.
    pub fn remove(&mut self, index: u32) {
        self.detach(index);
        if let Some(conn) = self.conn(index) {
            conn.removed = true;
            let waiting = conn.backlog.take().map_or(0, |backlog| backlog.bytes());
            self.counters.backlog_bytes -= waiting as i64;
            self.removed.push(index);
        }
    }

    /// Takes a socket out of its rooms and out of its user's sockets.
    fn detach(&mut self, index: u32) {
        let rooms: Vec<u32> =
            self.conn(index).map_or_else(Vec::new, |conn| conn.memberships.iter().map(|m| m.room).collect());
        for room in rooms {
            self.leave(index, room);
        }
        self.end_session(index);
        if let Some(conn) = self.conn(index)
            && std::mem::take(&mut conn.counted)
        {
            self.counters.connections -= 1;
        }
    }

    /// Frees the slots of sockets removed in this turn.
    pub fn free_removed(&mut self) {
        for index in std::mem::take(&mut self.removed) {
            let conn = self.conn_ref(index);
            self.deferred_joins.remove(&conn);
            self.conns.try_remove(index as usize);
        }
    }

    /// Stops accepting and tells every socket to reconnect later.
    pub fn begin_drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
        self.acceptor.listeners.clear();
        for index in self.slots() {
            let Some(conn) = self.conn(index) else { continue };
            match &conn.stage {
                Stage::Handshake(_) => self.remove(index),
                Stage::Upgrading(_) | Stage::Closing { .. } => {}
                Stage::Open if conn.busy => {} // Closed after its reply.
                Stage::Open => self.close_for_drain(index),
            }
        }
    }

    pub fn close_for_drain(&mut self, index: u32) {
        self.close(index, 1012, &reconnect_reason());
    }

    /// Whether its sockets are given away, or a drain is over: no socket is left, or the time is up.
    pub fn is_drained(&self) -> bool {
        self.parked || self.drain_until.is_some_and(|until| self.conns.is_empty() || Instant::now() >= until)
    }

    /// Drops the sockets that have not hung up by the end of a drain.
    pub fn drop_all(&mut self) {
        self.slots().into_iter().for_each(|index| self.remove(index));
        self.free_removed();
    }

    pub fn slots(&self) -> Vec<u32> {
        self.conns.iter().map(|(index, _)| index as u32).collect()
    }
}

/// The reason of a close with 1012: the delay after which to reconnect, each time another one.
pub(crate) fn reconnect_reason() -> String {
    rand::random_range(RECONNECT_MS).to_string()
}

/// The close codes as metric labels; all other codes of peers share one.
pub(super) fn code_label(code: u16) -> &'static str {
    match code {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1007 => "1007",
        1009 => "1009",
        1011 => "1011",
        1012 => "1012",
        4001 => "4001",
        4003 => "4003",
        4008 => "4008",
        4009 => "4009",
        4010 => "4010",
        _ => "other",
    }
}
