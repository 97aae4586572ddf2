//! [`Reservations`] in memory.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::{HashMap, RandomState};
use async_trait::async_trait;
use model::{Snowflake, UserId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::SHARDS;
use crate::Result;
use crate::gcra::CLOCK_JITTER_MS;
use crate::reservations::{FirstAnswer, IN_FLIGHT_MS, Reservations, Reserved};

/// The default number of answers remembered; one costs about 100 bytes.
pub const ANSWERS_MAX: usize = 200_000;

/// Recent answers and what is in flight, in one process.
///
/// Remembers `answers_max` answers and as many reservations in flight; beyond that the oldest of each are
/// forgotten, and those who wait for one are told so.
pub struct MemoryReservations {
    /// Two hashes make a key, since a collision would give one comment another's answer.
    hashes: [RandomState; 2],
    shards: Vec<Mutex<Shard>>,
}

type Key = u128;

/// One lock's share. Each map has a queue of its keys in the order in which they came.
struct Shard {
    answered: HashMap<Key, FirstAnswer>,
    answered_order: VecDeque<Key>,
    in_flight: HashMap<Key, InFlight>,
    /// May still name keys that were finished or released; they go when they reach the front.
    in_flight_order: VecDeque<(Key, Snowflake)>,
    keys_max: usize,
}

struct InFlight {
    id: Snowflake,
    since_ms: i64,
    /// Made by the first who waits; dropped without an answer when the reservation ends without one.
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

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        let (key, mut shard) = self.shard(user, client_msg_id);
        shard.finish(key, answer);
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
        Self {
            answered: HashMap::default(),
            answered_order: VecDeque::new(),
            in_flight: HashMap::default(),
            in_flight_order: VecDeque::new(),
            keys_max,
        }
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
        self.in_flight_order.push_back((key, id));
        Reserved::New
    }

    fn finish(&mut self, key: Key, answer: FirstAnswer) {
        let waiting = self.in_flight.remove(&key).and_then(|in_flight| in_flight.answer);
        let stands = *self.answered.entry(key).or_insert_with(|| {
            self.answered_order.push_back(key);
            answer
        });
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(stands));
        }
        if self.answered_order.len() > self.keys_max
            && let Some(oldest) = self.answered_order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }

    /// Lets go of up to two reservations at the front that ended or ran out, and of the oldest when full:
    /// one more than a call adds, so the queue shrinks to what is in flight.
    fn sweep(&mut self, now_ms: i64) {
        for _ in 0..2 {
            let Some(&(key, id)) = self.in_flight_order.front() else { return };
            let own = self.in_flight.get(&key).filter(|in_flight| in_flight.id == id);
            let full = self.in_flight_order.len() >= self.keys_max;
            match own {
                Some(in_flight) if in_flight.holds(now_ms) && !full => return,
                Some(_) => drop(self.in_flight.remove(&key)),
                None => {}
            }
            self.in_flight_order.pop_front();
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
        conformance::reservations(Arc::new(MemoryReservations::default()), "memory", NOW).await;
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
        assert!(shard.answered_order.len() == 100 && shard.in_flight.is_empty());
        assert!(shard.in_flight_order.len() <= 2);
    }

    #[test]
    fn the_abandoned_are_bounded_and_go_in_time() {
        let mut shard = Shard::new(100);
        for key in 0..1_000 {
            shard.reserve(key, Snowflake(1), NOW);
            assert!(shard.in_flight.len() <= 100 && shard.in_flight_order.len() <= 100);
        }
        assert_eq!(shard.reserve(999, Snowflake(2), NOW), Reserved::InFlight(Snowflake(1)));
        for key in 1_000..1_100 {
            shard.reserve(key, Snowflake(1), NOW + IN_FLIGHT_MS);
        }
        assert_eq!(shard.in_flight.len(), 100);
        assert_eq!(shard.reserve(999, Snowflake(2), NOW + IN_FLIGHT_MS), Reserved::New);
    }

    #[tokio::test]
    async fn who_waits_for_the_forgotten_is_told() {
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
