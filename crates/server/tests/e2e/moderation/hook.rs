//! The hook that decides about comments before they are published, against a service of the test's own.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use testkit::{Options, Server, Viewer};

use super::{bearer, rules};
use crate::{BIN, NO_LIMITS, contents};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Say = Arc<dyn Fn(&Value) -> Answer + Send + Sync>;

/// What the service does about one call.
pub(super) enum Answer {
    /// These items, after a while.
    Items(Value, Duration),
    /// This, whatever it is.
    Raw(StatusCode, String),
}

/// A service that verifies signatures and answers as `say` says; the calls it had.
pub(super) struct Service {
    url: String,
    calls: Arc<Mutex<Vec<Value>>>,
}

impl Service {
    pub async fn start(say: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        let (calls, say): (Arc<Mutex<Vec<Value>>>, Say) = (Arc::default(), Arc::new(say));
        let noted = calls.clone();
        let hook = post(async move |headers: HeaderMap, body: Bytes| -> Response {
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            let (id, at) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
            let expected = webhook::sign::signature(&webhook::sign::key(SECRET), &id, at, &body);
            assert_eq!(header("webhook-signature"), expected);
            assert!((testkit::now_s() - at).abs() < 60);
            let call: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&call["version"], &call["batch_id"]), (&json!(1), &json!(id)));
            noted.lock().unwrap().push(call.clone());
            match say(&call) {
                Answer::Items(items, after) => {
                    tokio::time::sleep(after).await;
                    axum::Json(json!({ "items": items })).into_response()
                }
                Answer::Raw(status, body) => (status, [("location", "/elsewhere")], body).into_response(),
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", hook)).await.unwrap() });
        Self { url, calls }
    }

    /// Every item asked about so far.
    pub fn items(&self) -> Vec<Value> {
        self.calls.lock().unwrap().iter().flat_map(|call| call["items"].as_array().unwrap().clone()).collect()
    }

    pub(super) async fn server(&self, more: &str) -> Server {
        Options::new(BIN).config(&format!("{NO_LIMITS}{}", self.config(more))).start().await
    }

    /// What a server has to have in its configuration to ask it.
    pub fn config(&self, more: &str) -> String {
        format!("[moderation.hook]\nurl = \"{}\"\nsecret = \"{SECRET}\"\nallow_private = true\n{more}", self.url)
    }
}

/// One answer for each item, by its text.
pub(super) fn by_text(call: &Value, answer: impl Fn(&str) -> Value) -> Value {
    let items = call["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let mut answer = answer(item["text"].as_str().unwrap());
            answer["id"] = item["id"].clone();
            answer
        })
        .collect()
}

pub(super) fn at_once(call: &Value, answer: impl Fn(&str) -> Value) -> Answer {
    Answer::Items(by_text(call, answer), Duration::ZERO)
}

#[tokio::test]
async fn each_verdict_does_what_it_says() {
    let service = Service::start(|call| {
        at_once(call, |text| match text {
            "bad" => json!({ "verdict": "deny", "reason": "no insults" }),
            "rude word" => json!({ "verdict": "mask", "text": "rude ****" }),
            "all of it" => json!({ "verdict": "mask" }),
            "doubtful" => {
                json!({ "verdict": "hold", "reason": "unsure", "labels": [{ "name": "spam", "score": 0.6 }] })
            }
            _ => json!({ "verdict": "allow" }),
        })
    })
    .await;
    let server = service.server("").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let error = server.user("alice").comment("lobby", "bad").await.fails(422, "content_blocked");
    assert_eq!(error["rule"], "hook");
    assert!(error["message"].as_str().unwrap().contains("no insults"), "{error}");
    for content in ["rude word", "all of it", "fine"] {
        server.user("alice").say("lobby", content).await;
    }
    bob.sees("fine").await;
    assert_eq!(bob.contents(), ["rude ****", "*********", "fine"]);
    let held = server.user("alice").comment("lobby", "doubtful").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    let reviews = server.admin().get("admin/reviews").await.expect(200);
    let review = &reviews["reviews"][0];
    assert_eq!((&review["reason"], &review["labels"][0]["name"]), (&json!("unsure"), &json!("spam")));
    let trail = server.admin().get("admin/audit?actor=hook").await.expect(200);
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["comment.hold", "comment.mask", "comment.mask", "comment.refuse"]);

    let item = service.items().into_iter().find(|item| item["text"] == "fine").unwrap();
    assert_eq!(
        (&item["kind"], &item["room_id"], &item["user"]["id"]),
        (&json!("comment"), &json!("lobby"), &json!("alice"))
    );
    assert_eq!(
        (&item["raw_text"], &item["user"]["level"], &item["user"]["roles"]),
        (&json!("fine"), &json!("normal"), &json!([]))
    );
    assert!(item["user"]["first_seen"].as_str().is_some_and(|at| at.ends_with('Z')), "{item}");
}

