//! Every node is restarted in turn while people talk: what was acknowledged is kept once and seen by all.

use std::time::Duration;

use testkit::Cluster;

use crate::cluster;
use crate::crowd::{By, Crowd, keeps};
use crate::trouble::stands;

const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_shows_nothing_twice() {
    let Some(nodes) = cluster(NODES).await else { return };
    restarted_one_by_one(nodes).await;
}

/// Restarts each node while people talk, and holds against each other what was acknowledged, shown and kept.
pub async fn restarted_one_by_one(mut nodes: Cluster) {
    let mut crowd = Crowd::new(&nodes, true);
    (0..6).for_each(|n| crowd.watches(n));
    for n in 0..2 {
        crowd.talks(n, By::Http);
        crowd.talks(n, By::Socket);
    }
    for node in 0..nodes.nodes.len() {
        crowd.all_watch().await;
        let ended = nodes[node].terminate().await;
        assert!(ended.status.success() && ended.took < Duration::from_secs(10), "{ended:?}");
        nodes[node].restart().await;
        crowd.moved(node, &nodes[node]);
        stands(&nodes[node], "ready").await;
    }
    let said = crowd.leaves().await;
    keeps(&nodes[0], &said).await;
}
