//! From the first connection to the last: serving HTTP, upkeep, signals, draining.
//!
//! The first SIGTERM or SIGINT drains: stop accepting, answer waiting polls, tell sockets to
//! reconnect, flush, exit 0. A second one ends the process at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use api::Dependencies;
use axum::Router;
use axum::extract::ConnectInfo;
use chat::Chat;
use futures::future::OptionFuture;
use gateway::{HttpConnection, ServerTls};
use hook::Hook;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ingest::{Ingest, Tokens};
use model::Metrics;
use model::panics::contained;
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::wiring::{LEAVES_WITHIN, Server};

/// How often sessions are looked after, keys looked for, and the process measured.
const UPKEEP: Duration = Duration::from_secs(2);
/// How often old comments are removed.
const EXPIRY: Duration = Duration::from_secs(60);
/// What of the time to drain is kept for flushing the log.
const FLUSH: Duration = Duration::from_millis(500);
/// Comments and messages removed at once, so that a commit never waits long for it.
const EXPIRED_MAX: usize = 2_000;

/// SIGTERM and SIGINT, caught from here on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them. To be done before anybody is told that the server is up.
    pub fn catch() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Serves until a signal, then drains.
pub async fn run(server: Server, config: &Config, mut signals: Signals) -> anyhow::Result<()> {
    let Server {
        address: _,
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
        mut ways,
    } = server;
    let head_within = Duration::from_secs(config.sockets.handshake_s.into());
    let web = tokio::spawn(serve_http(http, router, head_within, draining.subscribe()));
    let upkeep = tokio::spawn(upkeep(ingest.clone(), tokens, tls, dependencies, metrics));
    let expiry = tokio::spawn(expire(store.clone(), config.rooms.retention_days, config.rooms.client_msg_id_days));
    let chat_expiry = tokio::spawn(expire_chat(chat));
    let upload_expiry = tokio::spawn(expire_uploads(uploads));
    let hook = tokio::spawn(async { OptionFuture::from(hook.map(Hook::run)).await });

    signals.next().await;
    tracing::info!("draining");
    // Everybody is about to look offline. What is not told yet is told by the next run.
    hook.abort();
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("told twice to stop: ending at once");
        std::process::exit(1);
    });
    let kept = FLUSH * 2 + kafka.as_ref().map_or(Duration::ZERO, |_| LEAVES_WITHIN);
    let within = Duration::from_secs(config.server.drain_s_max).saturating_sub(kept).max(FLUSH);
    if tokio::time::timeout(within, drain(gateway, draining, web, within)).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    upkeep.abort();
    expiry.abort();
    chat_expiry.abort();
    upload_expiry.abort();
    if let Some(ways) = &mut ways {
        ways.close().await;
    }
    if let Some(kafka) = kafka {
        kafka.leave().await;
    }
    flush(ingest, worker).await;
    drop((ways, store));
    if let Some(nodes) = nodes {
        nodes.leave().await;
    }
    tracing::info!("stopped");
    Ok(())
}

async fn drain(gateway: gateway::Gateway, draining: watch::Sender<bool>, web: JoinHandle<()>, within: Duration) {
    draining.send_replace(true);
    gateway.drain(within.mul_f32(0.8)).await;
    if let Err(error) = web.await {
        tracing::error!(%error, "the HTTP side failed");
    }
}

/// Nobody appends any more: the log commits what waits and ends, and with it the worker.
async fn flush(ingest: Arc<Ingest>, worker: JoinHandle<()>) {
    drop(ingest);
    if tokio::time::timeout(FLUSH, worker).await.is_err() {
        tracing::warn!("the log was still in use; what it acknowledged is durable");
    }
}

