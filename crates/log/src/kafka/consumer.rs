//! [`Consumer`] on Kafka: one member of a group.
//!
//! A thread polls librdkafka, hands messages over as runs, commits offsets, and measures the lag. While the handler is stuck
//! it keeps polling with paused partitions, so that the member stays in its group. Never applies a record.

use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::Metrics;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::KafkaSettings;
use super::share::{Part, Share};
use crate::port::{Consumer, Delivery, Entry};
use crate::record::decode_message;

/// Runs that may wait for the handler; beyond it the partitions pause.
const RUNS_MAX: usize = 4;
/// How long the thread waits for a message.
const BEAT: Duration = Duration::from_millis(100);
/// How long a run may wait for the handler before the partitions pause, which throws away what was read ahead.
const PATIENCE: Duration = Duration::from_millis(500);
/// Entries of a run from which on no message is added; one message may have thousands.
const RUN_MAX: usize = 2_048;
/// How long the brokers may hold a fetch back, in milliseconds.
const FETCH_WAIT_MS: &str = "100";
/// How often the lag is measured, and how long the brokers may take.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
const MEASURE_WITHIN: Duration = Duration::from_millis(500);
/// How long the handler may take to finish at the end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Purpose of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Room workers. Skips records that viewers already have.
    Delivery,
    /// The store.
    Persist,
}

impl Group {
    /// Its name, after the namespace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Persist => "persist",
        }
    }

    /// Interval of offset commits; after a crash as much may be read again. The store drops it by id, viewers may see events
    /// of it twice.
    const fn commit_interval(self) -> Duration {
        match self {
            Self::Delivery => Duration::from_millis(100),
            Self::Persist => Duration::from_secs(1),
        }
    }

    /// Bytes for which the brokers wait, at most [`FETCH_WAIT_MS`]. A viewer waits for nothing; the store's work costs less by the
    /// batch.
    const fn fetch_bytes_min(self) -> &'static str {
        match self {
            Self::Delivery => "1",
            Self::Persist => "65536",
        }
    }
}

/// One member of a group. Committing a delivery covers everything before it in the same partitions. Dropping the member
/// commits its offsets and leaves the group.
pub struct KafkaConsumer {
    runs: mpsc::Receiver<Vec<Part>>,
    share: Arc<Share>,
    closing: CancellationToken,
    thread: Thread,
}

/// Ends when the member has left its group.
pub struct Left(oneshot::Receiver<()>);

impl Left {
    /// Waits for the end: at most some seconds after [`KafkaConsumer::open`]'s `closing` was cancelled or the consumer dropped.
    pub async fn wait(self) {
        // Nothing is sent: the thread's end closes it.
        let _ = self.0.await;
    }
}

impl KafkaConsumer {
    /// Joins the group. After `closing` is cancelled, runs that were read are still handed over, then the log ends.
    ///
    /// # Errors
    /// When librdkafka rejects the settings. Absent brokers are no error.
    pub fn open(
        settings: &KafkaSettings,
        group: Group,
        closing: CancellationToken,
        metrics: Arc<Metrics>,
    ) -> KafkaResult<(Self, Left)> {
        let topic = settings.room_chat();
        let share = Share::new(topic.clone(), group.name(), metrics);
        let consumer: BaseConsumer<Share> = config(settings, group).create_with_context(share)?;
        consumer.subscribe(&[&topic])?;
        let share = consumer.context().clone();
        let (sender, runs) = mpsc::channel(RUNS_MAX);
        let (left, gone) = oneshot::channel::<()>();
        let now = Instant::now();
        let member = Member {
            consumer,
            group,
            runs: sender,
            closing: closing.clone(),
            run: Vec::new(),
            paused: false,
            committed: now,
            measured: now,
        };
        let thread = std::thread::Builder::new().name(format!("kafka-{}", group.name())).spawn(move || {
            member.work();
            drop(left);
        });
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok((Self { runs, share, closing, thread: thread.thread().clone() }, Left(gone)))
    }
}

fn config(settings: &KafkaSettings, group: Group) -> rdkafka::ClientConfig {
    let mut config = settings.client();
    config.set("group.id", settings.topic(group.name())).set("partition.assignment.strategy", "cooperative-sticky");
    // A member that dies is noticed after this.
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1000");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    // Of a partition that this group never read, everything is new.
    config.set("auto.offset.reset", "earliest");
    // What the library reads ahead: by default 64 MB a consumer, and a second of rest when it has enough.
    config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "16384");
    config.set("fetch.min.bytes", group.fetch_bytes_min()).set("fetch.wait.max.ms", FETCH_WAIT_MS);
    config.set("fetch.queue.backoff.ms", "10").set("fetch.error.backoff.ms", "100");
    config
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            let run = tokio::select! {
                biased;
                run = self.runs.recv() => run?,
                () = self.closing.cancelled() => return None,
            };
            self.thread.unpark();
            let delivery = KafkaDelivery::of(self.share.still_held(run), self.share.clone());
            if !delivery.entries.is_empty() {
                return Some(Box::new(delivery));
            }
            Box::new(delivery).commit();
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.runs.close();
        self.thread.unpark();
    }
}

struct KafkaDelivery {
    entries: Vec<Entry>,
    /// Partition, assignment, and where the next run of it begins.
    reached: Vec<(i32, u64, i64)>,
    share: Arc<Share>,
}

