//! A small client of etcd's API (v3, spoken by etcd 3.4 and later): what the registry needs of it and no more.
//!
//! Over plain gRPC; no TLS and no users of etcd yet. Of several endpoints one is spoken to for as long as it answers. A
//! call never waits longer than a second for each of them.

pub(crate) mod registry;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::Metrics;
use model::metrics::count;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::proto::etcd::kv_client::KvClient;
use crate::proto::etcd::lease_client::LeaseClient;
use crate::proto::etcd::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

/// An endpoint that has not answered by then is taken for away.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// A silent connection is asked so often whether somebody is there.
const PING: Duration = Duration::from_secs(5);

/// An address that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not etcd's address: {0:?}, expected http://host:port, several separated by commas")]
pub struct BadAddress(String);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No endpoint could be reached, or has a leader.
    #[error("etcd is away: {0}")]
    Away(String),
    /// No endpoint answered in time.
    #[error("etcd did not answer in time")]
    Late,
    /// It answered with an error.
    #[error("etcd refused: {0}")]
    Refused(String),
}

/// A handle on etcd; clones share it.
#[derive(Clone)]
pub struct Etcd(Arc<Shared>);

struct Shared {
    endpoints: Vec<Channel>,
    /// The endpoint that answered last.
    current: AtomicUsize,
    /// Whether the last call had no answer.
    away: AtomicBool,
    namespace: Box<str>,
    metrics: Arc<Metrics>,
}

impl Etcd {
    /// Connects with the first call. Every key begins with `namespace`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn open(addresses: &str, namespace: &str, metrics: Arc<Metrics>) -> Result<Self, BadAddress> {
        let endpoints = addresses.split(',').map(|address| channel(address.trim())).collect::<Result<_, _>>()?;
        let (current, away) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self(Arc::new(Shared { endpoints, current, away, namespace: namespace.into(), metrics })))
    }

    /// Whether the last call was answered.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.0.away.load(Ordering::Relaxed)
    }

    /// A key of ours: `<namespace>/<rest>`.
    fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}/{rest}", self.0.namespace).into_bytes()
    }

    async fn range(&self, operation: &'static str, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.ask(operation, async |channel| {
            KvClient::new(channel).range(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
    }

    async fn txn(&self, operation: &'static str, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.ask(operation, async |channel| {
            KvClient::new(channel).txn(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
    }

    /// A new lease; etcd may make it longer than asked for.
    async fn grant(&self, length: Duration) -> Result<i64, Failure> {
        let ttl = i64::try_from(length.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
        let granted = self.ask("lease_grant", async |channel| {
            let answer = LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?;
            Ok(answer.into_inner().id)
        });
        granted.await
    }

    /// Prolongs a lease by its whole length; `false` when there is none.
    async fn keep_alive(&self, id: i64) -> Result<bool, Failure> {
        let prolonged = self.ask("lease_keep_alive", async |channel| {
            let once = futures::stream::iter([LeaseKeepAliveRequest { id }]);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(once).await?.into_inner();
            Ok(answers.message().await?.is_some_and(|answer| answer.ttl > 0))
        });
        prolonged.await
    }

    async fn revoke(&self, id: i64) -> Result<(), Failure> {
        let revoked = self.ask("lease_revoke", async |channel| {
            LeaseClient::new(channel).lease_revoke(LeaseRevokeRequest { id }).await.map(drop)
        });
        revoked.await
    }

    /// Asks the endpoint that answered last, then the others.
    async fn ask<T, F: Future<Output = Result<T, Status>>>(
        &self,
        operation: &'static str,
        work: impl Fn(Channel) -> F,
    ) -> Result<T, Failure> {
        let (shared, first) = (&*self.0, self.0.current.load(Ordering::Relaxed));
        let started = Instant::now();
        let mut failure = Failure::Late;
        for step in 0..shared.endpoints.len() {
            let at = (first + step) % shared.endpoints.len();
            failure = match timeout(ANSWER_MAX, work(shared.endpoints[at].clone())).await {
                Ok(Ok(answer)) => {
                    shared.current.store(at, Ordering::Relaxed);
                    shared
                        .metrics
                        .call_time
                        .get_or_create(&vec![("name", "etcd")])
                        .observe(started.elapsed().as_secs_f64());
                    self.note(None);
                    return Ok(answer);
                }
                Ok(Err(status)) => refused_or_away(&status),
                Err(_) => Failure::Late,
            };
            if matches!(failure, Failure::Refused(_)) {
                break;
            }
        }
        count(&shared.metrics.etcd_errors, "operation", operation);
        self.note(Some(&failure));
        Err(failure)
    }

    /// Says once that it went, and once that it came back.
    fn note(&self, failure: Option<&Failure>) {
        match (failure, self.0.away.swap(failure.is_some(), Ordering::Relaxed)) {
            (Some(failure), false) => tracing::warn!(%failure, "etcd gives no answer"),
            (None, true) => tracing::info!("etcd answers again"),
            _ => {}
        }
    }
}

fn channel(address: &str) -> Result<Channel, BadAddress> {
    let bad = || BadAddress(address.to_owned());
    if !address.starts_with("http://") {
        return Err(bad());
    }
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
    let endpoint = endpoint.connect_timeout(ANSWER_MAX).http2_keep_alive_interval(PING).keep_alive_timeout(ANSWER_MAX);
    Ok(endpoint.connect_lazy())
}

fn refused_or_away(status: &Status) -> Failure {
    match status.code() {
        // What the transport says of a connection that broke, and etcd of a cluster without a leader.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded => {
            Failure::Away(status.message().to_owned())
        }
        _ => Failure::Refused(status.to_string()),
    }
}
