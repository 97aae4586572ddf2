//! Nodes of one deployment: each with its own log, rules and copies, over one MySQL database and one Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fanout::redis::{ControlFanout, ControlInbox, RedisFanout};
use fanout::{ControlMessage, Fanout, RoutingFanout};
use ingest::{
    AccessChanges, Admitted, Bans, Ingest, KeyFiles, PendingEventUsers, Refusal, ReplicaRefresher, Rooms, Tokens,
    WordFilter,
};
use log::local::{Journal, PositionSource};
use log::{AppendError, Consumer, Entry, Position, Record};
use model::clock::{Clock, SystemClock};
use model::{Identity, Level, Metrics, RoomId, SnowflakeGenerator, UserId};
use prometheus_client::registry::Registry;
use protocol::message::CommentDraft;
use redis_client::{Redis, RedisAddress};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
use state::{MemoryRateLimiter, MemoryReservations};
use store::mysql::MySqlStore;
use store::{CommentStore, NewComment};

pub const SECRET: &str = "a-secret-of-some-length-for-tests";

/// A deployment of its own.
pub struct Deployment {
    pub database: String,
    pub redis: RedisAddress,
    pub namespace: String,
    pub clock: Arc<dyn Clock>,
}

impl Deployment {
    /// `None` when the servers do not run.
    pub async fn new(clock: Arc<dyn Clock>) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (mysql, redis) = (testkit::service("BARRAGE_TEST_MYSQL")?, testkit::service("BARRAGE_TEST_REDIS")?);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_ingest_{}_{}_{number}", std::process::id(), SystemClock.now_ms());
        let pool = MySqlPool::connect(&mysql).await.expect("it runs");
        pool.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        pool.close().await;
        let (server, _) = mysql.rsplit_once('/').expect("an address");
        let database = format!("{server}/{name}");
        let redis = redis.parse::<RedisAddress>().expect("an address").patient(testkit::PATIENCE);
        Some(Self { database, redis, namespace: name, clock })
    }

    /// Two nodes that hear each other.
    pub async fn two(&self) -> (Node, Node) {
        let (a, b) = (Node::start(self, 1).await, Node::start(self, 2).await);
        for (from, to) in [(&a, &b), (&b, &a)] {
            let room = room("a-beat");
            testkit::eventually("the nodes to hear each other", async || {
                from.fanout.push(&room, vec![beat(&room)]);
                (to.gateway.count(&room, |record| matches!(record, Record::Changed(_))) > 0).then_some(())
            })
            .await;
        }
        (a, b)
    }
}

fn beat(room: &RoomId) -> Entry {
    let record = Record::Changed(log::Change::Room);
    Entry { room_id: room.clone(), position: Position::default(), record }
}

/// A node's gateway, which writes down what it is given.
#[derive(Default)]
pub struct Gateway(Mutex<Vec<Entry>>);

impl Fanout for Gateway {
    fn push(&self, _: &RoomId, entries: Vec<Entry>) {
        self.0.lock().expect("no panic").extend(entries);
    }
}

impl Gateway {
    pub fn count(&self, room: &RoomId, which: impl Fn(&Record) -> bool) -> usize {
        let entries = self.0.lock().expect("no panic");
        entries.iter().filter(|entry| entry.room_id == *room && which(&entry.record)).count()
    }
}

/// One node.
pub struct Node {
    pub ingest: Arc<Ingest>,
    pub tokens: Arc<Tokens>,
    pub store: Arc<MySqlStore>,
    pub gateway: Arc<Gateway>,
    pub refresher: Arc<ReplicaRefresher>,
    pub fanout: Arc<RoutingFanout>,
    inbox: Option<ControlInbox>,
}

