//! One shard: a thread, an epoll, and the sockets that live on it.
//!
//! A turn of the loop waits on four inputs: sockets that became ready, new connections, the inbox (hub,
//! other shards, finished async commands), and time (a one-second tick for every connection's deadlines,
//! milliseconds for critical events). Nothing else touches a shard's state, so nothing in it is locked.
//!
//! Readiness is edge-triggered, the only kind mio has, and suits us: a socket is registered once in its
//! life for reading and writing, and neither a batch nor a backlog costs an `epoll_ctl`. The price is that
//! whoever stops reading early must remember it ([`Conn::readable`](crate::conn::Conn)).

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;
use ingest::Submission;
use ingest::rooms::may_enter;
use mio::{Events, Interest, Poll, Token};
use model::metrics::count_by;
use model::panics::contain;
use model::{Code, RoomId, RoomSettings, UserId, WireError};
use protocol::handshake::{Form, SubProtocol};
use protocol::message::JoinRoom;
use protocol::ws::Inflater;
use room::HubRoom;
use room::batch::{ConnRef, ToShard};
use slab::Slab;
use smallvec::SmallVec;
use socket2::SockRef;

use crate::Common;
use crate::close::{BROKEN, TOO_SLOW};
use crate::conn::{Conn, Stage};
use crate::critical::Critical;
use crate::deliver::Delivery;
use crate::inbox::{Inbound, Inbox, Reply};
use crate::members::ShardRoom;
use crate::tally::Tally;
use crate::timers::{Seat, Wheel};

/// The inbox's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The first listener; further ones count down from here.
const LISTENER: usize = usize::MAX - 1;
const LISTENERS_MAX: usize = 64;
/// One read takes at most so much from a socket.
const SCRATCH_BYTES: usize = 64 * 1024;
const EVENTS_PER_TURN: usize = 1_024;
const TICK_MS: u64 = 1_000;
/// Bytes the kernel takes of a socket beyond those on the network, so that what a slow reader is behind lies in its
/// backlog, where it is bounded and can be skipped.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

pub(crate) struct Shard {
    pub id: u16,
    pub common: Arc<Common>,
    pub poll: Poll,
    pub listeners: Vec<mio::net::TcpListener>,
    pub accepting: Accepting,
    pub conns: Slab<Conn>,
    pub generation: u32,
    pub rooms: HashMap<u32, ShardRoom>,
    /// Where each user sits.
    pub users: HashMap<UserId, SmallVec<[u32; 2]>>,
    /// Joins the hub has not answered yet; kept when the socket ends meanwhile.
    pub joining: HashMap<ConnRef, Form>,
    /// Sockets whose query names a room that waits for a login; nothing is left to wait for (`None`)
    /// once it is being joined.
    pub awaited: HashMap<ConnRef, Option<JoinRoom>>,
    pub wheel: Wheel,
    pub critical: Critical,
    /// The batch being delivered; what has come through the inbox since waits for its end.
    pub delivery: Option<Delivery>,
    mail: VecDeque<Inbound>,
    /// Comments of this turn on their way to the log, handed over together at its end.
    pub submissions: Vec<Submission>,
    /// Answers to the socket being read, gathered into one write.
    pub answers: Vec<u8>,
    pub scratch: Vec<u8>,
    /// For compressed messages, and where the last of them lies inflated.
    pub inflater: Inflater,
    pub inflated: Vec<u8>,
    /// Sockets that had more to read than their share of a turn.
    pub again: VecDeque<Seat>,
    /// Sockets to be taken out of the slab at the end of the turn.
    pub doomed: Vec<u32>,
    pub tally: Tally,
    /// Set once the shard drains.
    pub drain_until: Option<Instant>,
    started: Instant,
    /// Milliseconds since the start, read once a turn.
    pub now_ms: u64,
    /// Seconds since the start.
    pub now: u32,
    load: Load,
}

/// Whether connections may be waiting to be accepted.
#[derive(Default)]
pub(crate) struct Accepting {
    /// A listener reported an edge that was not used up.
    pub ready: bool,
    /// Out of file descriptors: not before this moment.
    pub pause_until_ms: u64,
}

/// The share of time spent working, smoothed over about a second.
struct Load {
    value: f32,
    busy: Duration,
    idle: Duration,
}

