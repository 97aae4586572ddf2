//! One socket and the little that is remembered of it.
//!
//! Owned by a shard's slab and touched by its thread only. An idle viewer has no buffer, no timer and no task: what is
//! rare (an unfinished handshake, a backlog, strikes) is boxed and absent. Knows no room and runs no command.

mod backlog;
pub(crate) mod handshake;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hub::StreamId;
use model::{DeviceId, Identity};
use protocol::handshake::{Form, SubProtocol};
use protocol::message::JoinRoom;
use protocol::ws::Decoder;
use smallvec::SmallVec;
use state::{Permit, UserPermit};

use crate::GatewaySettings;
pub(crate) use crate::conn::backlog::Backlog;
pub(crate) use crate::conn::backlog::Skippable;
use crate::conn::backlog::{Overflow, Piece};
use crate::counters::ShardCounters;
use crate::transport::Transport;

/// A room must be warm within this many seconds, or the upgrade is given up.
const UPGRADE_S: u32 = 30;
/// The close code of sockets that take nothing, or too little.
pub(crate) const TOO_SLOW: u16 = 4008;

/// A slot of a shard's slab and the generation of its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnToken {
    pub index: u32,
    pub generation: u32,
}

pub(crate) struct Conn {
    pub transport: Transport,
    pub generation: u32,
    /// How it reads and, compression apart, writes.
    pub form: Form,
    /// An async command is running: nothing more is read until its reply.
    pub busy: bool,
    /// The kernel may have bytes for us (epoll reports an edge once).
    pub readable: bool,
    /// The decoder holds whole messages that were not handled yet.
    pub has_buffered: bool,
    /// The peer sends nothing more: read on to the end.
    pub peer_closed: bool,
    /// It is in the count of open sockets.
    pub counted: bool,
    /// Its client's address, once its request is valid.
    pub address: Option<IpAddr>,
    /// Its slot is freed at the end of this turn.
    pub removed: bool,
    pub stage: Stage,
    /// Tick of the last sign of life.
    pub last_seen: u32,
    /// Tick for which the wheel has an entry.
    pub timer_at: u32,
    /// Tick by which somebody must have logged in.
    pub login_by: u32,
    pub session: Option<Arc<Session>>,
    pub decoder: Decoder,
    pub memberships: SmallVec<[Membership; 1]>,
    pub backlog: Option<Box<Backlog>>,
    pub strikes: Option<Box<Strikes>>,
    /// Its permit among the connections of its address; absent when the address is exempt.
    #[allow(dead_code)] // Held for its drop.
    pub permit: Option<Box<Permit>>,
}

/// The stage of a socket's life.
pub(crate) enum Stage {
    /// Its request is arriving.
    Handshake(Box<PendingRequest>),
    /// Its request is valid; the room it asked for is being joined.
    Upgrading(Box<Upgrade>),
    /// It speaks WebSocket.
    Open,
    /// A close is queued. Input is discarded until the peer hangs up, or until this tick. Our side is shut at the tick
    /// `shut_at`, or sooner if something arrives; `None` once that is past.
    Closing { until: u32, shut_at: Option<u32> },
}

/// A request that is arriving.
pub(crate) struct PendingRequest {
    pub peer: SocketAddr,
    /// Its proxy has not said yet whose it is.
    pub awaits_proxy_header: bool,
    /// It is known to be for `/ws`, so its bytes may be read.
    pub is_websocket: bool,
    pub head: Vec<u8>,
}

/// What an accepted request asked for.
pub(crate) struct Upgrade {
    pub accept: [u8; 28],
    /// The sub-protocol to name in the answer.
    pub protocol: Option<SubProtocol>,
    /// Compression was offered and is accepted.
    pub deflate: bool,
    pub caller: Caller,
    pub device: Option<DeviceId>,
    pub room: Option<JoinRoom>,
    /// The client's address.
    pub address: IpAddr,
    /// The address is not the peer's own, so it is counted now.
    pub is_forwarded: bool,
    /// Frames that came right behind the request.
    pub rest: Vec<u8>,
    /// Its permit among the sockets of its user, once it has one.
    pub user_permit: Option<UserPermit>,
}

