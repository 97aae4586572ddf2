//! Nodes with some of the roles each.

use serde_json::{Value, json};
use testkit::eventually;
use tokio::time::Instant;

use super::alike::replay;
use super::talk::Talk;
use super::{Nodes, nodes};
use crate::trouble::stands;

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_part_and_batches_go_only_to_gateways_with_a_viewer() {
    let roles = ["gateway,api", "gateway", "ingest", "worker", "persist"];
    let Some(Nodes { nodes, .. }) = &nodes(&roles).await else { return };
    let worker = &nodes[3];
    // What a node is not for it does not do.
    assert_eq!(nodes[1].user("ann").get("rooms/hall").await.status, 404);
    for node in &nodes.nodes[2..] {
        let refused = testkit::Viewer::open(node.address(), "room_id=hall", &[]).await.err().unwrap();
        assert_eq!(refused.status, 421, "sockets are another node's");
    }

    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    for node in &nodes.nodes {
        stands(node, "ready").await;
    }
    ann.say("hello").await;
    bo.sees("hello").await;
    bo.say("hi ann").await;
    ann.sees("hi ann").await;
    replay(&nodes[0], "hall", 2).await;

    // The ranking follows the comments, at most twice a second. Once both viewers have it, nothing more is pushed.
    for viewer in [&mut ann, &mut bo] {
        let of_both = |event: &Value| {
            event["kind"] == "ranking" && event["entries"].as_array().is_some_and(|entries| entries.len() == 2)
        };
        viewer.expect("the ranking of both", of_both).await;
    }

    // Nobody holds this room, so nobody is pushed to.
    let metrics = worker.http();
    let pushed = metrics.metric("barrage_pushed_batches_total").await;
    let lost = metrics.metric("barrage_fanout_lost_total").await;
    assert!(pushed >= 4.0, "both gateways were pushed to: {pushed}");
    nodes[0].user("cy").post("rooms/empty/comments", json!({ "content": "anybody?" })).await.is(201);
    let ranked = async || {
        let ranking = nodes[0].user("cy").get("rooms/empty/ranking").await.expect(200);
        (ranking["entries"] != json!([])).then_some(())
    };
    eventually("the worker to have seen it", ranked).await;
    assert_eq!(metrics.metric("barrage_fanout_lost_total").await, lost);
    assert_eq!(metrics.metric("barrage_pushed_batches_total").await, pushed, "nobody holds the room");

    // What is decided on the API holds on the ingest node, and on the gateways.
    nodes[0].admin().put("admin/words", json!({ "mask": [], "review": [], "block": ["pear"] })).await.is(200);
    // Somebody else each time: whoever repeats it soon may not speak at all.
    let mut tried = 0;
    eventually("the list on the ingest node", async || {
        tried += 1;
        let reply = nodes[0].user(&format!("dee-{tried}")).comment("side", "a pear").await;
        (reply.status == 422).then_some(())
    })
    .await;
    nodes[0].admin().post("admin/rooms/hall/announcements", json!({ "content": "be kind" })).await.is(201);
    for viewer in [&mut ann, &mut bo] {
        viewer.event("announcement").await;
    }

    // A deletion reaches the store wherever its comment is by then.
    let said = nodes[0].user("eve").post("rooms/hall/comments", json!({ "content": "regrettable" })).await.expect(201);
    bo.sees("regrettable").await;
    let id = said["id"].as_str().unwrap();
    eventually("the deletion", async || {
        let reply = nodes[0].admin().delete(&format!("admin/comments/{id}")).await;
        (reply.status == 204).then_some(())
    })
    .await;
    assert_eq!(bo.event("comment_deleted").await["comment_ids"], json!([id]));
    nodes[0].user("fay").post("rooms/hall/comments", json!({ "content": "afterwards" })).await.is(201);
    eventually("the later comment without the deleted one", async || {
        let kept = replay(&nodes[0], "hall", 3).await;
        let contents: Vec<_> = kept.as_array().unwrap().iter().filter_map(|kept| kept["content"].as_str()).collect();
        (contents == ["hello", "hi ann", "afterwards"]).then_some(())
    })
    .await;
    nodes[0].admin().post("admin/rooms/hall/close", Value::Null).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_persister_that_are_killed_take_nothing_along() {
    let roles = ["gateway,ingest,api", "gateway,ingest,api", "worker", "worker", "persist", "persist"];
    let Some(Nodes { mut nodes, .. }) = nodes(&roles).await else { return };
    let talk = Talk::begin(&[&nodes[0], &nodes[1]]).await;
    for worker in [2, 3] {
        let reads = async || nodes[worker].http().get("/metrics").await.text.contains("kafka_lag_records{");
        eventually("each worker to have a share", async || reads().await.then_some(())).await;
    }

    let killed = Instant::now();
    nodes[2].kill9().await;
    talk.is_heard().await;
    eprintln!("FIGURE a worker killed: every room is delivered again after {:.1} s", killed.elapsed().as_secs_f64());
    nodes[4].kill9().await;
    nodes[2].restart().await;
    talk.is_heard().await;
    let begun = Instant::now();
    let ended = nodes[3].terminate().await;
    assert!(ended.status.success(), "{ended:?}");
    talk.is_heard().await;
    eprintln!("FIGURE a worker ended by SIGTERM: every room is delivered after {:.1} s", begun.elapsed().as_secs_f64());

    for order in talk.end(&nodes[0]).await {
        assert!(order.is_sorted(), "a room keeps its order: {order:?}");
    }
}
