//! The partitions of one group member and each one's progress.
//!
//! librdkafka reports assignments on the member's thread; committing a delivery reports handled runs. A run of a partition that
//! was revoked meanwhile is neither handed over nor committed: its next owner reads it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Metrics;
use model::metrics::count;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Quiet;
use crate::port::Entry;
use crate::record::BadBatch;

/// Entries of one partition.
pub(super) struct Part {
    pub(super) partition: i32,
    /// The assignment under which it was read.
    pub(super) since: u64,
    /// Offset at which the next run begins.
    pub(super) next: i64,
    pub(super) entries: Vec<Entry>,
}

/// An assigned partition.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: u64,
    /// The offset below which everything is handled.
    handled: Option<i64>,
    /// The offset committed to the brokers.
    committed: Option<i64>,
}

#[derive(Default)]
struct Partitions {
    held: HashMap<i32, Held>,
    assignments: u64,
}

/// This member's partitions.
pub(super) struct Share {
    topic: String,
    group: &'static str,
    partitions: Mutex<Partitions>,
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Share {
    pub(super) fn new(topic: String, group: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { topic, group, partitions: Mutex::default(), failing: AtomicBool::new(false), metrics }
    }

    /// The assignment under which a partition is owned now.
    pub(super) fn since(&self, partition: i32) -> Option<u64> {
        self.partitions.lock().held.get(&partition).map(|held| held.since)
    }

    /// Of these, those that are still this member's.
    pub(super) fn still_held(&self, mut parts: Vec<Part>) -> Vec<Part> {
        let partitions = self.partitions.lock();
        parts.retain(|part| partitions.held.get(&part.partition).is_some_and(|held| held.since == part.since));
        parts
    }

    /// Records that everything before `next` is handled, unless the partition was revoked meanwhile.
    pub(super) fn handled(&self, partition: i32, since: u64, next: i64) {
        let mut partitions = self.partitions.lock();
        if let Some(held) = partitions.held.get_mut(&partition).filter(|held| held.since == since) {
            held.handled = held.handled.max(Some(next));
        }
    }

    /// Commits the progress of all partitions, without waiting for the answer.
    pub(super) fn commit_progress(&self, consumer: &BaseConsumer<Self>) {
        let uncommitted = self.uncommitted(|_| true);
        if uncommitted.count() > 0
            && let Err(error) = consumer.commit(&uncommitted, CommitMode::Async)
        {
            self.failed("commit", &error);
        }
    }

    /// Uncommitted progress of the chosen partitions, which counts as committed from now on.
    fn uncommitted(&self, which: impl Fn(i32) -> bool) -> TopicPartitionList {
        let mut uncommitted = TopicPartitionList::new();
        for (partition, held) in self.partitions.lock().held.iter_mut().filter(|(partition, _)| which(**partition)) {
            if held.handled != held.committed
                && let Some(next) = held.handled
                && uncommitted.add_partition_offset(&self.topic, *partition, Offset::Offset(next)).is_ok()
            {
                held.committed = held.handled;
            }
        }
        uncommitted
    }

    /// The partitions and their handled offsets, as far as this member knows.
    pub(super) fn places(&self) -> Vec<(i32, Option<i64>)> {
        self.partitions.lock().held.iter().map(|(partition, held)| (*partition, held.handled)).collect()
    }

    /// As a list of the library's.
    pub(super) fn list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, _) in self.places() {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    /// Sets the metric of one partition.
    pub(super) fn lag(&self, partition: i32, records: i64) {
        self.metrics.kafka_lag.get_or_create(&self.labels(partition)).set(records);
    }

    fn labels(&self, partition: i32) -> [(&'static str, String); 2] {
        [("group", self.group.to_owned()), ("partition", partition.to_string())]
    }

    /// Counts a failure, and logs the first of several in a row.
    pub(super) fn failed(&self, operation: &'static str, error: &KafkaError) {
        count(&self.metrics.kafka_errors, "operation", operation);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(group = self.group, operation, %error, "reading from Kafka fails; more of these are counted, not logged");
        }
    }

    /// A foreign message on the topic, or a broken record of a block.
    pub(super) fn unreadable(&self, partition: i32, offset: i64, index: usize, error: &BadBatch) {
        count(&self.metrics.kafka_errors, "operation", "decode");
        tracing::debug!(group = self.group, partition, offset, index, %error, "a record on Kafka cannot be read");
    }

    /// A message came.
    pub(super) fn works(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(group = self.group, "reading from Kafka works again");
        }
    }

    fn assigned(&self, list: &TopicPartitionList) {
        let partitions = &mut *self.partitions.lock();
        for element in list.elements() {
            partitions.assignments += 1;
            let held = Held { since: partitions.assignments, handled: None, committed: None };
            partitions.held.insert(element.partition(), held);
        }
        tracing::info!(
            group = self.group,
            partitions = list.count(),
            held = partitions.held.len(),
            "was given partitions"
        );
    }

    /// Stops at once and commits these partitions' progress, unless others own them already.
    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let gone: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let uncommitted = self.uncommitted(|partition| gone.contains(&partition));
        let mut partitions = self.partitions.lock();
        partitions.held.retain(|partition, _| !gone.contains(partition));
        let held = partitions.held.len();
        drop(partitions);
        for partition in gone {
            self.metrics.kafka_lag.remove(&self.labels(partition));
        }
        let lost = consumer.assignment_lost();
        tracing::info!(group = self.group, partitions = list.count(), held, lost, "gave up partitions");
        if !lost
            && uncommitted.count() > 0
            && let Err(error) = consumer.commit(&uncommitted, CommitMode::Sync)
        {
            self.failed("commit", &error);
        }
    }
}

impl ClientContext for Share {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ConsumerContext for Share {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.assigned(list),
            Rebalance::Revoke(list) => self.revoked(consumer, list),
            Rebalance::Error(error) => self.failed("read", error),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.failed("commit", &error);
        }
    }
}
