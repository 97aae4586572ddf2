//! From a notice to this node's sockets and long polls.
//!
//! [`Post`] is the local [`UserFanout`]: it wakes the long polls of those it concerns, then hands
//! the notice to every shard, which writes it to the sockets it holds of these people. A notice is
//! encoded once per sub-protocol, when the first socket needs it. Never waits, never stores.

use std::sync::Arc;

use bus::{Notice, Sockets, UserFanout};
use bytes::Bytes;
use model::UserId;
use protocol::handshake::SubProtocol;

/// A notice on its way to sockets.
#[derive(Debug)]
pub struct Told {
    /// Whom it concerns, each named once.
    pub users: Arc<[UserId]>,
    /// Which of their sockets.
    pub sockets: Sockets,
    /// What happened.
    pub notice: Notice,
}

impl Told {
    /// The finished WebSocket frame, without a mask.
    pub fn frame(&self, _protocol: SubProtocol) -> &Bytes {
        unimplemented!()
    }
}

/// Where a shard hears of notices. Must not block.
pub trait Devices: Send + Sync {
    /// Takes one notice, always: what a socket cannot take closes that socket, which syncs later.
    fn tell(&self, told: Arc<Told>);
}

/// The fan-out of one node.
pub struct Post {}

impl Post {
    /// A post without shards.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Sets the shards, once they exist; replaces those before.
    pub fn set_devices(&self, _shards: Vec<Arc<dyn Devices>>) {
        unimplemented!()
    }
}

impl Default for Post {
    fn default() -> Self {
        Self::new()
    }
}

impl UserFanout for Post {
    fn notify(&self, _users: Arc<[UserId]>, _sockets: Sockets, _notice: Notice) {
        unimplemented!()
    }
}
