//! The hub: a gateway's rooms, and what each viewer of a room is given.
//!
//! Room workers feed it through [`fanout::Fanout`]. Gateways join sockets; the HTTP API polls and follows event streams.
//! [`hub`] owns the rooms and their timers, [`room`] one room, [`window`] says when a batch leaves. [`stream`], [`merge`],
//! [`budget`] and [`select`] say what is in it, and [`ring`] keeps a room's last comments. [`batch`] is what leaves, and
//! [`live`] keeps it as segments for those who read through a cache. [`takeover`] moves
//! readers to another process.
//! It never encodes a frame and never touches a socket.

pub mod batch;
pub mod budget;
mod catch_up;
pub mod hub;
pub mod live;
pub mod merge;
mod polling;
mod purges;
pub mod ring;
mod room;
pub mod select;
mod shadows;
pub mod stream;
pub mod takeover;
mod unstored;
pub mod window;

pub use hub::{Hub, HubSettings, JoinRequest, Opener, Sanction, Tap};
pub use polling::{Page, Poll};
pub use room::Room;
pub use stream::{StreamId, TapMessage};
pub use takeover::{Reading, RoomProgress};
