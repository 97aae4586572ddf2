//! Names: cleaned and filtered at every door as texts are.

use serde_json::{Value, json};
use testkit::{Options, Server, Viewer, now_s, token};

use crate::{BIN, NO_LIMITS, fast_server, server};

/// Invisible, turning and breaking characters, and stacked marks.
const DIRTY: &str = "A\u{200b}l\u{202e}i\nce\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}";
const CLEAN: &str = "Ali ce\u{301}\u{301}\u{301}\u{301}";
/// Nothing of it can be seen.
const BLANK: &str = "\u{200b}\u{2800} \u{2060}";

fn named(user: &str, name: &str) -> String {
    token(&json!({ "sub": user, "name": name, "exp": now_s() + 60 }))
}

async fn words(server: &Server, lists: Value) {
    server.admin().put("admin/words", lists).await.is(200);
}

/// The name under which somebody's newest comment in the lobby is shown.
async fn shown(server: &Server) -> String {
    let page = server.user("reader").get("rooms/lobby/comments?limit=1").await.expect(200);
    page["comments"].as_array().unwrap().last().unwrap()["username"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn names_in_tokens_are_cleaned_and_filtered_whichever_way_the_token_comes() {
    let server = fast_server().await;
    words(&server, json!({ "mask": ["darn"], "review": ["maybe"], "block": ["curse"] })).await;
    for (user, name, expected) in [
        ("u1", DIRTY, CLEAN),
        ("u2", BLANK, "u2"),
        ("u3", "my darn name", "my **** name"),
        ("u4", "c u r s e", "u4"),
        ("u5", "maybe me", "u5"),
        ("u6", "爱丽丝 👨‍👩‍👧", "爱丽丝 👨‍👩‍👧"),
    ] {
        let token = named(user, name);
        server.bearing(&token).say("lobby", &format!("{user} by header")).await;
        assert_eq!(shown(&server).await, expected, "{name:?} by header");
        let mut socket = server.connect(&format!("room_id=lobby&token={token}")).await;
        socket.wait_for("room_joined").await;
        socket.say(&format!("{user} by query")).await;
        assert_eq!(shown(&server).await, expected, "{name:?} by query");
        let mut socket = Viewer::open(server.address(), "", &[]).await.unwrap();
        socket.wait_for("error").await;
        assert_eq!(socket.ask(json!({ "type": "login", "token": token })).await["type"], "connected");
        socket.join("lobby", json!({})).await;
        socket.ask(json!({ "type": "comment", "room_id": "lobby", "content": format!("{user} by login") })).await;
        assert_eq!(shown(&server).await, expected, "{name:?} by login");
    }
}

#[tokio::test]
async fn a_list_that_changes_reaches_who_is_connected() {
    let server = fast_server().await;
    let mut socket = server.connect(&format!("room_id=lobby&token={}", named("una", "darn una"))).await;
    socket.wait_for("room_joined").await;
    socket.say("before").await;
    assert_eq!(shown(&server).await, "darn una");
    words(&server, json!({ "mask": ["darn"] })).await;
    socket.say("after").await;
    assert_eq!(shown(&server).await, "**** una");
}

#[tokio::test]
async fn a_development_server_cleans_the_names_of_the_query() {
    let server = Options::new(BIN).dev().config(NO_LIMITS).start().await;
    server.http().put("admin/words", json!({ "mask": ["darn"] })).await.is(200);
    for (name, expected) in [("darn%20it", "**** it"), ("%E2%80%8B", "dev"), ("a%0Ab%E2%80%AE", "a b")] {
        let who = format!("user_id=dev&username={name}");
        server.http().post(&format!("rooms/lobby/comments?{who}"), json!({ "content": name })).await.is(201);
        assert_eq!(shown(&server).await, expected, "over HTTP");
        let mut socket = server.connect(&format!("room_id=lobby&{who}")).await;
        socket.wait_for("room_joined").await;
        socket.say(&format!("{name} again")).await;
        assert_eq!(shown(&server).await, expected, "over a socket");
    }
}

#[tokio::test]
async fn gifts_and_follows_show_clean_names() {
    let server = server().await;
    words(&server, json!({ "mask": ["darn"], "block": ["curse"] })).await;
    let mut bob = server.viewer("bob", "lobby").await;
    let (admin, room) = (server.admin(), "admin/rooms/lobby");
    for (name, expected) in [(DIRTY, CLEAN), (BLANK, "gina"), ("darn gina", "**** gina"), ("curse", "gina")] {
        let gift = json!({ "gift": "darn\u{200b} rose", "user_id": "gina", "username": name, "count": 1, "value": 1 });
        admin.post(&format!("{room}/gifts"), gift).await.is(201);
        let event = bob.event("gift").await;
        assert_eq!((&event["username"], &event["gift"]), (&json!(expected), &json!("**** rose")));
        let ranking = server.user("bob").get("rooms/lobby/ranking").await.expect(200);
        assert_eq!(ranking["entries"][0]["username"], expected);
        admin
            .post(&format!("{room}/events"), json!({ "kind": "follow", "user_id": "gina", "username": name }))
            .await
            .is(201);
        assert_eq!(bob.event("follow").await["username"], expected);
    }
    let gift = |name: &str| json!({ "gift": name, "user_id": "gina", "username": "Gina", "count": 1, "value": 1 });
    admin.post(&format!("{room}/gifts"), gift(BLANK)).await.fails(400, "invalid_request");
    admin.post(&format!("{room}/gifts"), gift("curse")).await.fails(422, "content_blocked");
}

#[tokio::test]
async fn names_of_rooms_and_words_of_operators_pass_the_lists() {
    let server = server().await;
    words(&server, json!({ "mask": ["darn"], "block": ["curse"] })).await;
    let (admin, room) = (server.admin(), "admin/rooms/lobby");
    for (name, expected) in [("The\u{202e} darn\nhall", "The **** hall"), (BLANK, "lobby")] {
        admin.put(room, json!({ "name": name })).await.is(200);
        assert_eq!(server.user("bob").get("rooms/lobby").await.expect(200)["name"], expected);
    }
    admin.put(room, json!({ "name": "curse" })).await.fails(422, "content_blocked");
    let mut bob = server.viewer("bob", "lobby").await;
    admin.post(&format!("{room}/announcements"), json!({ "content": "darn it", "critical": false })).await.is(201);
    assert_eq!(bob.event("announcement").await["content"], "**** it");
    admin.post(&format!("{room}/announcements"), json!({ "content": "curse" })).await.fails(422, "content_blocked");
    let notice = |message: &str| json!({ "kind": "notice", "code": "n", "message": message });
    admin.post(&format!("{room}/events"), notice("darn\u{200b} it")).await.is(201);
    assert_eq!(bob.event("notice").await["message"], "**** it");
    admin.post(&format!("{room}/events"), notice("curse")).await.fails(422, "content_blocked");
}

#[tokio::test]
async fn recordings_come_in_with_clean_names_and_texts() {
    let server = server().await;
    words(&server, json!({ "mask": ["darn"], "block": ["curse"] })).await;
    let said = |offset_ms: u64, name: &str, content: &str| json!({ "offset_ms": offset_ms, "user_id": "rex", "username": name, "content": content });
    let recording = json!({ "comments": [
        said(1, DIRTY, "one"), said(2, "darn rex", "two"), said(3, "curse", "darn three"), said(4, "Rex", "curse four"),
    ] });
    let imported = server.admin().post("admin/rooms/lobby/import", recording).await.expect(201);
    assert_eq!((&imported["imported"], &imported["skipped"]), (&json!(3), &json!(1)));
    let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    let shown: Vec<_> =
        replay["comments"].as_array().unwrap().iter().map(|one| (&one["username"], &one["content"])).collect();
    let expected =
        [(json!(CLEAN), json!("one")), (json!("**** rex"), json!("two")), (json!("rex"), json!("**** three"))];
    assert_eq!(shown, expected.iter().map(|(name, text)| (name, text)).collect::<Vec<_>>());
}
