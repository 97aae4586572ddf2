//! HTTP at its edges: refusals in one shape, origins and hosts, health, metrics, the reference, the pages.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Options, Reply, Viewer, now_s, token};

use crate::{BIN, configured, server};

#[tokio::test]
async fn every_refusal_has_the_one_shape() {
    let server = server().await;
    let (alice, admin) = (server.user("alice"), server.admin());
    alice.get("nothing/here").await.fails(404, "not_found");
    alice.get("/nothing").await.fails(404, "not_found");
    alice.delete("rooms/lobby/comments").await.fails(405, "invalid_request");
    alice.get("rooms/a%20b").await.fails(400, "invalid_request");
    alice.get(&format!("rooms/{}", "x".repeat(65))).await.fails(400, "invalid_request");
    for query in ["since_id=x", "since_id=-1", "limit=x", "wait_s=x", "since_id=99999999999999999999"] {
        alice.get(&format!("rooms/lobby/comments?{query}")).await.fails(400, "invalid_request");
    }
    for query in ["only_user_ids=a%20b", "max_per_s=x", "since_id=x"] {
        alice.get(&format!("rooms/lobby/events?{query}")).await.fails(400, "invalid_request");
    }
    for (method, path) in [
        (Method::POST, "rooms/lobby/comments"),
        (Method::PUT, "admin/rooms/lobby"),
        (Method::POST, "admin/bans"),
        (Method::PUT, "admin/words"),
        (Method::POST, "admin/words/dry-run"),
        (Method::POST, "admin/rooms/lobby/gifts"),
    ] {
        for body in ["", "{", "[1]", "\"text\"", "null"] {
            let http = if path.starts_with("admin") { &admin } else { &alice };
            let reply = Reply::of(http.request(method.clone(), path).body(body)).await;
            assert_eq!(
                (reply.status, reply.body["error"]["code"].as_str()),
                (400, Some("invalid_request")),
                "{path} {body:?}"
            );
        }
    }
    let huge = json!({ "content": "x".repeat(70_000) });
    assert_eq!(alice.post("rooms/lobby/comments", huge).await.status, 413);
}

#[tokio::test]
async fn a_comment_s_fields_are_checked_and_named() {
    let server = server().await;
    for (field, value) in [
        ("content", json!(5)),
        ("style", json!({ "color": "red" })),
        ("style", json!({ "mode": "spin" })),
        ("style", json!({ "size": "huge" })),
        ("mentions", json!(["a b"])),
        ("client_msg_id", json!("")),
        ("client_msg_id", json!("x".repeat(65))),
        ("mentions", json!((0..21).map(|n| format!("u{n}")).collect::<Vec<_>>())),
        ("session_id", json!("x")),
    ] {
        let mut comment = json!({ "content": "hi" });
        comment[field] = value.clone();
        let error = server.user("alice").post("rooms/lobby/comments", comment).await.fails(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(field) || message.contains("mention"), "{field}={value}: {message}");
    }
    server.user("alice").say("lobby", "none of it counted").await;
}

#[tokio::test]
async fn every_documented_path_answers_and_admin_paths_need_a_moderator() {
    let server = server().await;
    let reply = server.http().get("/api/openapi.json").await;
    assert!(reply.body["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", reply.text);
    let token = token(&json!({ "sub": "nobody-special", "exp": now_s() + 60 }));
    for (path, methods) in reply.body["paths"].as_object().unwrap() {
        let place =
            path.replace("{room_id}", "lobby").replace("{id}", "1").replace("{list}", "mask").replace("{word}", "w");
        for method in
            methods.as_object().unwrap().keys().filter(|name| ["get", "put", "post", "delete"].contains(&name.as_str()))
        {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let ask = async |http: &testkit::Http| Reply::of(http.request(method.clone(), &place).body("{}")).await;
            if place.ends_with("/events") {
                continue; // Does not end.
            }
            if place.contains("/admin/") {
                ask(&server.http()).await.fails(401, "unauthorized");
                let reply = ask(&server.bearing(&token)).await;
                assert!(
                    [400, 403, 404].contains(&reply.status) || place.ends_with("reviews") || place.ends_with("bans"),
                    "{method} {place}: {} {}",
                    reply.status,
                    reply.text
                );
                assert!(
                    reply.status != 200 || reply.body.to_string().contains("[]"),
                    "{method} {place}: {}",
                    reply.text
                );
            } else {
                let reply = ask(&server.bearing(&token)).await;
                assert!(reply.status < 500 && reply.status != 405, "{method} {place}: {} {}", reply.status, reply.text);
                assert!(
                    reply.status < 400 || reply.body["error"]["code"].is_string(),
                    "{method} {place}: {}",
                    reply.text
                );
            }
        }
    }
}

#[tokio::test]
async fn cors_follows_the_list_of_origins() {
    let server = configured("[auth]\norigins = [\"https://tv.example\"]\n").await;
    let alice = server.user("alice");
    let from = async |origin: &str| Reply::of(alice.request(Method::GET, "rooms/lobby").header("origin", origin)).await;
    let listed = from("https://tv.example").await;
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, Some("https://tv.example")));
    let own = from(&server.url()).await;
    assert_eq!(own.status, 200);
    let other = from("https://evil.example").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    other.fails(403, "forbidden");

    let preflight = server
        .http()
        .request(Method::OPTIONS, "rooms/lobby/comments")
        .header("origin", "https://tv.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let answer = Reply::of(preflight).await;
    assert!(answer.status < 300, "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://tv.example"));
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");

    let query = format!("room_id=lobby&token={}", token(&json!({ "sub": "alice", "exp": now_s() + 60 })));
    let socket = async |origin: &str| Viewer::open(server.address(), &query, &[("origin", origin)]).await;
    assert!(socket("https://tv.example").await.is_ok());
    let refused = socket("https://evil.example").await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (403, "forbidden"));
}

