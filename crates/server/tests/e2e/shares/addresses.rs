//! Behind proxies: whoever cannot be told apart is one address, at every door.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::{Http, Reply, Server, Viewer, eventually, now_s, token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::configured;

async fn behind_proxies(limits: &str) -> Server {
    configured(&format!("[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{limits}")).await
}

async fn open(server: &Server, headers: &[(&str, &str)]) -> Result<Viewer, u16> {
    let query = format!("token={}", token(&json!({ "sub": "alice", "exp": now_s() + 60 })));
    Viewer::open(server.address(), &query, headers).await.map_err(|refused| refused.status)
}

#[tokio::test]
async fn an_address_counts_in_every_form_in_which_proxies_write_it() {
    let server = behind_proxies("connections_per_address = 2\n").await;
    for forms in [
        ["203.0.113.9:51234", "203.0.113.9:51235", "203.0.113.9"],
        ["[2001:db8::1]:443", "2001:db8::2", "[2001:db8::3]"],
        ["fe80::1%eth0", "[fe80::1%25eth1]:80", "\"[fe80::2]:80\""],
        // These cannot be read, and are one address together.
        ["unknown", "_hidden", "203.0.113.7, localhost"],
    ] {
        let from = async |form: &str| open(&server, &[("x-forwarded-for", form)]).await;
        let _held = [from(forms[0]).await.ok().unwrap(), from(forms[1]).await.ok().unwrap()];
        assert_eq!(from(forms[2]).await.err(), Some(429), "{forms:?}");
    }
    // Several lines of a header are one list.
    let lines = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "203.0.113.20:1")];
    let _held = [open(&server, &lines).await.ok().unwrap(), open(&server, &lines).await.ok().unwrap()];
    assert_eq!(open(&server, &[("x-forwarded-for", "203.0.113.20")]).await.err(), Some(429));
    // A header that nobody told the server to read.
    assert_eq!(open(&server, &[("forwarded", "for=203.0.113.30")]).await.err(), Some(429));
    let logged = || server.log().matches("cannot be read; such clients").count();
    eventually("the warning", async || (logged() > 0).then_some(())).await;
    assert_eq!(logged(), 1, "logged once");
}

#[tokio::test]
async fn event_streams_and_requests_count_the_forwarded_address() {
    let server = behind_proxies("connections_per_address = 2\nrequests_per_address_per_s = 3\n").await;
    let from = |address: &str, path: &str| {
        server.user("alice").request(Method::GET, path).header("x-forwarded-for", address.to_owned())
    };
    let stream = async || from("203.0.113.9", "rooms/lobby/events").send().await.unwrap();
    let held = [stream().await, stream().await];
    assert!(held.iter().all(|answer| answer.status() == 200));
    let error = Reply::of(from("203.0.113.9", "rooms/lobby")).await.fails(429, "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some(), "{error}");
    assert_eq!(open(&server, &[("x-forwarded-for", "203.0.113.9:5")]).await.err(), Some(429), "a socket, too");
    Reply::of(from("203.0.113.10", "rooms/lobby")).await.is(200);
    drop(held);
    eventually("a free place", async || {
        (Reply::of(from("203.0.113.9", "rooms/lobby")).await.status == 200).then_some(())
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(Reply::of(from("203.0.113.11", "rooms/lobby")).await.status);
    }
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn guesses_of_the_admin_key_count_the_forwarded_address() {
    let server = behind_proxies("").await;
    let ask = async |http: Http, address: &str| {
        Reply::of(http.request(Method::GET, "admin/bans").header("x-forwarded-for", address.to_owned())).await.status
    };
    for port in 0..20 {
        assert_eq!(ask(server.bearing("a wrong admin key!"), &format!("203.0.113.9:{port}")).await, 401);
    }
    assert_eq!(ask(server.admin(), "203.0.113.9").await, 429, "the right one comes too late");
    assert_eq!(ask(server.admin(), "203.0.113.10").await, 200, "another administrator is not kept out");
    let log = server.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("too many wrong admin keys")).collect();
    assert!(told.len() == 1 && told[0].contains("203.0.113.9"), "{log}");
}

#[tokio::test]
async fn forwarded_is_read_where_the_proxies_set_it() {
    let server = behind_proxies("connections_per_address = 2\nforwarded_header = \"forwarded\"\n").await;
    let from = async |value: &str| open(&server, &[("forwarded", value), ("x-forwarded-for", "8.8.8.8")]).await;
    let _held = [
        from("for=192.0.2.1, for=\"203.0.113.9:1\";proto=https").await.ok().unwrap(),
        from("For=203.0.113.9").await.ok().unwrap(),
    ];
    assert_eq!(from("for=\"203.0.113.9:3\"").await.err(), Some(429));
    let _other = from("for=\"[2001:db8::9]:3\"").await.ok().unwrap();
}

/// Sends a PROXY header and a request for `/ws` or another path; the first line of the answer, and the connection.
async fn proxied(server: &Server, header: &[u8], path: &str) -> (String, TcpStream) {
    let mut stream = server.raw().await;
    // In pieces, as networks cut them.
    for piece in header.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", server.address());
    // A connection that is refused may be gone already.
    let _ = stream.write_all(request.as_bytes()).await;
    let (mut answer, mut bytes) = (Vec::new(), [0; 1_024]);
    while !answer.contains(&b'\n') {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.expect("an answer") {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&bytes[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    (String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned(), stream)
}

#[tokio::test]
async fn the_proxy_protocol_tells_whose_connection_it_is() {
    let server = behind_proxies("connections_per_address = 2\nproxy_protocol = true\n").await;
    let v1 = |address: &str| format!("PROXY TCP4 {address} 10.0.0.1 51234 80\r\n").into_bytes();
    let v2 = |last: u8| {
        let sign = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C";
        [&sign[..], &[203, 0, 113, last, 10, 0, 0, 1, 0xC8, 0x22, 0, 80]].concat()
    };
    let (first, _held) = proxied(&server, &v1("203.0.113.9"), "/ws").await;
    assert_eq!(first, "HTTP/1.1 101 Switching Protocols");
    let (second, held) = proxied(&server, &v2(9), "/ws").await;
    assert_eq!(second, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(proxied(&server, &v1("203.0.113.9"), "/ws").await.0, "", "the third connection of this address");
    assert_eq!(proxied(&server, &v2(9), "/healthz").await.0, "", "for HTTP as well");
    assert_eq!(proxied(&server, &v2(10), "/healthz").await.0, "HTTP/1.1 200 OK");
    assert_eq!(proxied(&server, b"PROXY UNKNOWN\r\n", "/healthz").await.0, "HTTP/1.1 200 OK");
    drop(held);
    eventually("a free place", async || {
        (proxied(&server, &v1("203.0.113.9"), "/healthz").await.0 == "HTTP/1.1 200 OK").then_some(())
    })
    .await;
    for none in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n"] {
        assert_eq!(proxied(&server, none, "/healthz").await.0, "", "{none:?}");
    }
    // Who is no proxy speaks for itself.
    let config = "[limits]\ntrusted_proxies = [\"10.0.0.1\"]\nproxy_protocol = true\n";
    let server = configured(config).await;
    server.http().get("/healthz").await.is(200);
    server.user("alice").get("rooms/lobby").await.is(200);
}
