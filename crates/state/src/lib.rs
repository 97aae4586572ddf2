//! Shared volatile state: what the stations of a deployment must agree on for seconds, and may lose.
//!
//! [`gate`] decides whether a comment's rate admits it, [`reservations`] gives a retry its first
//! answer, [`gcra`] is the rule behind every limit, [`boards`] are rankings and hot comments as all nodes see them,
//! [`heat`] says which rooms are hot.
//! Ports first; [`memory`] is the backend of one
//! process; [`redis`] has those of many, and [`fallback`] puts memory in their place while they are away;
//! [`conformance`] is the suite every backend passes. [`connections`] counts sockets per address and belongs to one
//! process by nature.
//!
//! Used by `ingest`, `chat` and the edges. Nothing here reads a clock: every call is told the time. What must
//! survive a restart is in the store, never only here.

pub mod boards;
pub mod conformance;
pub mod connections;
pub mod fallback;
pub mod gate;
pub mod gcra;
pub mod heat;
pub mod memory;
pub mod presence;
pub mod redis;
pub mod reservations;

pub use boards::Boards;
pub use connections::{Connections, Permit};
pub use fallback::{FallbackGate, FallbackReservations};
pub use gate::{Answer, CoolDown, Gate, Knock, LimitKey, Scope};
pub use gcra::Rate;
pub use heat::{Heat, HeatRules};
pub use memory::{MemoryGate, MemoryPresence, MemoryReservations};
pub use presence::Presence;
pub use redis::{RedisBoards, RedisGate, RedisHeat, RedisPresence, RedisReservations};
pub use reservations::{FirstAnswer, Reservations, Reserved};

/// The shared state could not be reached. The backend has logged and counted why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shared state is away: {0}")]
pub struct StateError(pub String);

/// Result of a state operation.
pub type Result<T> = std::result::Result<T, StateError>;
