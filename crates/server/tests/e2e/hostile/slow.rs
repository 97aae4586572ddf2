//! Clients that do not read, do not answer, or take forever to say what they want.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use testkit::{Options, Server, Viewer, eventually, now_s, token};
use tokio::time::{Instant, interval};

use super::raw::{FIN, Raw, TEXT, frame, upgrade};
use super::{Bystander, counted, counts, server_with};
use crate::{BIN, NO_LIMITS};

/// Viewers who read as they should.
const READERS: usize = 50;
/// Comments, at 200 a second.
const COMMENTS: usize = 800;
/// Characters of a long comment, of three bytes each: so many comments are more than the kernel keeps for a socket.
const LONG: usize = 2_000;
/// Sooner than the ten seconds after which it would come without this test's settings, and no sooner than a busy machine gets to it.
const SOON: Duration = Duration::from_secs(9);
/// The server may grow by this much while one socket does not read, in bytes.
const GROWTH_MAX: u64 = 96 << 20;

/// A server whose viewers are given all that is said.
async fn server_of_many_words(patience_s: u32, backlog_bytes_max: usize) -> Server {
    let sockets = format!("slow_patience_s = {patience_s}\nbacklog_bytes_max = {backlog_bytes_max}\n");
    let config = format!("{NO_LIMITS}[rooms]\nviewer_per_s_max = 1000\n[sockets]\n{sockets}");
    Options::new(BIN).config(&config).env("BARRAGE__LIMITS__COMMENT_CHARS_MAX", &LONG.to_string()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_never_reads_costs_fifty_others_nothing() {
    let server = server_of_many_words(2, 65_536).await;
    let names: Vec<String> = (0..READERS).map(|n| format!("reader-{n}")).collect();
    let mut readers = join_all(names.iter().map(|name| server.viewer(name, "r"))).await;
    let mut never_reads = Raw::narrow(&server, "never-reads").await;
    // What is said in the other room is for this socket alone, and fills it.
    never_reads.send(&frame(FIN | TEXT, br#"{"type":"join_room","room_id":"noise"}"#)).await;
    let before = resident_bytes(&server);

    tokio::join!(speak(&server, "r", 180), speak(&server, "noise", LONG));

    for reader in &mut readers {
        reader.accounts_for(COMMENTS as u64).await;
        assert_eq!(reader.omitted, 0, "others get everything");
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "grew by {grown} bytes");
    assert!(counted(&server, "backlog_bytes").await <= 2 * 65_536);
    eventually("the close", async || (counted(&server, "closes_total{code=\"4008\"").await == 1).then_some(())).await;
    drop(never_reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_reads_again_is_told_what_it_missed() {
    let server = server_of_many_words(60, 262_144).await;
    let mut reader = server.viewer("reader", "r").await;
    let mut sleeper = Raw::narrow(&server, "sleeper").await;
    speak(&server, "r", LONG).await;
    reader.accounts_for(COMMENTS as u64).await;
    // Some of what it has not read is with the kernel, and some was skipped.
    assert!(counted(&server, "omitted_comments_total{reason=\"slow\"").await > 0, "too little was said to be slow");

    let (mut given, mut omitted) = (0, 0);
    while given + omitted < COMMENTS as u64 {
        let message = sleeper.message().await;
        if message["type"] == "comments" {
            given += message["comments"].as_array().unwrap().len() as u64;
            omitted += message["omitted"].as_u64().unwrap_or(0);
        }
    }
    assert_eq!(given + omitted, COMMENTS as u64, "given {given}, told omitted {omitted}");
    assert!(omitted > 0);
    counts(&server, "closes_total{code=\"4008\"", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_takes_little_keeps_its_connection_and_is_told() {
    let server = server_of_many_words(2, 65_536).await;
    let mut sipper = Raw::sipping(&server, "sipper").await;
    let sip = async {
        // Two kilobytes a second, for four times the patience there is with one who takes nothing.
        let mut beat = interval(Duration::from_millis(250));
        for _ in 0..32 {
            beat.tick().await;
            assert!(sipper.sip(512).await, "closed though it reads");
        }
    };
    tokio::join!(sip, speak(&server, "r", 180));
    counts(&server, "closes_total{code=\"4008\"", 0).await;

    let (mut given, mut omitted, mut told) = (0, 0, 0);
    while given + omitted < COMMENTS as u64 {
        let message = sipper.message().await;
        if message["type"] == "comments" {
            given += message["comments"].as_array().unwrap().len() as u64;
            omitted += message["omitted"].as_u64().unwrap_or(0);
            told += u64::from(message["omitted"].is_u64());
        }
    }
    assert_eq!(given + omitted, COMMENTS as u64, "given {given}, told omitted {omitted}");
    assert!(told > 1, "told while it was behind, not only at the end: {told}");
}

/// Event streams and a large answer that nobody takes: they end, and hold next to nothing until then.
#[tokio::test(flavor = "multi_thread")]
async fn http_readers_who_take_nothing_are_dropped() {
    const STREAMS: usize = 40;
    let server = server_of_many_words(4, 65_536).await;
    speak(&server, "r", 180).await;
    let token = token(&json!({ "sub": "idle", "iat": now_s() - 5, "exp": now_s() + 600 }));
    let before = resident_bytes(&server);
    let mut idle = Vec::new();
    for _ in 0..STREAMS {
        let mut raw = Raw::narrow_connection(&server).await;
        let path = format!("/api/v1/rooms/r/events?token={token}");
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        idle.push(raw);
    }
    counts(&server, "streams ", STREAMS as i64).await;
    let mut reader = server.user("reader").events("r", "", None).await;
    speak(&server, "r", LONG).await;
    let grown = resident_bytes(&server).saturating_sub(before);
    counts(&server, "streams ", 1).await;
    // The ring, the store's cache and the batches under way are there for one stream as for forty.
    assert!(grown < STREAMS as u64 * 65_536 + (48 << 20), "grew by {grown} bytes");
    reader.sees(&format!("{} {}", COMMENTS - 1, "弹".repeat(LONG - 4))).await;

    let mut raw = Raw::narrow_connection(&server).await;
    let path = format!("/api/v1/rooms/r/comments?limit=500&since_id=0&token={token}");
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    // Twice the patience; nothing that can be seen from outside happens in it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let taken = raw.rest().await.len();
    assert!(taken < 500_000, "{taken} bytes of three million came after all");
}

/// What one more connection costs the process, over five hundred of them. The bounds are generous: this machine does much else,
/// and the allocator keeps what it once had.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_connections_cost_little_each() {
    const CONNECTIONS: u64 = 500;
    let server = server_of_many_words(60, 65_536).await;
    speak(&server, "r", 180).await;
    let mut kept = Vec::new();
    let (memory, cpu) = (resident_bytes(&server), cpu_ms(&server));
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::connect(&server).await;
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200"), "an answer, and the connection is kept");
        kept.push(raw);
    }
    let each = resident_bytes(&server).saturating_sub(memory) / CONNECTIONS;
    let us_each = cpu_ms(&server).saturating_sub(cpu) * 1_000 / CONNECTIONS;
    eprintln!("FIGURE a kept connection: {each} bytes, {us_each} us of CPU with its first request (debug build)");
    assert!(each <= 64 * 1_024, "{each} bytes for a kept connection");
    assert!(us_each <= 5_000, "{us_each} us of CPU for a new connection with its request");

    let memory = resident_bytes(&server);
    let mut never_read = Vec::new();
    for n in 0..CONNECTIONS {
        let token = token(&json!({ "sub": format!("idle-{n}"), "iat": now_s() - 5, "exp": now_s() + 600 }));
        let mut raw = Raw::narrow_connection(&server).await;
        let path = format!("/api/v1/rooms/r/events?token={token}");
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        never_read.push(raw);
    }
    counts(&server, "streams ", CONNECTIONS.cast_signed()).await;
    speak(&server, "r", LONG).await;
    let grown = resident_bytes(&server).saturating_sub(memory);
    eprintln!("FIGURE a reader who never reads: {} bytes", grown / CONNECTIONS);
    // The ring, the store's cache and the batches under way are there for one stream as for all.
    assert!(grown <= CONNECTIONS * 65_536 + (48 << 20), "{} bytes for a reader who never reads", grown / CONNECTIONS);
    drop((kept, never_read));
}

/// CPU time that the server has used, in milliseconds.
fn cpu_ms(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().unwrap());
    // User and system time, in the kernel's hundredths of a second.
    (fields.next().unwrap() + fields.next().unwrap()) * 10
}

/// An owner, whose comments are never merged, says [`COMMENTS`] things at 200 a second; returns how long that took.
async fn speak(server: &Server, room: &str, chars: usize) -> Duration {
    let mut owner = server.viewer_who_wishes("owner", "owner", &format!("room_id={room}&max_per_s=0")).await;
    let begun = Instant::now();
    let mut beat = interval(Duration::from_millis(5));
    for n in 0..COMMENTS {
        beat.tick().await;
        let number = n.to_string();
        let content = format!("{number} {}", "弹".repeat(chars - number.len() - 1));
        owner.send(json!({ "type": "comment", "room_id": room, "content": content, "ref": n })).await;
    }
    owner.expect("the last answer", |answer| answer["ref"] == COMMENTS - 1).await;
    begun.elapsed()
}

fn resident_bytes(server: &Server) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test]
async fn a_half_open_socket_is_closed_after_two_missed_heartbeats() {
    let server = server_with("[sockets]\nheartbeat_s = 5\n").await;
    let mut alive = server.viewer("alive", "r").await;
    let mut gone = server.connect("room_id=r").await;
    let begun = Instant::now();
    // One that has logged in and one that has not differ only in why they are closed.
    let mut silent = server.viewer("silent", "r").await;
    let mut beat = interval(Duration::from_secs(2));
    let closed = async {
        let by = Duration::from_secs(45);
        let closed = (silent.wait_close_within(by).await, gone.wait_close_within(by).await);
        (closed, begun.elapsed())
    };
    tokio::pin!(closed);
    let ((silent, gone), took) = loop {
        tokio::select! {
            closed = &mut closed => break closed,
            _ = beat.tick() => assert_eq!(alive.ask(json!({ "type": "heartbeat" })).await["type"], "heartbeat_ack"),
        }
    };
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(40), "{took:?}");
    counts(&server, &format!("closes_total{{code=\"{}\"", silent.0), 1).await;
    assert_eq!(gone.0, 4001, "{gone:?}");
    alive.say("the others are gone").await;
    counts(&server, "connections ", 1).await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let server = server_with("[sockets]\nhandshake_s = 1\n").await;
    let mut bystander = Bystander::of(&server).await;
    let upgrade = upgrade("room_id=r", "");
    let api = "GET /api/v1/rooms HTTP/1.1\r\nHost: localhost\r\n";
    let beginnings = ["", "G", "GET /ws", &upgrade[..40], &upgrade[..upgrade.len() - 2], "POST", api];
    let each = beginnings.iter().map(async |beginning| {
        let mut raw = Raw::connect(&server).await;
        raw.send(beginning.as_bytes()).await;
        raw.ends_within(SOON).await
    });
    let took = join_all(each).await;
    assert!(took.iter().all(|took| *took < SOON), "{took:?}");
    assert!(counted(&server, "handshakes_total{outcome=\"timeout\"").await >= 4);
    bystander.notices_nothing().await;
}

/// Header by header, never silent for long, and never finished.
#[tokio::test]
async fn dripping_a_request_buys_no_time() {
    let server = server_with("[sockets]\nhandshake_s = 1\n").await;
    for beginning in [&upgrade("room_id=r", "")[..100], "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "] {
        let begun = Instant::now();
        let mut raw = Raw::connect(&server).await;
        raw.send(beginning.as_bytes()).await;
        let mut drip = interval(Duration::from_millis(100));
        let ended = raw.dripped(&mut drip).await;
        assert!(ended && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_socket_without_identity_is_closed_in_time() {
    let server = server_with("[sockets]\nlogin_s = 1\n").await;
    let mut nobody = server.connect("room_id=r").await;
    assert_eq!(nobody.wait_for("error").await["code"], "unauthorized");
    assert_eq!(nobody.wait_close_within(SOON).await.0, 4001);
    counts(&server, "closes_total{code=\"4001\"", 1).await;
    let anybody = Viewer::open(server.address(), "room_id=r&token=x", &[]).await;
    let mut anybody = anybody.unwrap();
    assert_eq!(anybody.wait_close_within(SOON).await.0, 4001);
}
