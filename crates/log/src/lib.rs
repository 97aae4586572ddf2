//! The log: the ordered, durable hand-over between ingest and the room workers.
//!
//! Ingest appends a [`Record`]; the log makes it durable, gives it a [`Position`] and hands it to every consumer of a
//! group in order. [`local`] is the log of one process, [`kafka`] the log of many nodes, [`spool`] keeps records on this
//! node's disk while the system they belong to is away. [`persist`] copies a shared log into the store. [`hlc`] makes
//! positions that several nodes give without asking each other. [`first`] finds the later of two comments with one
//! `client_msg_id`. The crate never looks into a comment's text and never decides who may send it.

// The suite panics where a promise is broken; only the backends' tests call it.
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)]
pub mod conformance;
pub mod first;
pub mod hlc;
pub mod kafka;
pub mod local;
pub mod persist;
mod port;
pub mod proto;
pub mod record;
pub mod spool;

pub use local::PositionSource;
pub use port::{AppendError, Change, Consumer, Delivery, Done, Entry, Log, Position, Record, ShardOf, Submission};
