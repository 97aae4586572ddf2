//! Hybrid timestamps: positions that several nodes assign without coordination, ordered by time, sequence, node.
//!
//! A single log counts its positions. Nodes that each have a log, or write to one of many partitions, stamp their records
//! instead: `unix_ms << 20 | sequence << 10 | node`. A node's timestamps rise whatever its clock does, and no two nodes make
//! the same one. Timestamps of different nodes compare only as well as their clocks agree, so a reader who comes from another
//! node re-reads a few seconds. A log makes one when it receives a record. The sequence is odd when the record went to a
//! shard of its room, because such records have an order of their own ([`model::OrderingKey`]); otherwise it is even.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Clock, Fence};

const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 10;
const TIME_SHIFT: u32 = NODE_BITS + SEQUENCE_BITS;

/// Makes the timestamps of one node.
pub struct HybridClock {
    clock: Arc<dyn Clock>,
    node: Box<dyn Fence>,
    /// Time and sequence of the last timestamp, packed.
    last: AtomicU64,
}

impl HybridClock {
    /// Timestamps after `last`, the highest stored one: the clock may have been ahead in an earlier run.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, node: impl Fence + 'static, last: u64) -> Self {
        Self { clock, node: Box::new(node), last: AtomicU64::new(last >> NODE_BITS) }
    }

    /// The next timestamp, higher than all before; `None` while the node has no number. After 512 in one millisecond it uses
    /// the next millisecond early.
    pub fn next(&self) -> Option<u64> {
        let node = self.node.node()?;
        let now = self.clock.now_ms().max(0).unsigned_abs() << SEQUENCE_BITS;
        let after = |last: u64| now.max((last | 1) + 1);
        let previous = match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))) {
            Ok(previous) | Err(previous) => previous,
        };
        Some(after(previous) << NODE_BITS | u64::from(node))
    }
}

/// The timestamp, marked as that of a record in a shard of its room.
#[must_use]
pub fn spread(stamp: u64) -> u64 {
    stamp | 1 << NODE_BITS
}

/// The position below all timestamps from this moment (Unix milliseconds) on.
#[must_use]
pub fn at(ms: i64) -> u64 {
    ms.max(0).unsigned_abs() << TIME_SHIFT
}

/// The moment of a timestamp, Unix milliseconds by the clock of its node.
#[must_use]
pub fn moment_ms(stamp: u64) -> i64 {
    (stamp >> TIME_SHIFT).cast_signed()
}

/// The position `ms` milliseconds before a timestamp, below all timestamps of that moment.
#[must_use]
pub fn earlier(stamp: u64, ms: u64) -> u64 {
    (stamp >> TIME_SHIFT).saturating_sub(ms) << TIME_SHIFT
}

#[cfg(test)]
mod tests {
    use model::ManualClock;
    use proptest::prelude::*;

    use super::*;

    struct Nobody;

    impl Fence for Nobody {
        fn node(&self) -> Option<u16> {
            None
        }
    }

    fn stamps(clock: &Arc<ManualClock>, node: u16, last: u64) -> HybridClock {
        HybridClock::new(clock.clone(), node, last)
    }

    proptest! {
        #[test]
        fn they_rise_whatever_the_clock_does_and_no_two_nodes_give_the_same(steps in prop::collection::vec(-5_000_i64..5_000, 1..50)) {
            let clock = Arc::new(ManualClock::at(1_800_000_000_000));
            let (one, other) = (stamps(&clock, 3, 0), stamps(&clock, 4, 0));
            let (mut last, mut seen) = (0, std::collections::HashSet::new());
            for step in steps {
                clock.advance(step);
                for _ in 0..30 {
                    let stamp = one.next().expect("a number");
                    prop_assert!(stamp > last && spread(stamp) > stamp);
                    last = spread(stamp);
                    prop_assert!(seen.insert(stamp) && seen.insert(spread(stamp)) && seen.insert(other.next().expect("a number")));
                }
            }
        }
    }

    #[test]
    fn they_tell_their_time_and_go_on_after_what_is_stored() {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let stamp = stamps(&clock, 1_023, 0).next().expect("a number");
        assert!(earlier(stamp, 0) <= stamp && earlier(stamp, 1) < earlier(stamp, 0));
        assert_eq!(earlier(stamp, 5_000) >> TIME_SHIFT, 1_799_999_995_000);
        clock.advance(-60_000);
        assert!(stamps(&clock, 0, stamp).next().expect("a number") > stamp);
    }

    #[test]
    fn without_a_number_there_are_none() {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        assert_eq!(HybridClock::new(clock, Nobody, 0).next(), None);
    }
}
