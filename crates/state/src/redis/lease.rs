//! Leases the rates of rooms and the deployment in chunks.
//!
//! Redis counts whole chunks. Each node hands out what it has leased and asks for the next chunk when it has none. A chunk is at
//! most a hundredth of the burst and 20 ms of the rate, so ten nodes with one chunk each keep a rate within 10 %. A burst below
//! two hundred is leased singly, and is exact. Used by [`super::RedisRateLimiter`] alone.

use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use parking_lot::Mutex;
use redis::Script;
use redis_client::Redis;

use crate::Result;
use crate::gcra::{CLOCK_JITTER_MS, Rate};
use crate::memory::{Expires, ExpiringMap};

/// Rooms whose leases a node keeps. Beyond it the node forgets one that expires soon, and wastes the rest of it.
const LEASES_MAX: usize = 100_000;
/// A chunk lasts at most this long at the full rate.
const CHUNK_US: i64 = 20_000;
/// An unused lease expires after this long, or after one interval if that is longer.
const LIFE_MS: i64 = 1_000;

static ALLOW: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("count_one.lua"))));
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("uncount_one.lua"))));

/// Asks Redis for one permit of a rate. The inner `Err` is the wait in milliseconds.
pub(super) async fn allow(redis: &Redis, key: &str, steps: Steps, now_ms: i64) -> Result<std::result::Result<(), u64>> {
    let mut script = ALLOW.key(redis.key(key));
    script.arg(now_ms).arg(steps.interval_us).arg(steps.window_us);
    let wait_ms: u64 = redis.script("allow", &script).await?;
    Ok(if wait_ms == 0 { Ok(()) } else { Err(wait_ms) })
}

/// A rate as the scripts take it, in whole microseconds, rounded up so that it is never exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) interval_us: i64,
    pub(super) window_us: i64,
}

impl Steps {
    /// `each` permits of the rate at once.
    pub(super) fn of(rate: Rate, each: u32) -> Self {
        let interval_us = rate.interval_ns().saturating_mul(each.into()).cast_unsigned().div_ceil(1_000).cast_signed();
        // Beyond 2^52 Lua's numbers are no longer whole.
        let window_us = interval_us.saturating_mul(i64::from(rate.bursts()) / i64::from(each)).min(1 << 52);
        Self { interval_us, window_us }
    }
}

/// How many permits of a rate are leased at once.
fn chunk(rate: Rate) -> u32 {
    let in_time = CHUNK_US.saturating_mul(1_000) / rate.interval_ns();
    (rate.bursts() / 100).min(u32::try_from(in_time).unwrap_or(u32::MAX)).max(1)
}

/// This node's leases.
pub(super) struct Leases {
    redis: Redis,
    hash: RandomState,
    entries: Mutex<ExpiringMap<Lease>>,
}

/// What is left of the last chunk, or the refusal that holds.
#[derive(Default)]
struct Lease {
    rate: Option<Rate>,
    permits: u32,
    refused: bool,
    since_ms: i64,
    until_ms: i64,
    /// Locked by the one call that asks Redis; the others wait for its result.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What a node can decide by itself.
enum Local {
    Permit,
    Wait(u64),
    Ask(Arc<tokio::sync::Mutex<()>>),
}

impl Expires for Lease {
    fn until_ms(&self) -> i64 {
        self.until_ms
    }
}

impl Lease {
    /// Whether the lease is valid now and of this rate.
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

    /// Stores Redis's answer: permits for a while, or the time for which it refuses.
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
        Self { redis, hash: RandomState::new(), entries: Mutex::new(ExpiringMap::new(LEASES_MAX)) }
    }

    /// Takes one permit of `key`. The inner `Err` is the wait in milliseconds.
    pub(super) async fn take(&self, key: &str, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        let slot = self.hash.hash_one(key);
        let local = |now_ms| self.entries.lock().slot(slot, now_ms).take(rate, now_ms);
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
        // One permit is the caller's.
        self.entries.lock().slot(slot, now_ms).renew(rate, answer.map(|()| chunk - 1), now_ms);
        Ok(answer)
    }

    /// Returns an unused permit: to this node's chunk while that is valid, or to Redis if it was leased singly. A permit that
    /// cannot be returned stays used; the caller's answer does not change.
    pub(super) async fn give_back(&self, key: &str, rate: Rate, now_ms: i64) {
        if chunk(rate) > 1 {
            let mut entries = self.entries.lock();
            let lease = entries.slot(self.hash.hash_one(key), now_ms);
            if lease.holds(rate, now_ms) {
                lease.permits += 1;
            }
            return;
        }
        let mut script = GIVE_BACK.key(self.redis.key(key));
        script.arg(now_ms).arg(Steps::of(rate, 1).interval_us);
        // The client counts a failure.
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
