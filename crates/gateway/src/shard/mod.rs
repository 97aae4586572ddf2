//! One shard: a thread, an epoll, and the sockets that live on it.
//!
//! A turn of the loop waits for four inputs: ready sockets, new connections, the inbox (hub, other shards, finished async
//! commands), and time (a one-second tick for every connection's deadlines, milliseconds for critical events). Nothing
//! else touches a shard's state, so nothing in it is locked. The shard decides no rule: commands ask `ingest` and `chat`.
//!
//! Readiness is edge-triggered, the only kind that mio has. A socket is registered once in its life for reading and writing,
//! and neither a batch nor a backlog costs an `epoll_ctl`. The price: code that stops reading early must remember that more
//! may wait ([`Conn::readable`]).

mod accept;
mod access;
mod close;
mod critical;
mod cx;
mod deliver;
mod events;
pub(crate) mod inbox;
mod input;
mod members;
mod membership;
mod messages;
mod notices;
mod park;
mod sessions;
mod timers;
mod upgrade;
mod webtransport;

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;
use hub::batch::{ConnRef, ShardMessage};
use ingest::Submission;
use mio::{Events, Interest, Poll, Token};
use model::metrics::{Histogram, count_by};
use model::panics::contain;
use model::{RoomId, UserId, WireError};
use protocol::handshake::SubProtocol;
use protocol::message::JoinRoom;
use protocol::ws::Inflater;
use slab::Slab;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::Common;
use crate::conn::{Conn, ConnToken, Stage, TOO_SLOW};
use crate::counters::ShardCounters;
use crate::shard::accept::Acceptor;
use crate::shard::close::BROKEN;
pub(crate) use crate::shard::close::reconnect_reason;
use crate::shard::critical::CriticalEvents;
pub(crate) use crate::shard::cx::CommandCx;
use crate::shard::deliver::Delivery;
use crate::shard::inbox::{Inbound, Inbox, Reply};
use crate::shard::members::ShardRoom;
pub(crate) use crate::shard::park::Adoption;
use crate::shard::timers::TimerWheel;
use crate::transport::configure_listener;

/// The inbox's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The first listener; further ones count down from here.
const LISTENER: usize = usize::MAX - 1;
const LISTENERS_MAX: usize = 64;
/// The most that one read takes from a socket.
const SCRATCH_BYTES: usize = 64 * 1024;
const EVENTS_PER_TURN: usize = 1_024;
const TICK_MS: u64 = 1_000;

pub(crate) struct Shard {
    id: u16,
    common: Arc<Common>,
    poll: Poll,
    acceptor: Acceptor,
    /// The sockets; a socket's index here is its slot.
    conns: Slab<Conn>,
    /// The generation of the socket accepted last.
    generation: u32,
    rooms: HashMap<u32, ShardRoom>,
    /// The slots of each user's sockets.
    users: HashMap<UserId, SmallVec<[u32; 2]>>,
    /// Sockets whose query names a room that waits for a login; `None` once the room is being joined.
    deferred_joins: HashMap<ConnRef, Option<JoinRoom>>,
    wheel: TimerWheel,
    critical: CriticalEvents,
    /// The batch being delivered; inbox messages wait for its end.
    delivery: Option<Delivery>,
    /// Inbox messages that were fetched and not handled yet.
    waiting: VecDeque<Inbound>,
    /// This turn's comments, submitted to the log together at its end.
    submissions: Vec<Submission>,
    /// Answers to the socket being read, gathered into one write.
    answers: Vec<u8>,
    scratch: Vec<u8>,
    inflater: Inflater,
    /// The last compressed message, inflated.
    inflated: Vec<u8>,
    /// Sockets that had more to read than their share of a turn.
    resume: VecDeque<ConnToken>,
    /// Slots to free at the end of the turn.
    removed: Vec<u32>,
    counters: ShardCounters,
    /// Set once the shard drains.
    drain_until: Option<Instant>,
    /// It neither accepts nor reads: its sockets are about to be handed over.
    frozen: bool,
    /// Waits until no command runs any more.
    on_frozen: Option<oneshot::Sender<()>>,
    /// Its sockets were given away.
    parked: bool,
    started: Instant,
    /// Milliseconds since the start, read once a turn.
    now_ms: u64,
    /// Seconds since the start.
    now: u32,
    load: Load,
}

