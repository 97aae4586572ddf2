//! The opening handshake: real requests, every way one can be wrong, and the bytes of the answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use protocol::handshake::{
    HEAD_BYTES_MAX, HEADERS_MAX, Handshake, HandshakeError, Request, SubProtocol, accept_key, choose_protocol, parse,
    query_pairs, refusal, response,
};

/// The key and answer RFC 6455 §1.3 prints.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const BROWSER: &str = "GET /ws?room_id=r%3A1&token=a.b-c HTTP/1.1\r\n\
    Host: live.example:8080\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Pragma: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Upgrade: WebSocket\r\n\
    Origin: https://live.example\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: barrage.v1.bin, barrage.v1.json\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    X-Forwarded-For: 203.0.113.7\r\n\
    x-forwarded-for: 10.0.0.1\r\n\
    Authorization: Bearer a.b.c\r\n\r\n";

fn upgrade(head: &str) -> Result<Request<'_>, HandshakeError> {
    match parse(head.as_bytes())? {
        Handshake::Upgrade(request) => Ok(request),
        Handshake::Incomplete => panic!("incomplete: {head}"),
    }
}

/// The browser's request with one thing changed.
fn changed(from: &str, to: &str) -> Result<(), HandshakeError> {
    assert!(BROWSER.contains(from), "{from}");
    upgrade(&BROWSER.replacen(from, to, 1)).map(|_| ())
}

#[test]
fn a_browsers_request() {
    let bytes = [BROWSER.as_bytes(), b"\x81\x80frames"].concat();
    let Ok(Handshake::Upgrade(request)) = parse(&bytes) else { panic!("refused") };
    let expected = Request {
        head_bytes: BROWSER.len(),
        path: "/ws",
        query: "room_id=r%3A1&token=a.b-c",
        host: "live.example:8080",
        key: KEY,
        protocols: Some("barrage.v1.bin, barrage.v1.json".into()),
        extensions: Some("permessage-deflate; client_max_window_bits".into()),
        origin: Some("https://live.example"),
        authorization: Some("Bearer a.b.c"),
        forwarded_for: Some("203.0.113.7, 10.0.0.1".into()),
        forwarded: None,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64)"),
    };
    assert_eq!(request, expected);
}

#[test]
fn a_tungstenite_clients_request() {
    use tungstenite::client::IntoClientRequest;
    let request = "ws://localhost:9/ws?room_id=1".into_client_request().unwrap();
    let (head, _) = tungstenite::handshake::client::generate_request(request).unwrap();
    let head = String::from_utf8(head).unwrap();
    let request = upgrade(&head).unwrap();
    assert_eq!((request.path, request.query, request.host), ("/ws", "room_id=1", "localhost:9"));
}

#[test]
fn byte_by_byte_it_is_incomplete_until_the_last() {
    for end in 0..BROWSER.len() {
        assert_eq!(parse(&BROWSER.as_bytes()[..end]), Ok(Handshake::Incomplete), "after {end} bytes");
    }
}

