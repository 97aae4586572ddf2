//! A gateway over the real hub, ingest, SQLite and in-process log, and blocking WebSocket clients.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses a part; a failed test may panic.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat::{Chat, LocalUserFanout};
use fanout::Fanout;
use gateway::{Gateway, GatewaySettings, Services};
use hub::{Hub, HubSettings};
use ingest::{AccessChanges, Bans, Ingest, KeyFiles, PendingEventUsers, Rooms, Tokens, WordFilter};
use log::local::Journal;
use log::{Entry, Position, Record};
use model::{
    Clock, Comment, Event, Kind, Level, Metrics, MsgType, RoomId, Snowflake, SnowflakeGenerator, Style, SystemClock,
    UserId,
};
use serde_json::Value;
use settings::{Limits, Sockets};
use state::{AddressRules, Addresses, ForwardedHeader, MemoryPresence, MemoryRateLimiter, MemoryReservations, Rate};
use store::Store;
use store::sqlite::SqliteStore;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use worker::Worker;
use worker::leaderboards::Leaderboards;

pub const SECRET: &str = "a secret of at least thirty-two bytes!";
/// Longer than anything here takes; a wait that ends here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps nothing: what is under test are the sockets.
struct Nowhere;

#[async_trait::async_trait]
impl Journal for Nowhere {
    async fn commit(&self, _: &[Entry]) -> Result<Vec<model::Repeat>, log::AppendError> {
        Ok(Vec::new())
    }
}

/// The system's clock. Once it is tripped, the next shard that asks it panics.
#[derive(Default)]
pub struct TripClock(AtomicBool);

