//! From the first connection to the last: serves HTTP, runs the periodic tasks, catches signals, drains.
//!
//! The first SIGTERM or SIGINT drains: stop accepting, answer waiting polls, tell sockets to reconnect, flush, exit 0. A
//! second one ends the process at once. SIGUSR2 and `barrage upgrade` hand over to a new process instead: then sockets are
//! parked, and nobody is told. `serve` calls it; it decides nothing about rooms or messages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use api::Dependencies;
use axum::Router;
use axum::extract::ConnectInfo;
use chat::Chat;
use cluster::tls::PeerTls;
use doors::{ConnectionPermit, Doors};
use gateway::handover::Inherited;
use gateway::{HttpConnection, ServerTls};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ingest::{Ingest, Tokens};
use model::Metrics;
use model::panics::contained;
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::{Cluster, LEAVES_WITHIN};
use crate::config::Config;
use crate::private;
use crate::roles::erasure::Eraser;
use crate::server::Server;
use crate::upgrade::control::{self, Request};
use crate::upgrade::{Parting, Program, Successor, systemd};

/// How often silent sessions are ended, files checked for changes, and the process measured.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(2);
/// How often old comments are removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// The part of the time to drain that is reserved for flushing the log.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Comments and messages removed at once, so that a commit never waits long for it.
const EXPIRED_MAX: usize = 2_000;
/// Bytes that an HTTP connection buffers in each direction; so long may the head of a request be.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// How often the runtime's lag is measured.
const LAG_INTERVAL: Duration = Duration::from_millis(100);

/// How long commands that run may take before an upgrade.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long requests that run may take before an upgrade cuts them off, so that clients send them again.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(2);

/// SIGTERM, SIGINT and SIGUSR2, caught from here on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

/// Why a server stops serving.
pub enum Outcome {
    /// It was told to end, and has ended.
    Stopped,
    /// It has let go of everything, for a new process.
    Parting(Box<Parting>),
}

impl Signals {
    /// Catches them. Called before the server announces its address.
    pub fn catch() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            upgrade: on(SignalKind::user_defined2())?,
        })
    }

    /// The next that ends the process.
    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Tasks that end together. Each is dropped where it waits.
#[derive(Default)]
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    /// Cancels the tasks and waits until they are gone.
    async fn end(self, name: &str) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("{name} did not end in time");
        }
    }
}

/// Waits until the server has to stop: to end, or to hand over to the process that is returned and waits. Then the gateway is
/// frozen. An upgrade that fails before changes nothing.
async fn stop(
    signals: &mut Signals,
    shutdown: &Notify,
    requested: &mut mpsc::Receiver<Request>,
    gateway: &gateway::Gateway,
    program: &Program,
) -> Option<(Successor, Request)> {
    loop {
        let Signals { terminate, interrupt, upgrade } = signals;
        let request = tokio::select! {
            _ = terminate.recv() => return None,
            _ = interrupt.recv() => return None,
            () = shutdown.notified() => return None,
            _ = upgrade.recv() => Request::by_signal(),
            Some(request) = requested.recv() => request,
        };
        let program = program.clone();
        let started = tokio::task::spawn_blocking(move || Successor::start(&program));
        let started = tokio::select! {
            () = signals.next() => return None,
            started = started => started.map_err(anyhow::Error::from).and_then(|started| started),
        };
        let frozen = match started {
            Ok(successor) if gateway.freeze(FREEZE_TIMEOUT).await => Ok(successor),
            Ok(_) => {
                gateway.thaw();
                Err(anyhow!("commands of some sockets did not end within {} s", FREEZE_TIMEOUT.as_secs()))
            }
            Err(error) => Err(error),
        };
        match frozen {
            Ok(successor) => return Some((successor, request)),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the upgrade failed; this process serves on");
                request.answer(Err(&error));
            }
        }
    }
}

