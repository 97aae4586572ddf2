//! A hot room is spread over partitions, and what is said in it stays whole.

use futures::future::join_all;
use serde_json::json;
use testkit::{Cluster, LoadUser, Server, within};

use super::{ALL, BROKERS};
use crate::BINARY;
use crate::heat::{TURNS, are_hot};

/// What a room's ranking counted, of everybody.
async fn counted(node: &Server, room: &str) -> u64 {
    let ranking = node.user("dee").get(&format!("rooms/{room}/ranking?limit=10000")).await.expect(200);
    let scores = ranking["entries"].as_array().unwrap().iter().map(|entry| entry["score"].as_u64().unwrap());
    scores.sum()
}

async fn kept(node: &Server, room: &str) -> u64 {
    let sessions = node.user("dee").get(&format!("rooms/{room}/sessions")).await.expect(200);
    sessions["sessions"][0]["comment_count"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_becomes_hot_and_cools_is_delivered_counted_and_kept_whole() {
    let _brokers = BROKERS.read().await;
    let warm = [("BARRAGE__ROOMS__HOT_PER_S", "30")];
    let Some(nodes) = Cluster::kafka_with(BINARY, &[ALL, ALL], &warm).await else { return };
    let (here, there) = (&nodes[0], &nodes[1]);
    let chatter = [LoadUser::start(here, "ann", "hall", 25), LoadUser::start(there, "bo", "hall", 25)];
    are_hot(&[here, there], true).await;

    let mut viewers = [here.viewer("cy", "hall").await, there.viewer("dee", "hall").await];
    let said = viewers[0].say("is it warm in here?").await;
    for viewer in &mut viewers {
        assert_eq!(viewer.sees("is it warm in here?").await["id"], json!(said));
    }
    let taken = 1 + join_all(chatter.map(LoadUser::end)).await.iter().sum::<u64>();
    are_hot(&[here, there], false).await;
    viewers[1].say("it was").await;

    for node in [here, there] {
        within(TURNS, "every comment to be kept", async || (kept(node, "hall").await == taken + 1).then_some(())).await;
        within(TURNS, "every comment to be counted", async || (counted(node, "hall").await == taken + 1).then_some(()))
            .await;
    }
}
