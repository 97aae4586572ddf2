//! What outlives the process: comments, sessions, rooms, reviews, words, bans, likes, critical
//! events and the audit trail. The port is [`Store`]; [`sqlite`] is the embedded backend,
//! [`mysql`] that of many nodes, and [`conformance`] the suite that both pass.
//!
//! Nothing here decides: rules live above, in `ingest` and `room`.

pub mod conformance;
pub mod mysql;
mod port;
pub mod sqlite;

pub use port::*;
