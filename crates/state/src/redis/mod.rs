//! The backend of many nodes: Redis, behind Sentinel, or a Cluster.
//!
//! Each decision about one user is one Lua script on that user's keys, which a Cluster keeps in one slot because
//! the user's id is their hash tag. What a room and the deployment take from everybody is leased in chunks
//! ([`lease`]). Time is Redis's: every node adds what its own clock is off by. While Redis is away every call
//! fails at once, and the caller decides what then holds.

mod boards;
mod gate;
mod heat;
mod lease;
mod presence;
mod reservations;

pub use boards::RedisBoards;
pub use gate::RedisGate;
pub use heat::RedisHeat;
pub use presence::{LEASE_MS, RedisPresence};
pub use reservations::RedisReservations;

use crate::StateError;

impl From<redis_client::Failure> for StateError {
    fn from(failure: redis_client::Failure) -> Self {
        Self(failure.to_string())
    }
}
