//! The role `worker`: delivers the log to the gateways, and counts rankings and hot comments.
//!
//! Every process has a worker for its own log: with a shared log that is the fallback's. The role adds a share of the shared
//! log.

use std::sync::Arc;

use ::worker::Worker;
use ::worker::leaderboards::Leaderboards;
use fanout::{Fanout, RoomPriority};
use hub::Hub;
use ingest::{Ingest, hot_rooms};
use log::Consumer;
use model::{Clock, Metrics, Role, SnowflakeGenerator};
use state::HeatRules;

use crate::backends::{Cluster, ClusterSubscriptions, SharedLog};
use crate::config::Config;
use crate::server::Core;

/// Makes workers that are alike but for their log and their fan-out.
pub struct WorkerFactory {
    leaderboards: Arc<Leaderboards>,
    clock: Arc<dyn Clock>,
    ids: Arc<SnowflakeGenerator>,
    priority: RoomPriority,
    metrics: Arc<Metrics>,
}

/// Opens the leaderboards and readies those of the sessions that are live.
pub async fn open_leaderboards(
    core: &Core<'_>,
    shared: Option<Arc<dyn state::Leaderboards>>,
) -> anyhow::Result<Arc<Leaderboards>> {
    let leaderboards = Arc::new(match shared {
        Some(shared) => Leaderboards::shared(core.store.clone(), shared),
        None => Leaderboards::new(core.store.clone()),
    });
    leaderboards.warm(core.clock.now_ms()).await?;
    Ok(leaderboards)
}

impl WorkerFactory {
    pub fn new(core: &Core<'_>, ingest: &Arc<Ingest>, leaderboards: Arc<Leaderboards>) -> Self {
        let priority = hot_rooms::priority(core.hot_rooms.clone(), ingest);
        let metrics = core.metrics.clone();
        Self { leaderboards, clock: core.clock.clone(), ids: core.ids.clone(), priority, metrics }
    }

    fn worker(&self, consumer: Box<dyn Consumer>, fanout: Arc<dyn Fanout>) -> Worker {
        Worker::new(consumer, fanout, self.leaderboards.clone(), self.clock.clone(), self.ids.clone())
            .with_priority(self.priority.clone())
            .with_metrics(self.metrics.clone())
    }

    /// The worker of this node's own log.
    pub fn own(&self, consumer: Box<dyn Consumer>, hub: &Arc<Hub>, cluster: Option<&Cluster>) -> Worker {
        let fanout: Arc<dyn Fanout> = match cluster {
            Some(cluster) => cluster.own_log_fanout(hub, self.priority.clone()),
            None => hub.clone(),
        };
        self.worker(consumer, fanout)
    }

    /// Delivers a share of the shared log, if this node has the role.
    pub fn start_shared(
        &self,
        core: &Core<'_>,
        log: &mut SharedLog,
        hub: &Arc<Hub>,
        cluster: &Cluster,
        subscriptions: &ClusterSubscriptions,
    ) -> anyhow::Result<()> {
        if !core.roles.has(Role::Worker) {
            return Ok(());
        }
        let fanout = log.exporting(cluster.shared_log_fanout(hub, subscriptions, self.priority.clone()));
        log.start_delivery(|consumer| self.worker(consumer, fanout))
    }
}

/// What makes a room hot, and over how many partitions it is then spread.
pub fn heat_rules(config: &Config) -> HeatRules {
    HeatRules { hot_per_s: config.rooms.hot_per_s, shards: config.kafka.hot_shards }
}
