//! What a stranger may try over QUIC, and what happens when time runs out: floods, half-open connections, streams and
//! datagrams that nobody asked for, a certificate that ends.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testkit::{Certificate, Server, eventually, within};
use tokio::time::timeout;
use wtransport::quinn;

use super::{PATIENCE, Session, connect, first_packets, metric, started};

/// The longest packet before the path is known.
const PACKET_MAX: usize = 1_200;
/// Kinds of long packets (RFC 9000 §17.2).
const LONG: u8 = 0x80;
const KIND: u8 = 0x30;
const RETRY: u8 = 0x30;

fn handshakes(certificate: &Certificate, server: &Server, outcome: &str) -> u64 {
    metric(certificate, server, &format!("barrage_handshakes_total{{outcome=\"{outcome}\"}} ")).unwrap_or(0)
}

async fn answers(session: &mut Session, reference: u64) {
    session.send(json!({ "type": "heartbeat", "ref": reference })).await;
    session.expect("an answer", |message| message["ref"] == reference).await;
}

/// A QUIC connection without a request.
async fn bare_connection(server: &Server, certificate: &Certificate) -> quinn::Connection {
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(certificate.trusted_over_quic()).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    let connecting = endpoint.connect(server.address().parse().unwrap(), "localhost").unwrap();
    timeout(PATIENCE, connecting).await.expect("a connection").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_first_packets_is_sent_back_and_amplifies_nothing() {
    let certificate = Certificate::new();
    let server = started(&certificate, "[sockets]\nhandshake_s = 2\n").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
    let packets = first_packets(200).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(server.address()).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let sent: usize = packets.iter().map(|packet| stranger.send(packet).unwrap()).sum();
    // Handshakes beyond the first few wait for proof of the address: nothing is kept for them.
    eventually("addresses to be checked", async || (handshakes(&certificate, &server, "quic_retry") > 0).then_some(()))
        .await;
    answers(&mut ann, 1).await;
    // Who proves its address is let in meanwhile.
    let mut bob = Session::open(&server, &certificate, "user_id=bob").await;
    bob.wait_for("connected").await;

    eventually("unfinished handshakes to be given up", async || {
        let under_way = handshakes(&certificate, &server, "timeout") + handshakes(&certificate, &server, "quic");
        (under_way + handshakes(&certificate, &server, "quic_retry") >= 200).then_some(())
    })
    .await;
    let (mut received, mut retries, mut packet) = (0, 0, [0; 2_048]);
    while let Ok(n) = stranger.recv(&mut packet) {
        received += n;
        retries += usize::from(packet[0] & LONG != 0 && packet[0] & KIND == RETRY);
    }
    assert!(retries > 0, "no retry among {received} bytes");
    assert!(received <= 3 * sent, "{received} bytes for {sent}");
    assert_eq!(metric(&certificate, &server, "barrage_webtransport_sessions "), Some(2));
    answers(&mut ann, 2).await;
}

/// A retry names the connection that the client is to go on with. Two of the same name, and one of them is never heard.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_retries_name_the_same_connection() {
    /// So many of 24 random bits would meet twelve times.
    const RETRIES: usize = 20_000;
    let certificate = Certificate::new();
    let server = started(&certificate, "[sockets]\nhandshake_s = 60\n").await;
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.connect(server.address()).await.unwrap();
    let packets = first_packets(300).await;
    let (mut names, mut packet) = (HashSet::new(), [0; 2_048]);
    let mut retries = 0;
    while retries < RETRIES {
        for packet in &packets {
            stranger.send(packet).await.unwrap();
        }
        // What a retry was sent for is forgotten, so the same packet is answered anew.
        while let Ok(received) = timeout(Duration::from_millis(20), stranger.recv(&mut packet)).await {
            let n = received.unwrap();
            if packet[0] & LONG == 0 || packet[0] & KIND != RETRY {
                continue;
            }
            let (_, rest) = id(&packet[5..n]);
            let (name, _) = id(rest);
            assert!(names.insert(name.to_vec()), "{name:02x?} was given twice, after {retries} others");
            retries += 1;
        }
    }
}

