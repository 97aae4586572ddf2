//! What outlives the process: comments, sessions, rooms, reviews, words, bans, likes, critical
//! events, the audit trail, and private and group chat. The ports are [`Store`] and [`ChatStore`]; [`sqlite`] is the embedded backend and
//! [`conformance`] the suite that every backend passes.
//!
//! Nothing here decides: rules live above, in `ingest`, `room` and `chat`.

pub mod chat;
pub mod conformance;
pub mod keys;
mod port;
pub mod sqlite;
pub mod uploads;

pub use chat::ChatStore;
pub use keys::KeyStore;
pub use port::*;
pub use uploads::UploadStore;
