//! The log while Kafka is away: this node's in-process log, with the spool as its journal.
//!
//! Ingest appends to [`Fallback`]. A record that Kafka does not take is as durable as this node's disk; a worker that reads the
//! [`LocalConsumer`] delivers it to the gateways of all nodes. When Kafka is back the spool is appended in order, marked as
//! delivered, so that the store gets it and nobody sees it twice. Owns only the choice between the two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::try_join_all;
use model::{Metrics, Repeat};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::KafkaLog;
use crate::hlc::HybridClock;
use crate::local;
use crate::local::{Journal, LocalConsumer, LocalLog, PositionSource};
use crate::port::{AppendError, Done, Entry, Log, Submission};
use crate::spool::{Sink, Spool, SpoolingJournal};

/// An append that failed after longer than this is not tried here: this node was frozen, and whoever waited for the answer
/// has gone to another node, which may have taken the same comment.
const LATE: Duration = Duration::from_secs(10);

/// Appends to Kafka, or to this node while Kafka is away.
pub struct Fallback {
    kafka: Arc<KafkaLog>,
    here: LocalLog,
    journal: Arc<SpoolingJournal>,
    _drain: AbortOnDropHandle<()>,
}

impl Fallback {
    /// A log over `kafka`, with a spool of its own and the timestamps of `kafka`. Must be called within a Tokio runtime.
    #[must_use]
    pub fn open(
        kafka: Arc<KafkaLog>,
        spool: Spool,
        stamps: Arc<HybridClock>,
        metrics: Arc<Metrics>,
    ) -> (Self, LocalConsumer) {
        let journal = Arc::new(SpoolingJournal::new(Arc::new(Topic(kafka.clone())), spool));
        let (here, consumer) = local::open(journal.clone(), PositionSource::Stamped(stamps), metrics);
        let drained = journal.clone();
        let drain = AbortOnDropHandle::new(tokio::spawn(async move { drained.drain().await }));
        (Self { kafka, here, journal, _drain: drain }, consumer)
    }

    /// The journal that moves the spool to Kafka and knows the rooms concerned.
    #[must_use]
    pub fn journal(&self) -> Arc<SpoolingJournal> {
        self.journal.clone()
    }

    /// Whether records wait for Kafka.
    #[must_use]
    pub fn is_spooling(&self) -> bool {
        self.journal.is_spooling()
    }
}

impl Log for Fallback {
    fn submit(&self, run: Vec<Submission>) {
        if self.kafka.is_away() {
            return self.here.submit(run);
        }
        self.kafka.submit(run.into_iter().map(|waiting| or_else(&self.here, waiting)).collect());
    }
}

/// A record that Kafka refuses goes through this node's log.
fn or_else(here: &LocalLog, Submission { room_id, record, done }: Submission) -> Submission {
    let (here, room, again, begun) = (here.clone(), room_id.clone(), record.clone(), Instant::now());
    let done: Done = Box::new(move |result| match result {
        Err(AppendError::Away) if begun.elapsed() > LATE => done(Err(AppendError::Unknown)),
        Err(AppendError::Away) => {
            here.submit(vec![Submission { room_id: room, record: again, done }]);
            None
        }
        result => done(result),
    });
    Submission { room_id, record, done }
}

/// The spool's sink: the topic, with records that viewers got from this node.
struct Topic(Arc<KafkaLog>);

#[async_trait]
impl Journal for Topic {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
        let kept = entries.iter().filter(|entry| self.keeps(entry)).cloned();
        let (run, answers): (Vec<_>, Vec<_>) = kept.map(with_answer).unzip();
        self.0.submit_delivered(run);
        let placed = try_join_all(answers).await.map_err(|_| AppendError::Away)?;
        placed.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Whoever reads the topic finds the repeats.
        Ok(Vec::new())
    }
}

type Heard = oneshot::Receiver<Result<crate::Position, AppendError>>;

fn with_answer(entry: Entry) -> ((Entry, Done), Heard) {
    let (sender, heard) = oneshot::channel();
    let done = move |result| {
        // Whoever stopped waiting gives the run again.
        let _ = sender.send(result);
        None
    };
    ((entry, Box::new(done)), heard)
}

#[async_trait]
impl Sink for Topic {
    /// All partitions: a record that waits for the only leaderless one must not count as bad.
    async fn is_there(&self) -> bool {
        self.0.is_well()
    }

    /// Other records need no storing: their delivery was all.
    fn keeps(&self, entry: &Entry) -> bool {
        entry.record.is_kept()
    }
}
