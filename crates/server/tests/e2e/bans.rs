//! Bans and mutes: in a room, everywhere, and their end.

use serde_json::{Value, json};
use testkit::{Server, Viewer, eventually, now_s, token};

use crate::{fast_server, server};

async fn ban(server: &Server, ban: Value) -> String {
    let ban = server.admin().post("admin/bans", ban).await.expect(201);
    ban["id"].as_str().unwrap_or_else(|| panic!("{ban}")).to_owned()
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "exp": now_s() + 60 }))
}

#[tokio::test]
async fn a_ban_in_a_room_removes_the_user_from_it_and_from_nothing_else() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.join("attic", json!({})).await;
    let mut stream = server.user("alice").events("lobby", "", None).await;
    ban(&server, json!({ "user_id": "alice", "room_id": "lobby", "kind": "ban", "duration_s": 600, "reason": "spam" }))
        .await;
    let error = alice.wait_for("error").await;
    assert_eq!(error["code"], "banned");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| (590_000..=600_000).contains(&ms)), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("spam")), "{error}");
    assert_eq!(alice.wait_for("room_left").await["room_id"], "lobby");

    alice.refused(json!({ "type": "join_room", "room_id": "lobby" }), "banned").await;
    alice.refused(json!({ "type": "comment", "room_id": "lobby", "content": "x" }), "banned").await;
    let error = server.user("alice").comment("lobby", "x").await.fails(403, "banned");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 600_000), "{error}");
    server.user("alice").get("rooms/lobby/comments").await.fails(403, "banned");
    let query = format!("room_id=lobby&token={}", token_of("alice"));
    let refused = Viewer::open(server.address(), &query, &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (403, "banned"));

    alice.ask(json!({ "type": "comment", "room_id": "attic", "content": "elsewhere" })).await;
    alice.sees("elsewhere").await;
    server.user("bob").say("lobby", "without her").await;
    while let Some(event) = stream.next().await {
        assert_eq!(event.data.to_string().find("without her"), None, "the stream has ended for her");
    }
    assert!(!alice.contents().contains(&"without her"));
}

#[tokio::test]
async fn a_ban_everywhere_closes_the_user_s_sockets_and_every_door() {
    let server = server().await;
    let mut sockets = [server.viewer("alice", "lobby").await, server.viewer("alice", "attic").await];
    let mut bob = server.viewer("bob", "lobby").await;
    ban(&server, json!({ "user_id": "alice", "kind": "ban", "duration_s": 600, "reason": "spam" })).await;
    for socket in &mut sockets {
        let (code, reason) = socket.wait_close().await;
        assert_eq!(code, 4003);
        let told: Value = serde_json::from_str(&reason).expect("JSON");
        assert_eq!(told["reason"], "spam");
        assert!(told["retry_after_ms"].as_u64().is_some_and(|ms| (590_000..=600_000).contains(&ms)), "{told}");
    }
    // A browser reads no HTTP error of a socket, but it reads a close.
    assert_eq!(server.connect(&format!("token={}", token_of("alice"))).await.wait_close().await.0, 4003);
    let reply = server.user("alice").comment("lobby", "x").await;
    assert!(reply.header("retry-after").is_some());
    reply.fails(403, "banned");
    server.user("alice").get("rooms/lobby").await.fails(403, "banned");
    bob.say("still here").await;
}

#[tokio::test]
async fn somebody_banned_cannot_log_in_on_an_open_socket() {
    let server = server().await;
    ban(&server, json!({ "user_id": "alice", "kind": "ban", "duration_s": 600 })).await;
    let mut socket = server.viewer("bob", "lobby").await;
    socket.send(json!({ "type": "login", "token": token_of("alice"), "ref": 1 })).await;
    let answer = socket.expect("an answer", |message| message["ref"] == 1).await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("banned")));
}

