//! [`Log`] on Kafka: records to the topic, answers when the brokers have them.
//!
//! A task gives waiting records their positions and sends them lane by lane ([`super::lanes`]): a lane's batch is one message,
//! a block, or a message for each record while older readers may live. librdkafka sends on its own threads and reports each
//! message's outcome on another; a second task gathers the outcomes and answers run by run. Owns the order in which this
//! node's records are stamped and produced. Appending never blocks the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::metrics::count;
use model::{Metrics, RoomId};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::lanes::{Lanes, Ready};
use super::{Health, KafkaSettings, Quiet, Watch};
use crate::hlc;
use crate::hlc::HybridClock;
use crate::port::{AppendError, Done, Entry, Log, Position, Record, ShardOf, Submission, answer};
use crate::record::{Block, Logged};

/// Records that may wait for the brokers. A run that would exceed it is refused with [`AppendError::Full`].
const WAITING_MAX: usize = 65_536;
/// Records taken together.
const TAKEN_MAX: usize = 4_096;
/// More partitions than a topic has.
const LANES_MAX: usize = 65_536;
/// Messages whose records are answered together.
const TOGETHER_MAX: usize = 2_048;
/// Interval of checking, while the process ends, whether everything is answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Interval of looking for a producer that cannot continue.
const MEND_EVERY: Duration = Duration::from_secs(1);

/// The appending end. An append that fails after it was sent may still be on the log: readers drop repeats by id.
pub struct KafkaLog {
    appends: mpsc::Sender<Append>,
    reports: Reports,
    watch: Arc<Watch>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// A record to write.
struct Append {
    what: What,
    done: Done,
    started: Instant,
}

enum What {
    /// Gets its position when it is produced.
    New(RoomId, Record),
    /// Viewers already have it.
    Delivered(Entry),
}

/// What the writing task owns, so that stamps rise in the order of the partition.
struct Writer {
    producer: Arc<Mutex<ThreadedProducer<Reports>>>,
    topic: String,
    stamps: Arc<HybridClock>,
    shard: ShardOf,
    /// A batch of several records is one message.
    blocks: bool,
    /// How long an append may take.
    patience: Duration,
    /// Receives a lane when its batch is answered.
    answered: mpsc::Sender<Answered>,
    reports: Reports,
}

/// The lane whose batch is answered, and whether the batch found no broker in time.
struct Answered {
    lane: u32,
    found_no_broker: bool,
}

impl KafkaLog {
    /// A log on the topic that [`super::prepare`] made and `watch` watches. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When librdkafka rejects the settings. Absent brokers are no error.
    pub fn open(
        settings: KafkaSettings,
        stamps: Arc<HybridClock>,
        shard: ShardOf,
        watch: Arc<Watch>,
        metrics: Arc<Metrics>,
    ) -> KafkaResult<Self> {
        // Each holds the answers of records that the depth counts, so it has a place.
        let (answers, waiting) = mpsc::channel(WAITING_MAX);
        let reports = Reports { answers, depth: Arc::default(), failing: Arc::default(), metrics };
        let producer = Arc::new(Mutex::new(produce(&settings, &reports)?));
        let (appends, taken) = mpsc::channel(WAITING_MAX);
        // A lane has one batch under way, so there are never more answers than partitions.
        let (answered, freed) = mpsc::channel(LANES_MAX);
        let writer = Writer {
            producer: producer.clone(),
            topic: settings.room_chat(),
            stamps,
            shard,
            blocks: settings.kafka.blocks,
            patience: Duration::from_millis(settings.delivery_timeout_ms.into()),
            answered,
            reports: reports.clone(),
        };
        let tasks = [
            tokio::spawn(writer.run(taken, freed, watch.clone())),
            tokio::spawn(reports.clone().answer_all(waiting)),
            tokio::spawn(mend(settings, producer, reports.clone())),
        ];
        Ok(Self { appends, reports, watch, _tasks: tasks.map(AbortOnDropHandle::new) })
    }

    /// Appends records that viewers already have, at their positions: the delivering group skips them. Answers as
    /// [`Log::submit`] does.
    pub fn submit_delivered(&self, run: Vec<(Entry, Done)>) {
        if let Err(why) = self.take(run.len()) {
            return answer(run.into_iter().map(|(_, done)| (done, Err(why))));
        }
        self.hand_over(run.into_iter().map(|(entry, done)| (What::Delivered(entry), done)));
    }

    /// Whether an append is hopeless now, so that it fails at once rather than after the timeout.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self.watch.health(), Health::Away(_))
    }

