//! Recordings: sessions, ranges, one user's comments, pages, and comments upon them.

use serde_json::{Value, json};
use testkit::Server;

use crate::{contents, fast_server};

/// A recording in the room `film` with comments at these offsets, by turns of `a` and `b`; its session.
async fn recording(server: &Server, offsets: &[i64]) -> String {
    let comments: Vec<Value> = offsets
        .iter()
        .zip(["a", "b"].iter().cycle())
        .map(|(ms, user)| json!({ "offset_ms": ms, "content": format!("{user} at {ms}"), "user_id": user }))
        .collect();
    let answer = server.admin().post("admin/rooms/film/import", json!({ "comments": comments })).await.expect(201);
    assert_eq!(answer["imported"], offsets.len());
    answer["session_id"].as_str().unwrap().to_owned()
}

async fn replay(server: &Server, query: &str) -> Value {
    server.user("reader").get(&format!("rooms/film/replay?{query}")).await.expect(200)
}

#[tokio::test]
async fn a_range_includes_its_beginning_and_excludes_its_end() {
    let server = fast_server().await;
    let session = recording(&server, &[0, 1_000, 1_999, 2_000, 3_000]).await;
    let all = replay(&server, &format!("session_id={session}")).await;
    assert_eq!(contents(&all["comments"]), ["a at 0", "b at 1000", "a at 1999", "b at 2000", "a at 3000"]);
    assert!(all.get("next_cursor").is_none(), "{all}");
    let comment = &all["comments"][1];
    assert_eq!(
        (&comment["offset_ms"], &comment["session_id"], &comment["kind"]),
        (&json!(1_000), &json!(session), &json!("imported"))
    );
    let range = replay(&server, &format!("session_id={session}&from_ms=1000&to_ms=2000")).await;
    assert_eq!(contents(&range["comments"]), ["b at 1000", "a at 1999"]);
    let empty = replay(&server, &format!("session_id={session}&from_ms=2000&to_ms=2000")).await;
    assert_eq!(empty["comments"], json!([]));
    let one = replay(&server, &format!("session_id={session}&by_user=b")).await;
    assert_eq!(contents(&one["comments"]), ["b at 1000", "b at 2000"]);
}

#[tokio::test]
async fn a_cursor_leads_through_all_of_it_once() {
    let server = fast_server().await;
    // Many at the same moment: the cursor must not skip or repeat them.
    let offsets: Vec<i64> = (0..25).map(|n| n / 10 * 500).collect();
    let session = recording(&server, &offsets).await;
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = replay(&server, &format!("session_id={session}&limit=4{cursor}")).await;
        let comments = page["comments"].as_array().unwrap();
        seen.extend(comments.iter().map(|comment| (comment["offset_ms"].as_i64().unwrap(), comment["id"].clone())));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), offsets);
    let distinct: std::collections::BTreeSet<String> = seen.iter().map(|(_, id)| id.to_string()).collect();
    assert_eq!(distinct.len(), 25);
    server.user("x").get("rooms/film/replay?cursor=nonsense").await.fails(400, "invalid_request");
}

#[tokio::test]
async fn a_live_session_is_replayed_like_any_other() {
    let server = fast_server().await;
    let opened = server.admin().post("admin/rooms/film/open", Value::Null).await.expect(200);
    let session = opened["session_id"].as_str().unwrap();
    server.user("a").say("film", "one").await;
    server.user("b").say("film", "two").await;
    let during = replay(&server, &format!("session_id={session}")).await;
    assert_eq!(contents(&during["comments"]), ["one", "two"]);
    server.admin().post("admin/rooms/film/close", Value::Null).await.is(200);
    let opened = server.admin().post("admin/rooms/film/open", Value::Null).await.expect(200);
    server.user("a").say("film", "three").await;

    let sessions = server.user("x").get("rooms/film/sessions").await.expect(200);
    let [newest, older] = sessions["sessions"].as_array().unwrap().as_slice() else { panic!("{sessions}") };
    assert_eq!((&newest["session_id"], &newest["comment_count"]), (&opened["session_id"], &json!(1)));
    assert!(newest.get("ended_at").is_none() && newest.get("duration_s").is_none(), "{newest}");
    assert_eq!((&older["session_id"], &older["comment_count"]), (&json!(session), &json!(2)));
    assert!(
        older["ended_at"].as_str() >= older["started_at"].as_str() && older["duration_s"].as_i64().is_some(),
        "{older}"
    );
    let one = replay(&server, &format!("session_id={session}&by_user=b")).await;
    assert_eq!(contents(&one["comments"]), ["two"]);
}

