//! One thread of the swarm: an epoll loop that owns its sockets. There is no task, timer or channel for
//! any of them. Sends what its feed says at the planned moments, woken by a timer of the kernel to the
//! microsecond, and tallies what the sockets hear. Commanded by [`crate::swarm`].

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use parking_lot::Mutex;

use crate::adapter::Adapter;
use crate::clock::now_us;
use crate::conn::{Conn, Role};
use crate::content::{self, Mark};
use crate::measure::RunTotals;
use crate::options::Protocol;
use crate::pace::{Feed, Next};
use crate::protobuf;
use crate::scenario::{Plan, room_id};
use crate::specs::other_member;
use crate::wire::{self, Marks, Reader};

/// Wakes the thread for a command.
pub const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
/// Connections being opened at once, each thread.
const OPENING_MAX: usize = 256;
/// How often the timers of QUIC connections are looked at.
const TICK: Duration = Duration::from_millis(2);
/// Largest single read.
const SCRATCH_BYTES: usize = 512 * 1024;
/// Comments sent before the sockets are looked at again.
const SENT_AT_ONCE: usize = 256;
/// How often slow sockets and heartbeats are looked after.
const UPKEEP_US: u64 = 20_000;
/// How often a full closed load is looked at again.
const CLOSED_US: u64 = 200;
/// Comments on their way that nobody hears of any more are given up after so long.
const GIVEN_UP_US: u64 = 2_000_000;

/// What a worker is told.
#[derive(Debug, Clone)]
pub enum Command {
    /// Have so many of your sockets open.
    Open(usize),
    /// A round begins.
    Begin(Round),
    /// Cut all reading sockets, say how many they were, and open them again.
    Cut(Sender<u64>),
    /// Move all reading sockets to this address. Says how many have to connect anew, and opens these again.
    Move(Ipv4Addr, Sender<u64>),
    /// Slow sockets read like any other until the next round.
    CatchUp,
}

/// A round, for one worker.
#[derive(Debug, Clone)]
pub struct Round {
    /// Its start.
    pub start_us: u64,
    /// Moments between which due comments are measured.
    pub window: (u64, u64),
    /// What this worker sends.
    pub feed: Feed,
    /// Where comments carry their mark.
    pub marks: Marks,
}

/// What all workers share: how many comments are on their way, for closed loads.
#[derive(Debug, Default)]
pub struct OnTheWay {
    sent: AtomicU64,
    settled: AtomicU64,
    refused: AtomicU64,
    /// Deliveries, and what was told to be left out.
    arrived: AtomicU64,
    given_up: AtomicU64,
}

impl OnTheWay {
    /// Forgets the last round.
    pub fn reset(&self) {
        for counter in [&self.sent, &self.settled, &self.refused, &self.arrived, &self.given_up] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Comments sent that have not reached every socket yet; or, where nobody reads, that are not answered yet.
    fn count(&self, plan: &Plan) -> u64 {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = match plan.rooms.viewers as u64 {
            0 => load(&self.settled),
            viewers => load(&self.refused) + load(&self.arrived) * plan.rooms.count as u64 / viewers,
        };
        load(&self.sent).saturating_sub(done + load(&self.given_up))
    }
}

/// What a worker shares with the main thread.
#[derive(Default)]
pub struct Shared {
    /// What it counts.
    pub tally: Mutex<RunTotals>,
    /// Its thread id, once it runs.
    pub tid: AtomicI32,
}

/// What a worker is made of.
pub struct Setup {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its sockets; those that write come before those that read.
    pub conns: Vec<Conn>,
    /// Shared with the main thread.
    pub shared: Arc<Shared>,
    /// Shared with all.
    pub on_the_way: Arc<OnTheWay>,
    /// Orders.
    pub commands: Receiver<Command>,
}

/// The thread's state.
pub struct Worker {
    setup: Setup,
    poll: Poll,
    timer: OwnedFd,
    reader: Reader,
    scratch: Box<[u8]>,
    senders: Vec<usize>,
    to_open: VecDeque<usize>,
    /// By socket: when its QUIC connection wants to be looked at. Beside the connections, so that a look at all is cheap.
    deadlines: Vec<Option<Instant>>,
    ticked: Instant,
    /// How many of the sockets have been told to open.
    asked: usize,
    opening: usize,
    round: Option<Round>,
    catching_up: bool,
    blocked_us: u64,
    text: String,
    upkept_us: u64,
    beats: f64,
    beat_next: usize,
}

impl Worker {
    /// A worker on this poll.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub fn new(setup: Setup, poll: Poll) -> io::Result<Self> {
        let timer = timer()?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let roles = setup.conns.iter().enumerate();
        let senders = roles.filter(|(_, conn)| conn.spec.role.sends()).map(|(i, _)| i).collect();
        let quic = setup.conns.iter().any(|conn| conn.spec.transport.is_quic());
        let deadlines = vec![None; if quic { setup.conns.len() } else { 0 }];
        Ok(Self {
            setup,
            poll,
            timer,
            senders,
            reader: Reader::new(Marks::Content),
            scratch: vec![0; SCRATCH_BYTES].into(),
            to_open: VecDeque::new(),
            deadlines,
            ticked: Instant::now(),
            asked: 0,
            opening: 0,
            round: None,
            catching_up: false,
            blocked_us: 0,
            text: String::new(),
            upkept_us: now_us(),
            beats: 0.0,
            beat_next: 0,
        })
    }

