//! End-to-end encryption: what devices publish, and that what passes through here is ciphertext.

use std::collections::HashSet;
use std::path::Path;

use barrage_e2ee::device::{Device, Error};
use barrage_e2ee::keys::{Claimed, Published};
use serde_json::{Value, json};
use testkit::Server;

use crate::server;

const SECRET_TEXT: &str = "the heron lands at midnight";

/// A new device whose keys are published.
async fn join(server: &Server, user: &str, id: &str) -> Device {
    let mut device = Device::new(user, id);
    let body = serde_json::to_value(device.upload(0)).unwrap();
    let kept = server.user(user).put(&format!("keys/{id}"), body).await.expect(200);
    assert_eq!(kept["one_time_key_count"], 50);
    device.published();
    device
}

async fn listed(server: &Server, user: &str) -> Vec<Published> {
    let mut answer = server.user(user).get(&format!("users/{user}/keys")).await.expect(200);
    serde_json::from_value(answer["devices"].take()).unwrap()
}

async fn claimed(server: &Server, asker: &str, user: &str, body: Value) -> Vec<Claimed> {
    let mut answer = server.user(asker).post(&format!("users/{user}/keys/claim"), body).await.expect(200);
    serde_json::from_value(answer["devices"].take()).unwrap()
}

/// Has sessions with all of these users' devices.
async fn introduce(server: &Server, asker: &str, device: &mut Device, users: &[&str]) {
    for user in users {
        device.trust(user, &listed(server, user).await).unwrap();
        let unreached: Vec<_> = device.unreached(user).into_iter().map(str::to_owned).collect();
        if !unreached.is_empty() {
            device.reach(user, &claimed(server, asker, user, json!({ "device_ids": unreached })).await).unwrap();
        }
    }
}

async fn send(server: &Server, from: &str, to: &str, id: &str, content: &str) {
    let message = json!({ "client_msg_id": id, "to_user": to, "msg_type": "encrypted", "content": content });
    server.user(from).post("messages", message).await.is(201);
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn two_people_talk_and_the_server_holds_ciphertext_alone() {
    let mut server = server().await;
    let (mut alice, mut bob) = (join(&server, "alice", "phone").await, join(&server, "bob", "laptop").await);
    introduce(&server, "alice", &mut alice, &["alice", "bob"]).await;
    introduce(&server, "bob", &mut bob, &["alice", "bob"]).await;
    assert_eq!(alice.verification_code("bob"), bob.verification_code("alice"));

    let mut socket = server.viewer("bob", "lobby").await;
    let content = alice.encrypt("bob", SECRET_TEXT).unwrap();
    send(&server, "alice", "bob", "m1", &content).await;
    let frame = socket.wait_for("new_message").await;
    assert_eq!((&frame["msg_type"], frame["content"].as_str()), (&json!("encrypted"), Some(&*content)));
    assert!(!frame.to_string().contains(SECRET_TEXT));
    let arrived = frame["content"].as_str().unwrap();
    assert_eq!(bob.decrypt("alice", "bob", arrived).unwrap(), SECRET_TEXT);
    let answer = bob.encrypt("alice", "so it does").unwrap();
    send(&server, "bob", "alice", "m2", &answer).await;
    let page = server.user("alice").get("messages?since_id=0").await.expect(200);
    let answer = page["messages"][1]["content"].as_str().unwrap();
    assert_eq!(alice.decrypt("bob", "alice", answer).unwrap(), "so it does");
    assert!(!page.to_string().contains(SECRET_TEXT));

    let mut late = join(&server, "bob", "late").await;
    introduce(&server, "bob", &mut late, &["alice", "bob"]).await;
    let history = server.user("bob").get("messages?since_id=0").await.expect(200);
    let old = history["messages"][0]["content"].as_str().unwrap();
    assert!(matches!(late.decrypt("alice", "bob", old), Err(Error::NotForUs)), "a new device reads nothing old");
    bob.trust("bob", &listed(&server, "bob").await).unwrap();
    assert_ne!(alice.verification_code("bob"), bob.verification_code("alice"), "alice has not seen the new device");
    introduce(&server, "alice", &mut alice, &["bob"]).await;
    assert_eq!(alice.verification_code("bob"), bob.verification_code("alice"));
    assert_eq!(late.decrypt("alice", "bob", &alice.encrypt("bob", "now").unwrap()).unwrap(), "now");

    server.kill9().await;
    let data = files(&server.dir().join("data"));
    assert!(data.iter().any(|path| contains(&std::fs::read(path).unwrap(), "from_device")), "the envelopes are there");
    for path in data {
        assert!(!contains(&std::fs::read(&path).unwrap(), SECRET_TEXT), "{} has the plain text", path.display());
    }
}

#[tokio::test]
async fn a_one_time_key_is_handed_out_once_then_the_fallback() {
    let server = server().await;
    join(&server, "bob", "b").await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..60 {
        let alice = server.user(&format!("alice-{n}"));
        asking.spawn(async move { alice.post("users/bob/keys/claim", json!({})).await.expect(200) });
    }
    let (mut names, mut fallbacks) = (HashSet::new(), 0);
    while let Some(answer) = asking.join_next().await {
        let key = answer.unwrap()["devices"][0]["one_time_key"].clone();
        match key["fallback"] == json!(true) {
            true => fallbacks += 1,
            false => assert!(names.insert(key["key_id"].as_str().unwrap().to_owned()), "{key} came twice"),
        }
    }
    assert_eq!((names.len(), fallbacks), (50, 10));
    let left = server.user("alice").get("users/bob/keys").await.expect(200);
    assert_eq!(left["devices"][0]["one_time_key_count"], 0);
}

#[tokio::test]
async fn keys_are_one_s_own_and_have_their_shape() {
    let server = server().await;
    join(&server, "bob", "b").await;
    let (key, signature) = ("A".repeat(43), "A".repeat(86));
    let keys = json!({ "identity_key": key, "signing_key": key, "signature": signature });
    server.http().put("keys/b", keys.clone()).await.fails(401, "unauthorized");
    server.http().get("users/bob/keys").await.fails(401, "unauthorized");
    server.user("eve").put("keys/b", keys).await.is(200);
    assert_eq!(listed(&server, "bob").await.len(), 1, "eve's device is eve's");
    assert_ne!(listed(&server, "bob").await[0].identity_key, key);
    for bad in [
        json!({}),
        json!({ "identity_key": "short", "signing_key": key, "signature": signature }),
        json!({ "identity_key": key, "signing_key": key, "signature": key }),
        json!({ "identity_key": key, "signing_key": key, "signature": signature,
                "one_time_keys": { "a b": { "key": key, "signature": signature } } }),
        json!({ "identity_key": key, "signing_key": key, "signature": signature, "one_time_keys": { "k": key } }),
    ] {
        server.user("eve").put("keys/c", bad).await.fails(400, "invalid_request");
    }
    server.user("bob").delete("keys/b").await.is(200);
    server.user("bob").delete("keys/b").await.fails(404, "not_found");
    assert!(listed(&server, "bob").await.is_empty());
    let alice = server.user("alice");
    for content in ["plain", "{}", r#"{"v":1,"from_device":"a","devices":{}}"#] {
        let message = json!({ "client_msg_id": "x", "to_user": "bob", "msg_type": "encrypted", "content": content });
        alice.post("messages", message).await.fails(400, "invalid_request");
    }
}