#[tokio::test]
async fn a_development_server_is_this_machine_s_own() {
    let server = Options::new(BIN).dev().start().await;
    let http = server.http();
    let asks = async |name: &str, value: &str| {
        Reply::of(http.request(Method::GET, "rooms/lobby?user_id=a").header(name, value)).await
    };
    http.get("rooms/lobby?user_id=a").await.is(200);
    asks("origin", "http://localhost:5173").await.is(200);
    asks("origin", "https://evil.example").await.fails(403, "forbidden");
    asks("origin", "null").await.fails(403, "forbidden");
    asks("host", "rebound.example").await.fails(403, "forbidden");
    asks("host", "localhost").await.is(200);
    for header in [("origin", "https://evil.example"), ("host", "rebound.example:80")] {
        let refused =
            Viewer::open(server.address(), "room_id=lobby&user_id=a", &[header]).await.err().expect("a refusal");
        assert_eq!((refused.status, &*refused.code), (403, "forbidden"), "{header:?}");
    }
    let told = http.get("server").await.expect(200);
    assert_eq!(told["dev"], true);
}

#[tokio::test]
async fn health_readiness_and_metrics_tell_operators() {
    let server = server().await;
    let http = server.http();
    assert_eq!(http.get("/healthz").await.status, 200);
    let ready = http.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "ready");
    let dependencies = ready["dependencies"].as_object().unwrap();
    assert!(!dependencies.is_empty() && dependencies.values().all(|one| one["state"] == "ok"), "{ready}");
    server.user("alice").say("lobby", "counted").await;
    let metrics = http.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.text.lines().any(|line| line.contains("outcome=\"accepted\"") && line.ends_with(" 1")),
        "{}",
        metrics.text
    );
    let told = http.get("server").await.expect(200);
    assert_eq!(
        (&told["dev"], &told["anonymous_read"], &told["node_id"]),
        (&json!(false), &json!(false), &json!("barrage-0"))
    );
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_pages_are_in_the_binary() {
    let server = server().await;
    for path in ["/", "/rooms/lobby", "/admin"] {
        let page = server.http().get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{path}");
        assert!(
            page.header("content-security-policy").is_some_and(|policy| !policy.contains("script-src *")),
            "{path}"
        );
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn the_admin_key_reads_and_moderates_but_says_nothing() {
    let server = server().await;
    server.admin().get("rooms/lobby").await.is(200);
    server.admin().comment("lobby", "who would say it?").await.fails(401, "unauthorized");
    let log: Value = server.admin().get("admin/audit").await.expect(200);
    assert_eq!(log["entries"], json!([]));
}

#[tokio::test]
async fn connections_are_limited_by_address_but_not_on_loopback() {
    let limits = "connections_per_address = 2\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let server = configured(&format!("[limits]\n{limits}")).await;
    let token = token(&json!({ "sub": "alice", "exp": now_s() + 60 }));
    let query = format!("room_id=lobby&token={token}");
    let from = async |address: &str| Viewer::open(server.address(), &query, &[("x-forwarded-for", address)]).await;
    let first = from("203.0.113.7").await.ok().unwrap();
    let _second = from("203.0.113.7").await.ok().unwrap();
    let refused = from("203.0.113.7").await.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (429, "rate_limited"));
    assert!(refused.body["error"]["retry_after_ms"].as_u64().is_some());
    let _other = from("203.0.113.8").await.ok().unwrap();
    first.close().await;
    testkit::eventually("a free place", async || from("203.0.113.7").await.ok().map(drop)).await;

    let server = configured("[limits]\nconnections_per_address = 2\nhandshakes_per_address_per_s = 1\n").await;
    let crowd = crate::crowd(&server, "lobby", 20).await;
    assert_eq!(crowd.len(), 20, "this machine itself is not limited");
}

#[tokio::test]
async fn handshakes_are_limited_by_address() {
    let server = configured("[limits]\nhandshakes_per_address_per_s = 3\ntrusted_proxies = [\"127.0.0.1\"]\n").await;
    let query = format!("token={}", token(&json!({ "sub": "alice", "exp": now_s() + 60 })));
    let mut refused = None;
    for _ in 0..20 {
        let opened = Viewer::open(server.address(), &query, &[("x-forwarded-for", "203.0.113.7")]).await;
        refused = refused.or(opened.err());
    }
    let refused = refused.expect("a refusal");
    assert_eq!((refused.status, &*refused.code), (429, "rate_limited"));
}
