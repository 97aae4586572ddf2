//! Those who pretend to be somebody, or to come from elsewhere.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Options, Reply, Signer, Viewer, now_s};

use super::{Bystander, counted, counts, server_with};
use crate::BIN;

#[tokio::test]
async fn forged_tokens_are_no_tokens() {
    let service = Signer::rsa("one");
    let options = Options::new(BIN).file("key.pem", &service.pem);
    let config = "[auth]\npublic_key_file = \"{dir}/key.pem\"\n[sockets]\nlogin_s = 1\n";
    let server = options.config(config).start().await;
    let mut bystander = Bystander::of(&server).await;
    let claims = json!({ "sub": "root", "level": "admin", "iat": now_s() - 5, "exp": now_s() + 600 });
    server.bearing(&service.token(&claims)).get("rooms/r").await.is(200);

    let (good_head, rest) = service.token(&claims).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = |alg: &str| format!("{}.{payload}.", part(&json!({ "alg": alg, "typ": "JWT" })));
    let inside = json!({ "alg": "RS256", "jwk": service.jwk, "x5u": "http://127.0.0.1:1/", "kid": "../../etc/passwd" });
    let forged = [
        none("none"),
        none("None"),
        none("NONE"),
        none(""),
        format!("{}.{payload}.{signature}", part(&json!({ "alg": "none" }))),
        format!("{}.{payload}.", part(&json!({ "alg": "HS256" }))),
        format!("{good_head}.{payload}."),
        format!("{good_head}.{payload}"),
        format!("{good_head}.{}.{signature}", part(&json!({ "sub": "root2", "exp": now_s() + 600 }))),
        // The public key is no secret, so it must not be taken for one.
        Signer::secret(&service.pem).token(&claims),
        Signer::secret(service.pem.trim()).token(&claims),
        Signer::secret(service.jwk["n"].as_str().unwrap()).token(&claims),
        Signer::secret("").token(&claims),
        Signer::rsa("one").token(&claims),
        format!("{}.{payload}.{signature}", part(&inside)),
        service.token(&json!({ "sub": "root", "exp": now_s() - 1 })),
        service.token(&json!({ "sub": "root" })),
        service.token(&json!({ "sub": "root", "exp": "tomorrow" })),
        service.token(&json!({ "exp": now_s() + 600 })),
        service.token(&json!({ "sub": "no such\u{0}user", "exp": now_s() + 600 })),
        service.token(&json!({ "sub": "x".repeat(10_000), "exp": now_s() + 600 })),
        "..".into(),
        "a.b.c".into(),
    ];
    for token in &forged {
        let http = server.bearing(token);
        http.get("rooms/r").await.fails(401, "unauthorized");
        http.comment("r", "forged").await.fails(401, "unauthorized");
        http.post("admin/rooms/r/close", Value::Null).await.fails(401, "unauthorized");
    }
    let sockets = forged.iter().filter(|token| token.len() < 4_000).map(async |token| {
        let mut socket = server.connect(&format!("room_id=r&token={token}")).await;
        assert_eq!(socket.wait_for("error").await["code"], "unauthorized", "{token}");
        assert_eq!(socket.wait_close_within(Duration::from_secs(9)).await.0, 4001, "{token}");
    });
    let closed = futures::future::join_all(sockets).await.len();
    counts(&server, "closes_total{code=\"4001\"", closed as i64).await;
    bystander.viewer.settled().await;
    assert_eq!(bystander.viewer.contents(), Vec::<&str>::new(), "nobody spoke under a forged name");
    bystander.notices_nothing().await;
}

fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

