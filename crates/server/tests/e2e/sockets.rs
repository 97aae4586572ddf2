//! The socket itself: rooms, devices, identities, references, the binary sub-protocol, and bad manners.

use serde_json::{Value, json};
use testkit::{Server, Viewer, now_s, token};

use crate::{configured, fast_server, server};

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "exp": now_s() + 60 }))
}

#[tokio::test]
async fn one_socket_reads_many_rooms() {
    let server = fast_server().await;
    let mut bob = server.connect(&format!("token={}", token_of("bob"))).await;
    bob.wait_for("connected").await;
    for room in ["a", "b", "c"] {
        bob.join(room, json!({})).await;
        server.user("alice").say(room, &format!("in {room}")).await;
        assert_eq!(bob.sees(&format!("in {room}")).await["room_id"], room);
    }
    let left = bob.ask(json!({ "type": "leave_room", "room_id": "b" })).await;
    assert_eq!((&left["type"], &left["room_id"]), (&json!("room_left"), &json!("b")));
    server.user("alice").say("b", "unheard").await;
    server.user("alice").say("c", "heard").await;
    bob.sees("heard").await;
    assert!(!bob.contents().contains(&"unheard"));
    bob.refused(json!({ "type": "comment", "content": "to which room?" }), "invalid_request").await;
    let ack = bob.ask(json!({ "type": "comment", "room_id": "a", "content": "to this one" })).await;
    assert_eq!(ack["status"], "accepted");
}

#[tokio::test]
async fn a_socket_reads_so_many_rooms_and_no_more() {
    let server = configured("[sockets]\nrooms_per_socket_max = 2\n").await;
    let mut bob = server.viewer("bob", "a").await;
    bob.join("b", json!({})).await;
    // No time helps, so it is no rate limit.
    let refused = bob.refused(json!({ "type": "join_room", "room_id": "c" }), "invalid_request").await;
    assert!(refused["retry_after_ms"].is_null(), "{refused}");
    bob.ask(json!({ "type": "leave_room", "room_id": "a" })).await;
    bob.join("c", json!({})).await;
}

#[tokio::test]
async fn a_device_that_connects_again_replaces_its_old_socket() {
    let server = fast_server().await;
    let on = |user: &str, device: &str| format!("room_id=lobby&device_id={device}&token={}", token_of(user));
    let mut old = server.connect(&on("alice", "tv")).await;
    let mut other_device = server.connect(&on("alice", "phone")).await;
    let mut other_user = server.connect(&on("bob", "tv")).await;
    let mut nameless = server.viewer("alice", "lobby").await;
    assert_eq!(old.wait_for("connected").await["device_id"], "tv");
    let mut new = server.connect(&on("alice", "tv")).await;
    assert_eq!(old.wait_close().await.0, 4009);
    server.user("carol").say("lobby", "who is there?").await;
    for viewer in [&mut new, &mut other_device, &mut other_user, &mut nameless] {
        viewer.sees("who is there?").await;
    }
    let mut by_login = server.connect(&format!("room_id=lobby&token={}", token_of("alice"))).await;
    by_login.ask(json!({ "type": "login", "token": token_of("alice"), "device_id": "tv" })).await;
    assert_eq!(new.wait_close().await.0, 4009);
}

#[tokio::test]
async fn logging_out_leaves_the_rooms_and_logging_in_changes_who_one_is() {
    let server = fast_server().await;
    let mut socket = server.viewer("alice", "lobby").await;
    let out = socket.ask(json!({ "type": "logout" })).await;
    assert_eq!(out["type"], "logged_out");
    socket.refused(json!({ "type": "comment", "room_id": "lobby", "content": "x" }), "unauthorized").await;
    let connected = socket.ask(json!({ "type": "login", "token": token_of("bob") })).await;
    assert_eq!((&connected["type"], &connected["user_id"]), (&json!("connected"), &json!("bob")));
    socket.join("lobby", json!({})).await;
    socket.ask(json!({ "type": "comment", "room_id": "lobby", "content": "as bob" })).await;
    assert_eq!(socket.sees("as bob").await["user_id"], "bob");

    let connected = socket.ask(json!({ "type": "login", "token": token_of("carol") })).await;
    assert_eq!(connected["user_id"], "carol");
    assert_eq!(socket.wait_for("room_left").await["room_id"], "lobby", "bob's rooms are not carol's");
    socket.refused(json!({ "type": "login", "token": "nonsense" }), "unauthorized").await;
}