/// Serves until a signal; then drains, or lets go of everything for a new process.
pub async fn run(server: Server, config: &Config, signals: &mut Signals, program: &Program) -> anyhow::Result<Outcome> {
    let Server {
        listeners,
        predecessor,
        gateway,
        doors,
        router,
        http,
        draining,
        shutdown,
        ingest,
        worker,
        shared_log,
        cluster,
        mut subscriptions,
        store,
        ..
    } = server;
    let limits = HttpLimits {
        head_within: Duration::from_secs(config.sockets.handshake_s.into()),
        patience: Duration::from_secs(config.sockets.slow_patience_s.into()),
    };
    let web = tokio::spawn(serve_http(http, router, limits, draining.subscribe()));
    let (metrics, upkeep_metrics) = (server.metrics.clone(), server.metrics);
    let (upkeep, notifications) = (Background::default(), Background::default());
    let peers = cluster.as_ref().map(Cluster::certificates).unwrap_or_default();
    upkeep.spawn(maintain(ingest.clone(), server.tokens, server.tls, peers, server.dependencies, upkeep_metrics));
    upkeep.spawn(measure_lag(metrics));
    upkeep.spawn(expire_samples(store.clone(), config.moderation.sample_days));
    upkeep.spawn(expire(store.clone(), config.rooms.retention_days, config.rooms.client_msg_id_days));
    let (chat, uploads) = (server.chat, server.uploads);
    upkeep.spawn(expire_chat(chat.clone()));
    upkeep.spawn(expire_uploads(uploads.clone()));
    let eraser = Eraser { ingest: ingest.clone(), chat, uploads, store: store.clone() };
    upkeep.spawn(eraser.run());
    upkeep.spawn(archive::Mover::new(server.archive).run());
    notifications.spawn(server.subscriptions_out.run());
    if let Some(hook) = server.hook {
        notifications.spawn(hook.run());
    }

    private::note_pid(&config.server.data);
    systemd::notify("READY=1");
    let (requests, mut requested) = mpsc::channel(1);
    control::listen(requests);
    if let Some(predecessor) = predecessor {
        // Who waited for the upgrade may ask for the next one at once.
        predecessor.serves();
    }
    let stopped = stop(signals, &shutdown, &mut requested, &gateway, program).await;
    let frozen = Instant::now();
    let mut parked = None;
    match &stopped {
        None => {
            tracing::info!("draining");
            drop(listeners);
            exit_on_second_signal();
            // Everybody is about to look offline. The next run sends what is not sent yet.
            notifications.end("the notification hook").await;
            let reserved = FLUSH_TIMEOUT * 2 + shared_log.as_ref().map_or(Duration::ZERO, |_| LEAVES_WITHIN);
            let within = Duration::from_secs(config.server.drain_s_max).saturating_sub(reserved).max(FLUSH_TIMEOUT);
            if tokio::time::timeout(within, drain(gateway, doors, draining, web, within)).await.is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        Some((successor, _)) => {
            tracing::info!(pid = successor.pid(), "the new process is there: parking the sockets");
            notifications.end("the notification hook").await;
            parked = Some((listeners.hand_over(), park(gateway, doors, draining, web).await));
        }
    }
    upkeep.end("the upkeep").await;
    if let Some(subscriptions) = &mut subscriptions {
        subscriptions.close().await;
    }
    if let Some(log) = shared_log {
        log.leave().await;
    }
    flush(ingest, worker).await;
    drop((subscriptions, store));
    if let Some(cluster) = cluster {
        cluster.leave().await;
    }
    let (Some((listeners, gateway)), Some((successor, request))) = (parked, stopped) else {
        private::forget_pid(&config.server.data);
        tracing::info!("stopped");
        return Ok(Outcome::Stopped);
    };
    Ok(Outcome::Parting(Box::new(Parting { successor, request, listeners, gateway, frozen })))
}

/// Finishes the requests that run, cuts off what takes too long, and parks the sockets of the frozen gateway.
async fn park(
    gateway: gateway::Gateway,
    doors: Doors,
    draining: watch::Sender<bool>,
    web: JoinHandle<()>,
) -> Inherited {
    draining.send_replace(true);
    let (requests, doors) = (timeout(REQUESTS_TIMEOUT, web), timeout(REQUESTS_TIMEOUT, doors.drain()));
    if let (Err(_), _) | (_, Err(_)) = tokio::join!(requests, doors) {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    gateway.park().await
}

fn exit_on_second_signal() {
    tokio::spawn(async move {
        let Ok(mut signals) = Signals::catch() else { return };
        signals.next().await;
        tracing::warn!("told twice to stop: ending at once");
        std::process::exit(1);
    });
}

async fn drain(
    gateway: gateway::Gateway,
    doors: Doors,
    draining: watch::Sender<bool>,
    web: JoinHandle<()>,
    within: Duration,
) {
    draining.send_replace(true);
    gateway.drain(within.mul_f32(0.8)).await;
    doors.drain().await;
    if let Err(error) = web.await {
        tracing::error!(%error, "the HTTP side failed");
    }
}

/// Nothing appends any more: the log commits what waits and ends, and the worker with it.
async fn flush(ingest: Arc<Ingest>, worker: JoinHandle<()>) {
    drop(ingest);
    if tokio::time::timeout(FLUSH_TIMEOUT, worker).await.is_err() {
        tracing::warn!("the log was still in use; what it acknowledged is durable");
    }
}

/// Serves the connections that the gateway passes on, until it stops passing any.
async fn serve_http(
    mut connections: mpsc::Receiver<HttpConnection>,
    router: Router,
    limits: HttpLimits,
    mut draining: watch::Receiver<bool>,
) {
    let tasks = TaskTracker::new();
    loop {
        let next = tokio::select! {
            next = connections.recv() => next,
            _ = draining.wait_for(|draining| *draining) => None,
        };
        let Some(connection) = next else { break };
        serve_or_log(connection, &router, limits, &tasks, &draining);
    }
    // Those that were accepted before are answered.
    connections.close();
    while let Ok(connection) = connections.try_recv() {
        serve_or_log(connection, &router, limits, &tasks, &draining);
    }
    tasks.close();
    tasks.wait().await;
}

fn serve_or_log(
    connection: HttpConnection,
    router: &Router,
    limits: HttpLimits,
    tasks: &TaskTracker,
    draining: &watch::Receiver<bool>,
) {
    if let Err(error) = serve_connection(connection, router, limits, tasks, draining.clone()) {
        tracing::warn!(%error, "could not take over a connection");
    }
}

/// How long HTTP waits for its peers.
#[derive(Debug, Clone, Copy)]
struct HttpLimits {
    /// For the head of a request.
    head_within: Duration,
    /// For a peer that does not take its answer.
    patience: Duration,
}

/// The router, and what it learns of each connection. A layer for each connection would copy every route.
struct FromPeer {
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
    permit: ConnectionPermit,
}

impl hyper::service::Service<hyper::Request<Incoming>> for FromPeer {
    type Response = <TowerToHyperService<Router> as hyper::service::Service<hyper::Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as hyper::service::Service<hyper::Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.permit.clone());
        self.router.call(request)
    }
}

