//! Creates missing topics and checks existing ones against what durability needs.
//!
//! Called once when a node starts. Never changes an existing topic: that is the operator's.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::export::Topic;
use super::{KafkaSettings, Quiet};

/// How long the brokers may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Number and interval of repeated checks when something is wrong.
const LOOKS: u32 = 10;
const AGAIN: Duration = Duration::from_millis(100);

/// Why the topics cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The brokers do not answer, or refuse.
    #[error("Kafka's topics cannot be looked at: {0}")]
    Away(#[from] KafkaError),
    /// The topic exists and could lose acknowledged records.
    #[error(
        "Kafka's topic {topic} has {setting} = {found}, and {wanted} is configured: an acknowledged comment could be lost. \
         Change the topic, or the configuration"
    )]
    Weak {
        /// Its name.
        topic: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: u64,
        /// The value that the configuration asks for.
        wanted: u64,
    },
}

/// Creates missing topics and checks the rooms' topic.
///
/// # Errors
/// [`Unfit`].
pub async fn prepare(settings: &KafkaSettings) -> Result<(), Unfit> {
    let admin: Arc<AdminClient<Quiet>> = Arc::new(settings.client().create_with_context(Quiet)?);
    create(settings, &admin).await?;
    // A broker may know of a new topic a moment before it knows of its settings.
    for _ in 0..LOOKS {
        match check(settings, &admin).await {
            Err(Unfit::Weak { .. }) => tokio::time::sleep(AGAIN).await,
            looked => return looked,
        }
    }
    check(settings, &admin).await
}

/// An existing topic's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicFacts {
    /// Partitions.
    pub partitions: u64,
    /// Replicas of the partition that has fewest.
    pub replicas: u64,
    /// `min.insync.replicas`.
    pub min_insync: u64,
}

/// Reads the rooms' topic; `None` when it does not exist. Creates nothing.
///
/// # Errors
/// [`Unfit::Away`].
pub async fn inspect(settings: &KafkaSettings) -> Result<Option<TopicFacts>, Unfit> {
    let admin: Arc<AdminClient<Quiet>> = Arc::new(settings.client().create_with_context(Quiet)?);
    let (asked, topic) = (admin.clone(), settings.room_chat());
    let metadata = tokio::task::spawn_blocking(move || asked.inner().fetch_metadata(None, WITHIN)).await;
    let metadata = metadata.unwrap_or(Err(KafkaError::Canceled))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    let replicas = found.partitions().iter().map(|partition| partition.replicas().len() as u64).min();
    let (partitions, replicas) = (found.partitions().len() as u64, replicas.unwrap_or(0));
    Ok(Some(TopicFacts { partitions, replicas, min_insync: min_insync(&topic, &admin).await? }))
}

async fn create(settings: &KafkaSettings, admin: &Arc<AdminClient<Quiet>>) -> Result<(), Unfit> {
    let names = [
        settings.room_chat(),
        settings.topic(Topic::CommentReview.name()),
        settings.topic(Topic::Notifications.name()),
    ];
    let retention_ms = (u64::from(settings.kafka.retention_hours) * 3_600_000).to_string();
    let min_insync = settings.kafka.min_insync.to_string();
    let topic = |name| {
        let copies = TopicReplication::Fixed(settings.kafka.replication.into());
        let new = NewTopic::new(name, settings.kafka.partitions.into(), copies);
        // Never a leader that lacks what was acknowledged.
        let new = new.set("min.insync.replicas", &min_insync).set("unclean.leader.election.enable", "false");
        new.set("retention.ms", &retention_ms)
    };
    let new: Vec<_> = names.iter().map(|name| topic(name)).collect();
    for made in admin.create_topics(&new, &options()).await? {
        match made {
            Ok(name) => tracing::info!(topic = name, partitions = settings.kafka.partitions, "made a topic on Kafka"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

async fn check(settings: &KafkaSettings, admin: &Arc<AdminClient<Quiet>>) -> Result<(), Unfit> {
    let topic = settings.room_chat();
    let (partitions, replication) = shape(&topic, admin).await?;
    let min_insync = min_insync(&topic, admin).await?;
    let weak = |setting, found: u64, wanted: u16| match found < u64::from(wanted) {
        true => Err(Unfit::Weak { topic: topic.clone(), setting, found, wanted: wanted.into() }),
        false => Ok(()),
    };
    weak("replication", replication, settings.kafka.replication)?;
    weak("min.insync.replicas", min_insync, settings.kafka.min_insync)?;
    if min_insync >= replication && replication > 1 {
        tracing::warn!(
            topic,
            min_insync,
            replication,
            "one broker away, and Kafka takes no records: lower min.insync.replicas"
        );
    }
    if partitions < u64::from(settings.kafka.partitions) {
        tracing::warn!(
            topic,
            partitions,
            wanted = settings.kafka.partitions,
            "the topic has fewer partitions than configured: as many workers can share the rooms. Adding some moves rooms"
        );
    }
    Ok(())
}

/// Number of partitions and the smallest number of replicas, as soon as the asked broker knows the topic.
async fn shape(topic: &str, admin: &Arc<AdminClient<Quiet>>) -> Result<(u64, u64), Unfit> {
    for _ in 0..10 * LOOKS {
        let (asked, name) = (admin.clone(), topic.to_owned());
        let metadata = tokio::task::spawn_blocking(move || asked.inner().fetch_metadata(Some(&name), WITHIN)).await;
        let metadata = metadata.unwrap_or(Err(KafkaError::Canceled))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        if let Some(found) = found.filter(|found| !found.partitions().is_empty()) {
            let copies = found.partitions().iter().map(|partition| partition.replicas().len() as u64).min();
            return Ok((found.partitions().len() as u64, copies.unwrap_or(0)));
        }
        tokio::time::sleep(AGAIN).await;
    }
    Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition).into())
}

async fn min_insync(topic: &str, admin: &Arc<AdminClient<Quiet>>) -> Result<u64, Unfit> {
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await?;
    let config: ConfigResource =
        described.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Unknown)).map_err(KafkaError::AdminOp)?;
    let value = config.get("min.insync.replicas").and_then(|entry| entry.value.as_deref()?.parse().ok());
    Ok(value.unwrap_or(1))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN))
}
