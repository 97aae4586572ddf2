//! The gateway: sockets in, batches out.
//!
//! One thread per shard, each with its own epoll loop and its own sockets ([`shard`]). A room is split over the shards by its
//! members. A shard accepts, shakes hands, runs [`commands`], encodes the hub's batches once for all ([`encode`]) and writes
//! them to its sockets over a [`transport`]. What has to wait (the store, the log) runs on Tokio and comes back through the
//! shard's inbox. Connections that are not for `/ws` go to the HTTP side, with their TLS. An upgrade moves the sockets to
//! another process ([`handover`]). The gateway decides no rule about comments or messages: `ingest` and `chat` do.

#![deny(unsafe_code)]

mod commands;
mod conn;
mod counters;
pub mod encode;
pub mod handover;
mod http;
mod presence_events;
mod shard;
mod transport;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ahash::HashMap;
use chat::{Chat, LocalUserFanout, ShardSink};
use hub::batch::ShardInbox;
use hub::{Hub, Room};
use ingest::{Admission, Ingest};
use model::{Clock, Metrics, RoomId};
use state::{Addresses, UserSockets};
use tokio::sync::oneshot;

use crate::handover::{GatewayState, Inherited};
pub use crate::http::{HttpConnection, HttpStream};
use crate::presence_events::PresenceEvents;
use crate::shard::inbox::{Inbound, Inbox};
use crate::shard::{Adoption, Shard};
use crate::transport::quic::listener::QuicListener;
pub use crate::transport::{QuicError, ServerTls, TlsError};

/// The most shards: the hub names them in a bit set.
const SHARDS_MAX: usize = 128;

/// Whether a browser on `origin` may connect to `host`: `(origin, host) -> bool`.
pub type OriginRule = dyn Fn(Option<&str>, &str) -> bool + Send + Sync;

/// Where connections that are not for `/ws` go. One is closed when the channel is full.
pub type HttpSender = tokio::sync::mpsc::Sender<HttpConnection>;

/// The services that the gateway uses.
pub struct Services {
    /// The rooms held here.
    pub hub: Arc<Hub>,
    /// The rules.
    pub ingest: Arc<Ingest>,
    /// Admits comments.
    pub admission: Admission,
    /// The rules of private and group chat.
    pub chat: Arc<Chat>,
    /// The source of chat's notices.
    pub user_fanout: Arc<LocalUserFanout>,
    /// The time on the wire and of tokens.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Limits per network address.
    pub addresses: Arc<Addresses>,
    /// Which origins may connect; checked before the upgrade.
    pub origins: Arc<OriginRule>,
    /// The certificate, when the listeners speak TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// The configuration.
    pub settings: GatewaySettings,
}

/// The gateway's configuration.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// This node's name in `connected`.
    pub node_id: String,
    /// Whether to accept WebSockets; otherwise every connection goes to the HTTP side.
    pub accepts_sockets: bool,
    /// Identities may come from the query.
    pub dev: bool,
    /// What holds for everybody.
    pub limits: settings::Limits,
    /// What holds for sockets.
    pub sockets: settings::Sockets,
    /// Longest message as it comes, every character escaped, in bytes.
    pub escaped_bytes_max: usize,
    /// Threads that hold sockets, 1 to 128; 0 means one per core.
    pub shards: usize,
}

impl GatewaySettings {
    /// Seconds without a frame after which a socket is dead.
    fn dead_after_s(&self) -> u32 {
        self.sockets.heartbeat_s.saturating_mul(2)
    }
}

/// What all shards share.
struct Common {
    services: Services,
    runtime: tokio::runtime::Handle,
    http: HttpSender,
    inboxes: Vec<Arc<Inbox>>,
    /// Deals accepted sockets to the shards in turn.
    next_shard: AtomicU64,
    /// Numbers logins, see [`conn::Session::number`].
    next_session: AtomicU64,
    presence_events: Arc<PresenceEvents>,
    /// Sockets of each user, over all shards.
    user_sockets: UserSockets,
}

/// Shards that hold their sockets and do not run yet.
pub struct Prepared {
    shards: Vec<Shard>,
    gateway: Gateway,
}

/// The running shards.
pub struct Gateway {
    hub: Arc<Hub>,
    inboxes: Vec<Arc<Inbox>>,
    /// The shards hold it.
    common: Weak<Common>,
    threads: Vec<JoinHandle<()>>,
    presence_events: Arc<PresenceEvents>,
    presence_task: tokio::task::JoinHandle<()>,
    quic: Option<QuicListener>,
}

impl Gateway {
    /// Starts the shards on `listeners` and registers them with the hub. Async commands run on `runtime`.
    ///
    /// # Errors
    /// When the operating system gives no thread, epoll or descriptor.
    pub fn start(
        listeners: Vec<TcpListener>,
        services: Services,
        runtime: tokio::runtime::Handle,
        http: HttpSender,
    ) -> io::Result<Self> {
        Self::prepare(listeners, services, runtime, http, Inherited::default(), HashMap::default())?.run()
    }

