//! The swarm seen from outside: starts the threads, opens the sockets, plays rounds, reads the meters.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mio::{Poll, Waker};

use crate::adapter::Adapter;
use crate::clock::now_us;
use crate::conn::{Conn, Role, Spec};
use crate::measure::{Quantiles, Tally, histogram};
use crate::options::{CpuList, Protocol, Scenario};
use crate::pace::{Feed, Load};
use crate::procfs;
use crate::round::{Round, Sample, Snapshot, ratio, sample};
use crate::scenario::{Plan, room_id};
use crate::target::{Target, pin};
use crate::wire::Marks;
use crate::worker::{self, Command, OnTheWay, Setup, Shared, WAKER, Worker};

/// Sockets that connect from one address: the kernel finds a free port slowly once half of them are taken.
const PER_ADDRESS: usize = 8_000;
/// Between the order and the start of a round.
const RUN_UP_US: u64 = 100_000;
/// How long no delivery comes before a round counts as over: omissions are told within half a second.
const QUIET_US: u64 = 700_000;
/// Longest wait for stragglers.
const DRAIN_US: u64 = 10_000_000;
/// Longest time in which no further socket opens.
const STUCK_US: u64 = 15_000_000;
/// Descriptors that are not sockets of the swarm.
const OTHER_FILES: u64 = 200;

/// The running swarm. Dropping it ends the threads and closes the sockets.
pub struct Swarm {
    plan: Arc<Plan>,
    pids: Vec<u32>,
    cpus: usize,
    handles: Vec<Handle>,
    failures: Receiver<String>,
    on_the_way: Arc<OnTheWay>,
}

struct Handle {
    commands: Option<Sender<Command>>,
    waker: Waker,
    shared: Arc<Shared>,
    sockets: usize,
    sends: bool,
    thread: Option<JoinHandle<()>>,
}

/// How long it took to open sockets.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Opened {
    /// How many.
    pub sockets: u64,
    /// Seconds until the last was in its room.
    pub seconds: f64,
    /// Each.
    pub handshake: Quantiles,
    /// The server's CPU for each, microseconds.
    pub us_per_handshake: Option<f64>,
    /// The server's resident memory that came with each, bytes.
    pub bytes_per_connection: Option<f64>,
    /// The kernel's memory that came with each, both ends together where both are here, bytes.
    pub kernel_bytes_per_connection: f64,
    /// Whether the generator was the limit.
    pub generator_limited: bool,
    /// What went wrong, by reason.
    pub endings: std::collections::BTreeMap<String, u64>,
}

impl Swarm {
    /// Starts the threads; nothing is open yet.
    ///
    /// # Errors
    /// When there are too few descriptors, or the system gives no thread.
    pub fn start(plan: &Plan, target: &Target, cpus: &CpuList, threads: usize) -> anyhow::Result<Self> {
        let sockets = plan.rooms.viewers + plan.slow + plan.senders;
        let files = raise_file_limit()?;
        ensure!(
            sockets as u64 + OTHER_FILES <= files,
            "{sockets} sockets need more than the {files} files that a process may open here: lower --sockets"
        );
        let readers = if plan.rooms.viewers + plan.slow > 0 { threads.max(1) } else { 0 };
        let writers = match plan.senders {
            0 => 0,
            senders if readers == 0 => threads.clamp(1, senders),
            _ => 1,
        };
        let mut shares: Vec<Vec<Conn>> = (0..writers + readers).map(|_| Vec::new()).collect();
        for (i, spec) in specs(plan, target)?.into_iter().enumerate() {
            let share = if i < plan.senders { i % writers } else { writers + i % readers };
            shares.get_mut(share).context("no thread for a socket")?.push(Conn::new(spec));
        }
        let (plan, on_the_way) = (Arc::new(plan.clone()), Arc::<OnTheWay>::default());
        let (failed, failures) = mpsc::channel();
        let start = |(i, conns): (usize, Vec<Conn>)| {
            let (poll, shared) = (Poll::new()?, Arc::<Shared>::default());
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (commands, orders) = mpsc::channel();
            let (sockets, sends, cpus, failed) = (conns.len(), i < writers, cpus.clone(), failed.clone());
            let setup = Setup {
                plan: plan.clone(),
                conns,
                shared: shared.clone(),
                on_the_way: on_the_way.clone(),
                commands: orders,
            };
            let work = move || {
                let outcome = pin(&cpus).and_then(|()| Worker::new(setup, poll)).and_then(Worker::run);
                if let Err(error) = outcome {
                    // Nobody listens when the main thread has given up already.
                    let _ = failed.send(format!("a thread of the generator failed: {error}"));
                }
            };
            let name = format!("{}-{i}", if sends { "sender" } else { "reader" });
            let thread = Some(std::thread::Builder::new().name(name).spawn(work)?);
            Ok(Handle { commands: Some(commands), waker, shared, sockets, sends, thread })
        };
        let handles = shares.into_iter().enumerate().map(start).collect::<anyhow::Result<_>>()?;
        Ok(Self { plan, pids: target.pids.clone(), cpus: cpus.0.len(), handles, failures, on_the_way })
    }

