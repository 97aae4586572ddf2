//! Membership on etcd, with a small client of its API (v3, spoken by etcd 3.4 and later).
//!
//! The client speaks gRPC, over TLS to endpoints that begin with `https`, and without etcd's users other than the name in a
//! client's certificate. Of several endpoints it keeps to the one that answered last. A call never waits longer than a second
//! for each of them.

mod membership;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use model::Metrics;
use model::metrics::count;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;

use crate::proto::etcd::kv_client::KvClient;
use crate::proto::etcd::lease_client::LeaseClient;
use crate::proto::etcd::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::tls::{PeerTls, tls_failure};

/// An endpoint that has not answered by then counts as unavailable.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often a silent connection is probed.
const PING: Duration = Duration::from_secs(5);

/// The address is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not etcd's address: {0:?}, expected http://host:port or https://host:port, several separated by commas")]
pub struct InvalidEtcdAddress(String);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
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
pub struct Etcd(Arc<Client>);

struct Client {
    endpoints: Vec<Channel>,
    /// The endpoint that answered last.
    current: AtomicUsize,
    /// Whether the last call had no answer.
    away: AtomicBool,
    namespace: Box<str>,
    metrics: Arc<Metrics>,
}

impl Etcd {
    /// Connects with the first call, with `tls` to endpoints that begin with `https`. Every key begins with `namespace`. Must
    /// be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidEtcdAddress`].
    pub fn open(
        addresses: &str,
        tls: Option<&Arc<PeerTls>>,
        namespace: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidEtcdAddress> {
        let endpoints = addresses.split(',').map(|address| channel(address.trim(), tls)).collect::<Result<_, _>>()?;
        let (current, away) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self(Arc::new(Client { endpoints, current, away, namespace: namespace.into(), metrics })))
    }

    /// Whether the last call was answered.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !self.0.away.load(Ordering::Relaxed)
    }

    /// A key of ours: `<namespace>/<rest>`.
    fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}/{rest}", self.0.namespace).into_bytes()
    }

    async fn range(&self, operation: &'static str, request: RangeRequest) -> Result<RangeResponse, EtcdError> {
        self.ask(operation, async |channel| {
            KvClient::new(channel).range(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
    }

    async fn txn(&self, operation: &'static str, request: TxnRequest) -> Result<TxnResponse, EtcdError> {
        self.ask(operation, async |channel| {
            KvClient::new(channel).txn(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
    }

    /// Grants a lease; etcd may make it longer than requested.
    async fn grant(&self, length: Duration) -> Result<i64, EtcdError> {
        let ttl = i64::try_from(length.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
        let granted = self.ask("lease_grant", async |channel| {
            let answer = LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?;
            Ok(answer.into_inner().id)
        });
        granted.await
    }

    /// Renews a lease by its whole length; `false` when it has expired.
    async fn keep_alive(&self, id: i64) -> Result<bool, EtcdError> {
        let prolonged = self.ask("lease_keep_alive", async |channel| {
            let once = futures::stream::iter([LeaseKeepAliveRequest { id }]);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(once).await?.into_inner();
            Ok(answers.message().await?.is_some_and(|answer| answer.ttl > 0))
        });
        prolonged.await
    }

    async fn revoke(&self, id: i64) -> Result<(), EtcdError> {
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
    ) -> Result<T, EtcdError> {
        let (client, first) = (&*self.0, self.0.current.load(Ordering::Relaxed));
        let started = Instant::now();
        let mut failure = EtcdError::Late;
        for step in 0..client.endpoints.len() {
            let at = (first + step) % client.endpoints.len();
            failure = match timeout(ANSWER_MAX, work(client.endpoints[at].clone())).await {
                Ok(Ok(answer)) => {
                    client.current.store(at, Ordering::Relaxed);
                    client
                        .metrics
                        .call_time
                        .get_or_create(&vec![("name", "etcd")])
                        .observe(started.elapsed().as_secs_f64());
                    self.log_change(None);
                    return Ok(answer);
                }
                Ok(Err(status)) => classify(&status),
                Err(_) => EtcdError::Late,
            };
            if matches!(failure, EtcdError::Refused(_)) {
                break;
            }
        }
        count(&client.metrics.etcd_errors, "operation", operation);
        self.log_change(Some(&failure));
        Err(failure)
    }

    /// Logs the beginning and the end of an outage, each once.
    fn log_change(&self, failure: Option<&EtcdError>) {
        match (failure, self.0.away.swap(failure.is_some(), Ordering::Relaxed)) {
            (Some(failure), false) => tracing::warn!(%failure, "etcd gives no answer"),
            (None, true) => tracing::info!("etcd answers again"),
            _ => {}
        }
    }
}

fn channel(address: &str, tls: Option<&Arc<PeerTls>>) -> Result<Channel, InvalidEtcdAddress> {
    let bad = || InvalidEtcdAddress(address.to_owned());
    let tls = match (address.starts_with("https://"), tls) {
        (true, Some(tls)) => Some(tls.clone()),
        (false, _) if address.starts_with("http://") => None,
        _ => return Err(bad()),
    };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
    let endpoint = endpoint.connect_timeout(ANSWER_MAX).http2_keep_alive_interval(PING).keep_alive_timeout(ANSWER_MAX);
    let Some(tls) = tls else { return Ok(endpoint.connect_lazy()) };
    let dial = move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let address = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            tls.dial(&address).await.map(TokioIo::new).inspect_err(|error| log_refusal(&address, error))
        }
    };
    Ok(endpoint.connect_with_connector_lazy(service_fn(dial)))
}

/// A certificate that will not do is for people to mend; everything else ends by itself.
fn log_refusal(address: &str, error: &io::Error) {
    if let Some(error) = tls_failure(error) {
        tracing::warn!(address, %error, "no TLS with etcd: look at etcd.ca_file and at etcd's certificate");
    }
}

fn classify(status: &Status) -> EtcdError {
    match status.code() {
        // A broken connection, or a cluster without a leader.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded => {
            EtcdError::Away(status.message().to_owned())
        }
        _ => EtcdError::Refused(status.to_string()),
    }
}