/// The identity of a request.
pub(crate) enum Caller {
    Known(Identity),
    /// The request has no token.
    Anonymous,
    /// The token does not verify, for this reason.
    Rejected(String),
}

/// A login on a socket.
pub(crate) struct Session {
    pub identity: Identity,
    /// Absent when the client named none; then the session replaces none.
    pub device: Option<DeviceId>,
    /// Rises with every login of this process: a device's newest session replaces the older ones.
    pub number: u64,
    /// When it began, Unix milliseconds, for other nodes.
    pub since_ms: i64,
    /// When it began, as this shard's tick.
    pub since: u32,
    /// The socket's number, unique in the deployment; the same as long as the same user stays on it.
    pub socket: u64,
    /// Tick at which the token has expired.
    pub expires: u32,
    /// Its permit among the sockets of its user.
    #[allow(dead_code)] // Held for its drop.
    pub permit: Option<Arc<UserPermit>>,
}

/// A socket's membership in a room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    /// The room's key.
    pub room: u32,
    pub stream: StreamId,
    /// Its index in the stream's member list.
    pub list_index: u32,
    /// The room of the query: comments that name no room go there.
    pub by_query: bool,
    /// A join with other options is running: the hub, not this shard, takes it out of the stream.
    pub rejoining: bool,
}

/// Ticks of the bad messages of the last minute.
#[derive(Default)]
pub(crate) struct Strikes(Vec<u32>);

impl Strikes {
    /// Adds one; returns how many there were within a minute.
    pub fn add(&mut self, now: u32) -> usize {
        self.0.retain(|tick| now.saturating_sub(*tick) < 60);
        self.0.push(now);
        self.0.len()
    }
}

/// The result of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel has all of them.
    Whole,
    /// The rest waits in the backlog.
    Queued,
    /// They may not be skipped and do not fit: the socket is too slow.
    Overflow,
    /// The peer is gone.
    Gone,
}

/// A batch's bytes for one list of members: events, then comments.
pub(crate) struct OutboundFrames {
    bytes: Bytes,
    /// Length of the events before the comments.
    events_bytes: usize,
    comments: Skippable,
    /// The number of frames.
    frames: u64,
}

impl OutboundFrames {
    pub fn new(events: &Bytes, events_count: usize, comments: &Bytes, skippable: Skippable) -> Self {
        let bytes = match (events.is_empty(), comments.is_empty()) {
            (true, _) => comments.clone(),
            (_, true) => events.clone(),
            _ => Bytes::from([events.as_ref(), comments.as_ref()].concat()),
        };
        let frames = events_count as u64 + u64::from(!comments.is_empty());
        Self { bytes, events_bytes: events.len(), comments: skippable, frames }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The events and the comments as pieces, empty ones left out.
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        let events = Piece { bytes: self.bytes.slice(..self.events_bytes), comments: None };
        let comments = Piece { bytes: self.bytes.slice(self.events_bytes..), comments: Some(self.comments) };
        [events, comments].into_iter().filter(|piece| !piece.bytes.is_empty())
    }
}

impl Conn {
    pub fn new(transport: Transport, generation: u32, stage: Stage, now: u32, permit: Option<Permit>) -> Self {
        Self {
            transport,
            generation,
            form: Form::plain(SubProtocol::Json),
            busy: false,
            readable: false,
            has_buffered: false,
            peer_closed: false,
            counted: false,
            address: None,
            removed: false,
            stage,
            last_seen: now,
            timer_at: u32::MAX,
            login_by: u32::MAX,
            session: None,
            decoder: Decoder::default(),
            memberships: SmallVec::new(),
            backlog: None,
            strikes: None,
            permit: permit.map(Box::new),
        }
    }

