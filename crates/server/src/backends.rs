//! Opens the backends of the configured shape. With its submodules it is the only part of the server that names one.
//!
//! *Alone*: everything in this process, and SQLite. The *Redis shape*: any number of nodes over Redis and MySQL, each with a
//! log of its own. The *Kafka shape*: the same with one log on Kafka, so nodes can have different roles. etcd may lease the
//! numbers of either. Everything above gets ports ([`Backends`], [`Cluster`], [`SharedLog`]) and cannot tell the difference.

mod audit_trail;
mod authorities;
mod cluster;
mod diagnose;
mod kafka;
mod mysql;
mod redis;
mod registration;
mod spool;

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use ::cluster::NodeNumber;
use ::cluster::etcd::Etcd;
use ::cluster::membership::{NodeInfo, NodeLease};
use anyhow::Context;
use api::Dependencies;
use archive::objects::Location;
use archive::{Archive, ArchiveSettings, ArchivedStore};
use fanout::AdmitComments;
use fanout::grpc::IngestNodes;
use futures::future::BoxFuture;
use log::hlc::HybridClock;
use log::local;
use log::local::LocalConsumer;
use log::spool::{Spool, SpoolingJournal};
use log::{Log, Position, PositionSource};
use model::{Clock, Fence, Metrics, Role, Roles, SnowflakeGenerator, SystemClock};
use redis_client::Redis;
use state::fallback::{FallbackRateLimiter, FallbackReservations};
use state::{
    HotRooms, MemoryPresence, MemoryRateLimiter, MemoryReservations, Presence, RateLimiter, RedisHotRooms,
    RedisLeaderboards, RedisPresence, RedisRateLimiter, RedisReservations, Reservations,
};
use store::chat::ChatStore;
use store::keys::KeyStore;
use store::mysql::MySqlStore;
use store::sqlite::{OpenError, SqliteStore};
use store::uploads::UploadStore;
use store::{MaintenanceStore, Store};

pub use self::audit_trail::AuditTrail;
pub use self::cluster::{Cluster, ClusterSubscriptions};
use self::cluster::{PeerListener, PeerParts};
pub use self::diagnose::{diagnose, node_versions};
pub use self::kafka::{LEAVES_WITHIN, SharedLog};
pub use self::mysql::mysql_certificates;
use self::registration::NodeIdentity;
use crate::config::{self, Config};
use crate::roles::Shape;
use crate::roles::persist::StoreJournal;
use crate::roles::worker::heat_rules;
use crate::upgrade::Listeners;

/// The backends of a node, as the ports that the roles use.
pub struct Backends {
    pub store: Arc<dyn Store>,
    /// Past sessions, which the store answers for too.
    pub archive: Arc<Archive>,
    pub chat: Arc<dyn ChatStore>,
    pub keys: Arc<dyn KeyStore>,
    pub uploads: Arc<dyn UploadStore>,
    pub rate_limiter: Arc<dyn RateLimiter>,
    pub reservations: Arc<dyn Reservations>,
    pub presence: Arc<dyn Presence>,
    /// Shared rankings and hot comments; a process that is alone needs none.
    pub leaderboards: Option<Arc<dyn state::Leaderboards>>,
    pub hot_rooms: Arc<HotRooms>,
    pub ids: Arc<SnowflakeGenerator>,
    /// The number of this node at its start.
    pub node_number: u16,
    /// The time, the same on every node.
    pub clock: Arc<dyn Clock>,
    /// The rules on another node, when this one does not run them.
    pub remote_ingest: Option<Arc<dyn AdmitComments>>,
    pub dependencies: Dependencies,
    pub logs: Logs,
    /// The other nodes, where there can be any.
    pub cluster: Option<Cluster>,
}

/// Where records are appended, and what is delivered from here.
pub struct Logs {
    pub log: Arc<dyn Log>,
    /// What this node's own log delivers.
    pub own: LocalConsumer,
    /// The log that all nodes share, where there is one.
    pub shared: Option<SharedLog>,
}

/// The database in the data directory of a process that runs alone.
const SQLITE_FILE: &str = "barrage.sqlite";

/// Whether this program can speak TLS to Kafka.
pub const HAS_KAFKA_TLS: bool = log::kafka::HAS_TLS;

/// Whether that is an address of Redis, in any of its forms.
pub fn is_redis_address(text: &str) -> bool {
    text.parse::<redis_client::RedisAddress>().is_ok()
}

