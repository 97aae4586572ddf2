//! What a shape consists of, opened.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::{Dependencies, SpoolDepth};
use bus::etcd::Etcd;
use bus::grpc::{IngestNodes, Secret};
use bus::local::{self, LocalConsumer};
use bus::redis::ControlFanout;
use bus::registry::{Card, NodeLease};
use bus::spool::{Bounds, Spool, SpoolingJournal};
use bus::stamp::Stamps;
use bus::{Log, NodeNumber, Places, Position};
use model::{Clock, Comment, Fence, Metrics, Role, Roles, SnowflakeGenerator, SystemClock};
use parking_lot::Mutex;
use redis_client::Redis;
use state::fallback::{FallbackGate, FallbackReservations};
use state::{
    FirstAnswer, Gate, Heat, MemoryGate, MemoryPresence, MemoryReservations, Presence, RedisGate, RedisHeat,
    RedisPresence, RedisReservations, Reservations,
};
use store::Store;
use store::chat::ChatStore;
use store::keys::KeyStore;
use store::mysql::MySqlStore;
use store::sqlite::SqliteStore;
use store::uploads::UploadStore;

use super::authorities::{mysql_authorities, redis_address};
use super::clock;
use super::journal::StoreJournal;
use super::kafka::Kafka;
use super::nodes::{Ear, Nodes};
use super::number::Listing;
use super::settings::{heat_rules, node_name};
use crate::config::Config;
use crate::roles::Shape;

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
    /// Where everything that happens in rooms goes.
    pub log: Arc<dyn Log>,
    /// What of it is delivered from here.
    pub own: LocalConsumer,
    /// Which rooms are hot.
    pub heat: Arc<Heat>,
    /// This node's number as it starts.
    pub number: u16,
    pub dependencies: Dependencies,
    pub nodes: Option<Nodes>,
    /// What time it is: on several nodes the same.
    pub clock: Arc<dyn Clock>,
    /// The log that nodes share, if they do.
    pub kafka: Option<Kafka>,
}

/// What is appended to, and who delivers it.
struct Logs {
    log: Arc<dyn Log>,
    own: LocalConsumer,
    /// Says what the spool handed over to the store.
    drained: Option<Arc<SpoolingJournal>>,
    kafka: Option<Kafka>,
}

impl Backends {
    /// Opens those of the shape that is configured.
    pub async fn open(config: &Config, roles: Roles, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        match Shape::of(config) {
            Shape::Alone => Self::alone(config, metrics).await,
            Shape::Redis | Shape::Kafka => Self::several(config, roles, metrics).await,
        }
    }

