//! Transcripts over real sockets: handshakes, joining, batches, commands, closes.
#![allow(clippy::unwrap_used)]

use crate::common;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{Client, Server, dev, token, with_sockets, write};
use gateway::GatewaySettings;
use log::Record;
use model::{Audience, Event, EventBody, RankingEntry, RoomId, Snowflake, UserId};
use serde_json::json;
use settings::Sockets;
use tokio::io::AsyncReadExt as _;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameSocket};

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

#[test]
fn what_is_said_in_a_room_is_heard_in_it() {
    let server = Server::start(dev());
    let mut viewers: Vec<Client> = (0..4).map(|i| server.connect(&format!("room_id=r&user_id=v{i}"))).collect();
    for (i, viewer) in viewers.iter_mut().enumerate() {
        let connected = viewer.hear();
        assert_eq!((&connected["type"], &connected["user_id"]), (&json!("connected"), &json!(format!("v{i}"))));
        let joined = viewer.hear();
        assert_eq!((&joined["type"], &joined["room_id"]), (&json!("room_joined"), &json!("r")));
    }
    viewers[0].say(&json!({ "content": "你好", "ref": 7, "client_msg_id": "m1" }));
    let ack = viewers[0].hear_a("comment_ack");
    assert_eq!((&ack["ref"], &ack["status"], &ack["client_msg_id"]), (&json!(7), &json!("accepted"), &json!("m1")));
    for viewer in &mut viewers[1..] {
        let batch = viewer.hear_a("comments");
        assert_eq!(batch["comments"][0]["content"], "你好");
        assert_eq!(batch["comments"][0]["id"], ack["id"]);
    }
}

#[test]
fn one_socket_reads_many_rooms_and_leaves_them() {
    let mut server = Server::start(dev());
    let mut viewer = server.connect("user_id=v");
    viewer.join("a");
    viewer.join("b");
    viewer.say(&json!({ "type": "leave_room", "room_id": "a" }));
    viewer.hear_a("room_left");
    let (left, right) = (server.comment("a", "x", "to a"), server.comment("b", "x", "to b"));
    server.publish("a", [left]);
    server.publish("b", [right]);
    assert_eq!(viewer.hear_a("comments")["comments"][0]["content"], "to b");
    drop(viewer);
    let hub = server.hub.clone();
    common::wait_until(|| hub.viewers(&RoomId::new("b").unwrap()) == 0);
}

#[test]
fn joining_again_replaces_the_wishes() {
    let mut server = Server::start(dev());
    let mut viewer = server.connect("room_id=r&user_id=v");
    viewer.hear_a("room_joined");
    viewer.say(&json!({ "type": "join_room", "room_id": "r", "only_user_ids": ["star"] }));
    viewer.hear_a("room_joined");
    assert_eq!(server.hub.viewers(&RoomId::new("r").unwrap()), 1);
    let comments = [server.comment("r", "crowd", "noise"), server.comment("r", "star", "light")];
    server.publish("r", comments);
    assert_eq!(viewer.hear_a("comments")["comments"][0]["content"], "light");
}

#[test]
fn a_viewer_gets_their_own_comment_whatever_the_filter() {
    let mut server = Server::start(dev());
    let mut author = server.connect("room_id=r&user_id=me&max_per_s=5");
    let mut other = server.connect("room_id=r&user_id=you&max_per_s=5");
    author.hear_a("room_joined");
    other.hear_a("room_joined");
    let mut comments: Vec<_> =
        (0..200).map(|i| server.comment("r", &format!("u{i}"), &format!("word{i} {}", i * 77))).collect();
    comments.push(server.comment("r", "me", "mine alone"));
    server.publish("r", comments);
    let (mut given, mut omitted, mut mine) = (0, 0, false);
    while given + omitted < 201 {
        let batch = author.hear_a("comments");
        let list = batch["comments"].as_array().unwrap();
        mine |= list.iter().any(|comment| comment["user_id"] == "me");
        given += list.len() as u64;
        omitted += batch["omitted"].as_u64().unwrap_or(0);
    }
    assert!(mine);
    assert_eq!(given + omitted, 201);
    let (mut given, mut omitted) = (0, 0);
    while given + omitted < 201 {
        let batch = other.hear_a("comments");
        given += batch["comments"].as_array().unwrap().len() as u64;
        omitted += batch["omitted"].as_u64().unwrap_or(0);
    }
    assert_eq!(given + omitted, 201);
}

