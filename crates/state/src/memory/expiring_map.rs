//! A bounded map whose entries expire.
//!
//! Holds the state behind one lock of the rate limiter, or a node's leases. Each new key sweeps a few old ones. So the map holds
//! about twice the live entries, without a timer and without a pause. At its bound it removes the entry of a few that expires
//! first: what matters longest stays, whenever it was used.

use ahash::RandomState;
use indexmap::IndexMap;

/// Entries checked for each new key: with two, expired entries leave twice as fast as new keys come.
const SWEPT: usize = 2;
/// Entries among which the one that expires first is removed from a full map.
const SAMPLED: usize = 8;

/// A value that expires.
pub(crate) trait Expires {
    /// From this Unix millisecond on, the entry means the same as no entry.
    fn until_ms(&self) -> i64;
}

pub(crate) struct ExpiringMap<V> {
    slots: IndexMap<u64, V, RandomState>,
    /// Where the sweep goes on.
    cursor: usize,
    keys_max: usize,
}

impl<V: Expires + Default> ExpiringMap<V> {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { slots: IndexMap::default(), cursor: 0, keys_max: keys_max.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        self.slots.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.slots.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: u64) {
        self.slots.swap_remove(&key);
    }

    /// The key's entry, a default one if it has none yet.
    pub(crate) fn slot(&mut self, key: u64, now_ms: i64) -> &mut V {
        let index = match self.slots.get_index_of(&key) {
            Some(index) => index,
            None => {
                self.make_room(now_ms);
                self.slots.insert_full(key, V::default()).0
            }
        };
        &mut self.slots[index]
    }

    fn make_room(&mut self, now_ms: i64) {
        for _ in 0..SWEPT {
            self.sweep_one(now_ms);
        }
        if self.slots.len() >= self.keys_max {
            self.evict();
        }
    }

    fn sweep_one(&mut self, now_ms: i64) {
        match self.slots.get_index(self.cursor) {
            Some((_, entry)) if entry.until_ms() <= now_ms => drop(self.slots.swap_remove_index(self.cursor)),
            Some(_) => self.cursor += 1,
            None => self.cursor = 0,
        }
    }

    fn evict(&mut self) {
        let len = self.slots.len();
        // Spread over the map: neighbours were inserted together and expire at about the same time.
        let sample = (0..SAMPLED).map(|step| (self.cursor + step * len / SAMPLED) % len);
        let first = sample.min_by_key(|&index| self.slots[index].until_ms());
        if let Some(index) = first {
            self.slots.swap_remove_index(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Until(i64);

    impl Expires for Until {
        fn until_ms(&self) -> i64 {
            self.0
        }
    }

    #[test]
    fn expired_entries_leave_while_new_keys_come() {
        let mut entries = ExpiringMap::<Until>::new(1_000_000);
        for now in 0..200_000_i64 {
            entries.slot(now.cast_unsigned(), now).0 = now + 1_000;
        }
        assert!(entries.len() <= 2_100, "{}", entries.len());
    }

    #[test]
    fn a_full_map_forgets_what_expires_soon_and_never_grows() {
        let mut entries = ExpiringMap::<Until>::new(100);
        for key in 0..50 {
            entries.slot(key, 0).0 = 1_000_000;
        }
        for key in 50..10_000_u64 {
            entries.slot(key, 0).0 = 1_000 + key.cast_signed();
            assert!(entries.len() <= 100);
        }
        let kept = (0..50).filter(|&key| entries.get(key).is_some()).count();
        assert!(kept >= 45, "kept {kept} of those that matter longest");
    }
}
