//! The gateway: sockets in, batches out.
//!
//! One thread per shard, each with its own epoll loop and its own sockets ([`shard`]); a room is split
//! over the shards by its members. A shard accepts, shakes hands, reads commands, and writes the
//! frames the hub encoded once straight to its sockets. What must wait (the store, the log) runs on
//! Tokio and comes back through the shard's [`inbox`]. Connections that are not for `/ws` are handed
//! to the HTTP side, together with their TLS. No rule about comments or messages is decided here: those are `ingest`'s and `chat`'s.

#![deny(unsafe_code)]

mod accept;
mod addresses;
mod attendance;
mod backlog;
mod close;
mod commands;
mod conn;
mod critical;
mod deliver;
mod events;
mod handshake;
mod http;
mod inbox;
mod input;
mod mail;
mod members;
mod shard;
mod tally;
mod timers;
mod tls;
mod unacknowledged;
mod upgrade;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chat::{Chat, Devices, Post};
use ingest::{Admission, Ingest, Tokens};
use ipnet::IpNet;
use model::{Clock, Metrics};
use room::Hub;
use room::batch::Shard as _;

use crate::addresses::Addresses;
use crate::attendance::Attendance;
pub use crate::http::{HttpConnection, HttpStream};
use crate::inbox::{Inbound, Inbox};
use crate::shard::Shard;
pub use crate::tls::{ServerTls, TlsError};

/// Most shards: the hub names them in a bit set.
const SHARDS_MAX: usize = 128;

/// Whether a browser on `origin` may connect to `host`: `(origin, host) -> bool`.
pub type OriginRule = dyn Fn(Option<&str>, &str) -> bool + Send + Sync;

/// Where such connections go. One is closed when the channel is full.
pub type HttpSender = tokio::sync::mpsc::Sender<HttpConnection>;

/// What the gateway works with.
pub struct Services {
    /// The rooms held here.
    pub hub: Arc<Hub>,
    /// The rules.
    pub ingest: Arc<Ingest>,
    /// Where comments are decided about.
    pub admission: Admission,
    /// The rules of private and group chat.
    pub chat: Arc<Chat>,
    /// Where chat's notices come from.
    pub post: Arc<Post>,
    /// Who somebody is.
    pub tokens: Arc<Tokens>,
    /// Time on the wire and of tokens.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Which origins may connect; asked before the upgrade.
    pub origins: Arc<OriginRule>,
    /// The certificate, when the listeners speak TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// What is configured.
    pub settings: GatewaySettings,
}

/// What the gateway can be told by configuration.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// This node's name, told in `connected`.
    pub node_id: String,
    /// Whether sockets are taken; where not, all that connects is handed to the HTTP side.
    pub takes_sockets: bool,
    /// Identities may come from the query.
    pub dev: bool,
    /// Rooms that are not private may be read without an identity.
    pub anonymous_read: bool,
    /// How often clients are to give a sign of life, in seconds; they are dead after twice as long.
    pub heartbeat_s: u32,
    /// How long a request may take to arrive, in seconds.
    pub handshake_s: u32,
    /// How long a socket without identity may take to log in, in seconds.
    pub login_s: u32,
    /// Longest message from a client, in bytes.
    pub message_bytes_max: usize,
    /// Clients that offer compression get it.
    pub compression: bool,
    /// Bytes that may wait for one slow socket.
    pub backlog_bytes_max: usize,
    /// A socket that takes nothing for so long is closed, in seconds.
    pub slow_patience_s: u32,
    /// Rooms one socket may read.
    pub rooms_per_connection: usize,
    /// Connections from one address; loopback and trusted proxies do not count.
    pub connections_per_address: u32,
    /// Handshakes a second from one address; loopback and trusted proxies do not count.
    pub handshakes_per_address_per_s: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads that hold sockets, 1 to 128; 0 is one per core.
    pub shards: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            node_id: "node".into(),
            takes_sockets: true,
            dev: false,
            anonymous_read: false,
            heartbeat_s: 30,
            handshake_s: 10,
            login_s: 10,
            message_bytes_max: 16 * 1024,
            compression: true,
            backlog_bytes_max: 256 * 1024,
            slow_patience_s: 10,
            rooms_per_connection: 64,
            connections_per_address: 1_000,
            handshakes_per_address_per_s: 100,
            trusted_proxies: Vec::new(),
            shards: 0,
        }
    }
}

impl GatewaySettings {
    /// Seconds without a frame after which a socket is dead.
    fn dead_after_s(&self) -> u32 {
        self.heartbeat_s.saturating_mul(2)
    }
}

/// What all shards share.
struct Common {
    services: Services,
    runtime: tokio::runtime::Handle,
    http: HttpSender,
    inboxes: Vec<Arc<Inbox>>,
    addresses: Addresses,
    /// Deals accepted sockets to the shards in turn.
    next_shard: AtomicU64,
    /// Numbers logins, see [`conn::Session::number`].
    next_session: AtomicU64,
    attendance: Arc<Attendance>,
}

/// The running shards.
pub struct Gateway {
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    attendance: Arc<Attendance>,
    telling: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// Starts the shards on `listeners` and tells the hub about them. Async commands run on `runtime`.
    ///
    /// # Errors
    /// When the operating system gives no thread, epoll or descriptor.
    pub fn start(
        listeners: Vec<TcpListener>,
        services: Services,
        runtime: tokio::runtime::Handle,
        http: HttpSender,
    ) -> io::Result<Self> {
        let count = shard_count(services.settings.shards);
        let polls = (0..count).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let inboxes = polls.iter().map(|poll| Inbox::new(poll.registry(), shard::WAKER).map(Arc::new));
        let inboxes = inboxes.collect::<io::Result<Vec<_>>>()?;
        let hub_side = inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn room::batch::Shard>);
        services.hub.register_shards(hub_side.collect());
        services.post.set_devices(inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn Devices>).collect());
        let attendance = Arc::new(Attendance::default());
        let telling = runtime.spawn(attendance.clone().tell(services.chat.clone()));
        let common = Arc::new(Common {
            addresses: Addresses::new(&services.settings),
            services,
            runtime,
            http,
            inboxes: inboxes.clone(),
            next_shard: AtomicU64::new(0),
            // Numbers of sockets are not to meet those of another node, or of this one before it started again.
            next_session: AtomicU64::new(rand::random::<u64>() >> 1),
            attendance: attendance.clone(),
        });
        let mut threads = Vec::with_capacity(count);
        for (id, poll) in (0u16..).zip(polls) {
            let listeners = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
            let shard = Shard::new(id, poll, listeners, common.clone())?;
            threads.push(std::thread::Builder::new().name(format!("shard-{id}")).spawn(move || shard.run())?);
        }
        Ok(Self { inboxes, threads, attendance, telling })
    }

    /// The busiest shard's load, 0 to 1.
    #[must_use]
    pub fn load(&self) -> f32 {
        self.inboxes.iter().map(|inbox| inbox.load()).fold(0.0, f32::max)
    }

    /// Stops accepting, closes every socket with 1012 and a jittered delay, and ends the shards: as
    /// soon as all sockets are closed, at the latest after `within`.
    pub async fn drain(self, within: Duration) {
        let until = Instant::now() + within;
        for inbox in &self.inboxes {
            inbox.push(Inbound::Drain(until));
        }
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
        self.attendance.close();
        if let Err(error) = self.telling.await {
            tracing::error!(%error, "telling who has gone failed");
        }
    }
}

fn shard_count(wished: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (if wished == 0 { cores() } else { wished }).clamp(1, SHARDS_MAX)
}
