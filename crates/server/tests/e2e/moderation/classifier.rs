//! The classifier that is built in.

use serde_json::json;

use super::rules;
use crate::{NO_LIMITS, configured};

#[tokio::test]
async fn what_it_finds_is_held_with_labels_or_meets_the_rooms_threshold() {
    let server = configured(&format!("{NO_LIMITS}[moderation]\nclassifier = \"builtin\"\n")).await;
    server.user("alice").say("lobby", "what a great goal").await;
    server.user("alice").say("lobby", "see example.com").await;
    let held = server.user("alice").comment("lobby", "加微信abc123领红包").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    let reviews = server.admin().get("admin/reviews").await.expect(200);
    let labels = reviews["reviews"][0]["labels"].as_array().unwrap();
    assert!(labels.iter().any(|label| label["name"] == "spam" && label["score"].as_f64() >= Some(0.5)), "{reviews}");
    assert_eq!(reviews["reviews"][0]["reason"], "classifier");
    rules(&server, "lobby", json!({ "thresholds": { "spam": { "verdict": "deny", "score": 0.5 } } })).await;
    let error = server.user("alice").comment("lobby", "加微信abc124领红包").await.fails(422, "content_blocked");
    assert_eq!(error["rule"], "classifier");
    rules(&server, "lobby", json!({ "thresholds": { "links": { "verdict": "deny", "score": 0.5 } } })).await;
    server.user("alice").comment("lobby", "see example.org").await.fails(422, "content_blocked");
}
