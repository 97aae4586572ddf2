//! Nodes that all have all roles.

use serde_json::{Value, json};
use testkit::{Cluster, Server, eventually, service};

use super::talk::Talk;
use super::{ALL, BROKERS, Nodes, nodes};
use crate::BINARY;
use crate::rolling::restarted_one_by_one;

fn contents(comments: &Value) -> Vec<&str> {
    comments.as_array().unwrap().iter().map(|comment| comment["content"].as_str().unwrap()).collect()
}

/// The replay, once it has so many comments: the store has them a moment after they are acknowledged.
pub async fn replay(node: &Server, room: &str, comments: usize) -> Value {
    eventually("what was said in the replay", async || {
        let replay = node.user("dee").get(&format!("rooms/{room}/replay")).await.expect(200);
        (replay["comments"].as_array().unwrap().len() >= comments).then_some(replay["comments"].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_reaches_the_viewers_on_all_nodes_and_is_kept_once() {
    let Some(Nodes { nodes, .. }) = &nodes(&[ALL, ALL]).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    let hello = ann.say("hello").await;
    for viewer in [&mut ann, &mut bo] {
        assert_eq!(viewer.sees("hello").await["id"], json!(hello));
    }
    bo.say("hi ann").await;
    for viewer in [&mut ann, &mut bo] {
        viewer.sees("hi ann").await;
    }
    for node in &nodes.nodes {
        assert_eq!(contents(&replay(node, "hall", 2).await), ["hello", "hi ann"]);
        let ready = node.http().get("/readyz").await.expect(200);
        assert_eq!((&ready["shape"], &ready["status"]), (&json!("kafka"), &json!("ready")), "{ready}");
    }

    // A retry elsewhere gets the first answer.
    let comment = json!({ "content": "once", "client_msg_id": "c-1" });
    let first = nodes[0].user("cy").post("rooms/hall/comments", comment.clone()).await.expect(201);
    let again = nodes[1].user("cy").post("rooms/hall/comments", comment).await.expect(201);
    assert_eq!(first, again);
    assert_eq!(contents(&replay(&nodes[0], "hall", 3).await), ["hello", "hi ann", "once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_this_moment_can_be_liked_and_deleted_on_any_node() {
    let Some(Nodes { nodes, .. }) = &nodes(&[ALL, ALL]).await else { return };
    for n in 0..20 {
        let said = nodes[0].user(&format!("ann{n}")).say("hall", &format!("hello {n}")).await;
        let liked = nodes[1].user("bo").post(&format!("comments/{said}/like"), Value::Null).await.expect(200);
        assert_eq!(liked["like_count"], 1, "{n}");
        let said = nodes[0].user(&format!("cy{n}")).say("hall", &format!("oops {n}")).await;
        nodes[1].admin().delete(&format!("admin/comments/{said}")).await.is(204);
    }
    // What nobody ever said is not there, however young its id.
    let young = nodes[0].user("dee").say("hall", "the last").await.parse::<u64>().unwrap() + (1 << 30);
    nodes[1].user("bo").post(&format!("comments/{young}/like"), Value::Null).await.fails(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_move_from_logs_of_their_own_to_one_on_kafka_one_by_one() {
    const NO_KAFKA: &[(&str, &str)] = &[("BARRAGE__KAFKA__BROKERS", "")];
    let _brokers = BROKERS.read().await;
    let Some(brokers) = service("BARRAGE_TEST_KAFKA") else { return };
    let Some(mut nodes) = Cluster::kafka_with(BINARY, &[ALL], NO_KAFKA).await else { return };
    nodes.join_with(ALL, &[("BARRAGE__KAFKA__BROKERS", &*brokers)]).await;
    for (node, shape) in [(0, "redis"), (1, "kafka")] {
        assert_eq!(nodes[node].http().get("/readyz").await.expect(200)["shape"], shape);
    }
    let talk = Talk::begin(&[&nodes[0], &nodes[1]]).await;
    talk.is_heard().await;
    talk.end(&nodes[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_shows_nothing_twice() {
    let Some(Nodes { nodes, _brokers }) = nodes(&[ALL, ALL, ALL]).await else { return };
    restarted_one_by_one(nodes).await;
}
