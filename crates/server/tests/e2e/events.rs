//! What a room and its people are told, and that critical things arrive.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{now_s, token};

use crate::{contents, fast_server, server};

#[tokio::test]
async fn an_announcement_comes_again_until_it_is_acknowledged() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    // Before the first is sent: so a repeat that is read late is not taken for one that came early.
    let begun = Instant::now();
    let told =
        server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "Back in five" })).await.expect(201);
    let first = alice.event("announcement").await;
    assert_eq!((&first["content"], &first["room_id"]), (&json!("Back in five"), &json!("lobby")));
    assert_eq!((&first["critical"], &first["event_id"]), (&json!(true), &told["event_id"]));
    assert!(first["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{first}");
    bob.event("announcement").await;

    assert_eq!(alice.event("announcement").await["event_id"], first["event_id"]);
    let second = begun.elapsed();
    assert!(second >= Duration::from_millis(1_900), "{second:?}");
    bob.event("announcement").await;
    bob.send(json!({ "type": "ack", "event_id": first["event_id"] })).await;

    alice.event("announcement").await;
    let third = begun.elapsed();
    assert!(third >= Duration::from_millis(5_800), "{third:?}");
    let unread = bob.settled().await;
    assert!(unread.iter().all(|message| message["kind"] != "announcement"), "acknowledged is acknowledged: {unread:?}");
}

#[tokio::test]
async fn a_receipt_from_one_of_a_user_s_sockets_counts_for_all() {
    let server = server().await;
    let mut phone = server.viewer("alice", "lobby").await;
    let mut tv = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "hear" })).await.is(201);
    let event = phone.event("announcement").await;
    tv.event("announcement").await;
    bob.event("announcement").await;
    phone.send(json!({ "type": "ack", "event_id": event["event_id"] })).await;
    bob.event("announcement").await; // comes again, to whom it must
    server.user("carol").say("lobby", "later").await;
    tv.sees("later").await;
    assert!(tv.settled().await.iter().all(|message| message["kind"] != "announcement"));
}

#[tokio::test]
async fn announcements_have_a_length_and_a_moderator() {
    let server = server().await;
    let path = "admin/rooms/lobby/announcements";
    server.admin().post(path, json!({ "content": " " })).await.fails(400, "invalid_request");
    server.admin().post(path, json!({ "content": "x".repeat(1_001) })).await.fails(400, "invalid_request");
    server.admin().post(path, json!({})).await.fails(400, "invalid_request");
    server.user("alice").post(path, json!({ "content": "x" })).await.fails(403, "forbidden");
    server.http().post(path, json!({ "content": "x" })).await.fails(401, "unauthorized");
}

#[tokio::test]
async fn a_mute_is_told_to_its_user_alone_even_if_they_were_away() {
    let mut server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mute = json!({ "user_id": "alice", "room_id": "lobby", "kind": "mute", "duration_s": 600, "reason": "spam" });
    server.admin().post("admin/bans", mute).await.is(201);
    server.restart().await;

    let mut alice = server.viewer("alice", "lobby").await;
    let event = alice.event("user_muted").await;
    assert_eq!(
        (&event["user_id"], &event["reason"], &event["critical"]),
        (&json!("alice"), &json!("spam"), &json!(true))
    );
    let until_s = event["until_ms"].as_i64().unwrap() / 1_000 - now_s();
    assert!((590..=600).contains(&until_s) && event["until"].as_str().is_some(), "{event}");
    alice.send(json!({ "type": "ack", "event_id": event["event_id"] })).await;
    alice.settled().await;
    let mut again = server.viewer("alice", "lobby").await;
    assert!(again.settled().await.iter().all(|message| message["kind"] != "user_muted"), "it was acknowledged");
    assert!(bob.wait_close().await.0 == 1012);
    let mut bob = server.viewer("bob", "lobby").await;
    assert!(bob.settled().await.iter().all(|message| message["kind"] != "user_muted"), "it is none of bob's");
}

