//! What a viewer is given at the door: the newest, or what was missed.

use serde_json::json;

use crate::{contents, fast_server, says_many, server};

#[tokio::test]
async fn the_newest_fifty_are_given_at_join_oldest_first() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let ids = says_many(&mut alice, "lobby", "c", 120).await;
    let mut bob = server.viewer("bob", "other").await;
    let joined = bob.join("lobby", json!({})).await;
    let expected: Vec<String> = (70..120).map(|n| format!("c {n}")).collect();
    assert_eq!(contents(&joined["history"]), expected);
    assert_eq!(joined["state"], "live");
    assert_eq!(joined["history"][49]["id"], ids[119].as_str());

    let joined = bob.join("lobby", json!({ "history": 3 })).await;
    assert_eq!(contents(&joined["history"]), ["c 117", "c 118", "c 119"]);
    let joined = bob.join("lobby", json!({ "history": 0 })).await;
    assert_eq!(joined["history"], json!([]));
    let joined = bob.join("lobby", json!({ "history": 500 })).await;
    assert_eq!(contents(&joined["history"]).len(), 100, "wishes are cut to 100");
    let joined = bob.join("lobby", json!({ "history_s": 60 })).await;
    assert_eq!(contents(&joined["history"]).last(), Some(&"c 119"));
    let joined = bob.join("lobby", json!({ "history_s": 0 })).await;
    assert_eq!(joined["history"], json!([]));

    let by_query = server.viewer_who_wishes("carol", "normal", "room_id=lobby&history=2").await;
    assert_eq!(by_query.contents(), ["c 118", "c 119"]);
}

#[tokio::test]
async fn history_survives_a_restart() {
    let mut server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    says_many(&mut alice, "lobby", "c", 60).await;
    server.kill9().await;
    server.restart().await;
    let bob = server.viewer("bob", "lobby").await;
    let expected: Vec<String> = (10..60).map(|n| format!("c {n}")).collect();
    assert_eq!(bob.contents(), expected);
}

#[tokio::test]
async fn what_was_missed_comes_with_since_id_and_the_rest_is_counted() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let ids = says_many(&mut alice, "lobby", "c", 80).await;
    let mut bob = server.viewer("bob", "other").await;
    let joined = bob.join("lobby", json!({ "since_id": ids[75] })).await;
    assert_eq!(contents(&joined["history"]), ["c 76", "c 77", "c 78", "c 79"]);
    assert!(joined.get("omitted").is_none_or(|omitted| omitted == 0), "{joined}");

    let joined = bob.join("lobby", json!({ "since_id": ids[9], "history": 20 })).await;
    let expected: Vec<String> = (60..80).map(|n| format!("c {n}")).collect();
    assert_eq!(
        (contents(&joined["history"]), &joined["omitted"]),
        (expected.iter().map(String::as_str).collect(), &json!(50))
    );

    let joined = bob.join("lobby", json!({ "since_id": ids[9] })).await;
    assert_eq!((contents(&joined["history"]).len(), &joined["omitted"]), (50, &json!(20)));
    let joined = bob.join("lobby", json!({ "since_id": ids[79] })).await;
    assert_eq!(joined["history"], json!([]));
}

#[tokio::test]
async fn what_was_missed_over_a_restart_comes_too() {
    let mut server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let ids = says_many(&mut alice, "lobby", "c", 80).await;
    server.kill9().await;
    server.restart().await;
    let query = format!("room_id=lobby&since_id={}&history=10", ids[49]);
    let mut bob = server
        .connect(&format!("{query}&token={}", testkit::token(&json!({ "sub": "bob", "exp": testkit::now_s() + 60 }))))
        .await;
    let joined = bob.wait_for("room_joined").await;
    let expected: Vec<String> = (70..80).map(|n| format!("c {n}")).collect();
    assert_eq!(
        (contents(&joined["history"]), &joined["omitted"]),
        (expected.iter().map(String::as_str).collect(), &json!(20))
    );
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_between_history_and_live() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let writing = tokio::spawn(async move { says_many(&mut alice, "lobby", "c", 60).await });
    let mut bob = server.viewer("bob", "lobby").await;
    let ids = writing.await.unwrap();
    bob.sees("c 59").await;
    let seen: Vec<&str> = bob.given.iter().filter_map(|comment| comment["id"].as_str()).collect();
    assert_eq!(seen, ids.get(ids.len() - seen.len()..).unwrap(), "in order, each once, without a gap");
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused_and_an_unknown_one_is_harmless() {
    let server = server().await;
    server.user("alice").say("lobby", "hi").await;
    let mut bob = server.viewer("bob", "other").await;
    for since_id in [json!("x"), json!("-1"), json!(true)] {
        bob.refused(json!({ "type": "join_room", "room_id": "lobby", "since_id": since_id }), "invalid_request").await;
    }
    let joined = bob.join("lobby", json!({ "since_id": "1234567" })).await;
    assert_eq!(contents(&joined["history"]), ["hi"]);
    let joined = bob.join("lobby", json!({ "since_id": "0" })).await;
    assert_eq!(contents(&joined["history"]), ["hi"]);
}
