//! From a notice to this node's sockets and long polls.
//!
//! [`Post`] is the local [`UserFanout`]: it wakes the long polls of those it concerns, then hands
//! the notice to every shard, which writes it to the sockets it holds of these people. A notice is
//! encoded once per sub-protocol, when the first socket needs it. Never waits, never stores.

use std::sync::{Arc, OnceLock};

use ahash::HashMap;
use bus::{Notice, Sockets, UserFanout};
use bytes::Bytes;
use model::UserId;
use parking_lot::{Mutex, RwLock};
use protocol::handshake::SubProtocol;
use protocol::message::ServerMessage;
use protocol::spoken;
use tokio::sync::Notify;

use crate::frames;

/// People with a waiting long poll on this node; one more does not wait.
const LISTENERS_MAX: usize = 100_000;

/// A notice on its way to sockets.
#[derive(Debug)]
pub struct Told {
    /// Whom it concerns, each named once.
    pub users: Arc<[UserId]>,
    /// Which of their sockets.
    pub sockets: Sockets,
    /// What happened.
    pub notice: Notice,
    json: OnceLock<Option<Bytes>>,
    proto: OnceLock<Option<Bytes>>,
}

impl Told {
    /// The finished WebSocket frame, without a mask; `None` for what no socket is told.
    pub fn frame(&self, protocol: SubProtocol) -> Option<&Bytes> {
        let frame = if protocol == SubProtocol::Proto { &self.proto } else { &self.json };
        let encode = || {
            let mut out = Vec::new();
            spoken::message(protocol, &ServerMessage::Chat(frames::message(&self.notice)?), None, &mut out);
            Some(out.into())
        };
        frame.get_or_init(encode).as_ref()
    }
}

/// Where a shard hears of notices. Must not block.
pub trait Devices: Send + Sync {
    /// Takes one notice, always: what a socket cannot take closes that socket, which syncs later.
    fn tell(&self, told: Arc<Told>);
}

/// The fan-out of one node.
#[derive(Default)]
pub struct Post {
    shards: RwLock<Vec<Arc<dyn Devices>>>,
    listeners: Mutex<HashMap<UserId, Arc<Bell>>>,
}

/// What wakes one person's long polls.
#[derive(Default)]
pub(crate) struct Bell {
    /// A message.
    message: Notify,
    /// A message or a change.
    anything: Notify,
}

impl Bell {
    /// What to wait for.
    pub fn of(&self, changes_too: bool) -> &Notify {
        if changes_too { &self.anything } else { &self.message }
    }
}

impl Post {
    /// A post without shards.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the shards, once they exist; replaces those before.
    pub fn set_devices(&self, shards: Vec<Arc<dyn Devices>>) {
        *self.shards.write() = shards;
    }

    /// A bell for one waiting poll; `None` when too many wait.
    pub(crate) fn listen(&self, user: &UserId) -> Option<Listening<'_>> {
        let mut listeners = self.listeners.lock();
        if !listeners.contains_key(user) && listeners.len() >= LISTENERS_MAX {
            return None;
        }
        let bell = listeners.entry(user.clone()).or_default().clone();
        Some(Listening { post: self, user: user.clone(), bell })
    }

    fn wake(&self, users: &[UserId], notice: &Notice) {
        let message = matches!(notice, Notice::Message(_));
        if !message && notice.change().is_none() {
            return;
        }
        let listeners = self.listeners.lock();
        if listeners.is_empty() {
            return;
        }
        for bell in users.iter().filter_map(|user| listeners.get(user)) {
            bell.anything.notify_waiters();
            if message {
                bell.message.notify_waiters();
            }
        }
    }
}

impl UserFanout for Post {
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice) {
        if users.is_empty() {
            return;
        }
        self.wake(&users, &notice);
        let told = Arc::new(Told { users, sockets, notice, json: OnceLock::new(), proto: OnceLock::new() });
        for shard in self.shards.read().iter() {
            shard.tell(told.clone());
        }
    }
}

/// One waiting poll; the last one's end removes the person's bell.
pub(crate) struct Listening<'a> {
    post: &'a Post,
    user: UserId,
    pub bell: Arc<Bell>,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut listeners = self.post.listeners.lock();
        // The map's and this one.
        if Arc::strong_count(&self.bell) <= 2 {
            listeners.remove(&self.user);
        }
    }
}
