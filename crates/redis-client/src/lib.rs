//! One handle on Redis, whether it is a single server, a master behind Sentinel, or a Cluster.
//!
//! Owns the connection: a task of its own makes it, checks it, and makes a new one when it breaks. `state`, `cluster` and
//! `fanout` use it; the keys are theirs. A call never waits for a connection. During an outage of Redis it fails at once,
//! and when Redis does not answer it fails after [`ANSWER_TIMEOUT`]. It repeats no call, because only the caller knows what
//! may be repeated.

mod address;
mod subscriber;
mod supervise;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::metrics::{Histogram, count};
use model::{Clock, Metrics};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, ScriptInvocation};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use address::{InvalidRedisAddress, RedisAddress};
pub use subscriber::{OnMessage, OnRestored, Subscriber};
use supervise::ConnectionState;

/// How long a call waits for its answer, unless its [`RedisAddress`] is [`patient`](RedisAddress::patient).
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// Why a call has no answer. Only after [`CallError::Away`] it is certain that Redis did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no connection now.
    #[error("redis is away")]
    Away,
    /// No answer in time.
    #[error("redis did not answer in time")]
    Late,
    /// Redis or the network refused.
    #[error("redis: {0}")]
    Refused(String),
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, CallError>;

/// The handle; clones share one connection, and dropping the last one closes it.
#[derive(Clone)]
pub struct Redis {
    state: Arc<ConnectionState>,
    namespace: Arc<str>,
    cluster: bool,
    metrics: Arc<Metrics>,
    time: Histogram,
    answer_timeout: Duration,
    _supervisor: Arc<AbortOnDropHandle<()>>,
}

/// A connection of either kind; cloning one is cheap, and its clones share it.
#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Runs `$work` with the connection as `$name`, whichever kind it is.
macro_rules! on {
    ($connection:expr, $name:ident => $work:expr) => {
        match $connection {
            Connection::Node(mut connection) => {
                let $name = &mut connection;
                $work
            }
            Connection::Cluster(mut connection) => {
                let $name = &mut connection;
                $work
            }
        }
    };
}
use on;

/// The clock that all nodes of a deployment share.
pub struct RedisClock(Arc<ConnectionState>);

impl Clock for RedisClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
}

impl Redis {
    /// Starts connecting, in the background, and returns at once; must be called within a Tokio runtime.
    /// Every key begins with `namespace`.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn open(
        address: &RedisAddress,
        namespace: &str,
        metrics: Arc<Metrics>,
    ) -> std::result::Result<Self, InvalidRedisAddress> {
        let state = Arc::new(ConnectionState::default());
        let answer_timeout = address.answer_timeout;
        let supervisor = tokio::spawn(supervise::keep_connected(state.clone(), address.connector()?, answer_timeout));
        let supervisor = Arc::new(AbortOnDropHandle::new(supervisor));
        // Found once, because there are so many calls.
        let time = metrics.call_time.get_or_create(&vec![("name", "redis")]).clone();
        let (namespace, cluster) = (namespace.into(), address.is_cluster());
        Ok(Self { state, namespace, cluster, metrics, time, answer_timeout, _supervisor: supervisor })
    }

    /// Waits until Redis is available, at most `within`.
    ///
    /// # Errors
    /// [`CallError::Away`] when it is not available by then.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.is_connected() {
            let changed = self.state.changed();
            if !self.is_connected() && tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(CallError::Away);
            }
        }
        Ok(())
    }

    /// Whether there is a connection that answered lately.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state.connection().is_some()
    }

    /// The number of the current connection, if there is one. A new number means that Redis was unavailable meanwhile, and may
    /// have lost its data.
    #[must_use]
    pub fn connection_number(&self) -> Option<u64> {
        self.state.connection().map(|(number, _)| number)
    }

    /// Whether it is a Cluster, whose keys and channels live on one of several servers each.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// A key of this deployment: `<namespace>:<rest>`. The text in braces decides where a Cluster keeps it.
    #[must_use]
    pub fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.namespace)
    }

    /// Converts the caller's Unix milliseconds to Redis's clock, which all nodes share. Each new connection and every heartbeat
    /// measure the difference.
    #[must_use]
    pub fn at_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.state.callers_offset_ms())
    }

    /// Redis's clock, for every caller from here on: its time needs no [`Redis::at_ms`]. While there is no connection it
    /// continues by a monotonic clock, so a step of this machine's own clock does not move it.
    #[must_use]
    pub fn clock(&self) -> RedisClock {
        self.state.share_clock();
        RedisClock(self.state.clone())
    }

    /// Runs a script; its keys must lie in one slot.
    ///
    /// # Errors
    /// [`CallError`]; counted under `operation`.
    pub async fn script<T: FromRedisValue>(&self, operation: &'static str, script: &ScriptInvocation<'_>) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => script.invoke_async(it).await)).await
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`CallError`]; counted under `operation`.
    pub async fn command<T: FromRedisValue>(&self, operation: &'static str, command: &Cmd) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => command.query_async(it).await)).await
    }

    /// Runs a pipeline; all its keys must lie in one slot.
    ///
    /// # Errors
    /// [`CallError`]; counted under `operation`.
    pub async fn pipeline<T: FromRedisValue>(&self, operation: &'static str, commands: &Pipeline) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => commands.query_async(it).await)).await
    }

    /// The server's `maxmemory-policy`; `None` when it does not tell.
    pub async fn eviction_policy(&self) -> Option<String> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("maxmemory-policy");
        let answer = self.command::<redis::Value>("eviction_policy", &command).await.ok()?;
        // A list of name and value, or a map of them.
        let pairs: std::collections::HashMap<String, String> = redis::from_redis_value(answer).ok()?;
        pairs.into_values().next()
    }

    async fn ask<T, F: Future<Output = RedisResult<T>>>(
        &self,
        operation: &'static str,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T> {
        let answer = match self.state.connection() {
            Some((number, connection)) => {
                let started = Instant::now();
                let answer = self.bounded(number, work(connection)).await;
                self.time.observe(started.elapsed().as_secs_f64());
                answer
            }
            None => Err(CallError::Away),
        };
        answer.inspect_err(|_| count(&self.metrics.redis_errors, "operation", operation))
    }

    async fn bounded<T>(&self, number: u64, work: impl Future<Output = RedisResult<T>>) -> Result<T> {
        match timeout(self.answer_timeout, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if supervise::is_broken(&error) {
                    self.state.suspect(number);
                }
                Err(CallError::Refused(error.to_string()))
            }
            Err(_) => {
                self.state.suspect(number);
                Err(CallError::Late)
            }
        }
    }
}
