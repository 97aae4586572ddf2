//! The swarm seen from outside: starts the threads, opens the sockets, plays rounds, reads the meters.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{bail, ensure};

use crate::clock::now_us;
use crate::crew::{Answer, Crew, Meters, Order};
use crate::generator::{Part, Remote};
use crate::measure::{Counts, Quantiles, RunTotals, histogram};
use crate::options::CpuList;
use crate::pace::Load;
use crate::procfs;
use crate::round::{Round, Sample, Snapshot, ratio, sample};
use crate::scenario::Plan;
use crate::specs::specs;
use crate::target::Target;

/// Between the order and the start of a round.
const RUN_UP_US: u64 = 100_000;
/// How long no delivery comes before a round counts as over: Barrage tells omissions within half a second, and goim
/// collects a room's comments for a second.
const QUIET_US: u64 = 1_500_000;
/// Longest wait for stragglers.
const DRAIN_US: u64 = 10_000_000;
/// Longest time in which no further socket opens.
const STUCK_US: u64 = 15_000_000;
/// The running swarm. Dropping it ends the threads and processes and closes the sockets.
pub struct Swarm {
    plan: Arc<Plan>,
    pids: Vec<u32>,
    cpus: usize,
    generators: Vec<Generator>,
    failures: Receiver<String>,
    /// Kept so that waiting for a failure is waiting.
    _failed: Sender<String>,
}

/// One process of the generator.
enum Generator {
    Here(Crew),
    RoomSubscriptions(Remote),
}

impl Generator {
    fn obey(&self, order: &Order) -> anyhow::Result<Answer> {
        match self {
            Self::Here(crew) => crew.obey(order.clone()),
            Self::RoomSubscriptions(remote) => remote.obey(order),
        }
    }
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
    /// Starts the threads, or so many processes; nothing is open yet.
    ///
    /// # Errors
    /// When there are too few descriptors, or the system gives no thread.
    pub fn start(
        plan: &Plan,
        target: &Target,
        cpus: &CpuList,
        threads: usize,
        processes: usize,
    ) -> anyhow::Result<Self> {
        let (failed, failures) = mpsc::channel();
        let generators = if processes > 1 {
            let parts = (0..processes).map(|index| Part { index, of: processes });
            let remote = |part| Remote::start(&target.address, part, cpus, threads).map(Generator::RoomSubscriptions);
            parts.map(remote).collect::<anyhow::Result<_>>()?
        } else {
            let crew = Crew::start(plan, specs(plan, &target.address)?, cpus, threads, &failed)?;
            vec![Generator::Here(crew)]
        };
        let (plan, pids) = (Arc::new(plan.clone()), target.pids.clone());
        Ok(Self { plan, pids, cpus: cpus.0.len(), generators, failures, _failed: failed })
    }

    /// Gives an order to all; returns what they answer.
    fn order(&self, order: &Order) -> anyhow::Result<Vec<Answer>> {
        self.generators.iter().map(|generator| generator.obey(order)).collect()
    }

    /// Gives an order that is answered with a number of sockets; returns the sum.
    fn order_sockets(&self, order: &Order) -> anyhow::Result<u64> {
        let sockets = |answer| if let Answer::Sockets(sockets) = answer { sockets } else { 0 };
        Ok(self.order(order)?.into_iter().map(sockets).sum())
    }

    /// Opens a share of the sockets and waits until all are where they belong.
    ///
    /// # Errors
    /// When sockets fail, or nothing moves any more.
    pub fn open(&self, share: f64) -> anyhow::Result<Opened> {
        let (from, slab) = (self.snapshot()?, procfs::slab_bytes());
        let before = from.counts.opened;
        let wanted = self.order_sockets(&Order::Open(share))?;
        self.await_open(&from, slab, before, wanted)
    }

