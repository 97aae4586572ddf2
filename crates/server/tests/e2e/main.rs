//! Conversations with the real binary, as viewers, programs and operators have them. Each test has a server of its own.
#![allow(clippy::unwrap_used, missing_docs)] // A test that cannot go on has failed.

mod access;
mod archive;
mod bans;
mod chat;
mod client;
mod collector;
mod command_line;
mod comments;
mod delivery;
mod deployment;
mod diagnostics;
mod doors;
mod drain;
mod durability;
mod e2ee;
mod edges;
mod erasure;
mod events;
mod heat;
mod hierarchy;
mod history;
mod hook;
mod hostile;
mod identity;
mod likes;
mod limits;
mod live;
mod moderation;
mod names;
mod operators;
mod ranking;
mod replay;
mod reviews;
mod rights_first;
mod rooms;
mod sentry;
mod shares;
mod sockets;
mod telemetry;
mod tls;
mod upgrade;
mod uploads;
#[cfg(feature = "quic")]
mod webtransport;
mod words;

use futures::future::join_all;
use serde_json::json;
use testkit::{Options, Server, Viewer};

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_barrage");

/// Limits that are not what the test is about.
const NO_LIMITS: &str = "[limits]\nnormal_per_s = 10000\nvip_per_s = 10000\nowner_per_s = 10000\nroom_per_s = 10000\n\
    likes_per_s = 10000\nduplicate_window_ms = 0\ncool_down_refusals = 0\n";

/// A server with the defaults of the contract.
async fn server() -> Server {
    Options::new(BIN).start().await
}

/// A server with this configuration.
async fn configured(toml: &str) -> Server {
    Options::new(BIN).config(toml).start().await
}

/// A server whose users may write as fast as they like.
async fn fast_server() -> Server {
    configured(NO_LIMITS).await
}

/// Users `c0`, `c1`, … who only write.
async fn crowd(server: &Server, room: &str, size: usize) -> Vec<Viewer> {
    let query = format!("room_id={room}&max_per_s=0&history=0");
    let names: Vec<String> = (0..size).map(|n| format!("c{n}")).collect();
    join_all(names.iter().map(|name| server.viewer_who_wishes(name, "normal", &query))).await
}

/// Everybody says something at once, each something else; all of it is accepted.
async fn all_speak(crowd: &mut [Viewer], room: &str, says: impl Fn(usize) -> String) {
    for (n, viewer) in crowd.iter_mut().enumerate() {
        viewer.send(json!({ "type": "comment", "room_id": room, "content": says(n), "ref": 0 })).await;
    }
    for viewer in crowd {
        let ack = viewer.expect("the answer", |answer| answer["ref"] == 0).await;
        assert_eq!(ack["status"], "accepted", "{ack}");
    }
}

/// One user says `n` different things as fast as possible: `"{name} 0"`, `"{name} 1"`, … Returns the ids. Numbers that differ
/// only in how often a digit repeats read alike (99 and 999), and a batch may merge them: let the last be none of those.
async fn says_many(viewer: &mut Viewer, room: &str, name: &str, n: usize) -> Vec<String> {
    for i in 0..n {
        let content = format!("{name} {i}");
        viewer.send(json!({ "type": "comment", "room_id": room, "content": content, "ref": content })).await;
    }
    let mut ids = Vec::new();
    for i in 0..n {
        let content = format!("{name} {i}");
        let ack = viewer.expect(&content, |answer| answer["ref"] == content.as_str()).await;
        assert_eq!(ack["status"], "accepted", "{ack}");
        ids.push(ack["id"].as_str().unwrap().to_owned());
    }
    // Accepted is kept; a moment later it is published.
    let last = ids.last().cloned().unwrap_or_default();
    viewer.given_when("the last one", |given| given.iter().any(|c| c["id"] == last.as_str()).then_some(())).await;
    ids
}

/// The contents of a list of comments.
fn contents(comments: &serde_json::Value) -> Vec<&str> {
    comments.as_array().into_iter().flatten().filter_map(|comment| comment["content"].as_str()).collect()
}