#[tokio::test]
async fn identities_from_the_query_count_for_nothing_unless_in_development() {
    let server = server_with("").await;
    let query = "room_id=r&user_id=root&username=Root&level=admin";
    let mut socket = server.connect(query).await;
    assert_eq!(socket.wait_for("error").await["code"], "unauthorized");
    socket.refused(json!({ "type": "comment", "room_id": "r", "content": "hi" }), "unauthorized").await;
    socket.refused(json!({ "type": "join_room", "room_id": "r" }), "unauthorized").await;
    let http = server.http();
    http.post(&format!("rooms/r/comments?{query}"), json!({ "content": "hi" })).await.fails(401, "unauthorized");
    http.get(&format!("rooms/r/comments?{query}")).await.fails(401, "unauthorized");
    http.get(&format!("admin/bans?{query}")).await.fails(401, "unauthorized");
}

#[tokio::test]
async fn other_sites_pages_are_refused() {
    let server = server_with("[auth]\norigins = [\"https://tv.example\"]\n").await;
    let host = server.address().to_owned();
    let own = format!("http://{host}");
    for origin in ["https://tv.example", &own] {
        assert!(Viewer::open(&host, "", &[("origin", origin)]).await.is_ok(), "{origin}");
    }
    let http = server.user("ann");
    for origin in ["https://evil.example", "https://tv.example.evil", "http://tv.example", "null", "file://", ""] {
        let refused = Viewer::open(&host, "room_id=r", &[("origin", origin)]).await.err().expect(origin);
        assert_eq!((refused.status, refused.code.as_str()), (403, "forbidden"), "{origin}");
        let request = http.request(Method::POST, "rooms/r/comments").header("origin", origin);
        Reply::of(request.json(&json!({ "content": origin }))).await.fails(403, "forbidden");
    }
    counts(&server, "handshakes_total{outcome=\"forbidden\"", 6).await;
}

#[tokio::test]
async fn a_development_server_answers_this_machine_s_pages_alone() {
    let server = Options::new(BIN).dev().start().await;
    let host = server.address().to_owned();
    for (name, value) in [("host", "rebound.example"), ("origin", "https://evil.example"), ("origin", "null")] {
        let refused = Viewer::open(&host, "user_id=ann", &[(name, value)]).await.err().expect(value);
        assert_eq!((refused.status, refused.code.as_str()), (403, "forbidden"), "{value}");
        let request = server.http().request(Method::GET, "admin/bans").header(name, value);
        Reply::of(request).await.fails(403, "forbidden");
    }
    assert!(Viewer::open(&host, "user_id=ann", &[("origin", "http://localhost:5173")]).await.is_ok());
}

/// Behind a trusted proxy: who says more in `X-Forwarded-For` than the proxy added gains nothing by it.
#[tokio::test]
async fn what_is_said_before_the_proxy_s_word_lifts_no_limit() {
    let config = "[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]\nconnections_per_address = 2\n";
    let server = Options::new(BIN).config(config).start().await;
    let open = async |forwarded: &str| Viewer::open(server.address(), "", &[("x-forwarded-for", forwarded)]).await;
    let first = open("203.0.113.9").await.unwrap();
    let _second = open("8.8.8.8, 203.0.113.9").await.unwrap();
    let claims = [
        "203.0.113.9",
        "8.8.8.8, 203.0.113.9",
        "127.0.0.1, 203.0.113.9",
        "nonsense,203.0.113.9",
        ", ,203.0.113.9",
        "8.8.8.8, 203.0.113.9, 127.0.0.1",
        "::ffff:203.0.113.9",
    ];
    for claim in claims {
        let refused = open(claim).await.err().expect(claim);
        assert_eq!((refused.status, refused.code.as_str()), (429, "rate_limited"), "{claim}");
    }
    let _another = open("203.0.113.10").await.unwrap();
    first.close().await;
    testkit::eventually("the place of the first", async || open("203.0.113.9").await.ok()).await;
    assert!(counted(&server, "handshakes_total{outcome=\"rate_limited\"").await >= claims.len() as i64);
    // A subscriber's IPv6 network is one address.
    let _held = [open("2001:db8::1").await.unwrap(), open("2001:db8::2").await.unwrap()];
    assert_eq!(open("2001:db8::ffff:3").await.err().expect("the network is full").status, 429);
    let _other = open("2001:db8:0:1::3").await.unwrap();
}
