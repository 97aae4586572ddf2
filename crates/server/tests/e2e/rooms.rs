//! Rooms: settings, states, sessions, and who may enter and speak.

use serde_json::{Value, json};
use testkit::{Viewer, eventually, now_s, token};

use crate::{configured, fast_server, server};

#[tokio::test]
async fn a_room_nobody_configured_has_every_default() {
    let server = server().await;
    let room = server.user("alice").get("rooms/attic").await.expect(200);
    assert_eq!((&room["room_id"], &room["name"], &room["state"]), (&json!("attic"), &json!("attic"), &json!("idle")));
    assert_eq!((&room["accepts_comments"], &room["viewers"]), (&json!(true), &json!(0)));
    assert!(room.get("session_id").is_none_or(Value::is_null), "{room}");
}

#[tokio::test]
async fn settings_change_one_by_one_and_outlive_a_restart() {
    let mut server = server().await;
    let all = json!({ "name": "客厅", "owner_id": "olga", "video_url": "https://v.example/a.mp4", "enabled": true,
        "private": false, "priority": 5, "speakers": "vip", "slow_mode_s": 3, "limits": { "room_per_s": 50 },
        "window_ms_max": 40, "reader_groups": 4, "store": true, "retention_days": 2 });
    let saved = server.admin().put("admin/rooms/lobby", all.clone()).await.expect(200);
    for (field, value) in all.as_object().unwrap() {
        assert_eq!(&saved[field], value, "{field}");
    }
    server.admin().put("admin/rooms/lobby", json!({ "name": "lounge" })).await.is(200);
    server.restart().await;
    let room = server.user("alice").get("rooms/lobby").await.expect(200);
    assert_eq!((&room["name"], &room["owner_id"]), (&json!("lounge"), &json!("olga")));
    assert_eq!(room["video_url"], "https://v.example/a.mp4");
    let settings = server.admin().get("admin/rooms/lobby").await.expect(200);
    assert_eq!((&settings["slow_mode_s"], &settings["reader_groups"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn a_setting_out_of_range_is_named_and_nothing_changes() {
    let server = server().await;
    for (field, value) in [
        ("reader_groups", json!(0)),
        ("speakers", json!("robots")),
        ("video_url", json!("javascript:x")),
        ("slow_mode_s", json!(-1)),
        ("owner_id", json!("a b")),
        ("name", json!(5)),
        ("window_ms_max", json!(1000)),
        ("retention_days", json!(0)),
        ("limits", json!({ "room_per_s": 0 })),
    ] {
        let error = server
            .admin()
            .put("admin/rooms/lobby", json!({ "priority": 9, field: value }))
            .await
            .fails(400, "invalid_request");
        assert!(error["message"].as_str().unwrap().contains(field), "{field}: {error}");
    }
    server.admin().put("admin/rooms/a%20b", json!({})).await.fails(400, "invalid_request");
    server.user("alice").say("lobby", "hi").await;
    assert_eq!(server.admin().get("admin/rooms/lobby").await.expect(200)["priority"], 0);
}

#[tokio::test]
async fn opening_and_closing_is_told_to_the_viewers_at_once() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "show").await;
    let opened = server.admin().post("admin/rooms/show/open", Value::Null).await.expect(200);
    let session = opened["session_id"].as_str().expect("a session").to_owned();
    let event = bob.event("room_state").await;
    assert_eq!((&event["state"], &event["accepts_comments"]), (&json!("live"), &json!(true)));
    assert_eq!(event["session_id"], session.as_str());
    let again = server.admin().post("admin/rooms/show/open", Value::Null).await.expect(200);
    assert_eq!(again["session_id"], session.as_str(), "opening twice is opening once");
    let room = server.user("bob").get("rooms/show").await.expect(200);
    assert_eq!((&room["state"], &room["session_id"]), (&json!("live"), &json!(session)));
    bob.say("during").await;
    assert_eq!(bob.sees("during").await["session_id"], session.as_str());

    server.admin().post("admin/rooms/show/close", Value::Null).await.is(200);
    let event = bob.event("room_state").await;
    assert_eq!((&event["state"], &event["accepts_comments"]), (&json!("idle"), &json!(false)));
    let comment = json!({ "type": "comment", "room_id": "show", "content": "after" });
    bob.refused(comment, "room_closed").await;
    server.user("bob").comment("show", "after").await.fails(403, "room_closed");
    let room = server.user("bob").get("rooms/show").await.expect(200);
    assert_eq!((&room["state"], &room["accepts_comments"]), (&json!("idle"), &json!(false)));
    assert_eq!(
        server.viewer("carol", "show").await.sees("during").await["user_id"],
        "bob",
        "a closed room can be read"
    );

    let next = server.admin().post("admin/rooms/show/open", Value::Null).await.expect(200);
    assert_ne!(next["session_id"], session.as_str());
    server.user("bob").say("show", "again").await;
}

#[tokio::test]
async fn a_room_that_was_closed_stays_closed_over_a_restart() {
    let mut server = server().await;
    server.admin().post("admin/rooms/show/close", Value::Null).await.is(200);
    server.restart().await;
    server.user("bob").comment("show", "x").await.fails(403, "room_closed");
}

#[tokio::test]
async fn a_room_nobody_opened_has_a_session_from_its_first_comment_on() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    bob.say("first").await;
    let session = bob.sees("first").await["session_id"].clone();
    bob.say("second").await;
    assert_eq!(bob.sees("second").await["session_id"], session);
    let room = server.user("bob").get("rooms/lobby").await.expect(200);
    assert_eq!((&room["state"], &room["session_id"]), (&json!("live"), &session));
    let sessions = server.user("bob").get("rooms/lobby/sessions").await.expect(200);
    let row = &sessions["sessions"][0];
    assert_eq!((&row["session_id"], &row["comment_count"]), (&session, &json!(2)));
    assert!(row["started_at"].as_str().is_some() && row.get("ended_at").is_none(), "{row}");
}

#[tokio::test]
async fn an_implicit_session_ends_with_silence() {
    let server = configured("[rooms]\nsession_silence_s = 1\n").await;
    let mut bob = server.viewer("bob", "lobby").await;
    bob.say("only").await;
    assert_eq!(bob.event("room_state").await["state"], "live");
    let event = bob.event("room_state").await;
    assert_eq!((&event["state"], &event["accepts_comments"]), (&json!("idle"), &json!(true)));
    let sessions = server.user("bob").get("rooms/lobby/sessions").await.expect(200);
    assert!(sessions["sessions"][0]["ended_at"].as_str().is_some(), "{sessions}");
    assert!(sessions["sessions"][0]["duration_s"].as_i64().is_some_and(|s| s <= 6), "{sessions}");
    bob.say("another").await;
    assert_ne!(bob.sees("another").await["session_id"], sessions["sessions"][0]["session_id"]);
}

#[tokio::test]
async fn unopened_rooms_may_be_configured_silent() {
    let server = configured("[rooms]\nunopened = false\n").await;
    server.user("bob").comment("lobby", "x").await.fails(403, "room_closed");
    assert_eq!(server.user("bob").get("rooms/lobby").await.expect(200)["accepts_comments"], false);
    server.admin().post("admin/rooms/lobby/open", Value::Null).await.is(200);
    server.user("bob").say("lobby", "now").await;
}

#[tokio::test]
async fn a_private_room_admits_tokens_that_name_it_its_owner_and_admins() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/club", json!({ "private": true, "owner_id": "olga" })).await.is(200);
    let bears = |claims: Value| {
        let mut all = json!({ "exp": now_s() + 60 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        token(&all)
    };
    for claims in [
        json!({ "sub": "member", "rooms": ["club"] }),
        json!({ "sub": "olga" }),
        json!({ "sub": "root", "level": "admin" }),
    ] {
        server.bearing(&bears(claims.clone())).say("club", &format!("{} is in", claims["sub"])).await;
    }
    let (out, in_) = (bears(json!({ "sub": "stranger" })), bears(json!({ "sub": "member", "rooms": ["club"] })));
    let stranger = server.bearing(&out);
    stranger.comment("club", "x").await.fails(403, "forbidden");
    for path in [
        "rooms/club",
        "rooms/club/comments",
        "rooms/club/events",
        "rooms/club/replay",
        "rooms/club/hot",
        "rooms/club/ranking",
        "rooms/club/sessions",
    ] {
        stranger.get(path).await.fails(403, "forbidden");
    }
    let refused =
        Viewer::open(server.address(), &format!("room_id=club&token={out}"), &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (403, "forbidden"));
    server.connect(&format!("room_id=club&token={in_}")).await.wait_for("room_joined").await;
    let rooms = stranger.get("rooms").await.expect(200);
    assert!(rooms["rooms"].as_array().unwrap().iter().all(|room| room["room_id"] != "club"), "{rooms}");
}

#[tokio::test]
async fn who_may_speak_can_be_narrowed() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    let says = async |user: &str, level: &str| {
        let token = token(&json!({ "sub": user, "level": level, "rooms": ["lobby"], "exp": now_s() + 60 }));
        let reply = server.bearing(&token).comment("lobby", "hi").await;
        reply.body["status"].as_str().or(reply.body["error"]["code"].as_str()).unwrap().to_owned()
    };
    let everybody = [("nora", "normal"), ("vic", "vip"), ("mo", "moderator"), ("olga", "normal"), ("root", "admin")];
    for (speakers, from) in [("everyone", 0), ("vip", 1), ("moderators", 2), ("nobody", 3)] {
        server.admin().put("admin/rooms/lobby", json!({ "speakers": speakers })).await.is(200);
        for (n, (user, level)) in everybody.into_iter().enumerate() {
            let said = says(user, level).await;
            assert_eq!(said == "accepted", n >= from, "{speakers}: {user} {said}");
            assert!(said == "accepted" || said == "forbidden" || said == "room_closed", "{speakers}: {user} {said}");
        }
    }
}

#[tokio::test]
async fn a_room_that_keeps_nothing_delivers_all_the_same() {
    let mut server = fast_server().await;
    server.admin().put("admin/rooms/gone", json!({ "store": false })).await.is(200);
    let mut bob = server.viewer("bob", "gone").await;
    let id = server.user("alice").say("gone", "passing").await;
    assert_eq!(bob.sees("passing").await["id"], id.as_str());
    assert_eq!(server.user("bob").get("rooms/gone/replay").await.expect(200)["comments"], json!([]));
    server.restart().await;
    let page = server.user("bob").get("rooms/gone/comments?since_id=0").await.expect(200);
    assert_eq!(page["comments"], json!([]));
    let joined = server.viewer("carol", "gone").await;
    assert_eq!(joined.contents(), [""; 0]);
}

#[tokio::test]
async fn a_disabled_room_is_neither_entered_nor_spoken_in() {
    let server = server().await;
    server.admin().put("admin/rooms/lobby", json!({ "enabled": false })).await.is(200);
    server.user("bob").comment("lobby", "x").await.fails(403, "room_closed");
    server.user("bob").get("rooms/lobby/comments").await.fails(403, "room_closed");
    let mut bob = server.viewer("bob", "other").await;
    bob.refused(json!({ "type": "join_room", "room_id": "lobby" }), "room_closed").await;
    server.admin().put("admin/rooms/lobby", json!({ "enabled": true })).await.is(200);
    bob.join("lobby", json!({})).await;
}

#[tokio::test]
async fn viewers_are_counted() {
    let server = server().await;
    let alice = server.viewer("alice", "lobby").await;
    let _bob = server.viewer("bob", "lobby").await;
    let _stream = server.user("carol").events("lobby", "", None).await;
    let viewers = async || server.user("x").get("rooms/lobby").await.expect(200)["viewers"].as_u64();
    eventually("three viewers", async || (viewers().await == Some(3)).then_some(())).await;
    alice.close().await;
    eventually("two viewers", async || (viewers().await == Some(2)).then_some(())).await;
    let joined = server.viewer("dora", "other").await.join("lobby", json!({})).await;
    assert!(joined["viewers"].as_u64().is_some_and(|n| n == 2 || n == 3), "{joined}");
}

#[tokio::test]
async fn rooms_are_listed_those_on_air_first() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/quiet", json!({ "name": "Quiet" })).await.is(200);
    server.user("alice").say("busy", "hi").await;
    let rooms = server.user("alice").get("rooms").await.expect(200);
    let ids: Vec<&str> =
        rooms["rooms"].as_array().unwrap().iter().filter_map(|room| room["room_id"].as_str()).collect();
    assert_eq!(ids, ["busy", "quiet"]);
}

