//! Each rule refuses at every door that writes, by its own name, and binds nobody who moderates.

use serde_json::{Value, json};
use testkit::{eventually, now_s};

use super::{bearer, rules};
use crate::{contents, fast_server};

/// A rule refuses over HTTP and the socket, and names itself.
async fn refuses(server: &testkit::Server, who: &str, content: &str, status: u16, code: &str, rule: &str) {
    let error = server.user(who).comment("lobby", content).await.fails(status, code);
    assert_eq!(error["rule"], rule, "{content}: {error}");
    let mut socket = server.viewer(who, "lobby").await;
    let error = socket.refused(json!({ "type": "comment", "room_id": "lobby", "content": content }), code).await;
    assert_eq!(error["rule"], rule, "{content}: {error}");
}

#[tokio::test]
async fn texts_are_held_against_the_rooms_rules() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "links": "none" })).await;
    refuses(&server, "alice", "see example.com", 422, "content_blocked", "links").await;
    rules(&server, "lobby", json!({ "links": ["example.com"] })).await;
    server.user("alice").say("lobby", "see www.example.com").await;
    refuses(&server, "alice", "see example.com.evil.net", 422, "content_blocked", "links").await;

    rules(&server, "lobby", json!({ "links": null, "capitals": 0.6 })).await;
    refuses(&server, "alice", "LOOK AT THIS", 422, "content_blocked", "capitals").await;
    server.user("alice").say("lobby", "OK then").await;

    rules(&server, "lobby", json!({ "capitals": null, "blocked_terms": ["hat*", "微信"] })).await;
    refuses(&server, "alice", "Hatters here", 422, "content_blocked", "blocked_terms").await;
    refuses(&server, "alice", "加微信", 422, "content_blocked", "blocked_terms").await;
    server.user("alice").say("lobby", "what is that").await;

    rules(&server, "lobby", json!({ "blocked_terms": null, "emoji_only": true })).await;
    refuses(&server, "alice", "words", 422, "content_blocked", "emoji_only").await;
    server.user("alice").say("lobby", "🎉👍🏽").await;

    rules(&server, "lobby", json!({ "emoji_only": null, "similar": 0.8 })).await;
    server.user("alice").say("lobby", "add me on abc123 for gifts").await;
    refuses(&server, "bob", "Add me on abc124 for gifts!", 422, "content_blocked", "similar").await;
    server.user("bob").say("lobby", "what a lovely evening").await;

    // The very same text is a duplicate, also where near copies are refused.
    rules(&server, "lobby", json!({ "unique_s": 60 })).await;
    server.user("alice").say("lobby", "first of its kind").await;
    let error = server.user("bob").comment("lobby", "FIRST of its kind").await.fails(409, "duplicate_comment");
    assert_eq!(error["rule"], "unique_s");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{error}");

    let settings = rules(&server, "lobby", json!({ "similar": null, "unique_s": null })).await;
    assert_eq!(settings["moderation"], json!({}));
    server.user("bob").say("lobby", "see example.com").await;
}

#[tokio::test]
async fn people_are_held_against_the_rooms_rules() {
    let server = fast_server().await;
    let ann = |claims: Value| server.bearing(&bearer("ann", claims));
    for (moderation, outside, inside) in [
        (json!({ "verified_only": true }), json!({}), json!({ "verified": true })),
        (json!({ "followers_only_s": 60 }), json!({}), json!({ "followed_at": now_s() - 61 })),
        (
            json!({ "followers_only_s": 60 }),
            json!({ "followed_at": now_s() - 9 }),
            json!({ "followed_at": "2024-01-01T00:00:00Z" }),
        ),
        (json!({ "account_age_s": 60 }), json!({ "created_at": now_s() - 9 }), json!({ "created_at": now_s() - 61 })),
        (json!({ "account_age_s": 60 }), json!({}), json!({ "created_at": now_s() - 61 })),
    ] {
        let rule = moderation.as_object().unwrap().keys().next().unwrap().clone();
        rules(&server, "lobby", moderation.clone()).await;
        let error = ann(outside).comment("lobby", "hello").await.fails(403, "forbidden");
        assert_eq!(error["rule"], rule.as_str(), "{moderation}");
        ann(inside).say("lobby", &format!("hello under {moderation}")).await;
        rules(&server, "lobby", json!({ rule: null })).await;
    }
    rules(&server, "lobby", json!({ "level_slow_s": { "normal": 30, "vip": 1 } })).await;
    ann(json!({})).say("lobby", "one").await;
    let error = ann(json!({})).comment("lobby", "two").await.fails(429, "rate_limited");
    assert_eq!(error["rule"], "level_slow_s");
    ann(json!({ "level": "admin" })).say("lobby", "an admin may").await;
}

