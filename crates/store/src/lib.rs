//! What outlives the process: comments, sessions, rooms, reviews, words, bans, likes, critical
//! events and the audit trail. The port is [`Store`]; [`sqlite`] is the embedded backend and
//! [`conformance`] the suite that every backend passes.
//!
//! Nothing here decides: rules live above, in `ingest` and `room`.

pub mod conformance;
mod port;
pub mod sqlite;

pub use port::*;