impl Load {
    const SPAN: Duration = Duration::from_millis(200);

    fn add(&mut self, idle: Duration, busy: Duration, inbox: &Inbox) {
        self.idle += idle;
        self.busy += busy;
        let span = self.idle + self.busy;
        if span >= Self::SPAN {
            let weight = (span.as_secs_f32()).min(1.0);
            self.value += weight * (self.busy.as_secs_f32() / span.as_secs_f32() - self.value);
            inbox.set_load(self.value);
            (self.busy, self.idle) = (Duration::ZERO, Duration::ZERO);
        }
    }
}

impl Shard {
    pub fn new(id: u16, poll: Poll, listeners: Vec<TcpListener>, common: Arc<Common>) -> io::Result<Self> {
        let mut shard = Self {
            id,
            common,
            poll,
            listeners: Vec::new(),
            accepting: Accepting::default(),
            conns: Slab::new(),
            generation: 0,
            rooms: HashMap::default(),
            users: HashMap::default(),
            joining: HashMap::default(),
            awaited: HashMap::default(),
            wheel: Wheel::new(),
            critical: Critical::default(),
            delivery: None,
            mail: VecDeque::new(),
            submissions: Vec::new(),
            answers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            inflater: Inflater::default(),
            inflated: Vec::new(),
            again: VecDeque::new(),
            doomed: Vec::new(),
            tally: Tally::default(),
            drain_until: None,
            started: Instant::now(),
            now_ms: 0,
            now: 0,
            load: Load { value: 0.0, busy: Duration::ZERO, idle: Duration::ZERO },
        };
        for (i, listener) in listeners.into_iter().take(LISTENERS_MAX).enumerate() {
            listener.set_nonblocking(true)?;
            // Accepted sockets inherit both, which saves system calls for each.
            SockRef::from(&listener).set_tcp_nodelay(true)?;
            #[cfg(target_os = "linux")]
            SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
            let mut listener = mio::net::TcpListener::from_std(listener);
            shard.poll.registry().register(&mut listener, Token(LISTENER - i), Interest::READABLE)?;
            shard.listeners.push(listener);
        }
        Ok(shard)
    }

    /// Runs until drained.
    pub fn run(mut self) {
        // Commands are begun on this thread and may set timers.
        let runtime = self.common.runtime.clone();
        let _entered = runtime.enter();
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut fired = Vec::new();
        while !self.is_drained() {
            self.turn(&mut events, &mut fired);
        }
        self.abandon();
        self.settle();
    }

