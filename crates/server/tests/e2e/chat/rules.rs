//! What may be said: lengths, words, rates, bans and mutes, envelopes.

use serde_json::{Value, json};
use testkit::Device;

use super::{NO_LIMITS, only_conversation, to};
use crate::{configured, server};

#[tokio::test]
async fn texts_have_their_bounds_and_errors_name_the_message() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    for (content, code) in [("", "content_empty"), (" \u{200b}\n", "content_empty")] {
        let refused = alice.refused(to("bob", "a-1", content), code).await;
        assert_eq!(refused["client_msg_id"], "a-1", "{refused}");
    }
    let emoji = "😀".repeat(4_001);
    server
        .user("alice")
        .post("messages", json!({ "client_msg_id": "a-2", "to_user": "bob", "content": emoji }))
        .await
        .fails(422, "content_too_long");
    let longest = "长".repeat(4_000);
    assert_eq!(alice.ask(to("bob", "a-3", &longest)).await["status"], "delivered", "it fits into a socket's message");
    let page = server.user("bob").get("messages?since_id=0").await.expect(200);
    assert_eq!(page["messages"][0]["content"], longest);
}

#[tokio::test]
async fn words_are_masked_or_blocked_and_nothing_is_held_for_review() {
    let server = server().await;
    let words = json!({ "mask": ["darn"], "review": ["hold"], "block": ["spam"] });
    server.admin().put("admin/words", words).await.is(200);
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    alice.say("bob", "darn, hold on").await;
    bob.gets("****, hold on").await;
    alice.gets("****, hold on").await;
    alice.socket().refused(to("bob", "x", "buy spam"), "content_blocked").await;
    assert_eq!(server.admin().get("admin/reviews?status=pending").await.expect(200)["reviews"], json!([]));
    let group = server.user("alice").post("groups", json!({ "name": "spam" })).await;
    assert_eq!(group.body["error"]["code"], "content_blocked", "names of groups are held against them too");
}

#[tokio::test]
async fn without_the_word_filter_texts_stay_as_they_are() {
    let server = configured("[chat]\nword_filter = false\n").await;
    server.admin().put("admin/words", json!({ "mask": [], "review": [], "block": ["spam"] })).await.is(200);
    let mut alice = Device::online(&server, "alice", "phone").await;
    alice.say("bob", "spam").await;
}

#[tokio::test]
async fn a_hundred_at_once_then_twenty_a_second() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    for n in 0..140 {
        let mut message = to("bob", &n.to_string(), &format!("m{n}"));
        message["ref"] = json!(n);
        alice.send(message).await;
    }
    let (mut taken, mut refused) = (0, Vec::new());
    for n in 0..140 {
        let answer = alice.expect("an answer", |answer| answer["ref"] == n).await;
        if answer["type"] == "message_ack" {
            taken += 1;
        } else {
            assert_eq!(
                (&answer["code"], &answer["client_msg_id"]),
                (&json!("rate_limited"), &json!(n.to_string())),
                "{answer}"
            );
            assert!(answer["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)), "{answer}");
            refused.push(n);
        }
    }
    assert!(taken >= 100, "{taken}");
    assert!(!refused.is_empty() && refused[0] >= 100, "{refused:?}");
    // A repeat is answered before any limit: all hundred at once.
    for n in 0..100 {
        assert_eq!(alice.ask(to("bob", &n.to_string(), "again")).await["type"], "message_ack");
    }
    server
        .user("alice")
        .post("messages", json!({ "client_msg_id": "0", "to_user": "bob", "content": "again" }))
        .await
        .is(201);
}

#[tokio::test]
async fn who_is_banned_or_muted_everywhere_is_told_so() {
    let server = server().await;
    let admin = server.admin();
    let mut alice = server.device("alice", "phone").await;
    let ban = |user: &str, kind: &str, room: Value| json!({ "user_id": user, "kind": kind, "duration_s": 60, "room_id": room });
    admin.post("admin/bans", ban("alice", "ban", json!("lobby"))).await.is(201);
    admin.post("admin/bans", ban("alice", "mute", json!("lobby"))).await.is(201);
    assert_eq!(alice.ask(to("bob", "1", "rooms do not matter here")).await["status"], "delivered");
    admin.post("admin/bans", ban("alice", "mute", Value::Null)).await.is(201);
    let refused = alice.refused(to("bob", "2", "shh"), "muted").await;
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 60_000), "{refused}");
    assert_eq!(alice.ask(to("bob", "1", "again")).await["type"], "message_ack", "what was sent was sent");
    let group = server.user("alice").post("groups", json!({ "name": "quiet" })).await;
    assert_eq!(group.body["error"]["code"], "muted");
    admin.post("admin/bans", ban("alice", "ban", Value::Null)).await.is(201);
    assert_eq!(alice.wait_close().await.0, 4003);
    let body = json!({ "client_msg_id": "3", "to_user": "bob", "content": "hi" });
    server.user("alice").post("messages", body).await.fails(403, "banned");
    server.user("alice").get("messages").await.fails(403, "banned");
}

/// An encrypted message's content with a body of so many characters.
fn envelope(characters: usize) -> String {
    json!({ "v": 1, "from_device": "phone", "devices": { "bob/phone": { "type": 0, "body": "A".repeat(characters) } } })
        .to_string()
}

#[tokio::test]
async fn envelopes_are_relayed_unseen_and_long_ones_go_over_http() {
    let server = configured(NO_LIMITS).await;
    server.admin().put("admin/words", json!({ "mask": [], "review": [], "block": ["aaaa"] })).await.is(200);
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let encrypted = |id: &str, content: &str| json!({ "client_msg_id": id, "to_user": "bob", "content": content, "msg_type": "encrypted" });
    let (short, long) = (envelope(2_000), envelope(65_000));
    let mut message = encrypted("1", &short);
    message["type"] = json!("send_message");
    assert_eq!(alice.socket().ask(message).await["status"], "delivered");
    assert_eq!(bob.gets(&short).await["msg_type"], "encrypted");
    let http = server.user("alice");
    http.post("messages", encrypted("2", &long)).await.is(201);
    bob.gets(&long).await;
    assert_eq!(only_conversation(&server.user("bob")).await["last_message"]["content"], long);
    let mut late = Device::online(&server, "bob", "tablet").await;
    assert_eq!(late.contents(None), [short.as_str(), &long]);
    late.leave().await;
    http.post("messages", encrypted("3", &envelope(66_000))).await.fails(422, "content_too_long");
    http.post("messages", encrypted("4", "plain text")).await.fails(400, "invalid_request");
    let group = super::group(&http, "team", &["bob"]).await;
    let body = json!({ "client_msg_id": "5", "group_id": group, "content": short, "msg_type": "encrypted" });
    http.post("messages", body).await.fails(400, "invalid_request");
}
