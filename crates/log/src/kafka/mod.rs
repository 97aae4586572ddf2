//! The log on Kafka: a topic of rooms' records, read by two groups.
//!
//! [`KafkaLog`] appends to the topic `<namespace>.room_chat`; [`KafkaConsumer`] reads it as a member of the delivering or the
//! persisting group. [`prepare`] creates missing topics and checks existing ones against what durability needs. [`Watch`] knows
//! whether the topic can be written, [`Fallback`] takes records while it cannot, [`ExportProducer`] writes topics for other
//! programs. Kafka orders, replicates and places; this module does none of it. Only the server's wiring names it.
//!
//! A record's key is its room, or `room#shard` of one that is spread, and decides its partition, so the order is that of one
//! partition: per room, or per user of a room that is spread. A message's value is a [`crate::record::Logged`] under its key, or
//! a [`crate::record::Block`] of several, without a key.

mod append;
mod consumer;
mod export;
mod fallback;
mod lanes;
mod share;
mod topics;
mod watch;

pub use append::KafkaLog;
pub use consumer::{Group, KafkaConsumer, Left};
pub use fallback::Fallback;

pub use export::ExportProducer;
pub use topics::{TopicFacts, Unfit, inspect, prepare};
pub use watch::{Health, Watch};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Whether this program can speak TLS to the brokers: librdkafka does it by OpenSSL alone.
pub const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// How often a producer asks which partitions there are, in milliseconds.
const METADATA_REFRESH_MS: &str = "10000";

/// The brokers and the settings of the topics.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// Brokers and topics, as configured.
    pub kafka: settings::Kafka,
    /// Prefix of each topic's and group's name.
    pub namespace: String,
    /// This node's client id in the brokers' logs.
    pub client_id: String,
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

    /// Settings that producers and consumers share.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.brokers).set("client.id", &self.client_id);
        // A broker that is back is noticed within a second, and one that hangs within a few.
        config.set("reconnect.backoff.max.ms", "1000").set("socket.timeout.ms", "5000");
        config.set("socket.nagle.disable", "true").set("log.connection.close", "false");
        if self.kafka.tls {
            config.set("security.protocol", "ssl");
            let files = [
                ("ssl.ca.location", &self.kafka.ca_file),
                ("ssl.certificate.location", &self.kafka.certificate_file),
                ("ssl.key.location", &self.kafka.key_file),
            ];
            for (name, file) in files.into_iter().filter(|(_, file)| !file.as_os_str().is_empty()) {
                config.set(name, file.to_string_lossy());
            }
        }
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", self.delivery_timeout_ms.to_string());
        config.set("request.timeout.ms", (self.delivery_timeout_ms / 2).max(1).to_string());
        // The hash that Kafka's own clients use, so that others who write by key meet the same partitions.
        config.set("partitioner", "murmur2_random").set("compression.type", "lz4");
        // A block is a batch already; single records gather for a moment.
        config.set("linger.ms", if self.kafka.blocks { "0" } else { "1" });
        config
            .set("queue.buffering.max.kbytes", "131072")
            .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS);
        config
    }
}

/// librdkafka repeats its warnings while their cause lasts; this crate counts and logs what matters once.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // A certificate that will not do is for people to mend; everything else ends by itself, and is counted elsewhere.
        // A broker that refuses this node's certificate says so after the handshake, as a failure of the transport.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::SSL) || reason.contains("SSL routines") {
            tracing::warn!(
                reason,
                "no TLS with Kafka: look at kafka.ca_file, kafka.certificate_file and the brokers' own"
            );
        } else {
            tracing::debug!(%error, reason, "librdkafka");
        }
    }
}

impl ConsumerContext for Quiet {}
