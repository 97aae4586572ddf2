//! What goes out to one socket alone, and how sockets end.
//!
//! A close is queued behind what a socket still has to take. Our side is shut when the peer has answered it (RFC 6455, 7.1.1), or
//! does not for a while, and what the peer still sends is discarded until it hangs up or a few seconds have passed: so
//! the close is read, not lost to a reset, nor taken for a lost connection because the stream ended with it.
//! Seats are given up only at the end of a turn ([`Shard::reap`]), so that an index means one socket within a turn.

use std::io::ErrorKind;
use std::time::Instant;

use ingest::here;
use model::{DeviceId, UserId, WireError};
use protocol::message::ServerMessage;
use protocol::{spoken, ws};
use serde_json::value::RawValue;

use crate::GatewaySettings;
use crate::conn::{Conn, Sent, Session, Stage};
use crate::shard::Shard;

/// Within so many seconds a device that has connected on two nodes is taken to have done so at once.
const RACE_S: u32 = 5;
/// How long our side stays open for the peer's answer to our close, in seconds: so many, or one less.
const ANSWER_S: u32 = 2;
/// How long the peer may take to hang up after our close, in seconds.
const LINGER_S: u32 = 5;
/// The code of sockets that we broke (RFC 6455, 7.4.1).
pub(crate) const BROKEN: u16 = 1011;
/// The code of sockets that take nothing, or too little.
pub(crate) const TOO_SLOW: u16 = 4008;
/// How long a socket that is too slow may take to read that it is, in seconds.
const SLOW_LINGER_S: u32 = 60;
/// When draining, sockets are told to come back after so many milliseconds, spread evenly.
const RETURN_MS: std::ops::RangeInclusive<u32> = 1_000..=5_000;

impl Conn {
    /// Why an open socket's deadline has passed.
    pub fn overdue(&self, now: u32, settings: &GatewaySettings) -> (u16, &'static str) {
        if self.authorize_by <= now {
            (4001, "no identity in time")
        } else if self.session.as_ref().is_some_and(|session| session.expires <= now) {
            (4001, "the token has expired")
        } else if self.last_seen + settings.dead_after_s() <= now {
            (1001, "no sign of life")
        } else {
            (TOO_SLOW, "too slow")
        }
    }
}

impl Shard {
    /// Adds an answer to those gathered for the socket being read.
    pub fn answer(&mut self, index: u32, message: &ServerMessage<'_>, reference: Option<&RawValue>) {
        spoken::message(self.protocol(index), message, reference, &mut self.answers);
        self.tally.frames_out += 1;
    }

    pub fn answer_error(&mut self, index: u32, error: &WireError, reference: Option<&RawValue>) {
        spoken::error(self.protocol(index), error, reference, &mut self.answers);
        self.tally.frames_out += 1;
    }

    /// Adds a finished frame to the answers.
    pub fn answer_frames(&mut self, frame: &[u8]) {
        self.answers.extend_from_slice(frame);
        self.tally.frames_out += 1;
    }

    /// Sends the answers gathered, in one write.
    pub fn flush_answers(&mut self, index: u32) {
        if self.answers.is_empty() {
            return;
        }
        let mut answers = std::mem::take(&mut self.answers);
        self.send_own(index, &answers);
        answers.clear();
        self.answers = answers;
    }

    /// Sends finished frames to one open socket; never skipped.
    pub fn send_own(&mut self, index: u32, frames: &[u8]) {
        if !frames.is_empty() && self.conns.get(index as usize).is_some_and(Conn::is_open) {
            self.send_raw(index, frames);
        }
    }

