//! Read marks and recalls: who is told, what is counted, what is gone.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::Device;

use super::{NO_LIMITS, group, history, online, only_conversation};
use crate::{configured, server};

async fn mark(device: &mut Device, message_id: &str) -> Value {
    device.socket().ask(json!({ "type": "mark_as_read", "message_id": message_id })).await
}

async fn recall(device: &mut Device, message_id: &str) -> Value {
    device.socket().ask(json!({ "type": "recall_message", "message_id": message_id })).await
}

#[tokio::test]
async fn reading_one_reads_all_before_it_and_tells_the_sender_and_ones_other_devices() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob"]).await;
    let mut tablet = Device::online(&server, "bob", "tablet").await;
    let [alice, bob] = &mut devices[..] else { unreachable!() };
    let mut sent = Vec::new();
    for n in 0..4 {
        sent.push(alice.say("bob", &format!("m{n}")).await);
    }
    bob.gets("m3").await;
    let bobs = server.user("bob");
    assert_eq!(only_conversation(&bobs).await["unread_count"], 4);

    let ack = mark(bob, &sent[2]).await;

    assert_eq!(
        (&ack["type"], &ack["message_id"], &ack["unread_count"]),
        (&json!("read_ack"), &json!(sent[2]), &json!(1))
    );
    for device in [&mut *alice, &mut tablet] {
        let told = device.until("message_read", |device| device.reads.first().cloned()).await;
        assert_eq!((&told["message_id"], &told["read_by"]), (&json!(sent[2]), &json!("bob")));
        assert_eq!(told["conversation_id"], ack["conversation_id"]);
        assert!(told["read_at"].is_string() && told.get("group_id").is_none());
    }
    let mine = history(&server.user("alice"), ack["conversation_id"].as_str().unwrap()).await;
    let statuses: Vec<_> = mine.iter().map(|message| message["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["read", "read", "read", "delivered"]);
    assert_eq!(mark(bob, &sent[0]).await["unread_count"], 1, "a mark never goes back");
    let found = only_conversation(&server.user("alice")).await;
    assert_eq!((&found["peer_read_id"], &found["unread_count"]), (&json!(sent[2]), &json!(0)));
    assert_eq!(only_conversation(&bobs).await["read_id"], *sent[2]);
    let read = bobs.post(&format!("messages/{}/read", sent[3]), Value::Null).await.expect(200);
    assert_eq!(read["unread_count"], 0);
    alice.until("the second read", |device| (device.reads.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn in_a_group_readers_are_counted_and_only_authors_are_told() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    let [alice, bob, carol] = &mut devices[..] else { unreachable!() };
    let id = group(&server.user("alice"), "team", &["bob", "carol"]).await;
    let first = alice.say_to_group(&id, "one").await;
    let second = alice.say_to_group(&id, "two").await;
    bob.gets("two").await;
    carol.gets("two").await;

    mark(bob, &first).await;
    let told = alice.until("bob's mark", |device| device.reads.first().cloned()).await;
    assert_eq!((&told["read_by"], &told["group_id"], &told["message_id"]), (&json!("bob"), &json!(id), &json!(first)));
    mark(carol, &second).await;
    alice.until("carol's mark", |device| (device.reads.len() == 2).then_some(())).await;

    let past = history(&server.user("alice"), &id).await;
    let shown: Vec<_> =
        past.iter().map(|m| (m["status"].as_str().unwrap(), m["read_count"].as_u64().unwrap())).collect();
    assert_eq!(shown, [("read", 2), ("delivered", 1)], "one is read by all others, two by carol");
    bob.socket().settled().await;
    bob.hear();
    assert!(bob.reads.is_empty(), "bob wrote nothing that carol read: {:?}", bob.reads);
    assert_eq!(only_conversation(&server.user("bob")).await["unread_count"], 1);
    assert_eq!(only_conversation(&server.user("alice")).await["unread_count"], 0, "own messages do not count");
}

#[tokio::test]
async fn a_recalled_message_is_gone_from_every_answer_and_every_device_is_told() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob"]).await;
    let mut tablet = Device::online(&server, "alice", "tablet").await;
    let [alice, bob] = &mut devices[..] else { unreachable!() };
    let ask = super::to("bob", "r-1", "a secret");
    let id = alice.socket().ask(ask.clone()).await["server_msg_id"].as_str().unwrap().to_owned();
    bob.gets("a secret").await;

    let ack = recall(alice, &id).await;

    assert_eq!((&ack["type"], &ack["message_id"]), (&json!("recall_ack"), &json!(id)));
    let gone = |device: &Device| device.messages.iter().find(|m| m["id"] == *id && m["status"] == "recalled").cloned();
    for device in [&mut *alice, &mut *bob, &mut tablet] {
        device.until("message_recalled", gone).await;
    }
    assert_eq!(recall(alice, &id).await["type"], "recall_ack", "twice is fine");
    let mut late = Device::online(&server, "bob", "new").await;
    assert_eq!(late.contents(None), [""]);
    late.leave().await;
    for user in ["alice", "bob"] {
        let http = server.user(user);
        let found = only_conversation(&http).await;
        let past = http.get(&format!("conversations/{}/messages", found["conversation_id"].as_str().unwrap())).await;
        let synced = http.get("messages?since_id=0&since_change=0").await;
        for text in [&found.to_string(), &past.text, &synced.text] {
            assert!(!text.contains("a secret") && text.contains("recalled"), "{text}");
        }
        assert_eq!(found["unread_count"], 0, "what was recalled is not unread");
    }
    let again = alice.socket().ask(ask).await;
    assert_eq!(again["server_msg_id"], *id, "a repeat is still the first one");
}

#[tokio::test]
async fn only_its_sender_recalls_and_only_for_a_while() {
    let server = configured("[chat]\nrecall_s = 1\n").await;
    let mut devices = online(&server, &["alice", "bob", "mallory"]).await;
    let [alice, bob, mallory] = &mut devices[..] else { unreachable!() };
    let id = alice.say("bob", "short-lived").await;
    let recall = json!({ "type": "recall_message", "message_id": id });
    bob.socket().refused(recall.clone(), "forbidden").await;
    mallory.socket().refused(recall.clone(), "not_found").await;
    mallory.socket().refused(json!({ "type": "recall_message", "message_id": "1" }), "not_found").await;
    server.user("bob").delete(&format!("messages/{id}")).await.fails(403, "forbidden");
    // The window is what is tested: it has to pass.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    alice.socket().refused(recall, "too_late").await;
    server.user("alice").post(&format!("messages/{id}/recall"), Value::Null).await.fails(409, "too_late");
    let soon = alice.say("bob", "again").await;
    server.user("alice").delete(&format!("messages/{soon}")).await.is(200);
}

#[tokio::test]
async fn unread_counts_are_per_conversation_and_agree_everywhere() {
    let server = configured(NO_LIMITS).await;
    let mut devices = online(&server, &["alice", "carol"]).await;
    let [alice, carol] = &mut devices[..] else { unreachable!() };
    let id = group(&server.user("carol"), "team", &["alice", "bob"]).await;
    for n in 0..7 {
        alice.say("bob", &format!("d{n}")).await;
    }
    for n in 0..3 {
        carol.say_to_group(&id, &format!("g{n}")).await;
    }
    let bob = server.user("bob");
    let listed = bob.get("conversations").await.expect(200);
    let counts: Vec<_> =
        listed["conversations"].as_array().unwrap().iter().map(|c| (&c["kind"], &c["unread_count"])).collect();
    assert_eq!(counts, [(&json!("group"), &json!(3)), (&json!("direct"), &json!(7))], "newest activity first");
    let first = bob.get("conversations?limit=1").await.expect(200);
    let next =
        bob.get(&format!("conversations?limit=1&before={}", first["next_cursor"].as_str().unwrap())).await.expect(200);
    assert_eq!(next["conversations"][0]["kind"], "direct");
    assert!(next.get("next_cursor").is_none());
}
