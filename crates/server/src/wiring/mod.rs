//! Wiring: the one place that names a backend.
//!
//! [`backends`] opens what a shape consists of: *alone*, everything in this process and SQLite; the *Redis shape*,
//! any number of nodes over Redis and MySQL; the *Kafka shape*, nodes that have one log on [`kafka`] besides, each with the roles
//! that it is given. Everything above them is put together here, the same in every shape.

mod authorities;
mod backends;
mod clock;
mod journal;
mod kafka;
mod nodes;
mod number;
mod settings;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use api::{Dependencies, Origins};
use bus::{Consumer, Fanout, UserFanout};
use chat::{Chat, Keys, Post, Signer, UploadParts, Uploads};
use gateway::{HttpConnection, ServerTls, Services, TlsError};
use hook::{Hook, HookSettings};
use ingest::filter::WordFilter;
use ingest::{Admission, Awaited, Bans, CountingLog, Ingest, Rooms, TellReview, Tokens, heat};
use model::panics::end_on_panic;
use model::{Clock, Metrics, MsgType, Role, Roles};
use object_store::local::LocalFileSystem;
use prometheus_client::registry::Registry;
use room::Hub;
use room::boards::Boards;
use room::worker::Worker;
use socket2::{Domain, Socket, Type};
use state::RedisBoards;
use store::Store;
use store::chat::ChatStore;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use self::authorities::check_authorities;
use self::backends::Backends;
use self::journal::StoreJournal;
pub use self::kafka::{Kafka, LEAVES_WITHIN};
use self::nodes::{Nodes, Ways};
use self::settings::{
    api_settings, chat_settings, gateway_settings, hub_settings, key_files, limits, node_name, room_rules,
    upload_settings,
};
use crate::config::{Config, Tls};
use crate::{logging, secret};

/// Connections that may wait to be accepted; the kernel may allow fewer (net.core.somaxconn).
const ACCEPT_WAITING_MAX: i32 = 4_096;
/// Connections that may wait for the HTTP side.
const HTTP_WAITING_MAX: usize = 1_024;

/// Everything that runs, and how to stop it.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The sockets.
    pub gateway: gateway::Gateway,
    /// Plain HTTP, as an axum router.
    pub router: axum::Router,
    /// Connections that are not for `/ws`.
    pub http: mpsc::Receiver<HttpConnection>,
    /// Says that the server is draining.
    pub draining: watch::Sender<bool>,
    /// The rules.
    pub ingest: Arc<Ingest>,
    /// The rules of private and group chat.
    pub chat: Arc<Chat>,
    /// Pictures, videos and files.
    pub uploads: Arc<Uploads>,
    /// Tells of messages to people who are offline, if that is wished.
    pub hook: Option<Hook>,
    /// Who somebody is.
    pub tokens: Arc<Tokens>,
    /// The certificate, if there is one.
    pub tls: Option<Arc<ServerTls>>,
    /// What lasts.
    pub store: Arc<dyn Store>,
    /// What it leans on.
    pub dependencies: Arc<Dependencies>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The room worker of this node's own log.
    pub worker: JoinHandle<()>,
    /// The log that nodes share, and what of it is read here.
    pub kafka: Option<Kafka>,
    /// The other nodes, if there can be any.
    pub nodes: Option<Nodes>,
    /// The ways into this one.
    pub ways: Option<Ways>,
}

