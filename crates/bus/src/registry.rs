//! Who lives, what they do and where, and with which number.
//!
//! A node holds its number (of Snowflake ids) by a lease that a task prolongs. Two clocks keep two nodes from using
//! one number: the registry gives it to nobody else before the lease is over by its clock, and the node stops using
//! it before that by its own monotonic one, counted from before it asked. Should a failover lose a lease, numbers go
//! round: the lost one is the last to be given again. A node that finds its number given to another never uses it
//! again and has to take a new one.
//!
//! The registry itself is [`Registry`]: Redis or etcd, by the same promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::{Role, Roles};
use redis_client::Redis;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::etcd::{self, Etcd};
use crate::number::Lease;
use crate::redis::registry as in_redis;

/// For how long a node is given its number.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// A node that does not prolong its lease for so long is no longer among those that live.
    pub length: Duration,
    /// Its number is nobody else's for so long after that, so a node whose registry is away for no longer goes on.
    pub spare: Duration,
}

/// The term in use. Numbers are many and go round, so that each is kept for an hour costs nothing.
pub const LEASE: Term = Term { length: Duration::from_secs(15), spare: Duration::from_secs(3_600) };
/// A lease is prolonged so many times in its length.
const BEATS: u32 = 5;
/// The share of a lease that its holder does not use: clocks run differently fast.
const MARGIN: u32 = 10;
/// [`Members`] looks at most so often, however often it is asked to.
const LOOKS_APART: Duration = Duration::from_millis(200);

/// The registry gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// Redis did not.
    #[error(transparent)]
    Redis(#[from] redis_client::Failure),
    /// etcd did not.
    #[error(transparent)]
    Etcd(#[from] etcd::Failure),
}

/// Why a node has no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoNumber {
    /// The registry gave no answer.
    #[error("no node number: {0}")]
    Away(#[from] Away),
    /// All are held.
    #[error("no node number: all {} are held", u32::from(model::snowflake::NODE_MAX) + 1)]
    AllHeld,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// `host:port` where it speaks gRPC with other nodes; empty when it does not.
    pub address: String,
    /// What it does.
    pub roles: Roles,
}

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u16,
    /// What it says of itself.
    pub card: Card,
}

/// As the registry keeps it. Roles that this version does not know are left out.
#[derive(Serialize, Deserialize)]
struct Kept {
    address: String,
    roles: Vec<String>,
}

impl Card {
    fn to_json(&self) -> String {
        let roles = self.roles.iter().map(|role| role.as_str().to_owned()).collect();
        // Two strings always become JSON.
        serde_json::to_string(&Kept { address: self.address.clone(), roles }).unwrap_or_default()
    }

    fn from_json(text: &str) -> Option<Self> {
        let Kept { address, roles } = serde_json::from_str(text).ok()?;
        Some(Self { address, roles: roles.iter().filter_map(|role| role.parse::<Role>().ok()).collect() })
    }
}

impl Node {
    /// From its number and what its lease holds: `<token>:<card>`.
    pub(crate) fn read(number: u16, holder: &str) -> Self {
        let card = holder.split_once(':').and_then(|(_, card)| Card::from_json(card));
        let nothing = || Card { address: String::new(), roles: std::iter::empty::<Role>().collect() };
        Self { number, card: card.unwrap_or_else(nothing) }
    }
}

/// Where numbers are leased and nodes are listed.
#[derive(Clone)]
pub enum Registry {
    /// Redis, Sentinel or a Cluster.
    Redis(Redis),
    /// etcd.
    Etcd(Etcd),
}

/// A number that a node has asked for.
pub(crate) struct Claim {
    pub(crate) number: u16,
    /// `<token>:<card>`.
    pub(crate) holder: String,
    pub(crate) term: Term,
    /// As etcd calls them; Redis has none.
    pub(crate) leases: etcd::registry::Leases,
}

impl Registry {
    /// A claim on a number that nobody holds.
    async fn take(&self, holder: String, token: u64, term: Term) -> Result<Claim, NoNumber> {
        // Where nothing is known numbers may have been lost with it, so nodes that begin anew begin anywhere.
        let start = (token >> 48) as u16;
        let taken = match self {
            Self::Redis(redis) => {
                let number = in_redis::take(redis, &holder, term, start).await.map_err(Away::from)?;
                number.map(|number| (number, etcd::registry::Leases::default()))
            }
            Self::Etcd(etcd) => etcd::registry::take(etcd, &holder, term, start).await.map_err(Away::from)?,
        };
        let (number, leases) = taken.ok_or(NoNumber::AllHeld)?;
        Ok(Claim { number, holder, term, leases })
    }

    /// Prolongs the claim; `false` when somebody else has the number.
    async fn keep(&self, claim: &Claim) -> Result<bool, Away> {
        Ok(match self {
            Self::Redis(redis) => in_redis::keep(redis, claim).await?,
            Self::Etcd(etcd) => etcd::registry::keep(etcd, claim).await?,
        })
    }

    async fn give(&self, claim: &Claim) -> Result<(), Away> {
        match self {
            Self::Redis(redis) => in_redis::give(redis, claim).await?,
            Self::Etcd(etcd) => etcd::registry::give(etcd, claim).await?,
        }
        Ok(())
    }

