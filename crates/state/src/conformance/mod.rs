//! What every backend of this crate's ports must pass: a suite for each port.
//!
//! Called from tests only. A broken promise panics with the sentence that states it. `tag` separates two runs on one shared
//! backend. The suites need a runtime with several threads.

pub mod idempotency;
pub mod leaderboard;
pub mod presence;
pub mod rate_limit;

const AWAY: &str = "the backend is there";
