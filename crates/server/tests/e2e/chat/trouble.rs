//! Trouble: the server is killed, sockets are cut at every step, everybody tries again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Device, Server, Viewer, eventually};

use super::{NO_LIMITS, history, only_conversation, to};
use crate::{configured, fast_server};

/// What a sender knows when its connection ended.
struct Account {
    user: String,
    /// `client_msg_id` with the answer's id.
    acknowledged: Vec<(String, String)>,
    open: Vec<String>,
}

/// Sends as fast as answers come, until the connection ends.
async fn send_until_cut(
    server: &Server,
    user: String,
    acknowledged: Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<Account> {
    let mut socket = server.device(&user, "burst").await;
    tokio::spawn(async move {
        let mut account = Account { user, acknowledged: Vec::new(), open: Vec::new() };
        for n in 0.. {
            let id = format!("{}-{n}", account.user);
            match socket.attempt(to("bob", &id, &id)).await {
                Some(ack) => {
                    assert_eq!(ack["type"], "message_ack", "{ack}");
                    account.acknowledged.push((id, ack["server_msg_id"].as_str().unwrap().to_owned()));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    account.open.push(id);
                    break;
                }
            }
        }
        account
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_between_storing_and_telling_loses_nothing_and_doubles_nothing() {
    let mut server = configured(NO_LIMITS).await;
    let mut phone = Device::online(&server, "bob", "phone").await;
    let mut sent: Vec<(String, String)> = Vec::new();
    for (round, until) in [30, 150, 70].into_iter().enumerate() {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let senders = (0..6).map(|n| send_until_cut(&server, format!("u{round}-{n}"), acknowledged.clone()));
        let senders = join_all(senders).await;
        eventually("acknowledgements", async || (acknowledged.load(Ordering::Relaxed) >= until).then_some(())).await;
        server.kill9().await;
        let accounts: Vec<Account> = join_all(senders).await.into_iter().map(Result::unwrap).collect();
        phone.cut();
        server.restart().await;
        for account in accounts {
            // What was not answered may be stored or not: trying again settles it.
            let http = server.user(&account.user);
            for id in account.open {
                let body = json!({ "client_msg_id": id, "to_user": "bob", "content": id });
                let answer = http.post("messages", body).await.expect(201);
                sent.push((id, answer["server_msg_id"].as_str().unwrap().to_owned()));
            }
            let (id, first) = account.acknowledged.last().unwrap();
            let again = http
                .post("messages", json!({ "client_msg_id": id, "to_user": "bob", "content": id }))
                .await
                .expect(201);
            assert_eq!(again["server_msg_id"], *first);
            sent.extend(account.acknowledged);
        }
        phone.connect(&server).await;
    }
    let mut tablet = Device::online(&server, "bob", "tablet").await;
    tablet.leave().await;
    for device in [&phone, &tablet] {
        let held: HashSet<(String, String)> = device
            .messages
            .iter()
            .map(|m| (m["client_msg_id"].as_str().unwrap().to_owned(), m["id"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!((held.len(), device.messages.len()), (sent.len(), sent.len()), "each exactly once");
        assert!(sent.iter().all(|pair| held.contains(pair)));
    }
    assert_eq!(phone.by_conversation(), tablet.by_conversation(), "in one order");
}

/// Where a client's connection ends.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// In the middle of the request's bytes.
    WithinTheFrame(usize),
    /// Right behind them.
    BehindTheFrame,
    /// The answer has come, what follows has not been read.
    BehindTheAnswer,
}

/// A masked text frame (RFC 6455, 5.2) with a mask of zeroes.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match text.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n => {
            bytes.push(0x80 | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(text.as_bytes());
    bytes
}

async fn send_and_cut(server: &Server, message: &Value, cut: Cut) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut raw = server.raw().await;
    let token = testkit::token(&json!({ "sub": "alice", "exp": testkit::now_s() + 60 }));
    let request = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        server.address()
    );
    let frame = frame(&message.to_string());
    let sent = match cut {
        Cut::WithinTheFrame(bytes) => &frame[..bytes.min(frame.len() - 1)],
        Cut::BehindTheFrame | Cut::BehindTheAnswer => &frame[..],
    };
    raw.write_all(request.as_bytes()).await.unwrap();
    raw.write_all(sent).await.unwrap();
    if matches!(cut, Cut::BehindTheAnswer) {
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("message_ack") {
            let mut some = [0; 512];
            let n = raw.read(&mut some).await.unwrap();
            assert!(n > 0, "closed before the answer");
            heard.extend_from_slice(&some[..n]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_cut_at_any_step_of_a_send_leaves_one_message_after_the_retry() {
    let server = configured(NO_LIMITS).await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let mut cuts: Vec<Cut> = (0..160).step_by(9).map(Cut::WithinTheFrame).collect();
    cuts.extend([Cut::BehindTheFrame; 10]);
    cuts.extend([Cut::BehindTheAnswer; 5]);
    for (n, cut) in cuts.iter().enumerate() {
        let content = format!("step {n}");
        send_and_cut(&server, &to("bob", &content, &content), *cut).await;
        let mut alice = server.device("alice", "phone").await;
        let ack = alice.ask(to("bob", &content, &content)).await;
        assert_eq!(ack["type"], "message_ack", "{cut:?}: {ack}");
        assert_eq!(bob.gets(&content).await["id"], ack["server_msg_id"], "{cut:?}");
        alice.cut();
    }
    let conversation = only_conversation(&server.user("bob")).await["conversation_id"].as_str().unwrap().to_owned();
    let contents: Vec<String> = (0..cuts.len()).map(|n| format!("step {n}")).collect();
    let kept = history(&server.user("bob"), &conversation).await;
    let kept: Vec<_> = kept.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(kept, contents);
    bob.socket().settled().await;
    bob.hear();
    assert_eq!(bob.contents(None), contents, "and was told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_from_several_sockets_at_once_are_one_message() {
    let server = configured(NO_LIMITS).await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let mut sockets: Vec<Viewer> = Vec::new();
    for n in 0..8 {
        sockets.push(server.device("alice", &format!("d{n}")).await);
    }
    for round in 0..10 {
        let id = format!("r{round}");
        let answers = sockets.iter_mut().map(|socket| socket.ask(to("bob", &id, &id)));
        let ids: HashSet<String> =
            join_all(answers).await.iter().map(|a| a["server_msg_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    bob.gets("r9").await;
    bob.socket().settled().await;
    bob.hear();
    assert_eq!(bob.messages.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_read_is_closed_and_syncs_all_of_it() {
    let server = configured(&format!("{NO_LIMITS}[sockets]\nbacklog_bytes_max = 16384\nslow_patience_s = 2\n")).await;
    let mut raw = {
        use tokio::io::AsyncWriteExt;
        let token = testkit::token(&json!({ "sub": "bob", "exp": testkit::now_s() + 60 }));
        let mut raw = server.raw().await;
        let request = format!(
            "GET /ws?token={token} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            server.address()
        );
        raw.write_all(request.as_bytes()).await.unwrap();
        raw
    };
    let long = "x".repeat(3_900);
    let alice = server.user("alice");
    let closed = || async {
        let metrics = server.http().get("/metrics").await.text;
        metrics.lines().any(|line| line.contains("closes") && line.contains("4008") && !line.ends_with(" 0"))
    };
    let mut sent = 0;
    while !closed().await {
        for _ in 0..100 {
            let body =
                json!({ "client_msg_id": sent.to_string(), "to_user": "bob", "content": format!("{sent} {long}") });
            alice.post("messages", body).await.is(201);
            sent += 1;
        }
        assert!(sent < 5_000, "never closed");
    }
    {
        use tokio::io::AsyncReadExt;
        let mut all = Vec::new();
        // Ended by the server, perhaps with a reset.
        let _ = raw.read_to_end(&mut all).await;
    }
    let bob = Device::online(&server, "bob", "phone").await;
    assert_eq!(bob.messages.len(), sent);
    for (n, message) in bob.messages.iter().enumerate() {
        assert!(message["content"].as_str().unwrap().starts_with(&format!("{n} ")));
    }
}

#[tokio::test]
async fn rooms_go_on_beside_it() {
    let server = fast_server().await;
    let mut viewer = server.viewer("alice", "lobby").await;
    viewer.say("in the room").await;
    assert_eq!(viewer.ask(to("bob", "1", "in private")).await["status"], "delivered");
    viewer.sees("in the room").await;
    assert_eq!(viewer.wait_for("new_message").await["content"], "in private");
}
