//! A room in which very much is said.

use std::time::Duration;

use serde_json::json;
use testkit::{LoadUser, Server, within};

use crate::configured;

/// How long a room may take to heat up or to cool down.
const TURNS: Duration = Duration::from_secs(30);

async fn is_hot(server: &Server, room: &str) -> bool {
    let settings = server.admin().get(&format!("admin/rooms/{room}")).await;
    settings.body["hot"] == json!(true)
}

async fn hot_rooms(server: &Server) -> String {
    let metrics = server.http().get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("barrage_hot_rooms "));
    line.expect("a metric").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_becomes_hot_says_so_and_cools_by_itself() {
    let server = configured("[rooms]\nhot_per_s = 10\n").await;
    let busy = LoadUser::start(&server, "ann", "hall", 30);
    let quiet = LoadUser::start(&server, "bo", "lobby", 2);
    within(TURNS, "the hall to be hot", async || is_hot(&server, "hall").await.then_some(())).await;
    assert!(!is_hot(&server, "lobby").await);
    assert_eq!(hot_rooms(&server).await, "1");
    assert!(server.log().contains("a room is hot"), "{}", server.log());

    // It goes on as before, for whoever speaks and whoever reads.
    let mut cy = server.viewer("cy", "hall").await;
    cy.say("is it warm in here?").await;
    cy.sees("is it warm in here?").await;

    drop((busy, quiet));
    within(TURNS, "the hall to cool", async || (!is_hot(&server, "hall").await).then_some(())).await;
    assert_eq!(hot_rooms(&server).await, "0");
    assert!(server.log().contains("a hot room has cooled"), "{}", server.log());
}