    /// As [`Gateway::start`], with the sockets of another process and the rooms that they read. Until it runs, nothing is
    /// accepted, read or written.
    ///
    /// # Errors
    /// When the operating system gives no epoll or descriptor.
    pub fn prepare(
        listeners: Vec<TcpListener>,
        services: Services,
        runtime: tokio::runtime::Handle,
        http: HttpSender,
        inherited: Inherited,
        rooms: HashMap<RoomId, Arc<Room>>,
    ) -> io::Result<Prepared> {
        let Inherited { state: GatewayState { next_session, events, rooms: progress }, sockets } = inherited;
        let count = shard_count(services.settings.shards);
        let polls = (0..count).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let inboxes = polls.iter().map(|poll| Inbox::new(poll.registry(), shard::WAKER).map(Arc::new));
        let inboxes = inboxes.collect::<io::Result<Vec<_>>>()?;
        let hub_side = inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn ShardInbox>);
        services.hub.register_shards(hub_side.collect());
        services.user_fanout.set_shards(inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn ShardSink>).collect());
        let presence_events = Arc::new(PresenceEvents::default());
        let presence_task = runtime.spawn(presence_events.clone().forward(services.chat.clone()));
        let common = Arc::new(Common {
            services,
            runtime,
            http,
            inboxes: inboxes.clone(),
            next_shard: AtomicU64::new(0),
            // Random, so that socket numbers do not meet those of another node, or of this one before a restart.
            next_session: AtomicU64::new(if next_session > 0 { next_session } else { rand::random::<u64>() >> 1 }),
            presence_events: presence_events.clone(),
            user_sockets: UserSockets::default(),
        });
        let mut shards = Vec::with_capacity(count);
        for (id, poll) in (0u16..).zip(polls) {
            let listeners = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
            shards.push(Shard::new(id, poll, listeners, common.clone())?);
        }
        let adoption = Adoption::new(rooms, events);
        for (at, parked) in sockets.into_iter().enumerate() {
            if let Some(shard) = shards.get_mut(at % count) {
                shard.adopt(parked, &adoption)?;
            }
        }
        for progress in &progress {
            if let Some(room) = adoption.rooms.get(&progress.room_id) {
                room.catch_up_from(progress);
            }
        }
        let (hub, common) = (common.services.hub.clone(), Arc::downgrade(&common));
        let threads = Vec::new();
        let gateway = Self { hub, inboxes, common, threads, presence_events, presence_task, quic: None };
        Ok(Prepared { shards, gateway })
    }

    /// Accepts WebTransport sessions on a UDP socket, too. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When there is no certificate, or the socket cannot be used.
    pub fn listen_quic(&mut self, socket: UdpSocket, tls: &ServerTls) -> Result<(), QuicError> {
        if let Some(common) = self.common.upgrade() {
            self.quic = Some(QuicListener::start(socket, tls, common)?);
        }
        Ok(())
    }

    /// Stops accepting and reading, and waits until no command runs. The listeners stay open: who connects waits in their
    /// queue. False when some command did not end in time.
    pub async fn freeze(&self, within: Duration) -> bool {
        let frozen: Vec<_> = self.inboxes.iter().map(|inbox| ask(inbox, Inbound::Freeze)).collect();
        tokio::time::timeout(within, futures::future::join_all(frozen)).await.is_ok()
    }

    /// Accepts and reads on after [`Gateway::freeze`].
    pub fn thaw(&self) {
        for inbox in &self.inboxes {
            inbox.push(Inbound::Thaw);
        }
    }

    /// Delivers what waits, and takes every socket out of the frozen shards, which end. Nobody is told that they left.
    pub async fn park(self) -> Inherited {
        let rooms = self.hub.hand_over();
        // Nobody logs in any more.
        let next_session = self.common.upgrade().map_or(0, |common| common.next_session.load(Ordering::SeqCst));
        let parked: Vec<_> = self.inboxes.iter().map(|inbox| ask(inbox, Inbound::Park)).collect();
        let (mut sockets, mut events) = (Vec::new(), Vec::new());
        // A shard that has panicked has nothing to give.
        for shard in futures::future::join_all(parked).await.into_iter().flatten() {
            sockets.extend(shard.sockets);
            events.extend(shard.events);
        }
        self.end().await;
        Inherited { state: GatewayState { next_session, events, rooms }, sockets }
    }

    /// The busiest shard's load, 0 to 1.
    #[must_use]
    pub fn load(&self) -> f32 {
        self.inboxes.iter().map(|inbox| inbox.load()).fold(0.0, f32::max)
    }

    /// Stops accepting, closes every socket with 1012 and a jittered delay, and ends the shards as soon as all sockets are
    /// closed, at the latest after `within`.
    pub async fn drain(self, within: Duration) {
        let until = Instant::now() + within;
        if let Some(quic) = &self.quic {
            quic.refuse_new();
        }
        for inbox in &self.inboxes {
            inbox.push(Inbound::Drain(until));
        }
        self.end().await;
    }

    /// Waits for the threads and for what they have reported.
    async fn end(self) {
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a shard has panicked");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "waiting for the shards failed");
        }
        if let Some(quic) = self.quic {
            quic.end().await;
        }
        self.presence_events.close();
        if let Err(error) = self.presence_task.await {
            tracing::error!(%error, "reporting disconnects failed");
        }
    }
}

impl Prepared {
    /// Starts the shards.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn run(self) -> io::Result<Gateway> {
        let Self { shards, mut gateway } = self;
        for (id, shard) in shards.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("shard-{id}"));
            gateway.threads.push(thread.spawn(move || shard.run())?);
        }
        Ok(gateway)
    }
}

/// Sends a shard a message that it answers.
fn ask<T>(inbox: &Inbox, message: impl FnOnce(oneshot::Sender<T>) -> Inbound) -> oneshot::Receiver<T> {
    let (answer, answered) = oneshot::channel();
    inbox.push(message(answer));
    answered
}

fn shard_count(configured: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (if configured == 0 { cores() } else { configured }).clamp(1, SHARDS_MAX)
}
