//! The death of a Redis master, which Sentinel or the Cluster itself replaces.

use std::time::Instant;

use testkit::{Cluster, kill_a_redis_master, service, within};

use super::{LONG, recovered, stands};
use crate::BINARY;
use crate::crowd::{By, Crowd, keeps};

/// In a node's log, of all that a master's death lets fail: a line or two a cause. The clients write thousands.
const COMPLAINTS_MAX: usize = 60;

async fn a_redis_master_may_die(name: &'static str, address: &str) {
    let (Some(redis), Some(mysql)) = (service(address), service("BARRAGE_TEST_MYSQL")) else { return };
    let nodes = Cluster::start(BINARY, 2, &redis, &mysql, "").await;
    let mut crowd = Crowd::new(&nodes, false);
    for node in 0..2 {
        crowd.watches(node);
        crowd.talks(node, By::Http);
        crowd.talks(node, By::Socket);
    }
    let (mut ann, mut bo) =
        (nodes[0].viewer_of_level("ann", "owner", "attic").await, nodes[1].viewer("bo", "attic").await);
    ann.say("before").await;
    bo.sees("before").await;
    crowd.goes_on(10).await;

    let killed = kill_a_redis_master(name);
    let begun = Instant::now();
    let mut number = 0;
    within(LONG, "a comment to cross", async || {
        number += 1;
        // Too fast for a person, which is no matter here.
        ann.comment(&format!("{number}")).await;
        bo.settled().await;
        bo.given.iter().any(|comment| comment["content"] != "before").then_some(())
    })
    .await;
    eprintln!("{name}: comments crossed after {:.1} s", begun.elapsed().as_secs_f64());
    for node in &nodes.nodes {
        stands(node, "ready").await;
    }
    recovered(begun);
    crowd.goes_on(20).await;
    killed.bring_back();
    let said = crowd.leaves().await;
    keeps(&nodes[0], &said).await;
    for node in &nodes.nodes {
        let log = node.log();
        let complaints =
            log.lines().filter(|line| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#));
        let complaints = complaints.count();
        eprintln!("{name}: {complaints} complaints in a node's log");
        assert!((1..=COMPLAINTS_MAX).contains(&complaints), "{complaints} complaints of a master's death:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_behind_sentinel_may_die() {
    a_redis_master_may_die("sentinel", "BARRAGE_TEST_REDIS_SENTINEL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_a_redis_cluster_may_die() {
    a_redis_master_may_die("cluster", "BARRAGE_TEST_REDIS_CLUSTER").await;
}
