//! What a shape consists of, opened.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::{Dependencies, SpoolDepth};
use bus::local::Journal;
use bus::registry::{Card, LEASE, NoNumber, NodeLease, Registry};
use bus::spool::{Bounds, Spool, SpoolingJournal};
use bus::stamp::Stamps;
use bus::{NodeNumber, Places, Position};
use model::{Clock, Comment, Fence, Metrics, Roles, SnowflakeGenerator};
use parking_lot::Mutex;
use redis_client::{Address, Redis};
use state::fallback::{FallbackGate, FallbackReservations};
use state::{
    FirstAnswer, Gate, MemoryGate, MemoryPresence, MemoryReservations, Presence, RedisGate, RedisPresence,
    RedisReservations, Reservations,
};
use store::Store;
use store::chat::ChatStore;
use store::keys::KeyStore;
use store::mysql::MySqlStore;
use store::sqlite::SqliteStore;
use store::uploads::UploadStore;

use super::journal::StoreJournal;
use super::settings::node_name;
use crate::config::Config;
use crate::logging;

/// How long a start waits for Redis.
const REDIS_PATIENCE: Duration = Duration::from_secs(10);

/// The backends of a node.
pub(super) struct Backends {
    pub store: Arc<dyn Store>,
    pub chat: Arc<dyn ChatStore>,
    pub keys: Arc<dyn KeyStore>,
    pub uploads: Arc<dyn UploadStore>,
    pub gate: Arc<dyn Gate>,
    pub reservations: Arc<dyn Reservations>,
    pub presence: Arc<dyn Presence>,
    pub ids: Arc<SnowflakeGenerator>,
    pub journal: Arc<dyn Journal>,
    pub places: Places,
    /// This node's number as it starts.
    pub number: u16,
    pub dependencies: Dependencies,
    pub nodes: Option<Nodes>,
}

/// What a node of several has besides.
#[derive(Clone)]
pub struct Nodes {
    pub address: Address,
    pub redis: Redis,
    pub number: Arc<NodeNumber<NodeLease>>,
    /// Its name between nodes: no other start of a process has it.
    pub source: String,
}

impl Backends {
    /// Opens those of the shape that is configured.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        if config.redis.url.is_empty() {
            Self::alone(config, clock, metrics).await
        } else {
            Self::redis(config, clock, metrics).await
        }
    }

    /// One of several nodes over Redis and MySQL, each with a log of its own.
    async fn redis(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let address: Address = config.redis.url.parse().context("redis.url")?;
        let redis = Redis::open(&address, &config.server.namespace, metrics.clone()).context("redis.url")?;
        redis.ready(REDIS_PATIENCE).await.with_context(|| format!("no answer from {address}"))?;
        let store = MySqlStore::open(&config.store.url, clock.now_ms(), metrics.clone()).await.context("store.url")?;
        let store = Arc::new(store);
        let (last_place, last_id) = store.high_water().await?;

        let token = rand::random();
        let number = Arc::new(NodeNumber::new(take_number(&redis, token).await?));
        let first = number.node().context("the node's number was lost at once")?;
        let name = node_name(config, first);
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), number.clone(), last_id));
        tokio::spawn(keep_number(config.clone(), redis.clone(), number.clone(), ids.clone(), store.clone()));

        let spool = open_spool(config, metrics)?;
        let own_answers = Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX));
        remember_answers(&spool, &own_answers).await?;
        let journal = SpoolingJournal::new(Arc::new(StoreJournal(store.clone())), spool.clone());
        let journal = Arc::new(journal);
        let draining = journal.clone();
        tokio::spawn(async move { draining.drain().await });

        let (held, there, kept) = (number.clone(), redis.clone(), store.clone());
        let dependencies = Dependencies::new("redis", metrics.clone())
            .needs("number", move || std::future::ready(held.node().is_some()))
            .spares("redis", move || std::future::ready(there.is_connected()))
            .spares("mysql", move || {
                let store = kept.clone();
                async move { store.probe().await.is_ok() }
            })
            .spool(move || depth(&spool));
        Ok(Self {
            store: store.clone(),
            chat: store.clone(),
            keys: store.clone(),
            uploads: store,
            gate: Arc::new(FallbackGate::new(
                Arc::new(RedisGate::new(redis.clone())),
                MemoryGate::new(state::memory::KEYS_MAX),
                metrics.clone(),
            )),
            reservations: Arc::new(FallbackReservations::new(
                Arc::new(RedisReservations::new(redis.clone())),
                own_answers,
                metrics.clone(),
            )),
            presence: Arc::new(RedisPresence::new(redis.clone(), &name, token)),
            ids,
            journal,
            number: first,
            places: Places::Stamped(Arc::new(Stamps::new(clock.clone(), number.clone(), last_place))),
            dependencies,
            nodes: Some(Nodes { address, redis, number, source: format!("{name}-{token:016x}") }),
        })
    }

    /// Everything in this process.
    async fn alone(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let store = open_sqlite(config, metrics)?;
        let (offset, last_id) = store.high_water().await?;
        let probe = |store: &Arc<SqliteStore>| {
            let store = store.clone();
            move || {
                let store = store.clone();
                async move { store.probe().await.is_ok() }
            }
        };
        // The log is as durable as the store that commits it.
        let dependencies =
            Dependencies::new("alone", metrics.clone()).needs("store", probe(&store)).needs("log", probe(&store));
        Ok(Self {
            store: store.clone(),
            chat: store.clone(),
            keys: store.clone(),
            uploads: store.clone(),
            gate: Arc::new(MemoryGate::new(state::memory::KEYS_MAX)),
            reservations: Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX)),
            presence: Arc::new(MemoryPresence::default()),
            ids: Arc::new(SnowflakeGenerator::new(clock.clone(), config.server.node_id, last_id)),
            journal: Arc::new(StoreJournal(store)),
            number: config.server.node_id,
            places: Places::Counted(Position { epoch: 1, offset }),
            dependencies,
            nodes: None,
        })
    }
}

