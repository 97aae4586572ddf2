//! What programs that are not ours may hear: comments to be reviewed, and what concerns single people.
//!
//! Told by ingest and chat, as JSON, keyed so that what concerns one room or one person keeps its order. Nobody waits for it: what
//! Kafka does not take is lost and counted.

use std::sync::Arc;

use model::Metrics;
use model::metrics::count;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use serde::Serialize;

use super::{KafkaSettings, Quiet};

/// Messages that may wait for the brokers; further ones are lost.
const WAITING_MAX: usize = 10_000;

/// A topic for outside consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Comments held for review and what was decided about them; keyed by room.
    CommentReview,
    /// What a user should hear of who may be away; keyed by user.
    Notifications,
}

impl Topic {
    /// Its name, after the namespace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommentReview => "comment_review",
            Self::Notifications => "notifications",
        }
    }
}

/// Tells them.
pub struct Outside {
    producer: ThreadedProducer<Losses>,
    settings: KafkaSettings,
    metrics: Arc<Metrics>,
}

impl Outside {
    /// Writes to the topics that [`super::prepare`] made.
    ///
    /// # Errors
    /// When librdkafka finds the settings impossible; brokers that are away are no error.
    pub fn open(settings: KafkaSettings, metrics: Arc<Metrics>) -> KafkaResult<Self> {
        let mut config = settings.producer();
        config.set("queue.buffering.max.messages", WAITING_MAX.to_string());
        let producer = config.create_with_context(Losses(metrics.clone()))?;
        Ok(Self { producer, settings, metrics })
    }

    /// Says something about a room or a user, whose id is the key. Returns at once.
    pub fn tell(&self, topic: Topic, key: &str, what: &impl Serialize) {
        let name = self.settings.topic(topic.name());
        let sent = serde_json::to_string(what)
            .map(|json| self.producer.send(BaseRecord::to(&name).key(key).payload(&json)).is_ok());
        if !sent.unwrap_or(false) {
            lost(&self.metrics);
        }
    }
}

struct Losses(Arc<Metrics>);

fn lost(metrics: &Metrics) {
    count(&metrics.kafka_errors, "operation", "tell");
}

impl ClientContext for Losses {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Losses {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = report {
            lost(&self.0);
            tracing::debug!(%error, "an outside consumer was not told");
        }
    }
}
