//! Likes: once a user, taken back, kept; and the hot comments made of them.

use serde_json::{Value, json};

use crate::{contents, fast_server};

#[tokio::test]
async fn a_user_likes_a_comment_once_however_they_say_it() {
    let server = fast_server().await;
    let id = server.user("alice").say("lobby", "like me").await;
    let like = json!({ "type": "like", "comment_id": id });
    let mut bob = server.viewer("bob", "lobby").await;
    let ack = bob.ask(like.clone()).await;
    assert_eq!((&ack["type"], &ack["comment_id"], &ack["like_count"]), (&json!("like_ack"), &json!(id), &json!(1)));
    bob.refused(like, "already_liked").await;
    let path = format!("comments/{id}/like");
    server.user("bob").post(&path, Value::Null).await.fails(409, "already_liked");
    assert_eq!(server.user("carol").post(&path, Value::Null).await.expect(200), json!({ "like_count": 2 }));
    assert_eq!(server.user("bob").delete(&path).await.expect(200), json!({ "like_count": 1 }));
    assert_eq!(
        server.user("bob").delete(&path).await.expect(200),
        json!({ "like_count": 1 }),
        "there was none to take back"
    );
    assert_eq!(server.user("bob").post(&path, Value::Null).await.expect(200), json!({ "like_count": 2 }));
}

#[tokio::test]
async fn likes_are_right_after_a_restart() {
    let mut server = fast_server().await;
    let id = server.user("alice").say("lobby", "like me").await;
    let path = format!("comments/{id}/like");
    for user in ["bob", "carol", "dora"] {
        server.user(user).post(&path, Value::Null).await.is(200);
    }
    server.user("carol").delete(&path).await.is(200);
    server.kill9().await;
    server.restart().await;
    server.user("bob").post(&path, Value::Null).await.fails(409, "already_liked");
    let joined = server.viewer("emil", "lobby").await;
    assert_eq!(joined.given[0]["like_count"], 2);
    let hot = server.user("emil").get("rooms/lobby/hot").await.expect(200);
    assert_eq!((&hot["comments"][0]["id"], &hot["comments"][0]["like_count"]), (&json!(id), &json!(2)));
    assert_eq!(server.user("carol").post(&path, Value::Null).await.expect(200), json!({ "like_count": 3 }));
    let replay = server.user("emil").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(replay["comments"][0]["like_count"], 3);
}

#[tokio::test]
async fn what_is_not_there_or_not_for_you_cannot_be_liked() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/club", json!({ "private": true, "owner_id": "olga" })).await.is(200);
    let id = server.user("olga").say("club", "among us").await;
    for unknown in [&id, "123456"] {
        server.user("bob").post(&format!("comments/{unknown}/like"), Value::Null).await.fails(404, "not_found");
    }
    server.user("bob").post("comments/abc/like", Value::Null).await.fails(400, "invalid_request");
    server.http().post(&format!("comments/{id}/like"), Value::Null).await.fails(401, "unauthorized");
    let mut bob = server.viewer("bob", "lobby").await;
    bob.refused(json!({ "type": "like", "comment_id": "123456" }), "not_found").await;
    bob.refused(json!({ "type": "like", "comment_id": "x" }), "invalid_request").await;
}

#[tokio::test]
async fn hot_comments_are_the_most_liked_at_once() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut ids = Vec::new();
    for (n, content) in ["none", "one", "two", "three"].into_iter().enumerate() {
        let id = server.user("alice").say("lobby", content).await;
        for user in 0..n {
            server.user(&format!("u{user}")).post(&format!("comments/{id}/like"), Value::Null).await.is(200);
        }
        ids.push(id);
    }
    let hot = server.user("bob").get("rooms/lobby/hot").await.expect(200);
    assert_eq!(contents(&hot["comments"]), ["three", "two", "one"]);
    assert_eq!(hot["comments"][0]["like_count"], 3);
    let top = server.user("bob").get("rooms/lobby/hot?limit=1").await.expect(200);
    assert_eq!(contents(&top["comments"]), ["three"]);
    bob.expect("the hot comments", |event| {
        event["kind"] == "hot_comments" && contents(&event["comments"]) == ["three", "two", "one"]
    })
    .await;

    for user in 0..3 {
        server.user(&format!("u{user}")).delete(&format!("comments/{}/like", ids[3])).await.is(200);
    }
    let hot = server.user("bob").get("rooms/lobby/hot").await.expect(200);
    assert_eq!(contents(&hot["comments"]), ["two", "one"]);
    server.admin().delete(&format!("admin/comments/{}", ids[2])).await.is(204);
    let hot = server.user("bob").get("rooms/lobby/hot").await.expect(200);
    assert_eq!(contents(&hot["comments"]), ["one"]);
}
