//! What of a busy room a viewer is given, and that the rest is counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Viewer, token};

use crate::{all_speak, contents, crowd, fast_server, says_many};

/// Every comment's `count`, one for those that are alone.
fn counted(given: &[Value]) -> u64 {
    given.iter().map(|comment| comment["count"].as_u64().unwrap_or(1)).sum()
}

#[tokio::test]
async fn only_some_users_can_be_watched() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    bob.join("lobby", json!({ "only_user_ids": ["alice", "carol"] })).await;
    for user in ["dora", "alice", "emil", "carol"] {
        server.user(user).say("lobby", &format!("{user} speaks")).await;
    }
    bob.sees("carol speaks").await;
    assert_eq!(bob.contents(), ["alice speaks", "carol speaks"]);
    bob.join("lobby", json!({ "history": 0 })).await;
    server.user("dora").say("lobby", "dora again").await;
    bob.sees("dora again").await;

    let many: Vec<String> = (0..21).map(|n| format!("u{n}")).collect();
    bob.refused(json!({ "type": "join_room", "room_id": "lobby", "only_user_ids": many }), "invalid_request").await;
    let by_query = server.viewer_who_wishes("gus", "normal", "room_id=lobby&only_user_ids=alice,carol").await;
    assert_eq!(by_query.contents(), ["alice speaks", "carol speaks"], "history too");

    let of_two = "only_user_ids=alice,carol";
    let first = server.user("hal").get(&format!("rooms/lobby/comments?{of_two}")).await.expect(200);
    assert_eq!(contents(&first["comments"]), ["alice speaks", "carol speaks"]);
    let mut stream = server.user("ida").events("lobby", &format!("{of_two}&history=0"), None).await;
    let since = format!("rooms/lobby/comments?{of_two}&wait_s=20&since_id={}", first["latest_id"].as_str().unwrap());
    let (hal, later) = (server.user("hal"), async {
        for user in ["dora", "carol"] {
            server.user(user).say("lobby", &format!("{user} speaks later")).await;
        }
    });
    let (next, ()) = tokio::join!(hal.get(&since), later);
    let next = next.expect(200);
    assert!(!contents(&next["comments"]).contains(&"dora speaks later"), "{next}");
    let mut heard: Vec<String> = Vec::new();
    while !heard.iter().any(|content| content == "carol speaks later") {
        let event = stream.next().await.expect("the stream goes on");
        heard.extend(contents(&event.data["comments"]).into_iter().map(str::to_owned));
    }
    assert_eq!(heard, ["carol speaks later"]);
}

#[tokio::test]
async fn a_budget_of_nothing_leaves_the_events() {
    let server = fast_server().await;
    let mut bob = server.viewer_who_wishes("bob", "normal", "room_id=lobby&max_per_s=0").await;
    server.user("alice").say("lobby", "unseen").await;
    bob.say("my own").await;
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "hear" })).await.is(201);
    assert_eq!(bob.event("announcement").await["content"], "hear");
    assert_eq!(bob.contents(), [""; 0]);
    bob.join("lobby", json!({ "max_per_s": 50, "history": 0 })).await;
    server.user("alice").say("lobby", "seen").await;
    bob.sees("seen").await;
    bob.join("lobby", json!({ "max_per_s": 0 })).await;
    server.user("alice").say("lobby", "unseen again").await;
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "over" })).await.is(201);
    bob.expect("the end", |message| message["content"] == "over").await;
    assert_eq!(bob.contents(), ["seen"]);
}

