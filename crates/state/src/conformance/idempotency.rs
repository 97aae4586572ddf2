//! The suite of [`Reservations`].

use std::sync::Arc;
use std::time::Duration;

use model::{FirstAnswer, Snowflake, UserId};

use super::AWAY;
use crate::idempotency::{Finished, IN_FLIGHT_MS, Reservations, Reserved};

/// Runs every case.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn suite(port: Arc<dyn Reservations>, tag: &str, now_ms: i64) {
    let user = |name: &str| UserId::new(&format!("{tag}:{name}")).expect("a short tag");
    let of = |name: &str| Sender { port: port.clone(), user: user(name), now_ms };
    a_retry_gets_the_first_answer(of("retry"), of("other")).await;
    a_released_key_starts_fresh(of("release")).await;
    an_abandoned_key_runs_out(of("abandon")).await;
    the_first_answer_stands(of("first")).await;
    a_silent_attempt_is_taken_over(of("silent")).await;
    who_waits_is_answered(of("wait")).await;
    who_waits_in_vain_is_told(of("vain")).await;
    one_of_a_crowd_is_new(of("crowd")).await;
}

#[derive(Clone)]
struct Sender {
    port: Arc<dyn Reservations>,
    user: UserId,
    now_ms: i64,
}

const KEY: &str = "00000000-0000-4000-8000-000000000000 弹幕";

impl Sender {
    async fn reserve(&self, id: u64) -> Reserved {
        self.reserve_at(id, self.now_ms).await
    }

    async fn reserve_at(&self, id: u64, now_ms: i64) -> Reserved {
        self.reserve_key(KEY, id, now_ms).await
    }

    /// Whom a backend has asked is its own affair.
    async fn reserve_key(&self, key: &str, id: u64, now_ms: i64) -> Reserved {
        match self.port.reserve(&self.user, key, Snowflake(id), now_ms).await.expect(AWAY) {
            Reserved::NewEverywhere => Reserved::New,
            reserved => reserved,
        }
    }

    fn answer(&self, id: u64) -> FirstAnswer {
        FirstAnswer { id: Snowflake(id), pending_review: id.is_multiple_of(2), created_at_ms: self.now_ms }
    }

    async fn finish(&self, id: u64) -> FirstAnswer {
        assert_eq!(self.try_finish(id).await, Finished::First);
        self.answer(id)
    }

    async fn try_finish(&self, id: u64) -> Finished {
        self.port.finish(&self.user, KEY, self.answer(id)).await.expect(AWAY)
    }

    async fn take_over(&self, held_by: u64, id: u64) -> Reserved {
        let taken = self.port.take_over(&self.user, KEY, Snowflake(held_by), Snowflake(id), self.now_ms);
        match taken.await.expect(AWAY) {
            Reserved::NewEverywhere => Reserved::New,
            reserved => reserved,
        }
    }

    async fn release(&self, id: u64) {
        self.port.release(&self.user, KEY, Snowflake(id)).await.expect(AWAY);
    }

    async fn wait(&self, ms: u64) -> Option<FirstAnswer> {
        self.port.wait(&self.user, KEY, Duration::from_millis(ms)).await.expect(AWAY)
    }
}

async fn a_retry_gets_the_first_answer(sender: Sender, other: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve(2).await, Reserved::InFlight(Snowflake(1)));
    let answer = sender.finish(1).await;
    assert_eq!(sender.reserve(3).await, Reserved::Known(answer));
    assert_eq!(other.reserve(4).await, Reserved::New, "each user's keys are apart");
    assert_eq!(sender.reserve_key("other", 5, sender.now_ms).await, Reserved::New);
    let late = sender.reserve_at(6, sender.now_ms + 10 * IN_FLIGHT_MS).await;
    assert_eq!(late, Reserved::Known(answer), "an answer outlives the reservation");
}

async fn a_released_key_starts_fresh(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    sender.release(2).await;
    assert_eq!(sender.reserve(2).await, Reserved::InFlight(Snowflake(1)), "only its owner releases it");
    sender.release(1).await;
    assert_eq!(sender.reserve(2).await, Reserved::New);
    let answer = sender.finish(2).await;
    sender.release(2).await;
    assert_eq!(sender.reserve(3).await, Reserved::Known(answer), "an answer is not released");
}

async fn an_abandoned_key_runs_out(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve_at(2, sender.now_ms + IN_FLIGHT_MS - 1).await, Reserved::InFlight(Snowflake(1)));
    assert_eq!(sender.reserve_at(3, sender.now_ms + IN_FLIGHT_MS).await, Reserved::New);
    assert_eq!(sender.reserve_at(4, sender.now_ms + IN_FLIGHT_MS).await, Reserved::InFlight(Snowflake(3)));
}

async fn the_first_answer_stands(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve_at(2, sender.now_ms + IN_FLIGHT_MS).await, Reserved::New);
    assert_eq!(sender.try_finish(1).await, Finished::TakenOver, "it was frozen, and another goes on");
    let first = sender.finish(2).await;
    assert_eq!(sender.try_finish(1).await, Finished::Known(first));
    assert_eq!(sender.try_finish(2).await, Finished::First, "its own answer again");
    assert_eq!(sender.reserve(3).await, Reserved::Known(first));
}

async fn a_silent_attempt_is_taken_over(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.take_over(1, 2).await, Reserved::New);
    assert_eq!(sender.take_over(1, 3).await, Reserved::InFlight(Snowflake(2)), "only the holder named is replaced");
    assert_eq!(sender.try_finish(1).await, Finished::TakenOver);
    let decided = sender.answer(1);
    let (waited, settled) = tokio::join!(sender.wait(20_000), sender.port.settle(&sender.user, KEY, decided));
    settled.expect(AWAY);
    assert_eq!(waited, Some(decided), "the store found that the silent one was first");
    assert_eq!(sender.try_finish(2).await, Finished::Known(decided));
    assert_eq!(sender.take_over(2, 4).await, Reserved::Known(decided), "an answer is not taken over");
}

async fn who_waits_is_answered(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.wait(20_000).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let answer = sender.finish(1).await;
    for waiter in waiting {
        assert_eq!(waiter.await.expect("no panic"), Some(answer));
    }
    assert_eq!(sender.wait(20_000).await, Some(answer), "who comes late is answered at once");
}

async fn who_waits_in_vain_is_told(sender: Sender) {
    assert_eq!(sender.wait(20_000).await, None, "nothing is in flight");
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.wait(5).await, None, "no answer in time");
    let (answer, ()) = tokio::join!(sender.wait(20_000), sender.release(1));
    assert_eq!(answer, None, "released");
}

async fn one_of_a_crowd_is_new(sender: Sender) {
    let crowd: Vec<_> = (1..=64)
        .map(|id| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.reserve(id).await })
        })
        .collect();
    let mut new = 0;
    for one in crowd {
        new += usize::from(one.await.expect("no panic") == Reserved::New);
    }
    assert_eq!(new, 1, "exactly one goes on");
}
