//! Sequence numbers of batches: a source numbers a room's batches, an inbox detects gaps.
//!
//! Pure; used by the fan-outs and inboxes of `redis` and `grpc`. Bounded: it forgets the least recently used key, which then
//! begins anew under another epoch.

use std::hash::Hash;

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map;
use log::record::Batch;
use log::{Entry, hlc};
use model::RoomId;

use crate::outbox::Portion;

/// Rooms, or pairs of room and source, remembered.
const KEYS_MAX: usize = 100_000;

/// The number of each key with the moment up to which it told what there was, least recently used first.
pub(crate) struct SequenceTracker<K> {
    numbers: LinkedHashMap<K, (BatchNumber, i64)>,
}

/// The moment of the last record of a batch, at the latest now; `None` when it carries none. When the batch is heard says
/// nothing: a node that was frozen hears what others told long ago, and what is missing behind it is as old.
pub(crate) fn told_ms(entries: &[Entry], now_ms: i64) -> Option<i64> {
    let last = entries.iter().map(|entry| entry.position.offset).max().filter(|offset| *offset > 0)?;
    Some(hlc::moment_ms(last).min(now_ms))
}

/// A batch's number within an epoch of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchNumber {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl SequenceTracker<RoomId> {
    /// Makes a room's next batch. After dropped entries it skips a number, so that receivers detect the gap.
    pub(crate) fn batch(
        &mut self,
        source: &str,
        Portion { room_id, entries, lost }: Portion,
        kept_late_since_ms: Option<i64>,
        now_ms: i64,
    ) -> Batch {
        if lost {
            self.next(&room_id, now_ms);
        }
        let BatchNumber { epoch, seq } = self.next(&room_id, now_ms);
        Batch { source: source.to_owned(), epoch, seq, room_id, entries, kept_late_since_ms }
    }
}

impl<K: Hash + Eq + Clone> SequenceTracker<K> {
    pub(crate) fn new() -> Self {
        Self { numbers: LinkedHashMap::new() }
    }

    /// The next number of this key. An unknown key begins an epoch at `now_ms`.
    pub(crate) fn next(&mut self, key: &K, now_ms: i64) -> BatchNumber {
        let fresh = BatchNumber { epoch: now_ms.max(0).unsigned_abs(), seq: 0 };
        let (number, told_ms) = self.slot(key, fresh);
        number.seq += 1;
        *told_ms = now_ms;
        *number
    }

    /// Notes a number that arrived, of a batch that was [told](told_ms) at a moment, or of one that carries nothing. After a gap
    /// it returns the moment of what came before it, 0 when none is known. For a new key or epoch, any number but the first is
    /// a gap.
    pub(crate) fn observe(&mut self, key: &K, number: BatchNumber, told_ms: Option<i64>) -> Option<i64> {
        let slot = self.slot(key, BatchNumber { epoch: number.epoch, seq: 0 });
        let (before, before_ms) = *slot;
        *slot = (number, told_ms.unwrap_or(before_ms));
        let expected = if before.epoch == number.epoch { before.seq + 1 } else { 1 };
        (number.seq > expected).then_some(before_ms)
    }

    /// Notes the number that a source reports as its last. Returns whether a number up to it is missing.
    pub(crate) fn observe_last(&mut self, key: &K, number: BatchNumber, now_ms: i64) -> bool {
        let slot = self.slot(key, BatchNumber { epoch: number.epoch, seq: 0 });
        let (before, _) = std::mem::replace(slot, (number, now_ms));
        number.seq > if before.epoch == number.epoch { before.seq } else { 0 }
    }

    fn slot(&mut self, key: &K, fresh: BatchNumber) -> &mut (BatchNumber, i64) {
        if self.numbers.len() >= KEYS_MAX && !self.numbers.contains_key(key) {
            self.numbers.pop_front();
        }
        match self.numbers.entry(key.clone()) {
            linked_hash_map::Entry::Occupied(mut known) => {
                known.to_back();
                known.into_mut()
            }
            linked_hash_map::Entry::Vacant(new) => new.insert((fresh, 0)),
        }
    }

    /// The remembered keys that match, each with the moment of what came last.
    pub(crate) fn used(&self, whether: impl Fn(&K) -> bool) -> Vec<(K, i64)> {
        let asked = self.numbers.iter().filter(|(key, _)| whether(key));
        asked.map(|(key, (_, told_ms))| (key.clone(), *told_ms)).collect()
    }