#[tokio::test]
async fn accepted_is_delivered_and_omitted_for_every_budget() {
    let server = fast_server().await;
    let mut viewers = Vec::new();
    for tier in [1, 5, 17, 50, 100, 200] {
        let query = format!("room_id=lobby&max_per_s={tier}&history=0");
        viewers.push((tier, server.viewer_who_wishes(&format!("v{tier}"), "normal", &query).await));
    }
    let mut crowd = crowd(&server, "lobby", 30).await;
    // Words that have nothing in common, so that nothing is merged.
    for round in 0..5 {
        all_speak(&mut crowd, "lobby", |n| distinct(round * 30 + n)).await;
    }
    let said = Instant::now();
    for (tier, viewer) in &mut viewers {
        viewer.accounts_for(150).await;
        assert!(said.elapsed() < Duration::from_secs(2), "{tier}: told after {:?}", said.elapsed());
        assert_eq!(counted(&viewer.given), viewer.given.len() as u64, "nothing was to be merged");
    }
    let given = |wanted: usize| viewers.iter().find(|(tier, _)| *tier == wanted).unwrap().1.given.len();
    assert!((1..100).contains(&given(1)), "{}", given(1));
    assert_eq!(given(1), given(5), "1 to 4 count as 5");
    assert!(given(17) <= given(50) && given(5) <= given(17), "{} {} {}", given(5), given(17), given(50));
    assert_eq!(given(200), 150, "a budget that holds all is given all");
}

/// Different from every other by more than merging forgives.
fn distinct(n: usize) -> String {
    let letters = |mut n: usize| {
        let mut text = String::new();
        for _ in 0..4 {
            text.push(char::from(b'a' + u8::try_from(n % 26).unwrap()));
            n = n / 26 + n * 7 + 3;
        }
        text
    };
    format!("{} {} {}", letters(n * 31 + 7), letters(n * 17 + 101), letters(n * 13 + 5))
}

#[tokio::test]
async fn own_comments_and_mentions_come_whatever_the_budget() {
    let server = fast_server().await;
    let mut bob = server.viewer_who_wishes("bob", "normal", "room_id=lobby&max_per_s=5&history=0").await;
    let mut crowd = crowd(&server, "lobby", 40).await;
    all_speak(&mut crowd, "lobby", distinct).await;
    bob.say("my own words in the flood").await;
    let mention = json!({ "type": "comment", "room_id": "lobby", "content": "look here, bob", "mentions": ["bob"] });
    crowd[0].send(mention).await;
    all_speak(&mut crowd[1..], "lobby", |n| distinct(n + 500)).await;
    bob.sees("my own words in the flood").await;
    bob.sees("look here, bob").await;
    bob.accounts_for(40 + 1 + 1 + 39).await;
    assert!(bob.omitted > 0, "the budget was too small for all of it");
}

#[tokio::test]
async fn the_house_comes_before_the_crowd() {
    let server = fast_server().await;
    let mut bob = server.viewer_who_wishes("bob", "normal", "room_id=lobby&max_per_s=5&history=0").await;
    let mut olga = server.viewer_of_level("olga", "owner", "lobby").await;
    let mut crowd = crowd(&server, "lobby", 40).await;
    for round in 0..3 {
        all_speak(&mut crowd, "lobby", |n| distinct(round * 40 + n)).await;
    }
    olga.say("the owner speaks").await;
    bob.sees("the owner speaks").await;
    assert!(bob.given.len() < 120, "{}", bob.given.len());
}

#[tokio::test]
async fn identical_comments_become_one_with_a_count() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut crowd = crowd(&server, "lobby", 40).await;
    all_speak(&mut crowd, "lobby", |n| if n % 2 == 0 { "哈哈哈".into() } else { "哈哈哈哈哈!".into() }).await;
    bob.accounts_for(40).await;
    assert_eq!(counted(&bob.given), 40, "the counts add up to what was said");
    assert!(
        bob.given.len() < 40 && bob.given.iter().any(|comment| comment["count"].as_u64() > Some(1)),
        "{:?}",
        bob.given
    );
    assert_eq!(bob.omitted, 40 - bob.given.len() as u64, "merged away is omitted");

    // All of it is kept.
    let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(replay["comments"].as_array().map(Vec::len), Some(40));
    assert!(replay["comments"].as_array().unwrap().iter().all(|comment| comment.get("count").is_none()));
}

