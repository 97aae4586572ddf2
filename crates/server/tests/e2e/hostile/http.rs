//! Requests that try to be something else: too long, ambiguous, or pointing elsewhere.

use reqwest::Method;
use serde_json::Value;
use testkit::{Reply, Server};

use super::raw::{Raw, upgrade};
use super::{Bystander, counted, counts, server_with};

const POST: &str = "POST /api/v1/rooms/r/comments HTTP/1.1\r\nHost: localhost\r\n";

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let wide = format!("X-Wide: {}\r\n", "w".repeat(1 << 20));
    let token = "t".repeat(9_000);
    for request in [upgrade("", &many), upgrade("", &wide), upgrade(&format!("token={token}"), "")] {
        assert_eq!(status(&server, request.as_bytes()).await, 431);
    }
    counts(&server, "handshakes_total{outcome=\"head_too_large\"", 3).await;
    for headers in [&many, &wide] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        assert_eq!(status(&server, request.as_bytes()).await, 431);
    }
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn bodies_that_are_too_long_are_refused() {
    let server = server_with("").await;
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(70_000));
    let http = server.user("mallory");
    let request = || http.request(Method::POST, "rooms/r/comments");
    Reply::of(request().body(body.clone())).await.fails(413, "content_too_long");
    let pieces =
        body.into_bytes().chunks(1_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    Reply::of(request().body(stream)).await.fails(413, "content_too_long");
    // Nothing is set aside for a length that is only promised.
    let promised = format!("{POST}Authorization: Bearer x\r\nContent-Length: 99999999999\r\n\r\n");
    assert!((400..500).contains(&status(&server, promised.as_bytes()).await));
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_what_hides_in_them_is_not_done() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let hidden = "GET /api/v1/server HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let posts = [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: -1\r\n\r\nhello",
        "Content-Length: 5, 5x\r\n\r\nhello",
        "Content-Length: 18446744073709551617\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X-Null: a\0b\r\n\r\n",
        "X Space: a\r\n\r\n",
        "X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "X-Return: a\rb\r\n\r\n",
    ];
    for headers in posts {
        is_one_refusal(&server, &format!("{POST}{headers}{hidden}")).await;
    }
    for chunks in ["zz\r\nhello\r\n0\r\n\r\n", "-1\r\nhello\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"] {
        is_one_refusal(&server, &format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}{hidden}")).await;
    }
    let lines = [
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET  /  HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        ": \r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ];
    for line in lines {
        is_one_refusal(&server, &format!("{line}{hidden}")).await;
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_refused_by_name() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let good = upgrade("room_id=r", "");
    let cases = [
        (upgrade("", "Content-Length: 5\r\n"), 400, "body"),
        (upgrade("", "Transfer-Encoding: chunked\r\n"), 400, "body"),
        (upgrade("", "Host: elsewhere\r\n"), 400, "repeated_header"),
        (upgrade("", "Origin: http://\u{fffd}\r\n").replace('\u{fffd}', "\u{1}"), 400, "malformed"),
        (good.replace("Host: localhost\r\n", ""), 400, "missing_header"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "key"),
        (good.replace("Version: 13", "Version: 12"), 426, "websocket_version"),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), 426, "not_upgrade"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 400, "http_version"),
        (good.replace("room_id=r", "room_id=../r"), 400, "invalid_request"),
        (good.replace("room_id=r", "device_id=%00"), 400, "invalid_request"),
        (upgrade("", "Sec-WebSocket-Protocol: barrage.v9.json\r\n"), 400, "invalid_request"),
    ];
    for (request, expected, outcome) in &cases {
        let before = counted(&server, &format!("handshakes_total{{outcome=\"{outcome}\"")).await;
        let said = answer(&server, request.as_bytes()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {expected} ")), "{outcome}: {said}");
        let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "invalid_request", "{said}");
        let now = counted(&server, &format!("handshakes_total{{outcome=\"{outcome}\"")).await;
        assert_eq!(now, before + 1, "{outcome}");
    }
    // What follows the head are frames, never a second request.
    let smuggled = format!("{good}GET /api/v1/server HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let said = answer(&server, smuggled.as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn paths_lead_nowhere_but_to_the_pages() {
    let server = server_with("").await;
    for path in [
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "/assets/..\\..\\etc\\passwd",
        "/assets/..%5c..%5cetc%5cpasswd",
        "/assets//etc/passwd",
        "/assets/%00",
        "/assets/....//....//etc/passwd",
        "/assets/%252e%252e%252fetc/passwd",
        "/../../etc/passwd",
        "/assets/",
        "/assets/.%00./data/secret",
        "/data/secret",
        "/%2e%2e/data/secret",
        "/rooms/../../data/barrage.sqlite",
        "/api/v1/rooms/..%2f..%2fsecret/comments",
        "/api/v1/admin/../rooms/%2e%2e/replay",
    ] {
        let said =
            answer(&server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let status: u16 = said[9..12].parse().unwrap();
        assert!([400, 401, 404].contains(&status), "{path}: {said}");
        assert!(!said.contains("root:") && !said.contains("workspace"), "{path}: {said}");
    }
}

#[tokio::test]
async fn markup_comes_back_as_plain_text_in_json() {
    let server = server_with("").await;
    let http = server.user("mallory");
    let markup = "<img src=x onerror=\"alert('1')\">";
    http.say("r", markup).await;
    let page = http.get("rooms/r/comments?since_id=0").await;
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.body["comments"][0]["content"], markup);
    let room = server.http().get("/rooms/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert!(!room.text.contains("<script>alert"), "{}", room.text);
    assert!(room.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'self'")));
}

/// The server says one thing, that this will not do, and closes; or it closes at once.
async fn is_one_refusal(server: &Server, request: &str) {
    let said = answer(server, request.as_bytes()).await;
    if !said.is_empty() {
        assert!(said.starts_with("HTTP/1.1 4"), "{request:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{request:?}: {said}");
    }
}

/// The status of the answer to a request.
async fn status(server: &Server, request: &[u8]) -> u16 {
    let mut raw = Raw::connect(server).await;
    raw.send(request).await;
    raw.head().await[9..12].parse().unwrap()
}

/// All that the server says until it closes.
async fn answer(server: &Server, request: &[u8]) -> String {
    let mut raw = Raw::connect(server).await;
    raw.send(request).await;
    raw.rest().await
}
