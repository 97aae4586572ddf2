//! Upgrades that succeed: nobody is disconnected, nothing is lost, nothing comes twice.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Certificate, PATIENCE, Viewer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Deployment, is_running, signal};

/// Comments every few milliseconds until it is told to stop; returns the contents that were acknowledged.
async fn keep_talking(mut viewer: Viewer, room: &str, mut stop: tokio::sync::watch::Receiver<bool>) -> Vec<String> {
    let mut said = Vec::new();
    while !*stop.borrow_and_update() {
        let content = format!("n{}", said.len());
        let answer = viewer.ask(json!({ "type": "comment", "room_id": room, "content": content })).await;
        assert_eq!(answer["status"], "accepted", "{answer}");
        said.push(content);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    said
}

#[tokio::test]
async fn two_upgrades_in_a_row_lose_nothing_and_disconnect_nobody() {
    let mut deployment = Deployment::start().await;
    let speaker = deployment.server.viewer("speaker", "lobby").await;
    let mut viewers = Vec::new();
    for n in 0..6 {
        viewers.push(deployment.server.viewer(&format!("v{n}"), "lobby").await);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let talking = tokio::spawn(keep_talking(speaker, "lobby", stopped));
    viewers[0].sees("n5").await;
    let begun = Instant::now();
    deployment.upgraded().await;
    println!("first upgrade: {:?}", begun.elapsed());
    deployment.upgraded().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send_replace(true);
    let said = talking.await.unwrap();
    assert!(said.len() > 10, "{}", said.len());
    for viewer in &mut viewers {
        viewer.sees(said.last().unwrap()).await;
        assert_eq!(viewer.contents(), said, "everything, once, in order");
        assert_eq!(viewer.comment("and I still speak").await["status"], "accepted");
    }
    println!(
        "{}",
        deployment.server.log().lines().filter(|line| line.contains("paused_ms")).collect::<Vec<_>>().join("\n")
    );
}

#[tokio::test]
async fn sockets_keep_who_they_are_and_what_they_read() {
    let mut deployment = Deployment::start().await;
    let server = &deployment.server;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.join("second", json!({ "history": 0, "max_per_s": 0 })).await;
    let mut picky = server.viewer_who_wishes("picky", "normal", "room_id=lobby&only_user_ids=bob").await;
    let mut silent = server.connect("").await;
    silent.wait_for("error").await;
    deployment.upgraded().await;
    let server = &deployment.server;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut carol = server.viewer("carol", "lobby").await;
    bob.say("by bob").await;
    carol.say("by carol").await;
    carol.join("second", json!({})).await;
    alice.sees("by bob").await;
    alice.sees("by carol").await;
    bob.say("again").await;
    picky.sees("again").await;
    assert_eq!(picky.contents(), ["by bob", "again"]);
    server.user("dora").say("second", "nobody asked for it").await;
    server.admin().post("admin/rooms/second/announcements", json!({ "content": "hear" })).await.is(201);
    assert_eq!(alice.event("announcement").await["content"], "hear");
    assert!(!alice.contents().contains(&"nobody asked for it"), "events only, as before");
    assert_eq!(
        alice.refused(json!({ "type": "comment", "room_id": "lobby", "content": "" }), "content_empty").await["type"],
        "error"
    );
    let (code, _) = silent.wait_close().await;
    assert_eq!(code, 4001, "the time to log in goes on");
}

#[tokio::test]
async fn sockets_of_every_sub_protocol_go_on() {
    let mut deployment = Deployment::start().await;
    let server = &deployment.server;
    let token =
        testkit::token(&json!({ "sub": "reader", "iat": testkit::now_s() - 5, "exp": testkit::now_s() + 3_600 }));
    let mut sockets = Vec::new();
    for protocol in ["barrage.v1.proto", "barrage.v1.bin"] {
        let query = format!("room_id=lobby&token={token}");
        let socket = Viewer::open(server.address(), &query, &[("Sec-WebSocket-Protocol", protocol)]).await;
        sockets.push(socket.unwrap());
    }
    eventually("both to have joined", async || {
        let room = server.user("alice").get("rooms/lobby").await.expect(200);
        (room["viewers"] == 2).then_some(())
    })
    .await;
    deployment.upgraded().await;
    deployment.server.user("alice").say("lobby", "in your own words").await;
    for socket in &mut sockets {
        while !socket.bytes().await.windows(17).any(|bytes| bytes == b"in your own words") {}
    }
}

#[tokio::test]
async fn what_is_half_sent_goes_on_where_it_was() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    let mut raw = bare(&deployment, "halved").await;
    let message =
        json!({ "type": "comment", "room_id": "lobby", "content": "in two halves", "ref": "x".repeat(99) }).to_string();
    let frame = frame(&message);
    let (first, second) = frame.split_at(frame.len() / 2);
    raw.write_all(first).await.unwrap();
    // And a request whose head is not complete.
    let mut late = deployment.server.raw().await;
    late.write_all(b"GET /ws?room_id=lobby HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    deployment.upgraded().await;
    raw.write_all(second).await.unwrap();
    viewer.sees("in two halves").await;
    late.write_all(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await
    .unwrap();
    let mut answer = [0; 12];
    late.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[tokio::test]
async fn chat_goes_on_and_nobody_goes_offline() {
    let mut deployment = Deployment::start().await;
    let server = &deployment.server;
    let mut alice = server.device("alice", "phone").await;
    let mut bob = server.device("bob", "phone").await;
    let message = |n: u32| json!({ "type": "send_message", "client_msg_id": format!("m{n}"), "to_user": "bob", "content": format!("{n}") });
    for n in 0..3 {
        assert_eq!(alice.ask(message(n)).await["type"], "message_ack");
    }
    deployment.upgraded().await;
    let presence = deployment.server.user("carol").get("users/bob/presence").await.expect(200);
    assert_eq!(presence["status"], "online", "{presence}");
    for n in 3..6 {
        assert_eq!(alice.ask(message(n)).await["type"], "message_ack");
    }
    let mut got: Vec<Value> = Vec::new();
    while got.len() < 6 {
        got.push(bob.wait_for("new_message").await["content"].clone());
    }
    assert_eq!(got, ["0", "1", "2", "3", "4", "5"].map(Value::from));
    assert!(bob.settled().await.is_empty(), "nothing else");
    // The same device on a new socket replaces the one that was handed over.
    let mut newer = deployment.server.device("bob", "phone").await;
    assert_eq!(bob.wait_close().await.0, 4009);
    newer.settled().await;
}

#[tokio::test]
async fn a_receipt_that_is_missing_is_asked_for_by_the_new_process() {
    let mut deployment = Deployment::start().await;
    let mut alice = deployment.server.viewer("alice", "lobby").await;
    let announcement = json!({ "content": "hear" });
    deployment.server.admin().post("admin/rooms/lobby/announcements", announcement).await.is(201);
    let event = alice.event("announcement").await;
    if event["critical"] != true {
        return; // Announcements need no receipt here.
    }
    deployment.upgraded().await;
    let again = alice.event("announcement").await;
    assert_eq!(again["event_id"], event["event_id"]);
    alice.send(json!({ "type": "ack", "event_id": event["event_id"] })).await;
    alice.settled().await;
}

#[tokio::test]
async fn a_slow_reader_gets_its_backlog_or_is_told_what_it_missed() {
    let mut deployment = Deployment::start().await;
    let raw = bare(&deployment, "slow").await;
    let mut speaker = deployment.server.viewer_who_wishes("speaker", "normal", "room_id=lobby&max_per_s=0").await;
    let long = "弹".repeat(180);
    for n in 0..800 {
        speaker
            .send(json!({ "type": "comment", "room_id": "lobby", "content": format!("{n} {long}"), "ref": n }))
            .await;
        if n % 50 == 49 {
            speaker.expect("the answer", |answer| answer["ref"] == n).await;
        }
    }
    deployment.upgraded().await;
    speaker.say("the last").await;
    // Frames are whole and the numbers rise; what is missing is counted, maybe a second after the last.
    let numbers = timeout(PATIENCE, read_comments(raw, "the last", 800)).await.expect("each is given or counted");
    assert!(numbers.is_sorted_by(|a, b| a < b), "once and in order");
}

#[tokio::test]
async fn polls_are_answered_and_no_connection_is_refused() {
    let mut deployment = Deployment::start().await;
    let server = &deployment.server;
    let last = server.user("alice").say("lobby", "before").await;
    let reader = server.user("reader");
    let path = format!("rooms/lobby/comments?since_id={last}&wait_s=30");
    let poll = tokio::spawn(async move { reader.get(&path).await });
    eventually("the poll to wait", async || {
        let metrics = server.http().get("/metrics").await.text;
        metrics.lines().any(|line| line.contains("streams") && line.ends_with(" 1")).then_some(())
    })
    .await;
    let address = server.address().to_owned();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let knocking = tokio::spawn(async move {
        let mut connected = 0;
        while !*stopped.borrow() {
            let socket = tokio::net::TcpStream::connect(&address).await.expect("no connection is refused");
            connected += 1;
            drop(socket);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        connected
    });
    deployment.upgraded().await;
    let page = poll.await.unwrap().expect(200);
    assert_eq!((&page["comments"], &page["latest_id"]), (&json!([]), &json!(last)));
    stop.send_replace(true);
    assert!(knocking.await.unwrap() > 10);
}

#[tokio::test]
async fn sigusr2_does_the_same_and_the_old_process_exits_well() {
    let mut deployment = Deployment::start().await;
    let mut alice = deployment.server.viewer("alice", "lobby").await;
    let old = deployment.pids[0];
    let begun = tokio::time::Instant::now();
    deployment.server.signal(libc::SIGUSR2);
    let ended = deployment.server.ended(begun).await;
    assert_eq!(ended.status.code(), Some(0), "{:?}", ended.status);
    let new = deployment.serving().await;
    deployment.pids.push(new);
    assert_ne!(new, old);
    alice.say("still here").await;
    // The new process drains as any other.
    signal(new, libc::SIGTERM);
    assert_eq!(alice.wait_close().await.0, 1012);
    eventually("its end", async || (!is_running(new)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_reconnects_with_differing_delays() {
    let certificate = Certificate::new();
    let config = "[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n";
    let mut deployment = Deployment::start_with(|options| {
        let options = options.dev().config(config).file("certificate.pem", &certificate.certificate_pem);
        options.file("key.pem", &certificate.key_pem)
    })
    .await;
    let address = deployment.server.address().to_owned();
    let connect = |n: u32| {
        let stream = certificate.trusted().connect(TcpStream::connect(&address).unwrap()).unwrap();
        let url = format!("wss://{address}/ws?room_id=lobby&user_id=u{n}");
        tungstenite::client(url, stream).unwrap().0
    };
    let mut sockets: Vec<_> = tokio::task::block_in_place(|| (0..6).map(connect).collect());
    deployment.upgraded().await;
    tokio::task::block_in_place(|| {
        let mut delays = Vec::new();
        for socket in &mut sockets {
            let close = loop {
                if let tungstenite::Message::Close(close) = socket.read().unwrap() {
                    break close.unwrap();
                }
            };
            assert_eq!(u16::from(close.code), 1012);
            delays.push(close.reason.parse::<u32>().unwrap());
        }
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 1, "{delays:?}");
        connect(9).send(tungstenite::Message::text("{}")).unwrap();
    });
}

/// A socket whose bytes the test sends and reads itself; `connected` and `room_joined` may not have come yet.
async fn bare(deployment: &Deployment, user: &str) -> tokio::net::TcpStream {
    let token = testkit::token(&json!({ "sub": user, "iat": testkit::now_s() - 5, "exp": testkit::now_s() + 3_600 }));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(deployment.server.address().parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /ws?room_id=lobby&token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    socket
}

/// A masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// Reads text frames until the comment that begins like this was given, and as many before it given or told as omitted. Returns
/// the numbers with which comments began.
async fn read_comments(mut socket: tokio::net::TcpStream, last: &str, all: u64) -> Vec<u64> {
    let (mut numbers, mut omitted, mut last_given) = (Vec::new(), 0, false);
    while !last_given || numbers.len() as u64 + omitted < all {
        let [first, length] = socket.read_u16().await.unwrap().to_be_bytes();
        assert_eq!(first, 0x81, "a whole frame of text");
        let length = match length {
            126 => u64::from(socket.read_u16().await.unwrap()),
            127 => socket.read_u64().await.unwrap(),
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut payload).await.unwrap();
        let message: Value = serde_json::from_slice(&payload).unwrap();
        if message["type"] != "comments" {
            continue;
        }
        omitted += message["omitted"].as_u64().unwrap_or(0);
        for comment in message["comments"].as_array().unwrap() {
            let content = comment["content"].as_str().unwrap();
            match content.starts_with(last) {
                true => last_given = true,
                false => numbers.push(content.split(' ').next().unwrap().parse().unwrap()),
            }
        }
    }
    numbers
}