impl TripClock {
    pub fn trip(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_tripped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for TripClock {
    fn now_ms(&self) -> i64 {
        let on_shard = std::thread::current().name().is_some_and(|name| name.starts_with("shard-"));
        assert!(!(on_shard && self.0.swap(false, Ordering::SeqCst)), "a clock is tripped, on purpose");
        SystemClock.now_ms()
    }
}

struct NoUploads;

#[async_trait::async_trait]
impl chat::Attachments for NoUploads {
    async fn usable(&self, _: &UserId, _: &str, _: MsgType) -> chat::Result<bool> {
        Ok(false)
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub hub: Arc<Hub>,
    pub ingest: Arc<Ingest>,
    pub metrics: Arc<Metrics>,
    pub ids: Arc<SnowflakeGenerator>,
    pub clock: Arc<TripClock>,
    pub http: tokio::sync::mpsc::Receiver<gateway::HttpConnection>,
    gateway: Option<Gateway>,
    offset: u64,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

pub fn dev() -> GatewaySettings {
    GatewaySettings {
        node_id: "node".into(),
        accepts_sockets: true,
        dev: true,
        limits: limits(),
        sockets: Sockets { compression_bytes_min: 256, ..Sockets::default() },
        escaped_bytes_max: 64 * 1024,
        shards: 2,
    }
}

/// As [`dev`], with other limits of sockets.
pub fn with_sockets(sockets: Sockets) -> GatewaySettings {
    GatewaySettings { sockets, ..dev() }
}

impl Server {
    pub fn start(settings: GatewaySettings) -> Self {
        Self::start_with(settings, None, false)
    }

    pub fn start_with(settings: GatewaySettings, tls: Option<gateway::ServerTls>, anonymous_read: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::register(&mut Default::default()));
        let trip = Arc::new(TripClock::default());
        let clock: Arc<dyn Clock> = trip.clone();
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
        let sqlite = Arc::new(SqliteStore::open(&dir.path().join("db"), metrics.clone()).unwrap());
        let store: Arc<dyn Store> = sqlite.clone();
        let (log, consumer) =
            log::local::open(Arc::new(Nowhere), log::PositionSource::Counted(Position::default()), metrics.clone());
        let log = Arc::new(log);
        let hub = Hub::new(store.clone(), clock.clone(), ids.clone(), metrics.clone(), hub_settings());
        let boards = Arc::new(Leaderboards::new(store.clone()));
        let worker = Worker::new(Box::new(consumer), hub.clone(), boards, clock.clone(), ids.clone());
        runtime.spawn(worker.run());
        let rules = settings::Rooms { held_max: 1_000, ..Default::default() };
        let tokens = Arc::new(Tokens::new(Some(SECRET.into()), KeyFiles::default()).unwrap());
        let ingest = Arc::new(Ingest {
            rooms: Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), rules),
            access_changes: AccessChanges::default(),
            tokens,
            bans: Bans::default(),
            delays: Default::default(),
            people: Default::default(),
            screening: Default::default(),
            raids: ingest::Raids::new().0,
            interactions: Default::default(),
            webhooks: ingest::Webhooks::idle(store.clone(), ids.clone(), clock.clone(), metrics.clone()),
            webhooks_allow_private: false,
            erasure_requested: Default::default(),
            pending_event_users: PendingEventUsers::default(),
            filter: WordFilter::new(Vec::new()).unwrap(),
            limits: limits(),
            anonymous_read,
            rate_limiter: Arc::new(MemoryRateLimiter::new(10_000)),
            reservations: Arc::new(MemoryReservations::new(10_000)),
            review_listener: Arc::new(|_, _| {}),
            store,
            log,
            ids: ids.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        });
        let post = Arc::new(LocalUserFanout::new());
        let chat = Chat::start(chat::ChatPorts {
            settings: Default::default(),
            hook: Default::default(),
            store: sqlite,
            rate_limiter: ingest.rate_limiter.clone(),
            presence: Arc::new(MemoryPresence::default()),
            fanout: post.clone(),
            local_fanout: post.clone(),
            message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
            message_screen: None,
            attachments: Arc::new(NoUploads),
            ids: ids.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let services = Services {
            hub: hub.clone(),
            ingest: ingest.clone(),
            admission: ingest::Admission::Local(ingest.clone()),
            chat,
            user_fanout: post,
            clock,
            metrics: metrics.clone(),
            origins: Arc::new(|origin: Option<&str>, _: &str| {
                assert_ne!(origin, Some("https://broken.example"), "on purpose");
                origin != Some("https://evil.example")
            }),
            tls: tls.map(Arc::new),
            addresses: Arc::new(Addresses::new(AddressRules {
                connections_max: 1_000,
                handshakes_per_s: 100,
                requests: Rate::per_s(1_000),
                trusted: Vec::new(),
                header: ForwardedHeader::default(),
                proxy_protocol: false,
            })),
            settings,
        };
        let (http_sender, http) = tokio::sync::mpsc::channel(64);
        let gateway = Gateway::start(vec![listener], services, runtime.handle().clone(), http_sender).unwrap();
        drop(_inside);
        Self {
            address,
            hub,
            ingest,
            metrics,
            ids,
            clock: trip,
            http,
            gateway: Some(gateway),
            offset: 1_000_000,
            runtime,
            _dir: dir,
        }
    }

    /// Opens a socket with this query.
    pub fn connect(&self, query: &str) -> Client {
        Client::open(self.stream(), self.address, query, None).unwrap()
    }

    pub fn connect_as(&self, query: &str, protocol: &str) -> Client {
        Client::open(self.stream(), self.address, query, Some(protocol)).unwrap()
    }

    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to a handshake that is refused.
    pub fn refused(&self, target: &str, headers: &str) -> String {
        let mut stream = self.stream();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        write(&mut stream, head.as_bytes());
        read_to_end(&mut stream)
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Publishes comments past ingest, as the room's worker would.
    pub fn publish(&mut self, room: &str, comments: impl IntoIterator<Item = Comment>) {
        let room = RoomId::new(room).unwrap();
        let entries = comments.into_iter().map(|comment| {
            self.offset += 1;
            let record = Record::Comment { comment: Arc::new(comment), client_msg_id: None, keep: false };
            Entry { room_id: room.clone(), position: Position { epoch: 0, offset: self.offset }, record }
        });
        let entries: Vec<_> = entries.collect();
        let _inside = self.runtime.enter();
        self.hub.push(&room, entries);
    }

    pub fn record(&mut self, room: &str, record: Record) {
        self.offset += 1;
        let room_id = RoomId::new(room).unwrap();
        let entry = Entry { room_id: room_id.clone(), position: Position { epoch: 0, offset: self.offset }, record };
        let _inside = self.runtime.enter();
        self.hub.push(&room_id, vec![entry]);
    }

    pub fn event(&mut self, event: Event) {
        self.record(event.room_id.clone().as_str(), Record::Event(Arc::new(event)));
    }

    pub fn comment(&self, room: &str, user: &str, content: &str) -> Comment {
        Comment {
            id: self.ids.next().expect("a number"),
            room_id: RoomId::new(room).unwrap(),
            session_id: None,
            user_id: UserId::new(user).unwrap(),
            username: user.into(),
            level: Level::Normal,
            content: content.into(),
            style: Style::default(),
            kind: Kind::Comment,
            mentions: Box::default(),
            created_at_ms: SystemClock.now_ms(),
            offset_ms: 0,
            like_count: 0,
            shadow: false,
        }
    }

    /// Waits until so many sockets are open.
    pub fn wait_for_connections(&self, n: i64) {
        wait_until(|| self.metrics.connections.get() == n);
    }

    pub fn drain(&mut self, within: Duration) {
        let gateway = self.gateway.take().unwrap();
        self.runtime.block_on(gateway.drain(within));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.gateway.is_some() {
            self.drain(Duration::ZERO);
        }
    }
}

pub fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
}

fn hub_settings() -> HubSettings {
    HubSettings {
        rooms: settings::Rooms {
            loads_per_user_per_min: 60_000,
            window_ms_max: 20,
            viewer_per_s_max: 1_000_000,
            ..Default::default()
        },
        ..HubSettings::default()
    }
}

fn limits() -> Limits {
    let many = 1_000_000;
    Limits {
        normal_per_s: many,
        vip_per_s: many,
        owner_per_s: many,
        room_per_s: many,
        global_per_s: many,
        likes_per_s: many,
        duplicate_window_ms: 0,
        cool_down_refusals: 0,
        ..Limits::default()
    }
}

pub fn token(claims: Value) -> String {
    let claims: ingest::tokens::Claims = serde_json::from_value(claims).unwrap();
    ingest::tokens::sign(SECRET, &claims).unwrap()
}

/// A client that reads as a transcript: `say`, `hear`.
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn open(
        stream: TcpStream,
        address: SocketAddr,
        query: &str,
        protocol: Option<&str>,
    ) -> Result<Self, Box<tungstenite::Error>> {
        let mut request = format!("ws://{address}/ws?{query}").into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("the handshake took too long"),
        }
    }

    pub fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// The next JSON message.
    pub fn hear(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// The next JSON message of a type; others are passed over.
    pub fn hear_a(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Reads to the close; returns its code and reason.
    pub fn hear_close(&mut self) -> (u16, String) {
        loop {
            match self.socket.read().unwrap() {
                Message::Close(Some(close)) => return (close.code.into(), close.reason.to_string()),
                Message::Close(None) => return (1005, String::new()),
                _ => {}
            }
        }
    }

    pub fn join(&mut self, room: &str) -> Value {
        self.say(&serde_json::json!({ "type": "join_room", "room_id": room }));
        self.hear_a("room_joined")
    }
}

/// Everything until the peer hangs up.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

pub fn write(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

pub fn id(message: &Value) -> Snowflake {
    message.as_str().unwrap().parse().unwrap()
}
