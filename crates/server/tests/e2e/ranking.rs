//! The ranking of a session: comments and gifts.

use std::time::Instant;

use serde_json::{Value, json};
use testkit::Server;

use crate::{fast_server, says_many};

async fn gift(server: &Server, user: &str, value: u64) {
    let gift = json!({ "gift": "rose", "user_id": user, "username": user, "count": 1, "value": value });
    server.admin().post("admin/rooms/lobby/gifts", gift).await.is(201);
}

async fn ranking(server: &Server, query: &str) -> Vec<(u64, String, u64)> {
    let answer = server.user("reader").get(&format!("rooms/lobby/ranking{query}")).await.expect(200);
    entries(&answer)
}

fn entries(of: &Value) -> Vec<(u64, String, u64)> {
    let number = |entry: &Value, field: &str| entry[field].as_u64().unwrap();
    let user = |entry: &Value| entry["user_id"].as_str().unwrap().to_owned();
    let entries = of["entries"].as_array().unwrap().iter();
    entries.map(|entry| (number(entry, "rank"), user(entry), number(entry, "score"))).collect()
}

fn place(rank: u64, user: &str, score: u64) -> (u64, String, u64) {
    (rank, user.into(), score)
}

#[tokio::test]
async fn a_score_is_comments_and_the_value_of_gifts_readable_at_once() {
    let server = fast_server().await;
    server.admin().post("admin/rooms/lobby/open", Value::Null).await.is(200);
    for (user, comments) in [("alice", 2), ("bob", 1), ("carol", 3)] {
        for n in 0..comments {
            server.user(user).say("lobby", &format!("{user} {n}")).await;
        }
    }
    gift(&server, "bob", 5).await;
    let expected = [place(1, "bob", 6), place(2, "carol", 3), place(3, "alice", 2)];
    assert_eq!(ranking(&server, "").await, expected);
    assert_eq!(ranking(&server, "?limit=1").await, expected[..1]);
    assert_eq!(ranking(&server, "?limit=10000").await, expected);
    server.user("alice").say("lobby", "a third").await;
    assert_eq!(
        ranking(&server, "").await[1..],
        [place(2, "carol", 3), place(3, "alice", 3)],
        "first come, first placed"
    );
}

#[tokio::test]
async fn a_gift_in_a_room_without_a_session_starts_one_and_counts() {
    let server = fast_server().await;
    gift(&server, "alice", 5).await;
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 5)]);
    assert_eq!(server.user("reader").get("rooms/lobby").await.expect(200)["state"], "live");
    gift(&server, "alice", 5).await;
    server.user("bob").say("lobby", "in the same session").await;
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 10), place(2, "bob", 1)]);
    server.admin().post("admin/rooms/lobby/close", Value::Null).await.is(200);
    let late = json!({ "gift": "rose", "user_id": "alice", "username": "alice", "count": 1, "value": 5 });
    server.admin().post("admin/rooms/lobby/gifts", late).await.fails(403, "room_closed");
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 10), place(2, "bob", 1)]);
}

#[tokio::test]
async fn a_gift_with_a_client_msg_id_counts_once_and_one_without_each_time() {
    let mut server = fast_server().await;
    let give = async |server: &Server, room: &str, key: Value, value: u64| {
        let mut gift = json!({ "gift": "rose", "user_id": "alice", "username": "alice", "count": 1, "value": value });
        gift["client_msg_id"] = key;
        server.admin().post(&format!("admin/rooms/{room}/gifts"), gift).await
    };
    let first = give(&server, "lobby", json!("order-1"), 5).await.expect(201);
    assert_eq!(give(&server, "lobby", json!("order-1"), 5).await.expect(201), first);
    server.kill9().await;
    server.restart().await;
    let again = give(&server, "lobby", json!("order-1"), 500).await.expect(201);
    assert_eq!(again, first, "the first answer, whatever the repeat says");
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 5)]);
    let mut bob = server.viewer("bob", "lobby").await;
    assert_ne!(give(&server, "attic", json!("order-1"), 5).await.expect(201), first, "another room, another gift");
    for value in [1, 2] {
        give(&server, "lobby", Value::Null, value).await.is(201);
        assert_eq!(bob.event("gift").await["value"], value, "no repeat was shown before");
    }
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 8)]);
    let four = futures::future::join_all((0..4).map(|_| give(&server, "lobby", json!("order-2"), 10))).await;
    assert!(four.iter().any(|reply| reply.status == 201), "one of them gives it");
    assert!(four.iter().all(|reply| matches!(reply.status, 201 | 503)), "the others wait for it, or are asked to");
    give(&server, "lobby", json!("order-2"), 10).await.is(201);
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 18)]);
    for wrong in [json!(""), json!("x".repeat(65)), json!(7)] {
        give(&server, "lobby", wrong, 1).await.fails(400, "invalid_request");
    }
}

