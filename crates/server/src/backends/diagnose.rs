//! Asks the configured backends what `barrage doctor` wants to know. Changes nothing in them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::Metrics;
use prometheus_client::registry::Registry;
use redis_client::Redis;

use super::cluster::etcd_tls;
use super::registration::open_registry;
use super::{kafka, redis};
use crate::commands::doctor::Check;
use crate::config::Config;
use crate::server::node_name;

/// A backend that has not answered by then is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The checks `redis`, `mysql` and `kafka`.
pub async fn diagnose(config: &Config) -> Vec<Check> {
    vec![redis_check(config).await, mysql_check(config).await, kafka_check(config).await]
}

/// The name and version of each living node of a deployment; nothing where there is one process.
pub async fn node_versions(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    if config.redis.url.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let address = redis::address(&config.redis)?;
    let client = Redis::open(&address, &config.server.namespace, metrics.clone())?;
    let etcd_tls = etcd_tls(config)?;
    let (registry, _) = open_registry(config, etcd_tls.as_ref(), &client, &metrics)?;
    let nodes = tokio::time::timeout(ANSWER_TIMEOUT, async {
        client.ready(ANSWER_TIMEOUT).await?;
        anyhow::Ok(registry.nodes().await?)
    });
    let mut nodes = nodes.await.context("no answer within 5 s")??;
    nodes.sort_unstable_by_key(|node| node.number);
    Ok(nodes.into_iter().map(|node| (node_name(config, node.number), node.info.version)).collect())
}

async fn redis_check(config: &Config) -> Check {
    const NAME: &str = "redis";
    if config.redis.url.is_empty() {
        return Check::skip(NAME, "redis.url is empty");
    }
    let away = |found: String| {
        Check::fail(
            NAME,
            found,
            "nodes share limits, presence and live batches over Redis",
            "start Redis, or mend redis.url",
        )
    };
    let address = match redis::address(&config.redis) {
        Ok(address) => address,
        Err(error) => return away(format!("{error:#}")),
    };
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let client = match Redis::open(&address, &config.server.namespace, metrics) {
        Ok(client) => client,
        Err(error) => return away(error.to_string()),
    };
    if client.ready(ANSWER_TIMEOUT).await.is_err() {
        return away(format!("no answer from {address}"));
    }
    match client.eviction_policy().await {
        Some(policy) if policy == "noeviction" => Check::ok(NAME, format!("{address} answers, evicts nothing")),
        Some(policy) => Check::warn(
            NAME,
            format!("{address} evicts: maxmemory-policy is {policy}"),
            "reservations and presence that Redis evicts are lost: comments may come twice, people look offline",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        ),
        None => Check::warn(
            NAME,
            format!("{address} answers, its maxmemory-policy cannot be read"),
            "a policy other than noeviction loses reservations and presence",
            "allow CONFIG GET to this user, or check maxmemory-policy by hand",
        ),
    }
}

async fn mysql_check(config: &Config) -> Check {
    const NAME: &str = "mysql";
    const WHY: &str = "comments, chat and moderation are stored there";
    if config.store.url.is_empty() {
        return Check::skip(NAME, "store.url is empty");
    }
    let facts = tokio::time::timeout(ANSWER_TIMEOUT, store::mysql::facts(&config.store.url)).await;
    let facts = match facts {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => return Check::fail(NAME, error.to_string(), WHY, "mend store.url, or the user's rights"),
        Err(_) => return Check::fail(NAME, "no answer within 5 s", WHY, "start the database, or mend store.url"),
    };
    let found = format!(
        "{}, isolation {}, {} connections, packets up to {} MiB",
        facts.version,
        facts.isolation,
        facts.connections_max,
        facts.packet_bytes_max / 1_048_576
    );
    if facts.packet_bytes_max < 16 * 1_048_576 {
        let why = "a large batch of comments may not fit into one packet";
        return Check::warn(NAME, found, why, "SET GLOBAL max_allowed_packet = 67108864");
    }
    if facts.connections_max < 100 {
        let why = "each node uses up to 16 connections";
        return Check::warn(NAME, found, why, "SET GLOBAL max_connections = 500");
    }
    Check::ok(NAME, found)
}

async fn kafka_check(config: &Config) -> Check {
    const NAME: &str = "kafka";
    if config.kafka.brokers.is_empty() {
        return Check::skip(NAME, "kafka.brokers is empty");
    }
    let settings = kafka::settings(config, "doctor");
    let inspected = tokio::time::timeout(ANSWER_TIMEOUT * 3, log::kafka::inspect(&settings)).await;
    match inspected {
        Ok(Ok(None)) => Check::ok(NAME, "the brokers answer; the first node creates the topics"),
        Ok(Ok(Some(topic))) => {
            let found = format!(
                "{} partitions, {} replicas, min.insync.replicas {}",
                topic.partitions, topic.replicas, topic.min_insync
            );
            let why =
                "an acknowledged comment must survive the loss of a broker, and one broker away must not stop the log";
            if topic.replicas < u64::from(settings.kafka.replication)
                || topic.min_insync < u64::from(settings.kafka.min_insync)
            {
                return Check::fail(NAME, found, why, "raise the topic's replicas and min.insync.replicas");
            }
            if topic.min_insync >= topic.replicas && topic.replicas > 1 {
                return Check::warn(NAME, found, why, "set min.insync.replicas below the number of replicas");
            }
            Check::ok(NAME, found)
        }
        Ok(Err(error)) => Check::fail(NAME, error.to_string(), "every comment goes through it", "mend kafka.brokers"),
        Err(_) => Check::fail(NAME, "no answer within 15 s", "every comment goes through it", "start the brokers"),
    }
}
