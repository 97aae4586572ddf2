//! Shared volatile state: what the nodes of a deployment must agree on for seconds, and may lose.
//!
//! Each port is a small trait: [`rate_limit`] admits comments by rate and repetition, [`idempotency`] gives a retry its first
//! answer, [`presence`] knows who is connected, [`leaderboard`] holds rankings and hot comments, [`hot_rooms`] finds rooms that
//! are hot. [`memory`] is the backend of one process, [`redis`] the one of many nodes. [`fallback`] uses memory while Redis is
//! away. [`conformance`] has a suite for each port. [`gcra`] is the rule behind every limit; [`connections`] counts sockets per
//! address within one process, and [`addresses`] says which address a client has.
//!
//! Used by `ingest`, `chat`, `worker` and the edges. Nothing here reads a clock: every call gets the time. What must survive a
//! restart is in the store, never only here.

pub mod addresses;
pub mod conformance;
pub mod connections;
pub mod fallback;
pub mod gcra;
pub mod hot_rooms;
pub mod idempotency;
pub mod leaderboard;
pub mod memory;
pub mod presence;
pub mod rate_limit;
pub mod redis;
mod user_sockets;

pub use addresses::{AddressRules, Addresses, ForwardedHeader, ForwardedHeaders, TooManyConnections};
pub use connections::{Connections, Permit};
pub use fallback::{FallbackRateLimiter, FallbackReservations};
pub use gcra::Rate;
pub use hot_rooms::{HeatRules, HotRooms, SharedHotRooms};
pub use idempotency::{Finished, Reservations, Reserved};
pub use leaderboard::Leaderboards;
pub use memory::{MemoryPresence, MemoryRateLimiter, MemoryReservations};
pub use model::FirstAnswer;
pub use presence::Presence;
pub use rate_limit::{CoolDown, LimitKey, RateDecision, RateLimiter, RateRequest, Scope};
pub use redis::{RedisHotRooms, RedisLeaderboards, RedisPresence, RedisRateLimiter, RedisReservations};
pub use user_sockets::{UserPermit, UserSockets};

/// The shared state could not be reached. The backend has logged and counted why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shared state is away: {0}")]
pub struct StateError(pub String);

/// Result of a state operation.
pub type Result<T> = std::result::Result<T, StateError>;
