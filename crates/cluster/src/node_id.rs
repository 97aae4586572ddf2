//! This node's number, acquired anew when it is lost.
//!
//! [`NodeNumber`] fences the Snowflake generator and everything else that carries the node's number: it gives the number
//! only while the lease holds. The server's composition chooses the registry that leases it. Never makes an id itself.

use std::fmt::Display;
use std::time::Duration;

use model::Fence;
use parking_lot::RwLock;
use tokio::time::sleep;

/// How often the lease is checked, and a new number requested after a lost one.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A lease on a node's number that renews itself.
pub trait Lease: Send + Sync + 'static {
    /// The number.
    fn number(&self) -> u16;
    /// Whether the number may be used now, by this node's own monotonic clock. Costs next to nothing.
    fn is_held(&self) -> bool;
    /// Whether it can never be held again: the node needs another number.
    fn is_lost(&self) -> bool;
}

/// The lease in use.
pub struct NodeNumber<L> {
    lease: RwLock<Option<L>>,
}

impl<L: Lease> NodeNumber<L> {
    /// With the first lease.
    #[must_use]
    pub fn new(lease: L) -> Self {
        Self { lease: RwLock::new(Some(lease)) }
    }

    /// Replaces a lost lease with one from `acquire`, until the number is withdrawn. `acquire` has to make sure that ids
    /// continue after those of the number's last holder ([`model::SnowflakeGenerator::continue_after`]).
    pub async fn replace_when_lost<F, E>(&self, acquire: impl Fn() -> F)
    where
        F: Future<Output = Result<L, E>>,
        E: Display,
    {
        let mut logged = false;
        while let Some(lost) = self.with_lease(L::is_lost) {
            if lost {
                match acquire().await {
                    Ok(lease) => {
                        tracing::warn!(number = lease.number(), "this node goes on with another number");
                        self.replace(lease);
                        logged = false;
                    }
                    Err(error) if !std::mem::replace(&mut logged, true) => {
                        tracing::error!(%error, "this node has no number, so it takes nothing that needs an id");
                    }
                    Err(_) => {}
                }
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Withdraws the lease so that the caller can release it: from here on this node has no number.
    pub fn withdraw(&self) -> Option<L> {
        self.lease.write().take()
    }

    /// Puts the new lease in place of the lost one, unless the number was withdrawn meanwhile.
    fn replace(&self, new: L) {
        let mut lease = self.lease.write();
        if lease.is_some() {
            *lease = Some(new);
        }
    }

    fn with_lease<T>(&self, read: impl FnOnce(&L) -> T) -> Option<T> {
        self.lease.read().as_ref().map(read)
    }
}

impl<L: Lease> Fence for NodeNumber<L> {
    fn node(&self) -> Option<u16> {
        self.with_lease(|lease| lease.is_held().then(|| lease.number())).flatten()
    }
}
