//! Fan-out: from a room's worker to the gateways that hold the room, and from chat to the gateways that hold a user.
//!
//! The ports deliver at most once and never block their caller: [`Fanout`] for rooms, [`UserFanout`] for users,
//! [`ChannelFanout`] for what the clients of a door send each other. The
//! backends are [`redis`] (pub/sub) and [`grpc`] (streams between nodes). Batches are numbered by source and room, so
//! that a gateway detects a gap and reads the room again from the store. The crate stores nothing and decides nothing.

mod admission;
mod channel;
mod exporting;
pub mod grpc;
mod outbox;
pub mod proto;
pub mod redis;
mod room;
mod sequence;
mod user;
mod user_codec;

pub use admission::AdmitComments;
pub use channel::{ChannelFanout, ChannelMessage};
pub use exporting::ExportingFanout;
pub use room::{ControlMessage, Fanout, OnGap, RoomPriority, RoomSubscriptions, RoutingFanout, Weight};
pub use user::{Notice, RemoteChanges, RereadWindow, Sockets, UserFanout};
