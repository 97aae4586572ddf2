//! Who stands above whom: admins, owners, moderators. And that a token gives no right beyond its rooms and its time.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Http, Server, now_s, token};

use crate::{configured, fast_server, server};

fn moderator(server: &Server, user: &str, rooms: Value) -> Http {
    server.bearing(&token(&json!({ "sub": user, "level": "moderator", "rooms": rooms, "exp": now_s() + 60 })))
}

fn admin_of(server: &Server, user: &str, rooms: Value) -> Http {
    server.bearing(&token(&json!({ "sub": user, "level": "admin", "rooms": rooms, "exp": now_s() + 60 })))
}

fn ban(user: &str, kind: &str) -> Value {
    json!({ "user_id": user, "room_id": "lobby", "kind": kind, "duration_s": 600 })
}

/// A server whose lobby is Olga's.
async fn owned() -> Server {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    server
}

#[tokio::test]
async fn a_moderator_bans_neither_owner_nor_moderators_nor_admins() {
    let server = owned().await;
    let (mo, olga) = (moderator(&server, "mo", json!(["lobby"])), server.user("olga"));
    // The server knows moderators by the tokens that it has seen.
    moderator(&server, "mel", json!(["lobby"])).get("rooms/lobby").await.is(200);
    moderator(&server, "ada", json!(["attic"])).get("rooms/attic").await.is(200);
    admin_of(&server, "root", Value::Null).get("rooms/lobby").await.is(200);
    for kind in ["ban", "mute"] {
        for target in ["olga", "mel", "root"] {
            mo.post("admin/bans", ban(target, kind)).await.fails(403, "forbidden");
        }
        mo.post("admin/bans", ban("alice", kind)).await.is(201);
        mo.post("admin/bans", ban("ada", kind)).await.is(201);
        olga.post("admin/bans", ban("root", kind)).await.fails(403, "forbidden");
        olga.post("admin/bans", ban("mel", kind)).await.is(201);
        admin_of(&server, "root", json!(["lobby"])).post("admin/bans", ban("olga", "mute")).await.is(201);
    }
}

#[tokio::test]
async fn who_is_banned_from_a_room_moderates_it_no_more() {
    let server = owned().await;
    let mo = moderator(&server, "mo", json!(["lobby", "attic"]));
    mo.get("admin/rooms/lobby").await.is(200);
    let muted = server.user("olga").post("admin/bans", ban("mo", "mute")).await.expect(201);
    let muted = muted["id"].as_str().unwrap();
    mo.delete(&format!("admin/bans/{muted}")).await.fails(403, "forbidden");
    let banned = server.user("olga").post("admin/bans", ban("mo", "ban")).await.expect(201);
    let banned = banned["id"].as_str().unwrap();
    mo.delete(&format!("admin/bans/{banned}")).await.fails(403, "forbidden");
    mo.put("admin/rooms/lobby", json!({ "slow_mode_s": 9 })).await.fails(403, "forbidden");
    mo.put("admin/rooms/attic", json!({ "slow_mode_s": 9 })).await.is(200);
    server.user("olga").delete(&format!("admin/bans/{banned}")).await.is(204);
    mo.put("admin/rooms/lobby", json!({ "slow_mode_s": 9 })).await.is(200);
}

#[tokio::test]
async fn what_a_token_did_does_not_outlive_it() {
    let server = owned().await;
    let bound = admin_of(&server, "root", json!(["lobby"]));
    for taker in [&bound, &moderator(&server, "mo", json!(["lobby"]))] {
        taker.put("admin/rooms/lobby", json!({ "owner_id": "mo" })).await.fails(403, "forbidden");
        taker.put("admin/rooms/lobby", json!({ "owner_id": null })).await.fails(403, "forbidden");
        taker.put("admin/rooms/lobby", json!({ "owner_id": "olga", "slow_mode_s": 1 })).await.is(200);
    }
    let attic = admin_of(&server, "root", json!(["attic"]));
    attic.put("admin/rooms/attic", json!({ "owner_id": "root" })).await.fails(403, "forbidden");
    server.user("olga").put("admin/rooms/lobby", json!({ "owner_id": "nora" })).await.is(200);
    server.user("olga").get("admin/rooms/lobby").await.fails(403, "forbidden");
    server.user("nora").get("admin/rooms/lobby").await.is(200);
}

