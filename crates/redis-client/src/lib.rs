//! One handle on Redis, whether it is a single server, a master behind Sentinel, or a Cluster.
//!
//! Owns the connection: a task of its own makes it, looks after it, and makes a new one when it breaks.
//! Used by `state` and `bus`, whose keys are theirs. A call never waits for a connection: while Redis is
//! away it fails at once, and when Redis does not answer it fails after [`ANSWER_TIMEOUT`]. Nothing is
//! repeated here, because only the caller knows what may be.

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

pub use address::{Address, BadAddress};
pub use subscriber::{Hear, Regained, Subscriber};
use supervise::State;

/// How long a call waits for its answer, unless its [`Address`] is [`patient`](Address::patient).
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// Why a call has no answer. Whether Redis did what was asked is only known for [`Failure::Away`]: it did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no connection now.
    #[error("redis is away")]
    Away,
    /// No answer in time.
    #[error("redis did not answer in time")]
    Late,
    /// Redis, or the way to it, said no.
    #[error("redis: {0}")]
    Refused(String),
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, Failure>;

/// The handle; clones share one connection. The last one that goes closes it.
#[derive(Clone)]
pub struct Redis {
    state: Arc<State>,
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
pub struct RedisClock(Arc<State>);

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
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn open(address: &Address, namespace: &str, metrics: Arc<Metrics>) -> std::result::Result<Self, BadAddress> {
        let state = Arc::new(State::default());
        let answer_timeout = address.answer_timeout;
        let supervisor = tokio::spawn(supervise::run(state.clone(), address.source()?, answer_timeout));
        let supervisor = Arc::new(AbortOnDropHandle::new(supervisor));
        // Found once, because there are so many calls.
        let time = metrics.call_time.get_or_create(&vec![("name", "redis")]).clone();
        let (namespace, cluster) = (namespace.into(), address.is_cluster());
        Ok(Self { state, namespace, cluster, metrics, time, answer_timeout, _supervisor: supervisor })
    }

    /// Waits until Redis is there, at most `patience`.
    ///
    /// # Errors
    /// [`Failure::Away`] when it is not there by then.
    pub async fn ready(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.is_connected() {
            let came = self.state.changed();
            if !self.is_connected() && tokio::time::timeout_at(deadline, came).await.is_err() {
                return Err(Failure::Away);
            }
        }
        Ok(())
    }

    /// Whether there is a connection that answered lately.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state.connection().is_some()
    }

    /// Which connection is in use: another number than before means that Redis was away meanwhile, and may have lost what it
    /// had. `None` when there is none.
    #[must_use]
    pub fn life(&self) -> Option<u64> {
        self.state.connection().map(|(life, _)| life)
    }

    /// Whether it is a Cluster, whose keys and channels live on one of several servers each.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// A key of ours: `<namespace>:<rest>`. What stands in braces decides where a Cluster keeps it.
    #[must_use]
    pub fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.namespace)
    }

    /// The caller's Unix milliseconds as Redis's clock has them, which is the one that all nodes share. The
    /// difference is measured when a connection is made and with every heartbeat.
    #[must_use]
    pub fn at_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.state.callers_offset_ms())
    }

    /// Redis's clock, for all who call from here on: what it says needs no [`Redis::at_ms`]. Measured while there is a
    /// connection, and carried on by the time that passes while there is none, so a step of this machine's own clock is
    /// nothing to it.
    #[must_use]
    pub fn clock(&self) -> RedisClock {
        self.state.share_clock();
        RedisClock(self.state.clone())
    }

    /// Runs a script; its keys must lie in one slot.
    ///
    /// # Errors
    /// [`Failure`]; counted under `operation`.
    pub async fn script<T: FromRedisValue>(&self, operation: &'static str, script: &ScriptInvocation<'_>) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => script.invoke_async(it).await)).await
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`Failure`]; counted under `operation`.
    pub async fn command<T: FromRedisValue>(&self, operation: &'static str, command: &Cmd) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => command.query_async(it).await)).await
    }

    /// Runs a pipeline; all its keys must lie in one slot.
    ///
    /// # Errors
    /// [`Failure`]; counted under `operation`.
    pub async fn pipeline<T: FromRedisValue>(&self, operation: &'static str, commands: &Pipeline) -> Result<T> {
        self.ask(operation, async |connection| on!(connection, it => commands.query_async(it).await)).await
    }

    async fn ask<T, F: Future<Output = RedisResult<T>>>(
        &self,
        operation: &'static str,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T> {
        let answer = match self.state.connection() {
            Some((life, connection)) => {
                let started = Instant::now();
                let answer = self.bounded(life, work(connection)).await;
                self.time.observe(started.elapsed().as_secs_f64());
                answer
            }
            None => Err(Failure::Away),
        };
        answer.inspect_err(|_| count(&self.metrics.redis_errors, "operation", operation))
    }

    async fn bounded<T>(&self, life: u64, work: impl Future<Output = RedisResult<T>>) -> Result<T> {
        match timeout(self.answer_timeout, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if supervise::is_broken(&error) {
                    self.state.suspect(life);
                }
                Err(Failure::Refused(error.to_string()))
            }
            Err(_) => {
                self.state.suspect(life);
                Err(Failure::Late)
            }
        }
    }
}