    /// Opens a share of the sockets and waits until all are where they belong.
    ///
    /// # Errors
    /// When sockets fail, or nothing moves any more.
    pub fn open(&self, share: f64) -> anyhow::Result<Opened> {
        let (from, slab) = (self.snapshot(), procfs::slab_bytes());
        let before = from.counts.opened;
        let mut wanted = 0;
        for handle in &self.handles {
            let count = (handle.sockets as f64 * share).ceil() as usize;
            handle.tell(Command::Open(count))?;
            wanted += count as u64;
        }
        self.await_open(&from, slab, before, wanted)
    }

    /// Cuts the reading sockets and waits until all are back.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn cut(&self) -> anyhow::Result<Opened> {
        let wanted = self.snapshot().counts.opened;
        for handle in &self.handles {
            handle.shared.tally.lock().handshake = histogram();
        }
        let (from, slab) = (self.snapshot(), procfs::slab_bytes());
        let (reply, replies) = mpsc::channel();
        for handle in &self.handles {
            handle.tell(Command::Cut(reply.clone()))?;
        }
        drop(reply);
        let cut: u64 = replies.iter().sum();
        self.await_open(&from, slab, wanted.saturating_sub(cut), wanted)
    }

    fn await_open(&self, from: &Snapshot, slab: u64, before: u64, wanted: u64) -> anyhow::Result<Opened> {
        let (mut moved_us, mut last, mut shown_us) = (now_us(), 0, now_us());
        loop {
            let counts = self.snapshot_of_counts();
            if counts.opened + counts.failed >= wanted {
                break;
            }
            if counts.opened + counts.failed > last {
                (last, moved_us) = (counts.opened + counts.failed, now_us());
            }
            if now_us() - moved_us > STUCK_US {
                let endings = self.tally().endings;
                bail!("only {} of {wanted} sockets opened: {endings:?}", counts.opened);
            }
            if now_us() - shown_us >= 1_000_000 {
                shown_us = now_us();
                eprintln!("  {} of {wanted} sockets open", counts.opened);
            }
            self.rest(now_us() + 2_000)?;
        }
        let (to, tally) = (self.snapshot(), self.tally());
        let sockets = to.counts.opened.saturating_sub(before);
        ensure!(tally.counts.failed == 0, "{} sockets could not be opened: {:?}", tally.counts.failed, tally.endings);
        let seconds = (to.at_us - from.at_us) as f64 / 1e6;
        let each = |total: u64| ratio(total as f64, sockets as f64);
        let grown = from.resident_bytes.zip(to.resident_bytes).map(|(from, to)| each(to.saturating_sub(from)));
        let used = from.server.zip(to.server).map(|(from, to)| each(to.since(&from).cpu_ns) / 1e3);
        let generator = ratio(to.generator.since(&from.generator).cpu_ns as f64 / 1e9, seconds);
        Ok(Opened {
            sockets,
            seconds,
            handshake: Quantiles::of(&tally.handshake),
            us_per_handshake: used,
            bytes_per_connection: grown,
            kernel_bytes_per_connection: each(procfs::slab_bytes().saturating_sub(slab)),
            generator_limited: generator > crate::round::BUSY * self.cpus as f64,
            endings: tally.endings,
        })
    }

    /// Plays one round and waits for its stragglers. `middle` is called once, half-way.
    ///
    /// # Errors
    /// When a thread fails.
    pub fn round(
        &self,
        load: &Load,
        warm_up_s: f64,
        seconds: f64,
        middle: &mut dyn FnMut(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Round> {
        let start_us = now_us() + RUN_UP_US;
        let from_us = start_us + (warm_up_s * 1e6) as u64;
        let to_us = from_us + (seconds * 1e6) as u64;
        self.begin(load, start_us, (from_us, to_us))?;
        let mut samples = Vec::new();
        let mut previous = self.wait_until(start_us, None, from_us, &mut samples)?;
        previous = self.wait_until(from_us, Some(previous), from_us, &mut samples)?;
        let from = previous.clone();
        let middle_us = from_us.midpoint(to_us);
        previous = self.wait_until(middle_us, Some(previous), from_us, &mut samples)?;
        middle(self)?;
        let to = self.wait_until(to_us.max(now_us()), Some(previous), from_us, &mut samples)?;
        self.drain()?;
        let plan = Plan { load: load.clone(), ..(*self.plan).clone() };
        Ok(Round::of(&plan, self.cpus, &from, &to, &self.tally(), samples))
    }

    fn begin(&self, load: &Load, start_us: u64, window: (u64, u64)) -> anyhow::Result<()> {
        self.on_the_way.reset();
        let senders = self.handles.iter().filter(|handle| handle.sends).count();
        let marks = match load {
            Load::Recorded(lines) => Marks::Colour { start_us, lines: lines.clone() },
            _ => Marks::Content,
        };
        for (i, handle) in self.handles.iter().enumerate() {
            let feed = if handle.sends {
                Feed::new(load.clone(), i, senders, window.1 - start_us)
            } else {
                Feed::new(Load::Silent, 0, 1, 0)
            };
            handle.tell(Command::Begin(worker::Round { start_us, window, feed, marks: marks.clone() }))?;
        }
        Ok(())
    }

    /// Waits until a moment, taking a sample each second; returns the reading of that moment.
    fn wait_until(
        &self,
        until_us: u64,
        previous: Option<Snapshot>,
        measured_from_us: u64,
        samples: &mut Vec<Sample>,
    ) -> anyhow::Result<Snapshot> {
        let mut previous = previous;
        loop {
            let next_us = previous.as_ref().map_or(until_us, |previous| until_us.min(previous.at_us + 1_000_000));
            self.rest(next_us)?;
            let now = self.snapshot();
            if let Some(previous) = previous.filter(|previous| now.at_us > previous.at_us + 200_000) {
                let recent = self.recent();
                let sample = sample(measured_from_us, &previous, &now, recent.p50_ms, recent.p99_ms);
                progress(&sample);
                samples.push(sample);
            }
            if now_us() >= until_us {
                return Ok(now);
            }
            previous = Some(now);
        }
    }

    /// Waits until nothing comes any more, then lets slow sockets read what is left.
    fn drain(&self) -> anyhow::Result<()> {
        let begun_us = now_us();
        let heard = |swarm: &Self| {
            let counts = swarm.snapshot_of_counts();
            counts.deliveries + counts.omitted + counts.accepted + counts.refused
        };
        let (mut last, mut moved_us) = (heard(self), begun_us);
        while now_us() - moved_us < QUIET_US && now_us() - begun_us < DRAIN_US {
            self.rest(now_us() + 50_000)?;
            let now = heard(self);
            if now != last {
                (last, moved_us) = (now, now_us());
            }
        }
        if self.plan.slow > 0 {
            for handle in &self.handles {
                handle.tell(Command::CatchUp)?;
            }
            self.rest(now_us() + QUIET_US)?;
        }
        Ok(())
    }

    /// Sleeps until a moment, unless a thread fails.
    ///
    /// # Errors
    /// What the thread said.
    pub fn rest(&self, until_us: u64) -> anyhow::Result<()> {
        match self.failures.recv_timeout(Duration::from_micros(until_us.saturating_sub(now_us()))) {
            Ok(failure) => bail!(failure),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("all threads of the generator have ended"),
        }
    }

    /// All tallies together.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.handles.iter().for_each(|handle| sum.add(&handle.shared.tally.lock()));
        sum
    }

    fn recent(&self) -> Quantiles {
        let mut sum = histogram();
        for handle in &self.handles {
            let mut tally = handle.shared.tally.lock();
            // The bounds are the same, so adding cannot fail.
            let _ = sum.add(&tally.recent);
            tally.recent.reset();
        }
        Quantiles::of(&sum)
    }

    fn snapshot_of_counts(&self) -> crate::measure::Counts {
        let mut counts = crate::measure::Counts::default();
        self.handles.iter().for_each(|handle| counts.add(&handle.shared.tally.lock().counts));
        counts
    }

    /// Reads every meter.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let servers = procfs::with_children(&self.pids);
        let tids = self.handles.iter().map(|handle| handle.shared.tid.load(Ordering::Acquire));
        Snapshot {
            at_us: now_us(),
            counts: self.snapshot_of_counts(),
            server: procfs::usage_of_all(&servers),
            resident_bytes: procfs::resident_of_all(&servers),
            threads_ns: tids.map(|tid| procfs::thread_cpu_ns(tid).unwrap_or(0)).collect(),
            generator: procfs::usage(std::process::id()).unwrap_or_default(),
            machine_ns: procfs::machine_busy_ns(),
        }
    }
}

