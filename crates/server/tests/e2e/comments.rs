//! A comment's way from one viewer to all others, over every transport.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{contents, fast_server, server};

#[tokio::test]
async fn a_comment_reaches_everybody_in_the_room_and_its_sender() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;

    let style = json!({ "mode": "top", "color": "#FFCC00", "size": "large" });
    let ack = alice
        .ask(json!({ "type": "comment", "room_id": "lobby", "content": "hello", "client_msg_id": "a-1",
        "style": style, "mentions": ["bob"] }))
        .await;
    assert_eq!((&ack["type"], &ack["status"]), (&json!("comment_ack"), &json!("accepted")));
    assert_eq!(ack["client_msg_id"], "a-1");

    let seen = bob.sees("hello").await;
    assert_eq!(seen["id"], ack["id"]);
    assert_eq!(
        (&seen["room_id"], &seen["user_id"], &seen["username"]),
        (&json!("lobby"), &json!("alice"), &json!("alice"))
    );
    assert_eq!((&seen["level"], &seen["kind"], &seen["style"]), (&json!("normal"), &json!("comment"), &style));
    assert_eq!((&seen["mentions"], &seen["like_count"]), (&json!(["bob"]), &json!(0)));
    assert_eq!(seen["created_at"], ack["created_at"]);
    assert!(seen["session_id"].as_str().is_some() && seen["offset_ms"].as_i64().is_some_and(|ms| ms >= 0), "{seen}");
    assert!(seen.get("count").is_none(), "{seen}");
    assert_eq!(alice.sees("hello").await["id"], ack["id"]);
}

#[tokio::test]
async fn ids_are_decimal_strings_and_times_have_milliseconds() {
    let server = fast_server().await;
    let first = server.user("alice").comment("lobby", "one").await.expect(201);
    let second = server.user("alice").comment("lobby", "two").await.expect(201);
    let id = |answer: &Value| answer["id"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(id(&first) > 0 && id(&second) > 0 && id(&first) != id(&second));
    let at = first["created_at"].as_str().unwrap();
    assert!(at.len() == "2026-01-31T08:00:00.123Z".len() && at.ends_with('Z') && at.as_bytes()[19] == b'.', "{at}");
}

#[tokio::test]
async fn what_is_posted_over_http_comes_out_of_sockets_and_back() {
    let server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let id = server.user("alice").say("lobby", "over http").await;
    assert_eq!(bob.sees("over http").await["id"], id.as_str());

    bob.say("over the socket").await;
    let page = server.user("alice").get("rooms/lobby/comments?since_id=0").await.expect(200);
    assert_eq!(contents(&page["comments"]), ["over http", "over the socket"]);
    assert_eq!(page["latest_id"], page["comments"][1]["id"]);
}

#[tokio::test]
async fn a_bare_content_is_a_comment_in_the_room_of_the_query() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.send_text(r#"{"content": "bare"}"#).await;
    assert_eq!(alice.wait_for("comment_ack").await["status"], "accepted");
    assert_eq!(alice.sees("bare").await["room_id"], "lobby");
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_before_any_limit_counts() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let comment = json!({ "type": "comment", "room_id": "lobby", "content": "once", "client_msg_id": "k" });
    let first = alice.ask(comment.clone()).await;
    // A normal user may say one thing a second, and not the same twice; neither counts for a retry.
    for _ in 0..3 {
        let again = alice.ask(comment.clone()).await;
        assert_eq!((&again["id"], &again["created_at"]), (&first["id"], &first["created_at"]));
    }
    let retry = json!({ "content": "once", "client_msg_id": "k" });
    assert_eq!(server.user("alice").post("rooms/lobby/comments", retry).await.expect(201)["id"], first["id"]);

    let other = bob.ask(comment).await;
    assert_ne!(other["id"], first["id"], "a key is its user's own");
    bob.given_when("both", |given| (given.len() >= 2).then_some(())).await;
    assert_eq!(bob.contents(), ["once", "once"]);
}

#[tokio::test]
async fn two_tries_at_once_get_one_answer() {
    let server = fast_server().await;
    let mut here = server.viewer("alice", "lobby").await;
    let mut there = server.viewer("alice", "lobby").await;
    for n in 0..20 {
        let comment = json!({ "type": "comment", "room_id": "lobby", "content": format!("try {n}"), "client_msg_id": format!("k{n}") });
        let (one, other) = tokio::join!(here.ask(comment.clone()), there.ask(comment));
        assert_eq!((&one["type"], &one["id"]), (&json!("comment_ack"), &other["id"]));
    }
    here.given_when("each once", |given| (given.len() >= 20).then_some(())).await;
    assert_eq!(here.contents(), (0..20).map(|n| format!("try {n}")).collect::<Vec<_>>());
}

/// Some answers wait for the log, one for the store, and some for nobody.
#[tokio::test]
async fn answers_keep_the_order_of_what_was_asked() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    for n in 0..40 {
        let mut message = match n % 4 {
            0 => json!({ "type": "comment", "room_id": "lobby", "content": format!("said {n}") }),
            1 => {
                json!({ "type": "comment", "room_id": "lobby", "content": format!("said {n}"), "client_msg_id": format!("k{n}") })
            }
            2 => json!({ "type": "heartbeat" }),
            _ => json!({ "type": "comment", "room_id": "lobby", "content": "" }),
        };
        message["ref"] = json!(n);
        alice.send(message).await;
    }
    for n in 0..40 {
        let answer = alice.expect("an answer", |message| !message["ref"].is_null()).await;
        let expected = ["comment_ack", "comment_ack", "heartbeat_ack", "error"][n % 4];
        assert_eq!((&answer["ref"], &answer["type"]), (&json!(n), &json!(expected)));
    }
}

