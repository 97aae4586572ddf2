//! [`Reservations`] in memory.

use std::time::Duration;

use ahash::RandomState;
use async_trait::async_trait;
use hashlink::LinkedHashMap;
use model::{FirstAnswer, Snowflake, UserId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::SHARDS;
use crate::Result;
use crate::gcra::CLOCK_JITTER_MS;
use crate::idempotency::{Finished, IN_FLIGHT_MS, Reservations, Reserved};

/// The default number of answers remembered; one costs about 100 bytes.
pub const ANSWERS_MAX: usize = 200_000;

/// Recent answers and what is in flight, in one process.
///
/// Remembers `answers_max` answers and as many reservations in flight. Beyond that it forgets the oldest of each; a caller
/// that waits for a forgotten one gets `None`.
pub struct MemoryReservations {
    /// Two hashes make a key, because a collision would give one comment another's answer.
    hashes: [RandomState; 2],
    shards: Vec<Mutex<Shard>>,
}

type Key = u128;

/// One lock's share. Both maps are in the order of insertion.
struct Shard {
    answered: LinkedHashMap<Key, FirstAnswer, RandomState>,
    in_flight: LinkedHashMap<Key, InFlight, RandomState>,
    keys_max: usize,
}

struct InFlight {
    id: Snowflake,
    since_ms: i64,
    /// Made by the first caller that waits; dropped when the reservation ends without an answer.
    answer: Option<watch::Sender<Option<FirstAnswer>>>,
}

impl Default for MemoryReservations {
    fn default() -> Self {
        Self::new(ANSWERS_MAX)
    }
}

impl MemoryReservations {
    /// Nothing reserved yet; `answers_max` is rounded up to at least one per shard.
    #[must_use]
    pub fn new(answers_max: usize) -> Self {
        let keys_max = answers_max.div_ceil(SHARDS).max(1);
        Self {
            hashes: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(keys_max))).collect(),
        }
    }

    fn shard(&self, user: &UserId, client_msg_id: &str) -> (Key, MutexGuard<'_, Shard>) {
        let [high, low] = self.hashes.each_ref().map(|hash| hash.hash_one((user.as_str(), client_msg_id)));
        (Key::from(high) << 64 | Key::from(low), self.shards[low as usize % SHARDS].lock())
    }

    /// The answer, or where it will appear; `None` when nothing is in flight.
    fn answer(&self, user: &UserId, client_msg_id: &str) -> Option<watch::Receiver<Option<FirstAnswer>>> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        if let Some(&answer) = shard.answered.get(&key) {
            return Some(watch::channel(Some(answer)).1);
        }
        let in_flight = shard.in_flight.get_mut(&key)?;
        Some(in_flight.answer.get_or_insert_with(|| watch::channel(None).0).subscribe())
    }
}

#[async_trait]
impl Reservations for MemoryReservations {
    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        Ok(shard.reserve(key, id, now_ms))
    }

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<Finished> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        Ok(shard.finish(key, answer))
    }

    async fn settle(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        shard.settle(key, answer);
        Ok(())
    }

    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        if shard.in_flight.get(&key).is_some_and(|in_flight| in_flight.id == id) {
            shard.in_flight.remove(&key);
        }
        Ok(())
    }

    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>> {
        let Some(mut answer) = self.answer(user, client_msg_id) else { return Ok(None) };
        let timeout = timeout.min(Duration::from_millis(IN_FLIGHT_MS.unsigned_abs()));
        match tokio::time::timeout(timeout, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => Ok(*answer),
            _ => Ok(None),
        }
    }
}

impl Shard {
    fn new(keys_max: usize) -> Self {
        Self { answered: LinkedHashMap::default(), in_flight: LinkedHashMap::default(), keys_max }
    }

    fn reserve(&mut self, key: Key, id: Snowflake, now_ms: i64) -> Reserved {
        if let Some(&answer) = self.answered.get(&key) {
            return Reserved::Known(answer);
        }
        if let Some(in_flight) = self.in_flight.get(&key).filter(|in_flight| in_flight.holds(now_ms)) {
            return Reserved::InFlight(in_flight.id);
        }
        self.sweep(now_ms);
        self.in_flight.insert(key, InFlight { id, since_ms: now_ms, answer: None });
        Reserved::New
    }

