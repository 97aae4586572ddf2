//! What an idle connection and a delivery cost, measured in this process; run by hand in a release build:
//! `cargo test --release -p gateway --test gateway cost -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use crate::common;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::common::{Server, dev};

const CONNECTIONS: usize = 8_000;
const BATCHES: u64 = 50;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// CPU time of the shard threads, in nanoseconds.
fn shards_cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let shards = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap().starts_with("shard-"));
    let spent = |task: std::path::PathBuf| std::fs::read_to_string(task.join("schedstat")).unwrap();
    shards.map(|task| spent(task).split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Opens a socket and forgets it: the client's side costs a descriptor and nothing else.
fn open(server: &Server, i: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "GET /ws?room_id=r&user_id=viewer{i} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut server = Server::start(dev());
    let mut sockets: Vec<TcpStream> = (0..100).map(|i| open(&server, i)).collect();
    server.wait_for_connections(100);
    let before = (resident_bytes(), shards_cpu_ns());
    sockets.extend((100..CONNECTIONS + 100).map(|i| open(&server, i)));
    server.wait_for_connections(CONNECTIONS as i64 + 100);
    let after = (resident_bytes(), shards_cpu_ns());
    println!("bytes per idle connection: {}", (after.0 - before.0) / CONNECTIONS as u64);
    println!("shard CPU per handshake and join: {} us", (after.1 - before.1) / 1_000 / CONNECTIONS as u64);

    let drain = std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let mut done = vec![false; sockets.len()];
        let needle = format!("batch {}", BATCHES - 1);
        while done.iter().any(|done| !done) {
            for (socket, done) in sockets.iter_mut().zip(&mut done).filter(|(_, done)| !**done) {
                let n = socket.read(&mut buffer).unwrap();
                *done = String::from_utf8_lossy(&buffer[..n]).contains(&needle);
            }
        }
        sockets
    });
    let before = shards_cpu_ns();
    let deliveries = BATCHES * (CONNECTIONS as u64 + 100);
    let frames = server.metrics.frames_out.get();
    for i in 0..BATCHES {
        let comment = server.comment("r", "somebody", &format!("batch {i}"));
        server.publish("r", [comment]);
        let due = frames + (i + 1) * (CONNECTIONS as u64 + 100);
        common::wait_until(|| server.metrics.frames_out.get() >= due);
    }
    let sockets = drain.join().unwrap();
    println!("shard CPU per delivery: {:.2} us", (shards_cpu_ns() - before) as f64 / 1_000.0 / deliveries as f64);
    drop(sockets);
}
