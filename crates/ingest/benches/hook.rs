//! The moderation hook at a steady rate, against a service in this process that allows everything: how long a comment takes
//! from its first check to the log, and how many fell back.
//!
//! `cargo bench -p ingest --bench hook -- [comments a second] [seconds]`

#![allow(missing_docs)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingest::Screening;
use model::moderation::Fallback;
use model::{Metrics, RoomId, SystemClock};
use outbound::hook::{Hook, HookSettings};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use world::{draft, ingest, somebody, texts};

const USERS: usize = 10_000;

/// Allows everything, over connections that stay.
async fn serve(listener: TcpListener, calls: Arc<AtomicU64>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, calls.clone()));
    }
}

async fn answer(socket: TcpStream, calls: Arc<AtomicU64>) -> Option<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        let asked: Value = serde_json::from_slice(&body).ok()?;
        let items = asked["items"].as_array()?.iter();
        let items: Vec<_> = items.map(|item| json!({ "id": item["id"], "verdict": "allow" })).collect();
        let body = json!({ "items": items }).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        calls.fetch_add(1, Ordering::Relaxed);
        socket.get_mut().write_all((head + &body).as_bytes()).await.ok()?;
    }
}

async fn run(per_s: u64, seconds: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
    let calls = Arc::new(AtomicU64::new(0));
    tokio::spawn(serve(listener, calls.clone()));
    let settings = HookSettings {
        url,
        dialect: None,
        secret: "sixteen bytes or more".into(),
        budget: Duration::from_millis(200),
        batch_max: 64,
        allow_private: true,
        breaker_failures: 5,
        breaker_probe_ms: 1_000,
    };
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let hook = Hook::start(settings, Arc::new(SystemClock), metrics).expect("it starts");
    let dir = tempfile::tempdir().expect("a directory");
    let ingest = Arc::new(ingest(dir.path(), Screening::new(None, Some(hook), Fallback::Allow, 60_000)));
    let (room, texts) = (RoomId::new("bench").expect("an id"), texts(10_007));
    let (begun, mut said) = (Instant::now(), Vec::new());
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < Duration::from_secs(seconds) {
        beat.tick().await;
        let due = begun.elapsed().as_micros() as u64 * per_s / 1_000_000;
        while (said.len() as u64) < due {
            let n = said.len();
            let (ingest, room, text, who) =
                (ingest.clone(), room.clone(), draft(&texts[n % texts.len()]), somebody(n % USERS));
            said.push(tokio::spawn(async move {
                let started = Instant::now();
                let admitted = ingest.admit(&who, &room, text).await;
                (started.elapsed(), admitted.is_ok())
            }));
        }
    }
    let sent = said.len();
    let (mut took, mut refused) = (Vec::with_capacity(sent), 0);
    for one in said {
        let (elapsed, admitted) = one.await.expect("no panic");
        took.push(elapsed);
        refused += usize::from(!admitted);
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    let fell_back: f64 = text
        .lines()
        .filter(|line| {
            line.starts_with("barrage_moderation_hook_fallbacks_total")
                || line.starts_with("moderation_hook_fallbacks_total")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    println!(
        "{} comments in {:.1} s, {refused} refused, {fell_back} fell back, {} calls; p50 {:.1?}, p99 {:.1?}, slowest {:.1?}",
        sent,
        begun.elapsed().as_secs_f64(),
        calls.load(Ordering::Relaxed),
        at(0.5),
        at(0.99),
        at(1.0),
    );
}

fn main() {
    // `cargo test` runs benchmarks too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(|argument| argument.parse().unwrap_or_else(|_| panic!("{argument:?} is no number")))
        .collect();
    let (per_s, seconds) = match numbers[..] {
        [] => (10_000, 5),
        [per_s] => (per_s, 5),
        [per_s, seconds, ..] => (per_s, seconds),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(per_s, seconds));
}
