//! Pins, polls, questions and gift combos.

use serde_json::{Value, json};

use super::{bearer, rules};
use crate::fast_server;

#[tokio::test]
async fn a_pin_is_told_shown_at_the_door_and_ends() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let id = server.user("alice").say("lobby", "pin me").await;
    let path = "admin/rooms/lobby/pin";
    server.user("alice").put(path, json!({ "comment_id": id })).await.fails(403, "forbidden");
    server.admin().put(path, json!({ "comment_id": "12345" })).await.fails(404, "not_found");
    server.admin().put(path, json!({ "comment_id": id, "duration_s": 2 })).await.is(200);
    let told = bob.expect("the pin", |event| event["kind"] == "pin").await;
    assert_eq!(told["comment"]["content"], "pin me");
    assert_eq!(server.user("dora").get("rooms/lobby").await.expect(200)["pin"]["comment"]["id"], id.as_str());
    let joined = server.viewer("erin", "other").await.join("lobby", json!({})).await;
    assert_eq!(joined["pin"]["comment"]["id"], id.as_str(), "{joined}");
    let ended = bob.expect("the end", |event| event["kind"] == "pin").await;
    assert_eq!(ended["comment"], Value::Null);
    assert_eq!(server.user("dora").get("rooms/lobby").await.expect(200)["pin"], Value::Null);

    server.admin().put(path, json!({ "comment_id": id })).await.is(200);
    bob.expect("the pin", |event| event["kind"] == "pin").await;
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    let ended = bob.expect("the end", |event| event["kind"] == "pin").await;
    assert_eq!(ended["comment"], Value::Null, "a removed comment is pinned no more");
    server.admin().delete(path).await.is(204);
}

