//! Who is here, who hides, who is blocked, who is typing.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Device, Viewer, eventually};

use super::{group, online, to};
use crate::{configured, server};

async fn watch(socket: &mut Viewer, users: &[&str]) -> Vec<Value> {
    let answer = socket.ask(json!({ "type": "watch_presence", "user_ids": users })).await;
    assert_eq!(answer["type"], "presence_list", "{answer}");
    answer["users"].as_array().unwrap().clone()
}

/// Watches one person, and waits until they are here: who has just connected is noted a moment later.
async fn watch_here(socket: &mut Viewer, user: &str) {
    if watch(socket, &[user]).await[0]["status"] == "offline" {
        told(socket, user, "online").await;
    }
}

/// Waits for the push that says so, for less time than missed heartbeats would take to tell.
async fn told(socket: &mut Viewer, user: &str, status: &str) -> Value {
    let fits = |m: &Value| m["type"] == "presence" && m["user_id"] == user && m["status"] == status;
    socket.expect_within(SOON, &format!("{user} {status}"), fits).await
}

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_clean_disconnect_is_offline_at_once_and_the_last_socket_counts() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let alices = server.user("alice");
    let unknown = alices.get("users/bob/presence").await.expect(200);
    assert_eq!((&unknown["status"], &unknown["last_seen"]), (&json!("offline"), &Value::Null));
    assert_eq!(watch(&mut alice, &["bob", "alice"]).await.len(), 2);
    let mut phone = Device::online(&server, "bob", "phone").await;
    let mut tablet = Device::online(&server, "bob", "tablet").await;
    told(&mut alice, "bob", "online").await;
    assert_eq!(alices.get("users/bob/presence").await.expect(200)["status"], "online");
    phone.leave().await;
    assert_eq!(alices.get("users/bob/presence").await.expect(200)["status"], "online", "the tablet is still here");
    tablet.leave().await;
    let gone = told(&mut alice, "bob", "offline").await;
    assert!(gone["last_seen"].is_string(), "{gone}");
    let shown = alices.get("users/bob/presence").await.expect(200);
    assert_eq!((&shown["status"], shown["last_seen"].is_string()), (&json!("offline"), true));
    assert!(alice.settled().await.iter().all(|m| m["type"] != "presence"), "one coming, one going");
    // Another list takes the place of the first.
    assert_eq!(watch(&mut alice, &["carol"]).await[0]["user_id"], "carol");
    phone.connect(&server).await;
    assert!(alice.settled().await.iter().all(|m| m["type"] != "presence"));
}

#[tokio::test]
async fn a_socket_that_died_silently_is_offline_after_its_heartbeats() {
    let server = configured("[sockets]\nheartbeat_s = 5\n").await;
    let mut alice = server.device("alice", "phone").await;
    let _silent = server.device("bob", "phone").await;
    watch_here(&mut alice, "bob").await;
    // Two missed heartbeats are ten seconds; alice gives signs of life meanwhile.
    let beat = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            if alice.ask(json!({ "type": "heartbeat" })).await["type"] != "heartbeat_ack" {
                break;
            }
            if alice.take(&["presence"]).iter().any(|m| m["status"] == "offline") {
                return true;
            }
        }
        false
    };
    assert!(beat.await, "bob is gone");
    assert_eq!(server.user("alice").get("users/bob/presence").await.expect(200)["status"], "offline");
}

#[tokio::test]
async fn who_was_online_when_the_server_was_killed_was_seen_then() {
    let mut server = server().await;
    let begun = testkit::now_s();
    let _bob = Device::online(&server, "bob", "phone").await;
    let mut alice = server.device("alice", "phone").await;
    watch_here(&mut alice, "bob").await;
    // A first sighting is stored within half a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.kill9().await;
    server.restart().await;
    let shown = server.user("alice").get("users/bob/presence").await.expect(200);
    assert_eq!(shown["status"], "offline", "{shown}");
    let seen: jiff::Timestamp = shown["last_seen"].as_str().expect("a time").parse().expect("a time");
    assert!(seen.as_second() >= begun - 1, "{shown}");
}

#[tokio::test]
async fn a_device_that_connects_again_never_goes_offline() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    watch(&mut alice, &["bob"]).await;
    let mut phone = server.device("bob", "phone").await;
    told(&mut alice, "bob", "online").await;
    for _ in 0..40 {
        let mut next = server.device("bob", "phone").await;
        std::mem::swap(&mut phone, &mut next);
        assert_eq!(next.wait_close().await.0, 4009);
    }
    assert!(alice.settled().await.iter().all(|m| m["type"] != "presence"), "replaced, and never away");
}

