//! A round's figures: what the tallies and `/proc` said at its edges, as one flat record that reports print.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::{Counts, Quantiles, RunTotals, bars};
use crate::procfs::Usage;
use crate::scenario::Plan;

/// A busy share above which the generator counts as the limit.
pub const BUSY: f64 = 0.9;

/// What was read at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The moment.
    pub at_us: u64,
    /// All threads' counters.
    pub counts: Counts,
    /// The server's CPU time, when it runs here.
    pub server: Option<Usage>,
    /// The server's resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// CPU time of each thread of the generator, nanoseconds.
    pub threads_ns: Vec<u64>,
    /// CPU time of the generator.
    pub generator: Usage,
    /// Busy time of the machine, nanoseconds.
    pub machine_ns: u64,
}

/// One second of a round.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sample {
    /// Seconds since the measured part began; negative while warming up.
    pub at_s: f64,
    /// Comments sent a second.
    pub sent_per_s: f64,
    /// Comments accepted a second.
    pub accepted_per_s: f64,
    /// Deliveries a second.
    pub deliveries_per_s: f64,
    /// Sockets open.
    pub open: u64,
    /// Publish to socket, median, milliseconds.
    pub p50_ms: f64,
    /// The same, 99 %.
    pub p99_ms: f64,
    /// The server's CPU, in CPUs.
    pub server_cpu: f64,
    /// The generator's busiest thread, share of a CPU.
    pub generator_cpu: f64,
    /// The server's resident memory, MiB.
    pub resident_mib: f64,
}

/// The server's price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// CPUs in use.
    pub cpus: f64,
    /// Of them in user mode, share.
    pub user_share: f64,
    /// Microseconds of CPU for each delivery.
    pub us_per_delivery: f64,
    /// Microseconds of CPU for each comment accepted.
    pub us_per_accepted: f64,
    /// Time it was ready and had to wait for a CPU, as a share of the time it ran.
    pub waited_share: f64,
    /// Resident memory at the end, MiB.
    pub resident_mib: f64,
}

/// All figures of a round.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Round {
    /// Seconds measured.
    pub seconds: f64,
    /// What was asked for: comments a second, or how many on their way.
    pub load: String,
    /// Comments due while it was measured.
    pub offered: u64,
    /// Counters of the measured seconds.
    pub counts: Counts,
    /// Counters from the first comment of the round to the last straggler.
    pub total: Counts,
    /// Deliveries that the comments due while it was measured make if every socket gets each.
    pub expected: u64,
    /// Deliveries of these comments, share of expected.
    pub arrived_share: f64,
    /// Deliveries of the whole round that neither came nor were told as left out.
    pub lost: u64,
    /// Deliveries a second.
    pub deliveries_per_s: f64,
    /// Comments accepted a second.
    pub accepted_per_s: f64,
    /// Batches a second that sockets received.
    pub batches_per_s: f64,
    /// Bytes a second that sockets received.
    pub bytes_per_s: f64,
    /// Comments in a batch, mean.
    pub batch_mean: f64,
    /// Bytes of a batch with its frame, mean.
    pub batch_bytes_mean: f64,
    /// Bytes of batches for each delivery.
    pub bytes_per_delivery: f64,
    /// Other messages a second that reading sockets received.
    pub others_per_s: f64,
    /// Batches in one read of the generator, mean: how far it or the server lags.
    pub batches_per_read: f64,
    /// Publish to socket, every delivery.
    pub delivery: Quantiles,
    /// Publish to the last socket of the room.
    pub last_socket: Quantiles,
    /// Comments that some of their sockets were not given.
    pub incomplete: u64,
    /// Publish to the answer.
    pub answer: Quantiles,
    /// How late comments were sent.
    pub late: Quantiles,
    /// Being cut off, or moved, to the next comment.
    pub resumed: Quantiles,
    /// The server's price, when it runs here.
    pub server: Option<Cost>,
    /// CPU of the generator's busiest thread, share.
    pub generator_busiest: f64,
    /// CPUs the generator used.
    pub generator_cpus: f64,
    /// Time the generator was ready and had to wait for a CPU, as a share of the time it ran.
    pub generator_waited: f64,
    /// Whether the generator was the limit rather than the server.
    pub generator_limited: bool,
    /// CPUs that neither the server nor the generator used: others on the machine.
    pub foreign_cpus: f64,
    /// Refused comments by code.
    pub refusals: BTreeMap<String, u64>,
    /// Sockets that failed or ended, by reason.
    pub endings: BTreeMap<String, u64>,
    /// Bars of the delivery histogram: upper edge in milliseconds, count.
    pub bars: Vec<(f64, u64)>,
    /// Second by second.
    pub samples: Vec<Sample>,
}