#[tokio::test]
async fn an_account_without_a_date_counts_from_when_it_was_first_seen() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "account_age_s": 1 })).await;
    server.user("newcomer").comment("lobby", "hi").await.fails(403, "forbidden");
    let said = eventually("the account is old enough", async || {
        Some(server.user("newcomer").comment("lobby", "hi").await).filter(|reply| reply.status == 201)
    });
    assert_eq!(said.await.expect(201)["status"], "accepted");
}

#[tokio::test]
async fn the_first_comment_is_held_until_one_is_published() {
    let server = fast_server().await;
    server.user("regular").say("lobby", "here before").await;
    rules(&server, "lobby", json!({ "first_time": "hold" })).await;
    server.user("regular").say("lobby", "here again").await;
    let held = server.user("newcomer").comment("lobby", "hi").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    let again = server.user("newcomer").comment("lobby", "hi there").await.expect(201);
    assert_eq!(again["status"], "pending_review");
    let reviews = server.admin().get("admin/reviews?room_id=lobby").await.expect(200);
    assert_eq!((&reviews["reviews"][0]["id"], &reviews["reviews"][0]["reason"]), (&held["id"], &json!("first_time")));
    server.admin().post(&format!("admin/reviews/{}/approve", held["id"].as_str().unwrap()), Value::Null).await.is(200);
    server.user("newcomer").say("lobby", "now I am known").await;
}

#[tokio::test]
async fn owners_moderators_helpers_and_admins_are_exempt() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    rules(&server, "lobby", json!({ "links": "none", "verified_only": true, "unique_s": 60, "delay_s": 5 })).await;
    for (user, claims) in [
        ("olga", json!({})),
        ("mo", json!({ "level": "moderator", "rooms": ["lobby"] })),
        ("root", json!({ "level": "admin" })),
        ("hal", json!({ "roles": { "lobby": "helper" } })),
    ] {
        server.bearing(&bearer(user, claims)).say("lobby", "see example.com").await;
    }
    for claims in [json!({ "roles": { "attic": "helper" } }), json!({ "roles": { "lobby": "auditor" } })] {
        server.bearing(&bearer("ann", claims)).comment("lobby", "see example.com").await.fails(403, "forbidden");
    }
}

#[tokio::test]
async fn a_delayed_comment_is_seen_late_and_a_removed_one_never() {
    let server = crate::configured(&format!("{}[sockets]\nheartbeat_s = 3600\n", crate::NO_LIMITS)).await;
    let first = server.user("alice").say("lobby", "at once").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mo = bearer("mo", json!({ "level": "moderator", "rooms": ["lobby"] }));
    let mut mo = testkit::Viewer::open(server.address(), &format!("room_id=lobby&token={mo}"), &[]).await.unwrap();
    mo.wait_for("room_joined").await;
    let mut stream = server.user("alice").events("lobby", "", None).await;
    stream.sees("at once").await;

    // The sender and who moderates see it, and that it goes; nobody else ever does.
    rules(&server, "lobby", json!({ "delay_s": 60 })).await;
    let removed = server.user("alice").say("lobby", "removed").await;
    assert_eq!(server.viewer("alice", "lobby").await.contents(), ["at once", "removed"]);
    for path in [format!("rooms/lobby/comments?since_id={first}"), "rooms/lobby/replay?from_ms=0".into()] {
        let page = server.user("carol").get(&path).await.expect(200);
        assert!(!contents(&page["comments"]).contains(&"removed"), "{path}: {page}");
    }
    server.admin().delete(&format!("admin/comments/{removed}")).await.is(204);
    stream.sees("removed").await;
    for early in [&mut alice, &mut mo] {
        early.sees("removed").await;
        let told = early.expect("the removal", |event| event["kind"] == "comment_deleted").await;
        assert_eq!(told["comment_ids"], json!([removed]));
    }
    assert_eq!(server.viewer("alice", "lobby").await.contents(), ["at once"]);

    let delay_s = 8;
    rules(&server, "lobby", json!({ "delay_s": delay_s })).await;
    let started = std::time::Instant::now();
    server.user("alice").say("lobby", "late").await;
    for early in [&mut alice, &mut mo] {
        early.sees("late").await;
    }
    stream.sees("late").await;
    bob.sees("late").await;
    assert!(started.elapsed().as_millis() >= delay_s * 1_000 - 100, "{:?}", started.elapsed());
    assert_eq!(bob.contents(), ["at once", "late"]);
    assert!(bob.take(&["event"]).iter().all(|event| event["kind"] != "comment_deleted"), "others never knew of it");

    // Nobody is given it twice.
    rules(&server, "lobby", json!({ "delay_s": null })).await;
    server.user("carol").say("lobby", "done").await;
    for early in [&mut alice, &mut mo] {
        early.sees("done").await;
        assert_eq!(early.contents(), ["at once", "removed", "late", "done"]);
    }
    let mut streamed = Vec::new();
    while !streamed.iter().any(|content| content == "done") {
        let event = stream.expect("comments", |event| event.name == "comments").await;
        streamed.extend(contents(&event.data["comments"]).into_iter().map(str::to_owned));
    }
    assert_eq!(streamed, ["done"], "the stream gave it before");
    let replay = server.user("carol").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["at once", "late", "done"]);
}