    fn finish(&mut self, key: Key, answer: FirstAnswer) -> Finished {
        if let Some(&first) = self.answered.get(&key) {
            return if first.id == answer.id { Finished::First } else { Finished::Known(first) };
        }
        if self.in_flight.get(&key).is_some_and(|in_flight| in_flight.id != answer.id) {
            return Finished::TakenOver;
        }
        self.settle(key, answer);
        Finished::First
    }

    fn settle(&mut self, key: Key, answer: FirstAnswer) {
        let waiting = self.in_flight.remove(&key).and_then(|in_flight| in_flight.answer);
        self.answered.insert(key, answer);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(answer));
        }
        if self.answered.len() > self.keys_max {
            self.answered.pop_front();
        }
    }

    /// Removes up to two of the oldest reservations that ran out, and the oldest when full. That is one more than a call
    /// adds, so the map shrinks to what is in flight.
    fn sweep(&mut self, now_ms: i64) {
        for _ in 0..2 {
            let full = self.in_flight.len() >= self.keys_max;
            match self.in_flight.front() {
                Some((_, oldest)) if full || !oldest.holds(now_ms) => drop(self.in_flight.pop_front()),
                _ => return,
            }
        }
    }
}

impl InFlight {
    /// Whether it still holds; a clock that stepped back before its start ends it.
    fn holds(&self, now_ms: i64) -> bool {
        (-CLOCK_JITTER_MS..IN_FLIGHT_MS).contains(&now_ms.saturating_sub(self.since_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance;

    const NOW: i64 = 1_700_000_000_000;

    fn answer(id: u64) -> FirstAnswer {
        FirstAnswer { id: Snowflake(id), pending_review: false, created_at_ms: NOW }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms() {
        conformance::idempotency::suite(Arc::new(MemoryReservations::default()), "memory", NOW).await;
    }

    #[test]
    fn the_newest_answers_are_remembered_and_no_more() {
        let mut shard = Shard::new(100);
        for key in 0..1_000 {
            assert_eq!(shard.reserve(key, Snowflake(1), NOW), Reserved::New);
            shard.finish(key, answer(1));
        }
        let known = (0..1_000).filter(|key| shard.answered.contains_key(key));
        assert_eq!(known.collect::<Vec<_>>(), (900..1_000).collect::<Vec<_>>());
        assert!(shard.answered.len() == 100 && shard.in_flight.is_empty());
    }

    #[test]
    fn the_abandoned_are_bounded_and_go_in_time() {
        let mut shard = Shard::new(100);
        for key in 0..1_000 {
            shard.reserve(key, Snowflake(1), NOW);
            assert!(shard.in_flight.len() <= 100);
        }
        assert_eq!(shard.reserve(999, Snowflake(2), NOW), Reserved::InFlight(Snowflake(1)));
        for key in 1_000..1_100 {
            shard.reserve(key, Snowflake(1), NOW + IN_FLIGHT_MS);
        }
        assert_eq!(shard.in_flight.len(), 100);
        assert_eq!(shard.reserve(999, Snowflake(2), NOW + IN_FLIGHT_MS), Reserved::New);
    }

    #[tokio::test]
    async fn who_waits_for_a_forgotten_reservation_gets_none() {
        let reservations = MemoryReservations::new(1);
        let user = UserId::new("ann").expect("letters");
        reservations.reserve(&user, "first", Snowflake(1), NOW).await.expect("memory");
        let waiting = reservations.wait(&user, "first", Duration::from_secs(20));
        let crowd = async {
            for n in 0..10_000 {
                reservations.reserve(&user, &n.to_string(), Snowflake(2), NOW).await.expect("memory");
            }
        };
        let (answer, ()) = tokio::join!(waiting, crowd);
        assert_eq!(answer, Ok(None));
    }
}
