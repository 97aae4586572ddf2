//! The log on Kafka: a topic of rooms' records, read by two groups.
//!
//! [`KafkaLog`] appends to the topic `<namespace>.room_chat`, [`KafkaConsumer`] reads it as a member of the group that
//! delivers or of the one that keeps. [`prepare`] makes the topics and holds existing ones against what durability
//! needs, [`Watch`] says whether they can be written, [`Fallback`] takes records while they cannot, [`Outside`] tells programs that are not ours. Kafka orders, copies and
//! places; nothing here does. Only the server's wiring names this module.
//!
//! A message's key is its room, or `room#shard` of one that is spread, so the order is that of one partition: per room, or
//! per user of a room that is spread. Its value is [`crate::record::Logged`].

mod append;
mod consumer;
mod fallback;
mod outside;
mod share;
mod topics;
mod watch;

pub use append::{KafkaLog, Shard};
pub use consumer::{Group, KafkaConsumer, Left};
pub use fallback::Fallback;
use outside::Topic;
pub use outside::{Outside, Telling};
pub use topics::{Unfit, prepare};
pub use watch::{Health, Watch};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// The brokers, and what is asked of the topics on them.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// Some of the brokers, `host:port,host:port`; they tell of the others.
    pub brokers: String,
    /// Goes before each topic's and group's name.
    pub namespace: String,
    /// This node's name, by which brokers tell it from others in their logs.
    pub client_id: String,
    /// Partitions of a new topic: as many workers can share the rooms. More than there are workers now, because adding some
    /// later moves rooms.
    pub partitions: u16,
    /// Brokers that keep a record.
    pub replication: u16,
    /// Of these, those that have it before it is acknowledged.
    pub min_insync: u16,
    /// How long records stay: as long as the store may be away.
    pub retention_hours: u32,
    /// How long an append may take, in milliseconds; then it has failed.
    pub delivery_timeout_ms: u32,
}

impl KafkaSettings {
    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    /// The topic of rooms' records.
    fn room_chat(&self) -> String {
        self.topic("room_chat")
    }

    /// What producers and consumers have in common.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        // A broker that is back is noticed within a second, and one that hangs within a few.
        config.set("reconnect.backoff.max.ms", "1000").set("socket.timeout.ms", "5000");
        config.set("socket.nagle.disable", "true").set("log.connection.close", "false");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", self.delivery_timeout_ms.to_string());
        config.set("request.timeout.ms", (self.delivery_timeout_ms / 2).max(1).to_string());
        // The hash that Kafka's own clients use, so that others who write by key meet the same partitions.
        config.set("partitioner", "murmur2_random").set("compression.type", "lz4").set("linger.ms", "1");
        config.set("queue.buffering.max.kbytes", "131072");
        config
    }
}

/// librdkafka repeats what it says for as long as it is so: what matters is counted and logged once by us.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}
