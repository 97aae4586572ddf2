//! Which nodes live, which roles each has, and where it is reached; and this node's lease on its number.
//!
//! A node holds its number (the node part of Snowflake ids) by a lease that a task renews. Two clocks keep two nodes from
//! using one number. The registry gives it to nobody else before the lease expires by the registry's clock. The node stops
//! using it before that by its own monotonic clock, counted from before it asked. Should a failover lose a lease, numbers go
//! round: the lost one is the last to be leased again. A node that finds its number leased to another never uses it again
//! and has to acquire a new one.
//!
//! [`NodeRegistry`] is the port; [`crate::redis`] and [`crate::etcd`] implement it with the same promises. The server starts
//! all of this; the fan-out follows [`Members`]. Nothing here decides which node does what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::{Role, Roles};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::node_id::Lease;

/// How long a node's number is leased.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTtl {
    /// A node that has not renewed its lease for so long no longer counts as alive.
    pub length: Duration,
    /// For so long after that nobody else gets its number, so a node goes on through an outage of the registry that is no
    /// longer.
    pub spare: Duration,
}

/// The time in use. Numbers are many and go round, so keeping each for an hour costs nothing.
pub const LEASE: LeaseTtl = LeaseTtl { length: Duration::from_secs(15), spare: Duration::from_secs(3_600) };
/// Renewals in the length of a lease.
const RENEWALS: u32 = 5;
/// The share of a lease that its holder does not use: clocks run at different speeds.
const MARGIN: u32 = 10;
/// After an outage of the registry every node that lives has renewed its lease by then: two renewals of [`LEASE`].
const RENEWED_WITHIN: Duration = Duration::from_secs(6);
/// The least time between two listings by [`Members`], however often a refresh is requested.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// The registry gave no answer. Its client has counted and logged why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegistryUnavailable(pub String);

/// Why a node has no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The registry gave no answer.
    #[error("no node number: {0}")]
    Unavailable(#[from] RegistryUnavailable),
    /// All are held.
    #[error("no node number: all {} are held", u32::from(model::snowflake::NODE_MAX) + 1)]
    Exhausted,
}

/// What a node publishes about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// `host:port` where it speaks gRPC with other nodes; empty when it does not.
    pub address: String,
    /// Its roles.
    pub roles: Roles,
    /// The program's version; empty for nodes that published none yet.
    pub version: String,
}

/// A living node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u16,
    /// What it publishes about itself.
    pub info: NodeInfo,
}

/// [`NodeInfo`] as the registry stores it.
#[derive(Serialize, Deserialize)]
struct StoredInfo {
    address: String,
    roles: Vec<String>,
    #[serde(default)]
    version: String,
}

impl NodeInfo {
    fn to_json(&self) -> String {
        let roles = self.roles.iter().map(|role| role.as_str().to_owned()).collect();
        let (address, version) = (self.address.clone(), self.version.clone());
        // Strings always become JSON.
        serde_json::to_string(&StoredInfo { address, roles, version }).unwrap_or_default()
    }

    /// Leaves out roles that this version does not know.
    fn from_json(text: &str) -> Option<Self> {
        let StoredInfo { address, roles, version } = serde_json::from_str(text).ok()?;
        Some(Self { address, roles: roles.iter().filter_map(|role| role.parse::<Role>().ok()).collect(), version })
    }
}

impl Node {
    /// Parses what a lease holds: `<token>:<info>`.
    pub(crate) fn parse(number: u16, holder: &str) -> Self {
        let info = holder.split_once(':').and_then(|(_, info)| NodeInfo::from_json(info));
        let unknown =
            || NodeInfo { address: String::new(), roles: std::iter::empty::<Role>().collect(), version: String::new() };
        Self { number, info: info.unwrap_or_else(unknown) }
    }
}

