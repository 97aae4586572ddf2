//! One socket and the little that is remembered of it.
//!
//! Owned by a shard's slab and touched by its thread only. An idle viewer has no buffer, no timer and no
//! task: what is rare (an unfinished handshake, a backlog, strikes) is boxed and absent.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use mio::net::TcpStream;
use model::{DeviceId, Identity, UserId};
use protocol::handshake::{Form, SubProtocol};
use protocol::message::JoinRoom;
use protocol::ws::Decoder;
use room::hub::StreamId;
use smallvec::SmallVec;
use state::Permit;

use crate::GatewaySettings;
use crate::backlog::{Backlog, Comments, Overflow, Piece};
use crate::tally::Tally;
use crate::timers::Seat;
use crate::tls::{Tls, TlsWriter};
use crate::unacknowledged::unacknowledged;

/// A room must be warm within this many seconds, or the upgrade is given up.
const UPGRADE_S: u32 = 30;

pub(crate) struct Conn {
    pub stream: TcpStream,
    /// Where the listener speaks it.
    pub tls: Option<Box<Tls>>,
    pub generation: u32,
    /// How it reads and, compression apart, writes.
    pub form: Form,
    /// An async command is under way: nothing more is read until its reply.
    pub busy: bool,
    /// The kernel may have bytes for us (epoll reports an edge once).
    pub readable: bool,
    /// The decoder holds whole messages that were not looked at yet.
    pub held: bool,
    /// The peer sends nothing more: read on to the end.
    pub hung_up: bool,
    /// It is in the count of open sockets.
    pub counted: bool,
    /// To be taken out of the slab at the end of this turn.
    pub doomed: bool,
    pub stage: Stage,
    /// Tick of the last sign of life.
    pub last_seen: u32,
    /// Tick for which the wheel holds an entry.
    pub fires: u32,
    /// Tick by which somebody must have logged in.
    pub authorize_by: u32,
    pub session: Option<Arc<Session>>,
    pub decoder: Decoder,
    pub memberships: SmallVec<[Membership; 1]>,
    pub backlog: Option<Box<Backlog>>,
    pub strikes: Option<Box<Strikes>>,
    /// This socket's place in its address's count; absent when the address does not count.
    #[allow(dead_code)] // Held for its drop.
    pub permit: Option<Box<Permit>>,
}

/// How far a socket has come.
pub(crate) enum Stage {
    /// Its request is arriving.
    Arriving(Box<Arrival>),
    /// Its request is good; the room it asked for is being joined.
    Upgrading(Box<Upgrade>),
    /// It speaks WebSocket.
    Open,
    /// A close has been queued; whatever arrives is discarded until the peer hangs up, or this tick. Our side is shut at the
    /// tick `shut_at`, or sooner if something arrives; `None` once that is past.
    Closing { until: u32, shut_at: Option<u32> },
}

/// A request that is arriving.
pub(crate) struct Arrival {
    pub peer: SocketAddr,
    /// It was seen to be for us, so its bytes may be taken from the kernel.
    pub ours: bool,
    pub head: Vec<u8>,
}

/// What an accepted request asked for.
pub(crate) struct Upgrade {
    pub accept: [u8; 28],
    /// The sub-protocol to name in the answer.
    pub protocol: Option<SubProtocol>,
    /// Compression was offered and is accepted.
    pub deflate: bool,
    pub who: Who,
    pub device: Option<DeviceId>,
    pub room: Option<JoinRoom>,
    /// The address counted, when it is not the peer's own.
    pub forwarded: Option<IpAddr>,
    /// Frames that came right behind the request.
    pub rest: Vec<u8>,
}

/// Who a request says it comes from.
pub(crate) enum Who {
    Known(Identity),
    /// No token: nobody.
    Nobody,
    /// A token that does not verify, for this reason.
    Rejected(String),
}

/// Somebody logged in on a socket.
pub(crate) struct Session {
    pub identity: Identity,
    /// Absent when the client named none; then it replaces nobody.
    pub device: Option<DeviceId>,
    /// Rises with every login of this process: a device's newest session replaces the older ones.
    pub number: u64,
    /// When it began: Unix milliseconds, for other nodes, and this shard's tick.
    pub since_ms: i64,
    pub since: u32,
    /// The socket's number, unique in the deployment; the same as long as the same user stays on it.
    pub socket: u64,
    /// Tick at which the token has expired.
    pub expires: u32,
}

/// A socket's place in a room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    /// The room's key.
    pub room: u32,
    pub stream: StreamId,
    /// Its place in the stream's list.
    pub place: u32,
    /// The room of the query: where comments go that name none.
    pub by_query: bool,
    /// A join with other options is under way: the hub, not this socket, takes it out of the stream.
    pub moving: bool,
}

