//! Fails calls at once while the database does not answer.
//!
//! Without it the pool would try for seconds, and a hanging server would hold every call up to its timeout. A call that fails
//! because of the connection starts a task that connects anew. While that fails, all calls fail at once, also those in
//! progress. The task retries until the database answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::ReportedReasons;
use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A server that has not answered by then counts as away.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Closed while the database is away.
pub(super) struct CircuitBreaker {
    options: MySqlConnectOptions,
    is_open: watch::Sender<bool>,
    open_since: Mutex<Instant>,
    reconnecting: AtomicBool,
}

impl CircuitBreaker {
    /// An open one.
    pub(super) fn new(options: MySqlConnectOptions) -> Arc<Self> {
        let (is_open, open_since) = (watch::Sender::new(true), Mutex::new(Instant::now()));
        Arc::new(Self { options, is_open, open_since, reconnecting: AtomicBool::new(false) })
    }

    /// For how long it has been open.
    pub(super) fn open_for(&self) -> Duration {
        self.open_since.lock().elapsed()
    }

    /// Resolves when the database is away; at once if it is now.
    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_open.subscribe().wait_for(|open| !open).await;
    }

    /// Reports a failed call. A task finds out whether the database is away.
    pub(super) fn report(self: &Arc<Self>, error: &sqlx::Error) {
        if is_connection_error(error) && !self.reconnecting.swap(true, Ordering::AcqRel) {
            tokio::spawn(reconnect(Arc::downgrade(self)));
        }
    }

    async fn ping(&self) -> Result<(), sqlx::Error> {
        let mut connection: MySqlConnection = self.options.connect().await?;
        connection.ping().await?;
        connection.close().await
    }

    fn open(&self) {
        if !*self.is_open.borrow() {
            *self.open_since.lock() = Instant::now();
        }
        if !self.is_open.send_replace(true) {
            tracing::info!("the database is back");
        }
    }

    fn close(&self) {
        self.is_open.send_replace(false);
    }
}

fn is_connection_error(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    matches!(error, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
}

/// Retries until the database answers, or the store is dropped.
async fn reconnect(breaker: Weak<CircuitBreaker>) {
    let mut reasons = ReportedReasons::default();
    while let Some(breaker) = breaker.upgrade() {
        let answered = timeout(ANSWER_TIMEOUT, breaker.ping()).await;
        let Err(error) = answered.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        else {
            breaker.open();
            breaker.reconnecting.store(false, Ordering::Release);
            return;
        };
        breaker.close();
        if reasons.insert(&error.to_string()) {
            tracing::error!(%error, "the database is away");
        }
        drop(breaker);
        sleep(RETRY_INTERVAL).await;
    }
}
