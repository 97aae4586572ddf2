//! What programs that are not ours may hear: comments to be reviewed, and what concerns single people.
//!
//! Told by whoever holds comments and delivers events, as JSON, keyed so that what concerns one room or one person keeps its order. Nobody waits for it: what
//! Kafka does not take is lost and counted.

use std::sync::Arc;

use model::metrics::count;
use model::{Comment, Event, Metrics, UserId};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use serde_json::{Value, json};

use super::{KafkaSettings, Quiet};

/// Messages that may wait for the brokers; further ones are lost.
const WAITING_MAX: usize = 10_000;

/// A topic for outside consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Comments held for review and what was decided about them; keyed by room.
    CommentReview,
    /// What a user should hear of who may be away; keyed by user.
    Notifications,
}

impl Topic {
    /// Its name, after the namespace.
    #[must_use]
    pub(super) const fn name(self) -> &'static str {
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

    /// A comment was held for review (`pending`), or decided about (`approved`, `rejected`): `{id, room_id, user_id,
    /// username, content, created_at_ms, status}`. Returns at once.
    pub fn review(&self, comment: &Comment, status: &str) {
        let review = json!({
            "id": comment.id.to_string(),
            "room_id": comment.room_id.as_str(),
            "user_id": comment.user_id.as_str(),
            "username": &*comment.username,
            "content": &*comment.content,
            "created_at_ms": comment.created_at_ms,
            "status": status,
        });
        self.tell(Topic::CommentReview, comment.room_id.as_str(), &review);
    }

    /// A user is to hear of an event: `{user_id, event_id, room_id, at_ms, kind, body}`, where `body` has the fields of its
    /// kind. Returns at once.
    pub fn notify(&self, user: &UserId, event: &Event) {
        // The name that the store gives the variant is not the one that the world knows.
        let body = match serde_json::to_value(&event.body) {
            Ok(Value::Object(variant)) => variant.into_iter().next().map(|(_, fields)| fields),
            _ => None,
        };
        let notification = json!({
            "user_id": user.as_str(),
            "event_id": event.id.to_string(),
            "room_id": event.room_id.as_str(),
            "at_ms": event.at_ms,
            "kind": event.body.kind(),
            "body": body,
        });
        self.tell(Topic::Notifications, user.as_str(), &notification);
    }

    fn tell(&self, topic: Topic, key: &str, what: &Value) {
        let (name, json) = (self.settings.topic(topic.name()), what.to_string());
        if self.producer.send(BaseRecord::to(&name).key(key).payload(&json)).is_err() {
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