    /// Runs until its commands end.
    ///
    /// # Errors
    /// When epoll fails.
    pub fn run(mut self) -> io::Result<()> {
        // SAFETY: gettid takes nothing and cannot fail.
        self.setup.shared.tid.store(unsafe { libc::gettid() }, Ordering::Release);
        let shared = self.setup.shared.clone();
        let mut events = Events::with_capacity(1_024);
        let mut wake_us = None;
        loop {
            self.wait(&mut events, wake_us)?;
            let tally = &mut *shared.tally.lock();
            let before = tally.counts;
            for event in &events {
                if event.token() != WAKER && event.token() != TIMER {
                    self.ready(event.token().0, event.is_writable(), tally);
                }
            }
            loop {
                match self.setup.commands.try_recv() {
                    Ok(command) => self.obey(command, tally),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.upkeep(tally);
            self.tick(tally);
            self.open_more(tally);
            let news = tally.counts.since(&before);
            let OnTheWay { arrived, settled, refused, .. } = &*self.setup.on_the_way;
            arrived.fetch_add(news.deliveries + news.omitted, Ordering::Relaxed);
            settled.fetch_add(news.accepted + news.held + news.refused, Ordering::Relaxed);
            refused.fetch_add(news.refused + news.held, Ordering::Relaxed);
            wake_us = self.send_due(tally);
        }
    }

    /// Waits for a socket, a command, the next comment, or the next upkeep.
    fn wait(&mut self, events: &mut Events, wake_us: Option<u64>) -> io::Result<()> {
        let mut timeout = if self.deadlines.is_empty() { Duration::from_micros(UPKEEP_US) } else { TICK };
        match wake_us {
            Some(at_us) if at_us <= now_us() => timeout = Duration::ZERO,
            Some(at_us) => set_timer(&self.timer, at_us)?,
            None => {}
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }

    fn obey(&mut self, command: Command, tally: &mut RunTotals) {
        match command {
            Command::Open(count) => {
                self.to_open.extend(self.asked..count);
                self.asked = self.asked.max(count);
            }
            Command::Begin(round) => {
                tally.begin(round.window);
                self.reader = Reader::new(round.marks.clone());
                self.round = Some(round);
                (self.blocked_us, self.catching_up) = (0, false);
            }
            Command::Cut(reply) => {
                let waiting = self.to_open.len();
                for (i, conn) in self.setup.conns.iter_mut().enumerate() {
                    if conn.is_open() && conn.spec.role == Role::Viewer {
                        conn.cut(now_us());
                        self.to_open.push_back(i);
                    }
                }
                let cut = (self.to_open.len() - waiting) as u64;
                tally.counts.opened = tally.counts.opened.saturating_sub(cut);
                // Nobody waits for it when the main thread has given up already.
                let _ = reply.send(cut);
            }
            Command::Move(to, reply) => {
                let waiting = self.to_open.len();
                for i in 0..self.setup.conns.len() {
                    let Some(conn) = self.setup.conns.get_mut(i) else { continue };
                    if !conn.is_open() || conn.spec.role != Role::Viewer {
                        continue;
                    }
                    match conn.move_to(to, self.poll.registry(), Token(i), now_us()) {
                        Ok(true) => self.touch(i),
                        Ok(false) => self.to_open.push_back(i),
                        Err(error) => self.end(i, format!("{error:#}"), tally),
                    }
                }
                let anew = (self.to_open.len() - waiting) as u64;
                tally.counts.opened = tally.counts.opened.saturating_sub(anew);
                // Nobody waits for it when the main thread has given up already.
                let _ = reply.send(anew);
            }
            Command::CatchUp => {
                self.catching_up = true;
                for i in 0..self.setup.conns.len() {
                    if self.setup.conns.get(i).is_some_and(Conn::dawdles) {
                        self.read(i, usize::MAX, tally);
                    }
                }
            }
        }
    }

    fn open_more(&mut self, tally: &mut RunTotals) {
        while self.opening < OPENING_MAX
            && let Some(i) = self.to_open.pop_front()
        {
            let Some(conn) = self.setup.conns.get_mut(i) else { continue };
            let opened = conn.connect(now_us()).and_then(|()| Ok(conn.register(self.poll.registry(), Token(i))?));
            match opened {
                Ok(()) => {
                    self.opening += 1;
                    self.touch(i);
                }
                Err(error) => {
                    conn.hang_up();
                    tally.counts.failed += 1;
                    tally.ended(format!("{error:#}"));
                }
            }
        }
    }

    fn ready(&mut self, i: usize, writable: bool, tally: &mut RunTotals) {
        let Some(conn) = self.setup.conns.get_mut(i) else { return };
        if writable {
            let was_open = conn.is_open();
            if let Err(reason) = conn.writable(tally, now_us()) {
                return self.end(i, reason, tally);
            }
            if !was_open && conn.is_open() {
                self.opening = self.opening.saturating_sub(1);
            }
        }
        if self.catching_up || !conn.dawdles() {
            self.read(i, usize::MAX, tally);
        }
    }

    /// Reads until nothing is left, or `bytes` have been read.
    fn read(&mut self, i: usize, mut bytes: usize, tally: &mut RunTotals) {
        let Some(conn) = self.setup.conns.get_mut(i) else { return };
        while bytes > 0 {
            let room = self.scratch.len().min(bytes);
            let scratch = self.scratch.get_mut(..room).unwrap_or_default();
            let was_open = conn.is_open();
            let read = conn.read(scratch, &mut self.reader, tally, now_us());
            if !was_open && conn.is_open() {
                self.opening = self.opening.saturating_sub(1);
            }
            match read {
                Ok(n) if n == room => bytes -= n,
                Ok(_) => break,
                Err(reason) => return self.end(i, reason, tally),
            }
            // One that has just come into its room reads no further than its nature lets it.
            if !was_open && conn.dawdles() {
                break;
            }
        }
        self.touch(i);
    }

    /// Notes when a QUIC connection wants to be looked at next.
    fn touch(&mut self, i: usize) {
        if let (Some(deadline), Some(conn)) = (self.deadlines.get_mut(i), self.setup.conns.get_mut(i)) {
            *deadline = conn.deadline();
        }
    }

    /// Looks at the QUIC connections whose time has come.
    fn tick(&mut self, tally: &mut RunTotals) {
        let now = Instant::now();
        if self.deadlines.is_empty() || now.duration_since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        for i in 0..self.deadlines.len() {
            if self.deadlines.get(i).copied().flatten().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let Some(conn) = self.setup.conns.get_mut(i) else { continue };
            let was_open = conn.is_open();
            let ticked = conn.tick(&mut self.reader, tally, now_us());
            if !was_open && conn.is_open() {
                self.opening = self.opening.saturating_sub(1);
            }
            match ticked {
                Ok(()) => self.touch(i),
                Err(reason) => self.end(i, reason, tally),
            }
        }
    }

    fn end(&mut self, i: usize, reason: String, tally: &mut RunTotals) {
        let Some(conn) = self.setup.conns.get_mut(i).filter(|conn| conn.is_connected()) else { return };
        if conn.is_open() {
            tally.counts.opened = tally.counts.opened.saturating_sub(1);
            tally.counts.ended += 1;
        } else {
            self.opening = self.opening.saturating_sub(1);
            tally.counts.failed += 1;
        }
        conn.hang_up();
        tally.ended(reason);
        self.touch(i);
    }

    /// Lets slow sockets read a little, and sends the heartbeats that are due.
    fn upkeep(&mut self, tally: &mut RunTotals) {
        let now = now_us();
        let elapsed_us = now.saturating_sub(self.upkept_us);
        if elapsed_us < UPKEEP_US {
            return;
        }
        self.upkept_us = now;
        let share = (self.setup.plan.slow_bytes_per_s as u64 * elapsed_us).div_ceil(1_000_000);
        for i in 0..self.setup.conns.len() {
            if self.setup.conns.get(i).is_some_and(|conn| conn.spec.role == Role::Slow && conn.is_open()) {
                self.read(i, share as usize, tally);
            }
        }
        self.beat(elapsed_us, tally);
    }

    /// Heartbeats go round the sockets, evenly over the interval.
    fn beat(&mut self, elapsed_us: u64, tally: &mut RunTotals) {
        let every_s = self.setup.plan.heartbeat_s;
        if every_s <= 0.0 || self.asked == 0 {
            return;
        }
        self.beats += self.asked as f64 * elapsed_us as f64 / 1e6 / every_s;
        while self.beats >= 1.0 {
            self.beats -= 1.0;
            let i = self.beat_next % self.asked;
            self.beat_next += 1;
            let Some(conn) = self.setup.conns.get_mut(i).filter(|conn| conn.is_open()) else { continue };
            let (adapter, protocol, role, mut sent) = (conn.spec.adapter, conn.spec.protocol, conn.spec.role, true);
            let written = conn.write(|out| match (adapter, protocol) {
                (Adapter::Barrage, Protocol::Proto) => protobuf::heartbeat(out),
                (Adapter::Barrage, Protocol::Json | Protocol::Bin) => wire::heartbeat(out),
                (other, _) => sent = other.heartbeat(role, out),
            });
            match written {
                Ok(()) => {
                    tally.counts.heartbeats += u64::from(sent);
                    self.touch(i);
                }
                Err(reason) => self.end(i, reason, tally),
            }
        }
    }

    /// Sends what is due. Returns when to look again.
    fn send_due(&mut self, tally: &mut RunTotals) -> Option<u64> {
        if self.senders.is_empty() {
            return None;
        }
        for _ in 0..SENT_AT_ONCE {
            let round = self.round.as_ref()?;
            let now = now_us();
            let due_us = match round.feed.next(now.saturating_sub(round.start_us)) {
                Next::At(at) if round.start_us + at > now => return Some(round.start_us + at),
                Next::At(at) => round.start_us + at,
                Next::Below(_) if now < round.start_us => return Some(round.start_us),
                Next::Below(limit) if !self.may_send(limit, now) => return Some(now + CLOSED_US),
                Next::Below(_) => now,
                Next::Never => return None,
            };
            self.send(due_us, now, tally);
        }
        Some(now_us())
    }

    fn may_send(&mut self, limit: u64, now: u64) -> bool {
        let on_the_way = self.setup.on_the_way.count(&self.setup.plan);
        if on_the_way < limit {
            self.blocked_us = now;
            return true;
        }
        if self.blocked_us == 0 {
            self.blocked_us = now;
        }
        if now - self.blocked_us > GIVEN_UP_US {
            self.setup.on_the_way.given_up.fetch_add(on_the_way, Ordering::Relaxed);
            self.blocked_us = now;
        }
        false
    }

    fn send(&mut self, due_us: u64, now: u64, tally: &mut RunTotals) {
        let Some(round) = &mut self.round else { return };
        let plan = &self.setup.plan;
        let seq = round.feed.seq();
        let turn = round.feed.turn();
        let i = self.senders.get(turn % self.senders.len()).copied().unwrap_or(0);
        let Some(conn) = self.setup.conns.get_mut(i) else { return };
        let line = round.feed.line().cloned();
        let line = line.as_ref();
        if line.is_none() {
            content::write(Mark { seq, due_us }, plan.payload, &mut self.text);
        }
        let content = line.map_or(self.text.as_str(), |line| line.content.as_str());
        round.feed.advance();
        if !conn.is_open() {
            tally.counts.unsent += 1;
            return;
        }
        if conn.spec.adapter.answers() {
            conn.waiting.push_back(due_us);
        } else {
            tally.counts.accepted += 1;
        }
        let to = match conn.spec.role {
            Role::Member => other_member(&conn.spec.user, seq, plan.senders),
            _ => room_id(plan.rooms.of_comment(seq)),
        };
        let sent = conn.publish(&to, content, line.map(|line| (line, seq)));
        self.setup.on_the_way.sent.fetch_add(1, Ordering::Relaxed);
        tally.counts.sent += 1;
        if tally.is_measured(due_us) {
            tally.late.saturating_record(now.saturating_sub(due_us).max(1));
        }
        match sent {
            Ok(()) => self.touch(i),
            Err(reason) => self.end(i, reason, tally),
        }
    }
}

fn timer() -> io::Result<OwnedFd> {
    // SAFETY: timerfd_create takes no pointers; the descriptor it returns is nobody else's.
    unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// epoll's own timeout counts whole milliseconds; this one is exact.
fn set_timer(timer: &OwnedFd, at_us: u64) -> io::Result<()> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at = libc::timespec {
        tv_sec: (at_us / 1_000_000) as libc::time_t,
        tv_nsec: (at_us % 1_000_000 * 1_000) as libc::c_long,
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: at };
    // SAFETY: the descriptor is open and the struct lives here; the old value is not asked for.
    let done = unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const spec, std::ptr::null_mut())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