#[tokio::test]
async fn last_seen_outlives_a_restart() {
    let mut server = server().await;
    let alices = server.user("alice");
    let mut bob = Device::online(&server, "bob", "phone").await;
    eventually("bob to be here", async || {
        (alices.get("users/bob/presence").await.expect(200)["status"] == "online").then_some(())
    })
    .await;
    bob.leave().await;
    let seen = eventually("bob to go", async || {
        let shown = alices.get("users/bob/presence").await.expect(200);
        (shown["status"] == "offline").then(|| shown["last_seen"].clone())
    })
    .await;
    assert!(seen.is_string());
    server.terminate().await;
    server.restart().await;
    assert_eq!(server.user("alice").get("users/bob/presence").await.expect(200)["last_seen"], seen);
}

#[tokio::test]
async fn who_hides_is_offline_to_everybody() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let _bob = Device::online(&server, "bob", "phone").await;
    watch_here(&mut alice, "bob").await;
    let bobs = server.user("bob");
    bobs.put("users/me/presence", json!({ "visible": false })).await.is(200);
    told(&mut alice, "bob", "offline").await;
    let hidden = server.user("alice").get("users/bob/presence").await.expect(200);
    assert_eq!((&hidden["status"], &hidden["last_seen"]), (&json!("offline"), &Value::Null));
    assert_eq!(watch(&mut alice, &["bob"]).await[0]["last_seen"], Value::Null);
    server.user("alice").put("users/bob/presence", json!({ "visible": true })).await.fails(403, "forbidden");
    bobs.put("users/bob/presence", json!({ "visible": true })).await.is(200);
    told(&mut alice, "bob", "online").await;
}

#[tokio::test]
async fn who_is_blocked_cannot_write_and_sees_nobody() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob"]).await;
    let [alice, bob] = &mut devices[..] else { unreachable!() };
    let bobs = server.user("bob");
    let id = group(&bobs, "team", &["alice"]).await;
    alice.say("bob", "before").await;
    bobs.put("users/alice/block", Value::Null).await.is(200);
    bobs.put("users/alice/block", Value::Null).await.is(200);
    assert_eq!(bobs.get("blocks").await.expect(200)["user_ids"], json!(["alice"]));

    let refused = alice.socket().refused(to("bob", "a-2", "are you there?"), "forbidden").await;

    assert_eq!(refused["client_msg_id"], "a-2");
    alice.socket().refused(json!({ "type": "typing", "to_user": "bob" }), "forbidden").await;
    let body = json!({ "client_msg_id": "a-3", "to_user": "bob", "content": "hello?" });
    server.user("alice").post("messages", body.clone()).await.fails(403, "forbidden");
    let seen = server.user("alice").get("users/bob/presence").await.expect(200);
    assert_eq!((&seen["status"], &seen["last_seen"]), (&json!("offline"), &Value::Null));
    assert_eq!(bobs.get("users/alice/presence").await.expect(200)["status"], "online", "it goes one way");
    alice.say_to_group(&id, "in the group").await;
    bob.gets("in the group").await;
    assert_eq!(bob.contents(None), ["before", "in the group"]);
    bobs.put("users/bob/block", Value::Null).await.fails(400, "invalid_request");
    bobs.delete("users/alice/block").await.is(200);
    server.user("alice").post("messages", body).await.is(201);
    bob.gets("hello?").await;
}

#[tokio::test]
async fn typing_goes_to_the_others_once_in_a_while_and_is_kept_nowhere() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let mut bob = server.device("bob", "phone").await;
    let mut carol = server.device("carol", "phone").await;
    for _ in 0..3 {
        alice.send(json!({ "type": "typing", "to_user": "bob" })).await;
    }
    let seen = bob.wait_for("typing").await;
    assert_eq!(seen, json!({ "type": "typing", "from_user": "alice", "to_user": "bob", "typing": true }));
    alice.settled().await;
    let id = group(&server.user("carol"), "team", &["alice", "bob"]).await;
    alice.send(json!({ "type": "typing", "group_id": id, "typing": false })).await;
    for socket in [&mut bob, &mut carol] {
        let seen = socket.wait_for("typing").await;
        assert_eq!(
            (&seen["group_id"], &seen["typing"], &seen["from_user"]),
            (&json!(id), &json!(false), &json!("alice"))
        );
    }
    assert!(bob.settled().await.iter().all(|m| m["type"] != "typing"), "the other two were dropped");
    assert_eq!(server.user("bob").get("messages?since_id=0").await.expect(200)["messages"], json!([]));
}
