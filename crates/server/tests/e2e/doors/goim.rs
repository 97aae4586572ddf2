//! goim's packets over TCP and WebSocket.

use serde_json::{Value, json};
use testkit::{Options, PATIENCE, Server, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{Socket, port_of, token_of, with_doors};
use crate::{BIN, NO_LIMITS};

const HEARTBEAT: u32 = 2;
const HEARTBEAT_REPLY: u32 = 3;
const MESSAGE: u32 = 5;
pub const AUTH: u32 = 7;
pub const AUTH_REPLY: u32 = 8;

/// A packet of a server.
#[derive(Debug)]
pub struct Packet {
    pub version: u16,
    pub operation: u32,
    pub body: Vec<u8>,
}

/// A packet of a client.
pub fn packet(operation: u32, body: &str) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let head = [&length.to_be_bytes()[..], &[0, 16, 0, 1], &operation.to_be_bytes(), &[0, 0, 0, 1]].concat();
    [head, body.as_bytes().to_vec()].concat()
}

/// The packets of some bytes, those of compressed ones included.
pub fn packets(mut bytes: &[u8]) -> Vec<Packet> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let version = u16::from_be_bytes(bytes[6..8].try_into().unwrap());
        let operation = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
        let body = &bytes[16..length];
        found.push(Packet { version, operation, body: body.to_vec() });
        bytes = &bytes[length..];
    }
    found
}

pub struct Client(TcpStream);