    /// The nodes that live, by number.
    ///
    /// # Errors
    /// [`Away`] when there was no answer.
    pub async fn nodes(&self) -> Result<Vec<Node>, Away> {
        let mut nodes = match self {
            Self::Redis(redis) => in_redis::nodes(redis).await?,
            Self::Etcd(etcd) => etcd::registry::nodes(etcd).await?,
        };
        nodes.sort_by_key(|node| node.number);
        Ok(nodes)
    }
}

/// The lease of a node's number. Dropping it lets it run out; [`NodeLease::give_up`] ends it at once.
pub struct NodeLease {
    held: Arc<Held>,
    _task: AbortOnDropHandle<()>,
}

struct Held {
    registry: Registry,
    claim: Claim,
    /// The moments below are milliseconds since this one.
    start: Instant,
    until_ms: AtomicU64,
    /// Somebody else has the number.
    lost: AtomicBool,
}

impl NodeLease {
    /// Takes a number that nobody holds. `token` is a secret of this start of the process, by which it is told from an
    /// earlier one; `term` is [`LEASE`] but in tests. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`NoNumber`].
    pub async fn take(registry: Registry, card: &Card, token: u64, term: Term) -> Result<Self, NoNumber> {
        let asked = Instant::now();
        let claim = registry.take(format!("{token:016x}:{}", card.to_json()), token, term).await?;
        let (until_ms, lost) = (AtomicU64::new(0), AtomicBool::new(false));
        let held = Arc::new(Held { registry, claim, start: asked, until_ms, lost });
        held.prolong(asked);
        let task = AbortOnDropHandle::new(tokio::spawn(keep(held.clone())));
        Ok(Self { held, _task: task })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.held.claim.number
    }

    /// Whether the number may be used now, by this node's own monotonic clock. It may become true again while the
    /// registry was away, never after somebody else had the number.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let now_ms = self.held.start.elapsed().as_millis() as u64;
        !self.is_lost() && now_ms < self.held.until_ms.load(Ordering::Acquire)
    }

    /// Whether somebody else has the number, so that this node needs another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.held.lost.load(Ordering::Acquire)
    }

    /// Gives the number back.
    ///
    /// # Errors
    /// When the registry gave no answer; the lease then runs out.
    pub async fn give_up(self) -> Result<(), Away> {
        self.held.lost.store(true, Ordering::Release);
        self.held.registry.give(&self.held.claim).await
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

impl Held {
    /// The lease lasts from when it was asked for.
    fn prolong(&self, asked: Instant) {
        let length = self.claim.term.length + self.claim.term.spare;
        let until = asked.duration_since(self.start) + length - length / MARGIN;
        self.until_ms.store(until.as_millis() as u64, Ordering::Release);
    }
}

/// Prolongs the lease until somebody else has the number.
async fn keep(held: Arc<Held>) {
    loop {
        sleep(held.claim.term.length / BEATS).await;
        let asked = Instant::now();
        match held.registry.keep(&held.claim).await {
            Ok(true) => held.prolong(asked),
            Ok(false) => {
                tracing::error!(number = held.claim.number, "this node's number was given to another node");
                held.lost.store(true, Ordering::Release);
                return;
            }
            // The client has counted and logged why. Tried again at the next beat.
            Err(_) => {}
        }
    }
}

/// The nodes that live, looked at again and again. While the registry is away they are those of the last look.
/// Clones share it.
#[derive(Clone)]
pub struct Members {
    nodes: watch::Receiver<Arc<[Node]>>,
    again: Arc<Notify>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Members {
    /// Looks now, and then every `every`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Away`] when the registry gave no answer to the first look.
    pub async fn watch(registry: Registry, every: Duration) -> Result<Self, Away> {
        let (tell, nodes) = watch::channel(registry.nodes().await?.into());
        let again = Arc::new(Notify::new());
        let task = tokio::spawn(look(registry, every, tell, again.clone()));
        Ok(Self { nodes, again, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Members that somebody else tells of: for tests.
    #[must_use]
    pub fn told(nodes: watch::Receiver<Arc<[Node]>>) -> Self {
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(async {})));
        Self { nodes, again: Arc::default(), _task: task }
    }

    /// The nodes of the last look, by number.
    #[must_use]
    pub fn now(&self) -> Arc<[Node]> {
        self.nodes.borrow().clone()
    }

    /// Hears of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<[Node]>> {
        self.nodes.clone()
    }

    /// Looks again soon: somebody spoke of a node that is not among them.
    pub fn look_again(&self) {
        self.again.notify_one();
    }
}

async fn look(registry: Registry, every: Duration, tell: watch::Sender<Arc<[Node]>>, again: Arc<Notify>) {
    loop {
        sleep(LOOKS_APART.min(every)).await;
        // Whether asked to or because it is time.
        let _ = timeout(every, again.notified()).await;
        // The client has counted and logged why there is none.
        if let Ok(nodes) = registry.nodes().await {
            tell.send_if_modified(|before| {
                let changed = **before != *nodes;
                if changed {
                    *before = nodes.into();
                }
                changed
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_reads_as_it_was_written_and_a_newer_ones_roles_are_left_out() {
        let card = Card { address: "10.0.0.7:7070".into(), roles: "gateway,api".parse().expect("roles") };
        let node = Node::read(3, &format!("00ff:{}", card.to_json()));
        assert_eq!(node, Node { number: 3, card: card.clone() });
        let newer = r#"00ff:{"address":"10.0.0.7:7070","roles":["gateway","oracle","api"],"shoe":9}"#;
        assert_eq!(Node::read(3, newer).card, card);
        assert_eq!(Node::read(3, "").card.address, "");
    }
}
