//! The log on Kafka: opened, read by the roles that read it, and left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bus::Fanout;
use bus::kafka::{
    Fallback, Group, Health, KafkaConsumer, KafkaLog, KafkaSettings, Left, Outside, Telling, Watch, prepare,
};
use bus::local::LocalConsumer;
use bus::persist::persist;
use bus::spool::Spool;
use bus::stamp::Stamps;
use model::Metrics;
use room::worker::Worker;
use state::Heat;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::journal::StoreJournal;
use crate::config::Config;

/// How long an append may take; then the comment goes to this node's disk.
const APPEND_MS_MAX: u32 = 5_000;
/// When the node ends: for what is on its way to the brokers, and for leaving the groups.
const FLUSH: Duration = Duration::from_secs(1);
const LEAVE: Duration = Duration::from_secs(2);
/// [`Kafka::leave`] takes no longer.
pub const LEAVES_WITHIN: Duration = FLUSH.saturating_add(LEAVE);

/// The log on Kafka.
pub struct Kafka {
    settings: KafkaSettings,
    log: Arc<KafkaLog>,
    watch: Arc<Watch>,
    /// Programs that are not ours.
    pub(super) outside: Arc<Outside>,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
    /// What reads it here.
    reading: Vec<(JoinHandle<()>, Left)>,
}

impl Kafka {
    /// Opens the log, whose topics are made when they are missing.
    pub(super) async fn open(
        config: &Config,
        name: &str,
        stamps: Arc<Stamps>,
        heat: &Arc<Heat>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let settings = settings(config, name);
        prepare(&settings).await.context("kafka.brokers")?;
        let watch = Arc::new(Watch::start(&settings, metrics.clone())?);
        let shard = ingest::heat::shard(heat.clone());
        let log = KafkaLog::open(settings.clone(), stamps, shard, watch.clone(), metrics.clone())?;
        let outside = Arc::new(Outside::open(settings.clone(), metrics.clone())?);
        let (closing, reading) = (CancellationToken::new(), Vec::new());
        Ok(Self { settings, log: Arc::new(log), watch, outside, metrics: metrics.clone(), closing, reading })
    }

    /// What is appended to, and what it delivers from here while Kafka is away.
    pub(super) fn or_here(&self, spool: Spool, stamps: Arc<Stamps>) -> (Fallback, LocalConsumer) {
        Fallback::open(self.log.clone(), spool, stamps, self.metrics.clone())
    }

    /// Whether every room's records are taken.
    pub(super) fn is_well(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let watch = self.watch.clone();
        move || watch.health() == Health::Well
    }

    /// The way to viewers by which programs that are not ours are told, too.
    pub(super) fn telling(&self, next: Arc<dyn Fanout>) -> Arc<dyn Fanout> {
        Arc::new(Telling { outside: self.outside.clone(), next })
    }

    /// The role `worker`: a share of the rooms is delivered from here.
    pub(super) fn deliver(&mut self, worker: impl FnOnce(KafkaConsumer) -> Worker) -> anyhow::Result<()> {
        let (consumer, left) = self.join(Group::Delivery)?;
        self.reading.push((tokio::spawn(worker(consumer).run()), left));
        Ok(())
    }

    /// The role `persist`: a share of the rooms is kept from here.
    pub(super) fn keep(&mut self, journal: StoreJournal) -> anyhow::Result<()> {
        let (consumer, left) = self.join(Group::Persist)?;
        let keeping = persist(Box::new(consumer), Arc::new(journal), self.closing.clone(), self.metrics.clone());
        self.reading.push((tokio::spawn(keeping), left));
        Ok(())
    }

    fn join(&self, group: Group) -> anyhow::Result<(KafkaConsumer, Left)> {
        Ok(KafkaConsumer::open(&self.settings, group, self.closing.clone(), self.metrics.clone())?)
    }

    /// Gives what is on its way to the brokers, and the rooms to the other nodes. Nobody appends any more.
    pub async fn leave(self) {
        self.log.flush(FLUSH).await;
        self.closing.cancel();
        let gone = async {
            for (reader, left) in self.reading {
                if let Err(error) = reader.await {
                    tracing::error!(%error, "what reads the log failed");
                }
                left.wait().await;
            }
        };
        if timeout(LEAVE, gone).await.is_err() {
            tracing::warn!("Kafka was not left in time; what was not handled is handled by others in some seconds");
        }
    }
}

fn settings(config: &Config, name: &str) -> KafkaSettings {
    let kafka = &config.kafka;
    KafkaSettings {
        brokers: kafka.brokers.clone(),
        namespace: config.server.namespace.clone(),
        client_id: name.to_owned(),
        partitions: kafka.partitions,
        replication: kafka.replication,
        min_insync: kafka.min_insync,
        retention_hours: kafka.retention_hours,
        delivery_timeout_ms: APPEND_MS_MAX,
    }
}
