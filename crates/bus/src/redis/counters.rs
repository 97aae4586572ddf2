//! The numbers of batches: what a source has given a room, and what an inbox has had of one.
//!
//! Pure; behind the fan-outs and inboxes of `redis` and `grpc`. Bounded: what was used longest ago is forgotten, and
//! begins anew under another epoch.

use std::collections::HashMap;
use std::hash::Hash;

/// Rooms, or pairs of room and source, that are remembered.
const KEYS_MAX: usize = 100_000;

/// Numbers by key, each with the moment of its last use.
pub(crate) struct Counters<K> {
    numbers: HashMap<K, (Number, i64)>,
}

/// Where a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl<K: Hash + Eq + Clone> Counters<K> {
    pub(crate) fn new() -> Self {
        Self { numbers: HashMap::new() }
    }

    /// The next number of this key; a key that is not known begins an epoch at `now_ms`.
    pub(crate) fn next(&mut self, key: &K, now_ms: i64) -> Number {
        let fresh = Number { epoch: now_ms.max(0).unsigned_abs(), seq: 0 };
        let (number, used_ms) = self.slot(key, fresh);
        number.seq += 1;
        *used_ms = now_ms;
        *number
    }

    /// Notes the number that came; when something between it and the last one did not, since when that is: the moment of
    /// the last one, 0 when none is known. Of a key or an epoch not heard before only the first number is no hole.
    pub(crate) fn came(&mut self, key: &K, number: Number, now_ms: i64) -> Option<i64> {
        let slot = self.slot(key, Number { epoch: number.epoch, seq: 0 });
        let (before, before_ms) = std::mem::replace(slot, (number, now_ms));
        let expected = if before.epoch == number.epoch { before.seq + 1 } else { 1 };
        (number.seq > expected).then_some(before_ms)
    }

    /// Notes the number that a source says it gave last; whether something up to it did not come.
    pub(crate) fn stands(&mut self, key: &K, number: Number, now_ms: i64) -> bool {
        let slot = self.slot(key, Number { epoch: number.epoch, seq: 0 });
        let (before, _) = std::mem::replace(slot, (number, now_ms));
        number.seq > if before.epoch == number.epoch { before.seq } else { 0 }
    }

    fn slot(&mut self, key: &K, fresh: Number) -> &mut (Number, i64) {
        if self.numbers.len() >= KEYS_MAX && !self.numbers.contains_key(key) {
            self.forget_older_half();
        }
        self.numbers.entry(key.clone()).or_insert((fresh, 0))
    }

    /// The keys that are remembered, of those asked for, each with the moment of its last use.
    pub(crate) fn used(&self, whether: impl Fn(&K) -> bool) -> Vec<(K, i64)> {
        let asked = self.numbers.iter().filter(|(key, _)| whether(key));
        asked.map(|(key, (_, used_ms))| (key.clone(), *used_ms)).collect()
    }

    /// Forgets a key's number.
    pub(crate) fn forget(&mut self, whether: impl Fn(&K) -> bool) {
        self.numbers.retain(|key, _| !whether(key));
    }

    fn forget_older_half(&mut self) {
        let mut used: Vec<_> = self.numbers.values().map(|(_, used_ms)| *used_ms).collect();
        let middle = used.len() / 2;
        let (_, middle_ms, _) = used.select_nth_unstable(middle);
        let middle_ms = *middle_ms;
        self.numbers.retain(|_, (_, used_ms)| *used_ms > middle_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(epoch: u64, seq: u64) -> Number {
        Number { epoch, seq }
    }

    #[test]
    fn holes_are_noticed_and_nothing_else() {
        let mut heard = Counters::new();
        let numbers = [(1, 1), (1, 2), (1, 4), (1, 5), (2, 1), (2, 2), (3, 2), (3, 3), (3, 3)];
        let came = (100..).zip(numbers).map(|(now_ms, (epoch, seq))| heard.came(&"room", at(epoch, seq), now_ms));
        assert_eq!(came.collect::<Vec<_>>(), [None, None, Some(101), None, None, None, Some(105), None, None]);
        assert_eq!(heard.came(&"another", at(1, 7), 109), Some(0), "whoever comes late has missed what was before");
    }

    #[test]
    fn a_source_that_says_how_far_it_is_shows_the_last_hole() {
        let mut heard = Counters::new();
        assert!(!heard.stands(&"quiet", at(1, 0), 0));
        assert!(heard.came(&"quiet", at(1, 1), 0).is_none());
        assert!(!heard.stands(&"quiet", at(1, 1), 0));
        assert!(heard.stands(&"quiet", at(1, 2), 0), "the second did not come");
        assert!(heard.came(&"quiet", at(1, 3), 0).is_none(), "and is told of once");
        assert!(!heard.stands(&"quiet", at(2, 0), 0), "it begins anew");
        assert!(heard.stands(&"another", at(1, 7), 0), "whoever comes late has missed what was before");
    }

    proptest! {
        /// Each step of a source is a batch or a beat, which comes or is lost.
        #[test]
        fn whoever_hears_anything_knows_whether_a_batch_was_lost_before_it(
            steps in prop::collection::vec((any::<bool>(), any::<bool>()), 0..100),
        ) {
            let (mut heard, mut seq, mut lost) = (Counters::new(), 0, false);
            for (batch, comes) in steps {
                seq += u64::from(batch);
                if !comes {
                    lost |= batch;
                    continue;
                }
                let number = at(1, seq);
                let told = if batch { heard.came(&"source", number, 0).is_some() } else { heard.stands(&"source", number, 0) };
                prop_assert_eq!(told, std::mem::take(&mut lost));
            }
        }
    }

    #[test]
    fn the_forgotten_begin_anew_under_another_epoch() {
        let mut given = Counters::new();
        assert_eq!(given.next(&0, 5), at(5, 1));
        assert_eq!(given.next(&0, 6), at(5, 2));
        for key in 1..KEYS_MAX + 10 {
            given.next(&key, 7);
        }
        assert!(given.numbers.len() <= KEYS_MAX);
        assert_eq!(given.next(&0, 8), at(8, 1));
    }
}
