//! How stations talk: the ordered, durable [`log`] between ingest and the room workers, and the
//! at-most-once [`fanout`] from a worker to the gateways that hold a room.
//!
//! Ports first, backends beside them. The in-process backends are [`local`]; [`redis`] and [`grpc`] reach other nodes, with
//! records as bytes; [`kafka`] is the log of many nodes, and [`persist`] keeps what stands on it; [`registry`] says which
//! nodes live, by Redis or [`etcd`]. Only the server's wiring names one. Nothing here knows what a comment may contain or
//! who may send it.

// A suite panics where a promise is broken; it is called by tests alone.
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)]
pub mod conformance;
pub mod directory;
pub mod etcd;
pub mod fanout;
pub mod grpc;
pub mod kafka;
pub mod local;
pub mod log;
pub mod notice;
pub mod number;
mod outbox;
pub mod people;
pub mod persist;
pub mod proto;
pub mod record;
pub mod redis;
pub mod registry;
pub mod spool;
pub mod stamp;

pub use directory::Viewers;
pub use fanout::{ControlNews, Elsewhere, Fanout, TwoWays, Weigh, Weight};
pub use local::Places;
pub use log::{AppendError, Change, Consumer, Delivery, Done, Entry, Log, Position, Record, Submission};
pub use notice::{News, Notice, Sockets, Unsure, UserFanout};
pub use number::{Lease, NodeNumber};