/// The share of time spent working, smoothed over about a second.
struct Load {
    value: f32,
    busy: Duration,
    idle: Duration,
    /// The longest turn of the span: what came in it waited at most so long.
    longest: Duration,
    lag: Histogram,
}

impl Load {
    const SPAN: Duration = Duration::from_millis(200);

    fn add(&mut self, idle: Duration, busy: Duration, inbox: &Inbox) {
        self.idle += idle;
        self.busy += busy;
        self.longest = self.longest.max(busy);
        let span = self.idle + self.busy;
        if span >= Self::SPAN {
            let weight = (span.as_secs_f32()).min(1.0);
            self.value += weight * (self.busy.as_secs_f32() / span.as_secs_f32() - self.value);
            inbox.set_load(self.value);
            self.lag.observe(self.longest.as_secs_f64());
            (self.busy, self.idle, self.longest) = Default::default();
        }
    }
}

impl Shard {
    pub fn new(id: u16, poll: Poll, listeners: Vec<TcpListener>, common: Arc<Common>) -> io::Result<Self> {
        let name = [("loop", format!("shard-{id}"))];
        let lag = common.services.metrics.loop_lag.get_or_create(&name).clone();
        let mut shard = Self {
            id,
            common,
            poll,
            acceptor: Acceptor::default(),
            conns: Slab::new(),
            generation: 0,
            rooms: HashMap::default(),
            users: HashMap::default(),
            deferred_joins: HashMap::default(),
            wheel: TimerWheel::new(),
            critical: CriticalEvents::default(),
            delivery: None,
            waiting: VecDeque::new(),
            submissions: Vec::new(),
            answers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            inflater: Inflater::default(),
            inflated: Vec::new(),
            resume: VecDeque::new(),
            removed: Vec::new(),
            counters: ShardCounters::default(),
            drain_until: None,
            frozen: false,
            on_frozen: None,
            parked: false,
            started: Instant::now(),
            now_ms: 0,
            now: 0,
            load: Load { value: 0.0, busy: Duration::ZERO, idle: Duration::ZERO, longest: Duration::ZERO, lag },
        };
        for (i, listener) in listeners.into_iter().take(LISTENERS_MAX).enumerate() {
            configure_listener(&listener)?;
            let mut listener = mio::net::TcpListener::from_std(listener);
            shard.poll.registry().register(&mut listener, Token(LISTENER - i), Interest::READABLE)?;
            shard.acceptor.listeners.push(listener);
        }
        Ok(shard)
    }

    /// Runs until drained.
    pub fn run(mut self) {
        // Commands start on this thread and may set timers.
        let runtime = self.common.runtime.clone();
        let _entered = runtime.enter();
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut fired = Vec::new();
        while !self.is_drained() {
            self.turn(&mut events, &mut fired);
        }
        self.drop_all();
        self.flush_counters();
    }