    /// Sends bytes to one socket, whatever its stage.
    pub fn send_raw(&mut self, index: u32, bytes: &[u8]) {
        let (budget, now) = (self.budget(), self.now);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| !conn.doomed) else { return };
        let sent = conn.send_kept(bytes, budget, now, &mut self.tally);
        self.after_send(index, sent);
    }

    /// Draws the conclusions from what became of a write.
    pub fn after_send(&mut self, index: u32, sent: Sent) {
        match sent {
            Sent::Whole => {}
            Sent::Queued => {
                self.tell_skipped(index);
                self.schedule(index);
            }
            Sent::Overflow => self.close(index, TOO_SLOW, "too slow"),
            Sent::Gone => self.gone(index),
        }
    }

    pub fn budget(&self) -> usize {
        self.common.services.settings.backlog_bytes_max
    }

    /// The socket takes bytes again.
    pub fn flush(&mut self, index: u32) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| !conn.doomed) else { return };
        if conn.backlog.is_none() {
            return self.flush_tls(index);
        }
        let mut missed = Vec::new();
        match conn.flush(now, &mut self.tally, &mut missed) {
            Ok(false) => {
                self.tell_skipped(index);
                self.schedule(index);
            }
            Ok(true) => {
                self.tell_missed(index, &missed);
                self.finish_closing(index);
                self.pump(index);
            }
            Err(_) => self.gone(index),
        }
    }

    /// What TLS has encrypted goes out, though nothing else waits.
    fn flush_tls(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(tls) = conn.tls.as_mut().filter(|tls| tls.is_choked()) else { return };
        match tls.flush(&mut conn.stream) {
            Ok(()) => self.finish_closing(index),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.gone(index),
        }
    }

    /// Tells a viewer who is still behind what has been skipped, now and then.
    fn tell_skipped(&mut self, index: u32) {
        let (budget, now) = (self.budget(), self.now);
        let Some(backlog) = self.conn(index).and_then(|conn| conn.backlog.as_mut()) else { return };
        let missed = backlog.missed_to_tell(budget, now);
        self.tell_missed(index, &missed);
    }

    fn tell_missed(&mut self, index: u32, missed: &[(u32, u64)]) {
        let mut frames = Vec::new();
        for (room, missed) in missed.iter().filter(|(_, missed)| *missed > 0) {
            if let Some(room) = self.rooms.get(room) {
                let told = room::batch::encode(self.protocol(index), room.room.id(), std::iter::empty(), *missed);
                frames.extend_from_slice(&told);
                self.tally.frames_out += 1;
            }
        }
        self.send_own(index, &frames);
    }

    /// Closes an open socket with a code and a reason, after what it has still to take. For one that is
    /// too slow that is only the frame it is in the middle of.
    pub fn close(&mut self, index: u32, code: u16, reason: &str) {
        self.flush_answers(index);
        let linger = if code == TOO_SLOW { SLOW_LINGER_S } else { LINGER_S };
        let (until, shut_at) = (self.now + linger, Some(self.now + ANSWER_S));
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.is_open()) else { return };
        conn.stage = Stage::Closing { until, shut_at };
        conn.fires = u32::MAX;
        if let Some(backlog) = conn.backlog.as_mut().filter(|_| code == TOO_SLOW) {
            let before = backlog.bytes();
            backlog.clear_unstarted();
            self.tally.backlog_bytes -= (before - backlog.bytes()) as i64;
            if backlog.bytes() == 0 {
                conn.backlog = None;
            }
        }
        // A close is a few bytes: it is queued whatever waits already.
        let sent = conn.send_kept(&ws::close_frame(code, reason), usize::MAX, self.now, &mut self.tally);
        self.tally.frames_out += 1;
        self.count(&self.common.services.metrics.closes, "code", code_label(code));
        self.forget(index);
        match sent {
            Sent::Gone => self.doom(index),
            Sent::Whole | Sent::Queued | Sent::Overflow => self.finish_closing(index),
        }
        self.schedule(index);
    }

    /// Answers the peer's close with the same code.
    pub fn closed_by_peer(&mut self, index: u32, code: Option<u16>) {
        self.close(index, code.unwrap_or(1000), "");
        self.shut_now(index);
    }

    /// The peer has answered our close, or need not any more.
    pub fn shut_now(&mut self, index: u32) {
        let Some(Stage::Closing { shut_at, .. }) = self.conn(index).map(|conn| &mut conn.stage) else { return };
        if shut_at.take().is_some() {
            self.finish_closing(index);
            self.schedule(index);
        }
    }

    /// Shuts our side, if it is to be, once everything, the close included, is with the kernel.
    pub fn finish_closing(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if matches!(conn.stage, Stage::Closing { shut_at: None, .. }) && conn.backlog.is_none() {
            conn.shut();
        }
    }

    /// The peer is gone without a close.
    pub fn gone(&mut self, index: u32) {
        if self.conns.get(index as usize).is_some_and(Conn::is_open) {
            self.count(&self.common.services.metrics.closes, "code", "1006");
        }
        self.doom(index);
    }

    /// Gives the seat up at the end of the turn.
    pub fn doom(&mut self, index: u32) {
        self.forget(index);
        if let Some(conn) = self.conn(index) {
            conn.doomed = true;
            let waiting = conn.backlog.take().map_or(0, |backlog| backlog.bytes());
            self.tally.backlog_bytes -= waiting as i64;
            self.doomed.push(index);
        }
    }

    /// Takes a socket out of its rooms and its user's sockets.
    fn forget(&mut self, index: u32) {
        let rooms: Vec<u32> =
            self.conn(index).map_or_else(Vec::new, |conn| conn.memberships.iter().map(|m| m.room).collect());
        for room in rooms {
            self.leave(index, room);
        }
        self.stand_up(index);
        if let Some(conn) = self.conn(index)
            && std::mem::take(&mut conn.counted)
        {
            self.tally.connections -= 1;
        }
    }

    /// The socket is nobody's from here on.
    pub fn stand_up(&mut self, index: u32) {
        let Some(session) = self.conn(index).and_then(|conn| conn.session.take()) else { return };
        let user = &session.identity.user_id;
        if let Some(seats) = self.users.get_mut(user) {
            seats.retain(|seat| *seat != index);
            if seats.is_empty() {
                self.users.remove(user);
            }
        }
        self.common.attendance.went(session);
    }

    /// Closes the device's sockets with an older session.
    pub fn replaced(&mut self, user: &UserId, device: &DeviceId, session: u64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let older = self
                .conn(index)
                .and_then(|conn| conn.session.as_ref())
                .is_some_and(|found| found.device.as_ref() == Some(device) && found.number < session);
            if older {
                self.close(index, 4009, "replaced by the same device");
            }
        }
    }

    /// The session's device is here now: its older sockets on other nodes are to close.
    pub fn replace_elsewhere(&self, session: &Session, device: DeviceId) {
        let (chat, user) = (self.common.services.chat.clone(), session.identity.user_id.clone());
        let (since_ms, number) = (session.since_ms, session.number);
        here::spawn(&self.common.runtime, async move { chat.replaces(&user, device, since_ms, number).await });
    }

    /// The device has connected on another node. Only where it did so on both within a few seconds clocks are compared:
    /// then the older one may be heard of last, and is told of the newer one.
    pub fn replaced_elsewhere(&mut self, user: &UserId, device: &DeviceId, since_ms: i64, number: u64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let session = self.conn(index).and_then(|conn| conn.session.clone());
            let Some(session) = session.filter(|session| session.device.as_ref() == Some(device)) else { continue };
            let just_now = self.now.saturating_sub(session.since) < RACE_S;
            if just_now && (session.since_ms, session.number) > (since_ms, number) {
                self.replace_elsewhere(&session, device.clone());
            } else {
                self.close(index, 4009, "replaced by the same device");
            }
        }
    }

    /// Frees the seats given up in this turn.
    pub fn reap(&mut self) {
        for index in std::mem::take(&mut self.doomed) {
            let conn = self.reference(index);
            self.awaited.remove(&conn);
            self.conns.try_remove(index as usize);
        }
    }

    /// Stops accepting and tells every socket to come back later, elsewhere.
    pub fn begin_drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
        self.listeners.clear();
        let seats: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in seats {
            let Some(conn) = self.conn(index) else { continue };
            match &conn.stage {
                Stage::Arriving(_) => self.doom(index),
                Stage::Upgrading(_) | Stage::Closing { .. } => {}
                Stage::Open if conn.busy => {} // Closed when its answer is there.
                Stage::Open => self.close_for_drain(index),
            }
        }
    }

    pub fn close_for_drain(&mut self, index: u32) {
        let delay_ms = rand::random_range(RETURN_MS);
        self.close(index, 1012, &delay_ms.to_string());
    }

    /// Whether a drain is over: everybody is gone, or the time is.
    pub fn is_drained(&self) -> bool {
        self.drain_until.is_some_and(|until| self.conns.is_empty() || Instant::now() >= until)
    }

    /// Lets go of whoever has not hung up by the end of a drain.
    pub fn abandon(&mut self) {
        let seats: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        seats.into_iter().for_each(|index| self.doom(index));
        self.reap();
    }
}

/// The codes as labels; whatever else a peer sends is one.
fn code_label(code: u16) -> &'static str {
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
