//! Many comments are hidden at once, and come back as one.

use serde_json::{Value, json};

use super::bearer;
use crate::{contents, fast_server};

const NUKE: &str = "admin/rooms/lobby/nuke";

#[tokio::test]
async fn what_matches_is_counted_hidden_and_shown_again() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    for (user, content) in
        [("a", "Buy   NOW!"), ("b", "buy now please"), ("a", "hello"), ("b", "goodbye"), ("c", "buy now")]
    {
        server.user(user).say("lobby", content).await;
    }
    bob.sees("buy now").await;
    let all = ["Buy   NOW!", "buy now please", "hello", "goodbye", "buy now"];
    let text = json!({ "match": { "text": "buy now" }, "minutes": 5, "preview": true });
    let preview = server.admin().post(NUKE, text.clone()).await.expect(200);
    assert_eq!(preview, json!({ "comments": 3, "users": 3 }));
    let replay = async || server.user("dora").get("rooms/lobby/replay").await.expect(200)["comments"].clone();
    let polled = async || server.user("dora").get("rooms/lobby/comments").await.expect(200)["comments"].clone();
    assert_eq!(contents(&replay().await), all);

    let done = server.admin().post(NUKE, json!({ "match": { "text": "buy now" }, "minutes": 5 })).await.expect(200);
    assert_eq!((&done["comments"], &done["users"]), (&json!(3), &json!(3)));
    let told = bob.expect("the deletion", |event| event["kind"] == "comment_deleted").await;
    assert_eq!(told["comment_ids"].as_array().map(Vec::len), Some(3), "{told}");
    for (door, shown) in [("replay", replay().await), ("poll", polled().await)] {
        assert_eq!(contents(&shown), ["hello", "goodbye"], "{door}");
    }
    let joined = server.viewer("erin", "lobby").await;
    assert_eq!(joined.contents(), ["hello", "goodbye"]);

    let undo = format!("admin/rooms/lobby/undo/{}", done["action_id"].as_str().unwrap());
    server.user("alice").post(&undo, Value::Null).await.fails(403, "forbidden");
    assert_eq!(server.admin().post(&undo, Value::Null).await.expect(200)["comments"], 3);
    bob.expect("the return", |event| event["kind"] == "comments_restored").await;
    for (door, shown) in [("replay", replay().await), ("poll", polled().await)] {
        assert_eq!(contents(&shown), all, "{door}");
    }
    let joined = server.viewer("fred", "lobby").await;
    assert_eq!(joined.contents(), all);
    server.admin().post(&undo, Value::Null).await.fails(409, "too_late");
    server.admin().post("admin/rooms/lobby/undo/12345", Value::Null).await.fails(404, "not_found");
}

#[tokio::test]
async fn expressions_and_people_match_too_and_nonsense_is_refused() {
    let server = fast_server().await;
    for (user, content) in [("a", "call 555-0101"), ("a", "hello"), ("b", "call 555-0199")] {
        server.user(user).say("lobby", content).await;
    }
    for (by, expected) in [
        (json!({ "regex": r"\d{3}-\d{4}" }), json!({ "comments": 2, "users": 2 })),
        // Exponential for engines that go back.
        (json!({ "regex": r"^(\w+\s?)+\d$" }), json!({ "comments": 0, "users": 0 })),
        (json!({ "user_id": "a" }), json!({ "comments": 2, "users": 1 })),
        (json!({ "text": "nowhere" }), json!({ "comments": 0, "users": 0 })),
    ] {
        let request = json!({ "match": by, "minutes": 1, "preview": true });
        assert_eq!(server.admin().post(NUKE, request).await.expect(200), expected, "{by}");
    }
    for request in [
        json!({ "match": { "regex": "(" }, "minutes": 1 }),
        json!({ "match": { "regex": "(a{1000}){1000}" }, "minutes": 1 }),
        json!({ "match": {}, "minutes": 1 }),
        json!({ "match": { "text": "a", "user_id": "b" }, "minutes": 1 }),
        json!({ "match": { "text": "a" }, "minutes": 0 }),
        json!({ "match": { "text": "a" }, "minutes": 100_000 }),
    ] {
        server.admin().post(NUKE, request).await.fails(400, "invalid_request");
    }
    server.user("a").post(NUKE, json!({ "match": { "text": "a" }, "minutes": 1 })).await.fails(403, "forbidden");
}

