//! This node among those that live: where it is listed, and by which number.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bus::NodeNumber;
use bus::etcd::Etcd;
use bus::registry::{Away, Card, LEASE, Members, NoNumber, NodeLease, Registry};
use model::{Metrics, SnowflakeGenerator};
use redis_client::Redis;
use store::Store;
use store::mysql::MySqlStore;
use tokio::time::{Instant, sleep};

use super::settings::node_name;
use crate::config::Config;
use crate::logging;

/// How often it is looked who lives.
const LOOK: Duration = Duration::from_secs(3);
/// For how long a start asks again when the registry does not answer, and how soon.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(200));

/// What this node is listed as, and where.
pub(super) struct Listing {
    config: Config,
    registry: Registry,
    card: Card,
    /// Where it is listed, unless that is Redis.
    pub etcd: Option<Etcd>,
}

impl Listing {
    pub fn new(config: &Config, redis: &Redis, card: Card, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let (endpoints, namespace) = (&config.etcd.endpoints, &config.server.namespace);
        let etcd = match endpoints.as_str() {
            "" => None,
            endpoints => Some(Etcd::open(endpoints, namespace, metrics.clone()).context("etcd.endpoints")?),
        };
        let registry = etcd.clone().map_or(Registry::Redis(redis.clone()), Registry::Etcd);
        Ok(Self { config: config.clone(), registry, card, etcd })
    }

    /// A start's number. One that was given with an answer that came too late is not used, and runs out.
    pub async fn first(&self, token: u64) -> Result<NodeLease, NoNumber> {
        insist(async || self.take(token).await, |why| *why != NoNumber::AllHeld).await
    }

    /// A number that no other node has. A lease with the token of an earlier one would be taken for that.
    async fn take(&self, token: u64) -> Result<NodeLease, NoNumber> {
        NodeLease::take(self.registry.clone(), &self.card, token, LEASE).await
    }

    /// The nodes that live, from here on.
    pub async fn members(&self) -> Result<Members, Away> {
        insist(async || Members::watch(self.registry.clone(), LOOK).await, |_| true).await
    }

    /// Looks after the number; a new one is used only once ids are sure to go on after those of its last holder.
    pub async fn keep(
        self: Arc<Self>,
        number: Arc<NodeNumber<NodeLease>>,
        ids: Arc<SnowflakeGenerator>,
        store: Arc<MySqlStore>,
    ) {
        let take = || {
            let (this, ids, store) = (self.clone(), ids.clone(), store.clone());
            async move {
                let lease = this.take(rand::random()).await?;
                let (_, last_id) = store.high_water().await?;
                last_id.into_iter().for_each(|id| ids.go_on_after(id));
                logging::name_node(&node_name(&this.config, lease.number()));
                anyhow::Ok(lease)
            }
        };
        number.keep(take).await;
    }
}

/// Asks until there is an answer, or an error that is one: a busy machine's single late answer ends no start.
async fn insist<T, E>(ask: impl AsyncFn() -> Result<T, E>, is_late: impl Fn(&E) -> bool) -> Result<T, E> {
    let deadline = Instant::now() + AGAIN.0;
    loop {
        match ask().await {
            Err(error) if is_late(&error) && Instant::now() < deadline => sleep(AGAIN.1).await,
            answer => return answer,
        }
    }
}
