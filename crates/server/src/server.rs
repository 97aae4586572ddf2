//! A node put together from its backends and roles, the same in every shape.
//!
//! `serve` calls [`Server::start`] and hands the result to [`crate::lifecycle`]. Names no backend and holds no rule: each
//! step below lives in [`crate::backends`] or in a file of [`crate::roles`].

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use api::{Dependencies, Origins};
use archive::Archive;
use chat::{Chat, LinkSigner, Uploads};
use doors::Doors;
use gateway::{Gateway, HttpConnection, ServerTls};
use ingest::{Ingest, Tokens};
use model::panics::end_on_panic;
use model::{Clock, Metrics, Roles, SnowflakeGenerator};
use outbound::otlp::Exporter;
use prometheus_client::registry::Registry;
use state::HotRooms;
use store::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, block_in_place};
use webhook::{Subscriptions, Webhook};

use crate::backends::{Backends, Cluster, ClusterSubscriptions, Logs, SharedLog};
use crate::config::Config;
use crate::roles::chat::ChatParts;
use crate::roles::gateway::{Certificate, GatewayParts, PreparedGateway};
use crate::roles::worker::WorkerFactory;
use crate::upgrade::{Inheritance, Listeners, Predecessor};
use crate::{roles, secret, telemetry};

/// What every role is given.
pub struct Core<'a> {
    pub config: &'a Config,
    pub roles: Roles,
    /// Development: identities come from the query.
    pub dev: bool,
    /// This node's name, in `connected` and in its log.
    pub name: String,
    pub store: Arc<dyn Store>,
    pub ids: Arc<SnowflakeGenerator>,
    pub clock: Arc<dyn Clock>,
    pub hot_rooms: Arc<HotRooms>,
    pub metrics: Arc<Metrics>,
}

/// A node that listens, and how to stop it.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it accepts WebTransport, if it does.
    pub quic: Option<SocketAddr>,
    /// The hash of a certificate made for this run.
    pub certificate_hash: Option<String>,
    /// Its listeners, for the process after this one.
    pub listeners: Listeners,
    /// The process that handed over, which waits to hear that this one serves.
    pub predecessor: Option<Predecessor>,
    /// The sockets.
    pub gateway: Gateway,
    /// What other servers' clients connect to.
    pub doors: Doors,
    /// Plain HTTP, as an axum router.
    pub router: axum::Router,
    /// Connections that are not for `/ws`.
    pub http: mpsc::Receiver<HttpConnection>,
    /// Turns true when the server drains.
    pub draining: watch::Sender<bool>,
    /// Notified by the admin API to end this node.
    pub shutdown: Arc<Notify>,
    pub ingest: Arc<Ingest>,
    pub chat: Arc<Chat>,
    pub uploads: Arc<Uploads>,
    pub hook: Option<Webhook>,
    /// Posts the calls of webhooks out.
    pub subscriptions_out: Subscriptions,
    pub tokens: Arc<Tokens>,
    pub tls: Option<Arc<ServerTls>>,
    pub store: Arc<dyn Store>,
    pub archive: Arc<Archive>,
    pub dependencies: Arc<Dependencies>,
    pub metrics: Arc<Metrics>,
    /// The worker of this node's own log.
    pub worker: JoinHandle<()>,
    /// The log that nodes share, and what consumes it here.
    pub shared_log: Option<SharedLog>,
    /// The other nodes, where there can be any.
    pub cluster: Option<Cluster>,
    /// What this node receives from them.
    pub subscriptions: Option<ClusterSubscriptions>,
    /// Sends spans to a collector.
    pub telemetry: Option<Exporter>,
}

/// How `serve` was called.
#[derive(Debug, Clone, Copy)]
pub struct StartOptions {
    /// What this process does.
    pub roles: Roles,
    /// `--dev`
    pub dev: bool,
    /// `--i-know-this-is-open`
    pub open: bool,
    /// `--tls-self-signed`
    pub self_signed: bool,
}

/// A node's name, in `connected` and in its log.
pub fn node_name(config: &Config, number: u16) -> String {
    format!("{}-{number}", config.server.namespace)
}