/// Speaks only HTTP/1.1: no browser speaks HTTP/2 without TLS, and it would need limits of its own. While the server
/// drains, a connection ends with the request that is under way.
fn serve_connection(
    connection: HttpConnection,
    router: &Router,
    limits: HttpLimits,
    tasks: &TaskTracker,
    mut draining: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (stream, peer, permit) = connection.open(limits.patience)?;
    let permit = ConnectionPermit(permit.map(Arc::from));
    let service = FromPeer { router: TowerToHyperService::new(router.clone()), peer, permit: permit.clone() };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_within).max_buf_size(BUFFER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tasks.spawn(contained(async move {
        let mut connection = pin!(connection);
        let drains = async move { draining.wait_for(|draining| *draining).await.is_ok() };
        let served = tokio::select! {
            served = connection.as_mut() => served,
            _ = drains => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // A client that hangs up or speaks nonsense is its own affair.
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended early");
        }
        drop(permit);
    }));
    Ok(())
}

/// Ends silent sessions, forgets expired bans, loads changed keys and certificates, checks the dependencies, measures the
/// process.
async fn maintain(
    ingest: Arc<Ingest>,
    tokens: Arc<Tokens>,
    tls: Option<Arc<ServerTls>>,
    peers: Vec<Arc<PeerTls>>,
    dependencies: Arc<Dependencies>,
    metrics: Arc<Metrics>,
) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    // The first turn loads the files again: they may have changed since the start loaded them.
    let (mut keys, mut certificate) = (Vec::new(), Vec::new());
    let mut of_peers: Vec<_> = peers.into_iter().map(|tls| (tls, Vec::new())).collect();
    loop {
        tick.tick().await;
        ingest.rooms.sweep().await;
        ingest.bans.sweep(ingest.clock.now_ms());
        dependencies.check().await;
        measure(&metrics);
        if let Some(tls) = &tls
            && has_changed(&mut certificate, tls.files())
        {
            match tls.reload() {
                Ok(()) => tracing::info!("certificate taken up"),
                Err(error) => tracing::error!(%error, "the changed certificate cannot be used; the old one stays"),
            }
        }
        for (tls, known) in &mut of_peers {
            if has_changed(known, tls.files()) {
                match tls.reload() {
                    Ok(()) => tracing::info!(section = tls.section(), "certificates taken up"),
                    Err(error) => tracing::error!(%error, "changed certificates cannot be used; the old ones stay"),
                }
            }
        }
        if has_changed(&mut keys, tokens.files()) {
            match tokens.reload() {
                Ok(()) => tracing::info!("keys taken up"),
                Err(error) => tracing::error!(%error, "the changed keys cannot be used; the old ones stay"),
            }
        }
    }
}

