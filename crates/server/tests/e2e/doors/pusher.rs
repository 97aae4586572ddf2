//! The Channels protocol: sockets as pusher-js opens them, calls as server libraries sign them.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Options, Reply, eventually, now_s};
use tokio_tungstenite::tungstenite::Message;

use super::pusher_client::{Client, DOOR, call, comment, sign};
use super::{Socket, with_doors};
use crate::{BIN, NO_LIMITS};

#[tokio::test]
async fn an_address_that_is_not_ours_closes_with_its_code() {
    let server = with_doors(DOOR).await;
    for (path, code) in
        [("/app/other?protocol=7", 4001), ("/app/k?protocol=4", 4007), ("/app/k?protocol=99", 4007), ("/app/k", 4008)]
    {
        let mut socket = Socket::open(&server, path, &[]).await.expect("an upgrade");
        let error: Value = serde_json::from_str(socket.next().await.to_text().unwrap()).unwrap();
        assert_eq!((&error["event"], &error["data"]["code"]), (&json!("pusher:error"), &json!(code)), "{path}");
        assert_eq!(socket.closed().await.0, code, "{path}");
    }
}

#[tokio::test]
async fn a_public_channel_is_an_open_room() {
    let server = with_doors(DOOR).await;
    let mut client = Client::connect(&server).await;
    client.send(json!({ "event": "pusher:ping", "data": {} })).await;
    assert_eq!(client.next().await["event"], "pusher:pong");
    client.send(json!({ "event": "pusher:subscribe", "data": { "channel": "room-lobby" } })).await;
    client.event("pusher_internal:subscription_succeeded").await;
    let id = server.user("bob").say("lobby", "hi <b>").await;
    let said = client.event("comment").await;
    assert_eq!((&said["id"], &said["content"], &said["user_id"]), (&json!(id), &json!("hi <b>"), &json!("bob")));
    let announcement = json!({ "content": "soon" });
    server.admin().post("admin/rooms/lobby/announcements", announcement).await.is(201);
    assert_eq!(client.event("announcement").await["content"], "soon");
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    assert_eq!(client.event("comment_deleted").await["comment_id"], json!(id));
    assert!((server.http().metric("barrage_connections{door=\"pusher\"}").await - 1.0).abs() < f64::EPSILON);
    assert_eq!(server.http().get("rooms/lobby").await.expect(200)["viewers"], 1);
    client.send(json!({ "event": "pusher:unsubscribe", "data": { "channel": "room-lobby" } })).await;
    eventually("the viewer to be gone", async || {
        (server.http().get("rooms/lobby").await.body["viewers"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_not_signed_for_gets_an_error_and_keeps_the_socket() {
    let server = with_doors(DOOR).await;
    server.admin().put("admin/rooms/secret", json!({ "private": true })).await.is(200);
    let mut client = Client::connect(&server).await;
    for data in [
        json!({ "channel": "room-secret" }),
        json!({ "channel": "private-room-lobby" }),
        json!({ "channel": "private-room-lobby", "auth": "k:00" }),
        json!({ "channel": "private-room-lobby", "auth": format!("x:{}", sign(&format!("{}:private-room-lobby", client.id))) }),
        json!({ "channel": "presence-room-lobby", "auth": format!("k:{}", sign(&format!("{}:presence-room-lobby", client.id))) }),
        json!({ "channel": "chat" }),
        json!({ "channel": "room-a b" }),
        json!({}),
    ] {
        client.send(json!({ "event": "pusher:subscribe", "data": data })).await;
        let message = client.next().await;
        assert_eq!(message["event"], "pusher:subscription_error", "{data}: {message}");
    }
    for data in [r#"{"user_id":"a b"}"#, "{}", "[]"] {
        client.subscribe("presence-room-lobby", Some(data)).await;
        client.event("pusher:subscription_error").await;
    }
    client.subscribed("private-room-secret", None).await;
    server.bearing(&super::token_of("bob", "normal", Some(&["secret"]))).say("secret", "psst").await;
    assert_eq!(client.event("comment").await["content"], "psst");
    // A disabled room is nobody's, whoever signed.
    server.admin().put("admin/rooms/secret", json!({ "enabled": false })).await.is(200);
    client.event("pusher:subscription_error").await;
}

#[tokio::test]
async fn members_come_and_go_and_the_banned_are_removed() {
    let server = with_doors(DOOR).await;
    let mut ann = Client::connect(&server).await;
    let answer = ann.subscribed("presence-room-lobby", Some(r#"{"user_id":"ann","user_info":{"name":"Ann"}}"#)).await;
    assert_eq!(answer["presence"], json!({ "count": 1, "ids": ["ann"], "hash": { "ann": { "name": "Ann" } } }));
    let mut bob = Client::connect(&server).await;
    let answer = bob.subscribed("presence-room-lobby", Some(r#"{"user_id":7,"user_info":{}}"#)).await;
    assert_eq!(answer["presence"]["count"], 2);
    assert_eq!(ann.event("pusher_internal:member_added").await["user_id"], "7");
    let users = call(&server, Method::GET, "/apps/1/channels/presence-room-lobby/users", "", Value::Null).await;
    assert_eq!(users.expect(200), json!({ "users": [{ "id": "7" }, { "id": "ann" }] }));

    bob.send(json!({ "event": "client-typing", "channel": "presence-room-lobby", "data": { "on": true } })).await;
    let heard = ann.next().await;
    assert_eq!(
        (&heard["event"], &heard["user_id"], &heard["data"]),
        (&json!("client-typing"), &json!("7"), &json!({ "on": true }))
    );
    server
        .admin()
        .post("admin/bans", json!({ "user_id": "7", "room_id": "lobby", "duration_s": 60, "kind": "ban" }))
        .await
        .is(201);
    assert_eq!(ann.event("pusher_internal:member_removed").await["user_id"], "7");
    bob.event("pusher:subscription_error").await;
    bob.subscribe("presence-room-lobby", Some(r#"{"user_id":7}"#)).await;
    bob.event("pusher:subscription_error").await;
    let mut twice = Client::connect(&server).await;
    twice.subscribed("presence-room-lobby", Some(r#"{"user_id":"ann"}"#)).await;
    drop(twice);
    drop(bob);
    // The second socket of a member is nobody new, and nobody's end.
    let mut cleo = Client::connect(&server).await;
    cleo.subscribed("presence-room-lobby", Some(r#"{"user_id":"cleo"}"#)).await;
    assert_eq!(ann.next().await["event"], "pusher_internal:member_added");
}

#[tokio::test]
async fn client_events_are_bounded_and_clean() {
    let server = with_doors(DOOR).await;
    server.admin().put("admin/words", json!({ "mask": ["darn"], "review": [], "block": ["spam"] })).await.is(200);
    let (mut ann, mut bob) = (Client::connect(&server).await, Client::connect(&server).await);
    for client in [&mut ann, &mut bob] {
        client.subscribed("private-room-lobby", None).await;
        client.send(json!({ "event": "pusher:subscribe", "data": { "channel": "room-lobby" } })).await;
        client.event("pusher_internal:subscription_succeeded").await;
    }
    let says = |channel: &str, data: Value| json!({ "event": "client-x", "channel": channel, "data": data });
    for refused in [
        says("room-lobby", json!("public")),
        says("private-room-other", json!("not subscribed")),
        says("private-room-lobby", json!({ "deep": [{ "in": "buy spam" }] })),
        says("private-room-lobby", json!("x".repeat(11_000))),
    ] {
        ann.send(refused).await;
        assert_eq!(ann.event("pusher:error").await["code"], 4300);
    }
    ann.send(says("private-room-lobby", json!({ "text": "darn" }))).await;
    assert_eq!(bob.event("client-x").await, json!({ "text": "****" }));
    for n in 0..20 {
        ann.send(says("private-room-lobby", json!(n))).await;
    }
    assert_eq!(ann.event("pusher:error").await["code"], 4301);
}

#[tokio::test]
async fn back_ends_say_comments_under_all_rules() {
    let server = with_doors(DOOR).await;
    let mut client = Client::connect(&server).await;
    client.subscribed("private-room-lobby", None).await;
    let data = json!({ "content": "from the back end", "user_id": "bob", "username": "Bob", "client_msg_id": "m-1" });
    for _ in 0..2 {
        let reply =
            call(&server, Method::POST, "/apps/1/events", "", comment("private-room-lobby", data.clone())).await;
        assert_eq!(reply.expect(200), json!({}));
    }
    let said = client.event("comment").await;
    assert_eq!((&said["content"], &said["username"]), (&json!("from the back end"), &json!("Bob")));
    let page = server.user("ann").get("rooms/lobby/comments").await.expect(200);
    assert_eq!(page["comments"].as_array().map(Vec::len), Some(1), "the same client_msg_id is said once");

    server.admin().put("admin/words", json!({ "mask": [], "review": [], "block": ["spam"] })).await.is(200);
    server.admin().post("admin/bans", json!({ "user_id": "eve", "duration_s": 60, "kind": "ban" })).await.is(201);
    for (status, data) in [
        (422, json!({ "content": "buy spam", "user_id": "bob" })),
        (403, json!({ "content": "hi", "user_id": "eve" })),
        (422, json!({ "content": "x".repeat(300), "user_id": "bob" })),
        (400, json!({ "content": "hi", "user_id": "a b" })),
        (400, json!({ "content": "hi" })),
        (400, json!("text")),
    ] {
        let reply = call(&server, Method::POST, "/apps/1/events", "", comment("room-lobby", data.clone())).await;
        assert_eq!(reply.status, status, "{data}: {}", reply.text);
    }
    // Other names reach Pusher's subscribers alone, and not the socket that caused them.
    let mut other = Client::connect(&server).await;
    other.subscribed("private-room-lobby", None).await;
    let event =
        json!({ "name": "order", "channel": "private-room-lobby", "data": "{\"n\":1}", "socket_id": client.id });
    call(&server, Method::POST, "/apps/1/events", "", event.clone()).await.is(200);
    assert_eq!(other.event("order").await, json!({ "n": 1 }));
    let batch = json!({ "batch": [event, comment("room-lobby", json!({ "content": "second", "user_id": "bob" }))] });
    call(&server, Method::POST, "/apps/1/batch_events", "", batch).await.is(200);
    assert_eq!(client.event("comment").await["content"], "second", "and no order before it");
    let channels =
        call(&server, Method::GET, "/apps/1/channels", "info=subscription_count", Value::Null).await.expect(200);
    assert_eq!(channels["channels"]["private-room-lobby"]["subscription_count"], 2);
    let channel = call(&server, Method::GET, "/apps/1/channels/room-nobody", "", Value::Null).await.expect(200);
    assert_eq!(channel["occupied"], false);
}

#[tokio::test]
async fn calls_without_a_valid_signature_are_refused() {
    let server = with_doors(DOOR).await;
    let body = comment("room-lobby", json!({ "content": "forged", "user_id": "bob" })).to_string();
    let post = async |query: &str| {
        let request = server.http().request(Method::POST, &format!("/apps/1/events{query}")).body(body.clone());
        Reply::of(request).await
    };
    post("").await.fails(401, "unauthorized");
    let stale = format!("auth_key=k&auth_timestamp={}&auth_version=1.0", now_s() - 3_600);
    let signature = sign(&format!("POST\n/apps/1/events\n{stale}"));
    post(&format!("?{stale}&auth_signature={signature}")).await.fails(401, "unauthorized");
    let fresh = format!("auth_key=k&auth_timestamp={}&auth_version=1.0", now_s());
    let signature = sign(&format!("POST\n/apps/1/events\n{fresh}"));
    // Signed, but not with this body.
    post(&format!("?{fresh}&auth_signature={signature}")).await.fails(401, "unauthorized");
    call(&server, Method::GET, "/apps/2/channels", "", Value::Null).await.fails(404, "not_found");
}

#[tokio::test]
async fn hostile_messages_end_at_most_their_own_socket() {
    let server = with_doors(DOOR).await;
    let mut well = Client::connect(&server).await;
    let mut rude = Client::connect(&server).await;
    for _ in 0..20 {
        rude.socket.send(Message::text("{\"event\":")).await;
    }
    assert_eq!(rude.socket.closed().await.0, 4010);
    let mut huge = Client::connect(&server).await;
    huge.socket.send(Message::text("x".repeat(100_000))).await;
    assert_eq!(huge.socket.closed().await.0, 1009);
    well.send(json!({ "event": "unknown:event", "data": null })).await;
    well.send(json!({ "event": "pusher:subscribe", "data": { "channel": "room-".to_owned() + &"x".repeat(5_000) } }))
        .await;
    assert_eq!(well.next().await["event"], "pusher:error");
    well.send(json!({ "event": "pusher:ping" })).await;
    assert_eq!(well.next().await["event"], "pusher:pong");
}

#[tokio::test]
async fn who_never_reads_is_closed_and_others_are_not_kept() {
    let config = format!(
        "{DOOR}[auth]\nanonymous_read = true\n[sockets]\nbacklog_bytes_max = 16384\nslow_patience_s = 1\n{NO_LIMITS}"
    );
    let server = Options::new(BIN).config(&config).env("BARRAGE__LIMITS__COMMENT_CHARS_MAX", "2000").start().await;
    let (mut deaf, mut well) = (Client::connect(&server).await, Client::connect(&server).await);
    for client in [&mut deaf, &mut well] {
        client.send(json!({ "event": "pusher:subscribe", "data": { "channel": "room-lobby" } })).await;
        client.event("pusher_internal:subscription_succeeded").await;
    }
    let (long, speaker, mut n) = ("长".repeat(1_900), server.user("bob"), 0);
    eventually("the deaf one to be closed", async || {
        for _ in 0..50 {
            n += 1;
            speaker.say("lobby", &format!("{n} {long}")).await;
            well.event("comment").await;
        }
        (server.http().metric("barrage_connections{door=\"pusher\"}").await < 1.5).then_some(())
    })
    .await;
    drop(deaf);
}

#[tokio::test]
async fn a_drain_asks_sockets_to_reconnect() {
    let mut server = with_doors(DOOR).await;
    let mut client = Client::connect(&server).await;
    let ended = tokio::spawn(async move { server.terminate().await });
    assert_eq!(client.socket.closed().await.0, 4200);
    assert!(ended.await.unwrap().status.success());
}