#[tokio::test]
async fn who_may_not_read_a_room_any_more_leaves_it_at_once() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    for change in [json!({ "private": true }), json!({ "enabled": false })] {
        server.admin().put("admin/rooms/lobby", json!({ "private": false, "enabled": true })).await.is(200);
        let mut bob = server.viewer("bob", "lobby").await;
        let mut olga = server.viewer("olga", "lobby").await;
        server.admin().put("admin/rooms/lobby", change).await.is(200);
        bob.wait_for("error").await;
        assert_eq!(bob.wait_for("room_left").await["room_id"], "lobby");
        let olgas: Vec<Value> = olga.settled().await.to_vec();
        assert!(olgas.iter().all(|message| message["type"] != "room_left"), "{olgas:?}");
    }
}

#[tokio::test]
async fn comments_of_a_room_that_keeps_nothing_can_be_deleted_while_they_are_seen() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/gone", json!({ "store": false })).await.is(200);
    let mut bob = server.viewer("bob", "gone").await;
    let id = server.user("alice").say("gone", "passing").await;
    bob.sees("passing").await;
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    assert_eq!(bob.event("comment_deleted").await["comment_id"], id.as_str());
    assert_eq!(server.viewer("carol", "gone").await.contents(), [""; 0]);
}

#[tokio::test]
async fn viewers_are_told_who_may_speak_and_how_often() {
    let server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    server.admin().put("admin/rooms/lobby", json!({ "slow_mode_s": 7, "speakers": "vip" })).await.is(200);
    let state = bob.event("room_state").await;
    assert_eq!((&state["slow_mode_s"], &state["speakers"]), (&json!(7), &json!("vip")));
    let room = server.user("bob").get("rooms/lobby").await.expect(200);
    assert_eq!((&room["slow_mode_s"], &room["speakers"]), (&json!(7), &json!("vip")));
}