#[tokio::test]
async fn a_reference_comes_back_whatever_it_is_and_whatever_the_answer() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    for reference in [json!(7), json!("x"), json!({ "a": [1, "二"] }), json!(1.5)] {
        alice.send(json!({ "type": "heartbeat", "ref": reference })).await;
        let answer = alice.wait_for("heartbeat_ack").await;
        assert_eq!(answer.get("ref"), Some(&reference));
        assert!(answer["server_time_ms"].as_i64().is_some(), "{answer}");
    }
    alice.send(json!({ "type": "comment", "room_id": "lobby", "content": "", "ref": "e" })).await;
    assert_eq!(alice.wait_for("error").await["ref"], "e");
    alice.send(json!({ "type": "heartbeat" })).await;
    assert!(alice.wait_for("heartbeat_ack").await.get("ref").is_none());
    alice.send(json!({ "type": "heartbeat", "ref": "r".repeat(200) })).await;
    assert_eq!(alice.wait_for("error").await["code"], "invalid_request");
}

#[tokio::test]
async fn unknown_types_and_fields_are_ignored() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    for n in 0..30 {
        alice.send(json!({ "type": format!("from_the_future_{n}"), "payload": { "deep": [n] } })).await;
    }
    assert_eq!(alice.settled().await, [] as [Value; 0]);
    let ack = alice.ask(json!({ "type": "comment", "room_id": "lobby", "content": "hi", "mood": "good" })).await;
    assert_eq!(ack["status"], "accepted");
}

#[tokio::test]
async fn what_does_not_parse_is_answered_and_the_twentieth_closes() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let bad = [
        "{",
        "[]",
        "7",
        "\"x\"",
        "{}",
        r#"{"type":5}"#,
        r#"{"type":"comment","content":5}"#,
        r#"{"type":"join_room"}"#,
    ];
    for text in bad {
        alice.send_text(text).await;
        assert_eq!(alice.wait_for("error").await["code"], "invalid_request", "{text}");
    }
    for _ in bad.len()..20 {
        alice.send_text("nonsense").await;
    }
    assert_eq!(alice.wait_close().await.0, 4010);
}

#[tokio::test]
async fn a_message_too_big_closes_with_1009() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice
        .refused(json!({ "type": "comment", "room_id": "lobby", "content": "x".repeat(15_000) }), "content_too_long")
        .await;
    alice.send_text(&"x".repeat(16 * 1024 + 1)).await;
    assert_eq!(alice.wait_close().await.0, 1009);
}

#[tokio::test]
async fn a_socket_that_shows_no_sign_of_life_is_closed_and_any_frame_is_one() {
    let server = configured("[sockets]\nheartbeat_s = 5\n").await;
    let mut silent = server.viewer("silent", "lobby").await;
    let mut alive = server.viewer("alive", "lobby").await;
    let begun = std::time::Instant::now();
    let closed = async { silent.wait_close_within(std::time::Duration::from_secs(20)).await };
    let beating = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(4)).await;
            alive.send(json!({ "type": "of no meaning" })).await;
        }
    };
    let (code, _) = tokio::select! { closed = closed => closed, () = beating => unreachable!() };
    assert_eq!(code, 1001);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(9), "{:?}", begun.elapsed());
    alive.settled().await;
}

#[tokio::test]
async fn the_first_sub_protocol_that_is_spoken_is_chosen() {
    let server = server().await;
    let query = format!("room_id=lobby&token={}", token_of("alice"));
    let open =
        async |protocols: &str| Viewer::open(server.address(), &query, &[("sec-websocket-protocol", protocols)]).await;
    for (offered, chosen) in [
        ("barrage.v1.json", "barrage.v1.json"),
        ("barrage.v1.bin", "barrage.v1.bin"),
        ("barrage.v9.json, barrage.v1.bin, barrage.v1.json", "barrage.v1.bin"),
    ] {
        assert_eq!(open(offered).await.unwrap().protocol.as_deref(), Some(chosen), "{offered}");
    }
    let refused = open("something.else").await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (400, "invalid_request"));
    assert_eq!(server.viewer("bob", "lobby").await.protocol, None, "none offered, none named");
}