    /// One of several nodes over Redis and MySQL, each with a log of its own, or all with one on Kafka.
    async fn several(config: &Config, roles: Roles, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        mysql_authorities(&config.store.url)?;
        let address = redis_address(&config.redis)?;
        let redis = Redis::open(&address, &config.server.namespace, metrics.clone()).context("redis.url")?;
        redis.ready(REDIS_PATIENCE).await.with_context(|| format!("no answer from {address}"))?;
        let clock: &Arc<dyn Clock> = &clock::shared(&redis, metrics);
        let store = MySqlStore::open(&config.store.url, clock.now_ms(), metrics.clone()).await.context("store.url")?;
        let store = Arc::new(store);
        let (last_place, last_id) = store.high_water().await?;

        let (ear, token) = (Ear::open(config).await?, rand::random());
        let card = Card { address: ear.as_ref().map(|ear| ear.address.clone()).unwrap_or_default(), roles };
        let listing = Arc::new(Listing::new(config, &redis, card, metrics)?);
        let number = Arc::new(NodeNumber::new(listing.first(token).await?));
        let first = number.node().context("the node's number was lost at once")?;
        let name = node_name(config, first);
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), number.clone(), last_id));
        tokio::spawn(listing.clone().keep(number.clone(), ids.clone(), store.clone()));

        let spool = open_spool(config, metrics)?;
        let own_answers = Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX));
        remember_answers(&spool, &own_answers).await?;
        let stamps = Arc::new(Stamps::new(clock.clone(), number.clone(), last_place));
        let source = format!("{name}-{token:016x}");
        let shared_heat = RedisHeat::new(redis.clone(), &source);
        let heat = Arc::new(Heat::shared(heat_rules(config), shared_heat, metrics.clone()));
        let Logs { log, own, drained, kafka } = match Shape::of(config) {
            Shape::Kafka => kafka_log(config, &name, &spool, stamps, &heat, metrics).await?,
            _ => own_log(&store, &spool, stamps, metrics),
        };
        let members = listing.members().await?;
        let secret = Secret::new(config.auth.hmac_secret.as_bytes());
        let ingest = || Arc::new(IngestNodes::start(&members, secret.clone(), metrics.clone()));
        let ingest = (!roles.has(Role::Ingest)).then(ingest);
        let dependencies = dependencies(config, &number, &redis, &store, spool, metrics);
        let dependencies = also(dependencies, listing.etcd.clone(), kafka.as_ref(), ingest.clone());
        let nodes = Nodes {
            control: Arc::new(ControlFanout::new(redis.clone(), &source, &**clock, metrics.clone())),
            address,
            redis: redis.clone(),
            number,
            source,
            drained,
            members,
            secret,
            ear,
            ingest,
            store_lags: kafka.is_some(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
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
            presence: Arc::new(RedisPresence::new(redis, &name, token)),
            ids,
            log,
            own,
            heat,
            number: first,
            dependencies,
            nodes: Some(nodes),
            clock: clock.clone(),
            kafka,
        })
    }

    /// Everything in this process.
    async fn alone(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
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
        let places = Places::Counted(Position { epoch: 1, offset });
        let (log, own) = local::open(Arc::new(StoreJournal::new(store.clone())), places, metrics.clone());
        Ok(Self {
            store: store.clone(),
            chat: store.clone(),
            keys: store.clone(),
            uploads: store,
            gate: Arc::new(MemoryGate::new(state::memory::KEYS_MAX)),
            reservations: Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX)),
            presence: Arc::new(MemoryPresence::default()),
            ids: Arc::new(SnowflakeGenerator::new(clock.clone(), config.server.node_id, last_id)),
            log: Arc::new(log),
            own,
            heat: Arc::new(Heat::alone(heat_rules(config), metrics.clone())),
            number: config.server.node_id,
            dependencies,
            nodes: None,
            clock,
            kafka: None,
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

/// A log of this node's own, kept in MySQL, or on its disk while that is away.
fn own_log(store: &Arc<MySqlStore>, spool: &Spool, stamps: Arc<Stamps>, metrics: &Arc<Metrics>) -> Logs {
    let journal = SpoolingJournal::new(Arc::new(StoreJournal::new(store.clone())), spool.clone());
    let journal = Arc::new(journal);
    let draining = journal.clone();
    tokio::spawn(async move { draining.drain().await });
    let (log, own) = local::open(journal.clone(), Places::Stamped(stamps), metrics.clone());
    Logs { log: Arc::new(log), own, drained: Some(journal), kafka: None }
}

/// A log that all nodes share; what it does not take is kept on this node's disk, and delivered from here.
async fn kafka_log(
    config: &Config,
    name: &str,
    spool: &Spool,
    stamps: Arc<Stamps>,
    heat: &Arc<Heat>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Logs> {
    let kafka = Kafka::open(config, name, stamps.clone(), heat, metrics).await?;
    let (log, own) = kafka.or_here(spool.clone(), stamps);
    Ok(Logs { own, drained: Some(log.journal()), log: Arc::new(log), kafka: Some(kafka) })
}

fn dependencies(
    config: &Config,
    number: &Arc<NodeNumber<NodeLease>>,
    redis: &Redis,
    store: &Arc<MySqlStore>,
    spool: Spool,
    metrics: &Arc<Metrics>,
) -> Dependencies {
    let shape = if Shape::of(config) == Shape::Kafka { "kafka" } else { "redis" };
    let (held, there, kept, disk) = (number.clone(), redis.clone(), store.clone(), spool.clone());
    Dependencies::new(shape, metrics.clone())
        .needs("number", move || ready(held.node().is_some()))
        .spares("redis", move || ready(there.is_connected()))
        .spares("mysql", move || {
            let store = kept.clone();
            async move { store.probe().await.is_ok() }
        })
        .spares("disk", move || {
            let spool = disk.clone();
            async move { spool.is_writable().await }
        })
        .spool(move || depth(&spool))
}

/// What not every deployment has, and not every role.
fn also(
    mut dependencies: Dependencies,
    etcd: Option<Etcd>,
    kafka: Option<&Kafka>,
    ingest: Option<Arc<IngestNodes>>,
) -> Dependencies {
    if let Some(etcd) = etcd {
        dependencies = dependencies.spares("etcd", move || ready(etcd.is_there()));
    }
    if let Some(is_well) = kafka.map(Kafka::is_well) {
        dependencies = dependencies.spares("kafka", move || ready(is_well()));
    }
    if let Some(nodes) = ingest {
        dependencies = dependencies.spares("ingest", move || ready(nodes.are_there()));
    }
    dependencies
}