#[tokio::test]
async fn a_delayed_comment_outlives_a_crash() {
    let mut server = fast_server().await;
    rules(&server, "lobby", json!({ "delay_s": 2 })).await;
    let id = server.user("alice").say("lobby", "kept").await;
    server.kill9().await;
    server.restart().await;
    eventually("the comment", async || {
        let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
        (replay["comments"][0]["id"] == id.as_str()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn settings_are_merged_shown_and_checked() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "links": "none", "thresholds": { "spam": { "verdict": "hold", "score": 0.5 } } }))
        .await;
    let settings = rules(&server, "lobby", json!({ "capitals": 0.5 })).await;
    let expected =
        json!({ "links": "none", "capitals": 0.5, "thresholds": { "spam": { "verdict": "hold", "score": 0.5 } } });
    assert_eq!(settings["moderation"], expected);
    assert_eq!(server.admin().get("admin/rooms/lobby").await.expect(200)["moderation"], expected);
    for wrong in [json!({ "similar": 2 }), json!({ "links": 3 }), json!({ "unknown": 1 }), json!({ "delay_s": 1_000 })]
    {
        server.admin().put("admin/rooms/lobby", json!({ "moderation": wrong })).await.fails(400, "invalid_request");
    }
    assert_eq!(server.admin().get("admin/rooms/lobby").await.expect(200)["moderation"], expected);
}

#[tokio::test]
async fn the_shield_goes_up_and_restores_what_was_before() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "capitals": 0.5 })).await;
    let path = "admin/rooms/lobby/shield";
    server.admin().post(path, json!({ "on": true, "preset": { "links": "none" } })).await.is(200);
    let up = server.admin().get("admin/rooms/lobby").await.expect(200);
    assert_eq!(up["moderation"], json!({ "capitals": 0.5, "links": "none", "shield": true }));
    let error = server.user("alice").comment("lobby", "see example.com").await.fails(422, "content_blocked");
    assert_eq!(error["rule"], "links");
    server.admin().post(path, json!({ "on": true, "preset": { "links": 7 } })).await.fails(400, "invalid_request");
    server.admin().post(path, json!({ "on": false })).await.is(200);
    let down = server.admin().get("admin/rooms/lobby").await.expect(200);
    assert_eq!(down["moderation"], json!({ "capitals": 0.5 }));
    server.user("alice").say("lobby", "see example.com").await;
    server.user("alice").post(path, json!({ "on": true })).await.fails(403, "forbidden");
}

#[tokio::test]
async fn refusals_by_rules_stand_in_the_audit_trail() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "links": "none" })).await;
    server.user("alice").comment("lobby", "see example.com").await.fails(422, "content_blocked");
    let trail = server.admin().get("admin/audit?room_id=lobby&actor=rule:links").await.expect(200);
    let entry = &trail["entries"][0];
    assert_eq!((&entry["action"], &entry["target"]), (&json!("comment.refuse"), &json!("alice")), "{trail}");
    assert_eq!(server.admin().get("admin/audit?action=none").await.expect(200)["entries"], json!([]));
}