#[tokio::test]
async fn everybody_votes_once_and_the_end_is_exact() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let poll = json!({ "question": "Who wins?", "options": ["red", "blue"], "duration_s": 60 });
    server.user("alice").post("rooms/lobby/polls", poll.clone()).await.fails(403, "forbidden");
    let opened = server.admin().post("rooms/lobby/polls", poll).await.expect(201);
    let path = format!("rooms/lobby/polls/{}", opened["poll_id"].as_str().unwrap());
    bob.expect("the poll", |event| event["kind"] == "poll").await;
    for n in 0..30 {
        let vote = json!({ "option": usize::from(n % 3 == 0) });
        server.user(&format!("u{n}")).post(&format!("{path}/votes"), vote).await.is(200);
    }
    server.user("u0").post(&format!("{path}/votes"), json!({ "option": 0 })).await.fails(409, "already_voted");
    server.user("x").post(&format!("{path}/votes"), json!({ "option": 2 })).await.fails(400, "invalid_request");
    let closed = server.admin().post(&format!("{path}/close"), Value::Null).await.expect(200);
    assert_eq!(closed["options"], json!([{ "text": "red", "votes": 20 }, { "text": "blue", "votes": 10 }]));
    let told = bob.expect("the end", |event| event["kind"] == "poll" && event["state"] == "closed").await;
    assert_eq!(told["options"], closed["options"]);
    server.user("late").post(&format!("{path}/votes"), json!({ "option": 0 })).await.fails(409, "too_late");
    server.admin().post(&format!("{path}/close"), Value::Null).await.fails(409, "too_late");
    for wrong in [
        json!({ "question": "", "options": ["a", "b"], "duration_s": 1 }),
        json!({ "question": "q", "options": ["a"], "duration_s": 1 }),
        json!({ "question": "q", "options": ["a", "b"], "duration_s": 0 }),
    ] {
        server.admin().post("rooms/lobby/polls", wrong).await.fails(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_poll_ends_by_itself() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let poll = json!({ "question": "Now?", "options": ["yes", "no"], "duration_s": 1 });
    server.admin().post("rooms/lobby/polls", poll).await.is(201);
    bob.expect("the end", |event| event["kind"] == "poll" && event["state"] == "closed").await;
}

#[tokio::test]
async fn questions_are_ordered_by_upvotes_and_answered() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "block": ["darn"] })).await.is(200);
    let ask = async |user: &str, content: &str| {
        server.user(user).post("rooms/lobby/questions", json!({ "content": content })).await
    };
    let first = ask("alice", "why?").await.expect(201)["question_id"].as_str().unwrap().to_owned();
    let second = ask("bob", "how?").await.expect(201)["question_id"].as_str().unwrap().to_owned();
    ask("carol", "darn?").await.fails(422, "content_blocked");
    rules(&server, "lobby", json!({ "links": "none" })).await;
    assert_eq!(ask("carol", "see example.com?").await.fails(422, "content_blocked")["rule"], "links");
    let upvote = format!("rooms/lobby/questions/{second}/upvote");
    assert_eq!(server.user("carol").post(&upvote, Value::Null).await.expect(200)["upvotes"], 1);
    server.user("carol").post(&upvote, Value::Null).await.fails(409, "already_voted");
    let listed = server.user("dora").get("rooms/lobby/questions").await.expect(200);
    let ids: Vec<_> = listed["questions"].as_array().unwrap().iter().map(|q| q["question_id"].clone()).collect();
    assert_eq!(ids, [second.as_str(), first.as_str()]);
    let answer = format!("rooms/lobby/questions/{first}/answer");
    server.user("alice").post(&answer, Value::Null).await.fails(403, "forbidden");
    let mo = server.bearing(&bearer("mo", json!({ "roles": { "lobby": "moderator" } })));
    assert_eq!(mo.post(&answer, Value::Null).await.expect(200)["state"], "answered");
    mo.post(&answer, Value::Null).await.fails(409, "too_late");
    assert_eq!(
        server.user("dora").get("rooms/lobby/questions").await.expect(200)["questions"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn the_same_gift_again_is_a_combo() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let gift = json!({ "gift": "rocket", "user_id": "alice", "username": "Alice", "count": 3, "value": 1 });
    for _ in 0..2 {
        server.admin().post("admin/rooms/lobby/gifts", gift.clone()).await.is(201);
    }
    let combo = bob.expect("the combo", |event| event["kind"] == "combo").await;
    assert_eq!((&combo["user_id"], &combo["gift"], &combo["count"]), (&json!("alice"), &json!("rocket"), &json!(6)));
    assert!(combo["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{combo}");
}

#[tokio::test]
async fn pins_polls_and_questions_are_replayed_at_their_time() {
    let server = fast_server().await;
    let session = server.admin().post("admin/rooms/lobby/open", Value::Null).await.expect(200);
    let session = session["session_id"].as_str().unwrap().to_owned();
    let pinned = server.user("alice").say("lobby", "pin me").await;
    server.admin().put("admin/rooms/lobby/pin", json!({ "comment_id": pinned })).await.is(200);
    let poll = json!({ "question": "Who wins?", "options": ["red", "blue"], "duration_s": 60 });
    let opened = server.admin().post("rooms/lobby/polls", poll).await.expect(201);
    let path = format!("rooms/lobby/polls/{}", opened["poll_id"].as_str().unwrap());
    server.user("bob").post(&format!("{path}/votes"), json!({ "option": 1 })).await.is(200);
    server.user("alice").say("lobby", "in between").await;
    server.admin().post(&format!("{path}/close"), Value::Null).await.is(200);
    let asked = server.user("carol").post("rooms/lobby/questions", json!({ "content": "why?" })).await.expect(201);
    let question = asked["question_id"].as_str().unwrap();
    server.user("bob").post(&format!("rooms/lobby/questions/{question}/upvote"), Value::Null).await.is(200);
    server.admin().post(&format!("rooms/lobby/questions/{question}/answer"), Value::Null).await.is(200);
    server.admin().delete("admin/rooms/lobby/pin").await.is(204);
    server.user("alice").say("lobby", "the end").await;
    server.admin().post("admin/rooms/lobby/close", Value::Null).await.is(200);

    let dora = server.user("dora");
    let path = format!("rooms/lobby/sessions/{session}/events");
    let events = dora.get(&path).await.expect(200)["events"].as_array().unwrap().clone();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["pin", "poll", "poll", "question", "question", "pin"]);
    assert_eq!((&events[0]["comment"]["content"], &events[5]["comment"]), (&json!("pin me"), &Value::Null));
    assert_eq!((&events[1]["state"], &events[1]["options"][1]["votes"]), (&json!("open"), &json!(0)));
    assert_eq!((&events[2]["state"], &events[2]["options"][1]["votes"]), (&json!("closed"), &json!(1)));
    assert_eq!((&events[3]["state"], &events[4]["state"]), (&json!("open"), &json!("answered")));
    assert_eq!(events[4]["upvotes"], 1);
    assert!(events.is_sorted_by_key(|event| event["offset_ms"].as_i64().unwrap()), "{events:?}");

    // Beside the comments, each once, whatever the size of a page.
    let (mut cursor, mut paged, mut comments) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = dora.get(&format!("rooms/lobby/replay?session_id={session}&limit=1{cursor}")).await.expect(200);
        paged.extend(page["events"].as_array().cloned().unwrap_or_default());
        comments.extend(page["comments"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((paged, comments.len()), (events.clone(), 3));
    let whole = dora.get("rooms/lobby/replay").await.expect(200);
    assert_eq!(whole.get("events"), None, "offsets are a session's");

    // What is deleted is not replayed, and whose data go take their questions.
    server.admin().delete(&format!("admin/comments/{pinned}")).await.is(204);
    let begun = server.admin().delete("admin/users/carol/data").await.expect(202);
    let receipt = format!("admin/erasures/{}", begun["erasure_id"].as_str().unwrap());
    testkit::eventually("the erasure", async || {
        (server.admin().get(&receipt).await.expect(200)["status"] == "done").then_some(())
    })
    .await;
    let left = dora.get(&path).await.expect(200);
    let kinds: Vec<_> = left["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["poll", "poll", "pin"]);
    dora.get("rooms/lobby/sessions/12345/events").await.fails(404, "not_found");
}
