//! The worker and its leaderboards.

mod leaderboards;
mod worker;
