//! Sockets and held comments: how many one user may have.

use serde_json::{Value, json};
use testkit::{Viewer, eventually, now_s, token};

use crate::configured;

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "normal", "exp": now_s() + 3_600 }))
}

#[tokio::test]
async fn a_user_has_so_many_sockets_open() {
    let server = configured("[limits]\nsockets_per_user = 2\n").await;
    let first = server.device("alice", "one").await;
    let _second = server.device("alice", "two").await;
    let query = format!("device_id=three&token={}", token_of("alice"));
    let refused = Viewer::open(server.address(), &query, &[]).await.err().expect("one too many");
    assert_eq!((refused.status, refused.code.as_str()), (429, "rate_limited"), "{refused:?}");
    let mut nobody = server.connect("").await;
    nobody.refused(json!({ "type": "login", "token": token_of("alice") }), "rate_limited").await;
    // The socket goes on, for somebody else.
    let answer = nobody.ask(json!({ "type": "login", "token": token_of("bob") })).await;
    assert_eq!(answer["user_id"], "bob", "{answer}");
    let again = nobody.ask(json!({ "type": "login", "token": token_of("bob") })).await;
    assert_eq!(again["type"], "connected", "a new token of the same user takes no further place: {again}");
    first.close().await;
    eventually("a place for alice", async || Viewer::open(server.address(), &query, &[]).await.ok()).await;
}

#[tokio::test]
async fn nobody_fills_the_queue_of_moderators_alone() {
    let server = configured("[limits]\nnormal_per_s = 1000\nheld_per_user = 2\ncool_down_refusals = 0\n").await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    let mut ids = Vec::new();
    for n in 0..2 {
        let held = server.user("mallory").comment("lobby", &format!("hold {n}")).await.expect(201);
        assert_eq!(held["status"], "pending_review");
        ids.push(held["id"].as_str().unwrap().to_owned());
    }
    let error = server.user("mallory").comment("attic", "hold this, too").await.fails(429, "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 1_000), "{error}");
    server.user("mallory").say("lobby", "nothing to see").await;
    server.user("alice").comment("lobby", "hold hers").await.is(201);
    server.admin().post(&format!("admin/reviews/{}/reject", ids[0]), Value::Null).await.is(200);
    server.user("mallory").comment("attic", "hold another").await.is(201);
}