/// Checks the addresses of Redis and MySQL, and the files that verify them.
pub fn check(config: &Config) -> anyhow::Result<()> {
    if config.redis.url.is_empty() {
        return Ok(());
    }
    redis::address(&config.redis)?;
    cluster::node_tls(config)?;
    cluster::etcd_tls(config)?;
    kafka::check_files(&config.kafka)?;
    mysql::check_files(&config.store.url)
}

impl Backends {
    /// Opens the backends of the configured shape.
    pub async fn open(
        config: &Config,
        roles: Roles,
        listeners: &mut Listeners,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        match Shape::of(config) {
            Shape::Alone => alone(config, metrics).await,
            Shape::Redis | Shape::Kafka => clustered(config, roles, listeners, metrics).await,
        }
    }
}

/// Everything in this process.
async fn alone(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Backends> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_sqlite(config, metrics)?;
    let (offset, last_id) = store.high_water().await?;
    let positions = PositionSource::Counted(Position { epoch: 1, offset });
    let (log, own) = local::open(Arc::new(StoreJournal::new(store.clone())), positions, metrics.clone());
    let archive = open_archive(config, store.clone(), "alone", &clock, metrics);
    // The log is as durable as the store that commits it.
    let dependencies = Dependencies::new("alone", metrics.clone())
        .required("store", probe(store.clone()))
        .required("log", probe(store.clone()));
    Ok(Backends {
        store: Arc::new(ArchivedStore::new(store.clone(), archive.clone())),
        chat: store.clone(),
        keys: store.clone(),
        uploads: store,
        rate_limiter: Arc::new(MemoryRateLimiter::new(state::memory::KEYS_MAX)),
        reservations: Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX)),
        presence: Arc::new(MemoryPresence::default()),
        leaderboards: None,
        hot_rooms: Arc::new(HotRooms::alone(heat_rules(config), metrics.clone())),
        ids: Arc::new(SnowflakeGenerator::new(clock.clone(), config.server.node_id, last_id)),
        node_number: config.server.node_id,
        clock,
        remote_ingest: None,
        dependencies: with_archive(dependencies, &archive),
        archive,
        logs: Logs { log: Arc::new(log), own, shared: None },
        cluster: None,
    })
}

/// One of several nodes over Redis and MySQL, each with a log of its own, or all with one on Kafka.
async fn clustered(
    config: &Config,
    roles: Roles,
    listeners: &mut Listeners,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Backends> {
    check(config)?;
    let redis = redis::open(&config.redis, &config.server.namespace, metrics).await?;
    let clock = redis.clock.clone();
    let store = mysql::open(&config.store.url, clock.now_ms(), metrics).await?;
    let (last_position, last_id) = store.high_water().await?;
    let listener = PeerListener::open(config, listeners)?;
    let address = listener.as_ref().map(|listener| listener.address.clone()).unwrap_or_default();
    let info = NodeInfo { address, roles, version: env!("CARGO_PKG_VERSION").into() };
    let (security, etcd_tls) = (cluster::security(config)?, cluster::etcd_tls(config)?);
    let node = NodeIdentity::register(config, etcd_tls.as_ref(), info, &redis, &store, last_id, metrics).await?;

    let spool = spool::open(config, metrics)?;
    let own_answers = Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX));
    spool::remember_answers(&spool, &own_answers).await?;
    let shared_rates = Arc::new(RedisHotRooms::new(redis.client.clone(), &node.source));
    let hot_rooms = Arc::new(HotRooms::shared(heat_rules(config), shared_rates, metrics.clone()));
    let hlc = Arc::new(HybridClock::new(clock.clone(), node.number.clone(), last_position));
    let (logs, spooled) = match Shape::of(config) {
        Shape::Kafka => kafka_logs(config, &node.name, &spool, hlc, &hot_rooms, metrics).await?,
        Shape::Alone | Shape::Redis => spool::spooling_logs(store.clone(), &spool, hlc, metrics),
    };

    let members = node.registration.members().await?;
    let connect = || Arc::new(IngestNodes::start(&members, security.clone(), metrics.clone()));
    let remote_ingest = (!roles.has(Role::Ingest)).then(connect);
    let dependencies = Dependencies::new(if logs.shared.is_some() { "kafka" } else { "redis" }, metrics.clone());
    let dependencies = required_dependencies(dependencies, &node.number, &redis.client, &store, spool);
    let etcd = node.registration.etcd.as_ref();
    let dependencies = optional_dependencies(dependencies, etcd, logs.shared.as_ref(), remote_ingest.as_ref());
    let archive = open_archive(config, store.clone(), &node.name, &clock, metrics);
    let client = redis.client.clone();
    let parts = PeerParts {
        number: node.number,
        source: node.source,
        members,
        security,
        etcd_tls,
        listener,
        spooled,
        persisted_by_others: logs.shared.is_some(),
    };
    Ok(Backends {
        store: Arc::new(ArchivedStore::new(store.clone(), archive.clone())),
        chat: store.clone(),
        keys: store.clone(),
        uploads: store,
        rate_limiter: Arc::new(FallbackRateLimiter::new(
            Arc::new(RedisRateLimiter::new(client.clone())),
            MemoryRateLimiter::new(state::memory::KEYS_MAX),
            metrics.clone(),
        )),
        reservations: Arc::new(FallbackReservations::new(
            Arc::new(RedisReservations::new(client.clone())),
            own_answers,
            metrics.clone(),
        )),
        presence: Arc::new(RedisPresence::new(client.clone(), &node.name, node.token)),
        leaderboards: Some(Arc::new(RedisLeaderboards::new(client))),
        hot_rooms,
        ids: node.ids,
        node_number: node.first_number,
        clock,
        remote_ingest: remote_ingest.map(|nodes| nodes as Arc<dyn AdmitComments>),
        dependencies: with_archive(dependencies, &archive),
        archive,
        logs,
        cluster: Some(Cluster::new(redis, parts, metrics.clone())),
    })
}