    /// Cuts the reading sockets, or moves them to another address, and waits until all are back that had to connect anew.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn cut(&self, move_to: Option<Ipv4Addr>) -> anyhow::Result<Opened> {
        let (from, slab) = (self.snapshot()?, procfs::slab_bytes());
        let wanted = from.counts.opened;
        let cut = self.order_sockets(&move_to.map_or(Order::Cut, Order::Move))?;
        self.await_open(&from, slab, wanted.saturating_sub(cut), wanted)
    }

    fn await_open(&self, from: &Snapshot, slab: u64, before: u64, wanted: u64) -> anyhow::Result<Opened> {
        let (mut moved_us, mut last, mut shown_us) = (now_us(), 0, now_us());
        loop {
            let counts = self.counts()?;
            if counts.opened + counts.failed >= wanted {
                break;
            }
            if counts.opened + counts.failed > last {
                (last, moved_us) = (counts.opened + counts.failed, now_us());
            }
            if now_us() - moved_us > STUCK_US {
                let endings = self.tally()?.endings;
                bail!("only {} of {wanted} sockets opened: {endings:?}", counts.opened);
            }
            if now_us() - shown_us >= 1_000_000 {
                shown_us = now_us();
                eprintln!("  {} of {wanted} sockets open", counts.opened);
            }
            self.rest(now_us() + 2_000)?;
        }
        let (to, tally) = (self.snapshot()?, self.tally()?);
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
        self.order(&Order::Begin { load: load.clone(), start_us, window: (from_us, to_us) })?;
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
        Ok(Round::of(&plan, self.cpus, &from, &to, &self.tally()?, samples))
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
            let now = self.snapshot()?;
            if let Some(previous) = previous.filter(|previous| now.at_us > previous.at_us + 200_000) {
                let recent = self.recent()?;
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
            let counts = swarm.counts()?;
            anyhow::Ok(counts.deliveries + counts.omitted + counts.accepted + counts.refused)
        };
        let (mut last, mut moved_us) = (heard(self)?, begun_us);
        while now_us() - moved_us < QUIET_US && now_us() - begun_us < DRAIN_US {
            self.rest(now_us() + 50_000)?;
            let now = heard(self)?;
            if now != last {
                (last, moved_us) = (now, now_us());
            }
        }
        if self.plan.slow > 0 {
            self.order(&Order::CatchUp)?;
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
            Err(RecvTimeoutError::Disconnected) => bail!("the generator has ended"),
        }
    }

    /// All tallies together.
    ///
    /// # Errors
    /// When a generator has ended.
    pub fn tally(&self) -> anyhow::Result<RunTotals> {
        let mut sum = RunTotals::default();
        for answer in self.order(&Order::RunTotals)? {
            if let Answer::RunTotals(tally) = answer {
                sum.add(&tally);
            }
        }
        Ok(sum)
    }

    fn recent(&self) -> anyhow::Result<Quantiles> {
        let mut sum = histogram();
        for answer in self.order(&Order::Recent)? {
            if let Answer::Recent(recent) = answer {
                // The bounds are the same, so adding cannot fail.
                let _ = sum.add(&recent);
            }
        }
        Ok(Quantiles::of(&sum))
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        let mut sum = Counts::default();
        for answer in self.order(&Order::Counts)? {
            if let Answer::Counts(counts) = answer {
                sum.add(&counts);
            }
        }
        Ok(sum)
    }

    /// Reads every meter.
    ///
    /// # Errors
    /// When a generator has ended.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let servers = procfs::with_children(&self.pids);
        let mut snapshot = Snapshot {
            at_us: now_us(),
            server: procfs::usage_of_all(&servers),
            resident_bytes: procfs::resident_of_all(&servers),
            machine_ns: procfs::machine_busy_ns(),
            ..Snapshot::default()
        };
        for answer in self.order(&Order::Meters)? {
            if let Answer::Meters(Meters { counts, threads_ns, used }) = answer {
                snapshot.counts.add(&counts);
                snapshot.threads_ns.extend(threads_ns);
                snapshot.generator = snapshot.generator.and(&used);
            }
        }
        Ok(snapshot)
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