/// Builds a node of the shape that is configured. Nothing is served yet when it returns but the listener is bound.
pub async fn build(config: &Config, roles: Roles, dev: bool, open: bool) -> anyhow::Result<Server> {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    end_on_panic(metrics.panics.clone());
    let secret = secret::open(config)?;
    let backends = Backends::open(config, roles, &metrics).await?;
    let clock = backends.clock.clone();
    let name = node_name(config, backends.number);
    logging::name_node(&name);
    let Backends { store, ids, heat, .. } = &backends;
    let (store, ids, heat) = (store.clone(), ids.clone(), heat.clone());
    tokio::spawn(heat::keep(Arc::downgrade(&heat), clock.clone()));
    let log: Arc<dyn bus::Log> = Arc::new(CountingLog::new(backends.log, heat.clone()));

    let link_signer = Signer::new(secret.as_bytes());
    let tokens = Arc::new(Tokens::new(Some(secret), key_files(config))?);
    for (user, before_ms) in store.revocations().await? {
        tokens.revoke(user, before_ms);
    }
    let rooms = Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), room_rules(config));
    rooms.load_live().await?;
    let bans = Bans::default();
    bans.read_all_again(&*store, clock.now_ms()).await?;
    let ingest = Arc::new(Ingest {
        rooms,
        bans,
        awaited: Awaited::load(&*store).await?,
        filter: WordFilter::new(store.words().await?)?,
        limits: limits(config),
        gate: backends.gate,
        reservations: backends.reservations,
        tell_review: tell_review(backends.kafka.as_ref()),
        store: store.clone(),
        log,
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });

    let uploads = Arc::new(Uploads::new(UploadParts {
        settings: upload_settings(config),
        store: backends.uploads.clone(),
        archive: Arc::new(open_archive(config)?),
        signer: link_signer,
        gate: ingest.gate.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
    }));
    let post = Arc::new(Post::new());
    let mut nodes = backends.nodes;
    let fanout: Arc<dyn UserFanout> = match &nodes {
        Some(nodes) => nodes.user_fanout(&post)?,
        None => post.clone(),
    };
    let chat = Chat::start(chat::Parts {
        settings: chat_settings(config),
        store: backends.chat.clone(),
        gate: ingest.gate.clone(),
        presence: backends.presence,
        fanout,
        post: post.clone(),
        screen: screen(&ingest, config.chat.word_filter),
        attachments: uploads.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });

    let dependencies = Arc::new(backends.dependencies);
    let keys = Arc::new(Keys::new(backends.keys, ingest.gate.clone(), clock.clone()));
    let hook = open_hook(config, &backends.chat, &chat, &clock, &metrics)?;

    let boards = Arc::new(match &nodes {
        Some(nodes) => Boards::shared(store.clone(), Arc::new(RedisBoards::new(nodes.redis.clone()))),
        None => Boards::new(store.clone()),
    });
    boards.warm(clock.now_ms()).await?;
    let hub = Hub::new(store.clone(), clock.clone(), ids.clone(), metrics.clone(), hub_settings(config));
    let weigh = heat::weigh(heat.clone(), &ingest);
    let mut ways = nodes.as_ref().map(|nodes| nodes.open(&hub, &ingest, &tokens)).transpose()?;
    let fanout: Arc<dyn Fanout> = match &nodes {
        Some(nodes) => nodes.fanout(&hub, weigh.clone()),
        None => hub.clone(),
    };
    let worker = |consumer: Box<dyn Consumer>, fanout| {
        Worker::new(consumer, fanout, boards.clone(), clock.clone(), ids.clone()).weighing(weigh.clone())
    };
    let own = worker(Box::new(backends.own), fanout);
    let mut kafka = backends.kafka;
    if let (Some(kafka), Some(nodes), Some(ways)) = (&mut kafka, &nodes, &ways) {
        if roles.has(Role::Worker) {
            let fanout = kafka.telling(nodes.push(&hub, ways, weigh.clone()));
            kafka.deliver(|consumer| worker(Box::new(consumer), fanout))?;
        }
        if roles.has(Role::Persist) {
            kafka.keep(StoreJournal::of_partitions(store.clone()))?;
        }
    }
    let admission = match nodes.as_ref().and_then(|nodes| nodes.ingest.clone()) {
        Some(elsewhere) => Admission::Elsewhere(elsewhere),
        None => Admission::Here(ingest.clone()),
    };
    if let (Some(nodes), Some(ways)) = (&mut nodes, &mut ways) {
        nodes.listen(ways, roles, &ingest);
    }

    let tls = open_tls(&config.tls)?.map(Arc::new);
    let (draining, drained) = watch::channel(false);
    let listener =
        listen(&config.server.listen).with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    let origins = Origins::new(config.auth.origins.clone(), dev && !open);
    let router = api::router(api::Services {
        ingest: ingest.clone(),
        admission: admission.clone(),
        chat: chat.clone(),
        keys,
        uploads: uploads.clone(),
        hub: hub.clone(),
        boards,
        heat,
        store: store.clone(),
        tokens: tokens.clone(),
        dependencies: dependencies.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        registry: Arc::new(registry),
        settings: Arc::new(api_settings(config, roles, &name, dev, origins.clone())),
        draining: drained,
    });
    let (to_http, http) = mpsc::channel(HTTP_WAITING_MAX);
    let services = Services {
        hub,
        ingest: ingest.clone(),
        admission,
        chat: chat.clone(),
        post,
        tokens: tokens.clone(),
        clock,
        metrics: metrics.clone(),
        tls: tls.clone(),
        origins: Arc::new(move |origin, host| origins.allows(origin, host)),
        settings: gateway_settings(config, roles, &name, dev),
    };
    let gateway = gateway::Gateway::start(vec![listener], services, tokio::runtime::Handle::current(), to_http)
        .context("cannot start the gateway")?;
    let worker = tokio::spawn(own.run());
    Ok(Server {
        address,
        gateway,
        router,
        http,
        draining,
        ingest,
        chat,
        uploads,
        hook,
        tokens,
        tls,
        store,
        dependencies,
        metrics,
        worker,
        kafka,
        nodes,
        ways,
    })
}

