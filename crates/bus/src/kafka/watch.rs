//! Whether the log can be written, asked of the brokers once a second.
//!
//! One task; read by [`super::KafkaLog`], which fails at once what has no chance, and by whoever says if a node is ready. Says in
//! the log when it changes.

use std::sync::Arc;
use std::time::Duration;

use model::Metrics;
use model::metrics::count;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataPartition};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::{KafkaSettings, Quiet};

/// How often the brokers are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long they may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// What can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nobody has answered yet; appends are tried.
    Unknown,
    /// Every room.
    Well,
    /// Rooms of some partitions cannot: how many of how many.
    Partly {
        /// Partitions without a leader, or with too few copies.
        unwritable: usize,
        /// All of them.
        partitions: usize,
    },
    /// None, and why.
    Away(String),
}

/// Watches the topic of rooms' records. Dropping it ends that.
pub struct Watch {
    health: Arc<Mutex<Health>>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to ask. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When librdkafka finds the settings impossible; brokers that are away are no error.
    pub fn start(settings: &KafkaSettings, metrics: Arc<Metrics>) -> KafkaResult<Self> {
        let client: Arc<BaseConsumer<_>> = Arc::new(settings.client().create_with_context(Quiet)?);
        let health = Arc::new(Mutex::new(Health::Unknown));
        let (topic, min_insync) = (settings.room_chat(), usize::from(settings.min_insync));
        let task = watch(client, topic, min_insync, health.clone(), metrics);
        Ok(Self { health, _task: AbortOnDropHandle::new(tokio::spawn(task)) })
    }

    /// What was true a moment ago.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }
}

async fn watch(
    client: Arc<BaseConsumer<Quiet>>,
    topic: String,
    min_insync: usize,
    health: Arc<Mutex<Health>>,
    metrics: Arc<Metrics>,
) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let (asked, name) = (client.clone(), topic.clone());
        let answer = tokio::task::spawn_blocking(move || ask(&asked, &name)).await;
        // Only the end of the runtime cancels it.
        let Ok(answer) = answer else { return };
        if answer.is_err() {
            count(&metrics.kafka_errors, "operation", "watch");
        }
        change(&health, judge(answer, &topic, min_insync));
    }
}

fn ask(client: &BaseConsumer<Quiet>, topic: &str) -> KafkaResult<Metadata> {
    let answer = client.fetch_metadata(Some(topic), WITHIN);
    // What the library tells by the way would pile up.
    while client.poll(Duration::ZERO).is_some() {}
    answer
}

fn judge(answer: KafkaResult<Metadata>, topic: &str, min_insync: usize) -> Health {
    let metadata = match answer {
        Ok(metadata) => metadata,
        Err(error) => return Health::Away(error.to_string()),
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic && !found.partitions().is_empty())
    else {
        return Health::Away(format!("there is no topic {topic}"));
    };
    let takes_no_record = |partition: &&MetadataPartition| partition.leader() < 0 || partition.isr().len() < min_insync;
    let (partitions, unwritable) =
        (found.partitions().len(), found.partitions().iter().filter(takes_no_record).count());
    match unwritable {
        0 => Health::Well,
        all if all == partitions => Health::Away(format!("no partition of {topic} has {min_insync} brokers")),
        _ => Health::Partly { unwritable, partitions },
    }
}

fn change(health: &Mutex<Health>, now: Health) {
    let before = std::mem::replace(&mut *health.lock(), now.clone());
    if std::mem::discriminant(&before) == std::mem::discriminant(&now) {
        return;
    }
    match now {
        Health::Well | Health::Unknown => tracing::info!("Kafka takes every room's records"),
        Health::Partly { unwritable, partitions } => {
            tracing::warn!(unwritable, partitions, "some of Kafka's partitions take no records");
        }
        Health::Away(why) => tracing::error!(why, "Kafka is away"),
    }
}
