//! Whether the database answers.
//!
//! A pool that finds nobody tries for seconds, and a server that hangs makes every call wait to its end. So a call that
//! fails for reasons of the connection makes us look: a task connects anew, and while it finds nobody all calls fail
//! at once, those under way too. It looks again and again until somebody answers, which ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::Reasons;
use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A server that has not answered by then is away.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The way to the database.
pub(super) struct Way {
    options: MySqlConnectOptions,
    is_open: watch::Sender<bool>,
    open_since: Mutex<Instant>,
    looking: AtomicBool,
}

impl Way {
    /// A way that is open.
    pub(super) fn new(options: MySqlConnectOptions) -> Arc<Self> {
        let (is_open, open_since) = (watch::Sender::new(true), Mutex::new(Instant::now()));
        Arc::new(Self { options, is_open, open_since, looking: AtomicBool::new(false) })
    }

    /// For how long it has been open.
    pub(super) fn open_for(&self) -> Duration {
        self.open_since.lock().elapsed()
    }

    /// Resolves when the database is away, at once if it is now.
    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_open.subscribe().wait_for(|open| !open).await;
    }

    /// Says that a call failed. Whether the database is away is found out in the background.
    pub(super) fn suspect(self: &Arc<Self>, error: &sqlx::Error) {
        if is_about_the_way(error) && !self.looking.swap(true, Ordering::AcqRel) {
            tokio::spawn(look(Arc::downgrade(self)));
        }
    }

    async fn ask(&self) -> Result<(), sqlx::Error> {
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

fn is_about_the_way(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    matches!(error, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
}

/// Looks until somebody answers, or nobody wants to know any more.
async fn look(way: Weak<Way>) {
    let mut told = Reasons::default();
    while let Some(way) = way.upgrade() {
        let answered = timeout(ANSWER_TIMEOUT, way.ask()).await;
        let Err(error) = answered.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        else {
            way.open();
            way.looking.store(false, Ordering::Release);
            return;
        };
        way.close();
        if told.is_news(&error.to_string()) {
            tracing::error!(%error, "the database is away");
        }
        drop(way);
        sleep(LOOK).await;
    }
}
