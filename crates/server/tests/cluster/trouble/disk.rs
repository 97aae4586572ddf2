//! MySQL is away, and the disk that comments wait on becomes full.

use std::time::Instant;

use serde_json::json;
use testkit::{Cluster, OwnServer, Reply, Server, SmallDisk, eventually, within};

use super::{LONG, recovered, stands};
use crate::BINARY;
use crate::crowd::{Ids, id, keeps};

async fn post(node: &Server, number: usize) -> Reply {
    let text = format!("comment {number}");
    node.user("talker").post("rooms/hall/comments", json!({ "content": text, "client_msg_id": text })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_comments_loses_none_and_keeps_its_viewers() {
    let Some(mysql) = OwnServer::start("mysql") else { return };
    let Some(mut nodes) = Cluster::mysql_over(&mysql, BINARY, 1).await else { return };
    nodes.join_as(|node| node.env("BARRAGE__LIMITS__NORMAL_PER_S", "10000")).await;
    nodes[1].terminate().await;
    let Some(disk) = SmallDisk::over(&nodes[1].dir().join("data")) else { return };
    nodes[1].restart().await;
    let node = &nodes[1];
    let mut here = node.viewer("ann", "hall").await;
    let mut elsewhere = nodes[0].viewer("bo", "hall").await;
    let mut said = Ids::from([id(&post(node, 0).await.expect(201))]);
    elsewhere.sees("comment 0").await;

    mysql.kill();
    stands(node, "degraded").await;
    disk.fill();
    // What SQLite has set aside already may still take a few.
    let refused = loop {
        let answer = post(node, said.len()).await;
        if answer.status != 201 {
            let error = answer.fails(503, "unavailable");
            assert!(error["retry_after_ms"].is_u64(), "{error}");
            break said.len();
        }
        said.insert(id(&answer.body));
        assert!(said.len() < 5_000, "a full disk takes everything");
    };
    post(node, refused).await.fails(503, "unavailable");
    let ready = node.http().get("/readyz").await;
    assert_eq!((ready.status, &ready.body["dependencies"]["disk"]["state"]), (200, &json!("away")), "{}", ready.text);
    assert!(node.http().metric("barrage_spool_errors_total").await > 0.0);
    assert_eq!(node.log().matches("disk does not take").count(), 1, "told once");
    // The other node's disk has room, and its comments reach the viewers of this one.
    said.insert(id(&post(&nodes[0], 10_000).await.expect(201)));
    for viewer in [&mut here, &mut elsewhere] {
        viewer.sees("comment 10000").await;
        viewer.settled().await;
        assert!(!viewer.contents().contains(&format!("comment {refused}").as_str()), "refused, and yet shown");
    }

    mysql.restart();
    let begun = Instant::now();
    // The disk is full still, and is not needed any more.
    let taken = within(LONG, "comments to be taken", async || {
        let answer = post(node, refused).await;
        (answer.status == 201).then_some(answer.body)
    })
    .await;
    said.insert(id(&taken));
    elsewhere.sees(&format!("comment {refused}")).await;
    recovered(begun);
    keeps(&nodes[0], &said).await;
    disk.free();
    stands(node, "ready").await;
    keeps(node, &said).await;
    eventually("an empty spool", async || (node.http().metric("barrage_spool_records").await == 0.0).then_some(()))
        .await;
}