fn make_data_directory(config: &Config) -> anyhow::Result<()> {
    crate::private::directory(&config.server.data)
}

/// Copies the SQLite database of a data directory into a new file, as of one moment, also while a server uses it.
pub fn snapshot_sqlite(data: &Path, into: &Path) -> anyhow::Result<()> {
    let path = data.join(SQLITE_FILE);
    store::sqlite::snapshot(&path, into).with_context(|| format!("cannot copy {}", path.display()))
}

fn open_sqlite(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<SqliteStore>> {
    make_data_directory(config)?;
    let path = config.server.data.join(SQLITE_FILE);
    let store = SqliteStore::open(&path, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Arc::new(store))
}

/// A log that all nodes share. What it does not take is kept on this node's disk, and delivered from here.
async fn kafka_logs(
    config: &Config,
    name: &str,
    spool: &Spool,
    hlc: Arc<HybridClock>,
    hot_rooms: &Arc<HotRooms>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Logs, Arc<SpoolingJournal>)> {
    let sharding = ingest::hot_rooms::sharding(hot_rooms.clone());
    let shared = kafka::open(config, name, hlc.clone(), sharding, metrics).await?;
    let (log, own) = shared.with_fallback(spool.clone(), hlc);
    let spooled = log.journal();
    Ok((Logs { log: Arc::new(log), own, shared: Some(shared) }, spooled))
}

/// The archive over a store. A place that is away does not stop the start.
fn open_archive(
    config: &Config,
    store: Arc<dyn Store>,
    owner: &str,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Arc<Archive> {
    let location = config::archive_location(config);
    if config::archive_is_one_nodes(config) {
        tracing::warn!(
            url = config.archive.url,
            "nothing is archived: this directory is one node's alone. Set archive.url to s3://… or to a directory that all nodes \
             mount (file:///…), or to nothing"
        );
    }
    if let Some(Location::Directory(path)) = &location
        && let Err(error) = crate::private::directory(path)
    {
        tracing::warn!(%error, "the archive's directory cannot be used");
    }
    let settings = ArchiveSettings {
        location,
        after_days: config.archive.after_days,
        retention_days: config.rooms.retention_days,
        owner: owner.to_owned(),
    };
    Archive::new(store, settings, clock.clone(), metrics.clone())
}

/// The store and the archive of a deployment, for a command beside its server or without one.
pub async fn open_beside(config: &Config) -> anyhow::Result<(Arc<dyn Store>, Arc<Archive>)> {
    let metrics = Arc::new(Metrics::register(&mut prometheus_client::registry::Registry::default()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store: Arc<dyn Store> = if config.store.url.is_empty() {
        let path = config.server.data.join(SQLITE_FILE);
        if !path.exists() {
            anyhow::bail!("there is no database at {}", path.display());
        }
        let opened = SqliteStore::open(&path, metrics.clone()).or_else(|error| match error {
            OpenError::InUse { .. } => SqliteStore::open_beside(&path, metrics.clone()),
            error => Err(error),
        });
        Arc::new(opened.with_context(|| format!("cannot use {}", path.display()))?)
    } else {
        mysql::open(&config.store.url, clock.now_ms(), &metrics).await?
    };
    let owner = format!("tool-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let archive = open_archive(config, store.clone(), &owner, &clock, &metrics);
    Ok((Arc::new(ArchivedStore::new(store, archive.clone())), archive))
}

fn with_archive(dependencies: Dependencies, archive: &Arc<Archive>) -> Dependencies {
    if !archive.is_on() {
        return dependencies;
    }
    let archive = archive.clone();
    dependencies.optional("archive", move || {
        let archive = archive.clone();
        async move { archive.is_available().await }
    })
}

/// Asks a store whether it answers.
fn probe(store: Arc<dyn Store>) -> impl Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static {
    move || {
        let store = store.clone();
        Box::pin(async move { store.probe().await.is_ok() })
    }
}

/// What every node of several depends on.
fn required_dependencies(
    dependencies: Dependencies,
    number: &Arc<NodeNumber<NodeLease>>,
    redis: &Redis,
    store: &Arc<MySqlStore>,
    spool: Spool,
) -> Dependencies {
    let (number, redis, disk) = (number.clone(), redis.clone(), spool.clone());
    dependencies
        .required("number", move || ready(number.node().is_some()))
        .optional("redis", move || ready(redis.is_connected()))
        .optional("mysql", probe(store.clone()))
        .optional("disk", move || {
            let spool = disk.clone();
            async move { spool.is_writable().await }
        })
        .spool(move || spool::depth(&spool))
}

/// What not every deployment has, and not every role.
fn optional_dependencies(
    mut dependencies: Dependencies,
    etcd: Option<&Etcd>,
    log: Option<&SharedLog>,
    ingest: Option<&Arc<IngestNodes>>,
) -> Dependencies {
    if let Some(etcd) = etcd.cloned() {
        dependencies = dependencies.optional("etcd", move || ready(etcd.is_available()));
    }
    if let Some(is_well) = log.map(SharedLog::health_check) {
        dependencies = dependencies.optional("kafka", move || ready(is_well()));
    }
    if let Some(nodes) = ingest.cloned() {
        dependencies = dependencies.optional("ingest", move || ready(nodes.are_there()));
    }
    dependencies
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// What the code of a backend, or of its client library, is called by.
    const MODULES: [&str; 11] = [
        "redis::",
        "redis_client::",
        "grpc::",
        "tonic::",
        "kafka::",
        "rdkafka::",
        "etcd::",
        "mysql::",
        "sqlx::",
        "sqlite::",
        "rusqlite::",
    ];
    const TYPES: [&str; 6] = ["Redis", "Grpc", "Kafka", "Etcd", "MySql", "Sqlite"];

    fn sources(dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    fn names_a_backend(code: &str) -> bool {
        let is_type = |name: &str| {
            code.match_indices(name).any(|(at, _)| {
                let (before, after) = (code[..at].chars().next_back(), code[at + name.len()..].chars().next());
                !before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_uppercase)
            })
        };
        MODULES.iter().any(|module| code.contains(module)) || TYPES.iter().any(|name| is_type(name))
    }

    /// Lines of code under a directory that a check finds, with their places.
    fn lines(dir: &Path, find: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for file in sources(dir).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            let numbered = code.enumerate().filter(|(_, code)| find(code));
            found.extend(numbered.map(|(at, code)| format!("{}:{}: {}", file.display(), at + 1, code.trim())));
        }
        found
    }

    fn crates() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the directory of crates").to_owned()
    }

    #[test]
    fn only_this_module_names_a_backend() {
        let rules = ["api", "chat", "gateway", "hub", "ingest", "server", "webhook", "worker"];
        let is_here = |line: &String| line.contains("/server/src/backends");
        let named = rules.iter().flat_map(|rule| lines(&crates().join(rule).join("src"), names_a_backend));
        let named: Vec<_> = named.filter(|line| !is_here(line)).collect();
        assert!(named.is_empty(), "{}", named.join("\n"));
        assert!(lines(&crates().join("server/src"), names_a_backend).iter().any(is_here), "the test finds names");
    }

    #[test]
    fn backends_of_one_port_do_not_import_each_other() {
        let siblings = [("cluster", ["redis", "etcd"]), ("fanout", ["redis", "grpc"]), ("store", ["sqlite", "mysql"])];
        for (name, [one, other]) in siblings {
            for (from, to) in [(one, other), (other, one)] {
                let imports = |code: &str| code.contains(&format!("crate::{to}")) || code.contains(&format!("{to}::"));
                let found = lines(&crates().join(name).join("src").join(from), imports);
                assert!(found.is_empty(), "{name}/{from} imports {to}:\n{}", found.join("\n"));
            }
        }
    }
}
