//! The task that keeps a connection.
//!
//! It connects, sends heartbeats, and connects again when a heartbeat or a caller finds the connection broken. It withdraws
//! a single server's broken connection, so that callers fail at once. A Cluster's stays until there is a new one, since most
//! of its nodes answer. [`crate::Redis`] starts it; it never repeats a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use model::clock::SteadyClock;
use model::{Clock, ReportedReasons};
use parking_lot::RwLock;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};

use crate::address::Connector;
use crate::{Connection, on};

/// Between two heartbeats, which also measure Redis's clock.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// One attempt to connect: with Sentinel it may meet a sentinel that is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts to connect; they never end.
pub(crate) const RECONNECT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();

/// What the task and the callers share.
#[derive(Default)]
pub(crate) struct ConnectionState {
    connection: RwLock<Option<(u64, Connection)>>,
    /// Connections so far: a complaint about an old one is not about the new one.
    connections: AtomicU64,
    suspected: AtomicU64,
    complaint: Notify,
    change: Notify,
    offset_ms: AtomicI64,
    /// The callers' clock is Redis's.
    shares_clock: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn connection(&self) -> Option<(u64, Connection)> {
        self.connection.read().clone()
    }

    /// What callers add to their own time.
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

    /// Reports that a connection seems broken. Withdraws a single server's at once.
    pub(crate) fn suspect(&self, number: u64) {
        let mut connection = self.connection.write();
        if matches!(&*connection, Some((now, Connection::Node(_))) if *now == number) {
            *connection = None;
        }
        drop(connection);
        self.suspected.fetch_max(number, Ordering::Relaxed);
        self.complaint.notify_one();
    }

    /// Resolves when there is a new connection, or none any more.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.change.notified()
    }

    fn set_connection(&self, connection: Option<Connection>) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        *self.connection.write() = connection.map(|connection| (number, connection));
        self.change.notify_waiters();
    }

    /// Waits for a complaint about the current connection, or until the next heartbeat.
    async fn next_event(&self) -> Event {
        let complaint = async {
            loop {
                self.complaint.notified().await;
                if self.suspected.load(Ordering::Relaxed) >= self.connections.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        timeout(HEARTBEAT_INTERVAL, complaint).await.map_or(Event::HeartbeatDue, |()| Event::Complaint)
    }
}

/// What the task waits for while there is a connection.
#[derive(PartialEq, Eq)]
enum Event {
    HeartbeatDue,
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

/// Connects again and again. Never returns; the last handle aborts it.
pub(crate) async fn keep_connected(state: Arc<ConnectionState>, mut connector: Connector, answer_timeout: Duration) {
    let mut pauses = RECONNECT.build();
    let mut logged = ReportedReasons::default();
    loop {
        let connected = timeout(CONNECT_TIMEOUT, connector.connect(CONNECT_TIMEOUT, answer_timeout, None)).await;
        match connected.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => {
                tracing::info!("redis is connected");
                (logged, pauses) = (ReportedReasons::default(), RECONNECT.build());
                serve(&state, &connection, answer_timeout).await;
                if matches!(connection, Connection::Node(_)) {
                    state.set_connection(None);
                }
            }
            Err(error) => {
                if logged.insert(&error.to_string()) {
                    tracing::warn!(%error, "redis is away");
                }
                state.set_connection(None);
            }
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Gives the connection to the callers, until it does not answer or one of them complains: a former master still answers,
/// and takes no writes.
async fn serve(state: &ConnectionState, connection: &Connection, answer_timeout: Duration) {
    let offset_ms = &state.offset_ms;
    // Measured a few times, because the first answer includes the time to set up the connection.
    for _ in 0..3 {
        let _ = heartbeat(connection, offset_ms, answer_timeout).await;
    }
    state.set_connection(Some(connection.clone()));
    while state.next_event().await == Event::HeartbeatDue {
        if let Err(error) = heartbeat(connection, offset_ms, answer_timeout).await {
            tracing::warn!(%error, "redis does not answer");
            return;
        }
    }
}

/// Asks Redis for its time, which lies between our clock's before and after. The known difference changes only when it
/// cannot be true any more, so that it does not jitter.
async fn heartbeat(connection: &Connection, offset_ms: &AtomicI64, answer_timeout: Duration) -> RedisResult<()> {
    let command = redis::cmd("TIME");
    let before = SteadyClock.now_ms();
    let answer = timeout(answer_timeout, async { on!(connection.clone(), it => command.query_async(it).await) });
    let (seconds, micros): (i64, i64) = answer.await.unwrap_or_else(|_| Err(timed_out()))?;
    let after = SteadyClock.now_ms();
    let theirs = seconds * 1_000 + micros / 1_000;
    // Our clock was truncated to milliseconds at both ends, so either may be one off.
    let (least, most) = (theirs - after - 1, theirs - before + 1);
    if after >= before && !(least..=most).contains(&offset_ms.load(Ordering::Relaxed)) {
        offset_ms.store(least.midpoint(most), Ordering::Relaxed);
    }
    Ok(())
}