#[tokio::test]
async fn bans_are_listed_lifted_and_outlive_a_restart() {
    let mut server = server().await;
    let here = ban(&server, json!({ "user_id": "alice", "room_id": "lobby", "kind": "ban", "duration_s": 600 })).await;
    let mute = ban(&server, json!({ "user_id": "bob", "kind": "mute", "duration_s": 600, "reason": "loud" })).await;
    server.restart().await;
    let bans = server.admin().get("admin/bans").await.expect(200);
    let ids: Vec<&str> = bans["bans"].as_array().unwrap().iter().filter_map(|ban| ban["id"].as_str()).collect();
    assert_eq!(ids, [&*mute, &*here], "newest first");
    assert_eq!((&bans["bans"][0]["kind"], &bans["bans"][0]["reason"]), (&json!("mute"), &json!("loud")));
    assert_eq!((&bans["bans"][1]["room_id"], &bans["bans"][1]["user_id"]), (&json!("lobby"), &json!("alice")));
    server.user("alice").comment("lobby", "x").await.fails(403, "banned");
    server.user("bob").comment("lobby", "x").await.fails(403, "muted");
    for id in [here, mute] {
        server.admin().delete(&format!("admin/bans/{id}")).await.is(204);
        server.admin().delete(&format!("admin/bans/{id}")).await.fails(404, "not_found");
    }
    server.user("alice").say("lobby", "back").await;
    server.user("bob").say("lobby", "back too").await;
}

#[tokio::test]
async fn a_mute_takes_the_word_and_leaves_the_rest() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    ban(&server, json!({ "user_id": "alice", "room_id": "lobby", "kind": "mute", "duration_s": 600 })).await;
    alice.event("user_muted").await;
    let error = alice.refused(json!({ "type": "comment", "room_id": "lobby", "content": "x" }), "muted").await;
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| (590_000..=600_000).contains(&ms)), "{error}");
    server.user("alice").say("attic", "in another room").await;
    server.user("bob").say("lobby", "hear").await;
    alice.sees("hear").await;
}

#[tokio::test]
async fn bans_end_by_themselves() {
    let server = server().await;
    ban(&server, json!({ "user_id": "alice", "kind": "ban", "duration_s": 1 })).await;
    server.user("alice").get("rooms/lobby").await.fails(403, "banned");
    eventually("the end of the ban", async || {
        (server.user("alice").get("rooms/lobby").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(server.admin().get("admin/bans").await.expect(200)["bans"], json!([]));
}

#[tokio::test]
async fn a_long_poll_of_somebody_banned_brings_nothing() {
    let server = fast_server().await;
    let last = server.user("bob").say("lobby", "first").await;
    let alice = server.user("alice");
    let poll = tokio::spawn(async move { alice.get(&format!("rooms/lobby/comments?since_id={last}&wait_s=20")).await });
    eventually("the poll to wait", async || {
        let metrics = server.http().get("/metrics").await.text;
        metrics.lines().any(|line| line.contains("streams") && line.ends_with(" 1")).then_some(())
    })
    .await;
    ban(&server, json!({ "user_id": "alice", "room_id": "lobby", "kind": "ban", "duration_s": 600 })).await;
    server.user("bob").say("lobby", "second").await;
    poll.await.unwrap().fails(403, "banned");
}

#[tokio::test]
async fn a_moderator_bans_in_the_own_rooms_alone() {
    let server = server().await;
    let mo = token(&json!({ "sub": "mo", "level": "moderator", "rooms": ["lobby"], "exp": now_s() + 60 }));
    let mo = server.bearing(&mo);
    let of = |room: Value| json!({ "user_id": "alice", "room_id": room, "kind": "ban", "duration_s": 600 });
    mo.post("admin/bans", of(json!("attic"))).await.fails(403, "forbidden");
    mo.post("admin/bans", of(Value::Null)).await.fails(403, "forbidden");
    let id = mo.post("admin/bans", of(json!("lobby"))).await.expect(201)["id"].clone();
    let everywhere = ban(&server, json!({ "user_id": "bob", "kind": "ban", "duration_s": 600 })).await;
    let listed = mo.get("admin/bans").await.expect(200);
    assert_eq!((&listed["bans"][0]["id"], listed["bans"].as_array().map(Vec::len)), (&id, Some(1)));
    mo.delete(&format!("admin/bans/{everywhere}")).await.fails(403, "forbidden");
    mo.delete(&format!("admin/bans/{}", id.as_str().unwrap())).await.is(204);
}

#[tokio::test]
async fn a_ban_that_says_nothing_sensible_is_refused() {
    let server = server().await;
    let good = json!({ "user_id": "alice", "kind": "ban", "duration_s": 600 });
    for (field, value) in [
        ("duration_s", json!(0)),
        ("duration_s", json!(-5)),
        ("kind", json!("curse")),
        ("user_id", json!("")),
        ("room_id", json!("a b")),
        ("reason", json!("x".repeat(201))),
    ] {
        let mut ban = good.clone();
        ban[field] = value;
        server.admin().post("admin/bans", ban).await.fails(400, "invalid_request");
    }
    assert_eq!(server.admin().get("admin/bans").await.expect(200)["bans"], json!([]));
}
