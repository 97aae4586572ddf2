//! Webhooks out, against a receiver of the test's own.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use testkit::{Options, Server, eventually};

use crate::{BIN, NO_LIMITS};

#[derive(Debug, Clone)]
struct Call {
    id: String,
    signatures: String,
    at: i64,
    body: Vec<u8>,
    json: Value,
}

impl Call {
    fn is_signed_with(&self, secret: &str) -> bool {
        let expected = webhook::sign::signature(&webhook::sign::key(secret), &self.id, self.at, &self.body);
        self.signatures.split(' ').any(|signature| signature == expected)
    }
}

/// A receiver that fails its first `failures` calls.
#[derive(Clone, Default)]
struct Receiver {
    calls: Arc<Mutex<Vec<Call>>>,
    failures: Arc<Mutex<u32>>,
    url: String,
}

impl Receiver {
    async fn start(failures: u32) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let receiver = Self { url, failures: Arc::new(Mutex::new(failures)), ..Self::default() };
        let noting = receiver.clone();
        let route = post(async move |headers: HeaderMap, body: Bytes| noting.note(&headers, &body));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/in", route)).await.unwrap() });
        receiver
    }

    fn note(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let call = Call {
            id: header("webhook-id"),
            signatures: header("webhook-signature"),
            at: header("webhook-timestamp").parse().unwrap(),
            body: body.to_vec(),
            json: serde_json::from_slice(body).unwrap(),
        };
        self.calls.lock().unwrap().push(call);
        let mut failures = self.failures.lock().unwrap();
        match failures.checked_sub(1) {
            None => StatusCode::NO_CONTENT,
            Some(left) => {
                *failures = left;
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    async fn has(&self, n: usize) -> Vec<Call> {
        eventually("the calls", async || Some(self.calls.lock().unwrap().clone()).filter(|calls| calls.len() >= n))
            .await
    }
}

async fn server(more: &str) -> Server {
    let config = format!("{NO_LIMITS}[webhooks]\nallow_private = true\n{more}");
    Options::new(BIN).config(&config).start().await
}

async fn subscribe(server: &Server, receiver: &Receiver, mut filters: Value) -> (String, String) {
    filters["url"] = json!(receiver.url);
    let made = server.admin().post("admin/webhooks", filters).await.expect(201);
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn kinds(calls: &[Call]) -> Vec<&str> {
    calls.iter().filter_map(|call| call.json["type"].as_str()).collect()
}

#[tokio::test]
async fn what_happens_is_told_signed_and_in_order() {
    let (server, receiver) = (server("").await, Receiver::start(0).await);
    let (_, secret) = subscribe(&server, &receiver, json!({})).await;
    let id = server.user("alice").say("lobby", "first").await;
    server.user("alice").say("lobby", "second").await;
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    let ban = json!({ "user_id": "troll", "room_id": "lobby", "kind": "ban", "duration_s": 60 });
    server.admin().post("admin/bans", ban).await.is(201);
    let calls =
        eventually("the ban", async || Some(receiver.has(4).await).filter(|calls| kinds(calls).contains(&"ban"))).await;
    let mut told = kinds(&calls);
    told.retain(|kind| *kind != "room_state");
    assert_eq!(told[..2], ["comment", "comment"]);
    assert!(told.contains(&"comment_deleted") && told.contains(&"ban"), "{told:?}");
    let first = calls.iter().find(|call| call.json["type"] == "comment").unwrap();
    assert_eq!((&first.json["data"]["content"], &first.json["data"]["id"]), (&json!("first"), &json!(id)));
    assert!(calls.iter().all(|call| call.is_signed_with(&secret) && (testkit::now_s() - call.at).abs() < 60));
}

#[tokio::test]
async fn filters_leave_out_other_kinds_and_rooms() {
    let (server, receiver) = (server("").await, Receiver::start(0).await);
    subscribe(&server, &receiver, json!({ "kinds": ["comment"], "room_ids": ["lobby"] })).await;
    server.user("alice").say("attic", "elsewhere").await;
    server.user("alice").say("lobby", "here").await;
    server.admin().post("admin/bans", json!({ "user_id": "t", "kind": "ban", "duration_s": 60 })).await.is(201);
    server.user("alice").say("lobby", "and here").await;
    let calls = receiver.has(2).await;
    assert_eq!(calls.iter().map(|call| call.json["data"]["content"].clone()).collect::<Vec<_>>(), ["here", "and here"]);
    for wrong in [json!({ "kinds": ["everything"] }), json!({ "url": "ftp://example.com/" }), json!({ "url": "x" })] {
        let mut body = json!({ "url": receiver.url });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        server.admin().post("admin/webhooks", body).await.fails(400, "invalid_request");
    }
    server.user("alice").post("admin/webhooks", json!({ "url": receiver.url })).await.fails(403, "forbidden");
}

#[tokio::test]
async fn a_failed_call_is_repeated_under_its_id_also_after_a_crash() {
    let (mut server, receiver) = (server("").await, Receiver::start(1).await);
    subscribe(&server, &receiver, json!({ "kinds": ["comment"] })).await;
    server.user("alice").say("lobby", "told twice").await;
    receiver.has(1).await;
    server.kill9().await;
    server.restart().await;
    let calls = receiver.has(2).await;
    assert_eq!((&calls[0].id, &calls[0].json), (&calls[1].id, &calls[1].json));
}

#[tokio::test]
async fn dead_letters_are_shown_and_replayed_under_their_ids() {
    let (server, receiver) = (server("attempts_max = 1\n").await, Receiver::start(2).await);
    let (id, secret) = subscribe(&server, &receiver, json!({ "kinds": ["comment"] })).await;
    server.user("alice").say("lobby", "one").await;
    server.user("alice").say("lobby", "two").await;
    let path = format!("admin/webhooks/{id}/dead-letters");
    let letters = eventually("dead letters", async || {
        let letters = server.admin().get(&path).await.expect(200)["dead_letters"].clone();
        Some(letters).filter(|letters| letters.as_array().is_some_and(|letters| letters.len() == 2))
    })
    .await;
    assert_eq!(letters[0]["payload"]["data"]["content"], "one");
    assert_eq!(letters[0]["attempts"], 1);
    let rotated = server.admin().post(&format!("admin/webhooks/{id}/rotate"), Value::Null).await.expect(200);
    let fresh = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(fresh, secret);
    let replayed = server.admin().post(&format!("admin/webhooks/{id}/replay"), Value::Null).await.expect(200);
    assert_eq!(replayed, json!({ "replayed": 2 }));
    let calls = receiver.has(4).await;
    assert_eq!((&calls[2].id, &calls[3].id), (&calls[0].id, &calls[1].id));
    assert!(calls[2].is_signed_with(&secret) && calls[2].is_signed_with(&fresh), "both secrets are valid");
    let test = server.admin().post(&format!("admin/webhooks/{id}/test"), Value::Null).await.expect(200);
    let calls = receiver.has(5).await;
    assert_eq!((&calls[4].json["type"], &json!(calls[4].id)), (&json!("test"), &test["message_id"]));
    assert_eq!(server.admin().get(&path).await.expect(200)["dead_letters"], json!([]));
    server.admin().delete(&format!("admin/webhooks/{id}")).await.is(204);
    server.admin().post(&format!("admin/webhooks/{id}/test"), Value::Null).await.fails(404, "not_found");
}

#[tokio::test]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let server = crate::fast_server().await;
    for url in
        ["http://127.0.0.1:1/", "http://10.1.2.3/", "http://[::1]/", "http://localhost/", "http://169.254.169.254/"]
    {
        server.admin().post("admin/webhooks", json!({ "url": url })).await.fails(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_nobody_else() {
    let (server, receiver) = (server("timeout_s = 5\n").await, Receiver::start(0).await);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    server.admin().post("admin/webhooks", json!({ "url": url })).await.is(201);
    subscribe(&server, &receiver, json!({ "kinds": ["comment"] })).await;
    let started = std::time::Instant::now();
    for n in 0..5 {
        server.user("alice").say("lobby", &format!("n{n}")).await;
    }
    receiver.has(5).await;
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_raid_is_told() {
    let (server, receiver) = (server("[moderation]\nraid_alarm = true\n").await, Receiver::start(0).await);
    subscribe(&server, &receiver, json!({ "kinds": ["raid"] })).await;
    let copies =
        (0..8).map(async |n| server.user(&format!("u{n}")).say("lobby", "come to the other stream, all of you").await);
    futures::future::join_all(copies).await;
    let calls = receiver.has(1).await;
    let data = &calls[0].json["data"];
    assert_eq!(
        (&data["room_id"], &data["kind"], &data["users"]),
        (&json!("lobby"), &json!("copies"), &json!(8)),
        "{data}"
    );
}