/// Leases numbers and lists living nodes.
#[async_trait]
pub trait NodeRegistry: Send + Sync {
    /// Leases a number that nobody holds: the one after the number leased last or, where none was leased yet, after
    /// `start`. Returns `None` when all are held. A call repeated with the same `holder` gets the same number.
    ///
    /// # Errors
    /// [`RegistryUnavailable`]; a number may be leased all the same.
    async fn acquire(
        &self,
        holder: &str,
        ttl: LeaseTtl,
        start: u16,
    ) -> Result<Option<Box<dyn LeaseHandle>>, RegistryUnavailable>;

    /// The living nodes, in any order.
    ///
    /// # Errors
    /// [`RegistryUnavailable`].
    async fn nodes(&self) -> Result<Vec<Node>, RegistryUnavailable>;

    /// Changes when the registry was away meanwhile and may have lost its leases; one that loses none always returns the
    /// same.
    fn life(&self) -> Option<u64> {
        None
    }
}

/// A leased number, as its registry knows it. It expires unless it is renewed.
#[async_trait]
pub trait LeaseHandle: Send + Sync {
    /// The number.
    fn number(&self) -> u16;

    /// Renews the lease; `false` when somebody else has the number.
    ///
    /// # Errors
    /// [`RegistryUnavailable`].
    async fn renew(&self) -> Result<bool, RegistryUnavailable>;

    /// Ends the lease.
    ///
    /// # Errors
    /// [`RegistryUnavailable`].
    async fn release(&self) -> Result<(), RegistryUnavailable>;
}

/// The lease of this node's number. Dropping it lets it expire; [`NodeLease::release`] ends it at once.
pub struct NodeLease {
    renewed: Arc<RenewedLease>,
    _task: AbortOnDropHandle<()>,
}

/// What the holder and the renewing task share.
struct RenewedLease {
    handle: Box<dyn LeaseHandle>,
    ttl: LeaseTtl,
    /// The moments below are milliseconds since this one.
    start: Instant,
    until_ms: AtomicU64,
    /// Somebody else has the number.
    lost: AtomicBool,
}

impl NodeLease {
    /// Acquires a number that nobody holds. `token` identifies this start of the process; `ttl` is [`LEASE`] but in tests.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn acquire(
        registry: &dyn NodeRegistry,
        info: &NodeInfo,
        token: u64,
        ttl: LeaseTtl,
    ) -> Result<Self, AcquireError> {
        let asked = Instant::now();
        // A registry that knows nothing may have lost its numbers, so nodes that start anew begin anywhere.
        let first = (token >> 48) as u16;
        let holder = format!("{token:016x}:{}", info.to_json());
        let handle = registry.acquire(&holder, ttl, first).await?.ok_or(AcquireError::Exhausted)?;
        let (until_ms, lost) = (AtomicU64::new(0), AtomicBool::new(false));
        let renewed = Arc::new(RenewedLease { handle, ttl, start: asked, until_ms, lost });
        renewed.extend_from(asked);
        let task = AbortOnDropHandle::new(tokio::spawn(renew_until_lost(renewed.clone())));
        Ok(Self { renewed, _task: task })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.renewed.handle.number()
    }

    /// Whether the number may be used now, by this node's own monotonic clock. It may become true again after an outage
    /// of the registry, never after somebody else had the number.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let now_ms = self.renewed.start.elapsed().as_millis() as u64;
        !self.is_lost() && now_ms < self.renewed.until_ms.load(Ordering::Acquire)
    }

    /// Whether somebody else has the number, so that this node needs another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.renewed.lost.load(Ordering::Acquire)
    }

    /// Gives the number back.
    ///
    /// # Errors
    /// When the registry gave no answer; the lease then expires.
    pub async fn release(self) -> Result<(), RegistryUnavailable> {
        self.renewed.lost.store(true, Ordering::Release);
        self.renewed.handle.release().await
    }
}

impl Lease for NodeLease {
    fn number(&self) -> u16 {
        Self::number(self)
    }

    fn is_held(&self) -> bool {
        Self::is_held(self)
    }