    /// Whether every room's records are accepted, as far as is known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.watch.health() == Health::Well
    }

    /// Waits until every accepted record is answered, at most `within`.
    pub async fn flush(&self, within: Duration) {
        let idle = async {
            let mut looks = interval(LOOK_EVERY);
            while self.reports.depth.load(Ordering::Relaxed) > 0 {
                looks.tick().await;
            }
        };
        if timeout(within, idle).await.is_err() {
            tracing::warn!("not everything on its way to Kafka got there");
        }
    }

    /// The depth reserved room for each of them.
    fn hand_over(&self, run: impl Iterator<Item = (What, Done)>) {
        let started = Instant::now();
        for (what, done) in run {
            if let Err(error) = self.appends.try_send(Append { what, done, started }) {
                self.reports.report(error.into_inner().done, Err(AppendError::Away), started);
            }
        }
    }

    /// Reserves room for so many records; false when they would exceed the bound.
    fn take(&self, records: usize) -> Result<(), AppendError> {
        if self.is_away() {
            return Err(AppendError::Away);
        }
        let take = |depth: usize| Some(depth + records).filter(|depth| *depth <= WAITING_MAX);
        let depth = &self.reports.depth;
        depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|_| AppendError::Full)?;
        self.reports.metrics.log_depth.inc_by(records.cast_signed() as i64);
        Ok(())
    }
}

impl Log for KafkaLog {
    fn submit(&self, run: Vec<Submission>) {
        if let Err(why) = self.take(run.len()) {
            return answer(run.into_iter().map(|waiting| (waiting.done, Err(why))));
        }
        self.hand_over(run.into_iter().map(|Submission { room_id, record, done }| (What::New(room_id, record), done)));
    }
}

impl Writer {
    /// Sends waiting records, as fast as each lane takes them.
    async fn run(self, mut appends: mpsc::Receiver<Append>, mut freed: mpsc::Receiver<Answered>, watch: Arc<Watch>) {
        let (mut lanes, mut taken) = (Lanes::default(), Vec::new());
        loop {
            tokio::select! {
                Some(answered) = freed.recv() => self.free(&mut lanes, answered),
                count = appends.recv_many(&mut taken, TAKEN_MAX) => if count == 0 { return },
            }
            while let Ok(answered) = freed.try_recv() {
                self.free(&mut lanes, answered);
            }
            if !taken.is_empty() {
                // Known from the first answer of the brokers on.
                let partitions = timeout(self.patience, watch.partitions()).await.ok();
                taken.drain(..).for_each(|append| self.place(append, &mut lanes, partitions));
            }
            while let Some((lane, batch)) = lanes.next() {
                self.send(lane, batch);
            }
        }
    }

    fn free(&self, lanes: &mut Lanes, Answered { lane, found_no_broker }: Answered) {
        for Ready { owed, .. } in lanes.free(lane, found_no_broker) {
            self.reports.report(owed.done, Err(AppendError::Away), owed.started);
        }
    }

    /// Gives a record its position and its lane.
    fn place(&self, Append { what, done, started }: Append, lanes: &mut Lanes, partitions: Option<u32>) {
        let (room_id, record, position) = match what {
            What::New(room_id, record) => (room_id, record, None),
            What::Delivered(Entry { room_id, record, position }) => (room_id, record, Some(position)),
        };
        // Asked once: the room may become hot, or cool, at any moment, and key and place have to agree.
        let shard = (self.shard)(&room_id, &record);
        let delivered = position.is_some();
        let position = position.or_else(|| self.stamp(shard.is_some()));
        let (Some(position), Some(partitions)) = (position, partitions) else {
            return self.reports.report(done, Err(AppendError::Away), started);
        };
        let key = match shard {
            Some(shard) => format!("{room_id}#{shard}"),
            None => room_id.to_string(),
        };
        let Some(bytes) = (Logged { entry: Entry { room_id, position, record }, delivered }).encode() else {
            tracing::error!(key, "a picture was appended, which has no bytes");
            return self.reports.report(done, Err(AppendError::Away), started);
        };
        lanes.add(Ready { key, bytes, owed: Owed { done, position, started } }, partitions);
    }

    /// `None` while this node has no number to make timestamps with.
    fn stamp(&self, is_spread: bool) -> Option<Position> {
        let stamp = self.stamps.next()?;
        Some(Position { epoch: 1, offset: if is_spread { hlc::spread(stamp) } else { stamp } })
    }

    /// Produces a batch. Its lane is free again when each of its messages is answered. What waited too long fails: this node
    /// was frozen, and whoever waited for the answer has gone to another.
    fn send(&self, lane: u32, batch: Vec<Ready>) {
        let busy = Arc::new(Busy { lane, found_no_broker: AtomicBool::new(false), answered: self.answered.clone() });
        let is_late = |record: &Ready| record.owed.started.elapsed() > self.patience;
        let (late, mut batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_late);
        for Ready { owed, .. } in late {
            self.reports.report(owed.done, Err(AppendError::Away), owed.started);
        }
        if batch.is_empty() {
            return;
        }
        if !self.blocks || batch.len() == 1 {
            for Ready { key, bytes, owed } in batch {
                self.produce(lane, Some(&key), &bytes, InFlight { owed: vec![owed], busy: busy.clone() });
            }
            return;
        }
        let mut block = Block::default();
        batch.iter().for_each(|record| block.push(&record.bytes));
        let owed = batch.drain(..).map(|record| record.owed).collect();
        self.produce(lane, None, block.bytes(), InFlight { owed, busy });
    }