#[tokio::test]
async fn polling_hands_over_everything_once() {
    let server = fast_server().await;
    let alice = server.user("alice");
    for n in 0..5 {
        alice.say("lobby", &format!("c{n}")).await;
    }
    let (mut since, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let page = alice.get(&format!("rooms/lobby/comments?since_id={since}&limit=2")).await.expect(200);
        if contents(&page["comments"]).is_empty() {
            assert_eq!(page["latest_id"], since.as_str(), "an empty page keeps the reader's place");
            break;
        }
        seen.extend(contents(&page["comments"]).into_iter().map(str::to_owned));
        since = page["latest_id"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
}

#[tokio::test]
async fn a_long_poll_answers_the_moment_something_is_published() {
    let server = server().await;
    let first = server.user("alice").say("lobby", "first").await;
    let reader = server.user("reader");
    let polled = tokio::spawn(async move {
        let begun = Instant::now();
        (reader.get(&format!("rooms/lobby/comments?since_id={first}&wait_s=30")).await.expect(200), begun.elapsed())
    });
    // The poll waits when it is counted as a stream.
    testkit::eventually("the poll to wait", async || {
        let metrics = server.http().get("/metrics").await.text;
        metrics.lines().any(|line| line.contains("streams") && line.ends_with(" 1")).then_some(())
    })
    .await;
    let id = server.user("bob").say("lobby", "second").await;
    let (page, took) = polled.await.unwrap();
    assert_eq!((contents(&page["comments"]), &page["latest_id"]), (vec!["second"], &json!(id)));
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[tokio::test]
async fn a_long_poll_answers_with_nothing_at_its_deadline() {
    let server = server().await;
    let id = server.user("alice").say("lobby", "first").await;
    let begun = Instant::now();
    let page = server.user("bob").get(&format!("rooms/lobby/comments?since_id={id}&wait_s=1")).await.expect(200);
    let took = begun.elapsed();
    assert_eq!((&page["comments"], &page["latest_id"]), (&json!([]), &json!(id)));
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn an_event_stream_brings_comments_and_events_and_resumes_by_last_event_id() {
    let server = fast_server().await;
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let mut stream = bob.events("lobby", "", None).await;
    assert_eq!((stream.status, &*stream.content_type), (200, "text/event-stream"));
    alice.say("lobby", "one").await;
    let (comment, last) = stream.sees("one").await;
    assert_eq!(last.as_deref(), comment["id"].as_str(), "the id to resume from");
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "hear" })).await.is(201);
    let told =
        stream.expect("the announcement", |event| event.name == "event" && event.data["kind"] == "announcement").await;
    assert_eq!(told.data["content"], "hear");
    drop(stream);

    alice.say("lobby", "two").await;
    alice.say("lobby", "three").await;
    let mut stream = bob.events("lobby", "", last.as_deref()).await;
    alice.say("lobby", "four").await;
    let mut came = Vec::new();
    while came.last().map(String::as_str) != Some("four") {
        let batch = stream.expect("a batch", |event| event.name == "comments").await;
        came.extend(contents(&batch.data["comments"]).into_iter().map(str::to_owned));
    }
    assert_eq!(came, ["two", "three", "four"], "what was missed and what follows, each once");
}

#[tokio::test]
async fn a_browser_s_stream_takes_its_token_from_the_query() {
    let server = server().await;
    let token = testkit::token(&json!({ "sub": "bob", "exp": testkit::now_s() + 60 }));
    let mut stream = server.http().events("lobby", &format!("token={token}"), None).await;
    server.user("alice").say("lobby", "hi").await;
    assert_eq!(stream.sees("hi").await.0["user_id"], "alice");
}

#[tokio::test]
async fn what_is_said_is_cleaned_before_it_is_shown() {
    let server = server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let id = server.user("alice").say("lobby", "  \u{202e}left\u{0007} <b>as</b> is\u{200b}  ").await;
    let seen = bob.given_when("it", |given| given.iter().find(|c| c["id"] == id.as_str()).cloned()).await;
    assert_eq!(seen["content"], "left <b>as</b> is");
}

#[tokio::test]
async fn of_the_same_comment_sent_twice_at_once_there_is_one() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut devices = [server.viewer("alice", "lobby").await, server.viewer("alice", "lobby").await];
    let comment = |n| json!({ "type": "comment", "room_id": "lobby", "content": format!("c{n}"), "client_msg_id": format!("k{n}"), "ref": n });
    for n in 0..20 {
        for device in &mut devices {
            device.send(comment(n)).await;
        }
    }
    for n in 0..20 {
        let mut ids = Vec::new();
        for device in &mut devices {
            ids.push(device.expect("the answer", |answer| answer["ref"] == n).await["id"].clone());
        }
        assert!(ids[0].is_string() && ids[0] == ids[1], "{n}: {ids:?}");
    }
    server.user("carol").say("lobby", "the end").await;
    bob.sees("the end").await;
    assert_eq!(bob.given.len() as u64 + bob.omitted, 21, "{:?}", bob.contents());
}

#[tokio::test]
async fn the_contract_s_own_queries_with_nothing_filled_in_are_served() {
    let server = fast_server().await;
    server.user("alice").say("lobby", "hi").await;
    let alice = server.user("alice");
    for path in [
        "rooms/lobby/comments?since_id=&limit=100&wait_s=0",
        "rooms/lobby/comments",
        "rooms/lobby/replay?session_id=&from_ms=&to_ms=&by_user=&cursor=",
    ] {
        assert_eq!(contents(&alice.get(path).await.expect(200)["comments"]), ["hi"], "{path}");
    }
    server.admin().get("admin/reviews?status=pending&room_id=&limit=").await.is(200);
}
