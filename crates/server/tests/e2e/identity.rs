//! Who somebody is: tokens of all kinds, their end, and what they allow.

use serde_json::{Value, json};
use testkit::{Options, Signer, Viewer, eventually, now_s, token};

use crate::{BIN, configured, server};

fn claims(user: &str, more: Value) -> Value {
    let mut claims = json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 60 });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

#[tokio::test]
async fn without_a_token_nothing_is_read_or_written() {
    let server = server().await;
    server.http().comment("lobby", "x").await.fails(401, "unauthorized");
    for path in [
        "rooms/lobby",
        "rooms/lobby/comments",
        "rooms/lobby/events",
        "rooms/lobby/hot",
        "rooms/lobby/ranking",
        "rooms/lobby/sessions",
        "rooms/lobby/replay",
        "rooms",
    ] {
        server.http().get(path).await.fails(401, "unauthorized");
    }
    server.http().get("/api/v1/rooms/lobby?user_id=alice&level=admin").await.fails(401, "unauthorized");
}

#[tokio::test]
async fn a_socket_without_identity_is_told_at_once_and_closed_unless_it_logs_in() {
    let server = configured("[sockets]\nlogin_s = 4\n").await;
    let mut nobody = server.connect("room_id=lobby").await;
    assert_eq!(nobody.wait_for("error").await["code"], "unauthorized");
    assert_eq!(nobody.wait_close().await.0, 4001);

    let mut forged = server.connect("token=not.a.token").await;
    assert_eq!(forged.wait_for("error").await["code"], "unauthorized");
    let connected =
        forged.ask(json!({ "type": "login", "token": token(&claims("alice", json!({}))), "device_id": "tv" })).await;
    assert_eq!(
        (&connected["type"], &connected["user_id"], &connected["device_id"]),
        (&json!("connected"), &json!("alice"), &json!("tv"))
    );
    forged.join("lobby", json!({})).await;
    // Longer than it had to log in.
    assert_eq!(server.user("bob").get("rooms/lobby/comments?since_id=0&wait_s=5").await.status, 200);
    assert_eq!(
        forged.ask(json!({ "type": "comment", "room_id": "lobby", "content": "in" })).await["status"],
        "accepted"
    );
}

