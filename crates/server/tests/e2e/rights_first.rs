//! Rights before work: a stranger is refused before a body is read, or a room is looked for.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Server, now_s, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{NO_LIMITS, configured, fast_server};

/// The status of a request whose body is announced and never sent.
async fn refused_unread(server: &Server, method: &str, path: &str, token: Option<&str>) -> Option<u16> {
    status(&mut announce(server, method, path, token).await, Duration::from_secs(5)).await
}

/// Sends the head of a request, and asks whether its body is wanted.
async fn announce(server: &Server, method: &str, path: &str, token: Option<&str>) -> TcpStream {
    let mut socket = server.raw().await;
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nhost: {}\r\n{authorization}content-length: 8000\r\nexpect: 100-continue\r\n\r\n",
        server.address()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// The status that comes within this time.
async fn status(socket: &mut TcpStream, patience: Duration) -> Option<u16> {
    let mut answer = [0; 12];
    timeout(patience, socket.read_exact(&mut answer)).await.ok()?.ok()?;
    std::str::from_utf8(&answer).unwrap().split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn nobody_s_body_is_read() {
    let server = fast_server().await;
    for (method, path) in [
        ("POST", "rooms/lobby/comments"),
        ("POST", "messages"),
        ("POST", "groups"),
        ("PATCH", "groups/1"),
        ("POST", "groups/1/members"),
        ("PATCH", "groups/1/members/bob"),
        ("PUT", "users/me/presence"),
        ("POST", "uploads"),
        ("PUT", "keys/phone"),
        ("POST", "users/bob/keys/claim"),
        ("PUT", "admin/rooms/lobby"),
        ("POST", "admin/rooms/lobby/import"),
        ("POST", "admin/bans"),
        ("PUT", "admin/words"),
    ] {
        assert_eq!(refused_unread(&server, method, path, None).await, Some(401), "{method} {path}");
    }
}

#[tokio::test]
async fn who_may_not_moderate_is_refused_before_the_body_is_read() {
    let server = fast_server().await;
    let stranger = token(&json!({ "sub": "stranger", "exp": now_s() + 60 }));
    let mo = token(&json!({ "sub": "mo", "level": "moderator", "rooms": ["lobby"], "exp": now_s() + 60 }));
    for (method, path) in [
        ("PUT", "admin/rooms/attic"),
        ("POST", "admin/rooms/attic/import"),
        ("POST", "admin/rooms/attic/announcements"),
        ("POST", "admin/rooms/attic/gifts"),
        ("POST", "admin/rooms/attic/events"),
        ("PUT", "admin/words"),
        ("POST", "admin/tokens/revoke"),
    ] {
        for who in [&stranger, &mo] {
            assert_eq!(refused_unread(&server, method, path, Some(who)).await, Some(403), "{method} {path}");
        }
    }
    for (method, path) in [("POST", "admin/bans"), ("POST", "admin/words/dry-run")] {
        assert_eq!(refused_unread(&server, method, path, Some(&stranger)).await, Some(403), "{method} {path}");
    }
    // And whoever may is asked for the body.
    assert_eq!(refused_unread(&server, "POST", "admin/rooms/lobby/import", Some(&mo)).await, Some(100));
}

#[tokio::test]
async fn two_imports_are_read_at_once_and_a_third_is_asked_for_its_body_when_one_has_ended() {
    const SOON: Duration = Duration::from_secs(5);
    let server = fast_server().await;
    let admin = token(&json!({ "sub": "root", "level": "admin", "exp": now_s() + 60 }));
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(announce(&server, "POST", "admin/rooms/lobby/import", Some(&admin)).await);
    }
    let mut wanted = Vec::new();
    for (n, socket) in sockets.iter_mut().enumerate() {
        wanted.extend((status(socket, SOON).await == Some(100)).then_some(n));
    }
    assert_eq!(wanted.len(), 2, "{wanted:?} of three are asked for their bodies");
    let ended = sockets.remove(wanted[0]);
    drop(ended);
    let waited = (0..3).find(|n| !wanted.contains(n)).unwrap();
    let waited = waited - usize::from(waited > wanted[0]);
    assert_eq!(status(&mut sockets[waited], SOON).await, Some(100));
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_ids_and_costs_no_search() {
    let server = configured(NO_LIMITS).await;
    server.admin().put("admin/rooms/lobby", json!({ "store": false, "owner_id": "olga" })).await.is(200);
    // Only nodes that show the room know what is not stored.
    let mut bob = server.viewer("bob", "lobby").await;
    let unkept = server.user("alice").say("lobby", "unkept").await;
    bob.sees("unkept").await;
    for id in [&*unkept, "1"] {
        server.user("stranger").delete(&format!("admin/comments/{id}")).await.fails(403, "forbidden");
        server.user("stranger").delete(&format!("admin/bans/{id}")).await.fails(403, "forbidden");
        for decision in ["approve", "reject"] {
            let path = format!("admin/reviews/{id}/{decision}");
            server.user("stranger").post(&path, Value::Null).await.fails(403, "forbidden");
        }
    }
    server.user("olga").delete(&format!("admin/comments/{unkept}")).await.is(204);
    server.user("olga").delete("admin/comments/1").await.fails(404, "not_found");
}