/// Serves the connections that the gateway passes on, until it stops passing any.
async fn serve_http(
    mut connections: mpsc::Receiver<HttpConnection>,
    router: Router,
    head_within: Duration,
    mut draining: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let next = tokio::select! {
            next = connections.recv() => next,
            _ = draining.wait_for(|draining| *draining) => None,
        };
        let Some(connection) = next else { break };
        if let Err(error) = serve_connection(connection, &router, head_within, &graceful) {
            tracing::warn!(%error, "could not take over a connection");
        }
    }
    graceful.shutdown().await;
}

/// Speaks HTTP/1.1 alone: no browser speaks HTTP/2 without TLS, and it would need limits of its own.
fn serve_connection(
    connection: HttpConnection,
    router: &Router,
    head_within: Duration,
    graceful: &GracefulShutdown,
) -> std::io::Result<()> {
    let (stream, peer, place) = connection.open()?;
    let service = TowerToHyperService::new(router.clone().layer(axum::Extension(ConnectInfo(peer))));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_within);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(contained(async move {
        // A client that hangs up or speaks nonsense is its own affair.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended early");
        }
        drop(place);
    }));
    Ok(())
}

/// Ends silent sessions, forgets expired bans, takes up changed keys, looks at what this node leans on, measures the
/// process.
async fn upkeep(
    ingest: Arc<Ingest>,
    tokens: Arc<Tokens>,
    tls: Option<Arc<ServerTls>>,
    dependencies: Arc<Dependencies>,
    metrics: Arc<Metrics>,
) {
    let mut tick = tokio::time::interval(UPKEEP);
    // The first beat reads the files again: they may have changed since they were read at start.
    let (mut keys, mut certificate) = (Vec::new(), Vec::new());
    loop {
        tick.tick().await;
        ingest.rooms.sweep().await;
        ingest.bans.sweep(ingest.clock.now_ms());
        dependencies.look().await;
        measure(&metrics);
        if let Some(tls) = &tls {
            let now = times(tls.files());
            if now != certificate {
                certificate = now;
                match tls.reload() {
                    Ok(()) => tracing::info!("certificate taken up"),
                    Err(error) => tracing::error!(%error, "the changed certificate cannot be used; the old one stays"),
                }
            }
        }
        let now = times(tokens.files());
        if now != keys {
            keys = now;
            match tokens.reload() {
                Ok(()) => tracing::info!("keys taken up"),
                Err(error) => tracing::error!(%error, "the changed keys cannot be used; the old ones stay"),
            }
        }
    }
}

/// When each file changed last.
fn times<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<(PathBuf, Option<SystemTime>)> {
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    files.map(|path| (path.clone(), modified(path))).collect()
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
}

/// Removes what is older than its retention, a little at a time.
async fn expire(store: Arc<dyn Store>, retention_days: u32, client_msg_id_days: u32) {
    // 0 keeps comments: older than any clock can say.
    let retention_days = if retention_days == 0 { u32::MAX } else { retention_days };
    let mut tick = tokio::time::interval(EXPIRY);
    loop {
        tick.tick().await;
        let now_ms = model::Clock::now_ms(&model::SystemClock);
        // A failure is logged by the store; the next beat tries again.
        while let Ok(removed) = store.expire(now_ms, retention_days, client_msg_id_days, EXPIRED_MAX).await
            && removed >= EXPIRED_MAX as u64
        {
            tokio::task::yield_now().await;
        }
    }
}

/// The same for messages.
async fn expire_chat(chat: Arc<Chat>) {
    let mut tick = tokio::time::interval(EXPIRY);
    loop {
        tick.tick().await;
        while let Ok(removed) = chat.expire(EXPIRED_MAX).await
            && removed >= EXPIRED_MAX as u64
        {
            tokio::task::yield_now().await;
        }
    }
}

/// Removes uploads that nobody refers to, a little at a time.
async fn expire_uploads(uploads: Arc<chat::Uploads>) {
    let mut tick = tokio::time::interval(EXPIRY);
    loop {
        tick.tick().await;
        uploads.sweep().await;
    }
}
