//! Groups and keys: what strangers may do to somebody.

use serde_json::json;
use testkit::Http;

use crate::{configured, server};

async fn group(http: &Http, members: &[&str]) -> serde_json::Value {
    http.post("groups", json!({ "name": "team", "members": members })).await.expect(201)
}

async fn write(http: &Http, to: &str, id: &str) {
    http.post("messages", json!({ "client_msg_id": id, "to_user": to, "content": "hello" })).await.is(201);
}

#[tokio::test]
async fn a_user_makes_so_many_groups_an_hour() {
    let server = configured("[chat]\ngroups_per_hour = 3\n").await;
    for _ in 0..3 {
        group(&server.user("alice"), &["bob"]).await;
    }
    let one_more = json!({ "name": "one more", "members": [] });
    let error = server.user("alice").post("groups", one_more).await.fails(429, "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 1_000_000), "{error}");
    group(&server.user("bob"), &["alice"]).await;
}

#[tokio::test]
async fn who_is_blocked_cannot_add_somebody_to_a_group() {
    let server = server().await;
    let (mallory, victim) = (server.user("mallory"), server.user("victim"));
    let made = group(&mallory, &["victim", "friend"]).await;
    let id = made["group_id"].as_str().unwrap();
    assert_eq!(made["not_added"], json!(null));
    victim.delete(&format!("groups/{id}/members/victim")).await.is(200);
    victim.put("users/mallory/block", json!({})).await.is(200);
    // Not again after leaving, and not into another one.
    let added = mallory.post(&format!("groups/{id}/members"), json!({ "user_ids": ["victim", "other"] })).await;
    assert_eq!(added.expect(200)["added"], json!(["other"]));
    assert_eq!(group(&mallory, &["victim", "friend"]).await["not_added"], json!(["victim"]));
    assert_eq!(victim.get("conversations").await.expect(200)["conversations"], json!([]));
}

#[tokio::test]
async fn strangers_add_nobody_where_only_contacts_may() {
    let server = configured("[chat]\ngroup_adds = \"contacts\"\n").await;
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    write(&bob, "alice", "b-1").await;
    // Carol was written to, which makes nobody her contact.
    write(&alice, "carol", "a-1").await;
    let made = group(&alice, &["bob", "carol", "dave"]).await;
    assert_eq!(made["not_added"], json!(["carol", "dave"]));
    let path = format!("groups/{}/members", made["group_id"].as_str().unwrap());
    write(&server.user("carol"), "alice", "c-1").await;
    let added = alice.post(&path, json!({ "user_ids": ["carol", "dave"] })).await.expect(200);
    assert_eq!(added["added"], json!(["carol"]));
}

#[tokio::test]
async fn nobody_uses_up_the_keys_of_another() {
    let server = server().await;
    let claim =
        async |asker: &str, user: &str| server.user(asker).post(&format!("users/{user}/keys/claim"), json!({})).await;
    for _ in 0..20 {
        claim("mallory", "victim").await.is(200);
    }
    let error = claim("mallory", "victim").await.fails(429, "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 60_000), "{error}");
    claim("mallory", "another").await.is(200);
    claim("alice", "victim").await.is(200);
}