/// The certificate, if one is configured.
pub fn open_tls(tls: &Tls) -> Result<Option<ServerTls>, TlsError> {
    if tls.certificate_file.as_os_str().is_empty() {
        return Ok(None);
    }
    ServerTls::load(&tls.certificate_file, &tls.key_file).map(Some)
}

/// A listener whose queue holds a storm of reconnecting viewers; the standard library's holds 128.
fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address.parse()?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_WAITING_MAX)?;
    Ok(socket.into())
}

fn open_hook(
    config: &Config,
    store: &Arc<dyn ChatStore>,
    chat: &Arc<Chat>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Hook>> {
    if config.hook.url.is_empty() {
        return Ok(None);
    }
    let settings = HookSettings {
        url: config.hook.url.clone(),
        secret: config.hook.secret.clone(),
        include_content: config.hook.include_content,
        timeout_s: config.hook.timeout_s,
        attempts_max: config.hook.attempts_max,
    };
    let hook = Hook::new(settings, store.clone(), chat.clone(), clock.clone(), metrics.clone());
    hook.map(Some).context("cannot prepare the notification hook")
}

/// The directory of uploads. What it acknowledges is on the disk.
fn open_archive(config: &Config) -> anyhow::Result<LocalFileSystem> {
    let named = &config.uploads.directory;
    let path = if named.as_os_str().is_empty() { config.server.data.join("uploads") } else { named.clone() };
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let archive = LocalFileSystem::new_with_prefix(&path).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(archive.with_fsync(true))
}

/// Programs that are not ours hear of reviews where there is a Kafka to tell them by.
fn tell_review(kafka: Option<&Kafka>) -> TellReview {
    match kafka.map(|kafka| kafka.outside.clone()) {
        Some(outside) => Arc::new(move |comment, status| outside.review(comment, status.as_str())),
        None => Arc::new(|_, _| {}),
    }
}

/// What comments and messages have in common: bans and mutes that hold everywhere and, if it is wished, the word
/// lists. Only what people read is held against those.
fn screen(ingest: &Arc<Ingest>, word_filter: bool) -> chat::Screen {
    let ingest = ingest.clone();
    Arc::new(move |who, text, msg_type| {
        let read = word_filter && msg_type == MsgType::Text;
        ingest.screen(who, text, read).map_err(Into::into)
    })
}