/// Ticks of the bad messages of the last minute.
#[derive(Default)]
pub(crate) struct Strikes(Vec<u32>);

impl Strikes {
    /// One more; returns how many there were within a minute.
    pub fn add(&mut self, now: u32) -> usize {
        self.0.retain(|tick| now.saturating_sub(*tick) < 60);
        self.0.push(now);
        self.0.len()
    }
}

/// What became of bytes handed to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel has all of them.
    Whole,
    /// The rest waits in the backlog.
    Queued,
    /// They may not be skipped and do not fit: too slow.
    Overflow,
    /// The peer is gone.
    Gone,
}

/// A batch's bytes for one list of seats: events, then comments.
pub(crate) struct Parcel {
    bytes: Bytes,
    /// Length of the events before the comments.
    events_bytes: usize,
    comments: Comments,
    /// How many frames it holds.
    frames: u64,
}

impl Parcel {
    pub fn new(events: &Bytes, events_count: usize, comments: &Bytes, about: Comments) -> Self {
        let bytes = match (events.is_empty(), comments.is_empty()) {
            (true, _) => comments.clone(),
            (_, true) => events.clone(),
            _ => Bytes::from([events.as_ref(), comments.as_ref()].concat()),
        };
        let frames = events_count as u64 + u64::from(!comments.is_empty());
        Self { bytes, events_bytes: events.len(), comments: about, frames }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The events and the comments as pieces, those absent left out.
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        let events = Piece { bytes: self.bytes.slice(..self.events_bytes), comments: None };
        let comments = Piece { bytes: self.bytes.slice(self.events_bytes..), comments: Some(self.comments) };
        [events, comments].into_iter().filter(|piece| !piece.bytes.is_empty())
    }
}

impl Conn {
    pub fn new(stream: TcpStream, generation: u32, stage: Stage, now: u32, permit: Option<Permit>) -> Self {
        Self {
            stream,
            tls: None,
            generation,
            form: Form::plain(SubProtocol::Json),
            busy: false,
            readable: false,
            held: false,
            hung_up: false,
            counted: false,
            doomed: false,
            stage,
            last_seen: now,
            fires: u32::MAX,
            authorize_by: u32::MAX,
            session: None,
            decoder: Decoder::default(),
            memberships: SmallVec::new(),
            backlog: None,
            strikes: None,
            permit: permit.map(Box::new),
        }
    }

    pub fn seat(&self, index: usize) -> Seat {
        Seat { index: index as u32, generation: self.generation }
    }

    /// Who is on the socket, or will be once it is open.
    pub fn user(&self) -> Option<&UserId> {
        match (&self.session, &self.stage) {
            (Some(session), _) => Some(&session.identity.user_id),
            (None, Stage::Upgrading(upgrade)) => match &upgrade.who {
                Who::Known(identity) => Some(&identity.user_id),
                Who::Nobody | Who::Rejected(_) => None,
            },
            _ => None,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open) && !self.doomed
    }

    pub fn membership(&self, room: u32) -> Option<&Membership> {
        self.memberships.iter().find(|m| m.room == room)
    }

    /// The earliest tick at which something may be due, for the wheel.
    pub fn deadline(&self, settings: &GatewaySettings) -> u32 {
        match &self.stage {
            Stage::Arriving(_) => self.last_seen + settings.handshake_s,
            Stage::Upgrading(_) => self.last_seen + UPGRADE_S,
            Stage::Closing { until, shut_at } => shut_at.unwrap_or(*until),
            Stage::Open => {
                let slow = self.backlog.as_ref().map_or(u32::MAX, |backlog| backlog.moved + settings.slow_patience_s);
                let expires = self.session.as_ref().map_or(u32::MAX, |session| session.expires);
                (self.last_seen + settings.dead_after_s()).min(self.authorize_by).min(expires).min(slow)
            }
        }
    }

