//! Time-ordered 63-bit ids that survive a clock that steps back.
//!
//! Layout, high to low: 41 bits of milliseconds since 2024-01-01T00:00:00Z (until 2093), 10 bits of
//! node, 12 bits of sequence; the scheme of Twitter's Snowflake (2010). When the clock stands still or steps back, the
//! generator continues from its last id. When a millisecond's 4,096 ids are used up, it borrows the next one. So it
//! never waits and never repeats an id.
//!
//! A [`Fence`] gives the node's number each time an id is made. A node that is not sure of its number makes none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Clock, Snowflake};

/// 2024-01-01T00:00:00Z in Unix milliseconds.
pub const EPOCH_MS: i64 = 1_704_067_200_000;
/// Node numbers run from 0 to this.
pub const NODE_MAX: u16 = 1023;

const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const TIME_SHIFT: u32 = NODE_BITS + SEQUENCE_BITS;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
const NODE_MASK: u64 = NODE_MAX as u64;

/// Gives the number that this node may use now.
pub trait Fence: Send + Sync {
    /// The number, 0 to [`NODE_MAX`], that no other node uses now; `None` when that is not sure. Called for every id, so
    /// it must be cheap.
    fn node(&self) -> Option<u16>;
}

/// A number from the configuration, valid for ever.
impl Fence for u16 {
    fn node(&self) -> Option<u16> {
        Some(*self)
    }
}

impl<F: Fence + ?Sized> Fence for Arc<F> {
    fn node(&self) -> Option<u16> {
        (**self).node()
    }
}

/// This node has no number now, so it can make no ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node has no number to make ids with")]
pub struct NoIds;

/// Generates ids for one node. Shared by reference; every call is one atomic step.
pub struct SnowflakeGenerator {
    clock: Arc<dyn Clock>,
    fence: Box<dyn Fence>,
    /// The last id.
    last: AtomicU64,
}

impl SnowflakeGenerator {
    /// A generator that continues after `last`, the newest id this deployment has stored
    /// (an earlier run may have had a clock that was ahead).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, fence: impl Fence + 'static, last: Option<Snowflake>) -> Self {
        Self { clock, fence: Box::new(fence), last: AtomicU64::new(last.map_or(0, |id| id.0)) }
    }

    /// The next id; later than every id this generator has made, under any number.
    ///
    /// # Errors
    /// [`NoIds`] while this node has no number.
    pub fn next(&self) -> Result<Snowflake, NoIds> {
        let node = self.fence.node().filter(|node| *node <= NODE_MAX).map(u64::from).ok_or(NoIds)?;
        let now = u64::try_from(self.clock.now_ms() - EPOCH_MS).unwrap_or(0);
        let step = |last| Some(after(last, now, node));
        let previous = match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(previous) | Err(previous) => previous,
        };
        Ok(Snowflake(after(previous, now, node)))
    }

    /// Makes every further id later than `id`: for a node that takes over a number whose last holder's clock may have been
    /// ahead.
    pub fn continue_after(&self, id: Snowflake) {
        self.last.fetch_max(id.0, Ordering::Relaxed);
    }
}

/// The first id of `node` after `last` that is not older than `now`, in milliseconds since the epoch.
fn after(last: u64, now: u64, node: u64) -> u64 {
    let first_of = |ms: u64| ms << TIME_SHIFT | node << SEQUENCE_BITS;
    let last_ms = last >> TIME_SHIFT;
    let same_node = last >> SEQUENCE_BITS & NODE_MASK == node;
    if first_of(now) > last {
        first_of(now)
    } else if same_node && last & SEQUENCE_MASK < SEQUENCE_MASK {
        last + 1
    } else if first_of(last_ms) > last {
        first_of(last_ms)
    } else {
        first_of(last_ms + 1)
    }
}

/// The Unix milliseconds inside an id: when it was made, by its maker's clock.
#[must_use]
pub fn made_at_ms(id: Snowflake) -> i64 {
    EPOCH_MS + (id.0 >> TIME_SHIFT).cast_signed()
}

