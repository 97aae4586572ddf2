//! The numbers of batches: what a source has given a room, and what an inbox has had of one.
//!
//! Pure; behind the fan-outs and inboxes of `redis` and `grpc`. Bounded: what was used longest ago is forgotten, and
//! begins anew under another epoch.

use std::collections::HashMap;
use std::hash::Hash;

/// Rooms, or pairs of room and source, that are remembered.
const KEYS_MAX: usize = 100_000;

/// Numbers by key, with the moment of their last use.
pub(crate) struct Counters<K> {
    numbers: HashMap<K, (Number, u64)>,
    uses: u64,
}

/// Where a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl<K: Hash + Eq + Clone> Counters<K> {
    pub(crate) fn new() -> Self {
        Self { numbers: HashMap::new(), uses: 0 }
    }

    /// The next number of this key; a key that is not known begins an epoch at `now_ms`.
    pub(crate) fn next(&mut self, key: &K, now_ms: i64) -> Number {
        let fresh = Number { epoch: now_ms.max(0).unsigned_abs(), seq: 0 };
        let number = self.slot(key, fresh);
        number.seq += 1;
        *number
    }

    /// Notes the number that came; whether something between it and the last one did not. Of a key or an epoch not heard
    /// before only the first number is no hole.
    pub(crate) fn came(&mut self, key: &K, number: Number) -> bool {
        let before = std::mem::replace(self.slot(key, Number { epoch: number.epoch, seq: 0 }), number);
        if before.epoch == number.epoch { number.seq > before.seq + 1 } else { number.seq > 1 }
    }

    /// Notes the number that a source says it gave last; whether something up to it did not come.
    pub(super) fn stands(&mut self, key: &K, number: Number) -> bool {
        let before = std::mem::replace(self.slot(key, Number { epoch: number.epoch, seq: 0 }), number);
        number.seq > if before.epoch == number.epoch { before.seq } else { 0 }
    }

    fn slot(&mut self, key: &K, fresh: Number) -> &mut Number {
        self.uses += 1;
        if self.numbers.len() >= KEYS_MAX && !self.numbers.contains_key(key) {
            self.forget_older_half();
        }
        let (number, used) = self.numbers.entry(key.clone()).or_insert((fresh, 0));
        *used = self.uses;
        number
    }

    /// The keys that are remembered, of those asked for.
    pub(crate) fn keys(&self, whether: impl Fn(&K) -> bool) -> Vec<K> {
        self.numbers.keys().filter(|key| whether(key)).cloned().collect()
    }

    /// Forgets a key's number.
    pub(crate) fn forget(&mut self, whether: impl Fn(&K) -> bool) {
        self.numbers.retain(|key, _| !whether(key));
    }

    fn forget_older_half(&mut self) {
        let mut uses: Vec<_> = self.numbers.values().map(|(_, used)| *used).collect();
        let middle = uses.len() / 2;
        let (_, middle, _) = uses.select_nth_unstable(middle);
        let middle = *middle;
        self.numbers.retain(|_, (_, used)| *used > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(epoch: u64, seq: u64) -> Number {
        Number { epoch, seq }
    }

    #[test]
    fn holes_are_noticed_and_nothing_else() {
        let mut heard = Counters::new();
        let holes = [(1, 1), (1, 2), (1, 4), (1, 5), (2, 1), (2, 2), (3, 2), (3, 3), (3, 3)];
        let noticed: Vec<_> = holes.iter().map(|(epoch, seq)| heard.came(&"room", at(*epoch, *seq))).collect();
        assert_eq!(noticed, [false, false, true, false, false, false, true, false, false]);
        assert!(heard.came(&"another", at(1, 7)), "whoever comes late has missed what was before");
    }

    #[test]
    fn a_source_that_says_how_far_it_is_shows_the_last_hole() {
        let mut heard = Counters::new();
        assert!(!heard.stands(&"quiet", at(1, 0)));
        assert!(!heard.came(&"quiet", at(1, 1)));
        assert!(!heard.stands(&"quiet", at(1, 1)));
        assert!(heard.stands(&"quiet", at(1, 2)), "the second did not come");
        assert!(!heard.came(&"quiet", at(1, 3)), "and is told of once");
        assert!(!heard.stands(&"quiet", at(2, 0)), "it begins anew");
        assert!(heard.stands(&"another", at(1, 7)), "whoever comes late has missed what was before");
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
