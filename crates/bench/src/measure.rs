//! What is counted: one tally for each thread, added up when a round ends. No thread touches another's;
//! the main one looks at them once a second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::content::Mark;

/// Longest time told apart, microseconds.
const LONGEST_US: u64 = 120_000_000;
/// Comments of one round whose last delivery is looked for.
const SEEN_MAX: usize = 8_000_000;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Plain counters.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts { $($(#[$doc])* pub $name: u64),+ }

        impl Counts {
            /// Adds another thread's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// What was counted since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name)),+ }
            }
        }
    };
}

counts! {
    /// Sockets that are in their room, or have their identity when they have no room.
    opened,
    /// Sockets that could not be opened.
    failed,
    /// Sockets that ended before they were to.
    ended,
    /// Comments sent.
    sent,
    /// Of them accepted.
    accepted,
    /// Held for review.
    held,
    /// Refused.
    refused,
    /// Comments due that could not be sent: the sender's socket had ended.
    unsent,
    /// Deliveries to ordinary sockets: one comment, one socket.
    deliveries,
    /// Of them, of comments due while it was measured.
    measured,
    /// Comments left out, as told to ordinary sockets.
    omitted,
    /// Comments that reached ordinary sockets merged into another one (part of `omitted`).
    merged,
    /// Deliveries to slow sockets.
    slow_deliveries,
    /// Comments left out, as told to slow sockets.
    slow_omitted,
    /// Batches sent by datagram that never came, all sockets.
    batches_lost,
    /// Batches, all sockets.
    batches,
    /// Their bytes, frames included.
    batch_bytes,
    /// Other messages to reading sockets: events, answers.
    others,
    /// Bytes received on reading sockets.
    bytes,
    /// System calls that received them.
    reads,
    /// Heartbeats sent.
    heartbeats,
}

/// How often, and when last, a comment was delivered by one thread's sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Deliveries.
    pub times: u32,
    /// Microseconds between the moment it was due and the last of them.
    pub last_us: u32,
}

/// One thread's tally.
#[derive(Serialize, Deserialize)]
pub struct RunTotals {
    /// The moments between which a comment is to be due to be measured.
    pub window: (u64, u64),
    /// Counters.
    pub counts: Counts,
    /// Publish to socket, every delivery.
    #[serde(with = "packed")]
    pub delivery: Histogram<u64>,
    /// The same since it was last looked at.
    #[serde(with = "packed")]
    pub recent: Histogram<u64>,
    /// Publish to the answer.
    #[serde(with = "packed")]
    pub answer: Histogram<u64>,
    /// How late comments were sent.
    #[serde(with = "packed")]
    pub late: Histogram<u64>,
    /// Connecting to being in the room.
    #[serde(with = "packed")]
    pub handshake: Histogram<u64>,
    /// Being cut or moved to the next comment.
    #[serde(with = "packed")]
    pub resumed: Histogram<u64>,
    /// By comment.
    pub seen: Vec<Seen>,
    /// Refused comments by code.
    pub refusals: BTreeMap<String, u64>,
    /// Sockets that failed or ended, by reason.
    pub endings: BTreeMap<String, u64>,
}

impl Default for RunTotals {
    fn default() -> Self {
        Self {
            window: (0, u64::MAX),
            counts: Counts::default(),
            delivery: histogram(),
            recent: histogram(),
            answer: histogram(),
            late: histogram(),
            handshake: histogram(),
            resumed: histogram(),
            seen: Vec::new(),
            refusals: BTreeMap::new(),
            endings: BTreeMap::new(),
        }
    }
}

/// A histogram between processes: the values it holds and how often.
pub mod packed {
    use hdrhistogram::Histogram;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// # Errors
    /// The serialiser's.
    pub fn serialize<S: Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        let values: Vec<(u64, u64)> =
            histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        values.serialize(serializer)
    }

    /// # Errors
    /// The deserialiser's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
        let mut histogram = super::histogram();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            histogram.saturating_record_n(value, count);
        }
        Ok(histogram)
    }
}

/// An empty histogram of microseconds with three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap_or_else(|error| unreachable!("constant bounds: {error}"))
}

impl RunTotals {
    /// Begins a round: what was counted before stays only in what sockets are.
    pub fn begin(&mut self, window: (u64, u64)) {
        let Counts { opened, failed, ended, .. } = self.counts;
        let (handshake, endings) = (self.handshake.clone(), std::mem::take(&mut self.endings));
        let counts = Counts { opened, failed, ended, ..Counts::default() };
        *self = Self { window, counts, handshake, endings, ..Self::default() };
    }

    /// One comment has reached an ordinary socket.
    pub fn delivered(&mut self, mark: Mark, now_us: u64) {
        let took_us = now_us.saturating_sub(mark.due_us);
        self.counts.deliveries += 1;
        self.recent.saturating_record(took_us.max(1));
        if !self.is_measured(mark.due_us) {
            return;
        }
        self.counts.measured += 1;
        self.delivery.saturating_record(took_us.max(1));
        let at = mark.seq as usize;
        if at >= self.seen.len() && at < SEEN_MAX {
            self.seen.resize((at + 1).next_power_of_two(), Seen::default());
        }
        if let Some(seen) = self.seen.get_mut(at) {
            seen.times += 1;
            seen.last_us = seen.last_us.max(u32::try_from(took_us).unwrap_or(u32::MAX));
        }
    }

