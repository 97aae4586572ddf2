//! Redis: the connection of a node, and the clock that all nodes share.
//!
//! Cursors follow positions that are made of time, on whatever node. A node whose own clock is wrong would put its comments
//! where nobody looks any more, or make others skip theirs; so every node uses Redis's clock.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use model::{Clock, Metrics, SystemClock};
use redis_client::{Redis, RedisAddress};
use tokio::time::sleep;

use super::authorities;
use crate::config;

/// How long a start waits for Redis.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How often this machine's own clock is compared.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// An own clock that is off by more is wrong.
const OFF_MS_MAX: u64 = 1_000;

/// A connection, and where it leads: subscribers make connections of their own.
pub(super) struct RedisBackend {
    pub address: RedisAddress,
    pub client: Redis,
    /// Redis's clock.
    pub clock: Arc<dyn Clock>,
}

/// Connects, and waits until Redis answers.
pub(super) async fn open(
    settings: &config::Redis,
    namespace: &str,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<RedisBackend> {
    let address = address(settings)?;
    let client = Redis::open(&address, namespace, metrics.clone()).context("redis.url")?;
    client.ready(START_TIMEOUT).await.with_context(|| format!("no answer from {address}"))?;
    let clock = Arc::new(client.clock());
    tokio::spawn(compare_clocks(clock.clone(), metrics.clone()));
    Ok(RedisBackend { address, client, clock })
}

/// The address with the authorities that verify it, and what this node shows.
pub(super) fn address(settings: &config::Redis) -> anyhow::Result<RedisAddress> {
    let config::Redis { url, ca_file, certificate_file, key_file } = settings;
    let mut address: RedisAddress = url.parse().context("redis.url")?;
    if !ca_file.as_os_str().is_empty() {
        let pem = authorities::read(ca_file).context("redis.ca_file")?;
        address = address.trusting(pem).with_context(|| format!("redis.ca_file: {}", ca_file.display()))?;
    }
    if let Some((certificate, key)) = authorities::read_identity("redis", certificate_file, key_file)? {
        let shown = address.showing(certificate, key);
        address = shown.with_context(|| format!("redis.certificate_file: {}", certificate_file.display()))?;
    }
    Ok(address)
}

/// Logs when this machine's own clock goes wrong, and when it is right again.
async fn compare_clocks(shared: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    let mut was_off = false;
    loop {
        let off_ms = SystemClock.now_ms() - shared.now_ms();
        metrics.clock_off_ms.set(off_ms);
        let is_off = off_ms.unsigned_abs() > OFF_MS_MAX;
        match (is_off, was_off) {
            (true, false) => tracing::warn!(off_ms, "this machine's clock is wrong; that of Redis is used"),
            (false, true) => tracing::info!(off_ms, "this machine's clock is right again"),
            _ => {}
        }
        was_off = is_off;
        sleep(COMPARE_INTERVAL).await;
    }
}
