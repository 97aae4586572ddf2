//! Wiring: the one place that names a backend. Today's shape is *alone*: an in-process log made
//! durable by SQLite, memory for shared state, everything in this process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use api::{ApiSettings, Origins};
use async_trait::async_trait;
use bus::local::Journal;
use bus::{AppendError, Entry, Position, Record};
use chat::{Chat, Keys, Post, Signer, UploadParts, UploadSettings, Uploads};
use gateway::{GatewaySettings, HttpConnection, ServerTls, Services, TlsError};
use hook::{Hook, HookSettings};
use ingest::filter::WordFilter;
use ingest::rooms::RoomRules;
use ingest::{Awaited, Bans, Ingest, KeyFiles, Limits, Rooms, Tokens};
use ipnet::IpNet;
use model::{Clock, Metrics, MsgType, SnowflakeGenerator, SystemClock};
use object_store::local::LocalFileSystem;
use prometheus_client::registry::Registry;
use room::boards::Boards;
use room::worker::Worker;
use room::{Hub, HubSettings};
use socket2::{Domain, Socket, Type};
use state::{CoolDown, MemoryGate, MemoryPresence, MemoryReservations};
use store::sqlite::SqliteStore;
use store::{NewComment, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Tls};
use crate::secret;

/// Bans loaded at start; more than this are in force in the store only.
const BANS_MAX: usize = 1_000_000;
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
    pub store: Arc<SqliteStore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The room worker.
    pub worker: JoinHandle<()>,
}

/// Builds the *alone* shape. Nothing is served yet when it returns but the listener is bound.
pub async fn build(config: &Config, dev: bool, open: bool) -> anyhow::Result<Server> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let secret = secret::open(config)?;
    let sqlite = open_store(config, &metrics)?;
    let store: Arc<dyn Store> = sqlite.clone();
    let (last_offset, last_id) = store.high_water().await?;
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), config.server.node_id, last_id));

    let journal = Arc::new(StoreJournal(store.clone()));
    let last = Position { epoch: 1, offset: last_offset };
    let (log, consumer) = bus::local::open(journal, last, metrics.clone());
    let log: Arc<dyn bus::Log> = Arc::new(log);

    let link_signer = Signer::new(secret.as_bytes());
    let tokens = Arc::new(Tokens::new(Some(secret), key_files(config))?);
    for (user, before_ms) in store.revocations().await? {
        tokens.revoke(user, before_ms);
    }
    let rooms = Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), room_rules(config));
    rooms.load_live().await?;
    let bans = Bans::default();
    bans.load(store.bans(clock.now_ms(), None, BANS_MAX).await?);
    let ingest = Arc::new(Ingest {
        rooms,
        bans,
        awaited: Awaited::load(&*store).await?,
        filter: WordFilter::new(store.words().await?)?,
        limits: limits(config),
        gate: Arc::new(MemoryGate::new(state::memory::KEYS_MAX)),
        reservations: Arc::new(MemoryReservations::new(state::memory::ANSWERS_MAX)),
        store: store.clone(),
        log,
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });

    let uploads = Arc::new(Uploads::new(UploadParts {
        settings: upload_settings(config),
        store: sqlite.clone(),
        archive: Arc::new(open_archive(config)?),
        signer: link_signer,
        gate: ingest.gate.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
    }));
    let post = Arc::new(Post::new());
    let chat = Chat::start(chat::Parts {
        settings: chat_settings(config),
        store: sqlite.clone(),
        gate: ingest.gate.clone(),
        presence: Arc::new(MemoryPresence::default()),
        fanout: post.clone(),
        post: post.clone(),
        screen: screen(&ingest, config.chat.word_filter),
        attachments: uploads.clone(),
        ids: ids.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });

    let keys = Arc::new(Keys::new(sqlite.clone(), ingest.gate.clone(), clock.clone()));
    let hook = open_hook(config, &sqlite, &chat, &clock, &metrics)?;

    let boards = Arc::new(Boards::new(store.clone()));
    boards.warm(clock.now_ms()).await?;
    let hub = Hub::new(store.clone(), clock.clone(), ids.clone(), metrics.clone(), hub_settings(config));
    let worker = Worker::new(Box::new(consumer), hub.clone(), boards.clone(), clock.clone(), ids);

    let tls = open_tls(&config.tls)?.map(Arc::new);
    let (draining, drained) = watch::channel(false);
    let listener =
        listen(&config.server.listen).with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    let origins = Origins::new(config.auth.origins.clone(), dev && !open);
    let router = api::router(api::Services {
        ingest: ingest.clone(),
        chat: chat.clone(),
        keys,
        uploads: uploads.clone(),
        hub: hub.clone(),
        boards,
        store,
        tokens: tokens.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        registry: Arc::new(registry),
        settings: Arc::new(api_settings(config, dev, origins.clone())),
        draining: drained,
    });
    let (to_http, http) = mpsc::channel(HTTP_WAITING_MAX);
    let services = Services {
        hub,
        ingest: ingest.clone(),
        chat: chat.clone(),
        post,
        tokens: tokens.clone(),
        clock,
        metrics: metrics.clone(),
        tls: tls.clone(),
        origins: Arc::new(move |origin, host| origins.allows(origin, host)),
        settings: gateway_settings(config, dev),
    };
    let gateway = gateway::Gateway::start(vec![listener], services, tokio::runtime::Handle::current(), to_http)
        .context("cannot start the gateway")?;
    let worker = tokio::spawn(worker.run());
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
        store: sqlite,
        metrics,
        worker,
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

/// Makes the log durable: the comments to be kept go to the store, in one commit a run.
struct StoreJournal(Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        let kept: Vec<_> = entries.iter().filter_map(kept).collect();
        if kept.is_empty() {
            return Ok(());
        }
        self.0.append_comments(kept).await.map_err(|_| AppendError::Away)
    }
}