    pub fn token(&self, index: u32) -> ConnToken {
        ConnToken { index, generation: self.generation }
    }

    /// The identity of the socket, also before it is open.
    pub fn identity(&self) -> Option<&Identity> {
        match (&self.session, &self.stage) {
            (Some(session), _) => Some(&session.identity),
            (None, Stage::Upgrading(upgrade)) => match &upgrade.caller {
                Caller::Known(identity) => Some(identity),
                Caller::Anonymous | Caller::Rejected(_) => None,
            },
            _ => None,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open) && !self.removed
    }

    pub fn membership(&self, room: u32) -> Option<&Membership> {
        self.memberships.iter().find(|m| m.room == room)
    }

    /// Whether the hub's answer to a join is still of use.
    pub fn may_join(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Upgrading(_)) && !self.removed
    }

    /// The earliest tick at which something may be due, for the wheel.
    pub fn deadline(&self, settings: &GatewaySettings) -> u32 {
        match &self.stage {
            Stage::Handshake(_) => self.last_seen + settings.sockets.handshake_s,
            Stage::Upgrading(_) => self.last_seen + UPGRADE_S,
            Stage::Closing { until, shut_at } => shut_at.unwrap_or(*until),
            Stage::Open => {
                let slow = self
                    .backlog
                    .as_ref()
                    .map_or(u32::MAX, |backlog| backlog.progress_at + settings.sockets.slow_patience_s);
                let expires = self.session.as_ref().map_or(u32::MAX, |session| session.expires);
                (self.last_seen + settings.dead_after_s()).min(self.login_by).min(expires).min(slow)
            }
        }
    }

    /// Why an open socket's deadline has passed.
    pub fn overdue(&self, now: u32, settings: &GatewaySettings) -> (u16, &'static str) {
        if self.login_by <= now {
            (4001, "no identity in time")
        } else if self.session.as_ref().is_some_and(|session| session.expires <= now) {
            (4001, "the token has expired")
        } else if self.last_seen + settings.dead_after_s() <= now {
            (1001, "no sign of life")
        } else {
            (TOO_SLOW, "too slow")
        }
    }

    /// Reads once; `None` when there is nothing for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.transport.read(buffer) {
                Ok(n) => {
                    self.readable = self.peer_closed || self.transport.may_have_more(n == buffer.len());
                    return Ok(Some(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends shared frames: one system call when the socket keeps up.
    pub fn send(&mut self, frames: &OutboundFrames, budget: usize, now: u32, counters: &mut ShardCounters) -> Sent {
        counters.frames_out += frames.frames;
        if self.transport.batches().is_some() {
            return self.send_beside(frames, budget, now, counters);
        }
        if self.backlog.is_some() {
            return self.queue(frames.pieces(), budget, now, counters);
        }
        let sent = match self.write(&frames.bytes, counters) {
            Ok(sent) if sent == frames.bytes.len() => return Sent::Whole,
            Ok(sent) => sent,
            Err(_) => return Sent::Gone,
        };
        let mut backlog = Box::new(Backlog::new(now, self.transport.unacknowledged_bytes()));
        let mut before = sent;
        let mut started = false;
        for piece in frames.pieces() {
            let (len, skip) = (piece.bytes.len(), before.min(piece.bytes.len()));
            before -= skip;
            match skip {
                _ if skip == len => continue,
                _ if !started => backlog.push_started(piece, skip),
                _ => match backlog.push(piece, budget, now) {
                    Ok(skipped) => counters.omitted_slow += skipped,
                    Err(Overflow { .. }) => return Sent::Overflow,
                },
            }
            started = true;
        }
        counters.backlog_bytes += backlog.bytes() as i64;
        self.backlog = Some(backlog);
        Sent::Queued
    }

    /// Sends events on the stream and comments beside it, where a lost batch delays nothing.
    fn send_beside(&mut self, frames: &OutboundFrames, budget: usize, now: u32, counters: &mut ShardCounters) -> Sent {
        let mut outcome = Sent::Whole;
        for piece in frames.pieces() {
            match (piece.comments, self.transport.batches()) {
                (Some(comments), Some(batches)) => batches.send(&piece.bytes, |way, bytes| {
                    counters.batch_sent(way, bytes, comments.missed);
                }),
                _ => outcome = self.send_unskippable(&piece.bytes, budget, now, counters),
            }
        }
        outcome
    }

    /// Sends frames that belong to this socket alone and are never skipped.
    pub fn send_unskippable(&mut self, bytes: &[u8], budget: usize, now: u32, counters: &mut ShardCounters) -> Sent {
        let piece = |rest: &[u8]| Piece { bytes: Bytes::copy_from_slice(rest), comments: None };
        if self.backlog.is_some() {
            return self.queue(std::iter::once(piece(bytes)), budget, now, counters);
        }
        let rest = match self.write(bytes, counters).map(|sent| bytes.get(sent..).unwrap_or_default()) {
            Ok([]) => return Sent::Whole,
            Ok(rest) => rest,
            Err(_) => return Sent::Gone,
        };
        let mut backlog = Box::new(Backlog::new(now, self.transport.unacknowledged_bytes()));
        backlog.push_started(piece(rest), 0);
        counters.backlog_bytes += rest.len() as i64;
        self.backlog = Some(backlog);
        Sent::Queued
    }

    fn queue(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        budget: usize,
        now: u32,
        counters: &mut ShardCounters,
    ) -> Sent {
        let Some(backlog) = &mut self.backlog else { return Sent::Gone };
        let before = backlog.bytes() as i64;
        let mut sent = Sent::Queued;
        for piece in pieces {
            match backlog.push(piece, budget, now) {
                Ok(skipped) => counters.omitted_slow += skipped,
                Err(Overflow { skipped }) => {
                    counters.omitted_slow += skipped;
                    sent = Sent::Overflow;
                }
            }
        }
        counters.backlog_bytes += backlog.bytes() as i64 - before;
        sent
    }

    /// Writes what the kernel takes at once.
    fn write(&mut self, bytes: &[u8], counters: &mut ShardCounters) -> io::Result<usize> {
        loop {
            match self.transport.write(bytes) {
                Ok(sent) => {
                    counters.bytes_out += sent as u64;
                    return Ok(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the backlog as far as the socket takes it. True when nothing of it is left; `missed` then has what was
    /// skipped meanwhile, per room.
    pub fn flush(&mut self, now: u32, counters: &mut ShardCounters, missed: &mut Vec<(u32, u64)>) -> io::Result<bool> {
        let Some(backlog) = &mut self.backlog else { return Ok(true) };
        let written = backlog.write_to(&mut self.transport)?;
        counters.bytes_out += written as u64;
        counters.backlog_bytes -= written as i64;
        if written > 0 {
            backlog.made_progress(now, self.transport.unacknowledged_bytes());
            self.last_seen = now; // It takes what we send: it is alive.
        }
        if backlog.bytes() > 0 {
            return Ok(false);
        }
        missed.extend(backlog.drain_missed());
        self.backlog = None;
        Ok(true)
    }

    /// Whether the peer of a socket with a backlog has acknowledged anything since the last call.
    pub fn has_progressed(&mut self, now: u32) -> bool {
        let Self { backlog, transport, .. } = self;
        backlog.as_mut().is_some_and(|backlog| backlog.check_progress(now, transport.unacknowledged_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 168, "{} bytes", size_of::<Conn>());
    }

    #[test]
    fn strikes_older_than_a_minute_are_forgiven() {
        let mut strikes = Strikes::default();
        assert_eq!((0..19).map(|_| strikes.add(100)).last(), Some(19));
        assert_eq!(strikes.add(159), 20);
        assert_eq!(strikes.add(160), 2);
    }
}
