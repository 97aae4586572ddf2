//! A room in which very much is said, on several nodes.

use std::time::Duration;

use serde_json::json;
use testkit::{Cluster, LoadUser, OwnServer, Server, service, within};

use crate::BINARY;
use crate::trouble::stands;

/// How long a room may take to heat up or to cool down.
pub const TURNS: Duration = Duration::from_secs(60);
/// From 40 comments a second on a room is hot.
const WARM: &str = "[rooms]\nhot_per_s = 40\n";

async fn is_hot(node: &Server) -> bool {
    let settings = node.admin().get("admin/rooms/hall").await;
    settings.body["hot"] == json!(true)
}

/// Waits until these nodes say so of the hall.
pub async fn are_hot(nodes: &[&Server], hot: bool) {
    for (n, node) in nodes.iter().enumerate() {
        within(TURNS, &format!("hot: {hot} on node {n}"), async || (is_hot(node).await == hot).then_some(())).await;
    }
}

async fn gathered(node: &Server) -> f64 {
    node.http().metric("barrage_gathered_runs_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_that_a_room_is_hot_by_what_is_said_on_all_of_them() {
    let Some(redis) = OwnServer::start("redis") else { return };
    let Some(mysql) = service("BARRAGE_TEST_MYSQL") else { return };
    let nodes = Cluster::start(BINARY, 3, &redis.address(), &mysql, WARM).await;
    let (here, there, idle) = (&nodes[0], &nodes[1], &nodes[2]);
    let mut cy = idle.viewer("cy", "hall").await;

    // Neither of them alone would be hot.
    let chatter = [LoadUser::start(here, "ann", "hall", 30), LoadUser::start(there, "bo", "hall", 30)];
    are_hot(&[here, there, idle], true).await;
    within(TURNS, "runs to go together", async || {
        (gathered(here).await > 0.0 && gathered(there).await > 0.0).then_some(())
    })
    .await;

    // Who speaks on one node is seen on the others.
    there.viewer("dee", "hall").await.say("is it warm in here?").await;
    cy.sees("is it warm in here?").await;
    drop(chatter);
    are_hot(&[here, there, idle], false).await;

    // Without Redis each goes by what is said on it.
    redis.kill();
    stands(here, "degraded").await;
    let _busy = LoadUser::start(here, "ann", "hall", 60);
    let _less = LoadUser::start(there, "bo", "hall", 20);
    are_hot(&[here], true).await;
    assert!(!is_hot(there).await && !is_hot(idle).await);

    // And when it is back, all of them know.
    redis.restart();
    are_hot(&[here, there, idle], true).await;
}