#[tokio::test]
async fn a_query_that_does_not_parse_is_refused_before_the_upgrade() {
    let server = server().await;
    for query in ["room_id=a%20b", "room_id=lobby&max_per_s=many", "room_id=lobby&since_id=x", "device_id=a/b"] {
        let query = format!("{query}&token={}", token_of("alice"));
        let refused =
            Viewer::open(server.address(), &query, &[]).await.err().unwrap_or_else(|| panic!("{query} was taken"));
        assert_eq!((refused.status, &*refused.code), (400, "invalid_request"), "{query}");
    }
    server.http().get("/ws").await.fails(426, "invalid_request");
}

// The fixed binary header.

async fn binary(server: &Server, user: &str) -> Viewer {
    let query = format!("room_id=lobby&history=0&token={}", token_of(user));
    let mut viewer =
        Viewer::open(server.address(), &query, &[("sec-websocket-protocol", "barrage.v1.bin")]).await.unwrap();
    viewer.wait_for("connected").await;
    viewer.wait_for("room_joined").await;
    viewer
}

fn frame(kind: u8, ms: u64, user: u64, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&[0xAB, 0xCD, 1, kind], &ms.to_be_bytes()[..], &user.to_be_bytes(), &length.to_be_bytes(), content].concat()
}

/// Type, timestamp, user and content of each frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u64, u64, String)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<22>() {
        assert_eq!(header[..3], [0xAB, 0xCD, 1]);
        let number = |from: usize| u64::from_be_bytes(header[from..from + 8].try_into().unwrap());
        let length = usize::from(u16::from_be_bytes([header[20], header[21]]));
        let (content, after) = rest.split_at(length);
        frames.push((header[3], number(4), number(12), String::from_utf8(content.to_vec()).unwrap()));
        bytes = after;
    }
    assert!(bytes.is_empty(), "a cut-off frame: {bytes:?}");
    frames
}

#[tokio::test]
async fn comments_travel_behind_the_binary_header_and_as_json() {
    let server = fast_server().await;
    let mut json_viewer = server.viewer("bob", "lobby").await;
    let mut one = binary(&server, "123456").await;
    let mut two = binary(&server, "99").await;
    // The contract's vector.
    let vector = [
        0xab, 0xcd, 1, 1, 0, 0, 1, 0x8a, 0xe8, 0x88, 0xe4, 0, 0, 0, 0, 0, 0, 1, 0xe2, 0x40, 0, 5, 0x48, 0x65, 0x6c,
        0x6c, 0x6f,
    ];
    assert_eq!(frame(1, 1_696_118_400_000, 123_456, b"Hello"), vector);
    one.send_bytes(vector.to_vec()).await;
    let ack = one.wait_for("comment_ack").await;
    assert_eq!(ack["status"], "accepted");
    let seen = json_viewer.sees("Hello").await;
    assert_eq!((&seen["user_id"], &seen["id"]), (&json!("123456"), &ack["id"]));
    let came = frames(&two.bytes().await);
    assert_eq!((came[0].0, came[0].2, &*came[0].3), (1, 123_456, "Hello"));
    assert!((came[0].1 / 1_000).abs_diff(now_s().unsigned_abs()) < 30, "the server's time, not the client's: {came:?}");

    json_viewer.say("弹幕").await;
    let came = frames(&two.bytes().await);
    // printf bob | sha256sum | cut -c 1-16
    assert_eq!((came[0].2, &*came[0].3), (0x81b6_37d8_fcd2_c6da, "弹幕"));
}

#[tokio::test]
async fn several_frames_fit_one_message_and_heartbeats_are_answered() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut one = binary(&server, "1").await;
    one.send_bytes([frame(1, 0, 1, b"first"), frame(2, 0, 1, b""), frame(1, 0, 1, b"second")].concat()).await;
    bob.sees("first").await;
    bob.sees("second").await;
    let mut came: Vec<(u8, u64, u64, String)> = Vec::new();
    while !came.iter().any(|(kind, ..)| *kind == 2) || came.len() < 3 {
        came.extend(frames(&one.bytes().await));
    }
    let beat = came.iter().find(|(kind, ..)| *kind == 2).unwrap();
    assert!((beat.1 / 1_000).abs_diff(now_s().unsigned_abs()) < 30, "{came:?}");
    one.say("JSON is spoken here too").await;
}

