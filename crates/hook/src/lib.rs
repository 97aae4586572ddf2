//! The notification hook: tells a web service of messages to people who are not here, so that it can push to
//! their phones.
//!
//! Calls are noted with the message, in the same transaction (the outbox in `store`), so none is lost: [`run`] takes
//! those that are due, looks at that moment who is offline, and posts one signed call per message, or none when
//! everybody is here. What fails is tried again after 2, 4, 8 … seconds, up to an hour, with the same
//! `webhook-id`; after `attempts_max` it is given up, counted and logged. Started by the server's wiring when a
//! hook is configured; stops by being dropped. Never delays a message, never follows a redirect.

#![forbid(unsafe_code)]

pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, ChatError};
use futures::StreamExt;
use model::chat::{Message, MsgType, Recipient};
use model::metrics::count;
use model::{Clock, Metrics, UserId, rfc3339_ms};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect};
use serde_json::{Value, json};
use store::StoreError;
use store::chat::{ChatStore, OutboxCall};

/// Calls under way at once.
const PARALLEL: usize = 8;
/// Calls taken from the outbox at once.
const PAGE: usize = 64;
/// What noting the outcome of a page of calls may take beside the calls, in milliseconds.
const SETTLE_MS: i64 = 10_000;
/// How often the outbox is looked at while it is empty.
const LOOK: Duration = Duration::from_millis(500);
/// After a start people are given so long to come back before they count as offline.
const GRACE: Duration = Duration::from_secs(5);
/// Longest wait between two attempts, in milliseconds.
const WAIT_MS_MAX: u64 = 3_600_000;

/// The hook, as configured.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Where to post to.
    pub url: String,
    /// Signs calls; see [`sign::key`].
    pub secret: String,
    /// Whether calls carry what messages say. Encrypted ones never do.
    pub include_content: bool,
    /// How long a call may take, in seconds.
    pub timeout_s: u32,
    /// How often a call is tried.
    pub attempts_max: u32,
}

/// What the hook works with.
pub struct Hook {
    settings: HookSettings,
    key: Vec<u8>,
    client: Client,
    store: Arc<dyn ChatStore>,
    chat: Arc<Chat>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Why a call did not arrive.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("answered {0}")]
    Status(reqwest::StatusCode),
}

/// Why a step of the outbox was not done. The parts have logged it; the next look tries again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Presence(#[from] ChatError),
}

impl Hook {
    /// A hook that is not running yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(
        settings: HookSettings,
        store: Arc<dyn ChatStore>,
        chat: Arc<Chat>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        // The process may have chosen its provider already; it is the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .timeout(Duration::from_secs(settings.timeout_s.into()))
            .redirect(redirect::Policy::none())
            .user_agent("barrage")
            .build()?;
        Ok(Self { key: sign::key(&settings.secret), settings, client, store, chat, clock, metrics })
    }

    /// Makes calls until it is dropped.
    pub async fn run(self) {
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + GRACE, LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            while let Ok(PAGE) = self.make_due_calls().await {}
        }
    }

    /// Makes the calls that are due, at most a page of them; how many there were. One that cannot be noted as made
    /// ends the page, so that a store that is away is not a reason to call for ever.
    async fn make_due_calls(&self) -> Result<usize, StepError> {
        let due = self.store.outbox_due(self.clock.now_ms(), self.lease_ms(), PAGE).await?;
        let count = due.len();
        let mut calls = futures::stream::iter(due).map(|call| self.make(call)).buffer_unordered(PARALLEL);
        while let Some(made) = calls.next().await {
            made?;
        }
        Ok(count)
    }

    /// How long a page of calls takes at most, with some time to note what became of them.
    fn lease_ms(&self) -> i64 {
        i64::from(self.settings.timeout_s) * 1_000 * (PAGE / PARALLEL) as i64 + SETTLE_MS
    }

    async fn make(&self, call: OutboxCall) -> Result<(), StepError> {
        let id = call.message.id;
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
                tracing::warn!(message_id = %id, %error, attempts = call.attempts + 1, "the notification hook gave up a call");
                Ok(self.store.outbox_done(&[id]).await?)
            }
            Err(error) => {
                count(&self.metrics.hook_calls, "outcome", "failed");
                tracing::debug!(message_id = %id, %error, "a call of the notification hook failed; it is tried again");
                let wait_ms = wait_ms(call.attempts, rand::random());
                Ok(self.store.outbox_retry(id, self.clock.now_ms() + wait_ms).await?)
            }
        }
    }

    async fn post(&self, message: &Message, offline: &[UserId]) -> Result<(), CallError> {
        let body = body(message, offline, self.settings.include_content).to_string();
        let headers = self.headers(&format!("msg_{}", message.id), body.as_bytes());
        let answer = self.client.post(&self.settings.url).headers(headers).body(body).send().await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(CallError::Status(status)),
        }
    }

    fn headers(&self, id: &str, body: &[u8]) -> HeaderMap {
        let timestamp_s = self.clock.now_ms() / 1_000;
        let named = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp_s.to_string()),
            ("webhook-signature", sign::signature(&self.key, id, timestamp_s, body)),
        ];
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in named {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

/// What a call says.
fn body(message: &Message, offline: &[UserId], include_content: bool) -> Value {
    let (to_user, group_id) = match &message.to {
        Recipient::User(user) => (Some(user), None),
        Recipient::Group(group) => (None, Some(group)),
    };
    let content = (include_content && message.msg_type != MsgType::Encrypted).then_some(&message.content);
    let mut told = json!({
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
    if let Value::Object(fields) = &mut told {
        fields.retain(|_, value| !value.is_null());
    }
    json!({ "type": "message.offline", "message": told, "offline_users": offline })
}

/// How long to wait after an attempt that failed, `attempts` others before it: 2 s, doubling up to
/// [`WAIT_MS_MAX`], of which `chance` (0–65,535) takes away up to a half so that calls do not come in waves.
fn wait_ms(attempts: u32, chance: u16) -> i64 {
    let full = 2_000u64.saturating_mul(1u64.checked_shl(attempts).unwrap_or(u64::MAX)).min(WAIT_MS_MAX);
    let wait = full - full / 2 * u64::from(chance) / u64::from(u16::MAX);
    i64::try_from(wait).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_differ() {
        assert_eq!((wait_ms(0, 0), wait_ms(1, 0), wait_ms(3, 0)), (2_000, 4_000, 16_000));
        assert_eq!((wait_ms(0, u16::MAX), wait_ms(3, u16::MAX)), (1_000, 8_000));
        assert_eq!((wait_ms(30, 0), wait_ms(u32::MAX, 0)), (3_600_000, 3_600_000));
    }
}
