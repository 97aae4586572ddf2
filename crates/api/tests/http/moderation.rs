//! What moderators do, and who may.

use model::Level;
use serde_json::{Value, json};

use crate::world::{KEY, World, settings, token, token_of};

#[tokio::test]
async fn a_held_comment_is_published_when_it_is_approved() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    world.expect(200, KEY, "PUT /admin/words", json!({ "review": ["hmm"] })).await;
    let held = world.expect(201, &ann, "POST /rooms/r/comments", json!({ "content": "hmm well" })).await;
    assert_eq!(held["status"], "pending_review");
    let other = world.expect(201, &ann, "POST /rooms/r/comments", json!({ "content": "hmm no" })).await;
    let after = world.say(&ann, "r", "fine").await;
    let reviews = world.expect(200, KEY, "GET /admin/reviews?status=pending&room_id=r", Value::Null).await;
    let review = &reviews["reviews"][0];
    assert_eq!((&review["id"], &review["word"], &review["status"]), (&held["id"], &json!("hmm"), &json!("pending")));

    let id = held["id"].as_str().expect("an id");
    let approved = world.expect(200, KEY, &format!("POST /admin/reviews/{id}/approve"), Value::Null).await;
    assert_eq!((&approved["status"], &approved["decided_by"]), (&json!("approved"), &json!("admin key")));
    world.refused(409, "too_late", KEY, &format!("POST /admin/reviews/{id}/approve"), Value::Null).await;
    let id = other["id"].as_str().expect("an id");
    world.expect(200, KEY, &format!("POST /admin/reviews/{id}/reject"), Value::Null).await;

    let since = world.expect(200, &ann, &format!("GET /rooms/r/comments?since_id={after}"), Value::Null).await;
    assert_eq!((&since["comments"][0]["id"], since["comments"].as_array().map(Vec::len)), (&held["id"], Some(1)));
    assert_eq!(since["comments"][0]["created_at"], held["created_at"]);
}

#[tokio::test]
async fn words_are_in_force_at_once() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let lists = json!({ "mask": ["darn"], "review": [], "block": ["坏词"] });
    assert_eq!(world.expect(200, KEY, "PUT /admin/words", lists.clone()).await, lists);
    world.say(&ann, "r", "oh darn it").await;
    let all = world.expect(200, &ann, "GET /rooms/r/comments", Value::Null).await;
    assert_eq!(all["comments"][0]["content"], "oh **** it");
    world.refused(422, "content_blocked", &ann, "POST /rooms/r/comments", json!({ "content": "坏词" })).await;

    world.expect(204, KEY, "DELETE /admin/words/block/%E5%9D%8F%E8%AF%8D", Value::Null).await;
    world.refused(404, "not_found", KEY, "DELETE /admin/words/block/%E5%9D%8F%E8%AF%8D", Value::Null).await;
    world.say(&token("bob"), "r", "坏词").await;
    world.expect(201, KEY, "POST /admin/words/mask/it%2Fis", Value::Null).await;
    world.refused(400, "invalid_request", KEY, "POST /admin/words/nolist/x", Value::Null).await;
    let words = world.expect(200, KEY, "GET /admin/words", Value::Null).await;
    assert_eq!(words, json!({ "mask": ["darn", "it/is"], "review": [], "block": [] }));

    let trial = json!({ "room_id": "r", "lists": { "block": ["坏"] } });
    let found = world.expect(200, KEY, "POST /admin/words/dry-run", trial).await;
    assert_eq!((&found["checked"], &found["block_hits"], &found["share"]), (&json!(2), &json!(1), &json!(0.5)));
    assert_eq!(found["samples"][0]["text"], "坏词");
}

