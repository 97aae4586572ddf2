//! Whether the log can be written, asked of the brokers once a second.
//!
//! One task asks. [`super::KafkaLog`] reads the state to fail hopeless appends at once; readiness reads it too. Logs each change.

use std::sync::Arc;
use std::time::Duration;

use model::Metrics;
use model::metrics::count;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataPartition};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::{KafkaSettings, Quiet};

/// How often the brokers are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long they may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// How long there is another number of partitions before records go by it: by then the producer knows them
/// ([`super::METADATA_REFRESH_MS`]).
const CHANGED_FOR: Duration = Duration::from_secs(30);

/// Which rooms can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No answer yet; appends are tried.
    Unknown,
    /// Every room.
    Well,
    /// The rooms of some partitions cannot be written.
    Partly {
        /// Partitions without a leader, or with too few copies.
        unwritable: usize,
        /// All of them.
        partitions: usize,
    },
    /// None, and why.
    Away(String),
}

/// Watches the topic of rooms' records until dropped.
pub struct Watch {
    health: Arc<Mutex<Health>>,
    partitions: watch::Receiver<u32>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Starts the task. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When librdkafka rejects the settings. Absent brokers are no error.
    pub fn start(settings: &KafkaSettings, metrics: Arc<Metrics>) -> KafkaResult<Self> {
        let client: Arc<BaseConsumer<_>> = Arc::new(settings.client().create_with_context(Quiet)?);
        let health = Arc::new(Mutex::new(Health::Unknown));
        let (topic, min_insync) = (settings.room_chat(), usize::from(settings.kafka.min_insync));
        let (told, partitions) = watch::channel(0);
        let task = watch(client, topic, min_insync, health.clone(), told, metrics);
        Ok(Self { health, partitions, _task: AbortOnDropHandle::new(tokio::spawn(task)) })
    }

    /// The state at the last answer.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// The topic's partitions, as soon as the brokers have named them.
    pub(super) async fn partitions(&self) -> u32 {
        let mut told = self.partitions.clone();
        let known = told.wait_for(|partitions| *partitions > 0).await.map(|partitions| *partitions);
        match known {
            Ok(partitions) => partitions,
            // The watch ends with its runtime alone.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn watch(
    client: Arc<BaseConsumer<Quiet>>,
    topic: String,
    min_insync: usize,
    health: Arc<Mutex<Health>>,
    partitions: watch::Sender<u32>,
    metrics: Arc<Metrics>,
) {
    let mut changed: Option<Instant> = None;
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
        let found = answer.as_ref().ok().and_then(|metadata| partitions_of(metadata, &topic));
        let known = *partitions.borrow();
        changed = found.filter(|found| known > 0 && *found != known).map(|_| changed.unwrap_or_else(Instant::now));
        if let Some(found) = found
            && changed.is_none_or(|since| since.elapsed() >= CHANGED_FOR)
        {
            partitions.send_replace(found);
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

fn partitions_of(metadata: &Metadata, topic: &str) -> Option<u32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic)?;
    u32::try_from(found.partitions().len()).ok().filter(|partitions| *partitions > 0)
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
