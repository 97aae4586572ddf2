//! What a room and the deployment take from everybody, in chunks.
//!
//! Redis counts whole chunks, each node hands out what it has leased and asks for the next chunk when it has
//! none. A chunk is at most a hundredth of the burst and 20 ms of the rate, so ten nodes that each sit on one
//! keep a rate within 10 %; a rate that admits less than two hundred at once is leased singly, and exactly. All
//! of this is behind [`super::RedisGate`].

use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use parking_lot::Mutex;
use redis::Script;
use redis_client::Redis;

use crate::Result;
use crate::gcra::{CLOCK_JITTER_MS, Rate};
use crate::memory::{Lasting, Shelf};

/// Rooms whose leases a node keeps; beyond it the stalest of a few is forgotten, which wastes what is left of it.
const LEASES_MAX: usize = 100_000;
/// A chunk lasts at most this long at the full rate.
const CHUNK_US: i64 = 20_000;
/// What was leased and not used is forgotten after this long, or after one interval if that is longer.
const LIFE_MS: i64 = 1_000;

static ALLOW: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("allow.lua"))));
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("give_back.lua"))));

/// Asks Redis for one of a rate; the inner `Err` is the wait in milliseconds.
pub(super) async fn allow(redis: &Redis, key: &str, steps: Steps, now_ms: i64) -> Result<std::result::Result<(), u64>> {
    let mut script = ALLOW.key(redis.key(key));
    script.arg(now_ms).arg(steps.interval_us).arg(steps.window_us);
    let wait_ms: u64 = redis.script("allow", &script).await?;
    Ok(if wait_ms == 0 { Ok(()) } else { Err(wait_ms) })
}

/// A rate as the scripts take it, in whole microseconds: rounded up, so never more than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) interval_us: i64,
    pub(super) window_us: i64,
}

impl Steps {
    /// `each` of the rate at once.
    pub(super) fn of(rate: Rate, each: u32) -> Self {
        let interval_us = rate.interval_ns().saturating_mul(each.into()).cast_unsigned().div_ceil(1_000).cast_signed();
        // Beyond 2^52 Lua's numbers are no longer whole.
        let window_us = interval_us.saturating_mul(i64::from(rate.bursts()) / i64::from(each)).min(1 << 52);
        Self { interval_us, window_us }
    }
}

/// How many of a rate are leased at once.
fn chunk(rate: Rate) -> u32 {
    let in_time = CHUNK_US.saturating_mul(1_000) / rate.interval_ns();
    (rate.bursts() / 100).min(u32::try_from(in_time).unwrap_or(u32::MAX)).max(1)
}

/// This node's leases.
pub(super) struct Leases {
    redis: Redis,
    hash: RandomState,
    shelf: Mutex<Shelf<Lease>>,
}

/// What is left of the last chunk, or the refusal that holds.
#[derive(Default)]
struct Lease {
    rate: Option<Rate>,
    permits: u32,
    refused: bool,
    since_ms: i64,
    until_ms: i64,
    /// Held by the one call that asks Redis; the others wait for what it gets.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What a node can say by itself.
enum Local {
    Permit,
    Wait(u64),
    Ask(Arc<tokio::sync::Mutex<()>>),
}

impl Lasting for Lease {
    fn until_ms(&self) -> i64 {
        self.until_ms
    }
}

impl Lease {
    /// Whether what is known is of now and of this rate.
    fn holds(&self, rate: Rate, now_ms: i64) -> bool {
        self.rate == Some(rate) && self.since_ms.saturating_sub(CLOCK_JITTER_MS) <= now_ms && now_ms < self.until_ms
    }

    fn take(&mut self, rate: Rate, now_ms: i64) -> Local {
        let holds = self.holds(rate, now_ms);
        if holds && self.permits > 0 {
            self.permits -= 1;
            return Local::Permit;
        }
        if holds && self.refused {
            Local::Wait(self.until_ms.abs_diff(now_ms))
        } else {
            Local::Ask(self.asking.clone())
        }
    }

    /// What Redis answered: permits for a while, or the time for which it refuses.
    fn renew(&mut self, rate: Rate, answer: std::result::Result<u32, u64>, now_ms: i64) {
        let for_ms = answer.map_or_else(u64::cast_signed, |_| life_ms(rate));
        let (permits, refused) = (answer.unwrap_or(0), answer.is_err());
        let asking = std::mem::take(&mut self.asking);
        let (since_ms, until_ms) = (now_ms, now_ms.saturating_add(for_ms));
        *self = Self { rate: Some(rate), permits, refused, since_ms, until_ms, asking };
    }
}

impl Leases {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, hash: RandomState::new(), shelf: Mutex::new(Shelf::new(LEASES_MAX)) }
    }

    /// One of what is admitted under `key`; the inner `Err` is the wait in milliseconds.
    pub(super) async fn take(&self, key: &str, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        let slot = self.hash.hash_one(key);
        let local = |now_ms| self.shelf.lock().slot(slot, now_ms).take(rate, now_ms);
        let asking = match local(now_ms) {
            Local::Permit => return Ok(Ok(())),
            Local::Wait(ms) => return Ok(Err(ms)),
            Local::Ask(asking) => asking,
        };
        let _alone = asking.lock().await;
        match local(now_ms) {
            Local::Permit => Ok(Ok(())),
            Local::Wait(ms) => Ok(Err(ms)),
            Local::Ask(_) => self.ask(key, slot, rate, now_ms).await,
        }
    }

    /// Leases a chunk and takes the first of it.
    async fn ask(&self, key: &str, slot: u64, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        let chunk = chunk(rate);
        let answer = allow(&self.redis, key, Steps::of(rate, chunk), now_ms).await?;
        // One is the caller's.
        self.shelf.lock().slot(slot, now_ms).renew(rate, answer.map(|()| chunk - 1), now_ms);
        Ok(answer)
    }

    /// Gives one back that was taken and not used: to this node's chunk, for as long as that lasts, or to Redis at
    /// once if it was leased singly. One that cannot be given back stays used; that is no reason to answer otherwise.
    pub(super) async fn give_back(&self, key: &str, rate: Rate, now_ms: i64) {
        if chunk(rate) > 1 {
            let mut shelf = self.shelf.lock();
            let lease = shelf.slot(self.hash.hash_one(key), now_ms);
            if lease.holds(rate, now_ms) {
                lease.permits += 1;
            }
            return;
        }
        let mut script = GIVE_BACK.key(self.redis.key(key));
        script.arg(now_ms).arg(Steps::of(rate, 1).interval_us);
        // A failure is counted where it happens.
        let _: std::result::Result<(), _> = self.redis.script("give_back", &script).await;
    }
}

fn life_ms(rate: Rate) -> i64 {
    LIFE_MS.max(rate.interval_ns() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_is_small_and_keeps_the_rate(n in 1u32..1_000_000) {
            let rate = Rate::per_s(n);
            let chunk = chunk(rate);
            prop_assert!(chunk == 1 || chunk <= n / 100);
            let steps = Steps::of(rate, chunk);
            let per_s = f64::from(chunk) * 1e6 / steps.interval_us as f64;
            prop_assert!(per_s <= f64::from(n) * 1.000_001);
            prop_assert!(per_s >= f64::from(n) * 0.99, "{per_s} of {n}");
        }
    }
}