#[tokio::test]
async fn a_ban_holds_until_it_is_lifted() {
    let world = World::start(settings()).await;
    let bob = token("bob");
    let said = world.say(&bob, "r", "bad").await;
    let draft = json!({ "user_id": "bob", "duration_s": 600, "kind": "mute", "room_id": "r", "reason": "noise", "purge": true });
    let mute = world.expect(201, KEY, "POST /admin/bans", draft).await;
    let refused = world.refused(403, "muted", &bob, "POST /rooms/r/comments", json!({ "content": "let me" })).await;
    assert!(refused["error"]["message"].as_str().is_some_and(|message| message.contains("noise")));
    let all = world.expect(200, &bob, "GET /rooms/r/comments?since_id=0", Value::Null).await;
    assert_eq!(all["comments"], json!([]), "purged");
    world.refused(404, "not_found", &bob, &format!("POST /comments/{said}/like"), Value::Null).await;

    let bans = world.expect(200, KEY, "GET /admin/bans", Value::Null).await;
    assert_eq!(bans["bans"], json!([mute]));
    assert_eq!(
        (&mute["kind"], &mute["created_by"], &mute["room_id"]),
        (&json!("mute"), &json!("admin key"), &json!("r"))
    );
    let id = mute["id"].as_str().expect("an id");
    world.expect(204, KEY, &format!("DELETE /admin/bans/{id}"), Value::Null).await;
    world.refused(404, "not_found", KEY, &format!("DELETE /admin/bans/{id}"), Value::Null).await;
    world.say(&bob, "r", "thank you").await;

    let everywhere = json!({ "user_id": "bob", "duration_s": 600, "kind": "ban" });
    world.expect(201, KEY, "POST /admin/bans", everywhere).await;
    for line in ["GET /rooms", "GET /rooms/any", "GET /admin/reviews"] {
        world.refused(403, "banned", &bob, line, Value::Null).await;
    }
    for bad in [
        json!({ "user_id": "bob", "duration_s": 0, "kind": "ban" }),
        json!({ "user_id": "b b", "duration_s": 9, "kind": "ban" }),
    ] {
        world.refused(400, "invalid_request", KEY, "POST /admin/bans", bad).await;
    }
}

#[tokio::test]
async fn a_deleted_comment_is_gone() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let (first, second) = (world.say(&ann, "r", "one").await, world.say(&ann, "r", "two").await);
    world.expect(204, KEY, &format!("DELETE /admin/comments/{first}"), Value::Null).await;
    world.refused(404, "not_found", KEY, &format!("DELETE /admin/comments/{first}"), Value::Null).await;
    for line in ["GET /rooms/r/comments", "GET /rooms/r/comments?since_id=0", "GET /rooms/r/replay"] {
        let all = world.expect(200, &ann, line, Value::Null).await;
        assert_eq!(all["comments"].as_array().map(Vec::len), Some(1), "{line}");
        assert_eq!(all["comments"][0]["id"], json!(second), "{line}");
    }
    let since = world.expect(200, &ann, &format!("GET /rooms/r/comments?since_id={first}"), Value::Null).await;
    assert_eq!(since["comments"][0]["id"], json!(second), "its place in the order stays");
}

#[tokio::test]
async fn rooms_are_configured_opened_and_closed() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    world.refused(404, "not_found", KEY, "GET /admin/rooms/r", Value::Null).await;
    let idle = world.expect(200, &ann, "GET /rooms/r", Value::Null).await;
    assert_eq!((&idle["name"], &idle["state"], &idle["viewers"]), (&json!("r"), &json!("idle"), &json!(0)));
    assert!(idle.get("session_id").is_none());

    let patch = json!({ "name": "Room", "owner_id": "olga", "video_url": "https://v.example/a.mp4", "slow_mode_s": 2 });
    let saved = world.expect(200, KEY, "PUT /admin/rooms/r", patch).await;
    assert_eq!((&saved["room_id"], &saved["name"], &saved["slow_mode_s"]), (&json!("r"), &json!("Room"), &json!(2)));
    assert_eq!(world.expect(200, KEY, "GET /admin/rooms/r", Value::Null).await, saved);
    let error = world.refused(400, "invalid_request", KEY, "PUT /admin/rooms/r", json!({ "reader_groups": 0 })).await;
    assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains("reader_groups")));

    let opened = world.expect(200, KEY, "POST /admin/rooms/r/open", Value::Null).await;
    let again = world.expect(200, KEY, "POST /admin/rooms/r/open", Value::Null).await;
    assert_eq!(opened["session_id"], again["session_id"]);
    let live = world.expect(200, &ann, "GET /rooms/r", Value::Null).await;
    assert_eq!(
        (&live["state"], &live["session_id"], &live["owner_id"]),
        (&json!("live"), &opened["session_id"], &json!("olga"))
    );
    world.expect(200, KEY, "PUT /admin/rooms/z", json!({})).await;
    let rooms = world.expect(200, &ann, "GET /rooms", Value::Null).await;
    assert_eq!(
        (&rooms["rooms"][0]["room_id"], &rooms["rooms"][1]["room_id"]),
        (&json!("r"), &json!("z")),
        "live first"
    );

    world.say(&ann, "r", "hi").await;
    let slow = world.refused(429, "rate_limited", &ann, "POST /rooms/r/comments", json!({ "content": "again" })).await;
    assert!(slow["error"]["retry_after_ms"].as_u64().is_some_and(|ms| (1..=2_000).contains(&ms)));
    world.expect(200, KEY, "POST /admin/rooms/r/close", Value::Null).await;
    world.refused(403, "room_closed", &token("bob"), "POST /rooms/r/comments", json!({ "content": "late" })).await;
    let sessions = world.expect(200, &ann, "GET /rooms/r/sessions", Value::Null).await;
    let session = &sessions["sessions"][0];
    assert_eq!((&session["session_id"], &session["comment_count"]), (&opened["session_id"], &json!(1)));
    assert!(session["ended_at"].is_string() && session["duration_s"].is_u64());
}