#[tokio::test]
async fn a_gift_is_seen_by_all_and_critical_for_its_giver_and_the_owner() {
    let server = server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    let mut bob = server.viewer("bob", "lobby").await;
    let mut gina = server.viewer("gina", "lobby").await;
    let play_at = "2030-01-31T08:00:00.250Z";
    let gift = json!({ "gift": "rocket", "user_id": "gina", "username": "Gina", "count": 3, "value": 300, "play_at": play_at });
    let told = server.admin().post("admin/rooms/lobby/gifts", gift.clone()).await.expect(201);
    for (viewer, critical) in [(&mut bob, Value::Null), (&mut gina, json!(true))] {
        let event = viewer.event("gift").await;
        for field in ["gift", "user_id", "username", "count", "value", "play_at"] {
            assert_eq!(event[field], gift[field], "{field}");
        }
        assert_eq!(event["play_at_ms"], 1_896_076_800_250_i64);
        assert_eq!((&event["critical"], &event["event_id"]), (&critical, &told["event_id"]));
    }
    gina.event("gift").await; // again, without a receipt
    let mut olga = server.viewer("olga", "elsewhere").await;
    let event = olga.event("gift").await;
    assert_eq!((&event["critical"], &event["event_id"]), (&json!(true), &told["event_id"]), "who was away is told");
    assert!(bob.settled().await.iter().all(|message| message["kind"] != "gift"), "bob is not told again");
}

#[tokio::test]
async fn gifts_are_checked() {
    let server = server().await;
    let good = json!({ "gift": "rose", "user_id": "gina", "username": "Gina", "count": 1, "value": 1 });
    for (field, value) in [
        ("gift", json!("")),
        ("user_id", json!("a b")),
        ("count", json!(0)),
        ("value", json!(-1)),
        ("username", json!("")),
        ("play_at", json!("soon")),
    ] {
        let mut gift = good.clone();
        gift[field] = value;
        server.admin().post("admin/rooms/lobby/gifts", gift).await.fails(400, "invalid_request");
    }
    server.user("gina").post("admin/rooms/lobby/gifts", good).await.fails(403, "forbidden");
}

#[tokio::test]
async fn a_deleted_comment_leaves_screens_history_polls_and_replay() {
    let mut server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let alice = server.user("alice");
    let (keep, gone) = (alice.say("lobby", "keep").await, alice.say("lobby", "gone").await);
    bob.sees("gone").await;
    server.user("alice").delete(&format!("admin/comments/{gone}")).await.fails(403, "forbidden");
    server.admin().delete(&format!("admin/comments/{gone}")).await.is(204);
    let event = bob.event("comment_deleted").await;
    assert_eq!((&event["comment_id"], &event["comment_ids"]), (&json!(gone), &json!([gone])));
    server.admin().delete(&format!("admin/comments/{gone}")).await.fails(404, "not_found");
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let reader = server.user("reader");
        let page = reader.get("rooms/lobby/comments?since_id=0").await.expect(200);
        assert_eq!(contents(&page["comments"]), ["keep"]);
        let after = reader.get(&format!("rooms/lobby/comments?since_id={gone}")).await.expect(200);
        assert_eq!(contents(&after["comments"]), [""; 0], "its id is still a place to go on from");
        let replay = reader.get("rooms/lobby/replay").await.expect(200);
        assert_eq!(contents(&replay["comments"]), ["keep"]);
        assert_eq!(server.viewer("carol", "lobby").await.contents(), ["keep"]);
        reader.post(&format!("comments/{gone}/like"), Value::Null).await.fails(404, "not_found");
    }
    assert_ne!(keep, gone);
}

