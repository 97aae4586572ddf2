//! Posts the calls of webhooks out: at least once, each room's in order, again with back-off, and put aside in the end.
//!
//! `ingest` queues the calls in the store; any node posts them. A call is leased by a change of its version, so two nodes do
//! not post it at once. A receiver that never reads holds up its own calls alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ingest::Webhooks;
use ingest::webhooks::{CALL, Call, DEAD_LETTER, Subscription};
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use outbound::{guard, sign};
use reqwest::Client;
use store::{Document, DocumentQuery, Store, StoreError};
use tokio::task::JoinSet;

use crate::retry_ms;

/// Calls of one subscription that are looked at together.
const PAGE: usize = 1_024;
/// Rooms of one subscription whose calls are under way at once.
const ROOMS_AT_ONCE: usize = 8;
/// How often the queue is looked at when nothing rings.
const POLL: Duration = Duration::from_millis(250);
/// Time to record an outcome, beside the call itself, in milliseconds.
const RECORD_MS: i64 = 5_000;
/// The longest wait of a call, in milliseconds: a retry's, and some time for recording it.
const WAIT_MS_MAX: i64 = 3_600_000 + 120_000;
/// Longest error kept, in characters.
const ERROR_CHARS_MAX: usize = 200;

/// Posts what is queued.
#[derive(Clone)]
pub struct Subscriptions {
    settings: settings::Webhooks,
    client: Client,
    webhooks: Arc<Webhooks>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Subscriptions {
    /// That does not run yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(
        settings: settings::Webhooks,
        webhooks: Arc<Webhooks>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let client = guard::client(settings.allow_private, Duration::from_secs(settings.timeout_s.into()))?;
        Ok(Self { settings, client, webhooks, store, clock, metrics })
    }

    /// Posts calls until it is dropped.
    pub async fn run(self) {
        let (mut rounds, mut running) = (JoinSet::new(), HashSet::new());
        loop {
            for subscription in self.webhooks.subscriptions().iter() {
                if running.insert(subscription.id) {
                    let (this, subscription) = (self.clone(), subscription.clone());
                    rounds.spawn(async move {
                        // The store has logged and counted its failure; the next round tries again.
                        let _ = this.round(&subscription).await;
                        subscription.id
                    });
                }
            }
            tokio::select! {
                Some(done) = rounds.join_next(), if !rounds.is_empty() => match done {
                    Ok(id) => drop(running.remove(&id)),
                    // A round that panicked: which one is not known, so all may begin anew.
                    Err(_) => running.clear(),
                },
                () = self.webhooks.queued.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            // A subscription without calls would spin otherwise.
            if self.webhooks.subscriptions().is_empty() || rounds.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Posts what is due for one subscription, each room's calls one after the other.
    async fn round(&self, subscription: &Subscription) -> Result<(), StoreError> {
        let state = subscription.id.to_string();
        let query = DocumentQuery { kind: CALL, state: Some(&state), limit: PAGE, ..DocumentQuery::default() };
        let mut rooms: BTreeMap<Option<RoomId>, Vec<Document>> = BTreeMap::new();
        for call in self.store.documents(query).await? {
            rooms.entry(call.room_id.clone()).or_default().push(call);
        }
        if rooms.is_empty() {
            tokio::time::sleep(POLL).await;
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        rooms.retain(|_, calls| calls.first().is_some_and(|first| is_due(first, now_ms)));
        if rooms.is_empty() {
            tokio::time::sleep(POLL).await;
            return Ok(());
        }
        let rooms = futures::stream::iter(rooms.into_values());
        rooms.for_each_concurrent(ROOMS_AT_ONCE, |calls| self.post_in_order(subscription, calls)).await;
        Ok(())
    }

    async fn post_in_order(&self, subscription: &Subscription, calls: Vec<Document>) {
        for call in calls {
            if !matches!(self.post(subscription, call).await, Ok(true)) {
                return;
            }
        }
    }

    /// Posts one call; false when the room's next one has to wait.
    async fn post(&self, subscription: &Subscription, document: Document) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let Ok(call) = serde_json::from_str::<Call>(&document.body) else {
            self.store.remove_document(CALL, &document.id).await?;
            return Ok(true);
        };
        let leased = Document { due_ms: now_ms + i64::from(self.settings.timeout_s) * 1_000 + RECORD_MS, ..document };
        if !self.store.replace_document(&leased).await? {
            return Ok(false);
        }
        let leased = Document { version: leased.version + 1, ..leased };
        match self.send(subscription, &call).await {
            Ok(()) => {
                count(&self.metrics.webhook_calls, "outcome", "delivered");
                self.store.remove_document(CALL, &leased.id).await?;
                Ok(true)
            }
            Err(error) => {
                let attempts = call.attempts + 1;
                let error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
                let failed = Call { attempts, error, ..call };
                let body = serde_json::to_string(&failed).unwrap_or_default();
                if attempts >= self.settings.attempts_max {
                    count(&self.metrics.webhook_calls, "outcome", "dead");
                    tracing::warn!(webhook = %subscription.id, call = leased.id, attempts, "put a webhook call aside");
                    let letter = Document { kind: DEAD_LETTER, body, version: 0, ..leased.clone() };
                    self.store.add_document(&letter).await?;
                    self.store.remove_document(CALL, &leased.id).await?;
                    return Ok(true);
                }
                count(&self.metrics.webhook_calls, "outcome", "failed");
                let due_ms = self.clock.now_ms() + retry_ms(failed.attempts - 1, rand::random());
                self.store.replace_document(&Document { due_ms, body, ..leased }).await?;
                Ok(false)
            }
        }
    }

    async fn send(&self, subscription: &Subscription, call: &Call) -> Result<(), String> {
        guard::check_url(&subscription.url, self.settings.allow_private).map_err(|error| error.to_string())?;
        let now_ms = self.clock.now_ms();
        let previous =
            subscription.previous.iter().filter(|(_, until_ms)| *until_ms > now_ms).map(|(secret, _)| secret);
        let keys: Vec<_> =
            std::iter::once(&subscription.secret).chain(previous).map(|secret| sign::key(secret)).collect();
        let body = call.payload.to_string();
        let headers = sign::headers(&keys, &call.message_id, now_ms / 1_000, body.as_bytes());
        let answer = self.client.post(&subscription.url).headers(headers).body(body).send().await;
        match answer.map_err(|error| error.without_url().to_string())?.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}

/// Whether a call may be posted. One that nobody has attempted always may; one that waits longer than any retry or lease does
/// was put off by a clock that has stepped back since.
fn is_due(call: &Document, now_ms: i64) -> bool {
    call.version == 0 || call.due_ms <= now_ms || call.due_ms > now_ms + WAIT_MS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_stops_no_queue() {
        let call = |version, due_ms| Document { version, due_ms, ..Document::default() };
        const NOW_MS: i64 = 1_000_000_000;
        assert!(is_due(&call(0, NOW_MS + 60_000), NOW_MS), "never attempted");
        assert!(is_due(&call(1, NOW_MS), NOW_MS));
        assert!(!is_due(&call(1, NOW_MS + 1), NOW_MS), "leased, or to be repeated later");
        assert!(!is_due(&call(1, NOW_MS + 3_600_000), NOW_MS));
        assert!(is_due(&call(1, NOW_MS + 2 * 3_600_000), NOW_MS), "nothing waits for two hours");
    }
}
