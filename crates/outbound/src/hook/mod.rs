//! The moderation hook: asks a web service about comments before they are published.
//!
//! Comments are gathered for at most 5 ms or up to `batch_max`, and posted as one signed document. A caller waits at most for
//! the budget; what comes later is counted and ignored. After several failures in a row the [`breaker`] asks nobody for a
//! while. Answers that name a lifetime are remembered by the cleaned text. A [`dialect`] speaks a provider's own language
//! instead, unsigned by us, and with a call for each comment where the provider takes no lists. `ingest` calls [`Hook::ask`]
//! and decides what the answer, or none, means in the room.

mod breaker;
mod dialect;
mod provider_sign;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hashlink::LruCache;
use model::metrics::count;
use model::{Clock, Metrics, Snowflake};
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::breaker::{Breaker, Pass};
use self::dialect::Call;
pub use self::dialect::{Dialect, DialectError};
pub use self::wire::{Item, ItemKind, ItemUser, Opinion};
use crate::{guard, sign};

/// How long a batch waits for company.
const GATHER: Duration = Duration::from_millis(5);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Batches under way at once.
const BATCHES_MAX: usize = 64;
/// Comments that wait for a batch.
const WAITING_MAX: usize = 16_384;
/// Answers remembered.
const CACHE_MAX: usize = 65_536;
/// The longest that an answer is remembered, in seconds: a day.
const TTL_S_MAX: u32 = 86_400;
/// How long an answer is listened for after the budget, to count it.
const LATE: Duration = Duration::from_secs(2);

/// The hook, as configured.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Where to post to.
    pub url: Url,
    /// The language of that service; `None` is our own.
    pub dialect: Option<Dialect>,
    /// Signs calls; two, separated by a space, while one is replaced. In a dialect it is the provider's key.
    pub secret: String,
    /// How long a comment waits for an answer.
    pub budget: Duration,
    /// Comments of one call.
    pub batch_max: usize,
    /// Whether the URL may lead into a private network.
    pub allow_private: bool,
    /// Failures in a row until nothing is asked for a while.
    pub breaker_failures: u32,
    /// The first pause, in milliseconds; it doubles.
    pub breaker_probe_ms: u32,
}

/// Why there is no answer about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not come within the budget.
    Timeout,
    /// The service cannot be reached, or refused.
    Failed,
    /// What it said is no answer.
    Invalid,
    /// The answer says nothing about this item.
    Missing,
    /// Too many failures before.
    Breaker,
    /// Too much waits already.
    Overloaded,
}

impl NoAnswer {
    /// The label of the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
            Self::Breaker => "breaker",
            Self::Overloaded => "overloaded",
        }
    }
}

struct Waiting {
    item: Item,
    deadline: Instant,
    answer: oneshot::Sender<Result<Opinion, NoAnswer>>,
}

/// Asks the service.
pub struct Hook {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    settings: HookSettings,
    keys: Vec<Vec<u8>>,
    client: Client,
    breaker: Mutex<Breaker>,
    /// Opinions by cleaned text, each with its end.
    cache: Mutex<LruCache<Box<str>, (Opinion, Instant)>>,
    calls: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Hook {
    /// Starts it; it ends when it is dropped. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn start(settings: HookSettings, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = guard::client(settings.allow_private, settings.budget + LATE)?;
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let breaker = Breaker::new(settings.breaker_failures, i64::from(settings.breaker_probe_ms));
        let shared = Arc::new(Shared {
            keys: settings.secret.split_whitespace().map(sign::key).collect(),
            client,
            breaker: Mutex::new(breaker),
            cache: Mutex::new(LruCache::new(CACHE_MAX)),
            calls: Arc::new(Semaphore::new(BATCHES_MAX)),
            clock,
            metrics,
            settings,
        });
        tokio::spawn(gather(waiting, shared.clone()));
        Ok(Self { queue, shared })
    }

    /// Whether the service is told what the room said before: providers in their own languages are not.
    #[must_use]
    pub fn wants_context(&self) -> bool {
        self.shared.settings.dialect.is_none()
    }

    /// The opinion about an item, within the budget.
    ///
    /// # Errors
    /// Why there is none; counted.
    pub async fn ask(&self, item: Item) -> Result<Opinion, NoAnswer> {
        let metrics = &self.shared.metrics;
        if let Some(known) = self.shared.cached(&item.text) {
            metrics.hook_cache_hits.inc();
            return Ok(known);
        }
        metrics.hook_cache_misses.inc();
        let outcome = self.ask_service(item).await;
        if let Err(reason) = outcome {
            count(&metrics.hook_fallbacks, "reason", reason.as_str());
        }
        outcome
    }

    async fn ask_service(&self, item: Item) -> Result<Opinion, NoAnswer> {
        let deadline = Instant::now() + self.shared.settings.budget;
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { item, deadline, answer }).map_err(|_| NoAnswer::Overloaded)?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Timeout),
        }
    }
}

/// Makes batches of what waits, and calls with each.
async fn gather(mut waiting: mpsc::Receiver<Waiting>, shared: Arc<Shared>) {
    while let Some(first) = waiting.recv().await {
        let (until, mut batch) = (Instant::now() + GATHER, vec![first]);
        while batch.len() < shared.settings.batch_max
            && let Ok(Some(next)) = timeout_at(until, waiting.recv()).await
        {
            batch.push(next);
        }
        let pass = shared.breaker.lock().pass(shared.clock.now_ms());
        let refused = match (pass, shared.calls.clone().try_acquire_owned()) {
            (Pass::Open, _) => NoAnswer::Breaker,
            (_, Ok(permit)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    shared.call(batch).await;
                    drop(permit);
                });
                continue;
            }
            (Pass::Probe, Err(_)) => {
                // What fills the calls is slow: that is the answer to the probe.
                shared.breaker.lock().failed(shared.clock.now_ms());
                NoAnswer::Overloaded
            }
            (Pass::Closed, Err(_)) => NoAnswer::Overloaded,
        };
        batch.into_iter().for_each(|one| drop(one.answer.send(Err(refused))));
    }
}

