//! The notification hook, against a web service of the test's own.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use testkit::{Options, Server, eventually};

use crate::BIN;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A call as it came.
#[derive(Debug, Clone)]
struct Call {
    id: String,
    body: Value,
}

/// A web service that checks signatures, notes calls, and fails the first `failures` of them.
#[derive(Clone, Default)]
struct Service {
    calls: Arc<Mutex<Vec<Call>>>,
    failures: Arc<Mutex<u32>>,
}

impl Service {
    async fn start(failures: u32) -> (Self, String) {
        let service = Self { failures: Arc::new(Mutex::new(failures)), ..Self::default() };
        let noting = service.clone();
        let app = Router::new()
            .route("/hook", post(async move |headers: HeaderMap, body: Bytes| noting.note(&headers, &body)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (service, url)
    }

    fn note(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
        let expected = webhook::sign::signature(&webhook::sign::key(SECRET), &id, timestamp, body);
        assert_eq!(header("webhook-signature"), expected);
        assert!((testkit::now_s() - timestamp).abs() < 60);
        self.calls.lock().unwrap().push(Call { id, body: serde_json::from_slice(body).unwrap() });
        let mut failures = self.failures.lock().unwrap();
        match failures.checked_sub(1) {
            None => StatusCode::NO_CONTENT,
            Some(left) => {
                *failures = left;
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    async fn has(&self, count: usize) -> Vec<Call> {
        eventually("calls", async || Some(self.calls()).filter(|calls| calls.len() >= count)).await
    }
}

async fn hooked(url: &str, more: &str) -> Server {
    let config = format!("[hook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{more}");
    Options::new(BIN).config(&config).start().await
}

async fn send(server: &Server, from: &str, to: Value, id: &str) -> String {
    let mut message = json!({ "client_msg_id": id, "content": "are you there?" });
    message.as_object_mut().unwrap().extend(to.as_object().unwrap().clone());
    let sent = server.user(from).post("messages", message).await.expect(201);
    sent["server_msg_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn people_who_are_away_are_told_of_and_others_are_not() {
    let (service, url) = Service::start(0).await;
    let server = hooked(&url, "").await;
    let mut bob = server.viewer("bob", "lobby").await;
    send(&server, "alice", json!({ "to_user": "bob" }), "1").await;
    bob.wait_for("new_message").await;
    let group = server.user("alice").post("groups", json!({ "name": "g", "members": ["bob", "carol", "dan"] })).await;
    let group = group.expect(201)["group_id"].clone();
    let message = send(&server, "alice", json!({ "group_id": group }), "2").await;

    let calls = service.has(1).await;
    let Call { id, body } = &calls[0];
    assert_eq!((id, &body["type"]), (&format!("msg_{message}"), &json!("message.offline")));
    assert_eq!(body["offline_users"], json!(["carol", "dan"]), "bob is here, alice wrote it");
    let told = &body["message"];
    assert_eq!((&told["id"], &told["group_id"], &told["from_user"]), (&json!(message), &group, &json!("alice")));
    assert_eq!(told.get("content"), None, "what was said is nobody else's business");
    send(&server, "alice", json!({ "to_user": "carol" }), "3").await;
    let calls = service.has(2).await;
    assert_eq!((calls.len(), &calls[1].body["offline_users"]), (2, &json!(["carol"])));
    assert_eq!(calls[1].body["message"]["to_user"], "carol");
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_under_the_same_id_also_after_a_restart() {
    let (service, url) = Service::start(2).await;
    let mut server = hooked(&url, "include_content = true\n").await;
    let message = send(&server, "alice", json!({ "to_user": "bob" }), "1").await;
    service.has(1).await;
    server.kill9().await;
    server.restart().await;
    let calls = eventually("the call after the restart", async || Some(service.has(2).await)).await;
    let calls = if calls.len() < 3 { service.has(3).await } else { calls };
    assert!(calls.iter().all(|call| call.id == format!("msg_{message}")), "{calls:?}");
    assert_eq!(calls[2].body["message"]["content"], "are you there?");
    let metrics = eventually("the outcome", async || {
        let text = server.http().get("/metrics").await.text;
        text.contains("hook_calls_total{outcome=\"delivered\"} 1").then_some(text)
    });
    metrics.await;
    assert_eq!(service.calls().len(), 3, "delivered once");
}

#[tokio::test]
async fn kinds_filter_and_attempts_end() {
    let (service, url) = Service::start(u32::MAX).await;
    let server = hooked(&url, "kinds = [\"direct\"]\nattempts_max = 1\n").await;
    let group = server.user("alice").post("groups", json!({ "name": "g", "members": ["bob"] })).await.expect(201);
    send(&server, "alice", json!({ "group_id": group["group_id"] }), "1").await;
    let message = send(&server, "alice", json!({ "to_user": "bob" }), "2").await;
    let calls = service.has(1).await;
    assert_eq!(calls[0].id, format!("msg_{message}"), "the group's is not told");
    eventually("giving up", async || {
        let text = server.http().get("/metrics").await.text;
        text.contains("hook_calls_total{outcome=\"given_up\"} 1").then_some(())
    })
    .await;
    assert!(server.log().contains("gave up a webhook call after its last attempt"));
    assert_eq!(service.calls().len(), 1);
}
