//! What is refused and how, who may read, the pages, and what operators ask.

use api::{ApiSettings, Origins};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::world::{KEY, World, settings, token, token_of};

#[tokio::test]
async fn every_refusal_has_its_code_and_status() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let say = "POST /rooms/r/comments";
    world.say(&ann, "r", "same").await;
    for (status, code, body) in [
        (409, "duplicate_comment", json!({ "content": "same" })),
        (422, "content_empty", json!({ "content": " \u{200b} " })),
        (422, "content_too_long", json!({ "content": "长".repeat(201) })),
        (413, "content_too_long", json!({ "content": "x".repeat(70_000) })),
        (400, "invalid_request", json!({ "content": 5 })),
        (400, "invalid_request", json!({ "content": "a", "style": { "mode": "sideways" } })),
        (400, "invalid_request", json!({ "content": "a", "room_id": "other" })),
        (400, "invalid_request", json!({ "content": "a", "client_msg_id": "" })),
        (404, "not_found", json!({ "content": "a", "session_id": "5", "offset_ms": 1 })),
        (400, "invalid_request", Value::Null),
    ] {
        world.refused(status, code, &ann, say, body).await;
    }
    for (status, code, bearer, line) in [
        (400, "invalid_request", ann.as_str(), "GET /rooms/a%20b"),
        (400, "invalid_request", &ann, "GET /rooms/r/comments?limit=many"),
        (400, "invalid_request", &ann, "GET /rooms/r/comments?since_id=99999999999999999999"),
        (400, "invalid_request", &ann, "POST /comments/abc/like"),
        (404, "not_found", &ann, "POST /comments/12345/like"),
        (404, "not_found", &ann, "GET /nowhere"),
        (405, "invalid_request", &ann, "PUT /rooms/r"),
        (401, "unauthorized", "", "GET /rooms"),
        (401, "unauthorized", "", "GET /rooms/r"),
        (401, "unauthorized", "", "GET /rooms/r/comments"),
        (401, "unauthorized", "not.a.token", "GET /rooms/r/comments"),
        (401, "unauthorized", KEY, "POST /comments/12345/like"),
        (403, "forbidden", &token_of("bob", model::Level::Normal, Some(&["s"])), "GET /rooms/r"),
    ] {
        world.refused(status, code, bearer, line, Value::Null).await;
    }
    let lenient =
        world.expect(200, &ann, "GET /rooms/r/comments?since_id=&limit=9999&wait_s=0&who=knows", Value::Null).await;
    assert_eq!(lenient["comments"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_limit_says_when_to_come_back() {
    let world = World::start(settings()).await;
    world.expect(200, KEY, "PUT /admin/rooms/r", json!({ "limits": { "user_per_s": 1 } })).await;
    let ann = token("ann");
    world.say(&ann, "r", "one").await;
    let answer =
        world.request(&ann, "POST /rooms/r/comments", &json!({ "content": "two" })).send().await.expect("an answer");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
}

#[tokio::test]
async fn who_may_read_without_a_token() {
    let world = World::start(ApiSettings { anonymous_read: true, ..settings() }).await;
    world.say(&token("ann"), "open", "hi").await;
    world.expect(200, KEY, "PUT /admin/rooms/secret", json!({ "private": true })).await;
    world.expect(200, "", "GET /rooms/open/comments", Value::Null).await;
    world.refused(403, "forbidden", "", "GET /rooms/secret/comments", Value::Null).await;
    world.refused(401, "unauthorized", "", "POST /rooms/open/comments", json!({ "content": "hi" })).await;
    let rooms = world.expect(200, "", "GET /rooms", Value::Null).await;
    assert_eq!(rooms["rooms"].as_array().map(Vec::len), Some(1), "{rooms}");
    let named = token_of("bob", model::Level::Normal, Some(&["secret"]));
    world.expect(200, "", &format!("GET /rooms/secret/comments?token={named}"), Value::Null).await;
}

#[tokio::test]
async fn a_development_server_believes_this_machine_only() {
    let origins = Origins::new(Vec::new(), true);
    let world = World::start(ApiSettings { dev: true, admin_key: None, origins, ..settings() }).await;
    let said = json!({ "content": "hi" });
    world.expect(201, "", "POST /rooms/r/comments?user_id=ann&username=Ann&level=vip", said.clone()).await;
    world.refused(400, "invalid_request", "", "POST /rooms/r/comments?user_id=ann&level=king", said.clone()).await;
    world.refused(401, "unauthorized", "", "POST /rooms/r/comments", said).await;
    let all = world.expect(200, "", "GET /rooms/r/comments", Value::Null).await;
    assert_eq!((&all["comments"][0]["username"], &all["comments"][0]["level"]), (&json!("Ann"), &json!("vip")));
    world.expect(200, "", "PUT /admin/rooms/r", json!({ "name": "R" })).await;
    world.refused(403, "forbidden", &token("ann"), "PUT /admin/rooms/r", json!({})).await;
    assert_eq!(world.expect(200, "", "GET /server", Value::Null).await["dev"], true);
    for (name, value, status) in [
        ("host", "rebound.example", 403),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:5173", 200),
    ] {
        let request = world.request("", "GET /rooms", &Value::Null).header(name, value);
        assert_eq!(request.send().await.expect("an answer").status(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn other_sites_call_when_they_are_listed() {
    let world = World::start(settings()).await;
    let listed = world.request("", "GET /server", &Value::Null).header("origin", "https://tv.example");
    let answer = listed.send().await.expect("an answer");
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://tv.example");
    let stranger = world.request("", "GET /server", &Value::Null).header("origin", "https://evil.example");
    assert_eq!(stranger.send().await.expect("an answer").status(), 403);
    let preflight = world
        .request("", "OPTIONS /rooms/r/comments", &Value::Null)
        .header("origin", "https://tv.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let answer = preflight.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["access-control-allow-methods"].to_str().is_ok_and(|methods| methods.contains("POST")));
}

#[tokio::test]
async fn the_pages_are_in_the_binary() {
    let world = World::start(settings()).await;
    for path in ["/", "/rooms/r-1", "/chat", "/admin"] {
        let answer = get(&world, path, None).await;
        assert_eq!((answer.0, header(&answer.1, "content-type")), (200, "text/html"), "{path}");
        assert!(header(&answer.1, "content-security-policy").contains("script-src 'self'"));
        assert_eq!(header(&answer.1, "x-content-type-options"), "nosniff");
        assert!(answer.2.contains("<!doctype html>"));
    }
    let (_, _, page) = get(&world, "/", None).await;
    let script = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")).expect("a script");
    let (status, headers, _) = get(&world, script, None).await;
    assert_eq!((status, header(&headers, "content-type")), (200, "text/javascript"));
    assert!(header(&headers, "cache-control").contains("immutable"));
    let (status, _, body) = get(&world, script, Some(header(&headers, "etag"))).await;
    assert_eq!((status, body.as_str()), (304, ""));
    assert_eq!(get(&world, "/assets/none.js", None).await.0, 404);
}

#[tokio::test]
async fn operators_are_answered() {
    let world = World::start(settings()).await;
    assert_eq!(get(&world, "/healthz", None).await.2, r#"{"status":"ok"}"#);
    let (status, _, ready) = get(&world, "/readyz", None).await;
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    assert_eq!(
        (status, &ready["status"], &ready["dependencies"]["store"]["state"]),
        (200, &json!("ready"), &json!("ok"))
    );
    world.say(&token("ann"), "r", "hi").await;
    let (_, _, metrics) = get(&world, "/metrics", None).await;
    assert!(metrics.contains("barrage_comments_total{outcome=\"accepted\"} 1"), "{metrics}");
}

#[tokio::test]
async fn every_operation_of_the_reference_exists() {
    let world = World::start(settings()).await;
    let (_, _, text) = get(&world, "/api/openapi.json", None).await;
    let reference: Value = serde_json::from_str(&text).expect("JSON");
    for (path, operations) in reference["paths"].as_object().expect("paths") {
        let url =
            format!("{}{}", world.url, path.replace("{room_id}", "r").replace("{id}", "1").replace("{list}", "mask"));
        for method in operations.as_object().expect("operations").keys().filter(|name| *name != "parameters") {
            let method: reqwest::Method = method.to_uppercase().parse().expect("a method");
            let answer = world.http.request(method.clone(), &url).send().await.expect("an answer");
            assert_ne!(answer.status(), 405, "{method} {path}");
            assert_ne!(answer.status(), 404, "{method} {path}");
        }
    }
}

async fn get(world: &World, path: &str, etag: Option<&str>) -> (u16, HeaderMap, String) {
    let mut request = world.http.get(format!("{}{path}", world.url));
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.expect("text"))
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> &'a str {
    headers.get(HeaderName::from_static(name)).map(HeaderValue::to_str).expect(name).expect("text")
}
