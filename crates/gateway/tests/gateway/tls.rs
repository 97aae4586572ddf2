//! Transcripts over TLS: sockets, what goes to HTTP, and whoever does not speak it well.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{Server, dev, read_to_end, wait_until, with_sockets, write};
use gateway::{GatewaySettings, ServerTls, TlsError};
use rustls::HandshakeKind;
use serde_json::{Value, json};
use settings::Sockets;
use testkit::{Certificate, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tungstenite::{Message, WebSocket};

/// A server with a certificate of its own.
fn start(settings: GatewaySettings) -> (Server, Certificate) {
    let (certificate, dir) = (Certificate::new(), tempfile::tempdir().unwrap());
    certificate.write(dir.path());
    let tls = ServerTls::load(&dir.path().join("certificate.pem"), &dir.path().join("key.pem")).unwrap();
    (Server::start_with(settings, Some(tls), false), certificate)
}

struct Viewer(WebSocket<TlsStream>);

impl Viewer {
    fn open(server: &Server, certificate: &Certificate, query: &str) -> Self {
        let stream = certificate.trusted().connect(server.stream()).unwrap();
        Self(tungstenite::client(format!("wss://localhost/ws?{query}"), stream).unwrap().0)
    }

    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn hear_a(&mut self, kind: &str) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                }
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_said_over_tls_is_heard_over_tls() {
    let (server, certificate) = start(dev());
    let mut viewers: Vec<Viewer> =
        (0..3).map(|i| Viewer::open(&server, &certificate, &format!("room_id=r&user_id=v{i}"))).collect();
    viewers[0].hear_a("room_joined");
    viewers[0].say(&json!({ "content": "你好", "ref": 1 }));
    assert_eq!(viewers[0].hear_a("comment_ack")["status"], "accepted");
    for viewer in &mut viewers {
        assert_eq!(viewer.hear_a("comments")["comments"][0]["content"], "你好");
    }
}

#[test]
fn a_client_that_comes_back_resumes() {
    let (server, certificate) = start(dev());
    let client = certificate.trusted();
    let kinds = (0..2).map(|_| {
        let stream = client.connect(server.stream()).unwrap();
        let (mut socket, _) = tungstenite::client("wss://localhost/ws?user_id=a", stream).unwrap();
        socket.read().unwrap();
        socket.get_ref().conn.handshake_kind().unwrap()
    });
    let kinds: Vec<_> = kinds.collect();
    assert!(matches!(kinds[0], HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest), "{kinds:?}");
    assert_eq!(kinds[1], HandshakeKind::Resumed);
}

#[test]
fn a_request_in_records_of_one_byte_is_understood() {
    let (server, certificate) = start(dev());
    let mut stream = certificate.trusted().connect(server.stream()).unwrap();
    let request = b"GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for byte in request.chunks(1) {
        stream.write_all(byte).unwrap();
        stream.flush().unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[test]
fn what_is_not_for_ws_goes_to_http_with_its_tls() {
    let (mut server, certificate) = start(dev());
    let mut client = certificate.trusted().connect(server.stream()).unwrap();
    client.write_all(b"GET /api").unwrap();
    let connection = server.http.blocking_recv().unwrap();
    client.write_all(b" and more").unwrap();
    let big = vec![b'x'; 3 << 20];
    let (expected, sent) = (big.clone(), big);
    let echo = async move {
        let (mut stream, _, _place) = connection.open(Duration::from_secs(10)).unwrap();
        let mut got = [0; 17];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"GET /api and more");
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap(); // An end without close_notify would be an error.
        all
    });
    server.block_on(echo);
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn plain_http_on_the_tls_port_is_closed_at_once() {
    let (server, _) = start(dev());
    for request in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"nonsense, and more of it"] {
        let mut stream = server.stream();
        write(&mut stream, request);
        if request[0] == 0x16 {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let answer = read_to_end(&mut stream);
        assert!(!answer.contains("HTTP"), "{answer}");
    }
    server.wait_for_connections(0);
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let (server, _) = start(with_sockets(Sockets { handshake_s: 1, ..dev().sockets }));
    let mut silent = server.stream();
    let mut started = server.stream();
    write(&mut started, b"\x16\x03\x01\x01");
    assert_eq!((read_to_end(&mut silent), read_to_end(&mut started)), (String::new(), String::new()));
}

#[test]
fn a_reader_that_stalls_gets_whole_frames_in_order_and_is_told_what_it_missed() {
    let (mut server, certificate) =
        start(with_sockets(Sockets { backlog_bytes_max: 64 * 1024, slow_patience_s: 60, ..dev().sockets }));
    let mut slow = Viewer::open(&server, &certificate, "room_id=r&user_id=slow");
    let mut quick = Viewer::open(&server, &certificate, "room_id=r&user_id=quick");
    slow.hear_a("room_joined");
    quick.hear_a("room_joined");
    let total = 30_000;
    let mut heard = 0;
    for round in 0..total / 100 {
        let comments: Vec<_> = (0..100)
            .map(|i| server.comment("r", &format!("u{i}"), &format!("{round} {i} {}", "filling ".repeat(15))))
            .collect();
        server.publish("r", comments);
        while heard < (round + 1) * 100 {
            let batch = quick.hear_a("comments");
            heard += batch["comments"].as_array().unwrap().len() as u64 + batch["omitted"].as_u64().unwrap_or(0);
        }
    }
    let (mut given, mut omitted, mut last) = (0, 0, 0);
    while given + omitted < total {
        let batch = slow.hear_a("comments");
        for comment in batch["comments"].as_array().unwrap() {
            let id: u64 = comment["id"].as_str().unwrap().parse().unwrap();
            assert!(id > last, "out of order");
            (last, given) = (id, given + 1);
        }
        omitted += batch["omitted"].as_u64().unwrap_or(0);
    }
    assert_eq!(given + omitted, total);
    assert!(omitted > 0, "nothing was skipped: the test proves nothing");
}

#[test]
fn a_drain_tells_everybody_and_says_goodbye() {
    let (mut server, certificate) = start(dev());
    let mut viewer = Viewer::open(&server, &certificate, "room_id=r&user_id=a");
    viewer.hear_a("room_joined");
    let reader = std::thread::spawn(move || {
        loop {
            match viewer.0.read() {
                Ok(Message::Close(Some(close))) => return u16::from(close.code),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    server.drain(Duration::from_secs(5));
    assert_eq!(reader.join().unwrap(), 1012);
}

#[test]
fn a_new_certificate_is_for_new_connections_and_a_bad_one_changes_nothing() {
    let (old, new, dir) = (Certificate::new(), Certificate::new(), tempfile::tempdir().unwrap());
    let files = [dir.path().join("certificate.pem"), dir.path().join("key.pem")];
    old.write(dir.path());
    let tls = ServerTls::load(&files[0], &files[1]).unwrap();
    std::fs::write(&files[0], &new.certificate_pem).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair(..))), "the key is another's");
    std::fs::write(&files[0], "nothing").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::NoCertificate(_))));
    std::fs::remove_file(&files[1]).unwrap();
    assert!(ServerTls::load(&files[0], &files[1]).is_err());
    new.write(dir.path());
    tls.reload().unwrap();
    let server = Server::start_with(dev(), Some(tls), false);
    Viewer::open(&server, &new, "user_id=a").hear_a("connected");
    assert!(old.trusted().connect(server.stream()).is_err());
}

#[test]
fn connections_that_end_in_the_middle_leave_nothing_behind() {
    let (server, certificate) = start(dev());
    for _ in 0..20 {
        let viewer = Viewer::open(&server, &certificate, "room_id=r&user_id=a");
        drop::<TcpStream>(viewer.0.get_ref().sock.try_clone().unwrap());
    }
    wait_until(|| server.metrics.connections.get() == 0);
}
