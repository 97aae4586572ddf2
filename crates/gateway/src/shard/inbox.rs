//! A shard's one queue from outside: the hub's batches, accepted sockets, replies of async commands.
//!
//! Any thread may push; only the shard fetches. A push wakes the shard's epoll only when it sleeps, so a busy shard costs
//! its senders no system call.
//!
//! It refuses batches of comments only when [`MESSAGES_MAX`] messages wait; the hub counts those as omitted. It always takes
//! everything else, which is bounded by the existing sockets (one reply each), by what users may send (chat), or rare
//! (events, bans).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Wake;
use std::time::Instant;

use hub::batch::{ConnRef, ShardInbox, ShardMessage, SharedEvent};
use hub::{Room, StreamId};
use mio::net::TcpStream;
use model::{DeviceId, Snowflake, UserId, WireError};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::handover::ParkedShard;
use crate::transport::quic::ClientStream;
use crate::transport::quic::listener::NewSession;

/// Messages that may wait before comments are refused: minutes of a busy room.
const MESSAGES_MAX: usize = 4_096;

/// A message to a shard.
#[cfg_attr(not(feature = "quic"), expect(dead_code, reason = "sessions are of QUIC"))]
pub(crate) enum Inbound {
    /// From the hub.
    Hub(ShardMessage),
    /// A socket that another shard accepted for this one.
    Accepted(TcpStream, SocketAddr),
    /// A request for a WebTransport session.
    Session(Box<NewSession>),
    /// The client of a session has opened its stream.
    SessionStream(ConnRef, Box<ClientStream>),
    /// A session may be read or written again.
    SessionReady(ConnRef),
    /// A session is over; with the client's code, when the client ended it.
    SessionEnded(ConnRef, Option<u32>),
    /// An async command is done.
    Reply(ConnRef, Reply),
    /// Stored events that a user who has just connected has not acknowledged.
    Unacknowledged(ConnRef, Vec<Arc<SharedEvent>>),
    /// A device has a newer session: its sockets with an older one close.
    Replaced { user: UserId, device: DeviceId, session: u64 },
    /// A user has acknowledged an event on a socket of another shard.
    Acknowledged { user: UserId, event: Snowflake },
    /// A chat notice for users who may be connected here.
    Notice(Arc<chat::OutboundNotice>),
    /// Stop accepting and reading; answered once no command runs.
    Freeze(oneshot::Sender<()>),
    /// Accept and read on.
    Thaw,
    /// Give every socket away and end.
    Park(oneshot::Sender<ParkedShard>),
    /// Stop accepting, tell every socket to reconnect, end by this moment.
    Drain(Instant),
}

impl Inbound {
    /// The socket it is for, if it is for one.
    pub fn conn(&self) -> Option<ConnRef> {
        match self {
            Self::Hub(ShardMessage::Joined(joined)) => Some(joined.conn),
            Self::Reply(conn, _) | Self::Unacknowledged(conn, _) => Some(*conn),
            Self::SessionStream(conn, _) | Self::SessionEnded(conn, _) | Self::SessionReady(conn) => Some(*conn),
            _ => None,
        }
    }
}

/// The result of an async command.
pub(crate) enum Reply {
    /// These frames, perhaps none, for the socket.
    Frames(Vec<u8>),
    /// The hub accepted a join; its answer is in this inbox already.
    Joined,
    /// A join was refused; the socket stays in the stream it was in.
    NotJoined { error: WireError, reference: Option<Box<RawValue>>, previous: Option<(Arc<Room>, StreamId)> },
}

pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Inbound>>,
    waker: mio::Waker,
    /// The shard blocks in epoll, or is about to.
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
        self.push_without_wake(message);
        self.wake_shard();
    }

    /// Pushes a message without waking the shard; the caller wakes it afterwards through [`Wake`].
    pub fn push_without_wake(&self, message: Inbound) {
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

    /// Announces that the shard is about to sleep; false when messages wait and it must not.
    pub fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        self.queue.lock().is_empty()
    }

    /// Announces that the shard is awake and need not be woken.
    pub fn set_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Exchanges the waiting messages for an empty queue, whose memory is reused.
    pub fn swap(&self, empty: &mut VecDeque<Inbound>) {
        std::mem::swap(&mut *self.queue.lock(), empty);
    }

    pub fn set_load(&self, load: f32) {
        self.load.store(load.to_bits(), Ordering::Relaxed);
    }
}

/// For callers that push several messages and wake the shard once.
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_shard();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_shard();
    }
}

impl ShardInbox for Inbox {
    fn send(&self, message: ShardMessage) -> bool {
        let may_be_refused = matches!(&message, ShardMessage::Batch(batch) if batch.events.is_empty());
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
