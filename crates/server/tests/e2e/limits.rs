//! How fast somebody may write, and what happens to those who write faster.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Reply, Viewer, now_s, token};
use tokio::time::sleep;

use crate::{configured, server};

fn retry_after_ms(error: &Value) -> u64 {
    error["retry_after_ms"].as_u64().unwrap_or_else(|| panic!("no retry_after_ms: {error}"))
}

fn said(content: &str) -> Value {
    json!({ "type": "comment", "room_id": "lobby", "content": content })
}

#[tokio::test]
async fn a_normal_user_says_one_thing_a_second_and_is_told_honestly_when_to_try_again() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let begun = Instant::now();
    alice.say("one").await;
    let refused = async |alice: &mut Viewer, since| {
        let answer = too_soon(since, async |n| {
            let answer = alice.ask(said(&format!("two {n}"))).await;
            (answer["type"] == "error").then_some(answer)
        });
        let answer = answer.await;
        assert_eq!(answer["code"], "rate_limited", "{answer}");
        retry_after_ms(&answer)
    };
    let wait_ms = refused(&mut alice, begun).await;
    assert!(wait_ms <= 1_000, "{wait_ms}");
    // Not before ...
    sleep(Duration::from_millis(wait_ms / 2)).await;
    let wait_ms = refused(&mut alice, begun).await;
    // ... and no later. These waits are what is under test.
    sleep(Duration::from_millis(wait_ms)).await;
    let begun = Instant::now();
    alice.say("three").await;

    let alice = server.user("alice");
    let reply = too_soon(begun, async |n| {
        let reply = alice.comment(&format!("other-{n}"), "four").await;
        (reply.status != 201).then_some(reply)
    });
    let reply = reply.await;
    let seconds: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    let error = reply.fails(429, "rate_limited");
    assert_eq!(seconds, retry_after_ms(&error).div_ceil(1_000), "the limit counts in all rooms together");
}

/// Asks for what comes too soon after the last, which was asked for at `since` or later; the refusal. A slow machine may take
/// the second that has to pass for asking alone: then it is rightly accepted, and asked for once more.
async fn too_soon<T>(mut since: Instant, mut refusal: impl AsyncFnMut(usize) -> Option<T>) -> T {
    for n in 0.. {
        let asked = Instant::now();
        if let Some(refused) = refusal(n).await {
            return refused;
        }
        assert!(since.elapsed() >= Duration::from_millis(990), "accepted after {:?}", since.elapsed());
        since = asked;
    }
    unreachable!("nothing is refused")
}

/// Does it again and again until it is refused; the refusal, and how often it worked. That must be what a rate with
/// a burst of one second allows in the time it took.
async fn until_refused(per_s: usize, mut again: impl AsyncFnMut(usize) -> Reply) -> Reply {
    let begun = Instant::now();
    for n in 0.. {
        let reply = again(n).await;
        if reply.status >= 300 {
            let most = per_s + 1 + (begun.elapsed().as_secs_f64() * per_s as f64) as usize;
            assert!((per_s..=most).contains(&n), "{n} of {per_s} to {most}: {}", reply.text);
            return reply;
        }
    }
    unreachable!("nothing is refused")
}

#[tokio::test]
async fn each_level_has_its_rate_with_a_burst_of_one_second() {
    let server = server().await;
    for (level, per_s) in [("normal", 1), ("vip", 5), ("owner", 10), ("moderator", 10), ("admin", 10)] {
        let token = token(&json!({ "sub": level, "level": level, "exp": now_s() + 60 }));
        let user = server.bearing(&token);
        let refused = until_refused(per_s, async |n| user.comment("lobby", &format!("{level} {n}")).await).await;
        let wait_ms = retry_after_ms(&refused.fails(429, "rate_limited"));
        assert!(wait_ms <= 1_000 / per_s as u64, "{level}: {wait_ms}");
    }
}

#[tokio::test]
async fn a_room_takes_so_many_a_second_from_everybody_together() {
    let server = server().await;
    server.admin().put("admin/rooms/lobby", json!({ "limits": { "room_per_s": 3 } })).await.is(200);
    let says = async |n| server.user(&format!("u{n}")).comment("lobby", "hi").await;
    let error = until_refused(3, says).await.fails(429, "rate_limited");
    assert!(retry_after_ms(&error) <= 334, "{error}");
    server.user("late").say("elsewhere", "other rooms do not notice").await;
}

#[tokio::test]
async fn the_deployment_sheds_beyond_its_limit() {
    let server = configured("[limits]\nglobal_per_s = 3\n").await;
    let says = async |n| server.user(&format!("u{n}")).comment(&format!("room-{n}"), "hi").await;
    let refused = until_refused(3, says).await;
    assert!(refused.header("retry-after").is_some());
    assert!(retry_after_ms(&refused.fails(503, "overloaded")) <= 1_000);
}

#[tokio::test]
async fn a_room_has_limits_of_its_own() {
    let server = server().await;
    let limits = json!({ "limits": { "user_per_s": 3, "comment_chars_max": 10 } });
    server.admin().put("admin/rooms/lobby", limits).await.is(200);
    let alice = server.user("alice");
    until_refused(3, async |n| alice.comment("lobby", &format!("c{n}")).await).await.fails(429, "rate_limited");
    server.user("bob").comment("lobby", &"x".repeat(11)).await.fails(422, "content_too_long");
}

