//! Comments held for a moderator.

use serde_json::{Value, json};
use testkit::{Server, now_s, token};

use crate::{contents, fast_server};

/// A server that holds whatever has "hold" in it.
async fn holding() -> Server {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    server
}

/// Says something that is held; the answer.
async fn held(server: &Server, user: &str, content: &str) -> Value {
    let answer = server.user(user).comment("lobby", content).await.expect(201);
    assert_eq!(answer["status"], "pending_review", "{answer}");
    answer
}

#[tokio::test]
async fn a_held_comment_is_published_when_it_is_approved_with_its_own_id_and_time() {
    let server = holding().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut alice = server.viewer("alice", "lobby").await;
    let ack = alice.comment("hold this").await;
    assert_eq!((&ack["type"], &ack["status"]), (&json!("comment_ack"), &json!("pending_review")));
    let later = server.user("carol").say("lobby", "said later").await;
    bob.sees("said later").await;

    let reviews = server.admin().get("admin/reviews?status=pending&room_id=lobby").await.expect(200);
    let review = &reviews["reviews"][0];
    assert_eq!(reviews["reviews"].as_array().map(Vec::len), Some(1), "{reviews}");
    assert_eq!((&review["id"], &review["room_id"], &review["user_id"]), (&ack["id"], &json!("lobby"), &json!("alice")));
    assert_eq!((&review["content"], &review["status"]), (&json!("hold this"), &json!("pending")));
    assert_eq!(review["created_at"], ack["created_at"]);

    let id = ack["id"].as_str().unwrap();
    server.admin().post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    let seen = bob.sees("hold this").await;
    assert_eq!((&seen["id"], &seen["created_at"]), (&ack["id"], &ack["created_at"]));
    assert_eq!(bob.contents(), ["said later", "hold this"]);

    // Whoever had read up to the later one finds it after that, however they ask.
    let page = server.user("dora").get(&format!("rooms/lobby/comments?since_id={later}")).await.expect(200);
    assert_eq!((contents(&page["comments"]), &page["latest_id"]), (vec!["hold this"], &ack["id"]));
    let joined = server.viewer("dora", "other").await.join("lobby", json!({ "since_id": later })).await;
    assert_eq!(contents(&joined["history"]), ["hold this"]);
    let mut stream = server.user("dora").events("lobby", "", Some(&later)).await;
    stream.sees("hold this").await;
    // And whoever goes on from its id, which is the smaller one, misses nothing and gets nothing twice.
    server.user("carol").say("lobby", "last").await;
    let page = server.user("dora").get(&format!("rooms/lobby/comments?since_id={id}")).await.expect(200);
    assert_eq!(contents(&page["comments"]), ["last"]);
}

#[tokio::test]
async fn an_approval_wakes_a_long_poll() {
    let server = holding().await;
    let last = server.user("carol").say("lobby", "first").await;
    let ack = held(&server, "alice", "hold").await;
    let reader = server.user("dora");
    let poll =
        tokio::spawn(async move { reader.get(&format!("rooms/lobby/comments?since_id={last}&wait_s=20")).await });
    let id = ack["id"].as_str().unwrap();
    server.admin().post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    assert_eq!(contents(&poll.await.unwrap().expect(200)["comments"]), ["hold"]);
}

#[tokio::test]
async fn a_rejected_comment_is_never_seen() {
    let server = holding().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let id = held(&server, "alice", "hold me").await["id"].as_str().unwrap().to_owned();
    server.admin().post(&format!("admin/reviews/{id}/reject"), Value::Null).await.is(200);
    for again in ["approve", "reject"] {
        server.admin().post(&format!("admin/reviews/{id}/{again}"), Value::Null).await.fails(409, "too_late");
    }
    server.admin().post("admin/reviews/12345/approve", Value::Null).await.fails(404, "not_found");
    server.user("alice").say("lobby", "afterwards").await;
    bob.sees("afterwards").await;
    assert_eq!(bob.contents(), ["afterwards"]);
    assert_eq!(server.admin().get("admin/reviews").await.expect(200)["reviews"], json!([]));
    let rejected = server.admin().get("admin/reviews?status=rejected").await.expect(200);
    assert_eq!(rejected["reviews"][0]["id"], id.as_str());
}

#[tokio::test]
async fn who_decided_and_when_is_recorded() {
    let server = holding().await;
    let id = held(&server, "alice", "hold it").await["id"].as_str().unwrap().to_owned();
    let mo = token(&json!({ "sub": "mo", "level": "moderator", "rooms": ["lobby"], "exp": now_s() + 60 }));
    server.bearing(&mo).post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    let approved = server.admin().get("admin/reviews?status=approved").await.expect(200);
    let review = &approved["reviews"][0];
    assert_eq!((&review["id"], &review["decided_by"]), (&json!(id), &json!("mo")));
    assert!(review["decided_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{review}");
    let trail = server.admin().get("admin/audit?room_id=lobby").await.expect(200);
    let entry = trail["entries"].as_array().unwrap().iter().find(|entry| entry["target"] == id.as_str());
    let entry = entry.unwrap_or_else(|| panic!("{trail}"));
    assert_eq!((&entry["actor"], &entry["action"]), (&json!("mo"), &json!("review.approve")));
}

#[tokio::test]
async fn a_moderator_sees_and_decides_the_own_rooms_alone() {
    let server = holding().await;
    let id = held(&server, "alice", "hold it").await["id"].as_str().unwrap().to_owned();
    let other = token(&json!({ "sub": "mo", "level": "moderator", "rooms": ["attic"], "exp": now_s() + 60 }));
    let other = server.bearing(&other);
    assert_eq!(other.get("admin/reviews").await.expect(200)["reviews"], json!([]));
    other.get("admin/reviews?room_id=lobby").await.fails(403, "forbidden");
    other.post(&format!("admin/reviews/{id}/approve"), Value::Null).await.fails(403, "forbidden");
    server.user("alice").post(&format!("admin/reviews/{id}/approve"), Value::Null).await.fails(403, "forbidden");
}

#[tokio::test]
async fn held_comments_outlive_a_restart_and_a_retry_still_gets_the_first_answer() {
    let mut server = holding().await;
    let comment = json!({ "content": "hold on", "client_msg_id": "k" });
    let first = server.user("alice").post("rooms/lobby/comments", comment.clone()).await.expect(201);
    server.kill9().await;
    server.restart().await;
    let again = server.user("alice").post("rooms/lobby/comments", comment).await.expect(201);
    assert_eq!(again, first);
    let id = first["id"].as_str().unwrap();
    server.admin().post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    assert_eq!((contents(&replay["comments"]), &replay["comments"][0]["id"]), (vec!["hold on"], &first["id"]));
}
