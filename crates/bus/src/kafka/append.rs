//! [`Log`] on Kafka: records to the topic, answers when the brokers have them.
//!
//! A task hands over what waits, a group at a time. librdkafka sends on threads of its own and
//! says on another what became of each message; a second task gathers that and answers run by run. Owns the order in which
//! this node's records are stamped and handed over. Whoever appends waits for nobody.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Health, KafkaSettings, Quiet, Watch};
use crate::log::{AppendError, Done, Entry, Log, Position, Record, Submission, answer};
use crate::record::Logged;
use crate::stamp::{self, Stamps};

/// Records that may wait for the brokers; a run that would make more is refused with [`AppendError::Full`].
const WAITING_MAX: usize = 65_536;
/// Records of one group.
const GROUP_MAX: usize = 4_096;
/// Groups on their way at once. Of a partition an idempotent librdkafka has one request of five messages or more under way,
/// and while another is ready its threads ask without pause whether it may go, with the CPU that the brokers' answers need.
const GROUPS_MAX: usize = 1;
/// So long a group keeps the next one waiting: its partitions may have no leader, and others have one.
const GROUP_PATIENCE: Duration = Duration::from_millis(100);
/// Answers that are given together.
const TOGETHER_MAX: usize = 2_048;
/// How often it is looked, while the process ends, whether everything is answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a producer that cannot go on is looked for.
const MEND_EVERY: Duration = Duration::from_secs(1);

/// Which shard of its room a record belongs to; `None` while the room is not spread. Decided by whoever knows that a room is
/// hot, by hash of the user: all records with one answer keep their order, those with different answers have none.
pub type Shard = Arc<dyn Fn(&RoomId, &Record) -> Option<u16> + Send + Sync>;

/// The appending end. An append that fails after it was sent may be on the log all the same: readers drop repeats by id.
pub struct KafkaLog {
    appends: mpsc::Sender<Append>,
    reports: Reports,
    watch: Arc<Watch>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// What is to be written.
struct Append {
    what: What,
    done: Done,
    started: Instant,
}

enum What {
    /// It gets its place when it is handed over.
    New(RoomId, Record),
    /// Viewers have it.
    Delivered(Entry),
}

/// One lock, so that stamps rise in the order of the partition.
struct Writer {
    producer: ThreadedProducer<Reports>,
    topic: String,
    stamps: Arc<Stamps>,
    shard: Shard,
}

impl KafkaLog {
    /// A log on the topic that [`super::prepare`] made, which `watch` watches. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When librdkafka finds the settings impossible; brokers that are away are no error.
    pub fn open(
        settings: KafkaSettings,
        stamps: Arc<Stamps>,
        shard: Shard,
        watch: Arc<Watch>,
        metrics: Arc<Metrics>,
    ) -> KafkaResult<Self> {
        // Each answer is of a record that the depth counts, so it has a place.
        let (answers, waiting) = mpsc::channel(WAITING_MAX);
        let reports = Reports { answers, depth: Arc::default(), failing: Arc::default(), metrics };
        let producer = produce(&settings, &reports)?;
        let writer = Arc::new(Mutex::new(Writer { producer, topic: settings.room_chat(), stamps, shard }));
        let (appends, groups) = mpsc::channel(WAITING_MAX);
        let tasks = [
            tokio::spawn(write(groups, writer.clone(), reports.clone())),
            tokio::spawn(reports.clone().answer(waiting)),
            tokio::spawn(mend(settings, writer, reports.clone())),
        ];
        Ok(Self { appends, reports, watch, _tasks: tasks.map(AbortOnDropHandle::new) })
    }

    /// Appends what viewers were already given by another way, at the places it has: the group that delivers leaves it
    /// out. Answers as [`Log::submit`] does.
    pub fn submit_delivered(&self, run: Vec<(Entry, Done)>) {
        if let Err(why) = self.take(run.len()) {
            return answer(run.into_iter().map(|(_, done)| (done, Err(why))));
        }
        self.hand_over(run.into_iter().map(|(entry, done)| (What::Delivered(entry), done)));
    }

    /// Whether an append has no chance now: then it fails at once rather than after the timeout.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self.watch.health(), Health::Away(_))
    }

    /// Whether every room's records are taken, as far as is known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.watch.health() == Health::Well
    }

    /// Waits until everything that was taken is answered, or `within` is over.
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

    /// Each of them has a place, since the depth counts it.
    fn hand_over(&self, run: impl Iterator<Item = (What, Done)>) {
        let started = Instant::now();
        for (what, done) in run {
            if let Err(error) = self.appends.try_send(Append { what, done, started }) {
                self.reports.tell(error.into_inner().done, Err(AppendError::Away), started);
            }
        }
    }

    /// Whether so many records can be taken; they count as waiting then.
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

/// A group's part in what is on its way; given back when all of the group is answered.
type Slot = Option<Arc<OwnedSemaphorePermit>>;

/// Hands over what waits, group by group.
async fn write(mut appends: mpsc::Receiver<Append>, writer: Arc<Mutex<Writer>>, reports: Reports) {
    let slots = Arc::new(Semaphore::new(GROUPS_MAX));
    let mut group = Vec::new();
    while appends.recv_many(&mut group, GROUP_MAX).await > 0 {
        let slot = timeout(GROUP_PATIENCE, slots.clone().acquire_owned()).await;
        let slot = slot.ok().and_then(Result::ok).map(Arc::new);
        // What came meanwhile goes along.
        while group.len() < GROUP_MAX
            && let Ok(append) = appends.try_recv()
        {
            group.push(append);
        }
        let writer = writer.lock();
        group.drain(..).for_each(|append| writer.append(append, slot.clone(), &reports));
    }
}

