//! A whole server behind the real router: SQLite in a directory of its own, the in-process log, the
//! worker, the hub, and a listener on loopback.

use std::sync::Arc;

use api::{AdminKey, ApiSettings, Dependencies, EmbeddedPages, Origins, ReaderShares, Services};
use archive::{Archive, ArchiveSettings};
use async_trait::async_trait;
use chat::{Chat, Keys, LinkSigner, LocalUserFanout, UploadParts, Uploads};
use cluster::membership::{Members, Node, NodeInfo};
use fanout::grpc::{IngestNodes, PeerServices, Secret};
use hub::{Hub, HubSettings};
use ingest::filter::WordFilter;
use ingest::tokens::{Claims, sign};
use ingest::{AccessChanges, Admission, Bans, Ingest, KeyFiles, PendingEventUsers, Rooms, Tokens};
use log::local::Journal;
use log::{Entry, Position, Record};
use model::{Clock, Level, Metrics, Role, Roles, RoomId, SnowflakeGenerator, SystemClock};
use prometheus_client::registry::Registry;
use reqwest::Method;
use serde_json::Value;
use settings::Limits;
use state::{
    AddressRules, Addresses, ForwardedHeader, HeatRules, HotRooms, MemoryPresence, MemoryRateLimiter,
    MemoryReservations, Rate,
};
use store::sqlite::SqliteStore;
use store::{NewComment, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use worker::Worker;
use worker::leaderboards::Leaderboards;

pub const KEY: &str = "the-admin-key-of-tests";
const SECRET: &str = "a-secret-of-some-length-for-tests";

pub struct World {
    pub url: String,
    pub http: reqwest::Client,
    pub draining: watch::Sender<bool>,
    _data: tempfile::TempDir,
}

/// A server that wants tokens.
pub fn settings() -> ApiSettings {
    ApiSettings {
        serves_api: true,
        node_id: "test-1".into(),
        version: "0.0.0".into(),
        dev: false,
        admin_key: Some(Arc::new(AdminKey::new(KEY))),
        origins: Origins::new(&["https://tv.example".into()], false).expect("an origin"),
        webtransport: None,
        embedded_pages: EmbeddedPages { embed: true, overlay: true },
        body_bytes_max: 64 * 1024,
        message_body_bytes_max: 128 * 1024,
        segment_signer: api::SegmentSigner::new(SECRET.as_bytes()),
    }
}

impl World {
    pub async fn start(settings: ApiSettings) -> Self {
        Self::start_with(settings, false).await
    }

    /// One whose open rooms may be read without a token.
    pub async fn start_with(settings: ApiSettings, anonymous_read: bool) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let (draining, drained) = watch::channel(false);
        let (services, _) = services(&data, settings, drained, anonymous_read).await;
        Self::serve(services, draining, data).await
    }

    /// One over data that is there already, and its store.
    pub async fn over(data: tempfile::TempDir) -> (Self, Arc<SqliteStore>) {
        let (draining, drained) = watch::channel(false);
        let (services, store) = services(&data, settings(), drained, false).await;
        (Self::serve(services, draining, data).await, store)
    }

    /// One that hands comments to a node with the role `ingest`, over gRPC. What is returned with it ends that node.
    pub async fn without_ingest(settings: ApiSettings) -> (Self, CancellationToken) {
        let data = tempfile::tempdir().expect("a directory");
        let (draining, drained) = watch::channel(false);
        let (mut services, _) = services(&data, settings, drained, false).await;
        let (admission, stop) = elsewhere(&services).await;
        services.admission = admission;
        (Self::serve(services, draining, data).await, stop)
    }

    async fn serve(services: Services, draining: watch::Sender<bool>, data: tempfile::TempDir) -> Self {
        let router = api::router(services);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        // Every client needs one, even for plain HTTP.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { url, http: reqwest::Client::new(), draining, _data: data }
    }

    /// A request under /api/v1, with a bearer unless it is empty, and a body unless it is null.
    pub fn request(&self, bearer: &str, line: &str, body: &Value) -> reqwest::RequestBuilder {
        let (method, path) = line.split_once(' ').expect("METHOD /path");
        let method: Method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        if body.is_null() { request } else { request.json(body) }
    }

    /// What is answered: the status and the JSON.
    pub async fn ask(&self, bearer: &str, line: &str, body: Value) -> (u16, Value) {
        let answer = self.request(bearer, line, &body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
    }

    /// As [`World::ask`], insisting on a status.
    pub async fn expect(&self, status: u16, bearer: &str, line: &str, body: Value) -> Value {
        let (got, answer) = self.ask(bearer, line, body).await;
        assert_eq!(got, status, "{line}: {answer}");
        answer
    }

    /// As [`World::ask`], insisting on an error.
    pub async fn refused(&self, status: u16, code: &str, bearer: &str, line: &str, body: Value) -> Value {
        let answer = self.expect(status, bearer, line, body).await;
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert!(answer["error"]["message"].is_string());
        answer
    }

    /// Says something in a room; returns the comment's id.
    pub async fn say(&self, bearer: &str, room: &str, content: &str) -> String {
        let body = serde_json::json!({ "content": content });
        let answer = self.expect(201, bearer, &format!("POST /rooms/{room}/comments"), body).await;
        answer["id"].as_str().expect("an id").to_owned()
    }
}

pub fn token(user: &str) -> String {
    token_of(user, Level::Normal, None)
}

pub fn token_of(user: &str, level: Level, rooms: Option<&[&str]>) -> String {
    let now_s = SystemClock.now_ms() / 1_000;
    let rooms = rooms.map(|rooms| rooms.iter().map(|room| RoomId::new(room).expect("an id")).collect());
    let claims = Claims {
        sub: user.into(),
        name: Some(user.to_uppercase()),
        level,
        rooms,
        exp: now_s + 3_600,
        iat: now_s - 5,
        ..Claims::default()
    };
    sign(SECRET, &claims).expect("a token")
}

async fn services(
    data: &tempfile::TempDir,
    settings: ApiSettings,
    draining: watch::Receiver<bool>,
    anonymous_read: bool,
) -> (Services, Arc<SqliteStore>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let sqlite = SqliteStore::open(&data.path().join("test.sqlite"), metrics.clone()).expect("a store");
    let sqlite = Arc::new(sqlite);
    let store: Arc<dyn Store> = sqlite.clone();
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
    let last = Position { epoch: 1, offset: 0 };
    let (log, consumer) =
        log::local::open(Arc::new(StoreJournal(store.clone())), log::PositionSource::Counted(last), metrics.clone());
    let log: Arc<dyn log::Log> = Arc::new(log);
    let rules = settings::Rooms { held_max: 1_000, ..Default::default() };
    let tokens = Arc::new(Tokens::new(Some(SECRET.into()), KeyFiles::default()).expect("a key"));
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
        filter: WordFilter::new(Vec::new()).expect("no words"),
        limits: limits(),
        anonymous_read,
        rate_limiter: Arc::new(MemoryRateLimiter::default()),
        reservations: Arc::new(MemoryReservations::default()),
        review_listener: Arc::new(|_, _| {}),
        store: store.clone(),
        log,
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let boards = Arc::new(Leaderboards::new(store.clone()));
    let hub = Hub::new(store.clone(), clock.clone(), ids.clone(), metrics.clone(), hub_settings());
    tokio::spawn(Worker::new(Box::new(consumer), hub.clone(), boards.clone(), clock.clone(), ids).run());
    let post = Arc::new(LocalUserFanout::new());
    let uploads = Arc::new(Uploads::new(UploadParts {
        settings: settings::Uploads {
            image_bytes_max: 1_000,
            video_bytes_max: 1_000,
            file_bytes_max: 1_000,
            types: vec!["image/png".into()],
            url_ttl_s: 60,
            ..Default::default()
        },
        store: sqlite.clone(),
        archive: Arc::new(object_store::memory::InMemory::new()),
        part_bytes: 1024 * 1024,
        message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
        signer: LinkSigner::new(SECRET.as_bytes()),
        rate_limiter: ingest.rate_limiter.clone(),
        ids: ingest.ids.clone(),
        clock: clock.clone(),
    }));
    let chat = Chat::start(chat::ChatPorts {
        settings: Default::default(),
        hook: Default::default(),
        store: sqlite.clone(),
        rate_limiter: ingest.rate_limiter.clone(),
        presence: Arc::new(MemoryPresence::default()),
        fanout: post.clone(),
        local_fanout: post,
        message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
        message_screen: None,
        attachments: uploads.clone(),
        ids: ingest.ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let probed = store.clone();
    let keys = Arc::new(Keys::new(sqlite.clone(), ingest.rate_limiter.clone(), clock.clone()));
    let rules = AddressRules {
        connections_max: 1_000,
        handshakes_per_s: 1_000,
        requests: Rate::per_s(10_000),
        trusted: Vec::new(),
        header: ForwardedHeader::default(),
        proxy_protocol: false,
    };
    let services = Services {
        addresses: Arc::new(Addresses::new(rules)),
        shares: Arc::new(ReaderShares::new(10_000, 100, metrics.clone())),
        admission: Admission::Local(ingest.clone()),
        ingest,
        chat,
        keys,
        uploads,
        hub,
        boards,
        heat: Arc::new(HotRooms::alone(HeatRules { hot_per_s: 1_000, shards: 1 }, metrics.clone())),
        dependencies: Arc::new(Dependencies::new("alone", metrics.clone()).required("store", move || {
            let store = probed.clone();
            async move { store.probe().await.is_ok() }
        })),
        archive: Archive::new(
            sqlite.clone(),
            ArchiveSettings { location: None, after_days: 7, retention_days: 0, owner: "test".into() },
            clock.clone(),
            metrics.clone(),
        ),
        store,
        clock,
        metrics,
        registry: Arc::new(registry),
        settings: Arc::new(settings),
        draining,
        shutdown: Arc::default(),
    };
    (services, sqlite)
}

/// A node that decides for others by these rules, and the way to it.
async fn elsewhere(services: &Services) -> (Admission, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (secret, stop) = (Secret::new(SECRET.as_bytes()), CancellationToken::new());
    let stations = PeerServices { gateway: None, ingest: Some(services.ingest.clone()) };
    tokio::spawn(fanout::grpc::serve(listener, secret.clone(), stations, stop.clone()));
    let info = NodeInfo { address, roles: Roles::from_iter([Role::Ingest]), version: String::new() };
    let (_, members) = watch::channel(Arc::from([Node { number: 7, info }]));
    let nodes = Arc::new(IngestNodes::start(&Members::published(members), secret, services.metrics.clone()));
    while !nodes.are_there() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    (Admission::Remote(nodes), stop)
}

fn limits() -> Limits {
    Limits { normal_per_s: 1_000, vip_per_s: 1_000, owner_per_s: 1_000, likes_per_s: 1_000, ..Limits::default() }
}

fn hub_settings() -> HubSettings {
    HubSettings {
        rooms: settings::Rooms { loads_per_user_per_min: 60_000, viewer_per_s_max: 50, ..Default::default() },
        ..HubSettings::default()
    }
}

struct StoreJournal(Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<model::Repeat>, log::AppendError> {
        let kept = |entry: &Entry| match &entry.record {
            Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
                comment: comment.clone(),
                position: entry.position.offset,
                client_msg_id: client_msg_id.clone(),
            }),
            _ => None,
        };
        self.0.append_comments(entries.iter().filter_map(kept).collect()).await.map_err(|_| log::AppendError::Away)
    }
}