fn open_sqlite(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<SqliteStore>> {
    let data = &config.server.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let path = data.join("barrage.sqlite");
    let store = SqliteStore::open(&path, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Arc::new(store))
}

fn open_spool(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Spool> {
    let data = &config.server.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let path = data.join("spool.sqlite");
    let bounds = Bounds { rows_max: config.store.spool_records_max, bytes_max: config.store.spool_bytes_max };
    Spool::open(&path, bounds, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))
}

fn depth(spool: &Spool) -> SpoolDepth {
    let bus::spool::Depth { rows, bytes, aside } = spool.depth();
    SpoolDepth { records: rows, bytes, aside }
}

/// What an earlier run acknowledged and the store does not know yet: a retry gets the same answer.
async fn remember_answers(spool: &Spool, answers: &MemoryReservations) -> anyhow::Result<()> {
    let waiting = Mutex::new(Vec::new());
    let note = |comment: &Comment, key: &str| {
        let answer = FirstAnswer { id: comment.id, pending_review: false, created_at_ms: comment.created_at_ms };
        waiting.lock().push((comment.user_id.clone(), key.to_owned(), answer));
    };
    spool.answered(note).await.context("cannot read the spool")?;
    for (user, key, answer) in waiting.into_inner() {
        answers.finish(&user, &key, answer).await?;
    }
    Ok(())
}

async fn take_number(redis: &Redis, token: u64) -> Result<NodeLease, NoNumber> {
    let card = Card { address: String::new(), roles: Roles::ALL };
    NodeLease::take(Registry::Redis(redis.clone()), &card, token, LEASE).await
}

/// Looks after the number; a new one is used only once ids are sure to go on after those of its last holder.
async fn keep_number(
    config: Config,
    redis: Redis,
    number: Arc<NodeNumber<NodeLease>>,
    ids: Arc<SnowflakeGenerator>,
    store: Arc<MySqlStore>,
) {
    let config = Arc::new(config);
    let take = || {
        let (config, redis, ids, store) = (config.clone(), redis.clone(), ids.clone(), store.clone());
        async move {
            // A lease with the same token would be taken for the lost one.
            let lease = take_number(&redis, rand::random()).await?;
            let (_, last_id) = store.high_water().await?;
            last_id.into_iter().for_each(|id| ids.go_on_after(id));
            logging::name_node(&node_name(&config, lease.number()));
            anyhow::Ok(lease)
        }
    };
    number.keep(take).await;
}
