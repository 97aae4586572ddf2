//! WebTransport at `/wt`, driven by an independent client: what a socket can do, what a stranger may try, and how it ends.

mod trouble;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use prost::Message as _;
use protocol::proto::v1::{self, ClientFrame, ServerFrame};
use serde_json::{Value, json};
use testkit::{Certificate, Options, Server, eventually};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wtransport::endpoint::ConnectOptions;
use wtransport::error::{ConnectingError, ConnectionError, StreamReadError};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use crate::{BIN, NO_LIMITS};

/// What a test waits for at most; slow machines compile beside it.
const PATIENCE: Duration = Duration::from_secs(30);
const TLS: &str = "[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n";

/// A development server that accepts WebTransport, with this configuration besides.
async fn started(certificate: &Certificate, toml: &str) -> Server {
    options(certificate, toml).dev().start().await
}

fn options(certificate: &Certificate, toml: &str) -> Options {
    Options::new(BIN)
        .config(&format!("{TLS}{toml}"))
        .env("BARRAGE__SERVER__QUIC", "true")
        .file("certificate.pem", &certificate.certificate_pem)
        .file("key.pem", &certificate.key_pem)
}

fn client(certificate: &Certificate) -> Endpoint<wtransport::endpoint::endpoint_side::Client> {
    let config = ClientConfig::builder().with_bind_default().with_custom_tls(certificate.trusted_over_quic()).build();
    Endpoint::client(config).unwrap()
}

/// A session and its stream.
struct Session {
    connection: Connection,
    out: SendStream,
    from: RecvStream,
    /// Read and not yet asked for.
    bytes: Vec<u8>,
    /// Messages nobody asked for yet.
    unread: Vec<Value>,
}

impl Session {
    async fn open(server: &Server, certificate: &Certificate, query: &str) -> Self {
        Self::of(connect(server, certificate, query, &[]).await.unwrap()).await
    }

    /// Opens the stream, and says a first word on it.
    async fn of(connection: Connection) -> Self {
        let (out, from) = connection.open_bi().await.unwrap().await.unwrap();
        let mut session = Self { connection, out, from, bytes: Vec::new(), unread: Vec::new() };
        session.send(json!({ "type": "heartbeat" })).await;
        session
    }

    async fn send(&mut self, message: Value) {
        self.send_bytes(message.to_string().as_bytes()).await;
    }

    async fn send_bytes(&mut self, message: &[u8]) {
        let mut bytes = varint(message.len() as u64);
        bytes.extend_from_slice(message);
        self.out.write_all(&bytes).await.unwrap();
    }