    fn produce(&self, partition: u32, key: Option<&str>, bytes: &[u8], in_flight: InFlight) {
        let mut message = BaseRecord::with_opaque_to(&self.topic, Box::new(Mutex::new(in_flight)));
        message = message.partition(partition.cast_signed()).payload(bytes);
        if let Some(key) = key {
            message = message.key(key);
        }
        self.reports.metrics.kafka_messages.inc();
        if let Err((error, message)) = self.producer.lock().send(message) {
            self.reports.failed(message.delivery_opaque, &error);
        }
    }
}

/// What a record's appender is owed.
pub(super) struct Owed {
    pub(super) done: Done,
    pub(super) position: Position,
    pub(super) started: Instant,
}

/// A message in flight: its records' appenders, in their order.
struct InFlight {
    owed: Vec<Owed>,
    busy: Arc<Busy>,
}

/// A lane's batch under way; reports the lane when the last of its messages is answered.
struct Busy {
    lane: u32,
    found_no_broker: AtomicBool,
    answered: mpsc::Sender<Answered>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let found_no_broker = self.found_no_broker.load(Ordering::Relaxed);
        // Nobody listens while the process ends.
        let _ = self.answered.try_send(Answered { lane: self.lane, found_no_broker });
    }
}

/// The answers of one message.
struct Answer {
    run: Vec<(Done, Result<Position, AppendError>)>,
    started: Instant,
}

/// Receives each message's outcome from librdkafka.
#[derive(Clone)]
struct Reports {
    answers: mpsc::Sender<Answer>,
    /// Records that are not answered yet.
    depth: Arc<AtomicUsize>,
    /// The last append failed.
    failing: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Reports {
    fn report(&self, done: Done, result: Result<Position, AppendError>, started: Instant) {
        self.report_run(vec![(done, result)], started);
    }

    fn report_run(&self, run: Vec<(Done, Result<Position, AppendError>)>, started: Instant) {
        // Nobody answers while the process ends; then the records are dropped, which their appenders see.
        let _ = self.answers.try_send(Answer { run, started });
    }

    /// Answers a message: each record with its position, or all with the error.
    fn report_all(&self, owed: Vec<Owed>, error: Option<AppendError>) {
        let Some(started) = owed.first().map(|owed| owed.started) else { return };
        let result = |position| error.map_or(Ok(position), Err);
        self.report_run(
            owed.into_iter().map(|Owed { done, position, .. }| (done, result(position))).collect(),
            started,
        );
    }

    #[allow(clippy::boxed_local)] // As librdkafka holds it.
    fn failed(&self, in_flight: Box<Mutex<InFlight>>, error: &KafkaError) {
        count(&self.metrics.kafka_errors, "operation", "append");
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Kafka does not take a record; more of these are counted, not logged");
        }
        let InFlight { owed, busy } = in_flight.into_inner();
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::MessageTimedOut) {
            busy.found_no_broker.store(true, Ordering::Relaxed);
        }
        let full = code == Some(RDKafkaErrorCode::QueueFull);
        self.report_all(owed, Some(if full { AppendError::Full } else { AppendError::Away }));
    }

    /// Gives the waiting answers as one run.
    async fn answer_all(self, mut waiting: mpsc::Receiver<Answer>) {
        let mut run = Vec::with_capacity(TOGETHER_MAX);
        while waiting.recv_many(&mut run, TOGETHER_MAX).await > 0 {
            let records: usize = run.iter().map(|message: &Answer| message.run.len()).sum();
            self.depth.fetch_sub(records, Ordering::Relaxed);
            self.metrics.log_depth.dec_by(records.cast_signed() as i64);
            if let Some(first) = run.first() {
                self.metrics.log_commit.observe(first.started.elapsed().as_secs_f64());
            }
            answer(run.drain(..).flat_map(|message| message.run));
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Mutex<InFlight>>;

    fn delivery(&self, report: &DeliveryResult<'_>, in_flight: Self::DeliveryOpaque) {
        if let Err((error, _)) = report {
            return self.failed(in_flight, error);
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka takes records again");
        }
        self.report_all(in_flight.into_inner().owed, None);
    }
}

fn produce(settings: &KafkaSettings, reports: &Reports) -> KafkaResult<ThreadedProducer<Reports>> {
    let mut config = settings.producer();
    config.set("queue.buffering.max.messages", WAITING_MAX.to_string());
    config.create_with_context(reports.clone())
}

/// An idempotent producer whose sequence no longer matches the brokers' never writes again, so a new one replaces it.
async fn mend(settings: KafkaSettings, producer: Arc<Mutex<ThreadedProducer<Reports>>>, reports: Reports) {
    let mut beat = interval(MEND_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Some((code, reason)) = producer.lock().client().fatal_error() else { continue };
        tracing::error!(%code, reason, "the producer cannot go on; a new one takes its place");
        match produce(&settings, &reports) {
            Ok(new) => {
                let old = std::mem::replace(&mut *producer.lock(), new);
                // It answers what it still holds, and joins its thread.
                tokio::task::spawn_blocking(move || drop(old));
            }
            Err(error) => tracing::error!(%error, "and cannot be made; tried again in a second"),
        }
    }
}
