//! A shard's one queue from outside: the hub's batches, accepted sockets, answers of async commands.
//!
//! Anybody may push; only the shard takes. Pushing wakes the shard's epoll only when it sleeps, so a
//! busy shard costs its senders no system call.
//!
//! Batches that carry comments only are refused when [`MESSAGES_MAX`] messages wait (the hub counts
//! them as omitted). Everything else is always taken: it is bounded by the sockets that exist (one
//! answer each), by what users may send (chat), or rare (events, bans).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Wake;
use std::time::Instant;

use mio::net::TcpStream;
use model::{DeviceId, Snowflake, UserId, WireError};
use parking_lot::Mutex;
use room::HubRoom;
use room::batch::{ConnRef, EventFrame, Shard, ToShard};
use room::hub::StreamId;
use serde_json::value::RawValue;

/// Messages that may wait before comments are refused: minutes of a busy room.
const MESSAGES_MAX: usize = 4_096;

/// What a shard can be told.
pub(crate) enum Inbound {
    /// By the hub.
    Hub(ToShard),
    /// A socket that another shard accepted takes its seat here.
    Accepted(TcpStream, SocketAddr),
    /// An async command is done.
    Reply(ConnRef, Reply),
    /// What the store still owes a user who has just connected.
    Unacknowledged(ConnRef, Vec<Arc<EventFrame>>),
    /// A device connected anew: its sockets with an older session close.
    Replaced { user: UserId, device: DeviceId, session: u64 },
    /// A user has acknowledged an event on a socket of another shard.
    Acknowledged { user: UserId, event: Snowflake },
    /// Something happened in chat to users who may sit here.
    Told(Arc<chat::Told>),
    /// Stop accepting, tell every socket to reconnect, end by then.
    Drain(Instant),
}

impl Inbound {
    /// The one socket it is for, if it is for one.
    pub fn conn(&self) -> Option<ConnRef> {
        match self {
            Self::Hub(ToShard::Joined(joined)) => Some(joined.conn),
            Self::Reply(conn, _) | Self::Unacknowledged(conn, _) => Some(*conn),
            _ => None,
        }
    }
}

/// How an async command ended.
pub(crate) enum Reply {
    /// With these finished frames, perhaps none.
    Frames(Vec<u8>),
    /// A join was handed to the hub, whose answer is in this inbox already.
    Joined,
    /// A join was refused; the reader stays in the stream it was in.
    NotJoined { error: WireError, reference: Option<Box<RawValue>>, previous: Option<(Arc<HubRoom>, StreamId)> },
}

pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Inbound>>,
    waker: mio::Waker,
    /// The shard is about to block, or blocks, in epoll.
    asleep: AtomicBool,
    /// The shard's load as bits of an `f32`.
    load: AtomicU32,
}

impl Inbox {
    pub fn new(registry: &mio::Registry, token: mio::Token) -> io::Result<Self> {
        let waker = mio::Waker::new(registry, token)?;
        let (queue, asleep, load) = (Mutex::default(), AtomicBool::new(false), AtomicU32::new(0));
        Ok(Self { queue, waker, asleep, load })
    }

    pub fn push(&self, message: Inbound) {
        self.put(message);
        self.wake_shard();
    }

    /// Leaves a message without waking anybody: whoever does wakes the shard afterwards, see [`Wake`].
    pub fn put(&self, message: Inbound) {
        self.queue.lock().push_back(message);
    }

    fn wake_shard(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            // The shard still wakes for its next tick.
            tracing::warn!(%error, "a shard could not be woken");
        }
    }

    /// Announces that the shard is going to sleep; false when something waits and it must not.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        self.queue.lock().is_empty()
    }

    /// The shard is awake: nobody needs to wake it.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Exchanges what waits for an empty queue, whose memory is used again.
    pub fn take(&self, empty: &mut VecDeque<Inbound>) {
        std::mem::swap(&mut *self.queue.lock(), empty);
    }

    pub fn set_load(&self, load: f32) {
        self.load.store(load.to_bits(), Ordering::Relaxed);
    }
}

/// For whoever leaves several messages and wakes the shard once.
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_shard();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_shard();
    }
}

impl Shard for Inbox {
    fn send(&self, message: ToShard) -> bool {
        let may_be_refused = matches!(&message, ToShard::Batch(batch) if batch.events.is_empty());
        let mut queue = self.queue.lock();
        if may_be_refused && queue.len() >= MESSAGES_MAX {
            return false;
        }
        queue.push_back(Inbound::Hub(message));
        drop(queue);
        self.wake_shard();
        true
    }

    fn load(&self) -> f32 {
        f32::from_bits(self.load.load(Ordering::Relaxed))
    }
}