/// The connection id at the start of `bytes`, behind its length, and what follows it.
fn id(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first().unwrap();
    rest.split_at((*length).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_never_answers_is_sent_three_times_as_much_and_a_packet_at_most() {
    let certificate = Certificate::new();
    let server = started(&certificate, "[sockets]\nhandshake_s = 3\n").await;
    let packet = first_packets(1).await.remove(0);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let sent = stranger.send_to(&packet, server.address()).unwrap();
    eventually("the handshake to be given up", async || {
        let given_up = handshakes(&certificate, &server, "timeout") + handshakes(&certificate, &server, "quic");
        (given_up == 1).then_some(())
    })
    .await;
    let (mut received, mut bytes) = (0, [0; 2_048]);
    while let Ok(n) = stranger.recv(&mut bytes) {
        received += n;
    }
    // quinn finishes the packet that it has begun below the bound.
    assert!(received > 0 && received <= 3 * sent + PACKET_MAX, "{received} bytes for {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_are_given_up() {
    let certificate = Certificate::new();
    let server = started(&certificate, "[sockets]\nhandshake_s = 1\n").await;
    let silent = bare_connection(&server, &certificate).await;
    let half = bare_connection(&server, &certificate).await;
    // A request whose head never ends.
    let (mut request, _answer) = half.open_bi().await.unwrap();
    request.write_all(&[0x01, 0x40, 0x64, 0x00, 0x00]).await.unwrap();
    for connection in [silent, half] {
        timeout(PATIENCE, connection.closed()).await.expect("the end of a connection that asks for nothing");
    }
    eventually("both to be counted", async || (handshakes(&certificate, &server, "timeout") == 2).then_some(())).await;
    assert_eq!(metric(&certificate, &server, "barrage_webtransport_sessions "), Some(0));
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_stream_after_stream_loses_the_session() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut bob = Session::open(&server, &certificate, "user_id=bob").await;
    bob.wait_for("connected").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
    let mut opened = 0;
    let open_all = async {
        for _ in 0..5_000 {
            let Ok(opening) = ann.connection.open_bi().await else { return };
            let Ok((mut out, _)) = opening.await else { return };
            // It may have been refused already.
            let _ = out.write_all(b"nobody asked").await;
            opened += 1;
        }
    };
    timeout(PATIENCE, open_all).await.expect("the session ends");
    assert!(opened < 100, "{opened} streams");
    eventually("the session to be gone", async || {
        (metric(&certificate, &server, "barrage_webtransport_sessions ") == Some(1)).then_some(())
    })
    .await;
    answers(&mut bob, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_nobody_reads_are_bounded() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut bob = Session::open(&server, &certificate, "user_id=bob").await;
    bob.wait_for("connected").await;
    let ann = Session::open(&server, &certificate, "user_id=ann").await;
    // All the server's patience in streams that it never reads.
    let mut written = 0;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let opening = async { ann.connection.open_uni().await.unwrap().await.unwrap() };
        // A stream's first bytes count, too: from some stream on nothing is taken.
        let Ok(mut stream) = timeout(Duration::from_secs(2), opening).await else { break };
        while let Ok(Ok(())) = timeout(Duration::from_millis(500), stream.write_all(&[7; 4_096])).await {
            written += 4_096;
            assert!(written <= 1_024 * 1_024, "{written} bytes were taken");
        }
        streams.push(stream);
    }
    // What it has taken is what it grants at most, besides what waits on this side.
    assert!(written >= 64 * 1_024, "{written}");
    // Only that connection is stuck.
    answers(&mut bob, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_clients_are_counted_and_let_go() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
    let largest = ann.connection.max_datagram_size().unwrap();
    assert!(ann.connection.send_datagram(vec![7; largest + 1]).is_err(), "longer than a packet");
    for _ in 0..2_000 {
        ann.connection.send_datagram(vec![7; largest]).unwrap();
    }
    eventually("datagrams to be counted", async || {
        metric(&certificate, &server, "barrage_webtransport_datagrams_ignored_total ").filter(|count| *count > 0)
    })
    .await;
    answers(&mut ann, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_ends_no_session_and_is_replaced_while_running() {
    let short = Certificate::for_a_while(Duration::from_secs(15));
    let server = started(&short, "").await;
    let mut ann = Session::open(&server, &short, "user_id=ann").await;
    ann.wait_for("connected").await;
    let refused = async || connect(&server, &short, "user_id=bob", &[]).await.err();
    within(PATIENCE * 2, "clients to refuse it", refused).await;
    answers(&mut ann, 1).await;
    let new = Certificate::new();
    new.write(server.dir());
    let bob = eventually("the new certificate", async || connect(&server, &new, "user_id=bob", &[]).await.ok()).await;
    Session::of(bob).await.wait_for("connected").await;
    answers(&mut ann, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_ids_of_nobody_are_ignored() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut lengths = HashSet::new();
    for n in 0..2_000_u32 {
        // A short header with a connection id that nobody has.
        let mut packet = vec![0x40; 40 + (n % 200) as usize];
        packet[1..5].copy_from_slice(&n.to_be_bytes());
        let _ = stranger.send_to(&packet, server.address());
        lengths.insert(packet.len());
    }
    answers(&mut ann, 1).await;
    // A stateless reset is shorter than what asked for it, so that two servers never answer each other for ever.
    let (mut bytes, longest) = ([0; 2_048], *lengths.iter().max().unwrap());
    while let Ok(n) = stranger.recv(&mut bytes) {
        assert!(n < longest, "{n}");
    }
}