    /// Reads once; `None` when there is nothing for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = match &mut self.tls {
                None => self.stream.read(buffer),
                Some(tls) => tls.read(&mut self.stream, buffer),
            };
            match read {
                Ok(n) => return Ok(Some(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Remembers after a read whether there may be more: a read that did not fill the buffer has emptied the kernel's,
    /// and the next bytes come with their own edge. TLS reads less than it is offered.
    pub fn has_read(&mut self, filled: bool) {
        self.readable = filled || self.hung_up || self.tls.is_some();
    }

    /// Shuts our side, once TLS has said so; nothing else may wait by then. To be called again when the socket takes more.
    pub fn shut(&mut self) {
        let closed = self.tls.as_mut().is_none_or(|tls| tls.close(&mut self.stream).is_ok());
        if closed {
            // Fails only when the peer is gone already, which the next read tells.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Hands shared frames to the socket: one system call when it keeps up.
    pub fn send(&mut self, parcel: &Parcel, budget: usize, now: u32, tally: &mut Tally) -> Sent {
        tally.frames_out += parcel.frames;
        if self.backlog.is_some() {
            return self.queue(parcel.pieces(), budget, now, tally);
        }
        let sent = match self.write(&parcel.bytes, tally) {
            Ok(sent) if sent == parcel.bytes.len() => return Sent::Whole,
            Ok(sent) => sent,
            Err(_) => return Sent::Gone,
        };
        let mut backlog = Box::new(Backlog::new(now, unacknowledged(&self.stream)));
        let mut before = sent;
        let mut started = false;
        for piece in parcel.pieces() {
            let (len, skip) = (piece.bytes.len(), before.min(piece.bytes.len()));
            before -= skip;
            match skip {
                _ if skip == len => continue,
                _ if !started => backlog.push_started(piece, skip),
                _ => match backlog.push(piece, budget, now) {
                    Ok(skipped) => tally.omitted_slow += skipped,
                    Err(Overflow { .. }) => return Sent::Overflow,
                },
            }
            started = true;
        }
        tally.backlog_bytes += backlog.bytes() as i64;
        self.backlog = Some(backlog);
        Sent::Queued
    }

    /// Hands frames to the socket that belong to it alone and are never skipped.
    pub fn send_kept(&mut self, bytes: &[u8], budget: usize, now: u32, tally: &mut Tally) -> Sent {
        let piece = |rest: &[u8]| Piece { bytes: Bytes::copy_from_slice(rest), comments: None };
        if self.backlog.is_some() {
            return self.queue(std::iter::once(piece(bytes)), budget, now, tally);
        }
        let rest = match self.write(bytes, tally).map(|sent| bytes.get(sent..).unwrap_or_default()) {
            Ok([]) => return Sent::Whole,
            Ok(rest) => rest,
            Err(_) => return Sent::Gone,
        };
        let mut backlog = Box::new(Backlog::new(now, unacknowledged(&self.stream)));
        backlog.push_started(piece(rest), 0);
        tally.backlog_bytes += rest.len() as i64;
        self.backlog = Some(backlog);
        Sent::Queued
    }

    fn queue(&mut self, pieces: impl Iterator<Item = Piece>, budget: usize, now: u32, tally: &mut Tally) -> Sent {
        let Some(backlog) = &mut self.backlog else { return Sent::Gone };
        let before = backlog.bytes() as i64;
        let mut sent = Sent::Queued;
        for piece in pieces {
            match backlog.push(piece, budget, now) {
                Ok(skipped) => tally.omitted_slow += skipped,
                Err(Overflow { skipped }) => {
                    tally.omitted_slow += skipped;
                    sent = Sent::Overflow;
                }
            }
        }
        tally.backlog_bytes += backlog.bytes() as i64 - before;
        sent
    }

    /// Writes what the kernel takes at once.
    fn write(&mut self, bytes: &[u8], tally: &mut Tally) -> io::Result<usize> {
        loop {
            let sent = match &mut self.tls {
                None => self.stream.write(bytes),
                Some(tls) => tls.write(&mut self.stream, bytes),
            };
            match sent {
                Ok(sent) => {
                    tally.bytes_out += sent as u64;
                    return Ok(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the backlog as far as the socket takes it. True when nothing is left of it; what was
    /// skipped meanwhile is then in `missed`.
    pub fn flush(&mut self, now: u32, tally: &mut Tally, missed: &mut Vec<(u32, u64)>) -> io::Result<bool> {
        let Some(backlog) = &mut self.backlog else { return Ok(true) };
        let written = match &mut self.tls {
            None => backlog.write_to(&mut self.stream)?,
            Some(tls) => backlog.write_to(&mut TlsWriter(tls, &mut self.stream))?,
        };
        tally.bytes_out += written as u64;
        tally.backlog_bytes -= written as i64;
        if written > 0 {
            backlog.wrote(now, unacknowledged(&self.stream));
            self.last_seen = now; // It takes what we send: it is alive.
        }
        if backlog.bytes() > 0 {
            return Ok(false);
        }
        missed.extend(backlog.take_missed());
        self.backlog = None;
        Ok(true)
    }
}

impl Conn {
    /// Whether a socket with a backlog has taken something since it was last asked, however little.
    pub fn has_taken(&mut self, now: u32) -> bool {
        let Self { backlog, stream, .. } = self;
        backlog.as_mut().is_some_and(|backlog| backlog.was_taken(now, unacknowledged(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 144, "{} bytes", size_of::<Conn>());
    }

    #[test]
    fn strikes_older_than_a_minute_are_forgiven() {
        let mut strikes = Strikes::default();
        assert_eq!((0..19).map(|_| strikes.add(100)).last(), Some(19));
        assert_eq!(strikes.add(159), 20);
        assert_eq!(strikes.add(160), 2);
    }
}