    fn turn(&mut self, events: &mut Events, fired: &mut Vec<(u32, Seat)>) {
        let inbox = self.inbox().clone();
        let slept = Instant::now();
        let timeout = if inbox.may_sleep() { self.timeout(slept) } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, shard = self.id, "waiting for sockets failed");
        }
        inbox.awake();
        let woke = Instant::now();
        self.now_ms = (woke - self.started).as_millis() as u64;
        for event in events.iter() {
            self.ready(event);
        }
        self.read_mail(&inbox);
        self.accept();
        for seat in std::mem::take(&mut self.again) {
            self.guarded(Some(seat.index), |shard| shard.pump(seat.index));
        }
        if !self.submissions.is_empty() {
            // The next turn's are likely to be as many.
            let next = Vec::with_capacity(self.submissions.len());
            let run = std::mem::replace(&mut self.submissions, next);
            self.common.services.ingest.log.submit(run);
        }
        self.keep_time(fired);
        self.reap();
        self.settle();
        self.load.add(woke - slept, woke.elapsed(), &inbox);
    }

    /// Goes on with the delivery, then takes what waits, up to the next delivery that takes longer than a slice.
    fn read_mail(&mut self, inbox: &Inbox) {
        self.guarded(None, Self::deliver_on);
        if self.mail.is_empty() {
            inbox.take(&mut self.mail);
        }
        while self.delivery.is_none()
            && let Some(message) = self.mail.pop_front()
        {
            let index = message.conn().and_then(|conn| self.at(conn));
            self.guarded(index, |shard| shard.receive(message));
        }
    }

    /// How long nothing is due.
    fn timeout(&self, now: Instant) -> Duration {
        if !self.again.is_empty() || self.delivery.is_some() {
            return Duration::ZERO;
        }
        let now_ms = (now - self.started).as_millis() as u64;
        let mut due_ms = (u64::from(self.now) + 1) * TICK_MS;
        due_ms = due_ms.min(self.critical.next_due_ms().unwrap_or(u64::MAX));
        if self.accepting.ready {
            due_ms = due_ms.min(self.accepting.pause_until_ms);
        }
        Duration::from_millis(due_ms.saturating_sub(now_ms))
    }

    fn ready(&mut self, event: &mio::event::Event) {
        match event.token() {
            WAKER => {}
            Token(token) if token > LISTENER - LISTENERS_MAX => self.accepting.ready = true,
            Token(index) => self.guarded(Some(index as u32), |shard| shard.serve(index as u32, event)),
        }
    }

    fn serve(&mut self, index: u32, event: &mio::event::Event) {
        if event.is_writable() {
            self.flush(index);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(conn) = self.conn(index) {
                conn.readable = true;
                conn.hung_up |= event.is_read_closed() || event.is_error();
            }
            self.pump(index);
        }
    }

    /// Does what concerns one socket, or one message of the inbox: a panic ends that socket and no other.
    fn guarded(&mut self, index: Option<u32>, work: impl FnOnce(&mut Self)) {
        if contain(|| work(self)).is_some() {
            return;
        }
        tracing::error!(shard = self.id, "a panic (told above) was contained");
        self.scratch.resize(SCRATCH_BYTES, 0);
        self.answers.clear();
        self.inflater = Inflater::default();
        let Some(index) = index else { return };
        let closed = contain(|| match self.conn(index).is_some_and(|conn| conn.is_open()) {
            true => self.close(index, BROKEN, "a fault of this server"),
            false => self.doom(index),
        });
        if closed.is_none()
            && let Some(conn) = self.conn(index)
        {
            conn.doomed = true;
            self.doomed.push(index);
        }
    }

    fn receive(&mut self, message: Inbound) {
        match message {
            Inbound::Hub(ToShard::Batch(batch)) => self.deliver(batch),
            Inbound::Hub(ToShard::Joined(joined)) => self.joined(joined),
            Inbound::Hub(ToShard::UserEvent(frame)) => self.tell_users(&frame),
            Inbound::Hub(ToShard::Restricted { room, settings }) => self.restricted(room, &settings),
            Inbound::Hub(ToShard::Revoked { user_id, before_ms }) => self.revoked(&user_id, before_ms),
            Inbound::Hub(ToShard::Banned { user_id, room_id, until_ms, reason }) => {
                self.banned(&user_id, room_id.as_ref(), until_ms, reason.as_deref());
            }
            Inbound::Hub(ToShard::Recheck(user)) => self.recheck(user),
            Inbound::Accepted(stream, peer) => self.seat(stream, peer),
            Inbound::Reply(conn, reply) => self.replied(conn, reply),
            Inbound::Unacknowledged(conn, frames) => self.tell_again(conn, &frames),
            Inbound::Replaced { user, device, session } => self.replaced(&user, &device, session),
            Inbound::Acknowledged { user, event } => {
                self.acknowledged(&user, event);
            }
            Inbound::Told(told) => self.told(&told),
            Inbound::Drain(until) => self.begin_drain(until),
        }
    }

    /// An async command is done: its answer goes out and the socket is read on.
    fn replied(&mut self, conn: ConnRef, reply: Reply) {
        match self.at(conn) {
            Some(index) => self.go_on(index, reply),
            None => {
                if let Reply::NotJoined { previous: Some((room, stream)), .. } = reply {
                    self.leave_hub(conn, &room, stream);
                }
            }
        }
        self.joining.remove(&conn);
    }

    fn go_on(&mut self, index: u32, reply: Reply) {
        if let Some(conn) = self.conn(index) {
            conn.busy = false;
        }
        match reply {
            Reply::Frames(frames) => self.send_own(index, &frames),
            Reply::Joined => {}
            Reply::NotJoined { error, reference, previous } => {
                self.not_joined(index, &error, reference.as_deref(), previous);
            }
        }
        if self.drain_until.is_some() {
            self.close_for_drain(index);
        }
        self.pump(index);
    }

    /// The hub has made a socket a member: from here on the room's batches are for it.
    fn joined(&mut self, joined: room::batch::Joined) {
        let conn = joined.conn;
        let Some(index) = self.at(conn).filter(|index| self.conns.get(*index as usize).is_some_and(Conn::may_join))
        else {
            self.leave_hub(conn, &joined.room, joined.stream);
            return;
        };
        if let Err(error) = self.still_welcome(index, &joined.room) {
            self.leave_hub(conn, &joined.room, joined.stream);
            self.leave(index, joined.room.key());
            return self.not_joined(index, &error, None, None);
        }
        let by_query = self.upgrade(index) || self.awaited.remove(&conn).is_some();
        self.enter(index, &joined, by_query);
        self.answer_frames(&joined.answer);
        self.flush_answers(index);
    }

    /// A ban may have come between asking to enter and entering.
    fn still_welcome(&self, index: u32, room: &HubRoom) -> Result<(), WireError> {
        let services = &self.common.services;
        let Some(user) = self.conns.get(index as usize).and_then(Conn::user) else { return Ok(()) };
        Ok(services.ingest.bans.may_enter(user, room.id(), services.clock.now_ms())?)
    }

    /// Whoever may not read the room any more leaves it.
    fn restricted(&mut self, key: u32, settings: &RoomSettings) {
        let Some(room) = self.rooms.get(&key) else { return };
        let id = room.room.id().clone();
        let seats: Vec<u32> = room.roster.lists().flat_map(|(_, seats)| seats).copied().collect();
        for index in seats {
            let who = self.conn(index).and_then(|conn| conn.session.clone());
            if let Err(refusal) = may_enter(settings, who.as_ref().map(|session| &session.identity), &id) {
                self.put_out(index, key, &id, &refusal.into());
            }
        }
    }

    fn revoked(&mut self, user: &UserId, before_ms: i64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let issued_ms = self.conn(index).and_then(|conn| conn.session.as_ref()).map(|s| s.identity.issued_at_ms);
            if issued_ms.is_some_and(|issued_ms| issued_ms < before_ms) {
                self.close(index, 4001, "the token was revoked");
            }
        }
    }

    fn banned(&mut self, user: &UserId, room: Option<&RoomId>, until_ms: i64, reason: Option<&str>) {
        let left_ms = until_ms.saturating_sub(self.common.services.clock.now_ms()).max(1).cast_unsigned();
        let seats = self.users.get(user).cloned().unwrap_or_default();
        let message = reason.map_or_else(|| "you are banned".to_owned(), |reason| format!("you are banned: {reason}"));
        for index in seats {
            match room {
                None => self.close(index, 4003, &ban_reason(reason, left_ms)),
                Some(room) => {
                    if let Some(key) = self.key_of(index, room) {
                        let error = WireError::new(Code::Banned, message.clone()).retry_after_ms(left_ms);
                        self.put_out(index, key, room, &error);
                    }
                }
            }
        }
    }

    /// Bans and revoked tokens that were told before they were known, or not told at all, meet those who are here.
    fn recheck(&mut self, user: Option<UserId>) {
        let users = user.map_or_else(|| self.users.keys().cloned().collect(), |user| vec![user]);
        let common = self.common.clone();
        let (bans, now_ms) = (&common.services.ingest.bans, common.services.clock.now_ms());
        for user in users {
            for index in self.users.get(&user).cloned().unwrap_or_default() {
                let issued_ms =
                    self.conn(index).and_then(|conn| conn.session.as_ref()).map(|s| s.identity.issued_at_ms);
                if let Err(refusal) = bans.may_connect(&user, now_ms) {
                    self.close_banned(index, refusal);
                } else if issued_ms.is_some_and(|issued_ms| common.services.tokens.is_revoked(&user, issued_ms)) {
                    self.close(index, 4001, "the token was revoked");
                } else {
                    self.recheck_rooms(index, &user, now_ms);
                }
            }
        }
    }

    fn recheck_rooms(&mut self, index: u32, user: &UserId, now_ms: i64) {
        for (key, id) in self.rooms_of(index) {
            if let Err(refusal) = self.common.services.ingest.bans.may_enter(user, &id, now_ms) {
                self.put_out(index, key, &id, &refusal.into());
            }
        }
    }

    /// A socket has to leave a room, and is told why.
    fn put_out(&mut self, index: u32, key: u32, room: &RoomId, error: &WireError) {
        self.answer_error(index, error, None);
        self.leave(index, key);
        self.answer_left(index, room, None);
        self.flush_answers(index);
    }

    /// The rooms that a socket is in.
    pub fn rooms_of(&mut self, index: u32) -> Vec<(u32, RoomId)> {
        let keys: Vec<u32> =
            self.conn(index).map_or_else(Vec::new, |conn| conn.memberships.iter().map(|m| m.room).collect());
        keys.into_iter().filter_map(|key| Some((key, self.rooms.get(&key)?.room.id().clone()))).collect()
    }

    fn keep_time(&mut self, fired: &mut Vec<(u32, Seat)>) {
        let now = (self.now_ms / TICK_MS) as u32;
        if now > self.now {
            self.now = now;
            self.wheel.advance(now, fired);
            for (tick, seat) in fired.drain(..) {
                self.guarded(Some(seat.index), |shard| shard.expire(tick, seat));
            }
        }
        if self.critical.next_due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.guarded(None, Self::repeat_critical);
        }
    }

    /// A deadline of this socket may have passed.
    fn expire(&mut self, tick: u32, seat: Seat) {
        let index = seat.index;
        let common = self.common.clone();
        let settings = &common.services.settings;
        let now = self.now;
        let Some(conn) = self.conn(index).filter(|conn| conn.generation == seat.generation && conn.fires <= tick)
        else {
            return;
        };
        conn.fires = u32::MAX;
        if conn.deadline(settings) > now {
            return self.schedule(index);
        }
        match &conn.stage {
            Stage::Arriving(_) => self.give_up_handshake(index),
            Stage::Upgrading(_) => self.refuse(index, &WireError::unavailable()),
            Stage::Closing { shut_at: Some(_), .. } => self.shut_now(index),
            Stage::Closing { .. } => self.doom(index),
            Stage::Open => {
                let (code, reason) = conn.overdue(now, settings);
                if code == TOO_SLOW && conn.has_taken(now) {
                    return self.schedule(index);
                }
                self.close(index, code, reason);
            }
        }
    }

    /// Makes sure the wheel looks at a socket when its earliest deadline is due.
    pub fn schedule(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let at = conn.deadline(&self.common.services.settings);
        if at < conn.fires {
            conn.fires = self.wheel.schedule(at, conn.seat(index as usize));
        }
    }

    /// The live socket at a seat.
    pub fn conn(&mut self, index: u32) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize).filter(|conn| !conn.doomed)
    }

    /// What the socket at a seat speaks.
    pub fn protocol(&self, index: u32) -> SubProtocol {
        self.conns.get(index as usize).map_or(SubProtocol::Json, |conn| conn.form.protocol)
    }

    /// The seat of a socket that is still there.
    pub fn at(&mut self, conn: ConnRef) -> Option<u32> {
        self.conn(conn.index).filter(|found| found.generation == conn.generation).map(|_| conn.index)
    }

    /// How others name the socket at a seat.
    pub fn reference(&self, index: u32) -> ConnRef {
        let generation = self.conns.get(index as usize).map_or(0, |conn| conn.generation);
        ConnRef { shard: self.id, index, generation }
    }

    pub fn inbox(&self) -> &Arc<Inbox> {
        // Made together with the shard.
        &self.common.inboxes[usize::from(self.id)]
    }

    /// The room's key, when the socket at a seat reads it.
    pub fn key_of(&self, index: u32, room: &RoomId) -> Option<u32> {
        let conn = self.conns.get(index as usize)?;
        let named = |key: u32| self.rooms.get(&key).is_some_and(|found| found.room.id() == room);
        conn.memberships.iter().map(|m| m.room).find(|key| named(*key))
    }

    pub fn count(&self, family: &model::metrics::Labelled, label: &'static str, value: &'static str) {
        count_by(family, label, value, 1);
    }

    fn settle(&mut self) {
        self.tally.settle(&self.common.services.metrics);
    }
}

/// The reason of a close with 4003, as JSON, within the 123 bytes a close may carry.
pub(crate) fn ban_reason(reason: Option<&str>, left_ms: u64) -> String {
    let reason = reason.unwrap_or_default();
    let reason = reason.get(..reason.floor_char_boundary(60)).unwrap_or_default();
    serde_json::json!({ "reason": reason, "retry_after_ms": left_ms }).to_string()
}