#[tokio::test]
async fn a_moderator_deletes_in_the_own_rooms_alone() {
    let server = fast_server().await;
    let mo = token(&json!({ "sub": "mo", "level": "moderator", "rooms": ["lobby"], "exp": now_s() + 60 }));
    let (here, there) = (server.user("a").say("lobby", "x").await, server.user("a").say("attic", "x").await);
    server.bearing(&mo).delete(&format!("admin/comments/{here}")).await.is(204);
    server.bearing(&mo).delete(&format!("admin/comments/{there}")).await.fails(403, "forbidden");
}

#[tokio::test]
async fn history_is_erased_only_when_it_is_asked_for() {
    let server = fast_server().await;
    for (user, purge) in [("kept", false), ("purged", true)] {
        for room in ["lobby", "attic"] {
            server.user(user).say(room, &format!("{user} in the {room}")).await;
        }
        let mut bob = server.viewer("bob", "lobby").await;
        let ban = json!({ "user_id": user, "kind": "ban", "duration_s": 60, "purge": purge });
        server.admin().post("admin/bans", ban).await.is(201);
        if purge {
            let event = bob.event("comment_deleted").await;
            assert_eq!(event["comment_ids"].as_array().map(Vec::len), Some(1));
        }
    }
    for room in ["lobby", "attic"] {
        let replay = server.user("bob").get(&format!("rooms/{room}/replay")).await.expect(200);
        assert_eq!(contents(&replay["comments"]), [format!("kept in the {room}")]);
        assert_eq!(server.viewer("carol", room).await.contents(), [format!("kept in the {room}")]);
    }
}

#[tokio::test]
async fn a_purge_of_one_room_leaves_the_others() {
    let server = fast_server().await;
    for room in ["lobby", "attic"] {
        server.user("mallory").say(room, "hi").await;
    }
    let ban = json!({ "user_id": "mallory", "room_id": "lobby", "kind": "mute", "duration_s": 60, "purge": true });
    server.admin().post("admin/bans", ban).await.is(201);
    let here = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    let there = server.user("bob").get("rooms/attic/replay").await.expect(200);
    assert_eq!((contents(&here["comments"]).len(), contents(&there["comments"]).len()), (0, 1));
}

#[tokio::test]
async fn any_event_may_be_marked_critical_or_not() {
    let server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let (admin, room) = (server.admin(), "admin/rooms/lobby");
    admin.post(&format!("{room}/announcements"), json!({ "content": "by the way", "critical": false })).await.is(201);
    assert!(bob.event("announcement").await.get("critical").is_none());
    let gift =
        json!({ "gift": "rose", "user_id": "gina", "username": "Gina", "count": 1, "value": 1, "critical": true });
    admin.post(&format!("{room}/gifts"), gift).await.is(201);
    let gift = bob.event("gift").await;
    assert_eq!(gift["critical"], true);
    bob.send(json!({ "type": "ack", "event_id": gift["event_id"] })).await;
}

#[tokio::test]
async fn programs_of_the_operator_show_follows_and_notices() {
    let server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let (admin, path) = (server.admin(), "admin/rooms/lobby/events");
    admin.post(path, json!({ "kind": "follow", "user_id": "gina", "username": "Gina" })).await.is(201);
    assert_eq!(bob.event("follow").await["user_id"], "gina");
    admin.post(path, json!({ "kind": "notice", "code": "raid", "message": "A raid!", "critical": true })).await.is(201);
    let notice = bob.event("notice").await;
    assert_eq!(
        (&notice["code"], &notice["message"], &notice["critical"]),
        (&json!("raid"), &json!("A raid!"), &json!(true))
    );
    bob.send(json!({ "type": "ack", "event_id": notice["event_id"] })).await;
    for kind in [json!("invasion"), json!(0), json!(1), json!(null)] {
        let event = json!({ "kind": kind, "user_id": "gina", "username": "Gina", "code": "x", "message": "x" });
        admin.post(path, event).await.fails(400, "invalid_request");
    }
    server
        .user("bob")
        .post(path, json!({ "kind": "notice", "code": "x", "message": "x" }))
        .await
        .fails(403, "forbidden");
}
