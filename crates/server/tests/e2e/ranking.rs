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