#[tokio::test]
async fn rooms_in_a_token_bind_an_admin_at_every_door() {
    let server = owned().await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let there = server.user("alice").say("attic", "there").await;
    let held = server.user("alice").comment("attic", "hold it").await.expect(201)["id"].as_str().unwrap().to_owned();
    let ban = json!({ "user_id": "zoe", "room_id": "attic", "kind": "ban", "duration_s": 600 });
    let banned = server.admin().post("admin/bans", ban.clone()).await.expect(201)["id"].as_str().unwrap().to_owned();
    let bound = admin_of(&server, "root", json!(["lobby"]));
    bound.get("admin/rooms/lobby").await.is(200);
    let forbidden = |reply: testkit::Reply| drop(reply.fails(403, "forbidden"));
    for path in [
        "admin/rooms/attic",
        "admin/words",
        "admin/audit?room_id=attic",
        "admin/reviews?room_id=attic",
        "admin/bans?room_id=attic",
    ] {
        forbidden(bound.get(path).await);
    }
    for (path, body) in [
        ("admin/rooms/attic/open", Value::Null),
        ("admin/rooms/attic/close", Value::Null),
        ("admin/rooms/attic/announcements", json!({ "content": "x" })),
        ("admin/rooms/attic/gifts", json!({ "gift": "g", "user_id": "u", "username": "u", "count": 1, "value": 1 })),
        ("admin/rooms/attic/events", json!({ "kind": "notice", "code": "c", "message": "m" })),
        ("admin/rooms/attic/import", json!({ "comments": [] })),
        ("admin/bans", ban),
        ("admin/bans", json!({ "user_id": "zoe", "kind": "ban", "duration_s": 600 })),
        ("admin/tokens/revoke", json!({ "user_id": "zoe" })),
        ("admin/words/dry-run", json!({ "room_id": "attic", "lists": {} })),
        ("admin/words/mask/x", Value::Null),
    ] {
        forbidden(bound.post(path, body).await);
    }
    forbidden(bound.put("admin/rooms/attic", json!({ "slow_mode_s": 1 })).await);
    forbidden(bound.put("admin/words", json!({})).await);
    forbidden(bound.delete("admin/words/review/hold").await);
    forbidden(bound.delete(&format!("admin/bans/{banned}")).await);
    forbidden(bound.delete(&format!("admin/comments/{there}")).await);
    forbidden(bound.delete(&format!("admin/comments/{held}")).await);
    for decision in ["approve", "reject"] {
        forbidden(bound.post(&format!("admin/reviews/{held}/{decision}"), Value::Null).await);
    }
    assert_eq!(bound.get("admin/reviews").await.expect(200)["reviews"], json!([]));
    assert_eq!(bound.get("admin/bans").await.expect(200)["bans"], json!([]));
    let trail = bound.get("admin/audit").await.expect(200);
    assert!(trail["entries"].as_array().unwrap().iter().all(|entry| entry["room_id"] == "lobby"), "{trail}");
}

#[tokio::test]
async fn a_room_s_moderator_tells_nobody_outside_of_it_anything() {
    let server = server().await;
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    let mo = moderator(&server, "mo", json!(["lobby"]));
    let mut outside = server.viewer("zoe", "attic").await;
    let mut inside = server.viewer("ian", "lobby").await;
    let gift = |user: &str| json!({ "gift": "rose", "user_id": user, "username": user, "count": 1, "value": 1 });
    mo.post("admin/rooms/lobby/gifts", gift("zoe")).await.is(201);
    assert!(inside.event("gift").await.get("critical").is_none());
    for user in ["zoe", "ian"] {
        let mute = json!({ "user_id": user, "room_id": "lobby", "kind": "mute", "duration_s": 600, "reason": "spam" });
        mo.post("admin/bans", mute).await.is(201);
    }
    assert_eq!(inside.event("user_muted").await["reason"], "spam");
    server.user("alice").say("attic", "the end").await;
    outside.sees("the end").await;
    let told = outside.settled().await;
    assert!(told.iter().all(|message| message["room_id"] != "lobby"), "nothing of another room: {told:?}");
    let mut olga = server.viewer("olga", "attic").await;
    assert_eq!(olga.event("gift").await["critical"], true, "the owner is told");
}

