//! Time-ordered 63-bit ids that survive a clock that steps back.
//!
//! Layout, high to low: 41 bits of milliseconds since 2024-01-01T00:00:00Z (until 2093), 10 bits of
//! node, 12 bits of sequence; the scheme of Twitter's Snowflake (2010). When the clock stands still
//! or steps back the generator goes on from its last millisecond, and when a millisecond's 4,096
//! ids are used up it borrows the next one, so it never waits and never repeats.

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

/// Hands out ids for one node. Shared by reference; every call is one atomic step.
pub struct SnowflakeGenerator {
    clock: Arc<dyn Clock>,
    node: u64,
    /// Milliseconds since the epoch and sequence of the last id, side by side: `ms << 12 | sequence`.
    last: AtomicU64,
}

impl SnowflakeGenerator {
    /// A generator for `node` that continues after `last`, the newest id this deployment has stored
    /// (an earlier run may have had a clock that was ahead).
    ///
    /// # Panics
    /// When `node` is above [`NODE_MAX`]: node numbers come from configuration or a lease, both checked.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, node: u16, last: Option<Snowflake>) -> Self {
        assert!(node <= NODE_MAX, "node number above {NODE_MAX}");
        let last = last.map_or(0, |id| (id.0 >> TIME_SHIFT) << SEQUENCE_BITS | SEQUENCE_MASK);
        Self { clock, node: u64::from(node), last: AtomicU64::new(last) }
    }

    /// The next id; later than every id this generator has handed out.
    pub fn next(&self) -> Snowflake {
        let now = u64::try_from(self.clock.now_ms() - EPOCH_MS).unwrap_or(0) << SEQUENCE_BITS;
        let step = |last: u64| Some(now.max(last + 1));
        let previous = match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(previous) | Err(previous) => previous,
        };
        let stamp = now.max(previous + 1);
        let (ms, sequence) = (stamp >> SEQUENCE_BITS, stamp & SEQUENCE_MASK);
        Snowflake(ms << TIME_SHIFT | self.node << SEQUENCE_BITS | sequence)
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
        let mut last = ids.next();
        for step in [0, 5, -9_000, 3, -500, 0, 20_000] {
            clock.advance(step);
            for _ in 0..5_000 {
                let id = ids.next();
                assert!(id > last);
                last = id;
            }
        }
    }

    #[test]
    fn a_new_run_continues_after_the_last_stored_id() {
        let (_, before) = at(60_000);
        let stored = before.next();
        let clock = Arc::new(ManualClock::at(EPOCH_MS + 1_000));
        let after = SnowflakeGenerator::new(clock, 5, Some(stored));
        assert!(after.next() > stored);
    }

    #[test]
    fn ids_tell_their_time_and_fit_63_bits() {
        let (clock, ids) = at(123_456);
        assert_eq!((made_at_ms(ids.next()), node_of(ids.next())), (clock.now_ms(), 5));
        clock.advance(i64::from(u32::MAX) * 100);
        assert!(i64::try_from(ids.next().0).is_ok());
    }
}
