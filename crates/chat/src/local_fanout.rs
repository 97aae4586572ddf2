//! Delivers notices to this node's sockets and long polls.
//!
//! [`LocalUserFanout`] is the local [`UserFanout`]. It wakes the long polls of the users concerned, then hands the notice
//! to every shard, which encodes it and writes it to its sockets. It never waits, stores nothing and encodes nothing.

use std::sync::Arc;

use ahash::HashMap;
use fanout::{Notice, Sockets, UserFanout};
use model::UserId;
use parking_lot::{Mutex, RwLock};
use protocol::chat::ChatMessage;
use protocol::encode::EncodeOnce;
use tokio::sync::Notify;

use crate::frames;

/// Users with a waiting long poll on this node; polls of further users do not wait.
const POLLING_USERS_MAX: usize = 100_000;

/// A notice on its way to sockets.
#[derive(Debug)]
pub struct OutboundNotice {
    /// The users it concerns, each once.
    pub users: Arc<[UserId]>,
    /// Which of their sockets.
    pub sockets: Sockets,
    /// What happened.
    pub notice: Notice,
    /// Its encodings, each made by the first shard that needs it.
    pub encoded: EncodeOnce<2>,
}

impl OutboundNotice {
    /// The message for clients; `None` for a notice that is for this process only.
    #[must_use]
    pub fn message(&self) -> Option<ChatMessage<'_>> {
        frames::message(&self.notice)
    }
}

/// Takes notices for a shard. Must not block.
pub trait ShardSink: Send + Sync {
    /// Takes every notice. A socket that cannot take one closes, and its device syncs later.
    fn deliver(&self, notice: Arc<OutboundNotice>);
}

/// The fan-out of one node.
#[derive(Default)]
pub struct LocalUserFanout {
    shards: RwLock<Vec<Arc<dyn ShardSink>>>,
    polls: Mutex<HashMap<UserId, Arc<PollWaker>>>,
}

/// Wakes the long polls of one user.
#[derive(Default)]
pub(crate) struct PollWaker {
    /// A message.
    message: Notify,
    /// A message or a change.
    anything: Notify,
}

impl PollWaker {
    /// The notification to wait for.
    pub fn notify(&self, changes_too: bool) -> &Notify {
        if changes_too { &self.anything } else { &self.message }
    }
}

impl LocalUserFanout {
    /// A fan-out without shards.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the shards, once they exist.
    pub fn set_shards(&self, shards: Vec<Arc<dyn ShardSink>>) {
        *self.shards.write() = shards;
    }

    /// Registers a waiting poll; `None` when too many users poll.
    pub(crate) fn register_poll(&self, user: &UserId) -> Option<PollRegistration<'_>> {
        let mut polls = self.polls.lock();
        if !polls.contains_key(user) && polls.len() >= POLLING_USERS_MAX {
            return None;
        }
        let waker = polls.entry(user.clone()).or_default().clone();
        Some(PollRegistration { fanout: self, user: user.clone(), waker })
    }

    fn wake(&self, users: &[UserId], notice: &Notice) {
        let message = matches!(notice, Notice::Message(_));
        if !message && notice.change().is_none() {
            return;
        }
        let polls = self.polls.lock();
        if polls.is_empty() {
            return;
        }
        for waker in users.iter().filter_map(|user| polls.get(user)) {
            waker.anything.notify_waiters();
            if message {
                waker.message.notify_waiters();
            }
        }
    }
}

impl UserFanout for LocalUserFanout {
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice) {
        if users.is_empty() {
            return;
        }
        self.wake(&users, &notice);
        let notice = Arc::new(OutboundNotice { users, sockets, notice, encoded: EncodeOnce::default() });
        for shard in self.shards.read().iter() {
            shard.deliver(notice.clone());
        }
    }
}

/// One waiting poll. Dropping a user's last one removes the waker.
pub(crate) struct PollRegistration<'a> {
    fanout: &'a LocalUserFanout,
    user: UserId,
    pub waker: Arc<PollWaker>,
}

impl Drop for PollRegistration<'_> {
    fn drop(&mut self) {
        let mut polls = self.fanout.polls.lock();
        // The map's reference and this one.
        if Arc::strong_count(&self.waker) <= 2 {
            polls.remove(&self.user);
        }
    }
}