/// Files, and when each was modified last.
type Modified = Vec<(PathBuf, Option<SystemTime>)>;

/// Whether a file was modified since the last call.
fn has_changed<'a>(known: &mut Modified, files: impl Iterator<Item = &'a PathBuf>) -> bool {
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let now: Modified = files.map(|path| (path.clone(), modified(path))).collect();
    let changed = now != *known;
    *known = now;
    changed
}

/// CPU time and resident memory, as the operating system counts them.
fn measure(metrics: &Metrics) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given, which lives here; zeroed is a valid rusage.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let total = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    metrics.cpu_seconds.inc_by((total - metrics.cpu_seconds.get()).max(0.0));
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|pages| pages.split_whitespace().nth(1)?.parse::<i64>().ok());
    if let Some(pages) = resident {
        metrics.resident_bytes.set(pages * 4096);
    }
    let octets = std::fs::read_to_string("/proc/self/net/netstat").ok();
    if let Some((received, sent)) = octets.as_deref().and_then(network_octets) {
        metrics.network_received.inc_by(received.saturating_sub(metrics.network_received.get()));
        metrics.network_sent.inc_by(sent.saturating_sub(metrics.network_sent.get()));
    }
}

/// `InOctets` and `OutOctets` of netstat's `IpExt`, whose first line names the columns of its second.
fn network_octets(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:")).map(str::split_whitespace);
    let named: Vec<_> = lines.next()?.zip(lines.next()?).collect();
    let value = |name: &str| named.iter().find(|(column, _)| *column == name)?.1.parse().ok();
    Some((value("InOctets")?, value("OutOctets")?))
}

/// Measures how late the runtime wakes a task that is due.
async fn measure_lag(metrics: Arc<Metrics>) {
    let lag = metrics.loop_lag.get_or_create(&[("loop", "tokio".to_owned())]).clone();
    loop {
        let due = tokio::time::Instant::now() + LAG_INTERVAL;
        tokio::time::sleep_until(due).await;
        lag.observe(due.elapsed().as_secs_f64());
    }
}

/// Removes comments that are older than their retention, in small portions.
async fn expire(store: Arc<dyn Store>, retention_days: u32, client_msg_id_days: u32) {
    // 0 keeps comments: this is older than any clock can say.
    let retention_days = if retention_days == 0 { u32::MAX } else { retention_days };
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tick.tick().await;
        let now_ms = model::Clock::now_ms(&model::SystemClock);
        // The store logs a failure; the next turn tries again.
        while let Ok(removed) = store.expire(now_ms, retention_days, client_msg_id_days, EXPIRED_MAX).await
            && removed >= EXPIRED_MAX as u64
        {
            tokio::task::yield_now().await;
        }
    }
}

/// Removes samples of passed comments likewise.
async fn expire_samples(store: Arc<dyn Store>, days: u32) {
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tick.tick().await;
        let before_ms = model::Clock::now_ms(&model::SystemClock) - i64::from(days) * 86_400_000;
        while let Ok(removed) = store.expire_samples(before_ms, EXPIRED_MAX).await
            && removed >= EXPIRED_MAX as u64
        {
            tokio::task::yield_now().await;
        }
    }
}

/// Removes messages likewise.
async fn expire_chat(chat: Arc<Chat>) {
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tick.tick().await;
        while let Ok(removed) = chat.expire(EXPIRED_MAX).await
            && removed >= EXPIRED_MAX as u64
        {
            tokio::task::yield_now().await;
        }
    }
}

/// Removes uploads that nobody refers to, in small portions.
async fn expire_uploads(uploads: Arc<chat::Uploads>) {
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tick.tick().await;
        uploads.sweep().await;
    }
}
