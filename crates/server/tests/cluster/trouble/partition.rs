//! A node that reaches neither Redis nor MySQL, while its viewers reach it.

use std::time::Instant;

use testkit::{Cluster, NetworkNamespace, eventually, service};

use super::{recovered, stands};
use crate::BINARY;
use crate::crowd::{By, Crowd, keeps};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_serves_its_own_and_afterwards_all_have_all() {
    let (Some(redis), Some(mysql)) = (service("BARRAGE_TEST_REDIS"), service("BARRAGE_TEST_MYSQL")) else { return };
    let Some(mut apart) = NetworkNamespace::new() else { return };
    let mut nodes = Cluster::start(BINARY, 1, &redis, &mysql, "").await;
    let (redis, mysql) = (apart.reaches(&redis).await, apart.reaches(&nodes.mysql).await);
    let network = |options| apart.holds(options).env("BARRAGE__REDIS__URL", &redis).env("BARRAGE__STORE__URL", &mysql);
    nodes.join_as(network).await;

    let mut crowd = Crowd::new(&nodes, false);
    for node in 0..2 {
        crowd.watches(node);
        crowd.watches(node);
        crowd.talks(node, By::Http);
        crowd.talks(node, By::HttpOnce);
        crowd.talks(node, By::Socket);
    }
    crowd.all_watch().await;
    crowd.goes_on(20).await;
    let (near, cut_off) = (&nodes[0], &nodes[1]);
    let (mut ann, mut bo) = (cut_off.viewer("ann", "attic").await, near.viewer("bo", "attic").await);
    ann.say("here I am").await;
    bo.sees("here I am").await;

    apart.cut();
    let begun = Instant::now();
    stands(cut_off, "degraded").await;
    for dependency in ["redis", "mysql"] {
        let up = format!("barrage_dependency_up{{name=\"{dependency}\"}}");
        eventually("the metric", async || (cut_off.http().metric(&up).await == 0.0).then_some(())).await;
        assert_eq!(near.http().metric(&up).await, 1.0, "{dependency}");
    }
    eprintln!("said to be degraded after {:.1} s", begun.elapsed().as_secs_f64());
    ann.say("is anybody there?").await;
    ann.sees("is anybody there?").await;
    crowd.goes_on(60).await;

    apart.heal();
    let begun = Instant::now();
    stands(cut_off, "ready").await;
    bo.sees("is anybody there?").await;
    recovered(begun);
    crowd.goes_on(20).await;
    let said = crowd.leaves().await;
    keeps(near, &said).await;
    keeps(cut_off, &said).await;
}
