//! A purge leaves nothing: neither held comments nor places in rankings.

use serde_json::{Value, json};
use testkit::{Server, eventually};

use crate::{NO_LIMITS, configured, contents, fast_server};

async fn purge(server: &Server, user: &str, room: Value) {
    let ban = json!({ "user_id": user, "room_id": room, "kind": "ban", "duration_s": 60, "purge": true });
    server.admin().post("admin/bans", ban).await.is(201);
}

async fn held(server: &Server, user: &str, room: &str, content: &str) -> String {
    let answer = server.user(user).comment(room, content).await.expect(201);
    assert_eq!(answer["status"], "pending_review", "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn ranked(server: &Server, room: &str) -> Vec<String> {
    let ranking = server.user("reader").get(&format!("rooms/{room}/ranking")).await.expect(200);
    ranking["entries"].as_array().unwrap().iter().map(|entry| entry["user_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn held_comments_of_a_purged_user_leave_the_queue_and_cannot_be_published() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let here = held(&server, "mallory", "lobby", "hold one").await;
    let there = held(&server, "mallory", "attic", "hold two").await;
    let other = held(&server, "alice", "lobby", "hold three").await;
    let queue = async || {
        let reviews = server.admin().get("admin/reviews").await.expect(200);
        reviews["reviews"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    purge(&server, "mallory", json!("lobby")).await;
    assert_eq!(queue().await, [json!(there), json!(other)]);
    server.admin().post(&format!("admin/reviews/{here}/approve"), Value::Null).await.fails(404, "not_found");
    purge(&server, "mallory", Value::Null).await;
    assert_eq!(queue().await, [json!(other)]);
    server.admin().post(&format!("admin/reviews/{there}/approve"), Value::Null).await.fails(404, "not_found");
    let rejected = server.admin().get("admin/reviews?status=rejected").await.expect(200);
    for review in rejected["reviews"].as_array().unwrap() {
        assert_eq!((&review["content"], &review["username"]), (&json!(""), &json!("")), "the text is nowhere");
    }
    server.admin().post(&format!("admin/reviews/{other}/approve"), Value::Null).await.is(200);
}

#[tokio::test]
async fn a_held_comment_is_deleted_by_its_id() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let id = held(&server, "alice", "lobby", "hold this").await;
    server.user("bob").delete(&format!("admin/comments/{id}")).await.fails(403, "forbidden");
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    assert_eq!(server.admin().get("admin/reviews").await.expect(200)["reviews"], json!([]));
    server.admin().post(&format!("admin/reviews/{id}/approve"), Value::Null).await.fails(404, "not_found");
    server.admin().delete(&format!("admin/comments/{id}")).await.fails(404, "not_found");
}

#[tokio::test]
async fn a_purged_user_leaves_the_ranking_for_good() {
    let mut server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    for room in ["lobby", "attic"] {
        let first = server.user("mallory").say(room, "first").await;
        server.user("mallory").say(room, "second").await;
        server.user("alice").say(room, "hello").await;
        // What was deleted before counts until the purge.
        server.admin().delete(&format!("admin/comments/{first}")).await.is(204);
        let gift = json!({ "gift": "rose", "user_id": "mallory", "username": "M", "count": 1, "value": 9 });
        server.admin().post(&format!("admin/rooms/{room}/gifts"), gift).await.is(201);
    }
    eventually("mallory leads", async || (ranked(&server, "lobby").await == ["mallory", "alice"]).then_some(())).await;
    purge(&server, "mallory", json!("lobby")).await;
    bob.expect("the ranking without mallory", |message| {
        message["kind"] == "ranking" && !message["entries"].to_string().contains("mallory")
    })
    .await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        assert_eq!(ranked(&server, "lobby").await, ["alice"]);
        assert_eq!(ranked(&server, "attic").await, ["mallory", "alice"], "another room");
    }
    purge(&server, "mallory", Value::Null).await;
    assert_eq!(ranked(&server, "attic").await, ["alice"]);
    let replay = server.user("reader").get("rooms/attic/replay").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["hello"]);
}

#[tokio::test]
async fn a_purge_reaches_comments_that_are_not_stored() {
    let server = configured(NO_LIMITS).await;
    server.admin().put("admin/rooms/lobby", json!({ "store": false })).await.is(200);
    let mut bob = server.viewer("bob", "lobby").await;
    let gone = server.user("mallory").say("lobby", "unkept").await;
    server.user("alice").say("lobby", "hello").await;
    bob.sees("hello").await;
    purge(&server, "mallory", Value::Null).await;
    assert_eq!(bob.event("comment_deleted").await["comment_ids"], json!([gone]));
    let page = server.user("reader").get("rooms/lobby/comments?since_id=0").await.expect(200);
    assert_eq!(contents(&page["comments"]), ["hello"]);
}

#[tokio::test]
async fn a_purge_takes_back_the_likes_that_were_given() {
    let server = fast_server().await;
    let (first, second) =
        (server.user("alice").say("lobby", "one").await, server.user("alice").say("attic", "two").await);
    for id in [&first, &second] {
        for fan in ["mallory", "bob"] {
            server.user(fan).post(&format!("comments/{id}/like"), Value::Null).await.is(200);
        }
    }
    let likes = async |room: &str| {
        let hot = server.user("reader").get(&format!("rooms/{room}/hot")).await.expect(200);
        hot["comments"][0]["like_count"].as_u64()
    };
    purge(&server, "mallory", json!("lobby")).await;
    eventually("one like less", async || (likes("lobby").await == Some(1)).then_some(())).await;
    assert_eq!(likes("attic").await, Some(2), "another room");
    purge(&server, "mallory", Value::Null).await;
    eventually("one like less everywhere", async || (likes("attic").await == Some(1)).then_some(())).await;
    server.user("bob").post(&format!("comments/{first}/like"), Value::Null).await.fails(409, "already_liked");
}

/// Asks for the erasure of a person, and waits for its end; the receipt.
async fn erased(server: &Server, user: &str) -> Value {
    let begun = server.admin().delete(&format!("admin/users/{user}/data")).await.expect(202);
    ended(server, begun["erasure_id"].as_str().unwrap()).await
}

async fn ended(server: &Server, id: &str) -> Value {
    eventually("the end of the erasure", async || {
        let receipt = server.admin().get(&format!("admin/erasures/{id}")).await.expect(200);
        assert_ne!(receipt["status"], "failed", "{receipt}");
        (receipt["status"] == "done").then_some(receipt)
    })
    .await
}

/// The name and the words that nobody is to find again.
const NAME: &str = "Malloryname";
const SECRET: &str = "a sentence nobody is to find again, wherever it was said or whispered";
const PNG: &[u8] = b"\x89PNG not really, but nobody looks";

fn mallory(server: &Server) -> testkit::Http {
    let claims = json!({ "sub": "mallory", "name": NAME, "level": "normal", "exp": testkit::now_s() + 3_600 });
    server.bearing(&testkit::token(&claims))
}

async fn uploaded(server: &Server, http: &testkit::Http) -> Value {
    let draft = json!({ "msg_type": "image", "content_type": "image/png", "size_bytes": PNG.len(), "name": "me.png" });
    let upload = http.post("uploads", draft).await.expect(201);
    let request = server.http().request(reqwest::Method::PUT, upload["put_url"].as_str().unwrap());
    testkit::Reply::of(request.header("content-type", "image/png").body(PNG.to_vec())).await.is(201);
    assert!(files(&server.dir().join("data/archive/uploads")) > 0);
    upload
}

/// Everything that a person can leave behind; the upload.
async fn live_a_life(server: &Server) -> Value {
    let who = mallory(server);
    for room in ["lobby", "attic"] {
        who.say(room, SECRET).await;
    }
    server.admin().put("admin/words", json!({ "review": ["whisper"] })).await.is(200);
    let held = who.comment("lobby", "another sentence nobody is to find again: whisper").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    server.admin().put("admin/words", json!({ "review": [] })).await.is(200);
    let held_id = held["id"].as_str().unwrap();
    let appeal = json!({ "comment_id": held_id, "text": "an appeal nobody is to find again" });
    who.post("appeals", appeal).await.is(201);
    let liked = server.user("alice").say("lobby", "hello").await;
    who.post(&format!("comments/{liked}/like"), Value::Null).await.is(200);
    who.post("rooms/lobby/questions", json!({ "content": "a question nobody is to find again" })).await.is(201);

    for n in 0..3 {
        let message = json!({ "client_msg_id": format!("m{n}"), "to_user": "bob", "content": SECRET });
        who.post("messages", message).await.is(201);
    }
    let upload = uploaded(server, &who).await;
    let picture =
        json!({ "client_msg_id": "p", "to_user": "bob", "msg_type": "image", "content": upload["upload_id"] });
    who.post("messages", picture).await.is(201);
    let from_bob = json!({ "client_msg_id": "b", "to_user": "mallory", "content": "bob's own words" });
    let from_bob = server.user("bob").post("messages", from_bob).await.expect(201);
    let path = format!("messages/{}/reactions/👍", from_bob["server_msg_id"].as_str().unwrap());
    who.put(&path, json!({})).await.is(200);

    let mute = json!({ "user_id": "mallory", "room_id": "attic", "duration_s": 600, "kind": "mute", "reason": SECRET });
    server.admin().post("admin/bans", mute).await.is(201);
    let note = json!({ "text": "a note nobody is to find again", "room_id": "attic" });
    server.admin().post("admin/users/mallory/notes", note).await.is(201);
    let role = json!({ "user_id": "mallory", "room_id": "attic", "role": "helper" });
    server.admin().put("admin/roles", role).await.is(200);
    upload
}

#[tokio::test]
async fn nothing_of_an_erased_person_is_left_anywhere() {
    let mut server = fast_server().await;
    let mut bob = server.device("bob", "phone").await;
    let mut carol = server.viewer("carol", "lobby").await;
    let upload = live_a_life(&server).await;
    carol.sees(SECRET).await;
    let link = server.user("bob").get(&format!("uploads/{}", upload["upload_id"].as_str().unwrap())).await.expect(200);
    let link = link["url"].as_str().unwrap().to_owned();
    server.http().get(&link).await.is(200);

    server.user("bob").delete("admin/users/mallory/data").await.fails(403, "forbidden");
    let receipt = erased(&server, "mallory").await;
    let counts = &receipt["counts"];
    assert_eq!((&counts["comments"], &counts["messages"]), (&json!(3), &json!(4)), "{receipt}");
    assert_eq!((&counts["uploads"], &counts["likes"]), (&json!(1), &json!(1)), "{receipt}");
    assert!(counts["log_entries"].as_u64().is_some_and(|entries| entries >= 2), "{receipt}");
    assert!(receipt["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{receipt}");

    // The other side's devices drop what they have, and those that were away learn of it.
    for _ in 0..4 {
        bob.wait_for("message_recalled").await;
    }
    carol.event("comment_deleted").await;
    let synced = server.user("bob").get("messages?since_id=0").await.expect(200);
    for message in synced["messages"].as_array().unwrap() {
        let is_bobs = message["from_user"] == "bob";
        assert_eq!(message["content"], if is_bobs { "bob's own words" } else { "" }, "{message}");
        assert_eq!(message["status"] == "recalled", !is_bobs, "{message}");
        assert_eq!(message.get("reactions").and_then(|reactions| reactions.get(0)), None, "{message}");
    }
    server.http().get(&link).await.fails(404, "not_found");
    assert_eq!(files(&server.dir().join("data/archive/uploads")), 0, "the bytes are gone");

    let reader = server.user("reader");
    for path in [
        "rooms/lobby/replay",
        "rooms/attic/replay",
        "rooms/lobby/comments?since_id=0",
        "rooms/lobby/ranking",
        "rooms/attic/ranking",
        "rooms/lobby/hot",
        "rooms/lobby/questions",
    ] {
        let page = reader.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(!page.text.contains("mallory") && !page.text.contains(NAME), "{path}: {}", page.text);
    }
    for path in [
        "admin/reviews?status=rejected",
        "admin/appeals",
        "admin/audit",
        "admin/bans",
        "admin/roles?room_id=attic",
        "admin/users/mallory/notes",
    ] {
        let page = server.admin().get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(!page.text.contains("nobody is to find again") && !page.text.contains(NAME), "{path}: {}", page.text);
    }
    let trail = server.admin().get("admin/audit?limit=1000").await;
    assert!(!trail.text.contains("mallory"), "{}", trail.text);
    let conversations = server.user("bob").get("conversations").await.expect(200);
    assert_eq!(conversations["conversations"][0]["name"], "mallory", "the id is all that is known: {conversations}");

    let again = erased(&server, "mallory").await;
    assert_eq!(again["counts"]["comments"], 0, "{again}");
    let verified = server.command(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
    assert!(String::from_utf8_lossy(&verified.stdout).contains("erasures took names out"), "{verified:?}");
    server.terminate().await;
    let file = std::fs::read(server.dir().join("data/barrage.sqlite")).unwrap();
    for gone in ["nobody is to find again", NAME] {
        assert!(!file.windows(gone.len()).any(|bytes| bytes == gone.as_bytes()), "{gone:?} is in the file still");
    }
    server.restart().await;
    let receipt = server.admin().get("admin/erasures/1").await;
    receipt.fails(404, "not_found");
}

#[tokio::test]
async fn an_erasure_that_was_killed_in_the_middle_goes_on_and_counts_each_once() {
    const COMMENTS: usize = 4_000;
    let mut server = fast_server().await;
    let mut mallory = server.viewer("mallory", "lobby").await;
    for chunk in 0..COMMENTS / 500 {
        crate::says_many(&mut mallory, "lobby", &format!("secret {chunk}"), 500).await;
    }
    mallory.close().await;
    server.user("alice").say("lobby", "hello").await;
    let begun = server.admin().delete("admin/users/mallory/data").await.expect(202);
    let id = begun["erasure_id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let before = server.admin().get(&format!("admin/erasures/{id}")).await.expect(200);
        eventually("some progress", async || {
            let now = server.admin().get(&format!("admin/erasures/{id}")).await.expect(200);
            (now["counts"] != before["counts"] || now["status"] == "done").then_some(())
        })
        .await;
        server.kill9().await;
        server.restart().await;
    }
    let receipt = testkit::within(std::time::Duration::from_secs(180), "the end of the erasure", async || {
        let receipt = server.admin().get(&format!("admin/erasures/{id}")).await.expect(200);
        (receipt["status"] == "done").then_some(receipt)
    })
    .await;
    assert_eq!(receipt["counts"]["comments"], COMMENTS, "{receipt}");
    let replay = server.user("reader").get("rooms/lobby/replay?limit=1000").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["hello"]);
    assert_eq!(ranked(&server, "lobby").await, ["alice"]);
    assert!(server.command(&["audit", "verify"]).await.status.success());
}

/// How many files a folder and those in it hold.
fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
