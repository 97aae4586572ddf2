//! What outlives the process: comments, sessions, rooms, reviews, words, bans, likes, critical
//! events, the audit trail, private and group chat, keys and uploads. The ports are [`Store`], [`ChatStore`],
//! [`KeyStore`] and [`UploadStore`]; [`sqlite`] is the embedded backend of all of them, [`mysql`] that of
//! many nodes, and [`conformance`] is the suite that every backend passes.
//!
//! Nothing here decides: rules live above, in `ingest`, `room` and `chat`.

pub mod chat;
pub mod conformance;
pub mod keys;
pub mod mysql;
mod port;
pub mod sqlite;
mod tally;
pub mod uploads;

pub use chat::ChatStore;
pub use keys::KeyStore;
pub use port::*;
pub use uploads::UploadStore;
