//! What nodes lean on fails while people talk.

use std::time::Duration;

use testkit::{Cluster, OwnServer, Server, eventually, kill_kafka_brokers, service};
use tokio::time::{Instant, sleep};

use super::talk::Talk;
use super::{ALL, BROKERS};
use crate::BINARY;
use crate::trouble::stands;

#[tokio::test(flavor = "multi_thread")]
async fn without_mysql_and_without_redis_rooms_go_on() {
    let _brokers = BROKERS.read().await;
    let (Some(redis), Some(mysql)) = (OwnServer::start("redis"), OwnServer::start("mysql")) else { return };
    let roles = ["gateway,ingest,api", "gateway,ingest,api", "worker,persist"];
    let Some(nodes) = Cluster::kafka_over(&redis.address(), &mysql.address(), BINARY, &roles, &[]).await else {
        return;
    };
    let talk = Talk::begin(&[&nodes[0], &nodes[1]]).await;

    mysql.kill();
    stands(&nodes[0], "degraded").await;
    eprintln!("FIGURE MySQL killed: rooms are delivered after {:.1} s", talk.is_heard().await.as_secs_f64());
    mysql.restart();
    stands(&nodes[0], "ready").await;

    redis.kill();
    stands(&nodes[0], "degraded").await;
    eprintln!("FIGURE Redis killed: rooms are delivered after {:.1} s", talk.is_heard().await.as_secs_f64());
    redis.restart();
    stands(&nodes[0], "ready").await;
    talk.is_heard().await;
    talk.end(&nodes[0]).await;
}

async fn redis_is_away(node: &Server) -> bool {
    node.http().get("/readyz").await.body["dependencies"]["redis"]["state"] == "away"
}

/// What waits in a node's spool.
async fn spooled(node: &Server) -> u64 {
    let ready = node.http().get("/readyz").await;
    ready.body["dependencies"]["spool"]["records"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_broker_and_without_kafka_nothing_is_lost_or_shown_twice() {
    let _alone = BROKERS.write().await;
    let (Some(redis), Some(mysql)) = (OwnServer::start("redis"), service("BARRAGE_TEST_MYSQL")) else { return };
    let Some(nodes) = Cluster::kafka_over(&redis.address(), &mysql, BINARY, &[ALL, ALL], &[]).await else { return };
    let talk = Talk::begin(&[&nodes[0], &nodes[1]]).await;
    stands(&nodes[0], "ready").await;

    let gone = Instant::now();
    let first = kill_kafka_brokers(&[1]);
    talk.is_heard().await;
    eprintln!("FIGURE a broker killed: every room is delivered again after {:.1} s", gone.elapsed().as_secs_f64());

    let gone = Instant::now();
    let others = kill_kafka_brokers(&[2, 3]);
    talk.is_heard().await;
    eprintln!("FIGURE all brokers killed: every room is delivered again after {:.1} s", gone.elapsed().as_secs_f64());
    for node in &nodes.nodes {
        stands(node, "degraded").await;
        eventually("comments on the node's disk", async || (spooled(node).await > 0).then_some(())).await;
    }
    talk.is_heard().await;
    // Redis too, for a moment: what reaches no other node's viewers then is shown to them once it is kept.
    redis.hang();
    for node in &nodes.nodes {
        eventually("Redis to be away", async || redis_is_away(node).await.then_some(())).await;
    }
    redis.go_on();
    talk.is_heard().await;

    others.bring_back();
    first.bring_back();
    let back = Instant::now();
    for node in &nodes.nodes {
        while spooled(node).await > 0 {
            assert!(back.elapsed() < Duration::from_secs(45), "the spool is not handed over");
            sleep(Duration::from_millis(50)).await;
        }
    }
    eprintln!("FIGURE Kafka back: the spools are empty after {:.1} s", back.elapsed().as_secs_f64());
    talk.is_heard().await;
    talk.end(&nodes[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_for_a_while_nothing_changes() {
    let _brokers = BROKERS.read().await;
    let Some(etcd) = OwnServer::start("etcd") else { return };
    let env = [("BARRAGE__ETCD__ENDPOINTS", &*etcd.address())];
    let Some(nodes) = Cluster::kafka_with(BINARY, &["gateway,api", "ingest,worker,persist"], &env).await else {
        return;
    };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    stands(&nodes[0], "ready").await;
    ann.say("before").await;
    etcd.kill();
    stands(&nodes[0], "degraded").await;
    ann.say("meanwhile").await;
    ann.sees("meanwhile").await;
    etcd.restart();
    stands(&nodes[0], "ready").await;
    ann.say("afterwards").await;
    ann.sees("afterwards").await;
}
