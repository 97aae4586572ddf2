//! What fails, and what holds meanwhile.

mod clock;
mod disk;
mod failover;
mod partition;

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Cluster, OwnServer, Server, eventually, now_s, token, within};

use crate::{BINARY, cluster};

/// Longer than anything takes to be noticed, and to come right.
const LONG: Duration = Duration::from_secs(60);

/// Says how long it took until all was well again.
fn recovered(begun: Instant) {
    eprintln!("recovered in {:.1} s", begun.elapsed().as_secs_f64());
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "exp": now_s() + 86_400 }))
}

/// How a node says it stands.
async fn status(node: &Server) -> String {
    let ready = node.http().get("/readyz").await;
    ready.body["status"].as_str().unwrap_or_default().to_owned()
}

/// Waits until it says so.
pub async fn stands(node: &Server, wanted: &str) {
    within(LONG, wanted, async || (status(node).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_takes_nothing_along() {
    let Some(mut nodes) = cluster(2).await else { return };
    let said = nodes[0].viewer("ann", "hall").await.say("my last words").await;
    nodes[0].kill9().await;
    let page = nodes[1].user("bo").get("rooms/hall/comments").await.expect(200);
    assert_eq!(page["comments"][0]["id"], json!(said));
    nodes[1].viewer("cy", "hall").await.say("here we go on").await;
    nodes[0].restart().await;
    let replay = nodes[0].user("bo").get("rooms/hall/replay").await.expect(200);
    assert_eq!(replay["comments"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_that_could_not_be_told_puts_out_whoever_is_there_when_it_is_known() {
    let Some(redis) = OwnServer::start("redis") else { return };
    let Some(nodes) = Cluster::redis_over(&redis, BINARY, 2).await else { return };
    let mut ann = nodes[1].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    stands(&nodes[1], "ready").await;

    redis.kill();
    stands(&nodes[1], "degraded").await;
    let everywhere = json!({ "user_id": "ann", "duration_s": 600, "kind": "ban", "reason": "spam" });
    nodes[0].admin().post("admin/bans", everywhere).await.is(201);
    let here = json!({ "user_id": "bo", "room_id": "hall", "duration_s": 600, "kind": "ban" });
    nodes[0].admin().post("admin/bans", here).await.is(201);
    redis.restart();
    assert_eq!(ann.wait_close_within(LONG).await.0, 4003);
    assert_eq!(bo.wait_for("room_left").await["room_id"], "hall");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_serves_its_own_and_afterwards_all_have_all() {
    let Some(redis) = OwnServer::start("redis") else { return };
    let Some(nodes) = Cluster::redis_over(&redis, BINARY, 2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    ann.say("before").await;
    bo.sees("before").await;
    stands(&nodes[0], "ready").await;

    redis.kill();
    stands(&nodes[0], "degraded").await;
    let mut cy = nodes[0].viewer("cy", "hall").await;
    cy.say("meanwhile").await;
    ann.sees("meanwhile").await;

    redis.restart();
    stands(&nodes[0], "ready").await;
    // What the other node did not hear is read from the store.
    bo.sees("meanwhile").await;
    let replay = nodes[1].user("bo").get("rooms/hall/replay").await.expect(200);
    assert_eq!(replay["comments"].as_array().unwrap().len(), 2, "each once: {replay}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mysql_comments_wait_on_the_node_s_disk_and_are_kept_afterwards() {
    let Some(mysql) = OwnServer::start("mysql") else { return };
    let Some(mut nodes) = Cluster::mysql_over(&mysql, BINARY, 2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    ann.say("before").await;
    bo.sees("before").await;

    mysql.kill();
    stands(&nodes[0], "degraded").await;
    let said = nodes[0].viewer("cy", "hall").await.say("meanwhile").await;
    bo.sees("meanwhile").await;
    // It survives its node as well.
    nodes[0].kill9().await;

    mysql.restart();
    nodes[0].restart().await;
    stands(&nodes[0], "ready").await;
    let replay = eventually("both comments in the replay", async || {
        let replay = nodes[1].user("bo").get("rooms/hall/replay").await.expect(200);
        (replay["comments"].as_array().unwrap().len() == 2).then_some(replay)
    })
    .await;
    assert_eq!(replay["comments"][1]["id"], json!(said));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mysql_a_room_that_nobody_has_open_on_the_node_is_entered_without_its_history() {
    let Some(mysql) = OwnServer::start("mysql") else { return };
    let Some(nodes) = Cluster::mysql_over(&mysql, BINARY, 2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let before = ann.say("before").await;
    nodes[0].admin().put("admin/rooms/cellar", json!({ "private": true })).await.is(200);
    stands(&nodes[1], "ready").await;

    mysql.kill();
    stands(&nodes[1], "degraded").await;
    let mut bo = nodes[1].connect(&format!("token={}", token_of("bo"))).await;
    let join = |room: &str| json!({ "type": "join_room", "room_id": room });
    let joined = bo.ask(join("hall")).await;
    assert_eq!((&joined["type"], &joined["history"]), (&json!("room_joined"), &json!([])), "{joined}");
    bo.refused(join("cellar"), "unavailable").await;
    // Nobody could say what they missed.
    bo.refused(json!({ "type": "join_room", "room_id": "attic", "since_id": before }), "unavailable").await;
    nodes[1].user("bo").get("rooms/attic/comments").await.fails(503, "unavailable");
    nodes[0].user("carl").say("hall", "meanwhile").await;
    bo.sees("meanwhile").await;

    mysql.restart();
    let begun = Instant::now();
    let history = eventually("its history", async || {
        let joined = bo.ask(join("hall")).await;
        (joined["history"].as_array()?.len() == 2).then(|| joined["history"].clone())
    })
    .await;
    recovered(begun);
    assert_eq!((&history[0]["id"], &history[1]["content"]), (&json!(before), &json!("meanwhile")));
    bo.refused(join("cellar"), "forbidden").await;
}
