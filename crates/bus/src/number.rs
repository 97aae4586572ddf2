//! This node's number, taken anew when it is lost.
//!
//! [`NodeNumber`] is the fence of the Snowflake generator (and of whatever else is marked with the node): it says the
//! number only while the lease holds. Which registry leases it is the wiring's affair. Never makes an id itself.

use std::fmt::Display;
use std::time::Duration;

use model::Fence;
use parking_lot::RwLock;
use tokio::time::sleep;

/// How often the lease is looked at, and a new number asked for after a lost one.
const LOOK: Duration = Duration::from_millis(250);

/// A lease on a node's number, which prolongs itself.
pub trait Lease: Send + Sync + 'static {
    /// The number.
    fn number(&self) -> u16;
    /// Whether the number may be used now, by this node's own monotonic clock. Costs next to nothing.
    fn is_held(&self) -> bool;
    /// Whether it can never be held again: the node needs another number.
    fn is_lost(&self) -> bool;
}

/// The lease that is in use.
pub struct NodeNumber<L> {
    lease: RwLock<Option<L>>,
}

impl<L: Lease> NodeNumber<L> {
    /// With the first lease.
    #[must_use]
    pub fn new(lease: L) -> Self {
        Self { lease: RwLock::new(Some(lease)) }
    }

    /// Looks after the number until it is left, and takes another with `take` when it is lost. Before `take` answers it
    /// should make sure that ids go on after whatever the number's last holder made
    /// ([`model::SnowflakeGenerator::go_on_after`]).
    pub async fn keep<F, E>(&self, take: impl Fn() -> F)
    where
        F: Future<Output = Result<L, E>>,
        E: Display,
    {
        let mut told = false;
        while let Some(lost) = self.look(L::is_lost) {
            if lost {
                match take().await {
                    Ok(lease) => {
                        tracing::warn!(number = lease.number(), "this node goes on with another number");
                        self.exchange(lease);
                        told = false;
                    }
                    Err(error) if !std::mem::replace(&mut told, true) => {
                        tracing::error!(%error, "this node has no number, so it takes nothing that needs an id");
                    }
                    Err(_) => {}
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes the lease out, to give it back: from here on this node has no number.
    pub fn leave(&self) -> Option<L> {
        self.lease.write().take()
    }

    /// Puts the new lease in place of the lost one, unless the number was left meanwhile.
    fn exchange(&self, new: L) {
        let mut lease = self.lease.write();
        if lease.is_some() {
            *lease = Some(new);
        }
    }

    fn look<T>(&self, at: impl FnOnce(&L) -> T) -> Option<T> {
        self.lease.read().as_ref().map(at)
    }
}

impl<L: Lease> Fence for NodeNumber<L> {
    fn node(&self) -> Option<u16> {
        self.look(|lease| lease.is_held().then(|| lease.number())).flatten()
    }
}
