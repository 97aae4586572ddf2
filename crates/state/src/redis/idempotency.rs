//! [`Reservations`] on Redis.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use model::{FirstAnswer, Snowflake, UserId};
use redis::Script;
use redis_client::Redis;
use tokio::time::{Instant, sleep};

use crate::gcra::CLOCK_JITTER_MS;
use crate::idempotency::{Finished, IN_FLIGHT_MS, Reservations, Reserved};
use crate::{Result, StateError};

/// How long an answer is remembered: longer than a client retries. Older ones are in the store.
const ANSWER_MS: u64 = 600_000;
/// The interval at which a waiting caller polls, since another node may answer. Doubles from the first to the second.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("idempotency_reserve.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("idempotency_finish.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("idempotency_release.lua")));

/// Recent answers and reservations in flight of a deployment.
///
/// The key `sent:{user}:client_msg_id` holds `flight:<id>:<since_ms>` for [`IN_FLIGHT_MS`], then
/// `answer:<id>:<0 or 1>:<created_at_ms>` for ten minutes. Time bounds their number.
pub struct RedisReservations {
    redis: Redis,
}

/// The value of a key.
enum KeyState {
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

    async fn poll(&self, key: &str) -> Result<Option<KeyState>> {
        let there: Option<String> = self.redis.command("wait", redis::cmd("GET").arg(key)).await?;
        there.map(|text| parse(&text)).transpose()
    }
}

fn parse(text: &str) -> Result<KeyState> {
    let parts: Vec<_> = text.split(':').collect();
    let state = match parts[..] {
        ["flight", id, _] => id.parse().ok().map(|id| KeyState::InFlight(Snowflake(id))),
        ["answer", id, pending, created] => answer(id, pending, created).map(KeyState::Answer),
        _ => None,
    };
    state.ok_or_else(|| StateError("a reservation that cannot be read".to_owned()))
}

fn write(FirstAnswer { id, pending_review, created_at_ms }: FirstAnswer) -> String {
    format!("answer:{}:{}:{created_at_ms}", id.0, u8::from(pending_review))
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
            Some(KeyState::Answer(answer)) => Reserved::Known(answer),
            Some(KeyState::InFlight(id)) => Reserved::InFlight(id),
        })
    }

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<Finished> {
        let mut script = FINISH.key(self.key(user, client_msg_id));
        script.arg(write(answer)).arg(ANSWER_MS).arg(answer.id.0);
        let there: Option<String> = self.redis.script("finish", &script).await?;
        Ok(match there.map(|text| parse(&text)).transpose()? {
            None => Finished::First,
            Some(KeyState::Answer(first)) if first.id == answer.id => Finished::First,
            Some(KeyState::Answer(first)) => Finished::Known(first),
            Some(KeyState::InFlight(_)) => Finished::TakenOver,
        })
    }

    async fn settle(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(user, client_msg_id)).arg(write(answer)).arg("PX").arg(ANSWER_MS);
        Ok(self.redis.command("settle", &command).await?)
    }

    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()> {
        let mut script = RELEASE.key(self.key(user, client_msg_id));
        script.arg(id.0);
        Ok(self.redis.script("release", &script).await?)
    }

    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>> {
        let key = self.key(user, client_msg_id);
        let deadline = Instant::now() + timeout.min(Duration::from_millis(IN_FLIGHT_MS.unsigned_abs()));
        let mut pause = POLL_INTERVAL.0;
        loop {
            match self.poll(&key).await? {
                None => return Ok(None),
                Some(KeyState::Answer(answer)) => return Ok(Some(answer)),
                Some(KeyState::InFlight(_)) if Instant::now() >= deadline => return Ok(None),
                Some(KeyState::InFlight(_)) => sleep(pause.min(deadline - Instant::now())).await,
            }
            pause = (pause * 2).min(POLL_INTERVAL.1);
        }
    }
}