    fn turn(&mut self, events: &mut Events, fired: &mut Vec<(u32, ConnToken)>) {
        let inbox = self.inbox().clone();
        let slept = Instant::now();
        let timeout = if inbox.prepare_sleep() { self.timeout(slept) } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, shard = self.id, "waiting for sockets failed");
        }
        inbox.set_awake();
        let woke = Instant::now();
        self.now_ms = (woke - self.started).as_millis() as u64;
        for event in events.iter() {
            self.dispatch_event(event);
        }
        self.handle_inbox(&inbox);
        self.accept();
        for token in std::mem::take(&mut self.resume) {
            self.guarded(Some(token.index), |shard| shard.read_input(token.index));
        }
        if !self.submissions.is_empty() {
            // The next turn's are likely to be as many.
            let next = Vec::with_capacity(self.submissions.len());
            let batch = std::mem::replace(&mut self.submissions, next);
            self.common.services.ingest.log.submit(batch);
        }
        self.handle_timers(fired);
        self.report_frozen();
        self.free_removed();
        self.flush_counters();
        self.load.add(woke - slept, woke.elapsed(), &inbox);
    }

    /// Continues the delivery, then handles inbox messages, up to the next delivery that takes longer than a slice.
    fn handle_inbox(&mut self, inbox: &Inbox) {
        self.guarded(None, Self::continue_delivery);
        if self.waiting.is_empty() {
            inbox.swap(&mut self.waiting);
        }
        while self.delivery.is_none()
            && let Some(message) = self.waiting.pop_front()
        {
            let index = message.conn().and_then(|conn| self.index_of(conn));
            self.guarded(index, |shard| shard.handle_inbound(message));
        }
    }

    /// How long the shard may sleep.
    fn timeout(&self, now: Instant) -> Duration {
        if !self.resume.is_empty() || self.delivery.is_some() {
            return Duration::ZERO;
        }
        let now_ms = (now - self.started).as_millis() as u64;
        let mut due_ms = (u64::from(self.now) + 1) * TICK_MS;
        due_ms = due_ms.min(self.critical.next_due_ms().unwrap_or(u64::MAX));
        if self.acceptor.ready && !self.stops_accepting() {
            due_ms = due_ms.min(self.acceptor.pause_until_ms);
        }
        Duration::from_millis(due_ms.saturating_sub(now_ms))
    }

    fn dispatch_event(&mut self, event: &mio::event::Event) {
        match event.token() {
            WAKER => {}
            Token(token) if token > LISTENER - LISTENERS_MAX => self.acceptor.ready = true,
            Token(index) => self.guarded(Some(index as u32), |shard| shard.handle_ready(index as u32, event)),
        }
    }

    fn handle_ready(&mut self, index: u32, event: &mio::event::Event) {
        if event.is_writable() {
            self.flush(index);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(conn) = self.conn(index) {
                conn.readable = true;
                conn.peer_closed |= event.is_read_closed() || event.is_error();
            }
            self.read_input(index);
        }
    }

    /// Runs work for one socket or one inbox message. A panic in it ends that socket and no other.
    fn guarded(&mut self, index: Option<u32>, work: impl FnOnce(&mut Self)) {
        if contain(|| work(self)).is_some() {
            return;
        }
        tracing::error!(shard = self.id, "a panic (logged above) was contained");
        self.scratch.resize(SCRATCH_BYTES, 0);
        self.answers.clear();
        self.inflater = Inflater::default();
        let Some(index) = index else { return };
        let closed = contain(|| match self.conn(index).is_some_and(|conn| conn.is_open()) {
            true => self.close(index, BROKEN, "a fault of this server"),
            false => self.remove(index),
        });
        if closed.is_none()
            && let Some(conn) = self.conn(index)
        {
            conn.removed = true;
            self.removed.push(index);
        }
    }

    fn handle_inbound(&mut self, message: Inbound) {
        match message {
            Inbound::Hub(ShardMessage::Batch(batch)) => self.deliver(batch),
            Inbound::Hub(ShardMessage::Joined(joined)) => self.joined(&joined),
            Inbound::Hub(ShardMessage::Shadow(shadow)) => self.deliver_shadow(&shadow),
            Inbound::Hub(ShardMessage::UserEvent(event)) => self.send_user_event(&event),
            Inbound::Hub(ShardMessage::Restricted { room, settings }) => self.restrict_room(room, &settings),
            Inbound::Hub(ShardMessage::Revoked { user_id, before_ms }) => self.revoke(&user_id, before_ms),
            Inbound::Hub(ShardMessage::Banned { user_id, room_id, until_ms, reason }) => {
                self.ban(&user_id, room_id.as_ref(), until_ms, reason.as_deref());
            }
            Inbound::Hub(ShardMessage::Recheck(user)) => self.recheck(user),
            Inbound::Accepted(socket, peer) => self.add_conn(socket, peer),
            Inbound::Session(session) => self.add_session(*session),
            Inbound::SessionStream(conn, streams) => self.attach_stream(conn, *streams),
            Inbound::SessionReady(conn) => self.session_ready(conn),
            Inbound::SessionEnded(conn, code) => self.session_ended(conn, code),
            Inbound::Reply(conn, reply) => self.handle_reply(conn, reply),
            Inbound::Unacknowledged(conn, events) => self.resend_unacknowledged(conn, &events),
            Inbound::Replaced { user, device, session } => self.replace_older(&user, &device, session),
            Inbound::Acknowledged { user, event } => {
                self.acknowledge(&user, event);
            }
            Inbound::Notice(notice) => self.deliver_notice(&notice),
            Inbound::Freeze(frozen) => self.freeze(frozen),
            Inbound::Thaw => self.thaw(),
            Inbound::Park(parked) => self.park_all(parked),
            Inbound::Drain(until) => self.begin_drain(until),
        }
    }

    /// An async command is done: sends its answer and reads the socket on.
    fn handle_reply(&mut self, conn: ConnRef, reply: Reply) {
        match self.index_of(conn) {
            Some(index) => self.finish_command(index, reply),
            None => {
                if let Reply::NotJoined { previous: Some((room, stream)), .. } = reply {
                    room.leave(stream, self.id);
                }
            }
        }
    }

    fn finish_command(&mut self, index: u32, reply: Reply) {
        if let Some(conn) = self.conn(index) {
            conn.busy = false;
        }
        match reply {
            Reply::Frames(frames) => self.send_frames(index, &frames),
            Reply::Joined => {}
            Reply::NotJoined { error, reference, previous } => {
                self.join_refused(index, &error, reference.as_deref(), previous);
            }
        }
        if self.drain_until.is_some() {
            self.close_for_drain(index);
        }
        self.read_input(index);
    }

    fn handle_timers(&mut self, fired: &mut Vec<(u32, ConnToken)>) {
        let now = (self.now_ms / TICK_MS) as u32;
        if now > self.now {
            self.now = now;
            self.wheel.advance(now, fired);
            for (tick, token) in fired.drain(..) {
                self.guarded(Some(token.index), |shard| shard.check_deadline(tick, token));
            }
        }
        if self.critical.next_due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.guarded(None, Self::repeat_critical);
        }
    }

    /// Acts on a deadline of this socket that has passed; the entry of the wheel may be older than the deadline.
    fn check_deadline(&mut self, tick: u32, token: ConnToken) {
        let index = token.index;
        let common = self.common.clone();
        let settings = &common.services.settings;
        let now = self.now;
        let Some(conn) = self.conn(index).filter(|conn| conn.generation == token.generation && conn.timer_at <= tick)
        else {
            return;
        };
        conn.timer_at = u32::MAX;
        if conn.deadline(settings) > now {
            return self.schedule(index);
        }
        match &conn.stage {
            Stage::Handshake(_) => self.handshake_timeout(index),
            Stage::Upgrading(_) => self.refuse_upgrade(index, &WireError::unavailable()),
            Stage::Closing { shut_at: Some(_), .. } => self.shut_now(index),
            Stage::Closing { .. } => self.remove(index),
            Stage::Open => {
                let (code, reason) = conn.overdue(now, settings);
                if code == TOO_SLOW && conn.has_progressed(now) {
                    return self.schedule(index);
                }
                self.close(index, code, reason);
            }
        }
    }

    /// Makes sure that the wheel fires at the socket's earliest deadline.
    fn schedule(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let at = conn.deadline(&self.common.services.settings);
        if at < conn.timer_at {
            conn.timer_at = self.wheel.schedule(at, conn.token(index));
        }
    }

    /// The live socket in a slot.
    fn conn(&mut self, index: u32) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize).filter(|conn| !conn.removed)
    }

    /// The sub-protocol of the socket in a slot.
    fn protocol(&self, index: u32) -> SubProtocol {
        self.conns.get(index as usize).map_or(SubProtocol::Json, |conn| conn.form.protocol)
    }

    /// The slot of a socket that is still there.
    fn index_of(&mut self, conn: ConnRef) -> Option<u32> {
        self.conn(conn.index).filter(|found| found.generation == conn.generation).map(|_| conn.index)
    }

    /// The reference by which others name the socket in a slot.
    fn conn_ref(&self, index: u32) -> ConnRef {
        let generation = self.conns.get(index as usize).map_or(0, |conn| conn.generation);
        ConnRef { shard: self.id, index, generation }
    }

    fn inbox(&self) -> &Arc<Inbox> {
        // Made together with the shard.
        &self.common.inboxes[usize::from(self.id)]
    }

    /// The room's key, when the socket in a slot is a member.
    fn member_key(&self, index: u32, room: &RoomId) -> Option<u32> {
        let conn = self.conns.get(index as usize)?;
        let named = |key: u32| self.rooms.get(&key).is_some_and(|found| found.room.id() == room);
        conn.memberships.iter().map(|m| m.room).find(|key| named(*key))
    }

    fn count(&self, family: &model::metrics::Labelled, label: &'static str, value: &'static str) {
        count_by(family, label, value, 1);
    }

    fn flush_counters(&mut self) {
        self.counters.flush(&self.common.services.metrics);
    }
}
