//! What decides while the shared state is away: this node's memory.
//!
//! Every call asks the shared backend first, which fails at once while it is away, so these are back by themselves.
//! Meanwhile limits hold for each node by itself, and what the shared backend knew is not known; what memory knew is
//! forgotten again when the shared backend is back, but for reservations. A gauge says who decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::metrics::Metrics;
use model::snowflake::node_of;
use model::{Snowflake, UserId};
use tokio::time::Instant;

use crate::gate::{Answer, CoolDown, Gate, Knock, LimitKey};
use crate::reservations::{FirstAnswer, Reservations, Reserved};
use crate::{MemoryGate, MemoryReservations, Rate, Result};

/// Who decides now, told once when it changes.
pub(crate) struct Decides {
    port: &'static str,
    by_memory: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Decides {
    pub(crate) fn new(port: &'static str, metrics: Arc<Metrics>) -> Self {
        metrics.by_memory.get_or_create(&vec![("port", port)]).set(0);
        Self { port, by_memory: AtomicBool::new(false), metrics }
    }

    /// The shared backend's answer, if it gave one.
    pub(crate) fn answer<T>(&self, answer: Result<T>) -> Option<T> {
        if self.by_memory.load(Ordering::Relaxed) != answer.is_err() {
            self.tell(answer.as_ref().err().map(ToString::to_string));
        }
        answer.ok()
    }

    fn tell(&self, error: Option<String>) {
        self.by_memory.store(error.is_some(), Ordering::Relaxed);
        self.metrics.by_memory.get_or_create(&vec![("port", self.port)]).set(error.is_some().into());
        match error {
            Some(error) => tracing::warn!(port = self.port, error, "this node's memory decides"),
            None => tracing::info!(port = self.port, "the shared state decides again"),
        }
    }
}

/// [`Gate`]: the shared one, or this node's.
pub struct FallbackGate {
    shared: Arc<dyn Gate>,
    own: MemoryGate,
    decides: Decides,
}

impl FallbackGate {
    /// Over the shared gate and this node's.
    #[must_use]
    pub fn new(shared: Arc<dyn Gate>, own: MemoryGate, metrics: Arc<Metrics>) -> Self {
        Self { shared, own, decides: Decides::new("gate", metrics) }
    }
}

#[async_trait]
impl Gate for FallbackGate {
    async fn knock(&self, knock: Knock<'_>) -> Result<Answer> {
        match self.decides.answer(self.shared.knock(knock).await) {
            Some(answer) => Ok(answer),
            None => self.own.knock(knock).await,
        }
    }

    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>> {
        match self.decides.answer(self.shared.refused(user, now_ms, policy).await) {
            Some(answer) => Ok(answer),
            None => self.own.refused(user, now_ms, policy).await,
        }
    }

    async fn unsay(&self, user: &UserId, text_key: u64) -> Result<()> {
        self.decides.answer(self.shared.unsay(user, text_key).await);
        self.own.unsay(user, text_key).await
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        match self.decides.answer(self.shared.allow(key, rate, now_ms).await) {
            Some(answer) => Ok(answer),
            None => self.own.allow(key, rate, now_ms).await,
        }
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        self.decides.answer(self.shared.reset_user(user).await);
        self.own.reset_user(user).await
    }
}

/// [`Reservations`] of the deployment, and always of this node too.
///
/// A key is reserved here first and then in the deployment, so whatever moment the shared backend goes or comes, of
/// this node's callers one alone goes on. While it is away a caller is told [`Reserved::New`], not
/// [`Reserved::NewEverywhere`]: another node may have answered, and the store must be asked.
pub struct FallbackReservations {
    shared: Arc<dyn Reservations>,
    own: Arc<MemoryReservations>,
    decides: Decides,
}

impl FallbackReservations {
    /// Over the shared reservations and this node's.
    #[must_use]
    pub fn new(shared: Arc<dyn Reservations>, own: Arc<MemoryReservations>, metrics: Arc<Metrics>) -> Self {
        Self { shared, own, decides: Decides::new("reservations", metrics) }
    }

    /// Reserves anew what an attempt of this node holds that nobody here knows any more.
    async fn take_over(
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
    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved> {
        match self.own.reserve(user, client_msg_id, id, now_ms).await? {
            Reserved::New | Reserved::NewEverywhere => {}
            known => return Ok(known),
        }
        let reserved = match self.shared.reserve(user, client_msg_id, id, now_ms).await {
            // It was given up when no answer came, and reached the shared backend all the same, perhaps long after.
            Ok(Reserved::InFlight(lost)) if node_of(lost) == node_of(id) => {
                self.take_over(user, client_msg_id, lost, id, now_ms).await
            }
            reserved => reserved,
        };
        let reserved = self.decides.answer(reserved);
        match reserved {
            Some(Reserved::Known(first)) => self.own.finish(user, client_msg_id, first).await?,
            Some(Reserved::InFlight(_)) => self.own.release(user, client_msg_id, id).await?,
            Some(Reserved::New | Reserved::NewEverywhere) | None => {}
        }
        Ok(reserved.unwrap_or(Reserved::New))
    }

    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()> {
        self.own.finish(user, client_msg_id, answer).await?;
        self.decides.answer(self.shared.finish(user, client_msg_id, answer).await);
        Ok(())
    }

    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()> {
        self.own.release(user, client_msg_id, id).await?;
        self.decides.answer(self.shared.release(user, client_msg_id, id).await);
        Ok(())
    }

    /// The first attempt may be this node's or another's: whichever is known here is waited for first.
    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>> {
        let deadline = Instant::now() + timeout;
        if let Some(answer) = self.own.wait(user, client_msg_id, timeout).await? {
            return Ok(Some(answer));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(self.decides.answer(self.shared.wait(user, client_msg_id, left).await).flatten())
    }
}
