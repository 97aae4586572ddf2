//! This node's registration: its number, what it publishes about itself, and the other living nodes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use backon::{ConstantBuilder, Retryable};
use cluster::NodeNumber;
use cluster::etcd::Etcd;
use cluster::membership::{AcquireError, LEASE, Members, NodeInfo, NodeLease, NodeRegistry, RegistryUnavailable};
use cluster::tls::PeerTls;
use model::{Fence, Metrics, Snowflake, SnowflakeGenerator};
use redis_client::Redis;
use store::MaintenanceStore;
use store::mysql::MySqlStore;

use super::redis::RedisBackend;
use crate::config::Config;
use crate::server::node_name;

/// How often the living nodes are listed.
const LIST_INTERVAL: Duration = Duration::from_secs(3);
/// A start asks again when the registry does not answer: one late answer of a busy machine ends no start.
const START_RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(200)).with_max_times(25);

/// Who this node is among those that live.
pub(super) struct NodeIdentity {
    pub registration: Arc<NodeRegistration>,
    pub number: Arc<NodeNumber<NodeLease>>,
    /// The number at the start.
    pub first_number: u16,
    /// The name that people and brokers see.
    pub name: String,
    /// Tells this start of the process from every other one.
    pub token: u64,
    /// The name between nodes: no other start of a process ever has it.
    pub source: String,
    pub ids: Arc<SnowflakeGenerator>,
}

impl NodeIdentity {
    /// Registers the node, and keeps its number replaced when it is lost.
    pub async fn register(
        config: &Config,
        etcd_tls: Option<&Arc<PeerTls>>,
        info: NodeInfo,
        redis: &RedisBackend,
        store: &Arc<MySqlStore>,
        last_id: Option<Snowflake>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let token = rand::random();
        let registration = Arc::new(NodeRegistration::new(config, etcd_tls, &redis.client, info, metrics)?);
        let number = Arc::new(NodeNumber::new(registration.first_number(token).await?));
        let first_number = number.node().context("the node's number was lost at once")?;
        let name = node_name(config, first_number);
        let ids = Arc::new(SnowflakeGenerator::new(redis.clock.clone(), number.clone(), last_id));
        tokio::spawn(registration.clone().replace_lost_number(number.clone(), ids.clone(), store.clone()));
        let source = format!("{name}-{token:016x}");
        Ok(Self { registration, number, first_number, name, token, source, ids })
    }
}

/// What this node is registered as, and where.
pub(super) struct NodeRegistration {
    config: Config,
    registry: Arc<dyn NodeRegistry>,
    info: NodeInfo,
    /// The registry, where it is a service of its own.
    pub etcd: Option<Etcd>,
}

impl NodeRegistration {
    pub fn new(
        config: &Config,
        etcd_tls: Option<&Arc<PeerTls>>,
        redis: &Redis,
        info: NodeInfo,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let (registry, etcd) = open_registry(config, etcd_tls, redis, metrics)?;
        Ok(Self { config: config.clone(), registry, info, etcd })
    }

    /// The number of a start. One whose answer came too late is not used, and its lease expires.
    pub async fn first_number(&self, token: u64) -> Result<NodeLease, AcquireError> {
        (|| self.acquire(token)).retry(START_RETRY).when(|error| *error != AcquireError::Exhausted).await
    }

    /// Acquires a number that no other node has. `token` has to be new: one that was used before names the earlier lease.
    async fn acquire(&self, token: u64) -> Result<NodeLease, AcquireError> {
        NodeLease::acquire(&*self.registry, &self.info, token, LEASE).await
    }

    /// Follows the living nodes from here on.
    pub async fn members(&self) -> Result<Members, RegistryUnavailable> {
        (|| Members::watch(self.registry.clone(), LIST_INTERVAL)).retry(START_RETRY).await
    }

    /// Replaces the number when it is lost. Ids continue after those of the new number's last holder.
    pub async fn replace_lost_number(
        self: Arc<Self>,
        number: Arc<NodeNumber<NodeLease>>,
        ids: Arc<SnowflakeGenerator>,
        store: Arc<MySqlStore>,
    ) {
        let acquire = || {
            let (this, ids, store) = (self.clone(), ids.clone(), store.clone());
            async move {
                let lease = this.acquire(rand::random()).await?;
                let (_, last_id) = store.high_water().await?;
                last_id.into_iter().for_each(|id| ids.continue_after(id));
                model::stderr::name_node(&node_name(&this.config, lease.number()));
                anyhow::Ok(lease)
            }
        };
        number.replace_when_lost(acquire).await;
    }
}

/// Where nodes are registered: etcd where it is configured, which is returned too, otherwise Redis.
pub(super) fn open_registry(
    config: &Config,
    etcd_tls: Option<&Arc<PeerTls>>,
    redis: &Redis,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<dyn NodeRegistry>, Option<Etcd>)> {
    let (endpoints, namespace) = (&config.etcd.endpoints, &config.server.namespace);
    if endpoints.is_empty() {
        return Ok((Arc::new(redis.clone()), None));
    }
    let etcd = Etcd::open(endpoints, etcd_tls, namespace, metrics.clone()).context("etcd.endpoints")?;
    Ok((Arc::new(etcd.clone()), Some(etcd)))
}
