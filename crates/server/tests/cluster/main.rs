//! Several nodes of one deployment: each a process of the real binary, over real Redis and MySQL.
//!
//! A test without those servers says so and passes; `scripts/test` starts them.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

mod chat;
#[path = "../e2e/collector.rs"]
mod collector;
mod crowd;
mod devices;
mod doors;
mod freeze;
mod heat;
mod kafka;
mod live;
mod moderation;
mod nginx;
mod node_tls;
mod rolling;
mod tls;
mod traces;
mod trouble;
mod upgrade;

use testkit::Cluster;

const BINARY: &str = env!("CARGO_BIN_EXE_barrage");

async fn cluster(nodes: usize) -> Option<Cluster> {
    Cluster::redis(BINARY, nodes).await
}
