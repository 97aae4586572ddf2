//! The log on Kafka that all nodes share: opened, consumed by the roles that need it, and left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fanout::{ExportingFanout, Fanout};
use ingest::ReviewListener;
use log::hlc::HybridClock;
use log::kafka::{
    ExportProducer, Fallback, Group, Health, KafkaConsumer, KafkaLog, KafkaSettings, Left, Watch, prepare,
};
use log::local::LocalConsumer;
use log::persist::persist;
use log::spool::{Sink, Spool};
use log::{Consumer, ShardOf};
use model::Metrics;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use worker::Worker;

use super::authorities;
use crate::config::{self, Config};

/// How long an append may take; then the comment goes to this node's disk.
const APPEND_MS_MAX: u32 = 5_000;
/// When the node ends: time for records in flight to the brokers.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// When the node ends: time for leaving the consumer groups.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// [`SharedLog::leave`] takes no longer.
pub const LEAVES_WITHIN: Duration = FLUSH_TIMEOUT.saturating_add(LEAVE_TIMEOUT);

/// A log that all nodes share.
pub struct SharedLog {
    settings: KafkaSettings,
    log: Arc<KafkaLog>,
    watch: Arc<Watch>,
    /// Exports events and reviews to programs outside the deployment.
    exports: Arc<ExportProducer>,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
    /// What consumes it in this process.
    consumers: Vec<(JoinHandle<()>, Left)>,
}

/// Opens the log, and creates its topics when they are missing.
pub(super) async fn open(
    config: &Config,
    name: &str,
    hlc: Arc<HybridClock>,
    sharding: ShardOf,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<SharedLog> {
    let settings = settings(config, name);
    prepare(&settings).await.context("kafka.brokers")?;
    let watch = Arc::new(Watch::start(&settings, metrics.clone())?);
    let log = KafkaLog::open(settings.clone(), hlc, sharding, watch.clone(), metrics.clone())?;
    let exports = Arc::new(ExportProducer::open(settings.clone(), metrics.clone())?);
    let (closing, consumers) = (CancellationToken::new(), Vec::new());
    Ok(SharedLog { settings, log: Arc::new(log), watch, exports, metrics: metrics.clone(), closing, consumers })
}

impl SharedLog {
    /// The log to append to, and what it delivers from this node during an outage of Kafka.
    pub(super) fn with_fallback(&self, spool: Spool, hlc: Arc<HybridClock>) -> (Fallback, LocalConsumer) {
        Fallback::open(self.log.clone(), spool, hlc, self.metrics.clone())
    }

    /// Whether it takes every room's records.
    pub(super) fn health_check(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let watch = self.watch.clone();
        move || watch.health() == Health::Well
    }

    /// A fan-out that exports events to programs outside the deployment, too.
    pub fn exporting(&self, next: Arc<dyn Fanout>) -> Arc<dyn Fanout> {
        let exports = self.exports.clone();
        Arc::new(ExportingFanout { export: Arc::new(move |event| exports.event(event)), next })
    }

    /// Exports comments that wait for review.
    pub fn review_export(&self) -> ReviewListener {
        let exports = self.exports.clone();
        Arc::new(move |comment, status| exports.review(comment, status.as_str()))
    }

    /// The role `worker`: delivers a share of the rooms from here.
    pub fn start_delivery(&mut self, worker: impl FnOnce(Box<dyn Consumer>) -> Worker) -> anyhow::Result<()> {
        let (consumer, left) = self.join(Group::Delivery)?;
        self.consumers.push((tokio::spawn(worker(Box::new(consumer)).run()), left));
        Ok(())
    }

    /// The role `persist`: copies a share of the rooms into the sink from here.
    pub fn start_persisting(&mut self, sink: Arc<dyn Sink>) -> anyhow::Result<()> {
        let (consumer, left) = self.join(Group::Persist)?;
        let persisting = persist(Box::new(consumer), sink, self.closing.clone(), self.metrics.clone());
        self.consumers.push((tokio::spawn(persisting), left));
        Ok(())
    }

    fn join(&self, group: Group) -> anyhow::Result<(KafkaConsumer, Left)> {
        Ok(KafkaConsumer::open(&self.settings, group, self.closing.clone(), self.metrics.clone())?)
    }

    /// Sends what is in flight to the brokers, and leaves the rooms to the other nodes. Nothing appends any more.
    pub async fn leave(self) {
        self.log.flush(FLUSH_TIMEOUT).await;
        self.closing.cancel();
        let all_left = async {
            for (consumer, left) in self.consumers {
                if let Err(error) = consumer.await {
                    tracing::error!(%error, "what reads the log failed");
                }
                left.wait().await;
            }
        };
        if timeout(LEAVE_TIMEOUT, all_left).await.is_err() {
            tracing::warn!("Kafka was not left in time; what was not handled is handled by others in some seconds");
        }
    }
}

pub(super) fn settings(config: &Config, name: &str) -> KafkaSettings {
    KafkaSettings {
        kafka: config.kafka.clone(),
        namespace: config.server.namespace.clone(),
        client_id: name.to_owned(),
        delivery_timeout_ms: APPEND_MS_MAX,
    }
}

/// Checks the files of TLS: librdkafka says of a broken one only that something is wrong.
pub(super) fn check_files(kafka: &config::Kafka) -> anyhow::Result<()> {
    if kafka.tls && !kafka.ca_file.as_os_str().is_empty() {
        authorities::read(&kafka.ca_file).context("kafka.ca_file")?;
    }
    authorities::read_identity("kafka", &kafka.certificate_file, &kafka.key_file).map(drop)
}