#[tokio::test]
async fn the_service_is_told_what_the_room_said_before_and_what_comes_from_one_address() {
    let service = Service::start(|call| at_once(call, |_| json!({}))).await;
    let server = service.server("chat = true\n").await;
    server.user("alice").say("lobby", "one").await;
    let mut last = String::new();
    for n in 0..6 {
        last = server.user("bob").say("lobby", &format!("more {n}")).await;
    }
    server.admin().delete(&format!("admin/comments/{last}")).await.is(204);
    server.viewer("carol", "lobby").await.say(&"x".repeat(200)).await;
    server.user("alice").say("lobby", "last").await;
    server.user("alice").say("attic", "elsewhere").await;
    let message = json!({ "client_msg_id": "1", "to_user": "bob", "content": "between us" });
    server.user("alice").post("messages", message).await.is(201);

    let items = service.items();
    let asked = |text: &str| items.iter().find(|item| item["text"] == text).unwrap().clone();
    assert_eq!(asked("one").get("context"), None, "nothing was said before: {}", asked("one"));
    assert_eq!(asked("more 1")["context"], json!(["one", "more 0"]));
    let last = asked("last");
    assert_eq!(last["context"], json!(["more 1", "more 2", "more 3", "more 4", "x".repeat(200)]), "the last five");
    let after = json!(["more 0", "more 1", "more 2", "more 3", "more 4"]);
    assert_eq!(asked(&"x".repeat(200))["context"], after, "what was deleted is not told");
    assert_eq!(asked("elsewhere").get("context"), None);

    let hash = last["client_ip_hash"].as_str().unwrap();
    assert!(hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    for text in ["one".to_owned(), "x".repeat(200), "elsewhere".to_owned()] {
        assert_eq!(asked(&text)["client_ip_hash"], hash, "over HTTP and the socket alike");
    }
    let message = asked("between us");
    assert_eq!((&message["kind"], message.get("room_id"), message.get("context")), (&json!("message"), None, None));
}

#[tokio::test]
async fn scores_become_verdicts_by_the_rooms_thresholds() {
    let service = Service::start(|call| {
        at_once(call, |text| {
            let score = text.parse::<f64>().unwrap_or(0.0);
            json!({ "labels": [{ "name": "spam", "score": score }, { "name": "insult", "score": score / 2.0 }] })
        })
    })
    .await;
    let server = service.server("").await;
    server.user("alice").say("lobby", "0.99").await;
    let thresholds = json!({
        "spam": { "verdict": "hold", "score": 0.5 },
        "insult": { "verdict": "deny", "score": 0.4 },
    });
    rules(&server, "lobby", json!({ "thresholds": thresholds })).await;
    server.user("alice").say("lobby", "0.49").await;
    for (content, status) in [("0.5", "pending_review"), ("0.7", "pending_review")] {
        assert_eq!(server.user("alice").comment("lobby", content).await.expect(201)["status"], status, "{content}");
    }
    server.user("alice").comment("lobby", "0.8").await.fails(422, "content_blocked");
}

#[tokio::test]
async fn a_shadowed_comment_is_its_senders_and_the_moderators_alone() {
    let service = Service::start(|call| {
        at_once(call, |text| match text {
            "ghost" => json!({ "verdict": "shadow" }),
            _ => json!({}),
        })
    })
    .await;
    let server = service.server("").await;
    let mo = bearer("mo", json!({ "level": "moderator", "rooms": ["lobby"] }));
    let mut alice = server.viewer("alice", "lobby").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let mut moderator = Viewer::open(server.address(), &format!("room_id=lobby&token={mo}"), &[]).await.unwrap();
    let first = server.user("carol").say("lobby", "first").await;
    let ghost = alice.say("ghost").await;
    alice.sees("ghost").await;
    moderator.sees("ghost").await;
    server.user("carol").say("lobby", "last").await;
    for viewer in [&mut alice, &mut bob, &mut moderator] {
        viewer.sees("last").await;
    }
    assert_eq!(bob.contents(), ["first", "last"]);

    let doors = ["rooms/lobby/comments", "rooms/lobby/replay", "rooms/lobby/replay?by_user=alice"];
    for (who, sees) in [(server.user("alice"), true), (server.bearing(&mo), true), (server.user("bob"), false)] {
        for door in doors {
            let page = who.get(door).await.expect(200);
            assert_eq!(contents(&page["comments"]).contains(&"ghost"), sees, "{door}: {page}");
        }
        let page = who.get(&format!("rooms/lobby/comments?since_id={first}")).await.expect(200);
        assert_eq!(contents(&page["comments"]), if sees { vec!["ghost", "last"] } else { vec!["last"] }, "{page}");
        let page = who.get(&format!("rooms/lobby/comments?since_id={ghost}")).await.expect(200);
        assert_eq!(contents(&page["comments"]), ["last"], "{page}");
    }
    let joined = server.viewer("alice", "lobby").await;
    assert_eq!(joined.contents(), ["first", "ghost", "last"]);
    assert_eq!(server.viewer("dora", "lobby").await.contents(), ["first", "last"]);
    let like = format!("comments/{ghost}/like");
    server.user("bob").post(&like, Value::Null).await.fails(404, "not_found");
    server.user("alice").post(&like, Value::Null).await.is(200);
    assert_eq!(server.user("bob").get("rooms/lobby/hot").await.expect(200)["comments"], json!([]));
    let ranking = server.user("bob").get("rooms/lobby/ranking").await.expect(200);
    assert_eq!(
        ranking["entries"].as_array().unwrap().iter().map(|e| e["user_id"].clone()).collect::<Vec<_>>(),
        ["carol"]
    );
    let sessions = server.user("bob").get("rooms/lobby/sessions").await.expect(200);
    assert_eq!(sessions["sessions"][0]["comment_count"], 2);
    server.admin().delete(&format!("admin/comments/{ghost}")).await.is(204);
    let page = server.user("alice").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(contents(&page["comments"]), ["first", "last"]);
}

#[tokio::test]
async fn a_dead_slow_or_lying_hook_costs_the_budget_and_the_fallback_holds() {
    for (name, answer) in [
        ("slow", (|_: &Value| Answer::Items(json!([]), Duration::from_millis(700))) as fn(&Value) -> Answer),
        ("error", |_| Answer::Raw(StatusCode::INTERNAL_SERVER_ERROR, "{}".into())),
        ("redirect", |_| Answer::Raw(StatusCode::FOUND, String::new())),
        ("no json", |_| Answer::Raw(StatusCode::OK, "fine".into())),
        ("too long", |_| Answer::Raw(StatusCode::OK, format!("{{\"items\":[],\"x\":\"{}\"}}", "x".repeat(10_000_000)))),
        ("silent", |_| Answer::Raw(StatusCode::OK, r#"{"items":[]}"#.into())),
        ("confused", |_| Answer::Raw(StatusCode::OK, r#"{"items":[{"id":"1","verdict":"deny"}]}"#.into())),
    ] {
        let service = Service::start(answer).await;
        let server = service.server("breaker_failures = 1000\n").await;
        let started = Instant::now();
        server.user("alice").say("open", name).await;
        // The budget is 200 ms, and the call itself would take 2 s more.
        assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
        rules(&server, "careful", json!({ "fallback": "hold" })).await;
        rules(&server, "strict", json!({ "fallback": "deny" })).await;
        rules(&server, "off", json!({ "hook": false, "fallback": "deny" })).await;
        let held = server.user("alice").comment("careful", name).await.expect(201);
        assert_eq!(held["status"], "pending_review", "{name}");
        let error = server.user("alice").comment("strict", name).await.fails(503, "unavailable");
        assert_eq!(error["rule"], "hook", "{name}");
        assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{error}");
        server.user("alice").say("off", name).await;
        assert_eq!(server.http().metric("barrage_moderation_hook_fallbacks_total").await, 3.0, "{name}");
        if name == "slow" {
            tokio::time::sleep(Duration::from_millis(800)).await;
            assert_eq!(server.http().metric("barrage_moderation_hook_late_total").await, 3.0);
        }
    }
}

#[tokio::test]
async fn a_failing_hook_is_left_alone_and_probed() {
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let failing = fails.clone();
    let service = Service::start(move |call| match failing.load(std::sync::atomic::Ordering::SeqCst) {
        true => Answer::Raw(StatusCode::BAD_GATEWAY, String::new()),
        false => at_once(call, |_| json!({})),
    })
    .await;
    let server = service.server("breaker_failures = 2\nbreaker_probe_ms = 5000\n").await;
    for n in 0..6 {
        server.user("alice").say("lobby", &format!("n{n}")).await;
    }
    let asked = service.items().len();
    assert!((2..=3).contains(&asked), "{asked}");
    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    testkit::eventually("the hook is asked again", async || {
        server.user("alice").say("lobby", &format!("again {:?}", Instant::now())).await;
        (service.items().len() > asked + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flapping_hook_loses_nothing_and_delays_only_the_rooms_that_use_it() {
    const COMMENTS: usize = 120;
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let service = Service::start(move |call| match turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 {
        0 => Answer::Raw(StatusCode::BAD_GATEWAY, String::new()),
        // Longer than everything that may be waited for.
        1 => Answer::Items(json!([]), Duration::from_secs(30)),
        _ => at_once(call, |_| json!({ "verdict": "mask", "text": "seen" })),
    })
    .await;
    let server = service.server("breaker_failures = 2\nbreaker_probe_ms = 100\n").await;
    rules(&server, "off", json!({ "hook": false })).await;
    let said = (0..COMMENTS).map(|n| {
        let (who, pause) = (server.user(&format!("u{n}")), Duration::from_millis(20 * n as u64));
        async move {
            tokio::time::sleep(pause).await;
            let started = Instant::now();
            who.say(if n % 3 == 0 { "off" } else { "lobby" }, &format!("n{n}")).await;
            started.elapsed()
        }
    });
    let slowest = futures::future::join_all(said).await.into_iter().max().unwrap();
    // The budget is 200 ms, and the machine has other things to do.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    let page = server.user("bob").get("rooms/lobby/replay?limit=1000").await.expect(200);
    let hooked = contents(&page["comments"]);
    let unseen = hooked.iter().filter(|content| **content != "seen").count();
    assert_eq!(hooked.len(), COMMENTS - COMMENTS / 3);
    assert!(unseen > 0 && unseen < hooked.len(), "it answered sometimes: {unseen} of {}", hooked.len());
    assert_eq!(server.http().metric("barrage_moderation_hook_fallbacks_total").await, unseen as f64);
    let page = server.user("bob").get("rooms/off/replay?limit=1000").await.expect(200);
    assert_eq!(contents(&page["comments"]).len(), COMMENTS / 3);
    assert!(service.items().iter().all(|item| item["room_id"] == "lobby"), "nothing is asked about the other room");
}

#[tokio::test]
async fn so_many_calls_are_under_way_and_no_more() {
    const CALLS_MAX: usize = 64;
    let service =
        Service::start(|call| Answer::Items(by_text(call, |_| json!({})), Duration::from_millis(1_500))).await;
    let server = service.server("budget_ms = 2000\nbatch_max = 1\nfallback = \"deny\"\n").await;
    let said = (0..100).map(|n| (server.user(&format!("u{n}")), format!("hello from {n}")));
    let said = futures::future::join_all(said.map(async |(who, text)| who.comment("lobby", &text).await.status)).await;
    let asked = service.items().len();
    assert!(asked >= CALLS_MAX, "{asked}");
    let overloaded = server.http().metric("barrage_moderation_hook_fallbacks_total{reason=\"overloaded\"}").await;
    let refused = said.iter().filter(|status| **status == 503).count();
    assert_eq!(said.iter().filter(|status| **status == 201).count() + refused, 100, "nothing is lost: {said:?}");
    assert!(overloaded > 0.0 && overloaded <= refused as f64, "{overloaded} of {refused}");
}

#[tokio::test]
async fn answers_with_a_lifetime_are_remembered_by_the_cleaned_text() {
    let service = Service::start(|call| at_once(call, |_| json!({ "verdict": "deny", "ttl_s": 60 }))).await;
    let server = service.server("").await;
    for content in ["same", "  same ", "same"] {
        server.user("alice").comment("lobby", content).await.fails(422, "content_blocked");
    }
    assert_eq!(service.items().len(), 1);
    assert_eq!(server.http().metric("barrage_moderation_hook_cache_hits_total").await, 2.0);
    assert_eq!(server.http().metric("barrage_moderation_hook_cache_misses_total").await, 1.0);
}

#[tokio::test]
async fn a_senders_comments_keep_their_order_although_answers_do_not() {
    let service = Service::start(|call| {
        let slow = call["items"].as_array().unwrap().iter().any(|item| item["text"] == "one");
        Answer::Items(by_text(call, |_| json!({})), Duration::from_millis(if slow { 120 } else { 0 }))
    })
    .await;
    let server = service.server("budget_ms = 1000\n").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let alice = server.user("alice");
    let first = tokio::spawn(async move { alice.say("lobby", "one").await });
    tokio::time::sleep(Duration::from_millis(40)).await;
    server.user("alice").say("lobby", "two").await;
    first.await.unwrap();
    bob.sees("two").await;
    assert_eq!(bob.contents(), ["one", "two"]);
}

#[tokio::test]
async fn a_private_address_ends_the_start_with_its_line() {
    for url in ["http://127.0.0.1:9/x", "http://10.0.0.1/", "http://[::1]/", "http://localhost/", "ftp://example.com/"]
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.toml");
        std::fs::write(&file, format!("[moderation.hook]\nsecret = \"{SECRET}\"\nurl = \"{url}\"\n")).unwrap();
        let checked = std::process::Command::new(BIN).arg("check-config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && said.contains("b.toml:3: moderation.hook.url must be"), "{url}: {said}");
    }
}