    fn is_lost(&self) -> bool {
        Self::is_lost(self)
    }
}

impl RenewedLease {
    /// The lease lasts from when it was asked for.
    fn extend_from(&self, asked: Instant) {
        let length = self.ttl.length + self.ttl.spare;
        let until = asked.duration_since(self.start) + length - length / MARGIN;
        self.until_ms.store(until.as_millis() as u64, Ordering::Release);
    }
}

async fn renew_until_lost(lease: Arc<RenewedLease>) {
    loop {
        sleep(lease.ttl.length / RENEWALS).await;
        let asked = Instant::now();
        match lease.handle.renew().await {
            Ok(true) => lease.extend_from(asked),
            Ok(false) => {
                tracing::error!(number = lease.handle.number(), "this node's number was given to another node");
                lease.lost.store(true, Ordering::Release);
                return;
            }
            // The client has counted and logged why. The next turn tries again.
            Err(_) => {}
        }
    }
}

/// The living nodes, listed again and again. During an outage of the registry they are those of the last listing, and for a
/// moment afterwards: a registry that lost its leases knows a node again once that node has renewed. Clones share it.
#[derive(Clone)]
pub struct Members {
    nodes: watch::Receiver<Arc<[Node]>>,
    refresh: Arc<Notify>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Members {
    /// Lists the nodes now, and then every `interval`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`RegistryUnavailable`] when the first listing fails.
    pub async fn watch(registry: Arc<dyn NodeRegistry>, interval: Duration) -> Result<Self, RegistryUnavailable> {
        let life = registry.life();
        let (publish, nodes) = watch::channel(list(&*registry).await?.into());
        let refresh = Arc::new(Notify::new());
        let task = tokio::spawn(follow(registry, life, interval, publish, refresh.clone()));
        Ok(Self { nodes, refresh, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Members that the caller publishes: for tests.
    #[must_use]
    pub fn published(nodes: watch::Receiver<Arc<[Node]>>) -> Self {
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(async {})));
        Self { nodes, refresh: Arc::default(), _task: task }
    }

    /// The nodes of the last listing, by number.
    #[must_use]
    pub fn now(&self) -> Arc<[Node]> {
        self.nodes.borrow().clone()
    }

    /// Receives every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<[Node]>> {
        self.nodes.clone()
    }

    /// Requests a listing soon: somebody mentioned a node that is not in the last one.
    pub fn request_refresh(&self) {
        self.refresh.notify_one();
    }
}

async fn list(registry: &dyn NodeRegistry) -> Result<Vec<Node>, RegistryUnavailable> {
    let mut nodes = registry.nodes().await?;
    nodes.sort_by_key(|node| node.number);
    Ok(nodes)
}

async fn follow(
    registry: Arc<dyn NodeRegistry>,
    mut life: Option<u64>,
    interval: Duration,
    publish: watch::Sender<Arc<[Node]>>,
    refresh: Arc<Notify>,
) {
    let mut keep_until = None;
    loop {
        sleep(REFRESH_INTERVAL_MIN.min(interval)).await;
        // A request and the end of the interval mean the same.
        let _ = timeout(interval, refresh.notified()).await;
        let lives_on = std::mem::replace(&mut life, registry.life()) == life;
        // The client has counted and logged a failure.
        let listed = list(&*registry).await;
        if listed.is_err() || !lives_on {
            keep_until = Some(Instant::now() + RENEWED_WITHIN);
        }
        let Ok(mut nodes) = listed else { continue };
        publish.send_if_modified(|before| {
            if keep_until.is_some_and(|until| Instant::now() < until) {
                keep_unlisted(&mut nodes, before);
            }
            let changed = **before != *nodes;
            if changed {
                *before = nodes.into();
            }
            changed
        });
    }
}

/// Adds the nodes of before whose numbers and addresses are not listed.
fn keep_unlisted(nodes: &mut Vec<Node>, before: &[Node]) {
    let is_listed = |node: &Node| {
        let same = |other: &Node| {
            other.number == node.number || (!node.info.address.is_empty() && other.info.address == node.info.address)
        };
        nodes.iter().any(same)
    };
    let unlisted: Vec<_> = before.iter().filter(|node| !is_listed(node)).cloned().collect();
    nodes.extend(unlisted);
    nodes.sort_by_key(|node| node.number);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A registry that says what it is told to.
    struct Scripted {
        answer: Mutex<Result<Vec<Node>, RegistryUnavailable>>,
        life: AtomicU64,
        listings: AtomicU64,
    }

    #[async_trait]
    impl NodeRegistry for Scripted {
        async fn acquire(
            &self,
            _: &str,
            _: LeaseTtl,
            _: u16,
        ) -> Result<Option<Box<dyn LeaseHandle>>, RegistryUnavailable> {
            Ok(None)
        }

        async fn nodes(&self) -> Result<Vec<Node>, RegistryUnavailable> {
            self.listings.fetch_add(1, Ordering::SeqCst);
            self.answer.lock().expect("no panic").clone()
        }

        fn life(&self) -> Option<u64> {
            Some(self.life.load(Ordering::SeqCst))
        }
    }

    fn node(number: u16) -> Node {
        let address = format!("10.0.0.{number}:7070");
        Node { number, info: NodeInfo { address, roles: "ingest".parse().expect("a role"), version: String::new() } }
    }

    impl Scripted {
        fn answers(&self, answer: Result<Vec<Node>, RegistryUnavailable>) {
            *self.answer.lock().expect("no panic") = answer;
        }

        async fn is_asked_twice(&self) {
            let before = self.listings.load(Ordering::SeqCst);
            let asked = async || (self.listings.load(Ordering::SeqCst) > before + 2).then_some(());
            testkit::eventually("two listings", asked).await;
        }
    }

    #[tokio::test]
    async fn nodes_that_a_registry_lost_are_kept_until_they_have_renewed() {
        let (answer, life) = (Mutex::new(Ok(vec![node(1), node(2)])), AtomicU64::new(1));
        let registry = Arc::new(Scripted { answer, life, listings: AtomicU64::new(0) });
        let members = Members::watch(registry.clone(), Duration::from_millis(10)).await.expect("an answer");
        registry.answers(Ok(vec![node(1)]));
        registry.is_asked_twice().await;
        assert_eq!(*members.now(), [node(1)], "its lease is over");

        registry.answers(Ok(vec![node(1), node(2)]));
        registry.is_asked_twice().await;
        registry.life.store(2, Ordering::SeqCst);
        registry.answers(Ok(vec![node(2)]));
        registry.is_asked_twice().await;
        assert_eq!(*members.now(), [node(1), node(2)], "it has not renewed yet");

        registry.answers(Err(RegistryUnavailable("away".into())));
        registry.is_asked_twice().await;
        // One came back under another number.
        let renumbered = Node { number: 3, ..node(1) };
        registry.answers(Ok(vec![renumbered.clone()]));
        registry.is_asked_twice().await;
        assert_eq!(*members.now(), [node(2), renumbered]);
    }

    #[test]
    fn node_info_survives_the_registry_and_roles_of_newer_versions_are_left_out() {
        let roles = "gateway,api".parse().expect("roles");
        let info = NodeInfo { address: "10.0.0.7:7070".into(), roles, version: "1.2.3".into() };
        let node = Node::parse(3, &format!("00ff:{}", info.to_json()));
        assert_eq!(node, Node { number: 3, info: info.clone() });
        let newer = r#"00ff:{"address":"10.0.0.7:7070","roles":["gateway","oracle","api"],"shoe":9}"#;
        assert_eq!(Node::parse(3, newer).info, NodeInfo { version: String::new(), ..info });
        assert_eq!(Node::parse(3, "").info.address, "");
    }
}
