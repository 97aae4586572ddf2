//! The backend of one process: exact, in memory, gone with it.
//!
//! Nothing awaits while a lock is held; locks are split over shards by key, so that calls for different
//! users rarely meet. Keys are 64- or 128-bit hashes under a secret of the process: texts of users are
//! not kept, and nobody outside can make two keys collide.

mod gate;
mod presence;
mod reservations;
mod shelf;

pub use gate::{KEYS_MAX, MemoryGate};
pub use presence::MemoryPresence;
pub use reservations::{ANSWERS_MAX, MemoryReservations};
pub(crate) use shelf::{Lasting, Shelf};

/// Locks per table; a power of two well above the cores of one machine.
const SHARDS: usize = 64;