#[tokio::test]
async fn lists_show_one_s_own_rooms_however_much_others_have() {
    let server = owned().await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let mo = moderator(&server, "mo", json!(["lobby"]));
    let mut expected = Vec::new();
    for n in 0..12 {
        let room = if n % 4 == 3 { "lobby" } else { "attic" };
        let user = format!("u{n}");
        let held = server.user(&user).comment(room, "hold it").await.expect(201)["id"].clone();
        let appeal = json!({ "comment_id": held, "text": "please" });
        server.user(&user).post("appeals", appeal).await.is(201);
        let ban = json!({ "user_id": user, "room_id": room, "kind": "mute", "duration_s": 600 });
        let ban = server.admin().post("admin/bans", ban).await.expect(201)["id"].clone();
        if room == "lobby" {
            expected.push((held, ban));
        }
    }
    for who in [&mo, &server.user("olga")] {
        for list in ["reviews", "bans", "appeals"] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = who.get(&format!("admin/{list}?limit=2{cursor}")).await.expect(200);
                found.extend(page[list].as_array().unwrap().iter().map(|entry| entry["id"].clone()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            let mut ids: Vec<_> = expected.iter().map(|(held, ban)| if list == "bans" { ban } else { held }).collect();
            if list == "bans" {
                ids.reverse();
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), ids, "{list}");
        }
    }
    for list in ["reviews", "bans", "appeals"] {
        server.user("stranger").get(&format!("admin/{list}")).await.fails(403, "forbidden");
    }
}

#[tokio::test]
async fn a_cool_down_of_the_deployment_is_no_rooms_moderators_to_end() {
    let server = configured("[limits]\ncool_down_refusals = 2\ncool_down_mute_ms = 600000\n").await;
    for _ in 0..2 {
        server.user("ann").comment("lobby", &"x".repeat(201)).await.fails(422, "content_too_long");
    }
    server.user("ann").comment("lobby", "quiet").await.fails(403, "muted");
    let lifts = async |who: &Http| {
        let ban = who.post("admin/bans", ban("ann", "mute")).await.expect(201)["id"].clone();
        who.delete(&format!("admin/bans/{}", ban.as_str().unwrap())).await.is(204);
    };
    lifts(&moderator(&server, "mo", json!(["lobby"]))).await;
    server.user("ann").comment("lobby", "still quiet").await.fails(403, "muted");
    lifts(&server.admin()).await;
    server.user("ann").say("lobby", "at last").await;
}

#[tokio::test]
async fn private_rooms_of_others_hide_no_open_room_from_the_list() {
    let server = server().await;
    server.admin().put("admin/rooms/open", json!({ "name": "open" })).await.is(200);
    server.admin().put("admin/rooms/mine", json!({ "owner_id": "olga", "private": true })).await.is(200);
    let admin = server.admin();
    let private = async |n: u32| admin.put(&format!("admin/rooms/p{n}"), json!({ "private": true })).await.is(200);
    for n in (0..450).step_by(50) {
        join_all((n..n + 50).map(private)).await;
    }
    let listed = async |who: Http| {
        let rooms = who.get("rooms").await.expect(200);
        rooms["rooms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|room| room["room_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(server.user("alice")).await, ["open"]);
    assert_eq!(listed(server.user("olga")).await, ["mine", "open"]);
    assert_eq!(listed(moderator(&server, "mo", json!(["p3", "open"]))).await, ["p3", "open"]);
    assert_eq!(listed(server.admin()).await.len(), 100);
}
