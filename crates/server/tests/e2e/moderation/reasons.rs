//! Reasons of decisions: from the deployment's list, in the audit trail, and told to authors.

use serde_json::{Value, json};
use testkit::Server;

use super::bearer;
use crate::{BIN, configured, fast_server};

async fn held(server: &Server, content: &str) -> String {
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let answer = server.user("alice").comment("lobby", content).await.expect(201);
    assert_eq!(answer["status"], "pending_review", "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// What the audit trail says of what was done to something.
async fn detail(server: &Server, action: &str, target: &str) -> Value {
    let trail = server.admin().get(&format!("admin/audit?action={action}&target={target}")).await.expect(200);
    let entries = trail["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 1, "{action} {target}: {trail}");
    entries[0]["detail"].as_str().map_or(Value::Null, |detail| serde_json::from_str(detail).unwrap())
}

#[tokio::test]
async fn the_list_is_the_deployments() {
    let server = fast_server().await;
    let defaults = ["spam", "insult", "hate", "sexual", "threat", "private", "links", "flood"];
    assert_eq!(server.admin().get("admin/reasons").await.expect(200), json!({ "reasons": defaults }));
    let mo = server.bearing(&bearer("mo", json!({ "level": "moderator", "rooms": ["lobby"] })));
    assert_eq!(mo.get("admin/reasons").await.expect(200)["reasons"][0], "spam");
    server.user("alice").get("admin/reasons").await.fails(403, "forbidden");

    let own = configured("[moderation]\nreasons = [\"剧透\", \"spoiler\"]\n").await;
    assert_eq!(own.admin().get("admin/reasons").await.expect(200), json!({ "reasons": ["剧透", "spoiler"] }));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    for wrong in ["[\"a\", \"a\"]", "[\"\"]", "[\" a\"]", "[\"a, b\"]", "\"spam\""] {
        std::fs::write(&file, format!("[moderation]\nreasons = {wrong}\n")).unwrap();
        let checked = std::process::Command::new(BIN).arg("check-config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && said.contains("b.toml:2: moderation.reasons"), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn a_decision_about_a_comment_has_a_reason_of_the_list_or_none() {
    let server = fast_server().await;
    let id = held(&server, "hold one").await;
    let reject = format!("admin/reviews/{id}/reject");
    for wrong in [json!({ "reason": "because" }), json!({ "reason": 5 }), json!("spam")] {
        server.admin().post(&reject, wrong).await.fails(400, "invalid_request");
    }
    assert_eq!(server.admin().get("admin/reviews").await.expect(200)["reviews"][0]["id"], json!(id), "still open");
    server.admin().post(&reject, json!({ "reason": "spam" })).await.is(200);
    assert_eq!(detail(&server, "review.reject", &id).await, json!({ "reason": "spam" }));
    for body in [Value::Null, json!({}), json!({ "reason": null })] {
        let id = held(&server, "hold another").await;
        server.admin().post(&format!("admin/reviews/{id}/reject"), body).await.is(200);
        assert_eq!(detail(&server, "review.reject", &id).await, Value::Null);
    }

    let said = server.user("alice").say("lobby", "a comment").await;
    server.admin().delete(&format!("admin/comments/{said}?reason=because")).await.fails(400, "invalid_request");
    server.admin().delete(&format!("admin/comments/{said}?reason=insult")).await.is(204);
    assert_eq!(detail(&server, "comment.delete", &said).await, json!({ "reason": "insult" }));
    let id = held(&server, "hold this").await;
    server.admin().delete(&format!("admin/comments/{id}?reason=sexual")).await.is(204);
    assert_eq!(detail(&server, "comment.delete", &id).await, json!({ "reason": "sexual", "held": true }));
}

#[tokio::test]
async fn who_is_banned_or_hidden_among_many_is_told_why() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mute = json!({ "user_id": "alice", "room_id": "lobby", "duration_s": 60, "kind": "mute", "reason": "flood" });
    server.admin().post("admin/bans", mute).await.is(201);
    assert_eq!(alice.event("user_muted").await["reason"], "flood");
    assert_eq!(detail(&server, "mute", "alice").await, json!({ "reason": "flood" }));
    let ban = json!({ "user_id": "ben", "duration_s": 60, "kind": "ban", "reason": "in my own words", "purge": true });
    server.admin().post("admin/bans", ban).await.is(201);
    assert_eq!(detail(&server, "ban", "ben").await, json!({ "reason": "in my own words", "purge": true }));

    server.user("carol").say("lobby", "buy now").await;
    let mut carol = server.viewer("carol", "lobby").await;
    let request = json!({ "match": { "user_id": "carol" }, "minutes": 5, "mute_s": 60, "reason": "spam" });
    let mut wrong = request.clone();
    wrong["reason"] = json!("because");
    server.admin().post("admin/rooms/lobby/nuke", wrong).await.fails(400, "invalid_request");
    let done = server.admin().post("admin/rooms/lobby/nuke", request).await.expect(200);
    assert_eq!(carol.event("user_muted").await["reason"], "spam");
    let action = done["action_id"].as_str().unwrap();
    assert_eq!(detail(&server, "nuke", action).await, json!({ "user_id": "carol", "reason": "spam" }));
}

#[tokio::test]
async fn an_author_is_told_why_an_appeal_was_declined() {
    let server = fast_server().await;
    let id = held(&server, "hold me").await;
    server.admin().post(&format!("admin/reviews/{id}/reject"), Value::Null).await.is(200);
    server.user("alice").post("appeals", json!({ "comment_id": id, "text": "why?" })).await.is(201);
    let mut alice = server.viewer("alice", "lobby").await;
    let reject = format!("admin/appeals/{id}/reject");
    server.admin().post(&reject, json!({ "reason": "because" })).await.fails(400, "invalid_request");
    server.admin().post(&reject, json!({ "reason": "hate" })).await.is(200);
    let told = alice.expect("the decision", |event| event["kind"] == "notice").await;
    assert_eq!(
        (&told["code"], &told["comment_id"], &told["reason"]),
        (&json!("appeal_rejected"), &json!(id), &json!("hate")),
        "{told}"
    );
    assert_eq!(detail(&server, "appeal.reject", &id).await, json!({ "reason": "hate" }));
}

#[tokio::test]
async fn the_trail_is_read_by_what_was_done_to_whom() {
    let server = fast_server().await;
    let (one, two) = (server.user("alice").say("lobby", "one").await, server.user("alice").say("attic", "two").await);
    for id in [&one, &two] {
        server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    }
    for n in 0..3 {
        let mute = json!({ "user_id": "alice", "room_id": "lobby", "duration_s": 60 + n, "kind": "mute" });
        server.admin().post("admin/bans", mute).await.is(201);
    }
    let read = async |query: &str| {
        let trail = server.admin().get(&format!("admin/audit?{query}")).await.expect(200);
        let entries = trail["entries"].as_array().unwrap().iter();
        let said =
            entries.map(|entry| format!("{} {}", entry["action"].as_str().unwrap(), entry["target"].as_str().unwrap()));
        (said.collect::<Vec<_>>(), trail["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(read(&format!("target={one}")).await, (vec![format!("comment.delete {one}")], None));
    assert_eq!(read(&format!("target={one}&room_id=attic")).await.0, Vec::<String>::new());
    assert_eq!(read("target=alice&action=mute").await.0.len(), 3);
    assert_eq!(read("target=nobody").await.0, Vec::<String>::new());
    // Pages, newest first.
    let (first, next) = read("target=alice&limit=2").await;
    let (rest, end) = read(&format!("target=alice&limit=2&cursor={}", next.expect("more"))).await;
    assert_eq!((first.len(), rest.len(), end), (2, 1, None));
    // A moderator finds what concerns the own rooms alone.
    let mo = server.bearing(&bearer("mo", json!({ "level": "moderator", "rooms": ["lobby"] })));
    let of_mo = |target: String| {
        let mo = mo.clone();
        async move { mo.get(&format!("admin/audit?target={target}")).await.expect(200)["entries"].as_array().unwrap().len() }
    };
    assert_eq!((of_mo(one.clone()).await, of_mo(two.clone()).await, of_mo("alice".into()).await), (1, 0, 3));
    // A room is a target, too.
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "hear" })).await.is(201);
    server.admin().post("admin/rooms/lobby/close", Value::Null).await.is(200);
    assert!(read("target=lobby").await.0.contains(&"room.close lobby".to_owned()));
}
