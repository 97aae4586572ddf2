//! [`RateLimiter`] on Redis.

use std::sync::LazyLock;

use async_trait::async_trait;
use model::{RoomId, UserId};
use redis::Script;
use redis_client::Redis;

use super::lease::{Leases, Steps, allow};
use crate::rate_limit::{CoolDown, LimitKey, QUIET_FACTOR, RateDecision, RateLimiter, RateRequest, Scope};
use crate::{Rate, Result, StateError};

static ADMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("admit.lua"))));
static REFUSED: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("count_refusal.lua"))));

/// The key of the deployment's rate.
const ALL: &str = "rate-of-all";

/// Rates, duplicates and cool-downs of a deployment.
///
/// Keys (after the namespace; a user's are in one slot):
///
/// | key | value | expires |
/// |---|---|---|
/// | `rate:{user}`, `slow:{user}:room`, `room-rate:{room}`, `rate-of-all`, `limit:{scope:id}` | a TAT in Unix microseconds | when it is past |
/// | `text:{user}:hash` | `from:until`, Unix milliseconds | at its end |
/// | `mute:{user}` | the last cool-down, `from:until` | when it no longer doubles |
/// | `strikes:{user}` | a list of refusals, `from:until` | when they no longer count |
///
/// A decision costs one round trip, and one more for the first of each leased chunk. Where rates are so low that they are leased
/// singly, a refusal costs another round trip for each lease that it returns.
pub struct RedisRateLimiter {
    redis: Redis,
    leases: Leases,
}

/// What the room and the deployment decided, before the user's own limits.
enum Outer {
    Admitted,
    Refused(Scope, u64),
}

impl RedisRateLimiter {
    /// A limiter over this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { leases: Leases::new(redis.clone()), redis }
    }

    /// Takes one permit of the room and one of the deployment, or neither.
    async fn take_outer(&self, room_key: &str, request: &RateRequest<'_>, now_ms: i64) -> Result<Outer> {
        if let Err(wait_ms) = self.leases.take(room_key, request.room_rate, now_ms).await? {
            return Ok(Outer::Refused(Scope::Room, wait_ms));
        }
        let global = self.leases.take(ALL, request.global_rate, now_ms).await;
        if !matches!(global, Ok(Ok(()))) {
            self.leases.give_back(room_key, request.room_rate, now_ms).await;
        }
        Ok(global?.map_or_else(|wait_ms| Outer::Refused(Scope::Global, wait_ms), |()| Outer::Admitted))
    }

    async fn ask_user(&self, request: &RateRequest<'_>, outer: &Outer, now_ms: i64) -> Result<RateDecision> {
        let user = request.user.as_str();
        let mut script = ADMIT.key(self.redis.key(&format!("mute:{{{user}}}")));
        script.key(self.redis.key(&format!("rate:{{{user}}}")));
        script.key(slow_mode(&self.redis, request.user, request.room));
        script.key(text(&self.redis, request.user, request.text_key));
        let own = Steps::of(request.user_rate, 1);
        let slow = request.slow_mode.map_or(Steps { interval_us: 0, window_us: 0 }, |rate| Steps::of(rate, 1));
        let (code, wait_ms) = match outer {
            Outer::Admitted => (0, 0),
            Outer::Refused(scope, wait_ms) => (code(*scope), *wait_ms),
        };
        script.arg(now_ms).arg(own.interval_us).arg(own.window_us).arg(slow.interval_us).arg(slow.window_us);
        script.arg(code).arg(wait_ms).arg(request.duplicate_window_ms);
        let (code, retry_after_ms): (u8, u64) = self.redis.script("knock", &script).await?;
        answer(code, retry_after_ms)
    }
}

/// The numbers by which the script names scopes.
const fn code(scope: Scope) -> u8 {
    match scope {
        Scope::User => 2,
        Scope::SlowMode => 3,
        Scope::Room => 4,
        Scope::Global => 5,
    }
}

fn answer(code: u8, retry_after_ms: u64) -> Result<RateDecision> {
    let limited = |scope| RateDecision::Limited { scope, retry_after_ms };
    Ok(match code {
        0 => RateDecision::Admitted,
        1 => RateDecision::CoolingDown { retry_after_ms },
        2 => limited(Scope::User),
        3 => limited(Scope::SlowMode),
        4 => limited(Scope::Room),
        5 => limited(Scope::Global),
        6 => RateDecision::Duplicate { retry_after_ms },
        _ => return Err(StateError(format!("an answer of no meaning: {code}"))),
    })
}

/// The key of a text that a user wrote.
fn text(redis: &Redis, user: &UserId, text_key: u64) -> String {
    redis.key(&format!("text:{{{user}}}:{text_key:x}"))
}

/// The key of a user's slow mode in a room.
fn slow_mode(redis: &Redis, user: &UserId, room: &RoomId) -> String {
    redis.key(&format!("slow:{{{user}}}:{room}"))
}

/// The name of a single limit.
fn limit(key: LimitKey<'_>) -> String {
    format!("limit:{{{}:{}}}", key.scope, key.id)
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn admit(&self, request: RateRequest<'_>) -> Result<RateDecision> {
        let now_ms = self.redis.at_ms(request.now_ms);
        let room_key = format!("room-rate:{{{}}}", request.room.as_str());
        let outer = self.take_outer(&room_key, &request, now_ms).await?;
        let answer = self.ask_user(&request, &outer, now_ms).await;
        // When the answer is lost, the permits stay taken: the script may have admitted the comment.
        if matches!((&outer, &answer), (Outer::Admitted, Ok(answer)) if *answer != RateDecision::Admitted) {
            self.leases.give_back(&room_key, request.room_rate, now_ms).await;
            self.leases.give_back(ALL, request.global_rate, now_ms).await;
        }
        answer
    }

    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>> {
        if policy.refusals == 0 {
            return Ok(None);
        }
        let mut script = REFUSED.key(self.redis.key(&format!("mute:{{{user}}}")));
        script.key(self.redis.key(&format!("strikes:{{{user}}}")));
        script.arg(self.redis.at_ms(now_ms)).arg(policy.refusals).arg(policy.within_ms);
        script.arg(policy.mute_ms).arg(policy.mute_ms_max).arg(QUIET_FACTOR);
        Ok(self.redis.script("refused", &script).await?)
    }

    async fn take_back(&self, user: &UserId, text_key: u64, slow_mode_in: Option<&RoomId>) -> Result<()> {
        let mut command = redis::cmd("DEL");
        command.arg(text(&self.redis, user, text_key));
        if let Some(room) = slow_mode_in {
            command.arg(slow_mode(&self.redis, user, room));
        }
        Ok(self.redis.command("take_back", &command).await?)
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        allow(&self.redis, &limit(key), Steps::of(rate, 1), self.redis.at_ms(now_ms)).await
    }

    async fn forget(&self, key: LimitKey<'_>) -> Result<()> {
        let command = redis::cmd("DEL").arg(self.redis.key(&limit(key))).clone();
        Ok(self.redis.command("forget", &command).await?)
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        let mut command = redis::cmd("DEL");
        command.arg(self.redis.key(&format!("mute:{{{user}}}"))).arg(self.redis.key(&format!("strikes:{{{user}}}")));
        Ok(self.redis.command("reset_user", &command).await?)
    }
}
