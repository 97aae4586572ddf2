//! A memory of recent ids, bounded in number and in age.
//!
//! Holds tombstones, merged ids and positions of past comments. Never reads a clock.

use std::collections::VecDeque;

use crate::Snowflake;
use ahash::AHashMap;

/// A map from ids that forgets its oldest entry when full. An entry's age counts from its first insertion.
#[derive(Debug)]
pub struct Recent<V> {
    values: AHashMap<Snowflake, V>,
    /// Every key of `values` once, with the time it came, in order of insertion.
    order: VecDeque<(i64, Snowflake)>,
    capacity: usize,
}

impl<V: Copy> Recent<V> {
    /// A memory of at most `capacity` ids; it takes memory only as it fills.
    pub fn new(capacity: usize) -> Self {
        Self { values: AHashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Remembers `value`, which replaces an earlier one. Returns the value that it forgot to make room.
    pub fn insert(&mut self, id: Snowflake, value: V, now_ms: i64) -> Option<V> {
        if self.values.insert(id, value).is_none() {
            self.order.push_back((now_ms, id));
        }
        if self.order.len() > self.capacity { self.forget_oldest() } else { None }
    }

    /// The value of `id`.
    pub fn get(&self, id: Snowflake) -> Option<V> {
        self.values.get(&id).copied()
    }

    /// Whether `id` is remembered.
    pub fn contains(&self, id: Snowflake) -> bool {
        self.values.contains_key(&id)
    }

    /// Forgets `id`.
    pub fn remove(&mut self, id: Snowflake) {
        if self.values.remove(&id).is_some() {
            self.order.retain(|(_, known)| *known != id);
        }
    }

    /// Forgets entries from before `time_ms`. After the clock stepped back an entry may stay longer, never shorter.
    pub fn forget_before(&mut self, time_ms: i64) {
        while self.order.front().is_some_and(|(at_ms, _)| *at_ms < time_ms) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> Option<V> {
        let (_, id) = self.order.pop_front()?;
        self.values.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_when_full() {
        let mut recent = Recent::new(2);
        for (id, at_ms) in [(1, 10), (2, 11), (1, 12), (3, 13)] {
            recent.insert(Snowflake(id), at_ms, at_ms);
        }
        assert_eq!([1, 2, 3].map(|id| recent.get(Snowflake(id))), [None, Some(11), Some(13)]);
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut recent = Recent::new(10);
        for (id, at_ms) in (1..=5).zip(0..) {
            recent.insert(Snowflake(id), (), at_ms);
        }
        recent.forget_before(3);
        assert_eq!([1, 2, 3, 4, 5].map(|id| recent.contains(Snowflake(id))), [false, false, false, true, true]);
    }
}
