//! What is refused and how, who may read, the pages, and what operators ask.

use api::{ApiSettings, EmbeddedPages, Origins};
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
    let world = World::start_with(settings(), true).await;
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
    let origins = Origins::new(&[], true).expect("no origins");
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
async fn listed_sites_frame_the_embedded_page_and_nobody_the_others() {
    let world = World::start(settings()).await;
    for (path, ancestors) in [
        ("/embed/r-1", "frame-ancestors 'self' https://tv.example"),
        ("/overlay/r-1", "frame-ancestors 'self'"),
        ("/rooms/r-1", "frame-ancestors 'none'"),
    ] {
        let (_, headers, _) = get(&world, path, None).await;
        assert!(header(&headers, "content-security-policy").ends_with(ancestors), "{path}: {headers:?}");
    }
    let off = EmbeddedPages { embed: false, overlay: false };
    let world = World::start(ApiSettings { embedded_pages: off, ..settings() }).await;
    for path in ["/embed.js", "/embed/r-1", "/overlay/r-1"] {
        let (status, headers, _) = get(&world, path, None).await;
        assert_eq!((status, headers.get("content-security-policy")), (404, None), "{path}");
    }
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
async fn the_reference_is_complete_and_consistent() {
    let world = World::start(settings()).await;
    let (_, _, text) = get(&world, "/api/openapi.json", None).await;
    let reference: Value = serde_json::from_str(&text).expect("JSON");
    let schemas = reference["components"]["schemas"].as_object().expect("schemas");
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.contains_key(name), "{name} is referred to and not there");
    }
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in reference["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{method} {path}: {name} names two operations");
            let responses = operation["responses"].as_object().expect("responses");
            if path.starts_with("/api/v1/") && path != "/api/v1/server" {
                for status in ["400", "401", "403", "503"] {
                    let schema = &responses[status]["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Error", "{method} {path} {status}");
                }
            }
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), path.matches('{').count(), "{method} {path}");
        }
    }
    assert!(names.len() > 60, "{names:?}");
}

#[tokio::test]
async fn what_may_be_null_says_so() {
    let world = World::start(settings()).await;
    let (_, _, text) = get(&world, "/api/openapi.json", None).await;
    let reference: Value = serde_json::from_str(&text).expect("JSON");
    let room = world.expect(200, KEY, "GET /rooms/r", Value::Null).await;
    assert_eq!((&room["owner_id"], &room["video_url"]), (&Value::Null, &Value::Null));
    let schema = &reference["components"]["schemas"]["Room"];
    assert_eq!(schema["properties"]["video_url"]["type"], json!(["string", "null"]));
    assert!(schema["properties"]["owner_id"].to_string().contains(r#"{"type":"null"}"#), "{schema}");
    assert_eq!(reference["components"]["schemas"]["RoomState"]["enum"], json!(["idle", "starting", "live", "closing"]));
}

#[tokio::test]
async fn a_page_of_nothing_is_refused_and_a_long_wait_is_cut() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    world.say(&ann, "r", "hi").await;
    for line in [
        "GET /rooms/r/comments?limit=0",
        "GET /rooms/r/hot?limit=0",
        "GET /rooms/r/ranking?limit=0",
        "GET /rooms/r/sessions?limit=0",
        "GET /rooms/r/replay?limit=0",
        "GET /messages?limit=0",
        "GET /conversations?limit=0",
        "GET /rooms/r/comments?wait_s=-1",
    ] {
        world.refused(400, "invalid_request", &ann, line, Value::Null).await;
    }
    world.refused(400, "invalid_request", KEY, "GET /admin/bans?limit=0", Value::Null).await;
    let page = world.expect(200, &ann, "GET /rooms/r/comments?since_id=0&limit=99999&wait_s=60", Value::Null).await;
    assert_eq!(page["comments"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let world = World::start(settings()).await;
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: a.example\r\n", "200"),
        ("GET /healthz HTTP/1.1\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n", "400"),
        ("GET /healthz HTTP/1.0\r\n", "200"),
    ] {
        let answer = raw(&world, &format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}: {answer}");
    }
}

#[tokio::test]
async fn wrong_admin_keys_are_slowed() {
    let world = World::start(settings()).await;
    for _ in 0..20 {
        world.refused(401, "unauthorized", "a-wrong-key-of-tests", "GET /admin/words", Value::Null).await;
    }
    world.refused(429, "rate_limited", KEY, "GET /admin/words", Value::Null).await;
    world.expect(200, &token("ann"), "GET /rooms", Value::Null).await;
}

#[tokio::test]
async fn ids_that_are_steps_in_a_path_are_refused() {
    let world = World::start(settings()).await;
    for id in [".", ".."] {
        let ban = json!({ "user_id": id, "duration_s": 60, "kind": "ban" });
        world.refused(400, "invalid_request", KEY, "POST /admin/bans", ban).await;
        let path = id.replace('.', "%2E");
        let head = format!("GET /api/v1/rooms/{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}");
        let answer = raw(&world, &format!("{head}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{id}: {answer}");
    }
}

/// Sends a request as it stands; returns the answer.
async fn raw(world: &World, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = world.url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    answer
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
