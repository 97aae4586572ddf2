//! Reading: budgets of requests and streams, and rooms that nobody else reads.

use reqwest::Method;
use serde_json::json;
use testkit::{Options, eventually};

use crate::{BIN, configured};

#[tokio::test]
async fn a_user_has_a_budget_of_reads() {
    let server = configured("[limits]\nreads_per_user_per_s = 2\n").await;
    let alice = server.user("alice");
    for _ in 0..10 {
        alice.get("rooms/lobby").await.is(200);
    }
    let mut refused = None;
    for path in ["rooms/lobby", "rooms/lobby/ranking", "rooms/lobby/replay", "conversations", "rooms/lobby/events"] {
        let reply = alice.get(path).await;
        refused = Some(reply).filter(|reply| reply.status == 429).or(refused);
    }
    let error = refused.expect("the budget has an end").fails(429, "rate_limited");
    assert!((1..=500).contains(&error["retry_after_ms"].as_u64().unwrap()), "{error}");
    alice.say("lobby", "writing has limits of its own").await;
    server.user("bob").get("rooms/lobby").await.is(200);
}

#[tokio::test]
async fn a_user_has_so_many_streams_and_polls_at_once() {
    let server = configured("[limits]\nstreams_per_user = 2\n").await;
    let alice = server.user("alice");
    let stream = async || alice.request(Method::GET, "rooms/lobby/events").send().await.unwrap();
    let held = [stream().await, stream().await];
    assert!(held.iter().all(|answer| answer.status() == 200));
    for path in ["rooms/lobby/events", "rooms/lobby/comments?wait_s=20&since_id=0", "messages?wait_s=20"] {
        let error = alice.get(path).await.fails(429, "rate_limited");
        assert_eq!(error["retry_after_ms"], 5_000, "{path}");
    }
    drop(server.user("bob").events("lobby", "", None).await);
    drop(held);
    eventually("a free place", async || (stream().await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn invented_rooms_use_up_the_inventor_s_share_alone() {
    let server = configured("[rooms]\nloads_per_user_per_min = 6\n").await;
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    for n in 0..4 {
        alice.get(&format!("rooms/invented-{n}/comments")).await.is(200);
    }
    let mut socket = server.viewer("alice", "invented-4").await;
    socket.join("invented-5", json!({})).await;
    let refused = socket.refused(json!({ "type": "join_room", "room_id": "invented-6" }), "rate_limited").await;
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 10_000), "{refused}");
    alice.get("rooms/invented-7/comments").await.fails(429, "rate_limited");
    let events = alice.request(Method::GET, "rooms/invented-8/events").send().await.unwrap();
    assert_eq!(events.status(), 429);
    // Rooms that others read, and those of its own, stay open.
    bob.get("rooms/popular/comments").await.is(200);
    socket.join("popular", json!({})).await;
    alice.get("rooms/invented-0/comments").await.is(200);
}

#[tokio::test]
async fn empty_rooms_make_way_for_rooms_that_somebody_reads() {
    let server = Options::new(BIN).config("[rooms]\nheld_max = 8\n").start().await;
    let mut reader = server.viewer("reader", "kept").await;
    for n in 0..7 {
        server.user("alice").get(&format!("rooms/invented-{n}/comments")).await.is(200);
    }
    let error = server.user("bob").get("rooms/another/comments").await;
    assert!(error.status == 200 || error.body["error"]["code"] == "overloaded", "{}", error.text);
    // The invented ones have nothing in them and nobody reads them.
    eventually("a place", async || {
        (server.user("bob").get("rooms/another/comments").await.status == 200).then_some(())
    })
    .await;
    server.user("carol").say("kept", "still here").await;
    reader.sees("still here").await;
}