impl Shared {
    fn cached(&self, text: &str) -> Option<Opinion> {
        let mut cache = self.cache.lock();
        let (opinion, until) = cache.get(text)?;
        if *until <= Instant::now() {
            cache.remove(text);
            return None;
        }
        Some(opinion.clone())
    }

    fn remember(&self, text: &str, opinion: &Opinion) {
        if let Some(ttl_s) = opinion.ttl_s.filter(|s| *s > 0) {
            let until = Instant::now() + Duration::from_secs(ttl_s.min(TTL_S_MAX).into());
            self.cache.lock().insert(text.into(), (opinion.clone(), until));
        }
    }

    /// Calls with a batch. The breaker hears of a failure when the last of the batch has waited in vain.
    async fn call(&self, batch: Vec<Waiting>) {
        let outcome = self.answer(&batch).await;
        match outcome {
            Ok(mut opinions) => {
                for Waiting { item, answer, .. } in batch {
                    let opinion = opinions.remove(&item.id);
                    if let Some(opinion) = &opinion {
                        self.remember(&item.text, opinion);
                    }
                    if answer.send(opinion.ok_or(NoAnswer::Missing)).is_err() {
                        self.metrics.hook_late.inc();
                    }
                }
            }
            Err(reason) => batch.into_iter().for_each(|one| drop(one.answer.send(Err(reason)))),
        }
    }

    async fn answer(&self, batch: &[Waiting]) -> Result<HashMap<Snowflake, Opinion>, NoAnswer> {
        let deadline = batch.iter().map(|one| one.deadline).max().unwrap_or_else(Instant::now);
        let items: Vec<&Item> = batch.iter().map(|one| &one.item).collect();
        let call = self.post(&items);
        tokio::pin!(call);
        match timeout_at(deadline, &mut call).await {
            Ok(outcome) => {
                self.note(outcome.is_ok());
                outcome
            }
            Err(_) => {
                self.note(false);
                call.await
            }
        }
    }

    fn note(&self, answered: bool) {
        let mut breaker = self.breaker.lock();
        let before = breaker.is_open();
        if answered {
            breaker.answered();
        } else {
            breaker.failed(self.clock.now_ms());
        }
        match (before, breaker.is_open()) {
            (false, true) => tracing::warn!("the moderation hook fails; its fallbacks hold until it answers again"),
            (true, false) => tracing::info!("the moderation hook answers again"),
            _ => {}
        }
    }

    async fn post(&self, items: &[&Item]) -> Result<HashMap<Snowflake, Opinion>, NoAnswer> {
        let now_s = self.clock.now_ms() / 1_000;
        if let Some(dialect) = &self.settings.dialect {
            return self.post_in(dialect, items, now_s).await;
        }
        let batch_id = format!("batch_{}", items.first().map_or(Snowflake(0), |item| item.id));
        let request = wire::Request { version: 1, batch_id: &batch_id, items };
        let body = serde_json::to_vec(&request).map_err(|_| NoAnswer::Failed)?;
        let headers = sign::headers(&self.keys, &batch_id, now_s, &body);
        let answer = self.send(headers, body).await?;
        wire::opinions(&answer).ok_or(NoAnswer::Invalid)
    }

    /// Asks a provider in its own language. Items whose call failed are missing, and all of them when every call did.
    async fn post_in(
        &self,
        dialect: &Dialect,
        items: &[&Item],
        now_s: i64,
    ) -> Result<HashMap<Snowflake, Opinion>, NoAnswer> {
        let calls = dialect.calls(items, &self.settings.url, self.settings.secret.trim(), now_s);
        let asked = calls.into_iter().map(async |(Call { headers, body }, some)| {
            let answer = self.send(headers, body).await?;
            let opinions = dialect.opinions(&answer, some).ok_or(NoAnswer::Invalid)?;
            Ok(some.iter().map(|item| item.id).zip(opinions).collect::<Vec<_>>())
        });
        let mut failed = None;
        let mut found = HashMap::with_capacity(items.len());
        for answer in join_all(asked).await {
            match answer {
                Ok(opinions) => found.extend(opinions),
                Err(reason) => failed = Some(reason),
            }
        }
        match failed {
            Some(reason) if found.is_empty() => Err(reason),
            _ => Ok(found),
        }
    }

    /// Posts a body and reads the answer of at most [`ANSWER_BYTES_MAX`].
    async fn send(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        let answer = self.client.post(self.settings.url.clone()).headers(headers).body(body).send().await;
        let mut answer = answer.map_err(|_| NoAnswer::Failed)?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let pause_s = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
            if let Some(pause_s) = pause_s {
                self.breaker.lock().rest(pause_s.saturating_mul(1_000), self.clock.now_ms());
            }
            return Err(NoAnswer::Failed);
        }
        if answer.status() != StatusCode::OK {
            return Err(NoAnswer::Failed);
        }
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(|_| NoAnswer::Failed)? {
            if body.len() + bytes.len() > ANSWER_BYTES_MAX {
                return Err(NoAnswer::Invalid);
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}
