//! A comment that was refused was not said: it uses up no rule that counts what a room was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, Server};

use super::hook::{Answer, Service, at_once, by_text};
use crate::{BIN, NO_LIMITS, configured, contents};

/// A hook that can be switched off, and what it says while it is on.
async fn hook(says: &'static str) -> (Service, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let switch = on.clone();
    let service = Service::start(move |call| match switch.load(Ordering::SeqCst) {
        true => at_once(call, |_| json!({ "verdict": "allow" })),
        false if says.is_empty() => Answer::Raw(axum::http::StatusCode::BAD_GATEWAY, String::new()),
        false => at_once(call, |_| json!({ "verdict": says })),
    });
    (service.await, on)
}

/// A server that remembers texts for a minute, with this hook.
async fn asking(service: &Service) -> Server {
    let limits = NO_LIMITS.replace("duplicate_window_ms = 0", "duplicate_window_ms = 60000");
    Options::new(BIN).config(&format!("{limits}{}", service.config("breaker_failures = 1000\n"))).start().await
}

#[tokio::test]
async fn a_comment_that_the_hook_could_not_judge_counts_for_no_rule() {
    let (service, on) = hook("").await;
    let server = asking(&service).await;
    let text = "add me on abc123 for gifts";
    for (room, mut settings, who, then, status, rule) in [
        ("unique", json!({ "moderation": { "unique_s": 60 } }), "bob", text, 409, json!("unique_s")),
        (
            "similar",
            json!({ "moderation": { "similar": 0.8 } }),
            "bob",
            "Add me on abc124 for gifts!",
            422,
            json!("similar"),
        ),
        (
            "levels",
            json!({ "moderation": { "level_slow_s": { "normal": 60 } } }),
            "ann",
            "more",
            429,
            json!("level_slow_s"),
        ),
        ("slow", json!({ "slow_mode_s": 60, "moderation": {} }), "ann", "more", 429, json!("slow_mode_s")),
        ("repeats", json!({ "moderation": {} }), "ann", text, 409, Value::Null),
    ] {
        on.store(false, Ordering::SeqCst);
        settings["moderation"]["fallback"] = json!("deny");
        server.admin().put(&format!("admin/rooms/{room}"), settings).await.is(200);
        let user = |name: &str| server.user(&format!("{name}-{room}"));
        let comment = format!("rooms/{room}/comments");
        let said = |id: &str| json!({ "content": text, "client_msg_id": id });
        for attempt in ["first", "second", "first"] {
            let error = user("ann").post(&comment, said(attempt)).await.fails(503, "unavailable");
            assert_eq!(error["rule"], "hook", "{room}: {error}");
        }
        on.store(true, Ordering::SeqCst);
        let accepted = user("ann").post(&comment, said("first")).await.expect(201);
        assert_eq!(accepted["status"], "accepted", "{room}: {accepted}");
        assert_eq!(user("ann").post(&comment, said("first")).await.expect(201)["id"], accepted["id"], "{room}");
        // It was said, so from now on it counts.
        let refused = user(who).comment(room, then).await;
        assert_eq!((refused.status, &refused.body["error"]["rule"]), (status, &rule), "{room}: {}", refused.text);
    }
}

#[tokio::test]
async fn what_the_hook_denies_keeps_nobody_else_from_saying_it() {
    let (service, on) = hook("deny").await;
    let server = asking(&service).await;
    super::rules(&server, "lobby", json!({ "unique_s": 60, "similar": 0.8 })).await;
    let text = "a sentence that everybody has to say";
    server.user("ann").comment("lobby", text).await.fails(422, "content_blocked");
    on.store(true, Ordering::SeqCst);
    server.user("bob").say("lobby", text).await;
}

#[tokio::test]
async fn a_question_that_was_refused_may_be_asked_again() {
    let (service, on) = hook("").await;
    let server = asking(&service).await;
    super::rules(&server, "lobby", json!({ "unique_s": 60, "similar": 0.8, "fallback": "deny" })).await;
    let question = json!({ "content": "when does the second half begin?" });
    server.user("ann").post("rooms/lobby/questions", question.clone()).await.fails(503, "unavailable");
    on.store(true, Ordering::SeqCst);
    server.user("ann").post("rooms/lobby/questions", question.clone()).await.is(201);
    server.user("ann").post("rooms/lobby/questions", question).await.fails(409, "duplicate_comment");
}

#[tokio::test]
async fn a_comment_beyond_the_queue_of_its_sender_begins_no_session() {
    let limits = NO_LIMITS.replace("duplicate_window_ms = 0", "duplicate_window_ms = 60000\nheld_per_user = 1");
    let server = configured(&limits).await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    server.admin().put("admin/rooms/attic", json!({ "slow_mode_s": 60 })).await.is(200);
    let held = server.user("ann").comment("lobby", "hold one").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    server.user("ann").comment("attic", "hold two").await.fails(429, "rate_limited");
    assert_eq!(server.user("ann").get("rooms/attic").await.expect(200)["state"], "idle");
    let review = format!("admin/reviews/{}/reject", held["id"].as_str().unwrap());
    server.admin().post(&review, Value::Null).await.is(200);
    let held = server.user("ann").comment("attic", "hold two").await.expect(201);
    assert_eq!(held["status"], "pending_review", "neither slow mode nor the text counted");
}

#[tokio::test]
async fn a_repeat_that_takes_over_is_no_copy_of_itself() {
    // The first attempt hangs for longer than its repeat waits for it.
    let slow = |call: &Value| Answer::Items(by_text(call, |_| json!({})), Duration::from_millis(1_500));
    let service = Service::start(slow).await;
    let config = format!("{NO_LIMITS}{}", service.config("budget_ms = 2000\n"));
    let server = Options::new(BIN).config(&config).start().await;
    super::rules(&server, "lobby", json!({ "unique_s": 60, "similar": 0.8, "level_slow_s": { "normal": 60 } })).await;
    let said = json!({ "content": "a sentence of some length", "client_msg_id": "m" });
    let (ann, body) = (server.user("ann"), said.clone());
    let first = tokio::spawn(async move { ann.post("rooms/lobby/comments", body).await.expect(201) });
    testkit::eventually("the first question", async || (!service.items().is_empty()).then_some(())).await;
    let second = server.user("ann").post("rooms/lobby/comments", said).await.expect(201);
    assert_eq!(first.await.unwrap()["id"], second["id"]);
    let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["a sentence of some length"]);
}