impl Server {
    /// Starts a node of the configured shape, with what an earlier process left. When it returns the listener is bound, and
    /// HTTP connections wait to be served. Up to the predecessor's word nothing is accepted, read or written.
    pub async fn start(config: &Config, options: StartOptions, inheritance: &mut Inheritance) -> anyhow::Result<Self> {
        let StartOptions { roles, dev, open, self_signed } = options;
        let Inheritance { listeners, gateway: inherited, predecessor } = inheritance;
        let Certificate { tls, hash } = roles::gateway::certificate(config, self_signed)?;
        let mut registry = Registry::default();
        let mut metrics = Metrics::register(&mut registry);
        metrics.tracer = telemetry::tracer(config, &metrics);
        let open_files_max = telemetry::open_files_max().and_then(|max| i64::try_from(max).ok());
        metrics.open_files_max.set(open_files_max.unwrap_or(i64::MAX));
        let metrics = Arc::new(metrics);
        end_on_panic(metrics.panics.clone());
        let secret = secret::open(config)?;
        let backends = Backends::open(config, roles, listeners, &metrics).await?;
        let core = Core::new(config, roles, dev, &backends, metrics);

        let signer = LinkSigner::new(secret.as_bytes());
        let segment_signer = api::SegmentSigner::new(secret.as_bytes());
        let tokens = roles::ingest::load_tokens(&core, secret.clone()).await?;
        let ingest = roles::ingest::load(&core, &backends, tokens.clone(), &secret).await?;
        let admission = roles::ingest::admission(&backends, &ingest);
        let ChatParts { chat, uploads, keys, hook, local_users } =
            roles::chat::start(&core, &backends, &ingest, signer)?;
        let Backends { archive, leaderboards, dependencies, logs, mut cluster, .. } = backends;
        let leaderboards = roles::worker::open_leaderboards(&core, leaderboards).await?;
        let hub = roles::gateway::open_hub(&core, cluster.is_some());
        let mut subscriptions = cluster.as_ref().map(|cluster| cluster.subscribe(&hub, &ingest)).transpose()?;
        let workers = WorkerFactory::new(&core, &ingest, leaderboards.clone());
        let Logs { own, mut shared, .. } = logs;
        let own = workers.own(Box::new(own), &hub, cluster.as_ref());
        if let (Some(log), Some(cluster), Some(subscriptions)) = (&mut shared, &cluster, &subscriptions) {
            workers.start_shared(&core, log, &hub, cluster, subscriptions)?;
            roles::persist::start(roles, log, &core.store)?;
        }
        if let (Some(cluster), Some(subscriptions)) = (&mut cluster, &mut subscriptions) {
            cluster.serve_peers(subscriptions, roles, &ingest);
        }

        let (draining, drained) = watch::channel(false);
        let shutdown = Arc::new(Notify::new());
        let dependencies = Arc::new(dependencies);
        let origins = Origins::new(&config.auth.origins, dev && !open).context("auth.origins")?;
        let addresses = Arc::new(roles::gateway::addresses(config));
        let app = Arc::new(api::Services {
            addresses: addresses.clone(),
            shares: Arc::new(roles::api::shares(&core)),
            ingest: ingest.clone(),
            admission: admission.clone(),
            chat: chat.clone(),
            keys,
            uploads: uploads.clone(),
            hub: hub.clone(),
            boards: leaderboards,
            heat: core.hot_rooms.clone(),
            store: core.store.clone(),
            archive: archive.clone(),
            dependencies: dependencies.clone(),
            clock: core.clock.clone(),
            metrics: core.metrics.clone(),
            registry: Arc::new(registry),
            settings: Arc::new(roles::api::settings(&core, origins.clone(), segment_signer, hash.clone())),
            draining: drained,
            shutdown: shutdown.clone(),
        });
        let doors = roles::doors::open(&core, app.clone(), addresses.clone(), cluster.as_ref())?;
        let router = api::router_with(app, |routes| doors.attach(routes));
        let door_listeners = roles::doors::bind(&core, listeners)?;
        let parts = GatewayParts {
            hub,
            ingest: ingest.clone(),
            admission,
            chat: chat.clone(),
            local_users,
            tls: tls.clone(),
            addresses,
            origins,
        };
        let prepared = roles::gateway::prepare(&core, parts, listeners, std::mem::take(inherited));
        let PreparedGateway { address, quic, gateway, http } = prepared.await?;
        let (webhooks, clock) = (ingest.webhooks.clone(), core.clock.clone());
        let subscriptions_out =
            Subscriptions::new(config.webhooks.clone(), webhooks, core.store.clone(), clock, core.metrics.clone())?;
        let telemetry = telemetry::start(&core)?;
        if let Some(predecessor) = predecessor {
            block_in_place(|| predecessor.await_go())?;
        }
        let mut gateway = gateway.run().context("cannot start the gateway")?;
        let quic_address = quic.as_ref().map(|(socket, _)| socket.local_addr()).transpose()?;
        if let Some((socket, tls)) = quic {
            gateway.listen_quic(socket, &tls).context("cannot start WebTransport (server.quic)")?;
        }
        roles::doors::listen(&doors, door_listeners, tls.as_deref())?;
        listeners.close_unused();
        let Core { store, metrics, .. } = core;
        Ok(Self {
            address,
            quic: quic_address,
            certificate_hash: hash,
            listeners: std::mem::take(listeners),
            predecessor: predecessor.take(),
            gateway,
            doors,
            router,
            http,
            draining,
            shutdown,
            ingest,
            chat,
            uploads,
            hook,
            subscriptions_out,
            tokens,
            tls,
            store,
            archive,
            dependencies,
            metrics,
            worker: tokio::spawn(own.run()),
            shared_log: shared,
            cluster,
            subscriptions,
            telemetry,
        })
    }
}

impl<'a> Core<'a> {
    fn new(config: &'a Config, roles: Roles, dev: bool, backends: &Backends, metrics: Arc<Metrics>) -> Self {
        let name = node_name(config, backends.node_number);
        model::stderr::name_node(&name);
        let (store, ids) = (backends.store.clone(), backends.ids.clone());
        let (clock, hot_rooms) = (backends.clock.clone(), backends.hot_rooms.clone());
        Self { config, roles, dev, name, store, ids, clock, hot_rooms, metrics }
    }
}
