//! The backend of one process: exact, in memory, lost with the process.
//!
//! Nothing awaits while it holds a lock. Locks are sharded by key, so that calls for different users rarely contend. Keys are
//! 64- or 128-bit hashes under a secret of the process: no user text is stored, and nobody outside can make two keys collide.

mod expiring_map;
mod idempotency;
mod presence;
mod rate_limit;

pub(crate) use expiring_map::{Expires, ExpiringMap};
pub use idempotency::{ANSWERS_MAX, MemoryReservations};
pub use presence::MemoryPresence;
pub use rate_limit::{KEYS_MAX, MemoryRateLimiter};

/// Locks per table; a power of two well above the cores of one machine.
const SHARDS: usize = 64;