#[test]
fn what_is_wrong_has_its_status() {
    use HandshakeError::*;
    let table = [
        (changed("GET /ws", "POST /ws"), Method, 405),
        (changed("HTTP/1.1", "HTTP/1.0"), HttpVersion, 400),
        (changed("GET /ws", "GET ws"), Malformed, 400),
        (changed("GET /ws", "\x16\x03\x01"), Malformed, 400),
        (changed("Host: live.example:8080\r\n", ""), MissingHeader("Host"), 400),
        (changed("Pragma: no-cache", "Host: other.example"), RepeatedHeader("Host"), 400),
        (changed("Pragma: no-cache", "Origin: https://evil.example"), RepeatedHeader("Origin"), 400),
        (changed("Pragma: no-cache", "Content-Length: 5"), Body, 400),
        (changed("Pragma: no-cache", "Transfer-Encoding: chunked"), Body, 400),
        (
            changed("Pragma: no-cache", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
            RepeatedHeader("Sec-WebSocket-Key"),
            400,
        ),
        (changed("Sec-WebSocket-Key", "X-Key"), MissingHeader("Sec-WebSocket-Key"), 400),
        (changed(KEY, "dGhlIHNhbXBsZQ=="), Key, 400),
        (changed(KEY, "not base64 at all, no way"), Key, 400),
        (changed("Upgrade: WebSocket", "Upgrade: h2c"), NotUpgrade, 426),
        (changed("Upgrade: WebSocket\r\n", ""), NotUpgrade, 426),
        (changed("keep-alive, Upgrade", "keep-alive"), NotUpgrade, 426),
        (changed("Version: 13", "Version: 8"), WebSocketVersion, 426),
        (changed("Sec-WebSocket-Version: 13\r\n", ""), WebSocketVersion, 426),
        (changed("Pragma: no-cache", &"a: b\r\n".repeat(HEADERS_MAX)), HeadTooLarge, 431),
        (changed("no-cache", &"x".repeat(HEAD_BYTES_MAX)), HeadTooLarge, 431),
    ];
    for (row, (outcome, error, status)) in table.into_iter().enumerate() {
        assert_eq!(outcome, Err(error), "row {row}");
        assert_eq!(error.status(), status, "row {row}");
    }
    let latin1 = [BROWSER.trim_end().as_bytes(), b"\r\nAuthorization: \xE9\r\n\r\n"].concat();
    assert_eq!(parse(&latin1), Err(HeaderEncoding("Authorization")));
    assert_eq!(changed("Pragma: no-cache", "Content-Length: 0"), Ok(()));
}

#[test]
fn a_head_may_fill_its_limit_exactly() {
    let padding = HEAD_BYTES_MAX - BROWSER.len() + "no-cache".len();
    assert_eq!(changed("no-cache", &"x".repeat(padding)), Ok(()));
    assert_eq!(changed("no-cache", &"x".repeat(padding + 1)), Err(HandshakeError::HeadTooLarge));
    assert_eq!(parse(&[b'G'; HEAD_BYTES_MAX - 1]), Ok(Handshake::Incomplete));
    assert_eq!(parse(&[b'G'; HEAD_BYTES_MAX]), Err(HandshakeError::HeadTooLarge));
}

#[test]
fn answers_as_the_rfc_prints_them() {
    assert_eq!(&accept_key(KEY), ACCEPT);
    let answer = String::from_utf8(response(ACCEPT, Some(SubProtocol::Json), false)).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: barrage.v1.json\r\n\r\n"
    );
    assert!(!String::from_utf8(response(ACCEPT, None, false)).unwrap().contains("Protocol:"));
}

#[test]
fn refusals_say_what_would_be_accepted() {
    let refused = |status, retry_after_s| String::from_utf8(refusal(status, retry_after_s, b"{}")).unwrap();
    assert_eq!(
        refused(426, None),
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    );
    assert!(refused(405, None).contains("\r\nAllow: GET\r\n"));
    assert!(refused(429, Some(3)).starts_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\n"));
}

#[test]
fn the_clients_order_decides_among_what_is_supported() {
    use SubProtocol::*;
    let choose = |offered| choose_protocol(offered, &[Json, Bin]);
    assert_eq!(choose("barrage.v1.json"), Some(Json));
    assert_eq!(choose("barrage.v1.proto ,\tbarrage.v1.bin,barrage.v1.json"), Some(Bin));
    assert_eq!(choose("barrage.v1.proto"), None);
    assert_eq!(choose("Barrage.V1.Json"), None);
    assert_eq!(choose(""), None);
}

#[test]
fn query_values_are_decoded() {
    let pairs: Vec<_> = query_pairs("room_id=a%3Ab&username=%E5%BC%B9+%E5%B9%95&flag&&x=%zz").collect();
    let expected = [("room_id", "a:b"), ("username", "弹 幕"), ("flag", ""), ("x", "%zz")];
    assert_eq!(pairs, expected.map(|(name, value)| (name.into(), value.into())));
}

proptest! {
    #[test]
    fn noise_never_panics(noise: Vec<u8>, cut in 0..BROWSER.len()) {
        let _ = parse(&noise);
        let _ = parse(&[&BROWSER.as_bytes()[..cut], &noise].concat());
    }

    /// What a request says cannot be changed by how much of it had arrived before.
    #[test]
    fn a_verdict_stands_when_more_arrives(head in "(GET|PUT) [/a-z?]{0,9} HTTP/1.[01]\r\n(Host: a\r\n|Upgrade: b\r\n){0,3}\r\n", more: Vec<u8>) {
        let longer = [head.as_bytes(), &more].concat();
        prop_assert_eq!(parse(head.as_bytes()), parse(&longer));
    }
}