#[tokio::test]
async fn what_was_not_accepted_does_not_count() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "block": ["no"], "review": ["maybe"] })).await.is(200);
    let alice = server.user("alice");
    alice.say("lobby", "yes").await;
    alice.comment("lobby", "no").await.fails(422, "content_blocked");
    let held = alice.comment("lobby", "maybe").await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 1)]);
    server.admin().post(&format!("admin/reviews/{held}/approve"), Value::Null).await.is(200);
    testkit::eventually("the approved one to count", async || {
        (ranking(&server, "").await == [place(1, "alice", 2)]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_ranking_is_right_after_a_restart() {
    let mut server = fast_server().await;
    server.admin().post("admin/rooms/lobby/open", Value::Null).await.is(200);
    for content in ["one", "two"] {
        server.user("alice").say("lobby", content).await;
    }
    server.user("bob").say("lobby", "one").await;
    gift(&server, "carol", 9).await;
    let before = ranking(&server, "").await;
    assert_eq!(before, [place(1, "carol", 9), place(2, "alice", 2), place(3, "bob", 1)]);
    server.kill9().await;
    server.restart().await;
    assert_eq!(ranking(&server, "").await, before);
}

#[tokio::test]
async fn a_new_session_begins_with_an_empty_ranking() {
    let server = fast_server().await;
    server.admin().post("admin/rooms/lobby/open", Value::Null).await.is(200);
    server.user("alice").say("lobby", "hi").await;
    server.admin().post("admin/rooms/lobby/close", Value::Null).await.is(200);
    assert_eq!(ranking(&server, "").await, [place(1, "alice", 1)], "the last session's stays readable");
    server.admin().post("admin/rooms/lobby/open", Value::Null).await.is(200);
    assert_eq!(ranking(&server, "").await, []);
}

#[tokio::test]
async fn viewers_are_pushed_the_head_when_it_changes_at_most_every_half_second() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut alice = server.viewer("alice", "lobby").await;
    let begun = Instant::now();
    let mut said = 0;
    while begun.elapsed().as_millis() < 1_600 {
        says_many(&mut alice, "lobby", &format!("round {said}"), 5).await;
        said += 5;
    }
    let (mut events, mut score) = (Vec::new(), 0);
    while score < said {
        let event = bob.event("ranking").await;
        let head = entries(&event);
        assert_eq!((head.len(), head[0].0, &*head[0].1), (1, 1, "alice"));
        assert!(head[0].2 > score, "only when it changed: {head:?} after {score}");
        score = head[0].2;
        events.push(millis(event["at"].as_str().unwrap()));
    }
    let took_ms = events.last().unwrap() - events.first().unwrap();
    assert!(events.len() >= 2, "{events:?}");
    // A clock read a little late makes one distance short and the next one long.
    assert!(took_ms >= (i64::try_from(events.len()).unwrap() - 1) * 500 - 100, "{events:?}");
}

/// Milliseconds of an RFC 3339 time within its hour.
fn millis(at: &str) -> i64 {
    let part = |from: usize, to: usize| at.get(from..to).and_then(|text| text.parse::<i64>().ok()).unwrap();
    (part(14, 16) * 60 + part(17, 19)) * 1_000 + part(20, 23)
}