#[test]
fn the_same_device_replaces_its_old_socket_whatever_the_shard() {
    let server = Server::start(dev());
    for _ in 0..6 {
        let mut old = server.connect("user_id=v&device_id=tv");
        old.hear_a("connected");
        let mut other = server.connect("user_id=v");
        other.hear_a("connected");
        let mut new = server.connect("user_id=v&device_id=tv");
        assert_eq!(new.hear_a("connected")["device_id"], "tv");
        assert_eq!(old.hear_close().0, 4009);
        for client in [&mut new, &mut other] {
            client.say(&json!({ "type": "heartbeat" }));
            client.hear_a("heartbeat_ack");
        }
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte_with_frames_behind_it() {
    let server = Server::start(dev());
    let mut stream = server.stream();
    let head = format!(
        "GET /ws?room_id=r&user_id=v HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    let mut bytes = head.into_bytes();
    protocol::ws::encode_client_frame(protocol::ws::Opcode::Text, br#"{"type":"heartbeat"}"#, [1, 2, 3, 4], &mut bytes);
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        write(&mut stream, &[byte]);
    }
    let mut got = String::new();
    let mut buffer = [0; 4096];
    while !got.contains("heartbeat_ack") {
        let n = std::io::Read::read(&mut stream, &mut buffer).unwrap();
        assert!(n > 0, "hung up after {got:?}");
        got.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    let places: Vec<_> = ["101 Switching", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "\"connected\"", "\"room_joined\""]
        .iter()
        .map(|text| got.find(text).unwrap_or_else(|| panic!("no {text} in {got}")))
        .collect();
    assert!(places.is_sorted(), "{got}");
}

#[test]
fn what_is_not_for_ws_goes_to_http_untouched() {
    let mut server = Server::start(dev());
    let mut client = server.stream();
    write(&mut client, b"GET /api");
    let connection = server.http.blocking_recv().unwrap();
    server.block_on(async {
        let (mut stream, peer, _place) = connection.open(Duration::from_secs(10)).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        let mut got = [0; 8];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"GET /api");
    });
}

#[test]
fn bad_requests_are_refused_before_the_upgrade() {
    let server = Server::start(dev());
    let patch = model::room::RoomPatch { private: Some(true), ..Default::default() };
    let secret = RoomId::new("secret").unwrap();
    assert!(server.block_on(server.ingest.rooms.configure(&secret, patch)).is_ok());
    for (target, headers, status, code) in [
        ("/ws?room_id=a/b", "", "400", "invalid_request"),
        ("/ws", "Origin: https://evil.example\r\n", "403", "forbidden"),
        ("/ws", "Sec-WebSocket-Protocol: soap\r\n", "400", "invalid_request"),
        ("/ws?room_id=secret&user_id=v", "", "403", "forbidden"),
        ("/ws?user_id=v&since_id=x&room_id=r", "", "400", "invalid_request"),
    ] {
        let answer = server.refused(target, headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        assert!(answer.contains(code), "{target}: {answer}");
    }
    let huge = server.refused("/ws", &format!("X: {}\r\n", "x".repeat(9_000)));
    assert!(huge.starts_with("HTTP/1.1 431 "), "{huge}");
}

#[test]
fn without_identity_one_may_only_log_in() {
    let server = Server::start(GatewaySettings { dev: false, ..dev() });
    for query in ["room_id=r", "token=forged"] {
        let mut client = server.connect(query);
        assert_eq!(client.hear()["code"], "unauthorized");
        client.say(&json!({ "type": "join_room", "room_id": "r", "ref": "j" }));
        let error = client.hear();
        assert_eq!((&error["code"], &error["ref"]), (&json!("unauthorized"), &json!("j")));
        let exp = 4_000_000_000_i64;
        client.say(&json!({ "type": "login", "token": token(json!({ "sub": "u", "name": "U", "exp": exp })) }));
        assert_eq!(client.hear_a("connected")["user_id"], "u");
        client.join("r");
        client.say(&json!({ "type": "logout" }));
        client.hear_a("logged_out");
        client.say(&json!({ "type": "comment", "room_id": "r", "content": "x" }));
        assert_eq!(client.hear_a("error")["code"], "unauthorized");
    }
}

#[test]
fn anonymous_readers_read_silently_and_write_nothing() {
    let mut server = Server::start_with(GatewaySettings { dev: false, ..dev() }, None, true);
    let mut reader = server.connect("room_id=r");
    assert_eq!(reader.hear()["type"], "room_joined");
    reader.say(&json!({ "content": "x" }));
    assert_eq!(reader.hear()["code"], "unauthorized");
    let comment = server.comment("r", "x", "hello");
    server.publish("r", [comment]);
    assert_eq!(reader.hear()["comments"][0]["content"], "hello");
}

#[test]
fn ten_seconds_without_identity_and_an_expired_token_close_with_4001() {
    let server = Server::start(GatewaySettings { dev: false, ..dev() });
    let mut nobody = server.connect("");
    let now_s = model::Clock::now_ms(&model::SystemClock) / 1_000;
    let short = token(json!({ "sub": "u", "name": "U", "exp": now_s + 2 }));
    let mut short_lived = server.connect(&format!("token={short}"));
    short_lived.hear_a("connected");
    assert_eq!(short_lived.hear_close().0, 4001);
    assert_eq!(nobody.hear_close().0, 4001);
}

#[test]
fn half_open_sockets_are_found() {
    let server = Server::start(with_sockets(Sockets { heartbeat_s: 1, ..dev().sockets }));
    let mut alive = server.connect("user_id=alive");
    let silent = server.connect("user_id=silent");
    server.wait_for_connections(2);
    let started = std::time::Instant::now();
    while server.metrics.connections.get() == 2 {
        alive.say(&json!({ "type": "heartbeat" }));
        alive.hear_a("heartbeat_ack");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    drop(silent);
    alive.say(&json!({ "type": "heartbeat" }));
    alive.hear_a("heartbeat_ack");
}

#[test]
fn ten_thousand_tiny_frames_are_all_answered() {
    let server = Server::start(dev());
    let mut client = server.connect("user_id=v");
    client.hear_a("connected");
    let mut stream = client.socket.get_ref().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            protocol::ws::encode_client_frame(
                protocol::ws::Opcode::Text,
                br#"{"type":"heartbeat"}"#,
                [1, 2, 3, 4],
                &mut bytes,
            );
        }
        write(&mut stream, &bytes);
    });
    for _ in 0..10_000 {
        assert_eq!(client.hear()["type"], "heartbeat_ack");
    }
    writer.join().unwrap();
}

#[test]
fn answers_nobody_reads_hold_the_flood_back() {
    let server = Server::start(dev());
    let mut client = server.connect("user_id=v");
    client.hear_a("connected");
    let mut stream = client.socket.get_ref().try_clone().unwrap();
    const N: usize = 300_000; // Tens of megabytes of answers: more than any kernel buffers.
    let writer = std::thread::spawn(move || {
        let mut frame = Vec::new();
        protocol::ws::encode_client_frame(
            protocol::ws::Opcode::Text,
            br#"{"type":"heartbeat"}"#,
            [1, 2, 3, 4],
            &mut frame,
        );
        let many = frame.repeat(1_000);
        (0..N / 1_000).for_each(|_| write(&mut stream, &many));
    });
    let mut other = server.connect("user_id=w");
    other.hear_a("connected");
    other.say(&json!({ "type": "heartbeat" }));
    other.hear_a("heartbeat_ack");
    for _ in 0..N {
        assert_eq!(client.hear()["type"], "heartbeat_ack");
    }
    writer.join().unwrap();
}

#[test]
fn fragments_make_one_message_and_pings_are_answered_between_them() {
    let server = Server::start(dev());
    let client = server.connect("user_id=v");
    let mut raw = FrameSocket::new(client.socket.get_ref().try_clone().unwrap());
    let mut send = |mut frame: Frame| {
        frame.header_mut().mask = Some([5, 6, 7, 8]);
        raw.send(frame).unwrap();
    };
    send(Frame::message(br#"{"type":"#.to_vec(), OpCode::Data(Data::Text), false));
    send(Frame::ping(b"hi".to_vec()));
    send(Frame::message(br#""heart"#.to_vec(), OpCode::Data(Data::Continue), false));
    send(Frame::message(br#"beat"}"#.to_vec(), OpCode::Data(Data::Continue), true));
    let mut client = client;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        match client.socket.read().unwrap() {
            Message::Pong(payload) => heard.push(String::from_utf8_lossy(&payload).into_owned()),
            Message::Text(text) => heard
                .push(serde_json::from_str::<serde_json::Value>(&text).unwrap()["type"].as_str().unwrap().to_owned()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, ["connected", "hi", "heartbeat_ack"]);
}

#[test]
fn hostile_input_is_answered_and_in_the_end_closed() {
    let server = Server::start(dev());
    let mut client = server.connect("user_id=v");
    client.hear_a("connected");
    for bad in ["{", "[]", r#"{"type":"join_room"}"#, r#"{"type":5}"#] {
        client.socket.send(Message::text(bad)).unwrap();
        assert_eq!(client.hear()["code"], "invalid_request", "{bad}");
    }
    client.say(&json!({ "type": "from_the_future" }));
    for _ in 0..16 {
        client.socket.send(Message::binary(vec![1, 2])).unwrap();
    }
    assert_eq!(client.hear_close().0, 4010);

    let mut big = server.connect("user_id=w");
    big.socket.send(Message::text("x".repeat(20_000))).unwrap();
    assert_eq!(big.hear_close().0, 1009);
}

#[test]
fn the_binary_protocol_speaks_both_ways() {
    use protocol::binary::{self, Frame, Kind};
    let server = Server::start(dev());
    let mut bin = server.connect_as("room_id=r&user_id=123456", "barrage.v1.bin");
    let mut json_viewer = server.connect("room_id=r&user_id=v");
    bin.hear_a("room_joined");
    json_viewer.hear_a("room_joined");
    let frame = |kind, user_id, content| {
        let mut out = Vec::new();
        binary::encode(&Frame { kind, timestamp_ms: 1, user_id, room: None, content }, &mut out).unwrap();
        out
    };
    let message = [frame(Kind::Comment, 123456, "Hello"), frame(Kind::Heartbeat, 123456, "")].concat();
    bin.socket.send(Message::binary(message)).unwrap();
    let (mut beat, mut said, mut acked) = (false, false, false);
    while !(beat && said && acked) {
        match bin.socket.read().unwrap() {
            Message::Binary(bytes) => {
                for frame in binary::frames(&bytes) {
                    let frame = frame.unwrap();
                    beat |= frame.kind == Kind::Heartbeat;
                    said |= frame.kind == Kind::Comment && frame.content == "Hello" && frame.user_id == 123456;
                }
            }
            Message::Text(text) => acked |= text.contains("comment_ack"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(json_viewer.hear_a("comments")["comments"][0]["content"], "Hello");
    bin.socket.send(Message::binary(frame(Kind::Comment, 9, "forged"))).unwrap();
    assert_eq!(bin.hear_a("error")["code"], "forbidden");
    let mut wrong = frame(Kind::Comment, 123456, "x");
    wrong[2] = 3;
    bin.socket.send(Message::binary(wrong)).unwrap();
    let error = bin.hear_a("error");
    assert!(error["message"].as_str().unwrap().contains("spoken: 1, 2"), "{error}");
}

fn announcement(server: &Server, critical_for: Audience) -> Event {
    Event {
        id: server.ids.next().expect("a number"),
        room_id: RoomId::new("r").unwrap(),
        audience: Audience::Everyone,
        critical_for,
        at_ms: 0,
        body: EventBody::Announcement { content: "attention".into() },
    }
}

#[test]
fn a_critical_event_is_repeated_until_acknowledged() {
    let mut server = Server::start(dev());
    let mut deaf = server.connect("room_id=r&user_id=deaf");
    let mut good = server.connect("room_id=r&user_id=good");
    deaf.hear_a("room_joined");
    good.hear_a("room_joined");
    let event = announcement(&server, Audience::Everyone);
    server.event(event);
    let first = good.hear_a("event");
    assert_eq!(first["critical"], true);
    good.say(&json!({ "type": "ack", "event_id": first["event_id"] }));
    assert_eq!(deaf.hear_a("event")["event_id"], first["event_id"]);
    let again = deaf.hear_a("event");
    assert_eq!(again["event_id"], first["event_id"]);
    good.say(&json!({ "type": "heartbeat" }));
    assert_eq!(good.hear()["type"], "heartbeat_ack");
    assert_eq!(server.metrics.events_repeated.get(), 1);
}

#[test]
fn an_event_is_critical_only_for_whom_it_names() {
    let mut server = Server::start(dev());
    let mut star = server.connect("room_id=r&user_id=star");
    let mut fan = server.connect("room_id=r&user_id=fan");
    let mut away = server.connect("user_id=star");
    away.hear_a("connected");
    star.hear_a("room_joined");
    fan.hear_a("room_joined");
    let event = announcement(&server, Audience::Users(vec![user("star")]));
    server.event(event);
    assert_eq!(star.hear_a("event")["critical"], true);
    assert_eq!(away.hear_a("event")["critical"], true);
    assert!(fan.hear_a("event")["critical"].is_null());
}

#[test]
fn bans_remove_from_a_room_or_close() {
    let mut server = Server::start(dev());
    let mut bad = server.connect("room_id=r&user_id=bad");
    bad.hear_a("room_joined");
    let ban =
        |room_id| Record::Banned { user_id: user("bad"), room_id, until_ms: i64::MAX, reason: Some("spam".into()) };
    server.record("r", ban(Some(RoomId::new("r").unwrap())));
    let error = bad.hear_a("error");
    assert_eq!(error["code"], "banned");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(bad.hear_a("room_left")["room_id"], "r");
    server.record("r", ban(None));
    let (code, reason) = bad.hear_close();
    assert_eq!(code, 4003);
    assert!(reason.contains("spam"), "{reason}");
}

#[test]
fn a_drain_tells_everybody_when_to_come_back() {
    let mut server = Server::start(dev());
    let clients: Vec<_> = (0..8).map(|i| server.connect(&format!("room_id=r&user_id=v{i}"))).collect();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let close = client.hear_close();
                // A client hangs up once it has read the close.
                while client.socket.read().is_ok() {}
                close
            })
        })
        .collect();
    let started = std::time::Instant::now();
    server.drain(Duration::from_secs(10));
    assert!(started.elapsed() < Duration::from_secs(8));
    for reader in readers {
        let (code, reason) = reader.join().unwrap();
        assert_eq!(code, 1012);
        assert!((1_000..=5_000).contains(&reason.parse::<u32>().unwrap()), "{reason}");
    }
    assert_eq!(server.metrics.connections.get(), 0);
}

/// A ranking with one entry.
fn ranking(server: &Server, score: u64) -> Event {
    let entry = RankingEntry { rank: 1, user_id: user("u"), username: "u".into(), score };
    let body = EventBody::Ranking { entries: [entry].into() };
    let (id, at_ms, room_id) = (server.ids.next().expect("a number"), 0, RoomId::new("r").unwrap());
    Event { id, room_id, audience: Audience::Everyone, critical_for: Audience::Nobody, at_ms, body }
}

#[test]
fn a_picture_of_the_ranking_waits_for_company_and_only_the_last_is_shown() {
    let mut server = Server::start(dev());
    let mut viewer = server.connect("room_id=r&user_id=v");
    viewer.hear_a("room_joined");
    for score in 1..=3 {
        server.event(ranking(&server, score));
    }
    server.publish("r", [server.comment("r", "x", "company")]);
    let event = viewer.hear();
    assert_eq!((&event["kind"], &event["entries"][0]["score"]), (&json!("ranking"), &json!(3)));
    assert_eq!(viewer.hear()["comments"][0]["content"], "company");
    // Without company it goes all the same.
    server.event(ranking(&server, 4));
    assert_eq!(viewer.hear()["entries"][0]["score"], 4);
}

#[test]
fn a_slow_reader_skips_and_is_told_and_the_others_never_notice() {
    let settings = with_sockets(Sockets { backlog_bytes_max: 64 * 1024, slow_patience_s: 60, ..dev().sockets });
    let mut server = Server::start(settings);
    let mut slow = server.connect("room_id=r&user_id=slow");
    let mut quick = server.connect("room_id=r&user_id=quick");
    slow.hear_a("room_joined");
    quick.hear_a("room_joined");
    let heard = Arc::new(AtomicU64::new(0));
    let heard_too = heard.clone();
    let quick = std::thread::spawn(move || {
        let (mut given, mut last) = (0_u64, Snowflake(0));
        while given < 60_000 {
            for comment in quick.hear_a("comments")["comments"].as_array().unwrap() {
                let id = common::id(&comment["id"]);
                assert!(id > last, "out of order");
                (given, last) = (given + comment["count"].as_u64().unwrap_or(1), id);
            }
            heard_too.store(given, Ordering::SeqCst);
        }
    });
    // More than the kernel buffers for a socket nobody reads, in chunks that each fill a window.
    for round in 0..600 {
        let comments: Vec<_> = (0..100).map(|i| server.comment("r", "x", &varied(round * 100 + i))).collect();
        server.publish("r", comments);
        // However busy the machine, the quick one is never behind by its budget.
        common::wait_until(|| heard.load(Ordering::SeqCst) + 100 >= round * 100);
    }
    quick.join().unwrap();
    let (mut given, mut omitted) = (0, 0);
    while given + omitted < 60_000 {
        let batch = slow.hear_a("comments");
        given += batch["comments"].as_array().unwrap().iter().map(|c| c["count"].as_u64().unwrap_or(1)).sum::<u64>();
        omitted += batch["omitted"].as_u64().unwrap_or(0);
    }
    assert_eq!(given + omitted, 60_000);
    assert!(omitted > 0, "nothing was skipped: the test sends too little");
}

/// Texts that share nothing, so that none are merged.
fn varied(i: u64) -> String {
    (0..12)
        .map(|k| {
            char::from_u32(0x4E00 + (i.wrapping_mul(2_654_435_761).wrapping_add(k * 7_919) % 20_000) as u32)
                .unwrap_or('x')
        })
        .collect()
}

#[test]
fn a_reader_that_takes_nothing_is_closed_with_4008() {
    let settings = with_sockets(Sockets { backlog_bytes_max: 64 * 1024, slow_patience_s: 2, ..dev().sockets });
    let mut server = Server::start(settings);
    let mut slow = server.connect("room_id=r&user_id=slow");
    slow.hear_a("room_joined");
    server.wait_for_connections(1);
    let started = std::time::Instant::now();
    let mut i = 0;
    while server.metrics.connections.get() == 1 {
        let frames = server.metrics.frames_out.get();
        let comments: Vec<_> = (0..100).map(|k| server.comment("r", "x", &varied(i + k))).collect();
        i += 100;
        server.publish("r", comments);
        assert!(started.elapsed() < Duration::from_secs(30));
        common::wait_until(|| server.metrics.frames_out.get() > frames || server.metrics.connections.get() == 0);
    }
    assert_eq!(slow.hear_close().0, 4008);
}
