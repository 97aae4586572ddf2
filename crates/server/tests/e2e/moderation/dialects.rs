//! Providers' own languages: stand-ins take what each provider takes, refuse what it refuses, and answer as it answers.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use testkit::{Options, Server, eventually};

use super::rules;
use crate::{BIN, NO_LIMITS};

const SECRET: &str = "the-id:the-secret-key-of-the-provider";

/// What a stand-in was asked: path, headers, body.
type Calls = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// A provider that answers each call as `say` does.
async fn provider(say: impl Fn(&HeaderMap, &[u8]) -> Response + Clone + Send + Sync + 'static) -> (String, Calls) {
    let calls = Calls::default();
    let noted = calls.clone();
    let answer = async move |headers: HeaderMap, body: Bytes| {
        noted.lock().unwrap().push((headers.clone(), body.to_vec()));
        say(&headers, &body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/moderate", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    (url, calls)
}

async fn server(url: &str, dialect: &str, more: &str) -> Server {
    let config = format!(
        "{NO_LIMITS}[moderation.hook]\nurl = \"{url}\"\ndialect = \"{dialect}\"\nsecret = \"{SECRET}\"\n\
         allow_private = true\nbudget_ms = 2000\n{more}"
    );
    Options::new(BIN).config(&config).start().await
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn said(value: Value) -> Response {
    axum::Json(value).into_response()
}

/// "rude" is denied by the room's threshold or by the provider, "fine" is published.
async fn decides(server: &Server) {
    server.user("alice").say("lobby", "fine").await;
    let error = server.user("alice").comment("lobby", "rude").await.fails(422, "content_blocked");
    assert_eq!(error["rule"], "hook");
}

fn denies(label: &str) -> Value {
    json!({ "thresholds": { label: { "verdict": "deny", "score": 0.5 } } })
}

#[tokio::test]
async fn openai_scores_a_list_under_a_bearer_key() {
    let (url, _) = provider(|headers, body| {
        assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
        let results: Vec<_> = parsed(body)["input"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| {
                let score = if text == "rude" { 0.9 } else { 0.01 };
                json!({ "flagged": score > 0.5, "categories": { "harassment": score > 0.5 },
                "category_scores": { "harassment": score, "violence": 0.001 } })
            })
            .collect();
        said(json!({ "id": "modr-1", "model": "omni-moderation-latest", "results": results }))
    })
    .await;
    let server = server(&url, "openai", "").await;
    rules(&server, "lobby", denies("harassment")).await;
    decides(&server).await;
}

#[tokio::test]
async fn azure_grades_one_text_a_call() {
    let (url, calls) = provider(|headers, body| {
        assert_eq!(headers["ocp-apim-subscription-key"], SECRET);
        let severity = if parsed(body)["text"] == "rude" { 4 } else { 0 };
        said(json!({ "blocklistsMatch": [], "categoriesAnalysis": [{ "category": "Hate", "severity": severity }] }))
    })
    .await;
    let server = server(&url, "azure", "").await;
    rules(&server, "lobby", denies("Hate")).await;
    decides(&server).await;
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn perspective_scores_attributes() {
    let (url, calls) = provider(|headers, body| {
        assert_eq!(headers["x-goog-api-key"], SECRET);
        let body = parsed(body);
        assert!(body["doNotStore"] == true && body["requestedAttributes"]["INSULT"].is_object(), "{body}");
        let value = if body["comment"]["text"] == "rude" { 0.9 } else { 0.1 };
        let score = json!({ "spanScores": [], "summaryScore": { "value": value, "type": "PROBABILITY" } });
        said(json!({ "attributeScores": { "INSULT": score }, "languages": ["en"] }))
    })
    .await;
    let server = server(&url, "perspective", "").await;
    rules(&server, "lobby", denies("INSULT")).await;
    decides(&server).await;
    assert_eq!(calls.lock().unwrap().len(), 2);
    assert!(!server.log().contains(SECRET), "the key is in no log");
}

#[tokio::test]
async fn tencent_suggests_and_its_errors_are_no_verdict() {
    let (url, _) = provider(|headers, body| {
        assert_eq!(headers["x-tc-action"], "TextModeration");
        assert_eq!(headers["x-tc-version"], "2020-12-29");
        assert!(headers["authorization"].to_str().unwrap().starts_with("TC3-HMAC-SHA256 Credential=the-id/"));
        said(match parsed(body)["Content"].as_str().unwrap() {
            // "rude" and "broken"
            "cnVkZQ==" => json!({ "Response": { "Suggestion": "Block", "Label": "Abuse", "DetailResults": [] } }),
            "YnJva2Vu" => json!({ "Response": { "Error": { "Code": "RequestLimitExceeded" }, "RequestId": "r" } }),
            _ => json!({ "Response": { "Suggestion": "Pass", "Label": "Normal", "DetailResults": null } }),
        })
    })
    .await;
    let server = server(&url, "tencent", "fallback = \"deny\"\n").await;
    decides(&server).await;
    server.user("alice").comment("lobby", "broken").await.fails(503, "unavailable");
}

#[tokio::test]
async fn aliyun_is_asked_by_a_signed_form() {
    let (url, _) = provider(|headers, body| {
        assert!(headers["authorization"].to_str().unwrap().starts_with("ACS3-HMAC-SHA256 Credential=the-id,"));
        let form = String::from_utf8(body.to_vec()).unwrap();
        assert!(form.contains("ServiceParameters=%7B"), "{form}");
        let risk = form.contains("rude");
        let result =
            if risk { json!([{ "Label": "abuse", "Confidence": 99.5 }]) } else { json!([{ "Label": "nonLabel" }]) };
        said(json!({ "Code": 200, "Data": { "Result": result }, "Message": "OK", "RequestId": "r" }))
    })
    .await;
    let server = server(&url, "aliyun", "").await;
    rules(&server, "lobby", denies("abuse")).await;
    decides(&server).await;
}

#[tokio::test]
async fn ivs_allows_denies_and_rewrites() {
    let (url, _) = provider(|_, body| {
        let asked = parsed(body);
        let result = if asked["Content"] == "rude" { "DENY" } else { "ALLOW" };
        let content = asked["Content"].as_str().unwrap().replace("heck", "h***");
        said(json!({ "ReviewResult": result, "Content": content, "Attributes": {} }))
    })
    .await;
    let server = server(&url, "ivs", "").await;
    let mut bob = server.viewer("bob", "lobby").await;
    decides(&server).await;
    server.user("alice").say("lobby", "what the heck").await;
    bob.sees("what the h***").await;
}

/// A quota that is used up is left alone for as long as the provider says.
#[tokio::test]
async fn a_used_up_quota_gets_its_pause() {
    let (url, calls) = provider(|_, _| {
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")], r#"{"error":{"code":"rate_limit"}}"#).into_response()
    })
    .await;
    let server = server(&url, "openai", "").await;
    server.user("alice").say("lobby", "one").await;
    for text in ["two", "three", "four"] {
        server.user("alice").say("lobby", text).await;
    }
    assert_eq!(calls.lock().unwrap().len(), 1, "asked once, then left alone");
}

#[tokio::test]
async fn a_template_that_does_not_parse_ends_the_start_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let (template, config) = (dir.path().join("mine.toml"), dir.path().join("b.toml"));
    std::fs::write(&template, "[body]\ntext = \"{txt}\"\nx = \n").unwrap();
    let hook = format!(
        "[moderation.hook]\nurl = \"https://example.com/\"\nsecret = \"{SECRET}\"\ndialect = \"{}\"\n",
        template.display()
    );
    std::fs::write(&config, hook).unwrap();
    let checked = std::process::Command::new(BIN).arg("check-config").arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success());
    assert!(said.contains("moderation.hook.dialect") && said.contains("line 3"), "{said}");
}

/// Messages are asked about where that is switched on, and sealed ones never.
#[tokio::test]
async fn messages_are_screened_and_sealed_ones_are_not() {
    let (url, calls) = provider(|_, body| {
        let denied = parsed(body)["Content"] == "rude";
        said(json!({ "ReviewResult": if denied { "DENY" } else { "ALLOW" } }))
    })
    .await;
    let server = server(&url, "ivs", "chat = true\n").await;
    let message = |content: &str, msg_type: &str| json!({ "client_msg_id": format!("{msg_type}-{}", content.len()), "to_user": "bob", "content": content, "msg_type": msg_type });
    let _ = server.user("alice").post("messages", message("hello", "text")).await.expect(201);
    server.user("alice").post("messages", message("rude", "text")).await.fails(422, "content_blocked");
    let sealed =
        json!({ "v": 1, "from_device": "phone", "devices": { "bob/phone": { "type": 0, "body": "cnVkZQ==" } } });
    let _ = server.user("alice").post("messages", message(&sealed.to_string(), "encrypted")).await.expect(201);
    let read = server.user("bob").get("messages").await.expect(200);
    assert_eq!(read["messages"].as_array().unwrap().len(), 2);
    eventually("two questions", async || (calls.lock().unwrap().len() == 2).then_some(())).await;
}
