//! [`Gate`] on Redis.

use std::sync::LazyLock;

use async_trait::async_trait;
use model::UserId;
use redis::Script;
use redis_client::Redis;

use super::lease::{Leases, Steps, allow};
use crate::gate::{Answer, CoolDown, Gate, Knock, LimitKey, QUIET_FACTOR, Scope};
use crate::{Rate, Result, StateError};

static KNOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("knock.lua"))));
static REFUSED: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("gcra.lua"), include_str!("refused.lua"))));

/// The key of what the deployment takes.
const ALL: &str = "rate-of-all";

/// Rates, duplicates and cool-downs of a deployment.
///
/// Keys (after the namespace; a user's are in one slot):
///
/// | key | value | goes |
/// |---|---|---|
/// | `rate:{user}`, `slow:{user}:room`, `room-rate:{room}`, `rate-of-all`, `limit:{scope:id}` | a TAT in Unix microseconds | when it is past |
/// | `text:{user}:hash` | `from:until`, Unix milliseconds | at its end |
/// | `mute:{user}` | the last cool-down, `from:until` | when it no longer doubles |
/// | `strikes:{user}` | a list of refusals, `from:until` | when they no longer count |
///
/// A knock costs one round trip, and one more for the first of each chunk that is leased. Where rates are so low that
/// they are leased singly, a refused one costs another for each that it gives back.
pub struct RedisGate {
    redis: Redis,
    leases: Leases,
}

/// What the room and the deployment said before the user's own limits are asked.
enum Outer {
    Admitted,
    Refused(Scope, u64),
}

impl RedisGate {
    /// A gate over this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { leases: Leases::new(redis.clone()), redis }
    }

    /// Takes one of the room's and one of the deployment's, or neither.
    async fn take_outer(&self, room_key: &str, knock: &Knock<'_>, now_ms: i64) -> Result<Outer> {
        if let Err(wait_ms) = self.leases.take(room_key, knock.room_rate, now_ms).await? {
            return Ok(Outer::Refused(Scope::Room, wait_ms));
        }
        let global = self.leases.take(ALL, knock.global_rate, now_ms).await;
        if !matches!(global, Ok(Ok(()))) {
            self.leases.give_back(room_key, knock.room_rate, now_ms).await;
        }
        Ok(global?.map_or_else(|wait_ms| Outer::Refused(Scope::Global, wait_ms), |()| Outer::Admitted))
    }

    async fn ask_user(&self, knock: &Knock<'_>, outer: &Outer, now_ms: i64) -> Result<Answer> {
        let (user, room) = (knock.user.as_str(), knock.room.as_str());
        let mut script = KNOCK.key(self.redis.key(&format!("mute:{{{user}}}")));
        script.key(self.redis.key(&format!("rate:{{{user}}}")));
        script.key(self.redis.key(&format!("slow:{{{user}}}:{room}")));
        script.key(text(&self.redis, knock.user, knock.text_key));
        let own = Steps::of(knock.user_rate, 1);
        let slow = knock.slow_mode.map_or(Steps { interval_us: 0, window_us: 0 }, |rate| Steps::of(rate, 1));
        let (code, wait_ms) = match outer {
            Outer::Admitted => (0, 0),
            Outer::Refused(scope, wait_ms) => (code(*scope), *wait_ms),
        };
        script.arg(now_ms).arg(own.interval_us).arg(own.window_us).arg(slow.interval_us).arg(slow.window_us);
        script.arg(code).arg(wait_ms).arg(knock.duplicate_window_ms);
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

fn answer(code: u8, retry_after_ms: u64) -> Result<Answer> {
    let limited = |scope| Answer::Limited { scope, retry_after_ms };
    Ok(match code {
        0 => Answer::Admitted,
        1 => Answer::CoolingDown { retry_after_ms },
        2 => limited(Scope::User),
        3 => limited(Scope::SlowMode),
        4 => limited(Scope::Room),
        5 => limited(Scope::Global),
        6 => Answer::Duplicate { retry_after_ms },
        _ => return Err(StateError(format!("an answer of no meaning: {code}"))),
    })
}

/// The key of a text that a user said.
fn text(redis: &Redis, user: &UserId, text_key: u64) -> String {
    redis.key(&format!("text:{{{user}}}:{text_key:x}"))
}

#[async_trait]
impl Gate for RedisGate {
    async fn knock(&self, knock: Knock<'_>) -> Result<Answer> {
        let now_ms = self.redis.at_ms(knock.now_ms);
        let room_key = format!("room-rate:{{{}}}", knock.room.as_str());
        let outer = self.take_outer(&room_key, &knock, now_ms).await?;
        let answer = self.ask_user(&knock, &outer, now_ms).await;
        // When the answer is lost, what was taken stays taken: the script may have admitted it.
        if matches!((&outer, &answer), (Outer::Admitted, Ok(answer)) if *answer != Answer::Admitted) {
            self.leases.give_back(&room_key, knock.room_rate, now_ms).await;
            self.leases.give_back(ALL, knock.global_rate, now_ms).await;
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

    async fn unsay(&self, user: &UserId, text_key: u64) -> Result<()> {
        let command = redis::cmd("DEL").arg(text(&self.redis, user, text_key)).clone();
        Ok(self.redis.command("unsay", &command).await?)
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        let name = format!("limit:{{{}:{}}}", key.scope, key.id);
        allow(&self.redis, &name, Steps::of(rate, 1), self.redis.at_ms(now_ms)).await
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        let mut command = redis::cmd("DEL");
        command.arg(self.redis.key(&format!("mute:{{{user}}}"))).arg(self.redis.key(&format!("strikes:{{{user}}}")));
        Ok(self.redis.command("reset_user", &command).await?)
    }
}
