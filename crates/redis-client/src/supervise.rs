//! The task that keeps a connection.
//!
//! It connects, beats, and connects again when a beat or a caller finds the connection broken. A single server's
//! connection is taken away while it is broken, so that callers fail at once; a Cluster's stays while a new one is
//! made, since most of its nodes answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::clock::SteadyClock;
use model::{Clock, Reasons};
use parking_lot::RwLock;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};

use crate::address::Source;
use crate::{Connection, on};

/// Between two beats; a beat also measures Redis's clock.
const BEAT: Duration = Duration::from_secs(2);
/// For one attempt to connect: with Sentinel it may meet a sentinel that is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the task and the callers share.
#[derive(Default)]
pub(crate) struct State {
    connection: RwLock<Option<(u64, Connection)>>,
    /// How many connections there were: a complaint about an old one is not about the new one.
    lives: AtomicU64,
    suspected: AtomicU64,
    complaint: Notify,
    change: Notify,
    offset_ms: AtomicI64,
    /// The callers' clock is Redis's.
    shares_clock: AtomicBool,
}

impl State {
    pub(crate) fn connection(&self) -> Option<(u64, Connection)> {
        self.connection.read().clone()
    }

    /// What is to be added to what callers call now.
    pub(crate) fn callers_offset_ms(&self) -> i64 {
        if self.shares_clock.load(Ordering::Relaxed) { 0 } else { self.offset_ms.load(Ordering::Relaxed) }
    }

    /// Now, as Redis's clock has it.
    pub(crate) fn now_ms(&self) -> i64 {
        SteadyClock.now_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn share_clock(&self) {
        self.shares_clock.store(true, Ordering::Relaxed);
    }

    /// Says that a connection seems broken. A single server's is taken away at once.
    pub(crate) fn suspect(&self, life: u64) {
        let mut connection = self.connection.write();
        if matches!(&*connection, Some((now, Connection::Node(_))) if *now == life) {
            *connection = None;
        }
        drop(connection);
        self.suspected.fetch_max(life, Ordering::Relaxed);
        self.complaint.notify_one();
    }

    /// Resolves when a connection came or went.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.change.notified()
    }

    fn put(&self, connection: Option<Connection>) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        *self.connection.write() = connection.map(|connection| (life, connection));
        self.change.notify_waiters();
    }

    /// Waits for a complaint about the connection that is in use, or for the next beat.
    async fn rest(&self) -> Rest {
        let heard = async {
            loop {
                self.complaint.notified().await;
                if self.suspected.load(Ordering::Relaxed) >= self.lives.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        timeout(BEAT, heard).await.map_or(Rest::Over, |()| Rest::Complaint)
    }
}

/// How the wait for the next beat ended.
#[derive(PartialEq, Eq)]
enum Rest {
    Over,
    Complaint,
}

/// Whether an error is about the connection or the server's part in it, not about what was asked.
pub(crate) fn is_broken(error: &RedisError) -> bool {
    let kind = matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown)
    );
    kind || error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// Never returns; it is aborted with the last handle.
pub(crate) async fn run(state: Arc<State>, mut source: Source, answer_timeout: Duration) {
    let mut retry = RETRY.0;
    let mut told = Reasons::default();
    loop {
        let connected = timeout(CONNECT_TIMEOUT, source.connect(CONNECT_TIMEOUT, answer_timeout, None)).await;
        match connected.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => {
                tracing::info!("redis is connected");
                (told, retry) = (Reasons::default(), RETRY.0);
                keep(&state, &connection, answer_timeout).await;
                if matches!(connection, Connection::Node(_)) {
                    state.put(None);
                }
                sleep(retry).await;
            }
            Err(error) => {
                if told.is_news(&error.to_string()) {
                    tracing::warn!(%error, "redis is away");
                }
                state.put(None);
                sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Gives the connection to the callers, until it does not answer or one of them complains: a server that answers and
/// may no longer be written to was a master once.
async fn keep(state: &State, connection: &Connection, answer_timeout: Duration) {
    let offset_ms = &state.offset_ms;
    // The narrowest of a few: the first answer also pays for what is set up.
    for _ in 0..3 {
        let _ = beat(connection, offset_ms, answer_timeout).await;
    }
    state.put(Some(connection.clone()));
    while state.rest().await == Rest::Over {
        if let Err(error) = beat(connection, offset_ms, answer_timeout).await {
            tracing::warn!(%error, "redis does not answer");
            return;
        }
    }
}

/// Asks for the time. What Redis answered lies between what our clock said before and after; only when the
/// difference known so far cannot be true does it change, so that it does not tremble.
async fn beat(connection: &Connection, offset_ms: &AtomicI64, answer_timeout: Duration) -> RedisResult<()> {
    let command = redis::cmd("TIME");
    let before = SteadyClock.now_ms();
    let answer = timeout(answer_timeout, async { on!(connection.clone(), it => command.query_async(it).await) });
    let (seconds, micros): (i64, i64) = answer.await.unwrap_or_else(|_| Err(timed_out()))?;
    let after = SteadyClock.now_ms();
    let theirs = seconds * 1_000 + micros / 1_000;
    // Our clock was cut to milliseconds at both ends, so either may be one off.
    let (least, most) = (theirs - after - 1, theirs - before + 1);
    if after >= before && !(least..=most).contains(&offset_ms.load(Ordering::Relaxed)) {
        offset_ms.store(least.midpoint(most), Ordering::Relaxed);
    }
    Ok(())
}
