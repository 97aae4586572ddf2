//! Topics for other programs: comments held for review, announcements, gifts, and notices to single users.
//!
//! Review decisions and the fan-out crate's `ExportingFanout` write here, as JSON, keyed so that the messages of one room or one
//! user keep their order. Nobody waits for it: a message that Kafka does not take is lost and counted.

use std::sync::Arc;

use model::metrics::count;
use model::{Audience, Comment, Event, EventBody, Metrics, UserId};
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
    /// Comments held for review and the decisions; keyed by room.
    CommentReview,
    /// Notices to users who may be away; keyed by user or room.
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

/// Writes to these topics.
pub struct ExportProducer {
    producer: ThreadedProducer<Losses>,
    settings: KafkaSettings,
    metrics: Arc<Metrics>,
}

impl ExportProducer {
    /// Writes to the topics that [`super::prepare`] made.
    ///
    /// # Errors
    /// When librdkafka rejects the settings. Absent brokers are no error.
    pub fn open(settings: KafkaSettings, metrics: Arc<Metrics>) -> KafkaResult<Self> {
        let mut config = settings.producer();
        config.set("queue.buffering.max.messages", WAITING_MAX.to_string());
        let producer = config.create_with_context(Losses(metrics.clone()))?;
        Ok(Self { producer, settings, metrics })
    }

    /// Reports a comment held for review (`pending`) or decided (`approved`, `rejected`): `{id, room_id, user_id,
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
        self.send(Topic::CommentReview, comment.room_id.as_str(), &review);
    }

    /// Reports an event to users who may be away: to each user it addresses or who must acknowledge it; to the room for
    /// announcements, gifts and events that everybody must acknowledge. Ignores other events.
    pub fn event(&self, event: &Event) {
        match (&event.critical_for, &event.audience) {
            (Audience::Users(users), _) | (_, Audience::Users(users)) => {
                users.iter().for_each(|user| self.notify(Some(user), event));
            }
            (Audience::Everyone, _) => self.notify(None, event),
            _ if matches!(event.body, EventBody::Announcement { .. } | EventBody::Gift(_)) => self.notify(None, event),
            _ => {}
        }
    }

    /// Reports an event to a user or a room: `{user_id, event_id, room_id, at_ms, kind, body}`. `user_id` is null for a room;
    /// `body` has the kind's fields. After a failure an event may be repeated with the same `event_id`. Returns at once.
    pub fn notify(&self, user: Option<&UserId>, event: &Event) {
        // The name that the store gives the variant is not the one that the world knows.
        let body = match serde_json::to_value(&event.body) {
            Ok(Value::Object(variant)) => variant.into_iter().next().map(|(_, fields)| fields),
            _ => None,
        };
        let notification = json!({
            "user_id": user.map(UserId::as_str),
            "event_id": event.id.to_string(),
            "room_id": event.room_id.as_str(),
            "at_ms": event.at_ms,
            "kind": event.body.kind(),
            "body": body,
        });
        self.send(Topic::Notifications, user.map_or(event.room_id.as_str(), UserId::as_str), &notification);
    }

    fn send(&self, topic: Topic, key: &str, what: &Value) {
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
            tracing::debug!(%error, "a message for other programs was lost");
        }
    }
}
