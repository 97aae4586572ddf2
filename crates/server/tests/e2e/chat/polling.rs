//! Messages over HTTP alone: sending, polling, long polling.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Device, eventually};

use super::{NO_LIMITS, online};
use crate::{configured, server};

/// Waits until as many polls are waiting.
async fn waiting(server: &testkit::Server, polls: usize) {
    let line = format!("barrage_streams {polls}");
    let http = server.http();
    eventually("the polls to wait", async || http.get("/metrics").await.text.lines().any(|l| l == line).then_some(()))
        .await;
}

#[tokio::test]
async fn http_sends_and_gets_what_sockets_do() {
    let server = server().await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let alice = server.user("alice");
    let sent = alice
        .post("messages", json!({ "client_msg_id": "a-1", "to_user": "bob", "content": "by HTTP", "msg_type": "text" }))
        .await
        .expect(201);
    assert_eq!((&sent["status"], &sent["client_msg_id"]), (&json!("delivered"), &json!("a-1")), "{sent}");
    assert_eq!(bob.gets("by HTTP").await["id"], sent["server_msg_id"]);
    bob.say("alice", "by socket").await;
    let page = alice.get("messages?since_id=0&limit=1").await.expect(200);
    assert_eq!((&page["messages"][0]["content"], &page["more"]), (&json!("by HTTP"), &json!(true)));
    let next = alice.get(&format!("messages?since_id={}", page["latest_id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&next["messages"][0]["content"], &next["more"]), (&json!("by socket"), &json!(false)));
    let empty = alice.get(&format!("messages?since_id={}", next["latest_id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&empty["messages"], &empty["latest_id"]), (&json!([]), &next["latest_id"]));
}

#[tokio::test]
async fn a_poll_waits_for_the_next_message_and_no_longer() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let bob = server.user("bob");
    let poll = tokio::spawn(async move { bob.get("messages?since_id=0&wait_s=30").await });
    waiting(&server, 1).await;
    let begun = Instant::now();
    let id = alice.say("bob", "wake up").await;
    let answer = poll.await.unwrap().expect(200);
    assert!(begun.elapsed() < Duration::from_secs(25));
    assert_eq!((&answer["messages"][0]["content"], &answer["latest_id"]), (&json!("wake up"), &json!(id)));
    let begun = Instant::now();
    let answer = server.user("bob").get(&format!("messages?since_id={id}&wait_s=1")).await.expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!((&answer["messages"], &answer["latest_id"]), (&json!([]), &json!(id)));
}

#[tokio::test]
async fn a_poll_that_asks_for_changes_wakes_for_them() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let id = alice.say("bob", "oops").await;
    let bob = server.user("bob");
    let now = bob.get("messages?since_id=0&since_change=0").await.expect(200);
    let path = format!("messages?since_id={id}&since_change={}&wait_s=30", now["latest_change"].as_str().unwrap());
    let poll = tokio::spawn(async move { bob.get(&path).await });
    waiting(&server, 1).await;
    server.user("alice").delete(&format!("messages/{id}")).await.is(200);
    let answer = poll.await.unwrap().expect(200);
    assert_eq!(
        (&answer["changes"][0]["message_id"], &answer["changes"][0]["status"]),
        (&json!(id), &json!("recalled"))
    );
}

#[tokio::test]
async fn a_drain_answers_waiting_polls_with_nothing() {
    let mut server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let id = alice.say("bob", "the last one").await;
    let bob = server.user("bob");
    let path = format!("messages?since_id={id}&wait_s=30");
    let poll = tokio::spawn(async move { bob.get(&path).await });
    waiting(&server, 1).await;
    let ended = server.terminate().await;
    assert!(ended.status.success(), "{ended:?}");
    let answer = poll.await.unwrap().expect(200);
    assert_eq!((&answer["messages"], &answer["latest_id"]), (&json!([]), &json!(id)));
    assert_eq!(alice.socket().wait_close().await.0, 1012);
}

#[tokio::test]
async fn a_program_that_polls_misses_nothing_while_others_send() {
    let server = configured(NO_LIMITS).await;
    let mut devices = online(&server, &["alice", "carol"]).await;
    let bob = server.user("bob");
    let reader = tokio::spawn(async move {
        let (mut got, mut since) = (Vec::new(), "0".to_owned());
        while got.len() < 100 {
            let page = bob.get(&format!("messages?since_id={since}&wait_s=10&limit=7")).await.expect(200);
            got.extend(page["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap().to_owned()));
            since = page["latest_id"].as_str().unwrap().to_owned();
        }
        got
    });
    for n in 0..50 {
        for (device, name) in devices.iter_mut().zip(["a", "c"]) {
            device.say("bob", &format!("{name}{n}")).await;
        }
    }
    let expected: Vec<String> = (0..50).flat_map(|n| [format!("a{n}"), format!("c{n}")]).collect();
    assert_eq!(reader.await.unwrap(), expected);
}

#[tokio::test]
async fn everything_needs_an_identity_and_says_what_is_wrong() {
    let server = server().await;
    let nobody = server.http();
    for path in ["messages", "conversations", "groups/1", "users/bob/presence", "blocks", "conversations/1/messages"] {
        nobody.get(path).await.fails(401, "unauthorized");
        server.admin().get(path).await.fails(401, "unauthorized");
    }
    let alice = server.user("alice");
    for path in [
        "messages?since_id=x",
        "messages?since_id=99999999999999999999",
        "conversations?before=x",
        "conversations/x%20y/messages",
        "groups/x%20y",
    ] {
        alice.get(path).await.fails(400, "invalid_request");
    }
    for body in [
        json!({ "to_user": "bob", "content": "no id" }),
        json!({ "client_msg_id": "", "to_user": "bob", "content": "empty id" }),
        json!({ "client_msg_id": "x".repeat(65), "to_user": "bob", "content": "long id" }),
        json!({ "client_msg_id": "1", "content": "to whom?" }),
        json!({ "client_msg_id": "1", "to_user": "bob", "group_id": "1", "content": "to both?" }),
        json!({ "client_msg_id": "1", "to_user": "b o b", "content": "bad id" }),
        json!({ "client_msg_id": "1", "to_user": "bob", "content": "what?", "msg_type": "song" }),
        json!({ "client_msg_id": "1", "to_user": "bob", "content": "no-such-upload", "msg_type": "image" }),
    ] {
        alice.post("messages", body).await.fails(400, "invalid_request");
    }
    let mut socket = server.connect("").await;
    socket.wait_for("error").await;
    for message in
        [super::to("bob", "1", "hi"), json!({ "type": "sync_messages" }), json!({ "type": "typing", "to_user": "bob" })]
    {
        socket.refused(message, "unauthorized").await;
    }
}