    /// The next message, or `None` at the end.
    async fn next_bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((length, at)) = read_varint(&self.bytes)
                && self.bytes.len() >= at + length as usize
            {
                let message = self.bytes[at..at + length as usize].to_vec();
                self.bytes.drain(..at + length as usize);
                return Some(message);
            }
            let mut buffer = [0; 4_096];
            let read = timeout(PATIENCE, self.from.read(&mut buffer)).await.expect("a message");
            match read {
                Ok(Some(n)) => self.bytes.extend_from_slice(&buffer[..n]),
                Ok(None) | Err(StreamReadError::NotConnected | StreamReadError::Reset(_)) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn expect(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(i) = self.unread.iter().position(&fits) {
            return self.unread.remove(i);
        }
        loop {
            let message = self.next_bytes().await.unwrap_or_else(|| panic!("{what}: {:?}", self.unread));
            let message: Value = serde_json::from_slice(&message).unwrap();
            if fits(&message) {
                return message;
            }
            self.unread.push(message);
        }
    }

    async fn wait_for(&mut self, kind: &str) -> Value {
        self.expect(kind, |message| message["type"] == kind).await
    }

    async fn say(&mut self, room: &str, content: &str) {
        let comment = json!({ "type": "comment", "room_id": room, "content": content, "ref": content });
        self.send(comment).await;
        let ack = self.expect(content, |message| message["ref"] == content).await;
        assert_eq!(ack["status"], "accepted", "{ack}");
    }

    /// The first comment with this content.
    async fn sees(&mut self, content: &str) -> Value {
        let fits = |message: &Value| message["comments"].as_array().is_some_and(|all| all[0]["content"] == content);
        self.expect(content, fits).await
    }

    /// The code and the reason with which the server ends the session.
    async fn closed(&self) -> (u64, String) {
        closed(&self.connection).await
    }
}

async fn closed(connection: &Connection) -> (u64, String) {
    match timeout(PATIENCE, connection.accept_bi()).await.expect("the end of the session") {
        Err(ConnectionError::ApplicationClosed(close)) => {
            (close.code().into_inner(), String::from_utf8(close.reason().to_vec()).unwrap())
        }
        other => panic!("not closed in words: {:?}", other.map(|_| ())),
    }
}

async fn connect(
    server: &Server,
    certificate: &Certificate,
    query: &str,
    headers: &[(&str, &str)],
) -> Result<Connection, ConnectingError> {
    let mut request = ConnectOptions::builder(format!("https://{}/wt?{query}", server.address()));
    for (name, value) in headers {
        request = request.add_header(name, value);
    }
    timeout(PATIENCE, client(certificate).connect(request.build())).await.expect("an answer")
}

fn varint(value: u64) -> Vec<u8> {
    match value {
        0..64 => vec![value as u8],
        64..16_384 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = 1_usize << (bytes.first()? >> 6);
    let value =
        bytes.get(1..length)?.iter().fold(u64::from(bytes[0] & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// The answer to a request over TLS, head and body.
fn https(certificate: &Certificate, address: &str, method: &str, path: &str, body: &str) -> String {
    tokio::task::block_in_place(|| {
        let mut stream = certificate.trusted().connect(TcpStream::connect(address).unwrap()).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        // The server may hang up without a word of TLS.
        let _ = stream.read_to_string(&mut answer);
        answer
    })
}

fn metric(certificate: &Certificate, server: &Server, name: &str) -> Option<u64> {
    let metrics = https(certificate, server.address(), "GET", "/metrics", "");
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_joins_comments_and_reads_like_a_socket() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "room_id=lobby&user_id=ann&device_id=d1").await;
    let connected = ann.wait_for("connected").await;
    assert_eq!((&connected["user_id"], &connected["device_id"]), (&json!("ann"), &json!("d1")));
    assert_eq!(ann.wait_for("room_joined").await["room_id"], "lobby");
    assert!(ann.wait_for("heartbeat_ack").await["server_time_ms"].is_number());

    let mut bob = Session::open(&server, &certificate, "user_id=bob").await;
    bob.wait_for("connected").await;
    bob.send(json!({ "type": "join_room", "room_id": "lobby", "ref": 7 })).await;
    assert_eq!(bob.wait_for("room_joined").await["ref"], 7);
    bob.say("lobby", "over QUIC").await;
    let seen = ann.sees("over QUIC").await;
    assert_eq!(seen["comments"][0]["user_id"], "bob");
    // Many messages in one write, cut anywhere, are many messages.
    let mut bytes = Vec::new();
    for n in 0..20 {
        let message = json!({ "type": "heartbeat", "ref": n }).to_string();
        bytes.extend(varint(message.len() as u64));
        bytes.extend(message.as_bytes());
    }
    for part in bytes.chunks(7) {
        ann.out.write_all(part).await.unwrap();
    }
    for n in 0..20 {
        ann.expect("each answer", |message| message["type"] == "heartbeat_ack" && message["ref"] == n).await;
    }
    assert_eq!(metric(&certificate, &server, "barrage_webtransport_sessions "), Some(2));
    assert_eq!(metric(&certificate, &server, "barrage_connections "), Some(2));
    drop(bob);
    eventually("the session to be gone", async || {
        (metric(&certificate, &server, "barrage_connections ") == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_is_spoken_on_request() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "room_id=lobby&user_id=ann").await;
    ann.wait_for("room_joined").await;
    let connection = connect(&server, &certificate, "protocol=proto&room_id=lobby&user_id=bob", &[]).await.unwrap();
    let (out, from) = connection.open_bi().await.unwrap().await.unwrap();
    let mut bob = Session { connection, out, from, bytes: Vec::new(), unread: Vec::new() };
    let heartbeat = v1::client_frame::Message::Heartbeat(v1::Heartbeat {});
    bob.send_bytes(&ClientFrame { message: Some(heartbeat), ..Default::default() }.encode_to_vec()).await;
    ann.say("lobby", "in JSON").await;
    loop {
        let frame = ServerFrame::decode(&*bob.next_bytes().await.unwrap()).unwrap();
        if let Some(v1::server_frame::Message::Comments(batch)) = frame.message {
            assert_eq!(batch.comments[0].content, "in JSON");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_rules_hold_as_at_a_socket() {
    let certificate = Certificate::new();
    let server = started(&certificate, NO_LIMITS).await;
    for (rule, value, before, content) in [
        ("links", json!("none"), None, "see example.com"),
        ("capitals", json!(0.6), None, "LOOK AT THIS NOW"),
        ("blocked_terms", json!(["hat*"]), None, "hatters here"),
        ("emoji_only", json!(true), None, "words"),
        ("similar", json!(0.8), Some("what a lovely quiet evening it is"), "What a lovely quiet evening it was!"),
        ("unique_s", json!(600), Some("first of its kind"), "FIRST of its kind"),
        ("verified_only", json!(true), None, "hello"),
        ("followers_only_s", json!(60), None, "hello"),
        ("account_age_s", json!(86_400), None, "hello"),
        ("level_slow_s", json!(600), Some("one"), "two"),
    ] {
        let settings = json!({ "moderation": { rule: value } }).to_string();
        let answer = https(&certificate, server.address(), "PUT", &format!("/api/v1/admin/rooms/{rule}"), &settings);
        assert!(answer.starts_with("HTTP/1.1 200"), "{rule}: {answer}");
        let query = format!("room_id={rule}&user_id=ann");
        let mut ann = Session::open(&server, &certificate, &query).await;
        ann.wait_for("room_joined").await;
        if let Some(before) = before {
            ann.say(rule, before).await;
        }
        ann.send(json!({ "type": "comment", "room_id": rule, "content": content, "ref": 7 })).await;
        let refused = ann.expect("a refusal", |message| message["ref"] == 7).await;
        assert_eq!((&refused["type"], &refused["rule"]), (&json!("error"), &json!(rule)), "{refused}");
    }
    let hold = json!({ "moderation": { "first_time": "hold" } }).to_string();
    https(&certificate, server.address(), "PUT", "/api/v1/admin/rooms/newcomers", &hold);
    let mut ann = Session::open(&server, &certificate, "room_id=newcomers&user_id=ann").await;
    ann.send(json!({ "type": "comment", "room_id": "newcomers", "content": "hello", "ref": 8 })).await;
    let held = ann.expect("an answer", |message| message["ref"] == 8).await;
    assert_eq!(held["status"], "pending_review", "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_come_by_datagram_or_on_streams_of_their_own() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "room_id=lobby&user_id=ann&datagrams=true").await;
    ann.wait_for("room_joined").await;
    let mut bob = Session::open(&server, &certificate, "room_id=lobby&user_id=bob&level=owner").await;
    bob.wait_for("room_joined").await;
    let batch = |bytes: &[u8]| {
        let (seq, message) = bytes.split_first_chunk().unwrap();
        (u32::from_be_bytes(*seq), serde_json::from_slice::<Value>(message).unwrap())
    };

    bob.say("lobby", "small").await;
    let datagram = timeout(PATIENCE, ann.connection.receive_datagram()).await.expect("a datagram").unwrap();
    let (first, message) = batch(&datagram.payload());
    assert_eq!((first, &message["comments"][0]["content"]), (0, &json!("small")));

    let long = "长".repeat(200);
    let mentions: Vec<String> = (0..10).map(|n| format!("{n:064}")).collect();
    bob.send(json!({ "type": "comment", "room_id": "lobby", "content": long, "mentions": mentions })).await;
    let mut stream = timeout(PATIENCE, ann.connection.accept_uni()).await.expect("a stream").unwrap();
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.unwrap();
    let (second, message) = batch(&bytes);
    assert_eq!((second, &message["comments"][0]["content"]), (1, &json!(long)));

    // Answers, events and the client's own words are never by datagram.
    https(&certificate, server.address(), "POST", "/api/v1/admin/rooms/lobby/announcements", r#"{"content":"hear"}"#);
    ann.expect("the event", |message| message["kind"] == "announcement" && message["content"] == "hear").await;
    ann.say("lobby", "mine").await;
    assert!(!ann.unread.iter().any(|message| message["type"] == "comments"), "{:?}", ann.unread);

    ann.connection.send_datagram(b"nobody reads this").unwrap();
    eventually("the datagram to be counted", async || {
        metric(&certificate, &server, "barrage_webtransport_datagrams_ignored_total ").filter(|n| *n == 1)
    })
    .await;
    let streams = metric(&certificate, &server, r#"barrage_webtransport_batches_total{way="stream"} "#);
    assert_eq!(streams, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_length_or_message_ends_the_session_with_its_code() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut long = Session::open(&server, &certificate, "user_id=ann").await;
    // The length alone: none of its bytes ever come.
    long.out.write_all(&varint(16 * 1024 + 1)).await.unwrap();
    assert_eq!(long.closed().await.0, 1009);
    let mut longest = Session::open(&server, &certificate, "user_id=ann").await;
    longest.out.write_all(&[0xff; 8]).await.unwrap();
    assert_eq!(longest.closed().await.0, 1009);

    let mut nonsense = Session::open(&server, &certificate, "user_id=ann").await;
    for _ in 0..20 {
        nonsense.send_bytes(b"{").await;
    }
    assert_eq!(nonsense.closed().await.0, 4010);
    let mut empty = Session::open(&server, &certificate, "user_id=ann").await;
    empty.out.write_all(&[0; 20]).await.unwrap();
    assert_eq!(empty.closed().await.0, 4010);
    let mut bytes = Session::open(&server, &certificate, "user_id=ann").await;
    bytes.send_bytes(&[0xff, 0xfe]).await;
    assert_eq!(bytes.closed().await.0, 1007);
    // A message that stays incomplete harms nobody, and neither do streams that nobody asked for.
    let mut slow = Session::open(&server, &certificate, "user_id=ann").await;
    slow.out.write_all(&[0x40]).await.unwrap();
    let mut ann = Session::open(&server, &certificate, "user_id=bob").await;
    let (_out, mut second) = ann.connection.open_bi().await.unwrap().await.unwrap();
    let _ = (second.read(&mut [0; 1]).await, ann.connection.open_uni().await.unwrap().await);
    ann.send(json!({ "type": "heartbeat", "ref": 1 })).await;
    ann.expect("an answer", |message| message["ref"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_as_upgrades_are() {
    let certificate = Certificate::new();
    let server =
        options(&certificate, "[auth]\nanonymous_read = true\norigins = [\"https://ours.example\"]\n").start().await;
    let outcome = async |query: &str, headers: &[(&str, &str)]| connect(&server, &certificate, query, headers).await;
    for (query, headers) in [
        ("protocol=bin", &[][..]),
        ("room_id=a/b", &[]),
        ("room_id=secret", &[]),
        ("room_id=lobby", &[("origin", "https://theirs.example")]),
    ] {
        if query == "room_id=secret" {
            let token = testkit::ADMIN_KEY;
            let body = r#"{"private":true}"#;
            let request = format!(
                "PUT /api/v1/admin/rooms/secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            tokio::task::block_in_place(|| {
                let socket = TcpStream::connect(server.address()).unwrap();
                let mut stream = certificate.trusted().connect(socket).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            });
        }
        let refused = outcome(query, headers).await;
        assert!(matches!(refused, Err(ConnectingError::SessionRejected)), "{query}: {:?}", refused.map(|_| ()));
    }
    let path = client(&certificate).connect(format!("https://{}/ws", server.address())).await;
    assert!(matches!(path, Err(ConnectingError::SessionRejected)), "{:?}", path.map(|_| ()));
    let ours = outcome("room_id=lobby", &[("origin", "https://ours.example")]).await.unwrap();
    Session::of(ours).await.wait_for("room_joined").await;
    // Somebody whose token says nothing is told so, and closed later.
    let bad = outcome("room_id=lobby&token=x.y.z", &[]).await.unwrap();
    assert_eq!(Session::of(bad).await.wait_for("error").await["code"], "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_says_why() {
    let certificate = Certificate::new();
    let mut server = started(&certificate, "").await;
    let mut replaced = Session::open(&server, &certificate, "user_id=ann&device_id=one").await;
    replaced.wait_for("connected").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann&device_id=one").await;
    ann.wait_for("connected").await;
    assert_eq!(replaced.closed().await.0, 4009);

    let ban = r#"{"user_id":"ann","duration_s":60,"reason":"enough","kind":"ban"}"#;
    https(&certificate, server.address(), "POST", "/api/v1/admin/bans", ban);
    let (code, reason) = ann.closed().await;
    let reason: Value = serde_json::from_str(&reason).unwrap();
    assert_eq!((code, &reason["reason"]), (4003, &json!("enough")));
    // Who is banned already learns it from the session, too: a browser reads no status.
    let banned = connect(&server, &certificate, "user_id=ann", &[]).await.unwrap();
    assert_eq!(closed(&banned).await.0, 4003);

    let mut sessions = Vec::new();
    for n in 0..6 {
        let mut session = Session::open(&server, &certificate, &format!("user_id=v{n}&room_id=lobby")).await;
        session.wait_for("room_joined").await;
        sessions.push(session);
    }
    let ended = server.terminate().await;
    assert_eq!(ended.status.code(), Some(0), "{:?}", ended.status);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    let mut delays = Vec::new();
    for session in &sessions {
        let (code, reason) = session.closed().await;
        assert_eq!(code, 1012);
        delays.push(reason.parse::<u64>().unwrap());
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 1, "jittered: {delays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_for_new_sessions() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let server = started(&old, "").await;
    let mut ann = Session::open(&server, &old, "user_id=ann").await;
    ann.wait_for("connected").await;
    new.write(server.dir());
    let mut bob =
        eventually("the new certificate", async || connect(&server, &new, "user_id=bob", &[]).await.ok()).await;
    assert!(connect(&server, &old, "user_id=carl", &[]).await.is_err(), "the old one is still shown");
    let mut bob = Session::of(std::mem::replace(&mut bob, ann.connection.clone())).await;
    bob.wait_for("connected").await;
    ann.send(json!({ "type": "heartbeat", "ref": 1 })).await;
    ann.expect("the old session goes on", |message| message["ref"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_one_run_is_believed_by_its_hash() {
    let server = Options::new(BIN).dev().arg("--tls-self-signed").env("BARRAGE__SERVER__QUIC", "true").start().await;
    let hash = eventually("the hash", async || {
        server
            .log()
            .lines()
            .find_map(|line| Some(line.trim().strip_prefix("sha-256")?.split_whitespace().next()?.to_owned()))
    })
    .await;
    let digest: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).unwrap()).collect();
    let digest = Sha256Digest::new(digest.try_into().unwrap());
    let config = ClientConfig::builder().with_bind_default().with_server_certificate_hashes([digest]).build();
    let endpoint = Endpoint::client(config).unwrap();
    let connection = endpoint.connect(format!("https://{}/wt?user_id=ann", server.address())).await.unwrap();
    Session::of(connection).await.wait_for("connected").await;
}

/// Passes datagrams between one client and a server; from a new address of its own each time it is told to.
async fn relay(server: std::net::SocketAddr) -> (std::net::SocketAddr, mpsc::Sender<()>) {
    async fn towards(server: std::net::SocketAddr) -> tokio::net::UdpSocket {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        socket
    }
    let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let (change, mut changed) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut back, mut client) = (towards(server).await, None);
        let (mut out, mut into) = (vec![0; 2_048], vec![0; 2_048]);
        loop {
            tokio::select! {
                Ok((n, from)) = front.recv_from(&mut out) => {
                    client = Some(from);
                    let _ = back.send(&out[..n]).await;
                }
                Ok(n) = back.recv(&mut into) => {
                    if let Some(client) = client {
                        let _ = front.send_to(&into[..n], client).await;
                    }
                }
                Some(()) = changed.recv() => back = towards(server).await,
                else => return,
            }
        }
    });
    (address, change)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_address_changes_goes_on_without_a_new_join() {
    let certificate = Certificate::new();
    let server = started(&certificate, NO_LIMITS).await;
    let (address, change) = relay(server.address().parse().unwrap()).await;
    let connection = client(&certificate).connect(format!("https://{address}/wt?room_id=lobby&user_id=ann")).await;
    let mut ann = Session::of(connection.unwrap()).await;
    ann.wait_for("room_joined").await;
    let mut bob = Session::open(&server, &certificate, "room_id=lobby&user_id=bob").await;
    bob.wait_for("room_joined").await;
    for n in 0..3 {
        change.send(()).await.unwrap();
        // A word from the new address tells the server where its client is.
        ann.send(json!({ "type": "heartbeat", "ref": n })).await;
        ann.expect("an answer", |message| message["ref"] == n).await;
        let text = format!("after change {n}");
        bob.say("lobby", &text).await;
        ann.sees(&text).await;
    }
    assert!(!ann.unread.iter().any(|message| message["type"] == "room_joined"), "{:?}", ann.unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_closed_and_disturbs_nobody() {
    let certificate = Certificate::new();
    let server = started(&certificate, "[sockets]\nslow_patience_s = 1\n").await;
    let mut transport = wtransport::config::QuicTransportConfig::default();
    transport.stream_receive_window(2_048_u32.into());
    let config = ClientConfig::builder()
        .with_bind_default()
        .with_custom_tls_and_transport(certificate.trusted_over_quic(), transport)
        .build();
    let url = format!("https://{}/wt?room_id=lobby&user_id=stalled", server.address());
    let stalled = Session::of(Endpoint::client(config).unwrap().connect(url).await.unwrap()).await;
    let mut bob = Session::open(&server, &certificate, "room_id=lobby&user_id=bob&level=owner").await;
    bob.wait_for("room_joined").await;
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut ended = std::pin::pin!(stalled.closed());
    for n in 0.. {
        let content = format!("{n} {}", "long ".repeat(30));
        bob.send(json!({ "type": "comment", "room_id": "lobby", "content": content, "ref": n })).await;
        bob.expect("an answer", |message| message["ref"] == n).await;
        let over = timeout(Duration::from_millis(200), &mut ended).await;
        if let Ok((code, _)) = over {
            assert_eq!(code, 4008);
            break;
        }
        assert!(tokio::time::Instant::now() < until, "it is still there");
    }
}

/// What `serve` says on its standard error before it ends, and its exit code.
async fn fails(dir: &std::path::Path, listen: &str, env: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(BIN);
    command.args(["serve", "--dev", "--listen", listen, "--data"]).arg(dir).args(args).kill_on_drop(true);
    command.envs(env.iter().copied());
    let ran = timeout(PATIENCE, command.output()).await.expect("the start fails").unwrap();
    (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
}

#[tokio::test]
async fn a_start_that_cannot_serve_quic_fails_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let quic = ("BARRAGE__SERVER__QUIC", "true");
    let (code, said) = fails(dir.path(), "127.0.0.1:0", &[quic], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tls.certificate_file") && said.contains("--tls-self-signed"), "{said}");

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = ("BARRAGE__SERVER__QUIC_LISTEN", &*address);
    let (code, said) = fails(dir.path(), "127.0.0.1:0", &[quic, listen], &["--tls-self-signed"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("barrage: ")).count(), 1, "{said}");
    for named in ["UDP", &address, "server.quic_listen"] {
        assert!(said.contains(named), "{named}: {said}");
    }
}

#[tokio::test]
async fn without_the_setting_no_udp_socket_opens() {
    let server = Options::new(BIN).dev().start().await;
    UdpSocket::bind(server.address()).expect("the UDP port is free");
    assert!(!server.http().get("/api/v1/server").await.text.contains("webtransport"));
}

/// The first packets of so many clients, as they are on the wire. Each holds a whole greeting.
async fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let tap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to_tap = format!("https://{}/wt", tap.local_addr().unwrap());
    // The keys of post-quantum exchanges do not fit one packet.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(provider));
    let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let caller = Endpoint::client(ClientConfig::builder().with_bind_default().with_custom_tls(tls).build()).unwrap();
    let mut packets = std::collections::HashMap::new();
    while packets.len() < count {
        let mut calling = std::pin::pin!(caller.connect(&to_tap));
        let mut packet = vec![0; 2_048];
        let n = tokio::select! {
            n = timeout(PATIENCE, tap.recv(&mut packet)) => n.expect("a packet").unwrap(),
            _ = &mut calling => panic!("nobody answers"),
        };
        packet.truncate(n);
        // By connection id: a client that gives up says so with its own.
        let id = packet[6..6 + usize::from(packet[5])].to_vec();
        packets.entry(id).or_insert(packet);
    }
    packets.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mutated_packets_disturb_nobody() {
    let certificate = Certificate::new();
    let server = started(&certificate, "").await;
    let mut ann = Session::open(&server, &certificate, "user_id=ann").await;
    ann.wait_for("connected").await;
    let initial = first_packets(1).await.remove(0);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for n in 0..10_000 {
        let mut packet = initial.clone();
        for _ in 0..=next(8) {
            let at = if n % 2 == 0 { next(40) } else { next(packet.len()) };
            packet[at] = next(256) as u8;
        }
        packet.truncate(if n % 3 == 0 { 1 + next(initial.len()) } else { initial.len() });
        // A full buffer of the kernel drops it, as networks do.
        let _ = stranger.send_to(&packet, server.address());
    }
    ann.send(json!({ "type": "heartbeat", "ref": 1 })).await;
    ann.expect("an answer", |message| message["ref"] == 1).await;
    let mut bob = Session::open(&server, &certificate, "user_id=bob").await;
    bob.wait_for("connected").await;
}