impl KafkaDelivery {
    fn of(parts: Vec<Part>, share: Arc<Share>) -> Self {
        let reached = parts.iter().map(|part| (part.partition, part.since, part.next)).collect();
        Self { entries: parts.into_iter().flat_map(|part| part.entries).collect(), reached, share }
    }
}

impl Delivery for KafkaDelivery {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn commit(self: Box<Self>) {
        for (partition, since, next) in self.reached {
            self.share.handled(partition, since, next);
        }
    }
}

/// What the polling thread owns.
struct Member {
    consumer: BaseConsumer<Share>,
    group: Group,
    runs: mpsc::Sender<Vec<Part>>,
    closing: CancellationToken,
    /// The run being gathered.
    run: Vec<Part>,
    paused: bool,
    committed: Instant,
    measured: Instant,
}

impl Member {
    fn work(mut self) {
        while !self.closing.is_cancelled() && !self.runs.is_closed() {
            self.gather();
            self.hand_over();
            self.beat();
        }
        let end = Instant::now() + END_WITHIN;
        while !self.runs.is_closed() && Instant::now() < end {
            std::thread::park_timeout(BEAT);
        }
        // Leaving revokes everything that is held, which tells the brokers how far it was handled.
    }

    /// Polls at least once, so that the library can move partitions; continues while there are messages.
    fn gather(&mut self) {
        let mut wait = BEAT;
        let mut room = RUN_MAX.saturating_sub(self.run.iter().map(|part| part.entries.len()).sum()).max(1);
        while room > 0
            && let Some(polled) = self.consumer.poll(wait)
        {
            let added = match polled {
                Ok(message) => add(&mut self.run, &message, self.group, self.consumer.context()),
                Err(error) => {
                    self.consumer.context().failed("read", &error);
                    0
                }
            };
            (room, wait) = (room.saturating_sub(added.max(1)), Duration::ZERO);
        }
    }

    /// Gives the run to the handler. When the handler does not take it, the partitions pause and the run waits.
    fn hand_over(&mut self) {
        if self.run.is_empty() {
            return;
        }
        if self.there_is_a_place() {
            // Nobody else fills it. A handler that has gone away commits nothing, so the next holder reads this.
            let _ = self.runs.try_send(std::mem::take(&mut self.run));
            if std::mem::take(&mut self.paused) {
                self.flow(BaseConsumer::resume);
            }
        } else if !self.runs.is_closed() {
            // Again each time: partitions that were given meanwhile flow.
            self.paused = true;
            self.flow(BaseConsumer::pause);
        }
    }

    /// Waits a little for a place in the handler's queue.
    fn there_is_a_place(&self) -> bool {
        let until = Instant::now() + if self.paused { BEAT } else { PATIENCE };
        while self.runs.capacity() == 0 && !self.runs.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
        !self.runs.is_closed()
    }

    fn flow(&self, change: fn(&BaseConsumer<Share>, &TopicPartitionList) -> KafkaResult<()>) {
        let share = self.consumer.context();
        if let Err(error) = change(&self.consumer, &share.list()) {
            share.failed("read", &error);
        }
    }

    fn beat(&mut self) {
        if self.committed.elapsed() >= self.group.commit_interval() {
            self.committed = Instant::now();
            self.consumer.context().commit_progress(&self.consumer);
        }
        if self.measured.elapsed() >= MEASURE_EVERY {
            self.measured = Instant::now();
            if let Err(error) = self.measure() {
                self.consumer.context().failed("read", &error);
            }
        }
    }

    /// Asks the brokers, because a paused partition does not learn its end.
    fn measure(&self) -> KafkaResult<()> {
        let share = self.consumer.context();
        let places = share.places();
        let mut ends = share.list();
        if places.is_empty() {
            return Ok(());
        }
        // A partition's end is what the protocol gives for this moment.
        ends.set_all_offsets(Offset::End)?;
        let ends = self.consumer.offsets_for_times(ends, MEASURE_WITHIN)?;
        let committed = match places.iter().all(|(_, handled)| handled.is_some()) {
            true => TopicPartitionList::new(),
            false => self.consumer.committed_offsets(share.list(), MEASURE_WITHIN)?,
        };
        for (partition, handled) in places {
            if let Some(end) = offset(&ends, partition) {
                share.lag(partition, end - handled.or_else(|| offset(&committed, partition)).unwrap_or(0));
            }
        }
        Ok(())
    }
}

fn offset(list: &TopicPartitionList, partition: i32) -> Option<i64> {
    list.elements().iter().find(|element| element.partition() == partition).and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    })
}

/// Adds a message's records to the run, and returns how many. A record that this node does not understand, cannot read, or
/// that this group skips, only moves the offset; the others of its block are delivered.
fn add(run: &mut Vec<Part>, message: &BorrowedMessage<'_>, group: Group, share: &Share) -> usize {
    share.works();
    let (partition, next) = (message.partition(), message.offset() + 1);
    let Some(since) = share.since(partition) else { return 0 };
    let index = run.iter().position(|part| part.partition == partition && part.since == since).unwrap_or_else(|| {
        run.push(Part { partition, since, next, entries: Vec::new() });
        run.len() - 1
    });
    let Some(part) = run.get_mut(index) else { return 0 };
    part.next = next;
    let before = part.entries.len();
    for (index, record) in decode_message(message.payload().unwrap_or_default()).enumerate() {
        match record {
            Ok(Some(logged)) if group == Group::Persist || !logged.delivered => part.entries.push(logged.entry),
            Ok(_) => {}
            Err(error) => share.unreadable(partition, message.offset(), index, &error),
        }
    }
    part.entries.len() - before
}
