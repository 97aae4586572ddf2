//! Too much of everything: frames, bytes, connections.

use std::time::Duration;

use testkit::{Server, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::raw::{FIN, PING, PONG, Raw, TEXT, frame, upgrade};
use super::{Bystander, counted, counts, server_with};

/// Frames of one burst.
const BURST: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tiny_frames_in_one_burst_delay_nobody() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let heartbeat = frame(FIN | TEXT, br#"{"type":"heartbeat"}"#);
    let answers = burst(&server, &mut bystander, heartbeat.repeat(BURST), "heartbeat_ack").await;
    assert_eq!(answers, BURST, "each heartbeat is answered, however many there are");
    let pongs = burst(&server, &mut bystander, frame(FIN | PING, b"").repeat(BURST), "\u{fffd}\0").await;
    assert!(pongs > 0, "pings are answered");
    burst(&server, &mut bystander, frame(FIN | PONG, b"x").repeat(BURST), "heartbeat_ack").await;
    burst(&server, &mut bystander, frame(FIN | TEXT, b"{}").repeat(BURST), "error").await;
    counts(&server, "closes_total{code=\"4010\"", 1).await;
}

/// A message in ten thousand frames of one byte is still one message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_ten_thousand_pieces_is_one_message() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let message = format!(r#"{{"type":"heartbeat","pad":"{}"}}"#, "x".repeat(BURST));
    let (last, others) = message.as_bytes().split_last().unwrap();
    let mut bytes = Vec::new();
    for (n, byte) in others.iter().enumerate() {
        bytes.extend(frame(if n == 0 { TEXT } else { 0 }, &[*byte]));
    }
    bytes.extend(frame(FIN, &[*last]));
    assert_eq!(burst(&server, &mut bystander, bytes, "heartbeat_ack").await, 1);
}

/// Sends a burst on a socket of its own, while the bystander goes on reading; returns how often `answer` came.
async fn burst(server: &Server, bystander: &mut Bystander, bytes: Vec<u8>, answer: &str) -> usize {
    let (mut incoming, mut out) = Raw::open(server, "mallory").await.split();
    let sending = tokio::spawn(async move {
        let _ = out.write_all(&bytes).await; // It may be closed for what it sends.
        let _ = out.write_all(&frame(FIN | TEXT, br#"{"type":"heartbeat","ref":"the end"}"#)).await;
        out
    });
    let reading = tokio::spawn(async move {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(read @ 1..) = incoming.read(&mut buffer).await {
            let looked_at = all.len().saturating_sub(6);
            all.extend_from_slice(&buffer[..read]);
            if all[looked_at..].windows(7).any(|seven| seven == b"the end") {
                break;
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    for _ in 0..3 {
        bystander.notices_nothing().await;
    }
    let said =
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("the burst is not answered").unwrap();
    drop(sending.await);
    // The last answer is that of the test's own heartbeat.
    said.matches(answer).count() - usize::from(answer == "heartbeat_ack" && said.contains("the end"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_opened_and_dropped_leave_nothing_behind() {
    let server = server_with("[sockets]\nhandshake_s = 2\n").await;
    let mut bystander = Bystander::of(&server).await;
    // A connection is counted a moment after its first answer.
    let counts = async || (counted(&server, "connections ").await == 1).then_some(());
    eventually("the bystander to be counted", counts).await;
    let before = (1, descriptors(&server));
    for wave in 0..10 {
        let open = (0..200).map(|n| come_and_go(&server, n));
        futures::future::join_all(open).await;
        if wave % 3 == 0 {
            bystander.notices_nothing().await;
        }
    }
    eventually("what was dropped to be gone", async || {
        let now = (counted(&server, "connections ").await, descriptors(&server));
        // A few of the test's own HTTP connections may still be open.
        (now.0 == before.0 && now.1 <= before.1 + 8).then_some(())
    })
    .await;
    bystander.notices_nothing().await;
}

/// Connects and goes away at one of several moments, politely or not.
async fn come_and_go(server: &Server, n: usize) {
    let mut raw = Raw::connect(server).await;
    match n % 6 {
        0 => {}
        1 => raw.send(b"GET /w").await,
        2 => raw.send(&upgrade("room_id=r&token=x", "").as_bytes()[..60]).await,
        3 => raw.send(upgrade("room_id=r", "").as_bytes()).await,
        4 => {
            raw.send(upgrade("room_id=r", "").as_bytes()).await;
            raw.head().await;
        }
        _ => {
            raw.send(b"POST /api/v1/rooms/r/comments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").await
        }
    }
    if n.is_multiple_of(2) {
        raw.reset();
    }
}

/// File descriptors of the server's process.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}