impl Client {
    pub async fn connect(port: u16) -> Self {
        Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    pub async fn send(&mut self, operation: u32, body: &str) {
        self.0.write_all(&packet(operation, body)).await.unwrap();
    }

    /// The next packet; `None` at the end.
    pub async fn next(&mut self) -> Option<Packet> {
        let mut head = [0; 16];
        timeout(PATIENCE, self.0.read_exact(&mut head)).await.expect("a packet").ok()?;
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let mut bytes = head.to_vec();
        bytes.resize(length, 0);
        timeout(PATIENCE, self.0.read_exact(&mut bytes[16..])).await.expect("a body").ok()?;
        packets(&bytes).pop()
    }
}

async fn server(more: &str) -> (Server, u16) {
    let server = with_doors(&format!("[doors.goim]\nlisten = \"127.0.0.1:0\"\n{more}")).await;
    let port = port_of(&server, "goim").await;
    (server, port)
}

#[tokio::test]
async fn a_client_hears_comments_and_the_number_of_viewers() {
    let (server, port) = server("").await;
    let mut client = Client::connect(port).await;
    client
        .send(AUTH, &json!({ "uid": 0, "roomid": 4711, "protover": 0, "platform": "web", "type": 2 }).to_string())
        .await;
    let reply = client.next().await.unwrap();
    assert_eq!((reply.operation, reply.version, reply.body.as_slice()), (AUTH_REPLY, 1, br#"{"code":0}"#.as_slice()));
    client.send(HEARTBEAT, "").await;
    let reply = client.next().await.unwrap();
    assert_eq!((reply.operation, reply.body.as_slice()), (HEARTBEAT_REPLY, [0, 0, 0, 1].as_slice()));
    server.user("12345").say("4711", "弹幕 <b>\"'").await;
    let message = client.next().await.unwrap();
    assert_eq!((message.operation, message.version), (MESSAGE, 0));
    let message: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!((&message["cmd"], &message["info"][1]), (&json!("DANMU_MSG"), &json!("弹幕 <b>\"'")));
    assert_eq!(message["info"][2][0], 12345);
    assert!((server.http().metric("barrage_connections{door=\"goim\"}").await - 1.0).abs() < f64::EPSILON);
    let room = server.http().get("rooms/4711").await.expect(200);
    assert_eq!(room["viewers"], 1, "a door's viewer is a viewer");
}

#[tokio::test]
async fn bodies_are_compressed_as_asked() {
    let (server, _) = server("").await;
    for (protover, version) in [(1, 0), (2, 2), (3, 3)] {
        let mut socket = Socket::open(&server, "/sub", &[]).await.expect("an upgrade");
        let auth = json!({ "roomid": "lobby", "protover": protover }).to_string();
        // Both in one message, as some clients send them.
        socket.send(Message::binary([packet(AUTH, &auth), packet(HEARTBEAT, "")].concat())).await;
        assert_eq!(packets(&socket.next().await.into_data())[0].operation, AUTH_REPLY);
        assert_eq!(packets(&socket.next().await.into_data())[0].operation, HEARTBEAT_REPLY);
        server.user("ann").say("lobby", &format!("version {protover}")).await;
        let found = packets(&socket.next().await.into_data());
        assert_eq!((found[0].operation, found[0].version), (MESSAGE, version), "{found:?}");
    }
}

#[tokio::test]
async fn who_may_not_read_is_refused_and_who_is_banned_is_closed() {
    let (server, port) = server("").await;
    server.admin().put("admin/rooms/secret", json!({ "private": true })).await.is(200);
    for auth in [
        json!({ "roomid": "secret" }),
        json!({ "roomid": "lobby", "key": "no.valid.token" }),
        json!({ "roomid": "a b" }),
        json!({}),
        json!("text"),
    ] {
        let mut client = Client::connect(port).await;
        client.send(AUTH, &auth.to_string()).await;
        let reply = client.next().await.unwrap();
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.operation, &body["code"]), (AUTH_REPLY, &json!(-101)), "{auth}");
        assert!(client.next().await.is_none(), "{auth}");
    }
    let mut client = Client::connect(port).await;
    let token = token_of("ann", "normal", Some(&["secret"]));
    client.send(AUTH, &json!({ "uid": 1, "roomid": "secret", "key": token }).to_string()).await;
    assert_eq!(client.next().await.unwrap().body, br#"{"code":0}"#);
    let ban = json!({ "user_id": "ann", "room_id": "secret", "duration_s": 60, "kind": "ban" });
    server.admin().post("admin/bans", ban).await.is(201);
    assert_eq!(client.next().await.unwrap().operation, AUTH_REPLY);
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn hostile_packets_end_their_connection_alone() {
    let (server, port) = server("[sockets]\nlogin_s = 2\n").await;
    let mut well = Client::connect(port).await;
    well.send(AUTH, r#"{"roomid":"lobby"}"#).await;
    well.next().await.unwrap();
    for bytes in [
        [0xff; 16].as_slice(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &packet(HEARTBEAT, ""),
        &[0, 0, 0, 3, 0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1],
        // Half a packet, and nothing more.
        &[0, 0, 1, 0, 0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1, b'{'],
    ] {
        let mut client = Client::connect(port).await;
        client.0.write_all(bytes).await.unwrap();
        assert!(client.next().await.is_none(), "{bytes:?}");
    }
    server.user("bob").say("lobby", "unharmed").await;
    assert_eq!(well.next().await.unwrap().operation, MESSAGE);
    drop(well);
    eventually("the connection to be uncounted", async || {
        (server.http().metric("barrage_connections{door=\"goim\"}").await < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_never_reads_is_closed_and_others_are_not_kept() {
    let config = format!(
        "[doors.goim]\nlisten = \"127.0.0.1:0\"\n[auth]\nanonymous_read = true\n\
         [sockets]\nbacklog_bytes_max = 16384\nslow_patience_s = 1\n{NO_LIMITS}"
    );
    let server = Options::new(BIN).config(&config).env("BARRAGE__LIMITS__COMMENT_CHARS_MAX", "2000").start().await;
    let port = port_of(&server, "goim").await;
    let (mut deaf, mut well) = (Client::connect(port).await, Client::connect(port).await);
    for client in [&mut deaf, &mut well] {
        client.send(AUTH, r#"{"roomid":"lobby"}"#).await;
        assert_eq!(client.next().await.unwrap().operation, AUTH_REPLY);
    }
    let (long, speaker, mut n) = ("长".repeat(1_900), server.user("bob"), 0);
    eventually("the deaf one to be closed", async || {
        for _ in 0..50 {
            n += 1;
            speaker.say("lobby", &format!("{n} {long}")).await;
            assert_eq!(well.next().await.unwrap().operation, MESSAGE);
        }
        (server.http().metric("barrage_connections{door=\"goim\"}").await < 1.5).then_some(())
    })
    .await;
    drop(deaf);
}

#[tokio::test]
async fn a_token_is_needed_where_nobody_reads_without_one() {
    let server = Options::new(BIN).config("[doors.goim]\nlisten = \"\"\n").start().await;
    let mut socket = Socket::open(&server, "/sub", &[]).await.expect("an upgrade");
    socket.send(Message::binary(packet(AUTH, r#"{"uid":5,"roomid":"lobby"}"#))).await;
    assert_eq!(packets(&socket.next().await.into_data())[0].operation, AUTH_REPLY);
    assert_eq!(socket.closed().await.0, 4001);
}
