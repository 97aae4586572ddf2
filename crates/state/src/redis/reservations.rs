//! [`Reservations`] on Redis.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use model::{Snowflake, UserId};
use redis::Script;
use redis_client::Redis;
use tokio::time::{Instant, sleep};

use crate::gcra::CLOCK_JITTER_MS;
use crate::reservations::{FirstAnswer, IN_FLIGHT_MS, Reservations, Reserved};
use crate::{Result, StateError};

/// How long an answer is remembered: longer than a client goes on trying. Older ones are in the store.
const ANSWER_MS: u64 = 600_000;
/// How often one who waits looks: the answer may come from another node. Doubles from the first to the second.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("finish.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// Recent answers and what is in flight, in a deployment.
///
/// One key for each of a user's, `sent:{user}:client_msg_id`: `flight:<id>:<since_ms>` for [`IN_FLIGHT_MS`], then
/// `answer:<id>:<0 or 1>:<created_at_ms>` for ten minutes. Time bounds how many there are.
pub struct RedisReservations {
    redis: Redis,
}

/// What a key holds.
enum Held {
    Answer(FirstAnswer),
    InFlight(Snowflake),
}

impl RedisReservations {
    /// Reservations in this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn key(&self, user: &UserId, client_msg_id: &str) -> String {
        self.redis.key(&format!("sent:{{{user}}}:{client_msg_id}"))
    }

    async fn look(&self, key: &str) -> Result<Option<Held>> {
        let there: Option<String> = self.redis.command("wait", redis::cmd("GET").arg(key)).await?;
        there.map(|text| parse(&text)).transpose()
    }
}

fn parse(text: &str) -> Result<Held> {
    let parts: Vec<_> = text.split(':').collect();
    let held = match parts[..] {
        ["flight", id, _] => id.parse().ok().map(|id| Held::InFlight(Snowflake(id))),
        ["answer", id, pending, created] => answer(id, pending, created).map(Held::Answer),
        _ => None,
    };
    held.ok_or_else(|| StateError("a reservation that cannot be read".to_owned()))
}

fn answer(id: &str, pending: &str, created: &str) -> Option<FirstAnswer> {
    Some(FirstAnswer {
        id: Snowflake(id.parse().ok()?),
        pending_review: pending == "1",
        created_at_ms: created.parse().ok()?,
    })
}

#[async_trait]
impl Reservations for RedisReservations {
    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved> {
        let mut script = RESERVE.key(self.key(user, client_msg_id));
        script.arg(self.redis.at_ms(now_ms)).arg(id.0).arg(IN_FLIGHT_MS).arg(CLOCK_JITTER_MS);
        let there: Option<String> = self.redis.script("reserve", &script).await?;
        Ok(match there.map(|text| parse(&text)).transpose()? {
            None => Reserved::NewEverywhere,
            Some(Held::Answer(answer)) => Reserved::Known(answer),
            Some(Held::InFlight(id)) => Reserved::InFlight(id),
        })
    }

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        let FirstAnswer { id, pending_review, created_at_ms } = answer;
        let mut script = FINISH.key(self.key(user, client_msg_id));
        script.arg(format!("answer:{}:{}:{created_at_ms}", id.0, u8::from(pending_review))).arg(ANSWER_MS);
        Ok(self.redis.script("finish", &script).await?)
    }

    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()> {
        let mut script = RELEASE.key(self.key(user, client_msg_id));
        script.arg(id.0);
        Ok(self.redis.script("release", &script).await?)
    }

    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>> {
        let key = self.key(user, client_msg_id);
        let deadline = Instant::now() + timeout.min(Duration::from_millis(IN_FLIGHT_MS.unsigned_abs()));
        let mut pause = LOOK.0;
        loop {
            match self.look(&key).await? {
                None => return Ok(None),
                Some(Held::Answer(answer)) => return Ok(Some(answer)),
                Some(Held::InFlight(_)) if Instant::now() >= deadline => return Ok(None),
                Some(Held::InFlight(_)) => sleep(pause.min(deadline - Instant::now())).await,
            }
            pause = (pause * 2).min(LOOK.1);
        }
    }
}