/// The number of the node that made an id.
#[must_use]
pub const fn node_of(id: Snowflake) -> u16 {
    (id.0 >> SEQUENCE_BITS) as u16 & NODE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    fn at(ms: i64) -> (Arc<ManualClock>, SnowflakeGenerator) {
        let clock = Arc::new(ManualClock::at(EPOCH_MS + ms));
        (clock.clone(), SnowflakeGenerator::new(clock, 5, None))
    }

    #[test]
    fn ids_rise_while_the_clock_steps_back() {
        let (clock, ids) = at(10_000);
        let mut last = ids.next().expect("a number");
        for step in [0, 5, -9_000, 3, -500, 0, 20_000] {
            clock.advance(step);
            for _ in 0..5_000 {
                let id = ids.next().expect("a number");
                assert!(id > last);
                last = id;
            }
        }
    }

    #[test]
    fn a_new_run_continues_after_the_last_stored_id() {
        let (_, before) = at(60_000);
        let stored = before.next().expect("a number");
        let clock = Arc::new(ManualClock::at(EPOCH_MS + 1_000));
        let after = SnowflakeGenerator::new(clock, 5, Some(stored));
        assert!(after.next().expect("a number") > stored);
    }

    #[test]
    fn ids_tell_their_time_and_fit_63_bits() {
        let (clock, ids) = at(123_456);
        let (one, other) = (ids.next().expect("a number"), ids.next().expect("a number"));
        assert_eq!((made_at_ms(one), node_of(other)), (clock.now_ms(), 5));
        clock.advance(i64::from(u32::MAX) * 100);
        assert!(i64::try_from(ids.next().expect("a number").0).is_ok());
    }

    /// A number that can be taken away and given anew; 0 stands for none.
    #[derive(Default)]
    struct Lent(AtomicU64);

    impl Fence for Lent {
        fn node(&self) -> Option<u16> {
            u16::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|node| *node > 0)
        }
    }

    #[test]
    fn without_a_number_there_are_no_ids_and_with_a_new_one_they_go_on() {
        let (lent, clock) = (Arc::new(Lent::default()), Arc::new(ManualClock::at(EPOCH_MS + 9_000)));
        let ids = SnowflakeGenerator::new(clock, lent.clone(), None);
        assert_eq!(ids.next(), Err(NoIds));
        let mut last = 0;
        for node in [7, 3, 0, 900, 7] {
            lent.0.store(node, Ordering::Relaxed);
            for id in (0..3).filter_map(|_| ids.next().ok()) {
                assert_eq!((id.0 > last, id.0 >> SEQUENCE_BITS & NODE_MASK), (true, node));
                last = id.0;
            }
        }
        lent.0.store(u64::from(NODE_MAX) + 1, Ordering::Relaxed);
        assert_eq!(ids.next(), Err(NoIds), "no such number");
    }

    #[test]
    fn an_hour_forward_and_back_again_repeats_nothing() {
        let (clock, ids) = at(0);
        let mut seen = std::collections::HashSet::new();
        for step in [3_600_000, -3_600_000, 1, 3_600_000, -7_200_000, 1] {
            clock.advance(step);
            for _ in 0..9_000 {
                assert!(seen.insert(ids.next().expect("a number")));
            }
        }
    }

    #[test]
    fn who_takes_over_the_number_of_a_node_whose_clock_was_ahead_goes_on_after_its_ids() {
        let (_, ahead) = at(3_600_000);
        let newest = ahead.next().expect("a number");
        let (_, heir) = at(0);
        heir.continue_after(newest);
        assert!(heir.next().expect("a number") > newest);
    }

    proptest::proptest! {
        #[test]
        fn nodes_with_clocks_of_their_own_never_make_one_id(
            draws in proptest::collection::vec((0usize..3, -5_000i64..5_000), 1..300)
        ) {
            let clocks: Vec<_> = (0..3).map(|n| Arc::new(ManualClock::at(EPOCH_MS + n * 1_000))).collect();
            let nodes: Vec<_> = (1u16..).zip(&clocks).map(|(n, clock)| SnowflakeGenerator::new(clock.clone(), n, None)).collect();
            let mut seen = std::collections::HashSet::new();
            for (node, step) in draws {
                clocks[node].advance(step);
                proptest::prop_assert!(seen.insert(nodes[node].next().expect("a number")));
            }
        }
    }
}