impl Writer {
    fn append(&self, Append { what, done, started }: Append, slot: Slot, reports: &Reports) {
        let (room_id, record, position) = match what {
            What::New(room_id, record) => (room_id, record, None),
            What::Delivered(Entry { room_id, record, position }) => (room_id, record, Some(position)),
        };
        // Asked once: the room may become hot, or cool, at any moment, and key and place have to agree.
        let shard = (self.shard)(&room_id, &record);
        let delivered = position.is_some();
        let Some(position) = position.or_else(|| self.place(shard.is_some())) else {
            return reports.tell(done, Err(AppendError::Away), started);
        };
        let owed = Owed { done, position, started, _slot: slot };
        self.send(&Logged { entry: Entry { room_id, position, record }, delivered }, shard, owed, reports);
    }

    /// `None` while this node has no number to make places with.
    fn place(&self, is_spread: bool) -> Option<Position> {
        let stamp = self.stamps.next()?;
        Some(Position { epoch: 1, offset: if is_spread { stamp::spread(stamp) } else { stamp } })
    }

    fn send(&self, logged: &Logged, shard: Option<u16>, owed: Owed, reports: &Reports) {
        let Some(value) = logged.encode() else {
            tracing::error!(room = logged.entry.room_id.as_str(), "a picture was appended, which has no bytes");
            return reports.tell(owed.done, Err(AppendError::Away), owed.started);
        };
        let room_id = &logged.entry.room_id;
        let key = match shard {
            Some(shard) => format!("{room_id}#{shard}"),
            None => room_id.to_string(),
        };
        let message = BaseRecord::with_opaque_to(&self.topic, Box::new(Mutex::new(owed))).key(&key).payload(&value);
        if let Err((error, message)) = self.producer.send(message) {
            reports.failed(message.delivery_opaque, &error);
        }
    }
}

/// A record that is on its way.
struct Owed {
    done: Done,
    position: Position,
    started: Instant,
    _slot: Slot,
}

/// One answer.
struct Answer {
    done: Done,
    result: Result<Position, AppendError>,
    started: Instant,
}

/// Hears from librdkafka what became of each record.
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
    fn tell(&self, done: Done, result: Result<Position, AppendError>, started: Instant) {
        // Nobody answers while the process ends; then the record is dropped, which its appender sees.
        let _ = self.answers.try_send(Answer { done, result, started });
    }

    #[allow(clippy::boxed_local)] // As librdkafka holds it.
    fn failed(&self, owed: Box<Mutex<Owed>>, error: &KafkaError) {
        count(&self.metrics.kafka_errors, "operation", "append");
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Kafka does not take a record; more of these are counted, not logged");
        }
        let Owed { done, started, .. } = owed.into_inner();
        let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
        self.tell(done, Err(if full { AppendError::Full } else { AppendError::Away }), started);
    }

    /// Gives the answers, those that wait together as one run.
    async fn answer(self, mut waiting: mpsc::Receiver<Answer>) {
        let mut run = Vec::with_capacity(TOGETHER_MAX);
        while waiting.recv_many(&mut run, TOGETHER_MAX).await > 0 {
            self.depth.fetch_sub(run.len(), Ordering::Relaxed);
            self.metrics.log_depth.dec_by(run.len().cast_signed() as i64);
            if let Some(first) = run.first() {
                self.metrics.log_commit.observe(first.started.elapsed().as_secs_f64());
            }
            answer(run.drain(..).map(|Answer { done, result, .. }| (done, result)));
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
    type DeliveryOpaque = Box<Mutex<Owed>>;

    fn delivery(&self, report: &DeliveryResult<'_>, owed: Self::DeliveryOpaque) {
        if let Err((error, _)) = report {
            return self.failed(owed, error);
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka takes records again");
        }
        let Owed { done, position, started, .. } = owed.into_inner();
        self.tell(done, Ok(position), started);
    }
}

fn produce(settings: &KafkaSettings, reports: &Reports) -> KafkaResult<ThreadedProducer<Reports>> {
    let mut config = settings.producer();
    config.set("queue.buffering.max.messages", WAITING_MAX.to_string());
    config.create_with_context(reports.clone())
}

/// An idempotent producer whose numbers no longer match the brokers' never writes again, so another takes its place.
async fn mend(settings: KafkaSettings, writer: Arc<Mutex<Writer>>, reports: Reports) {
    let mut beat = interval(MEND_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Some((code, reason)) = writer.lock().producer.client().fatal_error() else { continue };
        tracing::error!(%code, reason, "the producer cannot go on; a new one takes its place");
        match produce(&settings, &reports) {
            Ok(new) => {
                let old = std::mem::replace(&mut writer.lock().producer, new);
                // It answers what it still holds, and joins its thread.
                tokio::task::spawn_blocking(move || drop(old));
            }
            Err(error) => tracing::error!(%error, "and cannot be made; tried again in a second"),
        }
    }
}