impl Node {
    pub async fn start(deployment: &Deployment, number: u16) -> Self {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let clock = deployment.clock.clone();
        let store = MySqlStore::open(&deployment.database, SystemClock.now_ms(), metrics.clone()).await;
        let store = Arc::new(store.expect("it opens"));
        let redis = Redis::open(&deployment.redis, &deployment.namespace, metrics.clone()).expect("an address");
        redis.ready(testkit::PATIENCE).await.expect("it runs");
        let source = format!("test-{number}");
        let gateway = Arc::new(Gateway::default());
        let fanout = Arc::new(RoutingFanout {
            local: gateway.clone(),
            control: Arc::new(ControlFanout::new(redis.clone(), &source, &*clock, metrics.clone())),
            rooms: Arc::new(RedisFanout::new(redis.clone(), &source, clock.clone(), metrics.clone())),
        });
        let journal = Arc::new(StoreJournal(store.clone()));
        let places = PositionSource::Counted(Position { epoch: 1, offset: 0 });
        let (log, consumer) = log::local::open(journal, places, metrics.clone());
        tokio::spawn(work(consumer, fanout.clone()));
        let ingest = Arc::new(ingest(store.clone(), Arc::new(log), number, clock, metrics.clone()));
        let tokens = ingest.tokens.clone();
        let refresher = Arc::new(ReplicaRefresher::start(&ingest, Arc::new(|_| {})));
        let hear = refresher.clone();
        let hear = Arc::new(move |news| hear.submit(news));
        let inbox = ControlInbox::start(&deployment.redis, &redis, &source, gateway.clone(), hear, metrics);
        Self { ingest, tokens, store, gateway, refresher, fanout, inbox: Some(inbox.expect("it starts")) }
    }

    /// From now on it hears nothing, and knows it.
    pub fn deafen(&mut self) {
        self.inbox = None;
        self.refresher.submit(ControlMessage::Disconnected(true));
    }

    /// From now on it hears nothing, and does not know it.
    pub fn cut_off(&mut self) {
        self.inbox = None;
    }

    pub async fn say(&self, who: &Identity, room: &RoomId, content: &str) -> Result<Admitted, Refusal> {
        let content = content.to_owned();
        let draft = CommentDraft {
            room_id: None,
            content,
            client_msg_id: None,
            style: None,
            mentions: Vec::new(),
            session_id: None,
            offset_ms: None,
            address: None,
        };
        self.ingest.admit(who, room, draft).await
    }

    /// The room's session as this node knows it.
    pub async fn session(&self, room: &RoomId) -> Option<model::Snowflake> {
        self.ingest.rooms.info(room).await.expect("the store is there").session.as_ref().map(|session| session.id)
    }
}

/// What a room worker does, but for the boards.
async fn work(mut consumer: impl Consumer, fanout: Arc<RoutingFanout>) {
    while let Some(delivery) = consumer.next().await {
        for entry in delivery.entries() {
            fanout.push(&entry.room_id, vec![entry.clone()]);
        }
        delivery.commit();
    }
}

struct StoreJournal(Arc<MySqlStore>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<model::Repeat>, AppendError> {
        let kept = entries.iter().filter_map(|entry| match &entry.record {
            Record::Comment { comment, client_msg_id, keep: true } => {
                let (comment, client_msg_id) = (comment.clone(), client_msg_id.clone());
                Some(NewComment { comment, position: entry.position.offset, client_msg_id })
            }
            _ => None,
        });
        self.0.append_comments(kept.collect()).await.map_err(|_| AppendError::Away)
    }
}

fn ingest(
    store: Arc<MySqlStore>,
    log: Arc<dyn log::Log>,
    number: u16,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Ingest {
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), number, None));
    let rules = settings::Rooms { held_max: 1_000, ..Default::default() };
    let many = 1_000_000;
    Ingest {
        rooms: Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), rules),
        access_changes: AccessChanges::default(),
        tokens: Arc::new(Tokens::new(Some(SECRET.into()), KeyFiles::default()).expect("a key")),
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
        limits: settings::Limits {
            normal_per_s: many,
            vip_per_s: many,
            owner_per_s: many,
            room_per_s: many,
            global_per_s: many,
            likes_per_s: many,
            duplicate_window_ms: 0,
            cool_down_refusals: u32::MAX,
            ..Default::default()
        },
        anonymous_read: false,
        rate_limiter: Arc::new(MemoryRateLimiter::default()),
        reservations: Arc::new(MemoryReservations::default()),
        review_listener: Arc::new(|_, _| {}),
        store,
        log,
        ids,
        clock,
        metrics,
    }
}

pub fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("an id")
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("an id")
}

pub fn somebody(name: &str) -> Identity {
    let user_id = user(name);
    Identity {
        username: name.into(),
        user_id,
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}