#[tokio::test]
async fn reader_groups_are_given_different_samples() {
    let server = fast_server().await;
    server
        .admin()
        .put("admin/rooms/split", json!({ "reader_groups": 4, "limits": { "viewer_per_s_max": 5 } }))
        .await
        .is(200);
    server
        .admin()
        .put("admin/rooms/whole", json!({ "reader_groups": 1, "limits": { "viewer_per_s_max": 5 } }))
        .await
        .is(200);
    for (room, several) in [("split", true), ("whole", false)] {
        let mut readers = Vec::new();
        for n in 0..10 {
            let query = format!("room_id={room}&history=0");
            readers.push(server.viewer_who_wishes(&format!("reader-{n}"), "normal", &query).await);
        }
        let mut crowd = crowd(&server, room, 30).await;
        for round in 0..2 {
            all_speak(&mut crowd, room, |n| distinct(round * 30 + n)).await;
        }
        let mut samples = std::collections::BTreeSet::new();
        for reader in &mut readers {
            reader.accounts_for(60).await;
            assert!(reader.omitted > 0);
            samples.insert(reader.contents().join("|"));
        }
        assert_eq!(samples.len() > 1, several, "{room}: {samples:#?}");
        assert!(samples.len() <= 4, "{room}: {samples:#?}");
    }
}

#[tokio::test]
async fn a_room_that_sheds_says_so() {
    let server = fast_server().await;
    server.admin().put("admin/rooms/lobby", json!({ "limits": { "viewer_per_s_max": 5 } })).await.is(200);
    let mut bob = server.viewer("bob", "lobby").await;
    let mut crowd = crowd(&server, "lobby", 30).await;
    for round in 0..3 {
        all_speak(&mut crowd, "lobby", |n| distinct(round * 30 + n)).await;
    }
    let notice = bob.event("notice").await;
    assert_eq!(notice["code"], "too_many_comments");
    assert!(notice["message"].as_str().is_some_and(|text| !text.is_empty()));
    bob.accounts_for(90).await;
}

#[tokio::test]
async fn what_was_left_out_is_in_a_metric() {
    let server = fast_server().await;
    let mut bob = server.viewer_who_wishes("bob", "normal", "room_id=lobby&max_per_s=5&history=0").await;
    let mut alice = server.viewer("alice", "lobby").await;
    says_many(&mut alice, "lobby", "tirade", 60).await;
    bob.accounts_for(60).await;
    let metrics = server.http().get("/metrics").await.text;
    let omitted: f64 = metrics
        .lines()
        .filter(|line| line.contains("omitted") && !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert!(bob.omitted > 0 && omitted >= bob.omitted as f64, "{omitted} of {}", bob.omitted);
}

#[tokio::test]
async fn a_stream_over_http_has_a_budget_too() {
    let server = fast_server().await;
    let mut stream = server.user("bob").events("lobby", "max_per_s=5", None).await;
    let mut alice = server.viewer("alice", "lobby").await;
    says_many(&mut alice, "lobby", "tirade", 60).await;
    let (mut given, mut omitted) = (0, 0);
    while given + omitted < 60 {
        let event = stream.expect("a batch", |event| event.name == "comments").await;
        given += event.data["comments"].as_array().map_or(0, Vec::len) as u64;
        omitted += event.data["omitted"].as_u64().unwrap_or(0);
    }
    assert_eq!(given + omitted, 60);
    assert!(given >= 5 && omitted > 0, "{given} {omitted}");
}

#[tokio::test]
async fn a_quiet_room_s_comment_does_not_wait() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.say("warm").await;
    bob.sees("warm").await;
    // A machine that does something else meanwhile is slow now and then; a room that waits is so every time.
    let mut fastest = Duration::MAX;
    for n in 0..50 {
        let content = format!("quick {n}");
        let begun = Instant::now();
        alice.send(json!({ "type": "comment", "room_id": "lobby", "content": content })).await;
        bob.sees(&content).await;
        fastest = fastest.min(begun.elapsed());
        if fastest < Duration::from_millis(100) {
            return;
        }
    }
    panic!("{fastest:?}");
}

#[tokio::test]
async fn other_rooms_do_not_notice_a_flood() {
    let server = fast_server().await;
    let mut bob: Viewer = server.viewer("bob", "calm").await;
    let mut alice = server.viewer("alice", "busy").await;
    says_many(&mut alice, "busy", "flood", 300).await;
    let dora = token(&json!({ "sub": "dora", "exp": testkit::now_s() + 60 }));
    server.bearing(&dora).say("calm", "peace").await;
    bob.sees("peace").await;
    assert_eq!((bob.contents(), bob.omitted), (vec!["peace"], 0));
}