impl Round {
    /// Works out the figures. `ours` is how many CPUs the generator may use.
    #[must_use]
    pub fn of(
        plan: &Plan,
        ours: usize,
        from: &Snapshot,
        to: &Snapshot,
        tally: &RunTotals,
        samples: Vec<Sample>,
    ) -> Self {
        let counts = to.counts.since(&from.counts);
        let seconds = to.at_us.saturating_sub(from.at_us) as f64 / 1e6;
        let per_s = |n: u64| ratio(n as f64, seconds);
        let (last, incomplete) = tally.last_socket(|seq| plan.copies(seq));
        let offered = tally.late.len() + tally.counts.unsent;
        // Numbers are given in the order of their moments, so those measured are the last ones.
        let numbered = tally.counts.sent + tally.counts.unsent;
        let expected = deliveries(plan, numbered - offered..numbered);
        let accepted_share = ratio(tally.counts.accepted as f64, numbered as f64);
        let due = (deliveries(plan, 0..numbered) as f64 * accepted_share).round() as u64;
        let cpu = |ns: u64| ratio(ns as f64 / 1e9, seconds);
        let used_here = to.generator.since(&from.generator);
        let (busiest, generator) = (busiest(from, to, seconds), cpu(used_here.cpu_ns));
        let server = from.server.zip(to.server).map(|(from, to)| to.since(&from));
        let machine = cpu(to.machine_ns.saturating_sub(from.machine_ns));
        Self {
            seconds,
            load: told(plan),
            offered,
            counts,
            total: tally.counts,
            expected,
            arrived_share: ratio(tally.counts.measured as f64, expected as f64),
            lost: due.saturating_sub(tally.counts.deliveries + tally.counts.omitted),
            deliveries_per_s: per_s(counts.deliveries),
            accepted_per_s: per_s(counts.accepted),
            batches_per_s: per_s(counts.batches),
            bytes_per_s: per_s(counts.bytes),
            batch_mean: ratio((counts.deliveries + counts.slow_deliveries) as f64, counts.batches as f64),
            batch_bytes_mean: ratio(counts.batch_bytes as f64, counts.batches as f64),
            bytes_per_delivery: ratio(counts.batch_bytes as f64, (counts.deliveries + counts.slow_deliveries) as f64),
            others_per_s: per_s(counts.others),
            batches_per_read: ratio(counts.batches as f64, counts.reads as f64),
            delivery: Quantiles::of(&tally.delivery),
            last_socket: Quantiles::of(&last),
            incomplete,
            answer: Quantiles::of(&tally.answer),
            late: Quantiles::of(&tally.late),
            resumed: Quantiles::of(&tally.resumed),
            server: server.map(|used| cost(&used, &counts, seconds, to.resident_bytes)),
            generator_busiest: busiest,
            generator_cpus: generator,
            generator_waited: ratio(used_here.waited_ns as f64, used_here.cpu_ns as f64),
            generator_limited: busiest > BUSY || generator > BUSY * ours as f64,
            foreign_cpus: (machine - generator - server.map_or(0.0, |used| cpu(used.cpu_ns))).max(0.0),
            refusals: tally.refusals.clone(),
            endings: tally.endings.clone(),
            bars: bars(&tally.delivery),
            samples,
        }
    }
}

/// How many deliveries these comments make if every viewer of their rooms gets each.
fn deliveries(plan: &Plan, numbers: std::ops::Range<u64>) -> u64 {
    numbers.map(|seq| plan.copies(u32::try_from(seq).unwrap_or(u32::MAX)) as u64).sum()
}

fn cost(used: &Usage, counts: &Counts, seconds: f64, resident_bytes: Option<u64>) -> Cost {
    let us = used.cpu_ns as f64 / 1e3;
    Cost {
        cpus: ratio(used.cpu_ns as f64 / 1e9, seconds),
        user_share: ratio(used.user_ns as f64, (used.user_ns + used.system_ns) as f64),
        us_per_delivery: ratio(us, (counts.deliveries + counts.slow_deliveries) as f64),
        us_per_accepted: ratio(us, counts.accepted as f64),
        waited_share: ratio(used.waited_ns as f64, used.cpu_ns as f64),
        resident_mib: mib(resident_bytes),
    }
}

/// The busiest thread's share of a CPU.
fn busiest(from: &Snapshot, to: &Snapshot, seconds: f64) -> f64 {
    let threads = from.threads_ns.iter().zip(&to.threads_ns);
    threads.map(|(from, to)| ratio(to.saturating_sub(*from) as f64 / 1e9, seconds)).fold(0.0, f64::max)
}

/// One second's sample, from the readings at its edges.
#[must_use]
pub fn sample(measured_from_us: u64, from: &Snapshot, to: &Snapshot, p50_ms: f64, p99_ms: f64) -> Sample {
    let counts = to.counts.since(&from.counts);
    let seconds = to.at_us.saturating_sub(from.at_us) as f64 / 1e6;
    let server = from.server.zip(to.server).map_or(0, |(from, to)| to.since(&from).cpu_ns);
    Sample {
        at_s: (to.at_us as f64 - measured_from_us as f64) / 1e6,
        sent_per_s: ratio(counts.sent as f64, seconds),
        accepted_per_s: ratio(counts.accepted as f64, seconds),
        deliveries_per_s: ratio(counts.deliveries as f64, seconds),
        open: to.counts.opened,
        p50_ms,
        p99_ms,
        server_cpu: ratio(server as f64 / 1e9, seconds),
        generator_cpu: busiest(from, to, seconds),
        resident_mib: mib(to.resident_bytes),
    }
}

fn told(plan: &Plan) -> String {
    use crate::pace::Load;
    match &plan.load {
        Load::Silent => "nothing said".into(),
        Load::Paced { per_s } => format!("{per_s:.0}/s"),
        Load::Closed { in_flight } => format!("{in_flight} in flight"),
        Load::Recorded(lines) => format!("{} recorded", lines.len()),
    }
}

/// `a / b`; 0 where there is nothing to divide by.
#[must_use]
pub fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Bytes in MiB.
#[must_use]
pub fn mib(bytes: Option<u64>) -> f64 {
    bytes.unwrap_or(0) as f64 / f64::from(1 << 20)
}