fn kept(entry: &Entry) -> Option<NewComment> {
    match &entry.record {
        Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
            comment: comment.clone(),
            position: entry.position.offset,
            client_msg_id: client_msg_id.clone(),
        }),
        _ => None,
    }
}

fn open_store(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<SqliteStore>> {
    let data = &config.server.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let path = data.join("barrage.sqlite");
    let store = SqliteStore::open(&path, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Arc::new(store))
}

fn key_files(config: &Config) -> KeyFiles {
    let given = |path: &std::path::PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    KeyFiles { public_key_pem: given(&config.auth.public_key_file), jwks: given(&config.auth.jwks_file) }
}

fn room_rules(config: &Config) -> RoomRules {
    RoomRules {
        unopened: config.rooms.unopened,
        silence_ms: i64::from(config.rooms.session_silence_s) * 1_000,
        session_ms_max: i64::from(config.rooms.session_s_max) * 1_000,
        rooms_max: config.rooms.held_max,
    }
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        comment_chars_max: limits.comment_chars_max,
        normal_per_s: limits.normal_per_s,
        vip_per_s: limits.vip_per_s,
        owner_per_s: limits.owner_per_s,
        room_per_s: limits.room_per_s,
        global_per_s: limits.global_per_s,
        likes_per_s: limits.likes_per_s,
        duplicate_window_ms: limits.duplicate_window_ms,
        cool_down: CoolDown {
            refusals: limits.cool_down_refusals,
            within_ms: limits.cool_down_within_ms,
            mute_ms: limits.cool_down_mute_ms,
            mute_ms_max: limits.cool_down_mute_ms_max,
        },
        mentions_max: limits.mentions_max,
    }
}

fn chat_settings(config: &Config) -> chat::Settings {
    let chat = &config.chat;
    chat::Settings {
        content_chars_max: chat.message_chars_max,
        encrypted_bytes_max: chat.encrypted_bytes_max,
        messages_per_s: chat.messages_per_s,
        burst: chat.burst,
        recall_s: chat.recall_s,
        recall_keeps_content: chat.recall_keeps_content,
        group_members_max: chat.group_members_max,
        offline_days: chat.offline_days,
        history_days: chat.history_days,
        hook_direct: hooked(config, "direct"),
        hook_group: hooked(config, "group"),
    }
}

/// Whether messages of this kind of conversation are noted for the notification hook.
fn hooked(config: &Config, kind: &str) -> bool {
    !config.hook.url.is_empty() && config.hook.kinds.iter().any(|known| known == kind)
}

fn open_hook(
    config: &Config,
    store: &Arc<SqliteStore>,
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

fn upload_settings(config: &Config) -> UploadSettings {
    let uploads = &config.uploads;
    UploadSettings {
        image_bytes_max: uploads.image_bytes_max,
        video_bytes_max: uploads.video_bytes_max,
        file_bytes_max: uploads.file_bytes_max,
        types: uploads.types.clone(),
        url_ttl_s: uploads.url_ttl_s,
    }
}

/// The directory of uploads. What it acknowledges is on the disk.
fn open_archive(config: &Config) -> anyhow::Result<LocalFileSystem> {
    let named = &config.uploads.directory;
    let path = if named.as_os_str().is_empty() { config.server.data.join("uploads") } else { named.clone() };
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let archive = LocalFileSystem::new_with_prefix(&path).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(archive.with_fsync(true))
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

fn hub_settings(config: &Config) -> HubSettings {
    let rooms = &config.rooms;
    HubSettings {
        window_ms_max: rooms.window_ms_max,
        viewer_per_s_max: rooms.viewer_per_s_max,
        history_default: rooms.history_default,
        history_max: rooms.history_max,
        history_s_max: rooms.history_s_max,
        only_users_max: rooms.only_users_max,
        deflate_bytes_min: config.sockets.compression_bytes_min,
        rooms_max: rooms.held_max,
    }
}

fn node_name(config: &Config) -> String {
    format!("{}-{}", config.server.namespace, config.server.node_id)
}

fn api_settings(config: &Config, dev: bool, origins: Origins) -> ApiSettings {
    ApiSettings {
        node_id: node_name(config),
        version: env!("CARGO_PKG_VERSION").into(),
        dev,
        anonymous_read: config.auth.anonymous_read,
        admin_key: (!config.auth.admin_key.is_empty()).then(|| config.auth.admin_key.clone()),
        origins,
        body_bytes_max: config.limits.body_bytes_max,
        // An envelope is JSON in a JSON string: each of its quotes takes a backslash more.
        message_body_bytes_max: config.limits.body_bytes_max.max(config.chat.encrypted_bytes_max as usize * 2),
    }
}

fn gateway_settings(config: &Config, dev: bool) -> GatewaySettings {
    let (limits, sockets) = (&config.limits, &config.sockets);
    // The configuration has been checked: each is a network or an address.
    let network = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into()));
    GatewaySettings {
        node_id: node_name(config),
        dev,
        anonymous_read: config.auth.anonymous_read,
        heartbeat_s: sockets.heartbeat_s,
        handshake_s: sockets.handshake_s,
        login_s: sockets.login_s,
        message_bytes_max: limits.message_bytes_max,
        compression: sockets.compression,
        backlog_bytes_max: sockets.backlog_bytes_max,
        slow_patience_s: sockets.slow_patience_s,
        rooms_per_connection: sockets.rooms_per_socket_max,
        connections_per_address: limits.connections_per_address,
        handshakes_per_address_per_s: limits.handshakes_per_address_per_s,
        trusted_proxies: limits.trusted_proxies.iter().filter_map(|text| network(text).ok()).collect(),
        shards: config.server.shards,
    }
}