    /// Whether a comment due at that moment counts.
    #[must_use]
    pub fn is_measured(&self, due_us: u64) -> bool {
        (self.window.0..self.window.1).contains(&due_us)
    }

    /// A socket failed or ended.
    pub fn ended(&mut self, reason: String) {
        *self.endings.entry(reason).or_default() += 1;
    }

    /// Adds another thread's. Deliveries of one comment add up, the last of them counts.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        let pairs = [
            (&mut self.delivery, &other.delivery),
            (&mut self.answer, &other.answer),
            (&mut self.late, &other.late),
            (&mut self.handshake, &other.handshake),
            (&mut self.resumed, &other.resumed),
        ];
        for (into, from) in pairs {
            // The bounds are the same, so adding cannot fail.
            let _ = into.add(from);
        }
        if self.seen.len() < other.seen.len() {
            self.seen.resize(other.seen.len(), Seen::default());
        }
        for (into, from) in self.seen.iter_mut().zip(&other.seen) {
            into.times += from.times;
            into.last_us = into.last_us.max(from.last_us);
        }
        for (into, from) in [(&mut self.refusals, &other.refusals), (&mut self.endings, &other.endings)] {
            for (reason, n) in from {
                *into.entry(reason.clone()).or_default() += n;
            }
        }
    }

    /// Time until the last socket had it, for comments that all `members` of their room were given, and how many
    /// others there are that only some were given.
    #[must_use]
    pub fn last_socket(&self, members: impl Fn(u32) -> usize) -> (Histogram<u64>, u64) {
        let (mut last, mut incomplete) = (histogram(), 0);
        for (seq, seen) in (0_u32..).zip(&self.seen).filter(|(_, seen)| seen.times > 0) {
            if seen.times as usize >= members(seq) {
                last.saturating_record(u64::from(seen.last_us.max(1)));
            } else {
                incomplete += 1;
            }
        }
        (last, incomplete)
    }
}

/// A distribution in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Of a histogram of microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// A histogram for a chart: bars that grow by a fifth, each with its upper edge in milliseconds.
#[must_use]
pub fn bars(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut bars: Vec<(f64, u64)> = Vec::new();
    for step in histogram.iter_log(100, 1.2) {
        if step.count_since_last_iteration() > 0 || !bars.is_empty() {
            bars.push((step.value_iterated_to() as f64 / 1_000.0, step.count_since_last_iteration()));
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(deliveries: &[(u32, u64, u64)]) -> RunTotals {
        let mut tally = RunTotals { window: (1_000, 2_000), ..RunTotals::default() };
        for &(seq, due_us, now_us) in deliveries {
            tally.delivered(Mark { seq, due_us }, now_us);
        }
        tally
    }

    #[test]
    fn only_comments_due_in_the_window_are_measured() {
        let tally = tally(&[(0, 999, 5_000), (1, 1_000, 5_000), (2, 1_999, 9_000), (3, 2_000, 9_000)]);
        assert_eq!((tally.counts.deliveries, tally.counts.measured, tally.delivery.len()), (4, 2, 2));
        assert_eq!(tally.delivery.max(), 7_003); // three digits of 7001
    }

    #[test]
    fn the_last_socket_is_found_across_threads() {
        let mut one = tally(&[(0, 1_000, 1_100), (1, 1_000, 1_100)]);
        one.add(&tally(&[(0, 1_000, 1_900), (2, 1_000, 1_200)]));
        let (last, incomplete) = one.last_socket(|_| 2);
        assert_eq!((last.len(), last.max(), incomplete), (1, 900, 2));
    }

    #[test]
    fn a_tally_travels_between_processes() {
        let mut tally = tally(&[(0, 1_000, 1_100), (1, 1_500, 99_999), (1, 1_500, 200_000)]);
        tally.ended("close 1012".into());
        let line = serde_json::to_string(&tally).unwrap();
        let there: RunTotals = serde_json::from_str(&line).unwrap();
        assert_eq!((&there.delivery, &there.late, &there.seen), (&tally.delivery, &tally.late, &tally.seen));
        assert_eq!((there.counts, there.window, &there.endings), (tally.counts, tally.window, &tally.endings));
    }

    #[test]
    fn a_round_begins_with_the_sockets_there_are() {
        let mut tally = tally(&[(0, 1_000, 1_100)]);
        tally.counts.opened = 7;
        tally.begin((5, 6));
        assert_eq!((tally.counts.opened, tally.counts.deliveries, tally.seen.len()), (7, 0, 0));
    }

    #[test]
    fn bars_hold_every_value() {
        let mut histogram = histogram();
        (1..1_000).for_each(|n| histogram.saturating_record(n * 37));
        assert_eq!(bars(&histogram).iter().map(|(_, count)| count).sum::<u64>(), 999);
    }
}
