//! The backend of many nodes: a single Redis, Sentinel, or a Cluster.
//!
//! Each decision about one user is one Lua script on that user's keys. A Cluster keeps them in one slot, because the user's id is
//! their hash tag. The rates of rooms and the deployment are leased in chunks ([`lease`]). Time is Redis's: every node adds its
//! own clock's offset. While Redis is away every call fails at once, and the caller decides what holds then.

mod hot_rooms;
mod idempotency;
mod leaderboard;
mod lease;
mod presence;
mod rate_limit;

pub use hot_rooms::RedisHotRooms;
pub use idempotency::RedisReservations;
pub use leaderboard::RedisLeaderboards;
pub use presence::{LEASE_MS, RedisPresence};
pub use rate_limit::RedisRateLimiter;

use crate::StateError;

impl From<redis_client::CallError> for StateError {
    fn from(failure: redis_client::CallError) -> Self {
        Self(failure.to_string())
    }
}