#[tokio::test]
async fn a_token_comes_in_the_header_in_the_query_or_by_login() {
    let server = server().await;
    let alice = token(&claims("alice", json!({ "name": "Alice 爱丽丝", "level": "vip" })));
    server.bearing(&alice).say("lobby", "by header").await;
    let by_query = format!("rooms/lobby/comments?token={alice}");
    server.http().post(&by_query, json!({ "content": "by query" })).await.is(201);
    let header = format!("Bearer {alice}");
    let mut viewer = Viewer::open(server.address(), "room_id=lobby", &[("authorization", &header)]).await.unwrap();
    let connected = viewer.wait_for("connected").await;
    assert_eq!(connected["user_id"], "alice");
    for field in ["device_id", "connection_id", "node_id"] {
        assert!(connected[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {connected}");
    }
    assert_eq!(connected["heartbeat_s"], 30);
    assert!(connected["server_time_ms"].as_i64().is_some_and(|ms| (ms / 1_000 - now_s()).abs() < 10), "{connected}");
    viewer.wait_for("room_joined").await;
    assert_eq!(
        (viewer.given[0]["username"].as_str(), viewer.given[0]["level"].as_str()),
        (Some("Alice 爱丽丝"), Some("vip"))
    );
}

#[tokio::test]
async fn a_token_that_does_not_verify_is_no_token() {
    let server = server().await;
    let wrong_secret = Signer::secret("another secret of thirty-two bytes!!").token_of("alice");
    let good = token(&claims("alice", json!({})));
    let (head, signature) = good.rsplit_once('.').unwrap();
    // {"alg":"none"} and the same claims.
    let none = format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').unwrap().1);
    let cases = [
        ("another secret", wrong_secret),
        ("no algorithm", none),
        ("no signature", format!("{head}.")),
        ("a signature of another", format!("{head}.{}", signature.chars().rev().collect::<String>())),
        ("expired", token(&claims("alice", json!({ "exp": now_s() - 1 })))),
        ("no end", token(&json!({ "sub": "alice" }))),
        ("no user", token(&json!({ "exp": now_s() + 60 }))),
        ("a user id with a space", token(&claims("al ice", json!({})))),
        ("a long name", token(&claims("alice", json!({ "name": "n".repeat(33) })))),
        ("nonsense", "x".into()),
    ];
    for (what, token) in cases {
        let reply = server.bearing(&token).comment("lobby", what).await;
        assert_eq!((reply.status, reply.body["error"]["code"].as_str()), (401, Some("unauthorized")), "{what}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{what}");
    }
    server.bearing(&good).say("lobby", "good").await;
}

#[tokio::test]
async fn tokens_of_another_service_verify_by_a_key_in_pem() {
    for signer in [Signer::rsa("k"), Signer::p256("k"), Signer::ed25519("k")] {
        let options =
            Options::new(BIN).file("key.pem", &signer.pem).config("[auth]\npublic_key_file = \"{dir}/key.pem\"\n");
        let server = options.start().await;
        server.bearing(&signer.token_of("alice")).say("lobby", "signed elsewhere").await;
        let forged = Signer::secret(&signer.pem).token_of("alice");
        server.bearing(&forged).comment("lobby", "the public key as a secret").await.fails(401, "unauthorized");
        server.user("bob").say("lobby", "the shared secret still works").await;
    }
}

#[tokio::test]
async fn a_jwks_file_holds_many_keys_and_is_read_again_when_it_changes() {
    let signers = [Signer::rsa("r"), Signer::p256("p"), Signer::ed25519("e")];
    let jwks = |signers: &[&Signer]| json!({ "keys": signers.iter().map(|s| &s.jwk).collect::<Vec<_>>() }).to_string();
    let options = Options::new(BIN).file("keys.json", &jwks(&[&signers[0], &signers[1], &signers[2]]));
    let server = options.config("[auth]\njwks_file = \"{dir}/keys.json\"\n").start().await;
    for (n, signer) in signers.iter().enumerate() {
        server.bearing(&signer.token_of(&format!("user-{n}"))).say("lobby", "hi").await;
    }
    let next = Signer::ed25519("next");
    server.bearing(&next.token_of("alice")).comment("lobby", "too soon").await.fails(401, "unauthorized");
    std::fs::write(server.dir().join("keys.json"), jwks(&[&next])).unwrap();
    eventually("the new key", async || {
        (server.bearing(&next.token_of("alice")).get("rooms/lobby").await.status == 200).then_some(())
    })
    .await;
    server.bearing(&signers[0].token_of("alice")).get("rooms/lobby").await.fails(401, "unauthorized");
}

#[tokio::test]
async fn a_broken_key_file_leaves_the_old_keys_in_force() {
    let signer = Signer::p256("k");
    let options =
        Options::new(BIN).file("key.pem", &signer.pem).config("[auth]\npublic_key_file = \"{dir}/key.pem\"\n");
    let server = options.start().await;
    std::fs::write(server.dir().join("key.pem"), "nonsense").unwrap();
    eventually("a complaint in the log", async || server.log().contains("key.pem").then_some(())).await;
    server.bearing(&signer.token_of("alice")).say("lobby", "still here").await;
}

#[tokio::test]
async fn a_user_s_tokens_issued_before_a_moment_are_revoked_for_good() {
    let mut server = server().await;
    let old = token(&claims("alice", json!({})));
    server.bearing(&old).get("rooms/lobby").await.is(200);
    server.user("bob").post("admin/tokens/revoke", json!({ "user_id": "alice" })).await.fails(403, "forbidden");
    server.admin().post("admin/tokens/revoke", json!({ "user_id": "alice" })).await.is(204);
    server.bearing(&old).get("rooms/lobby").await.fails(401, "unauthorized");
    server.user("bob").get("rooms/lobby").await.is(200);
    let mut refused = server.connect(&format!("token={old}")).await;
    assert_eq!(refused.wait_for("error").await["code"], "unauthorized");

    server.restart().await;
    server.bearing(&old).get("rooms/lobby").await.fails(401, "unauthorized");
    eventually("a token issued later", async || {
        let fresh = token(&claims("alice", json!({ "iat": now_s() })));
        (server.bearing(&fresh).get("rooms/lobby").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_issued_right_after_a_revocation_is_good_at_once() {
    let server = server().await;
    let undated = token(&json!({ "sub": "alice", "exp": now_s() + 60 }));
    server.bearing(&undated).get("rooms/lobby").await.is(200);
    server.admin().post("admin/tokens/revoke", json!({ "user_id": "alice" })).await.is(204);
    let fresh = token(&claims("alice", json!({ "iat": now_s() })));
    server.bearing(&fresh).get("rooms/lobby").await.is(200);
    let refused = server.bearing(&undated).get("rooms/lobby").await.fails(401, "unauthorized");
    assert!(refused.to_string().contains("iat"), "it says why: {refused}");
}

#[tokio::test]
async fn times_in_tokens_are_numbers_of_any_kind() {
    let server = server().await;
    let asks = async |more: Value| {
        let token = token(&claims("alice", more));
        server.bearing(&token).get("rooms/lobby").await.status
    };
    let now = now_s() as f64;
    assert_eq!(asks(json!({ "exp": now + 60.5, "iat": now - 1.25, "nbf": now - 0.5 })).await, 200, "fractions");
    assert_eq!(asks(json!({ "name": null, "level": null, "rooms": null, "iat": null, "nbf": null })).await, 200);
    assert_eq!(asks(json!({ "exp": now - 0.5 })).await, 401, "expired");
    assert_eq!(asks(json!({ "exp": null })).await, 401, "no end");
    assert_eq!(asks(json!({ "nbf": now_s() + 30 })).await, 200, "clocks differ");
    assert_eq!(asks(json!({ "nbf": now_s() + 600 })).await, 401, "not yet");
    assert_eq!(asks(json!({ "iat": now_s() + 30 })).await, 200, "clocks differ");
    assert_eq!(asks(json!({ "iat": now_s() + 600 })).await, 401, "issued in the future");
    assert_eq!(asks(json!({ "exp": "tomorrow" })).await, 401);
}

#[tokio::test]
async fn a_token_with_rooms_is_good_for_those_alone() {
    let server = server().await;
    let one = token(&claims("alice", json!({ "rooms": ["a", "b"] })));
    let alice = server.bearing(&one);
    alice.say("a", "in").await;
    alice.comment("c", "out").await.fails(403, "forbidden");
    alice.get("rooms/c").await.fails(403, "forbidden");
    alice.get("rooms/c/comments").await.fails(403, "forbidden");
    let mut viewer = server.connect(&format!("room_id=a&token={one}")).await;
    viewer.join("b", json!({})).await;
    viewer.refused(json!({ "type": "join_room", "room_id": "c" }), "forbidden").await;
    viewer.refused(json!({ "type": "comment", "room_id": "c", "content": "out" }), "forbidden").await;
    let refused =
        Viewer::open(server.address(), &format!("room_id=c&token={one}"), &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (403, "forbidden"));
}

#[tokio::test]
async fn who_may_moderate_is_decided_by_key_level_ownership_and_rooms() {
    let server = server().await;
    server.admin().put("admin/rooms/a", json!({ "owner_id": "olga" })).await.is(200);
    let asks = async |level: &str, user: &str, rooms: Value, room: &str| {
        let token = token(&claims(user, json!({ "level": level, "rooms": rooms })));
        server.bearing(&token).put(&format!("admin/rooms/{room}"), json!({ "slow_mode_s": 0 })).await.status
    };
    assert_eq!(asks("admin", "root", Value::Null, "a").await, 200);
    assert_eq!(asks("normal", "olga", Value::Null, "a").await, 200, "the owner");
    assert_eq!(asks("normal", "olga", Value::Null, "b").await, 403, "the owner of another room");
    assert_eq!(asks("moderator", "mo", json!(["a"]), "a").await, 200);
    assert_eq!(asks("moderator", "mo", json!(["a"]), "b").await, 403);
    assert_eq!(asks("moderator", "mo", Value::Null, "a").await, 403, "a moderator of no room");
    assert_eq!(asks("owner", "otto", Value::Null, "a").await, 403, "the level alone owns nothing");
    assert_eq!(asks("vip", "vic", json!(["a"]), "a").await, 403);
    server.http().put("admin/rooms/a", json!({})).await.fails(401, "unauthorized");
    server.bearing("the-wrong-key").put("admin/rooms/a", json!({})).await.fails(401, "unauthorized");
    let mo = token(&claims("mo", json!({ "level": "moderator", "rooms": ["a"] })));
    server.bearing(&mo).put("admin/words", json!({})).await.fails(403, "forbidden");
}

#[tokio::test]
async fn a_socket_whose_token_expires_is_closed_unless_it_logs_in_again() {
    let server = server().await;
    let short = token(&claims("alice", json!({ "exp": now_s() + 3 })));
    let mut leaves = server.connect(&format!("room_id=lobby&token={short}")).await;
    let mut stays = server.connect(&format!("room_id=lobby&token={short}")).await;
    stays.wait_for("room_joined").await;
    let renewed = stays.ask(json!({ "type": "login", "token": token(&claims("alice", json!({}))) })).await;
    assert_eq!(renewed["type"], "connected");
    assert_eq!(leaves.wait_close().await.0, 4001);
    server.user("bob").say("lobby", "afterwards").await;
    stays.sees("afterwards").await;
}

#[tokio::test]
async fn anonymous_reading_is_reading_alone() {
    let server = configured("[auth]\nanonymous_read = true\n").await;
    server.admin().put("admin/rooms/club", json!({ "private": true })).await.is(200);
    server.user("alice").say("lobby", "public").await;
    let page = server.http().get("rooms/lobby/comments?since_id=0").await.expect(200);
    assert_eq!(page["comments"][0]["content"], "public");
    server.http().comment("lobby", "x").await.fails(401, "unauthorized");
    server.http().get("rooms/club").await.fails(403, "forbidden");

    let mut nobody = server.connect("room_id=lobby").await;
    nobody.wait_for("room_joined").await;
    nobody.sees("public").await;
    nobody.refused(json!({ "type": "comment", "room_id": "lobby", "content": "x" }), "unauthorized").await;
    nobody.refused(json!({ "type": "join_room", "room_id": "club" }), "forbidden").await;
    server.user("bob").say("lobby", "more").await;
    nobody.sees("more").await;
}

#[tokio::test]
async fn a_development_server_believes_the_query_but_a_token_more() {
    let server = Options::new(BIN).dev().start().await;
    let mut alice = server.connect("room_id=lobby&user_id=alice&username=Ali&level=vip").await;
    assert_eq!(alice.wait_for("connected").await["user_id"], "alice");
    alice.say("hi").await;
    let seen = alice.sees("hi").await;
    assert_eq!((&seen["username"], &seen["level"]), (&json!("Ali"), &json!("vip")));
    let token = token(&claims("bob", json!({})));
    let mut bob = server.connect(&format!("room_id=lobby&user_id=alice&level=admin&token={token}")).await;
    assert_eq!(bob.wait_for("connected").await["user_id"], "bob");
    server.http().post("rooms/lobby/comments?user_id=carol", json!({ "content": "http" })).await.is(201);
    server.http().put("admin/rooms/lobby", json!({ "name": "no key needed" })).await.is(200);
    let refused = Viewer::open(server.address(), "user_id=a%20b", &[]).await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (400, "invalid_request"));
}

#[tokio::test]
async fn the_sockets_of_revoked_tokens_are_closed() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    server.admin().post("admin/tokens/revoke", json!({ "user_id": "alice" })).await.is(204);
    assert_eq!(alice.wait_close().await.0, 4001);
    bob.say("still here").await;
}

#[tokio::test]
async fn the_room_of_the_query_is_joined_once_somebody_has_logged_in() {
    let server = server().await;
    let mut socket = server.connect("room_id=lobby").await;
    assert_eq!(socket.wait_for("error").await["code"], "unauthorized");
    socket.ask(json!({ "type": "login", "token": token(&claims("alice", json!({}))) })).await;
    assert_eq!(socket.wait_for("room_joined").await["room_id"], "lobby");
    socket.say("in").await;
}
