//! The room worker: reads the log, keeps leaderboards and hot comments, and pushes each room's entries to the gateways.
//!
//! The server starts one for the node's own log and, in the Kafka shape, one as a member of the consumer group.
//! [`worker`] is the loop, [`order`] sorts by priority, [`leaderboards`] keeps rankings and hot comments. It never
//! touches a socket; a slow gateway or database delays it nowhere.

pub mod hot;
mod kept_rankings;
mod leaderboard;
pub mod leaderboards;
pub mod order;
pub mod ranking;
mod shared_leaderboard;
mod unacked_changes;
mod worker;

pub use worker::Worker;
