//! Uses this node's memory while the shared state is away.
//!
//! Every call asks the shared backend first, which fails at once while it is away; so its return needs no signal. Meanwhile each
//! node enforces limits by itself, without what the shared backend knew. When the shared backend is back, what memory knew no
//! longer counts, except for reservations. A gauge shows who decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::metrics::Metrics;
use model::snowflake::node_of;
use model::{FirstAnswer, RoomId, Snowflake, UserId};
use tokio::time::Instant;

use crate::idempotency::{Finished, Reservations, Reserved};
use crate::rate_limit::{CoolDown, LimitKey, RateDecision, RateLimiter, RateRequest};
use crate::{MemoryRateLimiter, MemoryReservations, Rate, Result};

/// Who decides now. Logs each change once.
pub(crate) struct FallbackSwitch {
    port: &'static str,
    by_memory: AtomicBool,
    metrics: Arc<Metrics>,
}

impl FallbackSwitch {
    pub(crate) fn new(port: &'static str, metrics: Arc<Metrics>) -> Self {
        metrics.by_memory.get_or_create(&vec![("port", port)]).set(0);
        Self { port, by_memory: AtomicBool::new(false), metrics }
    }

    /// The shared backend's answer, if it gave one. Notes whether it did.
    pub(crate) fn answer<T>(&self, answer: Result<T>) -> Option<T> {
        if self.by_memory.load(Ordering::Relaxed) != answer.is_err() {
            self.report(answer.as_ref().err().map(ToString::to_string));
        }
        answer.ok()
    }

    fn report(&self, error: Option<String>) {
        self.by_memory.store(error.is_some(), Ordering::Relaxed);
        self.metrics.by_memory.get_or_create(&vec![("port", self.port)]).set(error.is_some().into());
        match error {
            Some(error) => tracing::warn!(port = self.port, error, "this node's memory decides"),
            None => tracing::info!(port = self.port, "the shared state decides again"),
        }
    }
}

/// [`RateLimiter`]: the shared one, or this node's.
pub struct FallbackRateLimiter {
    shared: Arc<dyn RateLimiter>,
    own: MemoryRateLimiter,
    switch: FallbackSwitch,
}

impl FallbackRateLimiter {
    /// Over the shared limiter and this node's.
    #[must_use]
    pub fn new(shared: Arc<dyn RateLimiter>, own: MemoryRateLimiter, metrics: Arc<Metrics>) -> Self {
        Self { shared, own, switch: FallbackSwitch::new("gate", metrics) }
    }
}

#[async_trait]
impl RateLimiter for FallbackRateLimiter {
    async fn admit(&self, request: RateRequest<'_>) -> Result<RateDecision> {
        match self.switch.answer(self.shared.admit(request).await) {
            Some(answer) => Ok(answer),
            None => self.own.admit(request).await,
        }
    }

    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>> {
        match self.switch.answer(self.shared.refused(user, now_ms, policy).await) {
            Some(answer) => Ok(answer),
            None => self.own.refused(user, now_ms, policy).await,
        }
    }

    async fn take_back(&self, user: &UserId, text_key: u64, slow_mode_in: Option<&RoomId>) -> Result<()> {
        self.switch.answer(self.shared.take_back(user, text_key, slow_mode_in).await);
        self.own.take_back(user, text_key, slow_mode_in).await
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        match self.switch.answer(self.shared.allow(key, rate, now_ms).await) {
            Some(answer) => Ok(answer),
            None => self.own.allow(key, rate, now_ms).await,
        }
    }

    async fn forget(&self, key: LimitKey<'_>) -> Result<()> {
        self.switch.answer(self.shared.forget(key).await);
        self.own.forget(key).await
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        self.switch.answer(self.shared.reset_user(user).await);
        self.own.reset_user(user).await
    }
}

/// [`Reservations`] of the deployment, and always of this node too.
///
/// Reserves a key here first and then in the deployment. So only one of this node's callers goes on, whenever the shared backend
/// leaves or returns. While it is away a caller gets [`Reserved::New`], not [`Reserved::NewEverywhere`]: another node may have
/// answered, so the caller must ask the store.
pub struct FallbackReservations {
    shared: Arc<dyn Reservations>,
    own: Arc<MemoryReservations>,
    switch: FallbackSwitch,
}

impl FallbackReservations {
    /// Over the shared reservations and this node's.
    #[must_use]
    pub fn new(shared: Arc<dyn Reservations>, own: Arc<MemoryReservations>, metrics: Arc<Metrics>) -> Self {
        Self { shared, own, switch: FallbackSwitch::new("reservations", metrics) }
    }

    /// Reserves a key anew that a lost attempt of this node still holds.
    async fn reserve_again(
        &self,
        user: &UserId,
        client_msg_id: &str,
        held_by: Snowflake,
        id: Snowflake,
        now_ms: i64,
    ) -> Result<Reserved> {
        self.shared.release(user, client_msg_id, held_by).await?;
        let reserved = self.shared.reserve(user, client_msg_id, id, now_ms).await?;
        Ok(if reserved == Reserved::NewEverywhere { Reserved::New } else { reserved })
    }
}

#[async_trait]
impl Reservations for FallbackReservations {
    fn are_shared(&self) -> bool {
        true
    }

    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved> {
        match self.own.reserve(user, client_msg_id, id, now_ms).await? {
            Reserved::New | Reserved::NewEverywhere => {}
            known => return Ok(known),
        }
        let reserved = match self.shared.reserve(user, client_msg_id, id, now_ms).await {
            // The attempt timed out, but reached the shared backend, perhaps much later.
            Ok(Reserved::InFlight(lost)) if node_of(lost) == node_of(id) => {
                self.reserve_again(user, client_msg_id, lost, id, now_ms).await
            }
            reserved => reserved,
        };
        let reserved = self.switch.answer(reserved);
        match reserved {
            Some(Reserved::Known(first)) => self.own.settle(user, client_msg_id, first).await?,
            Some(Reserved::InFlight(_)) => self.own.release(user, client_msg_id, id).await?,
            Some(Reserved::New | Reserved::NewEverywhere) | None => {}
        }
        Ok(reserved.unwrap_or(Reserved::New))
    }

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<Finished> {
        match self.switch.answer(self.shared.finish(user, client_msg_id, answer).await) {
            Some(Finished::Known(first)) => {
                self.own.settle(user, client_msg_id, first).await?;
                Ok(Finished::Known(first))
            }
            Some(Finished::TakenOver) => Ok(Finished::TakenOver),
            Some(Finished::First) | None => self.own.finish(user, client_msg_id, answer).await,
        }
    }

    async fn settle(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        self.own.settle(user, client_msg_id, answer).await?;
        self.switch.answer(self.shared.settle(user, client_msg_id, answer).await);
        Ok(())
    }

    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()> {
        self.own.release(user, client_msg_id, id).await?;
        self.switch.answer(self.shared.release(user, client_msg_id, id).await);
        Ok(())
    }

    /// The first attempt may be this node's or another's. Waits for this node's first.
    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>> {
        let deadline = Instant::now() + timeout;
        if let Some(answer) = self.own.wait(user, client_msg_id, timeout).await? {
            return Ok(Some(answer));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(self.switch.answer(self.shared.wait(user, client_msg_id, left).await).flatten())
    }
}
