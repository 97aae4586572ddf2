//! Nodes with one log on Kafka: three real brokers, which some of these tests kill.

mod alike;
mod heat;
mod outside;
mod roles;
mod talk;
mod trouble;

use testkit::Cluster;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::BINARY;

const ALL: &str = "gateway,ingest,worker,persist,api";

/// All tests use the same brokers: whoever kills some has them alone.
pub static BROKERS: RwLock<()> = RwLock::const_new(());

/// Nodes with these roles, and brokers that nobody kills meanwhile.
struct Nodes {
    nodes: Cluster,
    _brokers: RwLockReadGuard<'static, ()>,
}

async fn nodes(roles: &[&str]) -> Option<Nodes> {
    let brokers = BROKERS.read().await;
    Some(Nodes { nodes: Cluster::kafka(BINARY, roles).await?, _brokers: brokers })
}
