//! A whole server behind the real router: SQLite in a directory of its own, the in-process log, the
//! worker, the hub, and a listener on loopback.

use std::sync::Arc;

use api::{ApiSettings, Dependencies, Origins, Services};
use async_trait::async_trait;
use bus::grpc::{IngestNodes, Secret, Stations};
use bus::local::Journal;
use bus::registry::{Card, Members, Node};
use bus::{Entry, Position, Record};
use chat::{Chat, Keys, Post, Signer, UploadParts, UploadSettings, Uploads};
use ingest::filter::WordFilter;
use ingest::rooms::RoomRules;
use ingest::tokens::{Claims, sign};
use ingest::{Admission, Awaited, Bans, Ingest, KeyFiles, Limits, Rooms, Tokens};
use model::{Clock, Level, Metrics, Role, Roles, RoomId, SnowflakeGenerator, SystemClock};
use prometheus_client::registry::Registry;
use reqwest::Method;
use room::boards::Boards;
use room::worker::Worker;
use room::{Hub, HubSettings};
use serde_json::Value;
use state::{CoolDown, Heat, HeatRules, MemoryGate, MemoryPresence, MemoryReservations};
use store::sqlite::SqliteStore;
use store::{NewComment, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const KEY: &str = "the-admin-key";
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
        anonymous_read: false,
        admin_key: Some(KEY.into()),
        origins: Origins::new(vec!["https://tv.example".into()], false),
        body_bytes_max: 64 * 1024,
        message_body_bytes_max: 128 * 1024,
    }
}

impl World {
    pub async fn start(settings: ApiSettings) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let (draining, drained) = watch::channel(false);
        let services = services(&data, settings, drained).await;
        Self::serve(services, draining, data).await
    }

    /// One that hands comments to a node with the role `ingest`, over gRPC. What is returned with it ends that node.
    pub async fn without_ingest(settings: ApiSettings) -> (Self, CancellationToken) {
        let data = tempfile::tempdir().expect("a directory");
        let (draining, drained) = watch::channel(false);
        let mut services = services(&data, settings, drained).await;
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
    let claims =
        Claims { sub: user.into(), name: Some(user.to_uppercase()), level, rooms, exp: now_s + 3_600, iat: now_s - 5 };
    sign(SECRET, &claims).expect("a token")
}

async fn services(data: &tempfile::TempDir, settings: ApiSettings, draining: watch::Receiver<bool>) -> Services {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let sqlite = SqliteStore::open(&data.path().join("test.sqlite"), metrics.clone()).expect("a store");
    let sqlite = Arc::new(sqlite);
    let store: Arc<dyn Store> = sqlite.clone();
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
    let last = Position { epoch: 1, offset: 0 };
    let (log, consumer) =
        bus::local::open(Arc::new(StoreJournal(store.clone())), bus::Places::Counted(last), metrics.clone());
    let log: Arc<dyn bus::Log> = Arc::new(log);
    let rules = RoomRules { unopened: true, silence_ms: 1_800_000, session_ms_max: 86_400_000, rooms_max: 1_000 };
    let ingest = Arc::new(Ingest {
        rooms: Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), rules),
        bans: Bans::default(),
        awaited: Awaited::default(),
        filter: WordFilter::new(Vec::new()).expect("no words"),
        limits: limits(),
        gate: Arc::new(MemoryGate::default()),
        reservations: Arc::new(MemoryReservations::default()),
        tell_review: Arc::new(|_, _| {}),
        store: store.clone(),
        log,
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let boards = Arc::new(Boards::new(store.clone()));
    let hub = Hub::new(store.clone(), clock.clone(), ids.clone(), metrics.clone(), hub_settings());
    tokio::spawn(Worker::new(Box::new(consumer), hub.clone(), boards.clone(), clock.clone(), ids).run());
    let post = Arc::new(Post::new());
    let uploads = Arc::new(Uploads::new(UploadParts {
        settings: UploadSettings {
            image_bytes_max: 1_000,
            video_bytes_max: 1_000,
            file_bytes_max: 1_000,
            types: vec!["image/png".into()],
            url_ttl_s: 60,
        },
        store: sqlite.clone(),
        archive: Arc::new(object_store::memory::InMemory::new()),
        signer: Signer::new(SECRET.as_bytes()),
        gate: ingest.gate.clone(),
        ids: ingest.ids.clone(),
        clock: clock.clone(),
    }));
    let chat = Chat::start(chat::Parts {
        settings: chat::Settings::default(),
        store: sqlite.clone(),
        gate: ingest.gate.clone(),
        presence: Arc::new(MemoryPresence::default()),
        fanout: post.clone(),
        post,
        screen: Arc::new(|_, text, _| Ok(text.to_owned())),
        attachments: uploads.clone(),
        ids: ingest.ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let probed = store.clone();
    let keys = Arc::new(Keys::new(sqlite, ingest.gate.clone(), clock.clone()));
    Services {
        admission: Admission::Here(ingest.clone()),
        ingest,
        chat,
        keys,
        uploads,
        hub,
        boards,
        heat: Arc::new(Heat::alone(HeatRules { hot_per_s: 1_000, shards: 1 }, metrics.clone())),
        dependencies: Arc::new(Dependencies::new("alone", metrics.clone()).needs("store", move || {
            let store = probed.clone();
            async move { store.probe().await.is_ok() }
        })),
        store,
        tokens: Arc::new(Tokens::new(Some(SECRET.into()), KeyFiles::default()).expect("a key")),
        clock,
        metrics,
        registry: Arc::new(registry),
        settings: Arc::new(settings),
        draining,
    }
}

/// A node that decides for others by these rules, and the way to it.
async fn elsewhere(services: &Services) -> (Admission, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (secret, stop) = (Secret::new(SECRET.as_bytes()), CancellationToken::new());
    let stations = Stations { gateway: None, ingest: Some(services.ingest.clone()) };
    tokio::spawn(bus::grpc::serve(listener, secret.clone(), stations, stop.clone()));
    let card = Card { address, roles: Roles::from_iter([Role::Ingest]) };
    let (_, members) = watch::channel(Arc::from([Node { number: 7, card }]));
    let nodes = Arc::new(IngestNodes::start(&Members::told(members), secret, services.metrics.clone()));
    while !nodes.are_there() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    (Admission::Elsewhere(nodes), stop)
}

fn limits() -> Limits {
    Limits {
        comment_chars_max: 200,
        normal_per_s: 1_000,
        vip_per_s: 1_000,
        owner_per_s: 1_000,
        room_per_s: 1_000,
        global_per_s: 100_000,
        likes_per_s: 1_000,
        duplicate_window_ms: 5_000,
        cool_down: CoolDown::default(),
        mentions_max: 20,
    }
}

fn hub_settings() -> HubSettings {
    HubSettings {
        window_ms_max: 50,
        viewer_per_s_max: 50,
        history_default: 50,
        history_max: 100,
        history_s_max: 60,
        only_users_max: 20,
        deflate_bytes_min: 256,
        rooms_max: 1_000,
        reread_ms: 0,
    }
}

struct StoreJournal(Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), bus::AppendError> {
        let kept = |entry: &Entry| match &entry.record {
            Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
                comment: comment.clone(),
                position: entry.position.offset,
                client_msg_id: client_msg_id.clone(),
            }),
            _ => None,
        };
        self.0.append_comments(entries.iter().filter_map(kept).collect()).await.map_err(|_| bus::AppendError::Away)
    }
}