#[tokio::test]
async fn who_said_something_goes_with_everything_else_is_muted_and_comes_back_as_one() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    for (user, content) in [
        ("raider1", "Join  THAT stream"),
        ("raider1", "this one is boring"),
        ("raider2", "join that stream!"),
        ("olga", "join that stream, they say"),
        ("ann", "hello"),
    ] {
        server.user(user).say("lobby", content).await;
    }
    let replay = async || server.user("dora").get("rooms/lobby/replay").await.expect(200)["comments"].clone();
    let all = replay().await;
    let mut request = json!({ "match": { "said": "join that stream" }, "minutes": 1, "preview": true, "mute_s": 600 });
    assert_eq!(server.admin().post(NUKE, request.clone()).await.expect(200), json!({ "comments": 4, "users": 3 }));
    server.user("raider1").say("lobby", "a preview mutes nobody").await;
    request["preview"] = json!(false);
    let done = server.admin().post(NUKE, request).await.expect(200);
    assert_eq!((&done["comments"], &done["users"], &done["muted"]), (&json!(5), &json!(3), &json!(2)), "{done}");
    assert_eq!(contents(&replay().await), ["hello"]);
    for user in ["raider1", "raider2"] {
        server.user(user).comment("lobby", "again").await.fails(403, "muted");
    }
    server.user("olga").say("lobby", "the owner is not muted").await;

    let undo = format!("admin/rooms/lobby/undo/{}", done["action_id"].as_str().unwrap());
    let undone = server.admin().post(&undo, Value::Null).await.expect(200);
    assert_eq!((&undone["comments"], &undone["muted"]), (&json!(5), &json!(2)), "{undone}");
    server.user("raider1").say("lobby", "back").await;
    let shown = replay().await;
    let expected: Vec<&str> = contents(&all).into_iter().chain(["a preview mutes nobody"]).collect();
    assert_eq!(contents(&shown)[..expected.len()], expected);
}

#[tokio::test]
async fn young_accounts_go_by_what_their_tokens_say_or_by_when_they_were_first_seen() {
    let server = fast_server().await;
    let now = testkit::now_s();
    let of = |user: &str, age_s: i64| server.bearing(&bearer(user, json!({ "created_at": now - age_s })));
    of("young", 120).say("lobby", "made two minutes ago").await;
    of("old", 9_000).say("lobby", "made hours ago").await;
    server.user("unknown").say("lobby", "first seen now").await;
    for (age_s, expected) in [(600, 2), (60, 1), (86_400, 3)] {
        let request = json!({ "match": { "account_age_s": age_s }, "minutes": 5, "preview": true });
        let preview = server.admin().post(NUKE, request).await.expect(200);
        assert_eq!(preview, json!({ "comments": expected, "users": expected }), "{age_s}");
    }
    let request = json!({ "match": { "account_age_s": 600 }, "minutes": 5 });
    let done = server.admin().post(NUKE, request).await.expect(200);
    let replay = server.user("dora").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["made hours ago"]);
    let undo = format!("admin/rooms/lobby/undo/{}", done["action_id"].as_str().unwrap());
    assert_eq!(server.admin().post(&undo, Value::Null).await.expect(200)["comments"], 2);
    for wrong in [json!({ "account_age_s": 0 }), json!({ "account_age_s": 60, "said": "x" }), json!({ "said": "" })] {
        server.admin().post(NUKE, json!({ "match": wrong, "minutes": 1 })).await.fails(400, "invalid_request");
    }
    let mute = json!({ "match": { "text": "x" }, "minutes": 1, "mute_s": 0 });
    server.admin().post(NUKE, mute).await.fails(400, "invalid_request");
}