#[tokio::test]
async fn a_recording_can_be_commented_upon_when_the_room_is_closed() {
    let server = fast_server().await;
    let session = recording(&server, &[0, 5_000]).await;
    server.admin().post("admin/rooms/film/close", Value::Null).await.is(200);
    let mut bob = server.viewer("bob", "film").await;
    let comment = json!({ "content": "so that is why", "session_id": session, "offset_ms": 2_500 });
    let alice = server.user("alice");
    assert_eq!(alice.post("rooms/film/comments", comment).await.expect(201)["status"], "accepted");
    let mut over_socket =
        json!({ "type": "comment", "room_id": "film", "content": "indeed", "session_id": session, "offset_ms": 2_600 });
    assert_eq!(bob.ask(over_socket.clone()).await["status"], "accepted");
    let all = replay(&server, &format!("session_id={session}")).await;
    assert_eq!(contents(&all["comments"]), ["a at 0", "so that is why", "indeed", "b at 5000"]);
    assert_eq!((&all["comments"][1]["kind"], &all["comments"][1]["offset_ms"]), (&json!("recorded"), &json!(2_500)));
    bob.settled().await;
    assert_eq!(bob.contents(), [""; 0], "it is not live");

    alice.comment("film", "live").await.fails(403, "room_closed");
    over_socket["session_id"] = json!("123456");
    bob.refused(over_socket, "not_found").await;
    let nowhere = json!({ "content": "x", "session_id": session });
    alice.post("rooms/film/comments", nowhere).await.fails(400, "invalid_request");
    let before = json!({ "content": "x", "session_id": session, "offset_ms": -1 });
    alice.post("rooms/film/comments", before).await.fails(400, "invalid_request");
    let elsewhere = json!({ "content": "x", "session_id": session, "offset_ms": 1 });
    alice.post("rooms/lobby/comments", elsewhere).await.fails(404, "not_found");
}

#[tokio::test]
async fn in_a_live_room_the_server_says_the_place() {
    let server = fast_server().await;
    let comment = json!({ "content": "now", "offset_ms": 86_400_000 });
    server.user("alice").post("rooms/film/comments", comment).await.is(201);
    let all = replay(&server, "").await;
    assert!(all["comments"][0]["offset_ms"].as_i64().is_some_and(|ms| ms < 60_000), "{all}");
}

#[tokio::test]
async fn an_unknown_session_is_not_found_and_one_of_another_room_neither() {
    let server = fast_server().await;
    let session = recording(&server, &[0]).await;
    let reader = server.user("reader");
    reader.get("rooms/film/replay?session_id=123456").await.fails(404, "not_found");
    reader.get(&format!("rooms/lobby/replay?session_id={session}")).await.fails(404, "not_found");
    reader.get("rooms/film/replay?session_id=x").await.fails(400, "invalid_request");
    reader.get("rooms/film/replay?from_ms=x").await.fails(400, "invalid_request");
}

#[tokio::test]
async fn imported_comments_make_a_finished_session_that_further_parts_join() {
    let server = fast_server().await;
    let session = recording(&server, &[0, 90_000]).await;
    let part = json!({ "session_id": session, "comments": [{ "offset_ms": 120_000, "content": "later" }, { "offset_ms": 1, "content": " " }] });
    let answer = server.admin().post("admin/rooms/film/import", part).await.expect(201);
    assert_eq!(
        (&answer["session_id"], &answer["imported"], &answer["skipped"]),
        (&json!(session), &json!(1), &json!(1))
    );
    let sessions = server.user("x").get("rooms/film/sessions").await.expect(200);
    assert_eq!(
        (&sessions["sessions"][0]["duration_s"], &sessions["sessions"][0]["comment_count"]),
        (&json!(120), &json!(3))
    );
    server.user("x").post("admin/rooms/film/import", json!({ "comments": [] })).await.fails(403, "forbidden");
}
