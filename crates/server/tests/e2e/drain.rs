//! SIGTERM: everybody is told, nothing acknowledged is lost, the process ends well.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::eventually;

use crate::{contents, fast_server, says_many};

#[tokio::test]
async fn sockets_are_told_to_reconnect_polls_are_answered_and_the_exit_is_clean() {
    let mut server = fast_server().await;
    let mut viewers = Vec::new();
    for n in 0..8 {
        viewers.push(server.viewer(&format!("v{n}"), "lobby").await);
    }
    let last = server.user("alice").say("lobby", "before").await;
    let mut stream = server.user("reader").events("lobby", &format!("since_id={last}"), None).await;
    let reader = server.user("reader");
    let path = format!("rooms/lobby/comments?since_id={last}&wait_s=30");
    let poll = tokio::spawn(async move { reader.get(&path).await });
    eventually("the poll to wait", async || {
        let metrics = server.http().get("/metrics").await.text;
        metrics.lines().any(|line| line.contains("streams") && line.ends_with(" 2")).then_some(())
    })
    .await;

    let ended = server.terminate().await;
    assert_eq!(ended.status.code(), Some(0), "{:?}", ended.status);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    let answer = poll.await.unwrap().expect(200);
    assert_eq!((&answer["comments"], &answer["latest_id"]), (&json!([]), &json!(last)));
    let mut delays = Vec::new();
    for viewer in &mut viewers {
        let (code, reason) = viewer.wait_close().await;
        assert_eq!(code, 1012);
        delays.push(reason.parse::<u64>().unwrap_or_else(|_| panic!("no delay in ms: {reason:?}")));
    }
    assert!(delays.iter().all(|ms| (1..=60_000).contains(ms)), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 1, "jittered: {delays:?}");
    while stream.next().await.is_some() {}
    assert!(tokio::net::TcpStream::connect(server.address()).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_was_acknowledged_under_load_is_there_afterwards() {
    let mut server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let ids = says_many(&mut alice, "lobby", "kept", 300).await;
    server.terminate().await;
    server.restart().await;
    let page = server.user("bob").get("rooms/lobby/comments?since_id=0&limit=500").await.expect(200);
    let kept: Vec<&str> = page["comments"].as_array().unwrap().iter().filter_map(|c| c["id"].as_str()).collect();
    assert_eq!(kept, ids);
    server.user("bob").say("lobby", "goes on").await;
    let page = server.user("bob").get(&format!("rooms/lobby/comments?since_id={}", ids[299])).await.expect(200);
    assert_eq!(contents(&page["comments"]), ["goes on"]);
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let mut server = fast_server().await;
    let _idle = server.raw().await;
    let begun = tokio::time::Instant::now();
    server.signal(libc::SIGTERM);
    let ended = server.ended(begun).await;
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
}

#[tokio::test]
async fn draining_is_quick_when_nothing_holds_it_up() {
    let mut server = fast_server().await;
    let begun = Instant::now();
    let ended = server.terminate().await;
    assert!(ended.status.success() && begun.elapsed() < Duration::from_secs(5), "{ended:?}");
}