impl Handle {
    fn tell(&self, command: Command) -> anyhow::Result<()> {
        let commands = self.commands.as_ref().context("the thread has ended")?;
        commands.send(command).ok().context("a thread of the generator has ended")?;
        self.waker.wake().context("cannot wake a thread")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands = None;
        // A thread that has ended needs no waking, and has told why it failed.
        let _ = self.waker.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn progress(sample: &Sample) {
    let Sample { at_s, sent_per_s, deliveries_per_s, p50_ms, p99_ms, server_cpu, generator_cpu, resident_mib, .. } =
        sample;
    let phase = if *at_s <= 0.0 { "warm-up " } else { "" };
    eprintln!(
        "  {phase}{at_s:6.1} s  {open:>6} open  {sent_per_s:>8.0} sent/s  {deliveries_per_s:>10.0} deliveries/s  p50 {p50_ms:.1} p99 {p99_ms:.1} ms  \
         server {server_cpu:.2} CPU {resident_mib:.0} MiB  generator {generator_cpu:.2}",
        open = sample.open
    );
}

/// The sockets: those that write first. Both kinds are spread over the target's servers.
fn specs(plan: &Plan, target: &Target) -> anyhow::Result<Vec<Spec>> {
    let binary_way_in = plan.scenario == Scenario::Publish && plan.protocol == Protocol::Bin;
    ensure!(!binary_way_in || plan.rooms.count == 1, "binary comments go to the room of their socket: use --rooms 1");
    let mut specs = Vec::with_capacity(plan.rooms.viewers + plan.slow + plan.senders);
    for i in 0..plan.senders {
        let spec = spec(target, Role::Sender, i, specs.len(), room_id(0))?;
        specs.push(match binary_way_in {
            true => {
                let target = format!("/ws?room_id={}&max_per_s=0&token={}", spec.room, spec.credential);
                Spec { target, joins: true, protocol: Protocol::Bin, ..spec }
            }
            false => spec,
        });
    }
    for i in 0..plan.rooms.viewers {
        let room = room_id(plan.rooms.of_viewer(i));
        let spec = spec(target, Role::Viewer, i, specs.len(), room)?;
        specs.push(Spec { protocol: plan.protocol, ..spec });
    }
    for i in 0..plan.slow {
        let role = if i.is_multiple_of(2) { Role::Slow } else { Role::Stalled };
        let spec = spec(target, role, i, specs.len(), room_id(0))?;
        specs.push(Spec { protocol: plan.protocol, ..spec });
    }
    Ok(specs)
}

/// The `i`-th socket of its role, the `n`-th of all.
fn spec(target: &Target, role: Role, i: usize, n: usize, room: String) -> anyhow::Result<Spec> {
    let (adapter, joins) = (target.adapter, role != Role::Sender);
    let user = match role {
        Role::Sender => format!("sender-{i}"),
        Role::Viewer => format!("viewer-{i}"),
        Role::Slow | Role::Stalled => format!("slow-{i}"),
    };
    let server = target.server(role, i)?;
    let credential = if adapter.wants_key(role) { target.key() } else { target.token(&user)? };
    let path = match adapter {
        Adapter::Barrage if joins => format!("/ws?room_id={room}&token={credential}"),
        Adapter::Barrage => format!("/ws?token={credential}"),
        other => other.path(role, &room),
    };
    let (loopback, block) = (server.address.ip() == Ipv4Addr::LOCALHOST, n / PER_ADDRESS);
    let from = loopback.then(|| Ipv4Addr::new(127, 0, (block / 200) as u8, (block % 200 + 2) as u8));
    let (address, host) = (server.address, server.host.clone());
    Ok(Spec {
        role,
        adapter,
        server: address,
        host,
        target: path,
        room,
        credential,
        user,
        joins,
        protocol: Protocol::Json,
        from,
    })
}

/// Takes as many descriptors as the system allows; returns how many.
fn raise_file_limit() -> anyhow::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only use the struct, which lives here.
    unsafe {
        ensure!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0, "cannot read the limit of open files");
        limit.rlim_cur = limit.rlim_max;
        ensure!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0, "cannot raise the limit of open files");
    }
    Ok(limit.rlim_cur)
}