    /// Forgets the keys that match.
    pub(crate) fn forget(&mut self, whether: impl Fn(&K) -> bool) {
        self.numbers.retain(|key, _| !whether(key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(epoch: u64, seq: u64) -> BatchNumber {
        BatchNumber { epoch, seq }
    }

    #[test]
    fn holes_are_noticed_and_nothing_else() {
        let mut heard = SequenceTracker::new();
        let numbers = [(1, 1), (1, 2), (1, 4), (1, 5), (2, 1), (2, 2), (3, 2), (3, 3), (3, 3)];
        let came =
            (100..).zip(numbers).map(|(told_ms, (epoch, seq))| heard.observe(&"room", at(epoch, seq), Some(told_ms)));
        assert_eq!(came.collect::<Vec<_>>(), [None, None, Some(101), None, None, None, Some(105), None, None]);
        assert_eq!(
            heard.observe(&"another", at(1, 7), Some(109)),
            Some(0),
            "whoever comes late has missed what was before"
        );
    }

    #[test]
    fn what_is_heard_late_is_missing_since_it_was_told() {
        let entry = |offset| Entry {
            room_id: RoomId::new("hall").expect("an id"),
            position: log::Position { epoch: 1, offset },
            record: log::conformance::marked("x"),
        };
        assert_eq!(
            told_ms(&[entry(hlc::at(7_000) + 5), entry(hlc::at(6_000))], 42_000),
            Some(7_000),
            "the node was frozen"
        );
        assert_eq!(told_ms(&[entry(hlc::at(43_000))], 42_000), Some(42_000), "the other's clock is ahead");
        assert_eq!((told_ms(&[entry(0)], 42_000), told_ms(&[], 42_000)), (None, None), "snapshots have no moment");

        let mut heard = SequenceTracker::new();
        let came = [(1, Some(7_000)), (2, None), (4, Some(9_000)), (5, None), (7, None)];
        let since = came.map(|(seq, told_ms)| heard.observe(&"room", at(1, seq), told_ms));
        assert_eq!(since, [None, None, Some(7_000), None, Some(9_000)]);
    }

    #[test]
    fn a_source_that_says_how_far_it_is_shows_the_last_hole() {
        let mut heard = SequenceTracker::new();
        assert!(!heard.observe_last(&"quiet", at(1, 0), 0));
        assert!(heard.observe(&"quiet", at(1, 1), Some(0)).is_none());
        assert!(!heard.observe_last(&"quiet", at(1, 1), 0));
        assert!(heard.observe_last(&"quiet", at(1, 2), 0), "the second did not come");
        assert!(heard.observe(&"quiet", at(1, 3), Some(0)).is_none(), "and is told of once");
        assert!(!heard.observe_last(&"quiet", at(2, 0), 0), "it begins anew");
        assert!(heard.observe_last(&"another", at(1, 7), 0), "whoever comes late has missed what was before");
    }

    proptest! {
        /// Each step of a source is a batch or a beat, which comes or is lost.
        #[test]
        fn whoever_hears_anything_knows_whether_a_batch_was_lost_before_it(
            steps in prop::collection::vec((any::<bool>(), any::<bool>()), 0..100),
        ) {
            let (mut heard, mut seq, mut lost) = (SequenceTracker::new(), 0, false);
            for (batch, comes) in steps {
                seq += u64::from(batch);
                if !comes {
                    lost |= batch;
                    continue;
                }
                let number = at(1, seq);
                let told = if batch { heard.observe(&"source", number, Some(0)).is_some() } else { heard.observe_last(&"source", number, 0) };
                prop_assert_eq!(told, std::mem::take(&mut lost));
            }
        }
    }

    #[test]
    fn the_forgotten_begin_anew_under_another_epoch() {
        let mut given = SequenceTracker::new();
        assert_eq!(given.next(&0, 5), at(5, 1));
        assert_eq!(given.next(&0, 6), at(5, 2));
        for key in 1..KEYS_MAX + 10 {
            given.next(&key, 7);
        }
        assert!(given.numbers.len() <= KEYS_MAX);
        assert_eq!(given.next(&0, 8), at(8, 1));
    }
}
