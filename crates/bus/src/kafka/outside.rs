//! What programs that are not ours may hear: comments to be reviewed, announcements, gifts, and what concerns single people.
//!
//! Told by whoever holds comments and delivers events ([`Telling`]), as JSON, keyed so that what concerns one room or one person keeps
//! its order. Nobody waits for it: what Kafka does not take is lost and counted.

use std::sync::Arc;

use async_trait::async_trait;
use model::metrics::count;
use model::{Audience, Comment, Event, EventBody, Metrics, RoomId, UserId};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use serde_json::{Value, json};

use super::{KafkaSettings, Quiet};
use crate::fanout::Fanout;
use crate::log::{Entry, Record};

/// Messages that may wait for the brokers; further ones are lost.
const WAITING_MAX: usize = 10_000;

/// A topic for outside consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Comments held for review and what was decided about them; keyed by room.
    CommentReview,
    /// What people should hear of who may be away; keyed by user, or by room.
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

    /// Tells of an event that people who are away should hear of: each user whom it is for, or who must acknowledge it; of
    /// announcements, gifts and whatever else everybody must acknowledge, the room. Of others it says nothing.
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

    /// A user, or a room's people, should hear of an event: `{user_id, event_id, room_id, at_ms, kind, body}`, where
    /// `user_id` is null for a room's people and `body` has the fields of its kind. An event may be told again after a
    /// failure, with the same `event_id`. Returns at once.
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
        self.tell(Topic::Notifications, user.map_or(event.room_id.as_str(), UserId::as_str), &notification);
    }

    fn tell(&self, topic: Topic, key: &str, what: &Value) {
        let (name, json) = (self.settings.topic(topic.name()), what.to_string());
        if self.producer.send(BaseRecord::to(&name).key(key).payload(&json)).is_err() {
            lost(&self.metrics);
        }
    }
}

/// A way of a log's entries to viewers that tells outside programs by the way.
pub struct Telling {
    /// Whom it tells.
    pub outside: Arc<Outside>,
    /// The way.
    pub next: Arc<dyn Fanout>,
}

#[async_trait]
impl Fanout for Telling {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        for entry in &entries {
            if let Record::Event(event) = &entry.record {
                self.outside.event(event);
            }
        }
        self.next.push(room_id, entries);
    }

    async fn flush(&self) {
        self.next.flush().await;
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
