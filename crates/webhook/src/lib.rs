//! The notification webhook: tells a web service about messages to offline people, so that it can push to their phones.
//!
//! The store notes a call in the same transaction as its message (the outbox in `store`), so no call is lost.
//! [`Webhook::run`] reads the calls that are due and checks who is offline at that moment. It posts one signed call
//! per message, or none when everybody is online. A failed call repeats after 2, 4, 8 … seconds, up to an hour, with
//! the same `webhook-id`. After `attempts_max` the webhook drops the call, counts it and logs it.
//!
//! The server starts it when a URL is configured; dropping it stops it. It never delays a message and never follows a
//! redirect.

#![forbid(unsafe_code)]

mod subscriptions;

pub use outbound::sign;

pub use subscriptions::Subscriptions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat::{Chat, ChatError};
use futures::StreamExt;
use model::chat::{Message, MsgType, Recipient};
use model::metrics::count;
use model::{Clock, Metrics, UserId, rfc3339_ms};
use outbound::guard;
use reqwest::Client;
use serde_json::{Value, json};
use store::StoreError;
use store::chat::{ChatStore, OutboxCall};

/// Calls in flight at once.
const CALLS_IN_FLIGHT: usize = 8;
/// Calls read from the outbox at once.
const PAGE: usize = 64;
/// Time to record the outcome of a page of calls, beside the calls themselves, in milliseconds.
const RECORD_MS: i64 = 10_000;
/// How often an empty outbox is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long people may take to reconnect after a start before they count as offline.
const STARTUP_GRACE: Duration = Duration::from_secs(5);
/// Longest delay between two attempts, in milliseconds.
const RETRY_MS_MAX: u64 = 3_600_000;

/// Makes the calls of the outbox.
pub struct Webhook {
    settings: settings::Hook,
    key: Vec<u8>,
    client: Client,
    store: Arc<dyn ChatStore>,
    chat: Arc<Chat>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("answered {0}")]
    Status(reqwest::StatusCode),
}

/// Why the outbox could not be processed. The failing part has logged it; the next poll tries again.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Presence(#[from] ChatError),
}

impl Webhook {
    /// A webhook that does not run yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(
        settings: settings::Hook,
        store: Arc<dyn ChatStore>,
        chat: Arc<Chat>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        // The operator named the address, so it may be private.
        let client = guard::client(true, Duration::from_secs(settings.timeout_s.into()))?;
        Ok(Self { key: sign::key(&settings.secret), settings, client, store, chat, clock, metrics })
    }

    /// Makes calls until it is dropped.
    pub async fn run(self) {
        let mut poll = tokio::time::interval_at(tokio::time::Instant::now() + STARTUP_GRACE, POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            poll.tick().await;
            while let Ok(PAGE) = self.make_due_calls().await {}
        }
    }

    /// Makes the calls that are due, at most a page; returns how many there were. A call whose outcome cannot be
    /// recorded ends the page: without its store the webhook would repeat that call for ever.
    async fn make_due_calls(&self) -> Result<usize, OutboxError> {
        let until = Instant::now() + Duration::from_millis(self.lease_ms().unsigned_abs());
        let due = self.store.outbox_due(self.clock.now_ms(), self.lease_ms(), PAGE).await?;
        let count = due.len();
        let mut calls =
            futures::stream::iter(due).map(|call| self.process(call, until)).buffer_unordered(CALLS_IN_FLIGHT);
        while let Some(outcome) = calls.next().await {
            outcome?;
        }
        Ok(count)
    }

    /// How long a page of calls may take, with the time to record their outcomes.
    fn lease_ms(&self) -> i64 {
        i64::from(self.settings.timeout_s) * 1_000 * (PAGE / CALLS_IN_FLIGHT) as i64 + RECORD_MS
    }

    /// Makes a call, unless its lease is over: then another node has it, and this one was frozen meanwhile.
    async fn process(&self, call: OutboxCall, until: Instant) -> Result<(), OutboxError> {
        let id = call.message.id;
        if Instant::now() >= until {
            count(&self.metrics.hook_calls, "outcome", "left_to_others");
            return Ok(());
        }
        let offline = self.chat.offline(&call.recipients).await?;
        if offline.is_empty() {
            count(&self.metrics.hook_calls, "outcome", "nobody_offline");
            return Ok(self.store.outbox_done(&[id]).await?);
        }
        match self.post(&call.message, &offline).await {
            Ok(()) => {
                count(&self.metrics.hook_calls, "outcome", "delivered");
                Ok(self.store.outbox_done(&[id]).await?)
            }
            Err(error) if call.attempts + 1 >= self.settings.attempts_max => {
                count(&self.metrics.hook_calls, "outcome", "given_up");
                tracing::warn!(message_id = %id, %error, attempts = call.attempts + 1, "gave up a webhook call after its last attempt");
                Ok(self.store.outbox_done(&[id]).await?)
            }
            Err(error) => {
                count(&self.metrics.hook_calls, "outcome", "failed");
                tracing::debug!(message_id = %id, %error, "a webhook call failed and will be repeated");
                let delay_ms = retry_ms(call.attempts, rand::random());
                Ok(self.store.outbox_retry(id, self.clock.now_ms() + delay_ms).await?)
            }
        }
    }

    async fn post(&self, message: &Message, offline: &[UserId]) -> Result<(), CallError> {
        let body = body(message, offline, self.settings.include_content).to_string();
        let (id, timestamp_s) = (format!("msg_{}", message.id), self.clock.now_ms() / 1_000);
        let headers = sign::headers(std::slice::from_ref(&self.key), &id, timestamp_s, body.as_bytes());
        let answer = self.client.post(&self.settings.url).headers(headers).body(body).send().await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(CallError::Status(status)),
        }
    }
}

/// The body of a call.
fn body(message: &Message, offline: &[UserId], include_content: bool) -> Value {
    let (to_user, group_id) = match &message.to {
        Recipient::User(user) => (Some(user), None),
        Recipient::Group(group) => (None, Some(group)),
    };
    let content = (include_content && message.msg_type != MsgType::Encrypted).then_some(&message.content);
    let mut fields = json!({
        "id": message.id,
        "conversation_id": message.conversation_id,
        "from_user": message.from_user,
        "from_name": message.from_name,
        "to_user": to_user,
        "group_id": group_id,
        "content": content,
        "msg_type": message.msg_type,
        "created_at": rfc3339_ms(message.created_at_ms),
    });
    if let Value::Object(fields) = &mut fields {
        fields.retain(|_, value| !value.is_null());
    }
    json!({ "type": "message.offline", "message": fields, "offline_users": offline })
}

/// The delay before the next attempt after `attempts` earlier ones failed: 2 s, doubling up to [`RETRY_MS_MAX`].
/// `chance` (0–65,535) takes away up to a half, so that calls do not come in waves.
fn retry_ms(attempts: u32, chance: u16) -> i64 {
    let full = 2_000u64.saturating_mul(1u64.checked_shl(attempts).unwrap_or(u64::MAX)).min(RETRY_MS_MAX);
    let wait = full - full / 2 * u64::from(chance) / u64::from(u16::MAX);
    i64::try_from(wait).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_an_hour_and_vary() {
        assert_eq!((retry_ms(0, 0), retry_ms(1, 0), retry_ms(3, 0)), (2_000, 4_000, 16_000));
        assert_eq!((retry_ms(0, u16::MAX), retry_ms(3, u16::MAX)), (1_000, 8_000));
        assert_eq!((retry_ms(30, 0), retry_ms(u32::MAX, 0)), (3_600_000, 3_600_000));
    }
}