#[tokio::test]
async fn gifts_count_in_the_ranking() {
    let world = World::start(settings()).await;
    world.expect(200, KEY, "POST /admin/rooms/r/open", Value::Null).await;
    let gift = json!({ "gift": "rocket", "user_id": "bob", "username": "Bob", "count": 1, "value": 500 });
    let told = world.expect(201, KEY, "POST /admin/rooms/r/gifts", gift).await;
    assert!(told["event_id"].is_string());
    let ranking = world.expect(200, KEY, "GET /rooms/r/ranking", Value::Null).await;
    assert_eq!(ranking["entries"], json!([{ "rank": 1, "user_id": "bob", "username": "Bob", "score": 500 }]));
    let error = world.refused(400, "invalid_request", KEY, "POST /admin/rooms/r/gifts", json!({ "gift": "x" })).await;
    assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains("user_id")), "{error}");
}

#[tokio::test]
async fn each_moderator_has_their_reach() {
    let world = World::start(settings()).await;
    world.expect(200, KEY, "PUT /admin/rooms/r", json!({ "owner_id": "olga" })).await;
    let content = || json!({ "content": "hear" });
    let line = "POST /admin/rooms/r/announcements";
    for (who, status) in [
        (token("ann"), 403),
        (token_of("vic", Level::Vip, None), 403),
        (token_of("mod", Level::Moderator, None), 403),
        (token_of("mod", Level::Moderator, Some(&["s"])), 403),
        (token_of("mod", Level::Moderator, Some(&["r"])), 201),
        (token("olga"), 201),
        (token_of("root", Level::Admin, None), 201),
        (KEY.to_owned(), 201),
    ] {
        world.expect(status, &who, line, content()).await;
    }
    let moderator = token_of("mod", Level::Moderator, Some(&["r"]));
    for line in ["GET /admin/words", "GET /admin/audit?room_id=s", "GET /admin/bans?room_id=s"] {
        world.refused(403, "forbidden", &moderator, line, Value::Null).await;
    }
    world.expect(200, KEY, "PUT /admin/rooms/s", json!({ "owner_id": "olga" })).await;
    let trail = world.expect(200, &moderator, "GET /admin/audit", Value::Null).await;
    let rooms: Vec<_> = trail["entries"].as_array().expect("entries").iter().map(|entry| &entry["room_id"]).collect();
    assert!(!rooms.is_empty() && rooms.iter().all(|room| **room == "r"), "theirs alone: {rooms:?}");
    let trail = world.expect(200, &moderator, "GET /admin/audit?room_id=r&limit=2", Value::Null).await;
    let actors: Vec<_> = trail["entries"].as_array().expect("entries").iter().map(|entry| &entry["actor"]).collect();
    assert_eq!(actors, [&json!("admin key"), &json!("root")]);
    for (bearer, line) in
        [("", "GET /admin/words"), ("wrong-key", "GET /admin/words"), ("", "POST /admin/rooms/r/open")]
    {
        world.refused(401, "unauthorized", bearer, line, Value::Null).await;
    }
}

#[tokio::test]
async fn revoked_tokens_are_worth_nothing() {
    let world = World::start(settings()).await;
    let bob = token("bob");
    world.say(&bob, "r", "hi").await;
    world.expect(204, KEY, "POST /admin/tokens/revoke", json!({ "user_id": "bob" })).await;
    world.refused(401, "unauthorized", &bob, "GET /rooms/r", Value::Null).await;
}