#[tokio::test]
async fn slow_mode_spaces_out_viewers_but_not_moderators() {
    let server = server().await;
    server.admin().put("admin/rooms/lobby", json!({ "slow_mode_s": 30 })).await.is(200);
    for level in ["normal", "vip"] {
        let mut viewer = server.viewer_of_level(level, level, "lobby").await;
        viewer.say(&format!("{level} one")).await;
        let wait_ms = retry_after_ms(&viewer.refused(said(&format!("{level} two")), "rate_limited").await);
        assert!((20_000..=30_000).contains(&wait_ms), "{level}: {wait_ms}");
    }
    let mut moderator = server.viewer_of_level("mo", "moderator", "lobby").await;
    moderator.say("one").await;
    moderator.say("two").await;

    server.admin().put("admin/rooms/lobby", json!({ "slow_mode_s": 0 })).await.is(200);
    let mut vip = server.viewer_of_level("vip", "vip", "lobby").await;
    vip.say("at once").await;
}

#[tokio::test]
async fn the_same_text_again_is_a_duplicate_for_five_seconds() {
    let server = server().await;
    let mut vip = server.viewer_of_level("vip", "vip", "lobby").await;
    vip.say("hurrah").await;
    let wait_ms = retry_after_ms(&vip.refused(said("hurrah"), "duplicate_comment").await);
    assert!((3_000..=5_000).contains(&wait_ms), "{wait_ms}");
    vip.say("something else").await;
    server.user("bob").say("lobby", "hurrah").await;
    vip.refused(json!({ "type": "comment", "room_id": "attic", "content": "hurrah" }), "duplicate_comment").await;
    let mut mo = server.viewer_of_level("mo", "moderator", "lobby").await;
    mo.say("hear").await;
    let token = token(&json!({ "sub": "mo", "level": "moderator", "exp": now_s() + 60 }));
    server.bearing(&token).comment("lobby", "hear").await.fails(409, "duplicate_comment");
}

#[tokio::test]
async fn a_duplicate_is_none_any_more_when_its_time_is_over() {
    let server = configured("[limits]\nduplicate_window_ms = 2000\n").await;
    let mut vip = server.viewer_of_level("vip", "vip", "lobby").await;
    vip.say("hurrah").await;
    let wait_ms = retry_after_ms(&vip.refused(said("hurrah"), "duplicate_comment").await);
    assert!(wait_ms <= 2_000, "{wait_ms}");
    sleep(Duration::from_millis(wait_ms)).await;
    vip.say("hurrah").await;
}

#[tokio::test]
async fn ten_refusals_mute_for_ten_seconds() {
    let server = server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    // All at once: however long the answers take, they are decided about within the second.
    let mut too_fast = vec![said("one")];
    too_fast.extend((0..10).map(|n| said(&format!("too fast {n}"))));
    for (n, message) in too_fast.iter_mut().enumerate() {
        message["ref"] = json!(n);
        alice.send(message.clone()).await;
    }
    for n in 0..11 {
        let answer = alice.expect("each answer", |answer| answer["ref"] == n).await;
        let expected = if n == 0 { &answer["status"] == "accepted" } else { &answer["code"] == "rate_limited" };
        assert!(expected, "{answer}");
    }
    let wait_ms = retry_after_ms(&alice.refused(said("quiet"), "muted").await);
    assert!((8_000..=10_000).contains(&wait_ms), "{wait_ms}");
    assert_eq!(alice.event("user_muted").await["user_id"], "alice");
    let error = server.user("alice").comment("other", "muted everywhere").await.fails(403, "muted");
    assert!(retry_after_ms(&error) <= wait_ms);
    bob.say("others are not").await;
    assert!(bob.settled().await.iter().all(|message| message["kind"] != "user_muted"), "it is alice's affair");
}

#[tokio::test]
async fn each_further_cool_down_is_twice_as_long() {
    let server = configured("[limits]\ncool_down_refusals = 3\ncool_down_mute_ms = 1500\n").await;
    let mut alice = server.viewer("alice", "lobby").await;
    let long = said(&"x".repeat(201));
    let mut cool_down = async || {
        let begun = Instant::now();
        for _ in 0..3 {
            alice.refused(long.clone(), "content_too_long").await;
        }
        let wait_ms = retry_after_ms(&alice.refused(said("quiet"), "muted").await);
        let passed_ms = begun.elapsed().as_millis() as u64 + 1;
        sleep(Duration::from_millis(wait_ms)).await;
        // What was left of it, and what had passed of it at most.
        wait_ms..=wait_ms + passed_ms
    };
    for mute_ms in [1_500, 3_000, 6_000] {
        let told = cool_down().await;
        assert!(told.contains(&mute_ms), "{mute_ms}: {told:?}");
    }
}

#[tokio::test]
async fn length_is_counted_in_characters() {
    let server = crate::fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    for letter in ["x", "弹", "😀"] {
        alice.say(&letter.repeat(200)).await;
        alice.refused(said(&letter.repeat(201)), "content_too_long").await;
    }
    for nothing in ["", "   ", "\u{200b}\u{feff}", "\n\t"] {
        alice.refused(said(nothing), "content_empty").await;
    }
    server.user("bob").comment("lobby", &"x".repeat(201)).await.fails(422, "content_too_long");
    server.user("bob").comment("lobby", " ").await.fails(422, "content_empty");
}

#[tokio::test]
async fn likes_have_a_rate_too() {
    let server = configured("[limits]\nlikes_per_s = 2\n").await;
    let path = format!("comments/{}/like", server.user("alice").say("lobby", "like me").await);
    let bob = server.user("bob");
    let likes = async |n| if n % 2 == 0 { bob.post(&path, Value::Null).await } else { bob.delete(&path).await };
    let error = until_refused(2, likes).await.fails(429, "rate_limited");
    assert!(retry_after_ms(&error) <= 500, "{error}");
}