#[tokio::test]
async fn frames_of_version_2_name_their_room_in_both_directions() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "other").await;
    let mut one = binary(&server, "1").await;
    one.join("other", json!({})).await;
    let named = |room: &str, content: &[u8]| {
        let mut bytes = frame(1, 0, 1, b"")[..20].to_vec();
        bytes[2] = 2;
        bytes.push(room.len() as u8);
        bytes.extend(room.as_bytes());
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes
    };
    one.send_bytes(named("other", b"elsewhere")).await;
    bob.sees("elsewhere").await;
    one.send_bytes(named("a/b", b"nowhere")).await;
    assert_eq!(one.wait_for("error").await["code"], "invalid_request");
    bob.say("and back").await;
    let expected = named("other", b"and back");
    loop {
        let bytes = one.bytes().await;
        if bytes.ends_with(b"and back") && bytes[2] == 2 {
            assert_eq!(bytes[20..], expected[20..]);
            break;
        }
    }
}

#[tokio::test]
async fn bad_frames_are_skipped_and_other_versions_told() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut one = binary(&server, "1").await;
    let mut version_9 = frame(1, 0, 1, b"x");
    version_9[2] = 9;
    one.send_bytes(version_9).await;
    let error = one.wait_for("error").await;
    assert!(
        error["message"].as_str().is_some_and(|message| message.contains('1')),
        "it names the versions spoken: {error}"
    );
    one.send_bytes(frame(1, 0, 2, b"as another")).await;
    assert_eq!(one.wait_for("error").await["code"], "forbidden");
    one.send_bytes([frame(0x77, 0, 1, b"unknown type"), frame(1, 0, 1, b"after it")].concat()).await;
    bob.sees("after it").await;
    one.send_bytes([frame(1, 0, 1, &[0xFF, 0xFE]), frame(1, 0, 1, b"after bad UTF-8")].concat()).await;
    bob.sees("after bad UTF-8").await;
    for _ in 0..20 {
        one.send_bytes(b"\xAB\xCE no magic".to_vec()).await;
    }
    assert_eq!(one.wait_close().await.0, 4010);
    assert_eq!(bob.contents(), ["after it", "after bad UTF-8"]);
}

#[tokio::test]
async fn events_and_omissions_reach_binary_sockets_as_json() {
    let server = fast_server().await;
    let mut one = binary(&server, "1").await;
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "hear" })).await.is(201);
    assert_eq!(one.event("announcement").await["content"], "hear");
    one.join("lobby", json!({ "max_per_s": 5 })).await;
    let mut alice = server.viewer("alice", "lobby").await;
    crate::says_many(&mut alice, "lobby", "tirade", 40).await;
    let batch =
        one.expect("omitted", |message| message["type"] == "comments" && message["omitted"].as_u64() > Some(0)).await;
    assert_eq!(batch["comments"], json!([]), "comments themselves come in frames");
}

#[tokio::test]
async fn binary_messages_are_refused_where_json_is_spoken() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.send_bytes(frame(1, 0, 1, b"x")).await;
    assert_eq!(alice.wait_for("error").await["code"], "invalid_request");
    alice.say("still here").await;
}

#[tokio::test]
async fn a_connection_that_has_carried_http_becomes_no_socket_and_says_so() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = server().await;
    let mut raw = server.raw().await;
    raw.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 4_096];
    let n = raw.read(&mut some).await.unwrap();
    assert!(some[..n].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&some[..n]));
    let handshake = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    raw.write_all(handshake.as_bytes()).await.unwrap();
    // Closed, so that whoever tries again does it on another connection.
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(answer.contains(r#""code":"invalid_request""#), "{answer}");
}

#[tokio::test]
async fn a_close_is_not_at_once_the_end_of_the_stream() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = server().await;
    let ban = json!({ "user_id": "mallory", "duration_s": 600, "kind": "ban" });
    server.admin().post("admin/bans", ban).await.is(201);
    let handshake = format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token_of("mallory")
    );
    // Some clients take an end that comes with the close for a lost connection, and never look at the code.
    let begun = std::time::Instant::now();
    let mut silent = server.raw().await;
    silent.write_all(handshake.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).await.unwrap();
    assert!(heard.windows(2).any(|code| code == 4003_u16.to_be_bytes()), "{heard:?}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut polite = server.raw().await;
    polite.write_all(handshake.as_bytes()).await.unwrap();
    polite.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa3]).await.unwrap();
    polite.read_to_end(&mut heard).await.unwrap();
}
