//! The log while Kafka is away: records go through this node's own log, whose journal is the spool.
//!
//! [`Fallback`] is what ingest appends to. What Kafka does not take is as durable as this node's disk, and delivered from here, by
//! a worker that reads the [`LocalConsumer`] and pushes to the gateways of all nodes. When Kafka is back the spool is appended
//! in order, marked as delivered: it is kept, and nobody sees it twice. Owns nothing but the choice between the two.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use model::Metrics;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::KafkaLog;
use crate::local::{self, Journal, LocalConsumer, LocalLog, Places};
use crate::log::{AppendError, Done, Entry, Log, Submission};
use crate::spool::{Behind, Spool, SpoolingJournal};
use crate::stamp::Stamps;

/// Kafka, or this node.
pub struct Fallback {
    kafka: Arc<KafkaLog>,
    here: LocalLog,
    journal: Arc<SpoolingJournal>,
    _drain: AbortOnDropHandle<()>,
}

impl Fallback {
    /// Over `kafka`, with a spool that nothing else uses and the stamps that `kafka` has. Must be called within a Tokio
    /// runtime.
    #[must_use]
    pub fn open(
        kafka: Arc<KafkaLog>,
        spool: Spool,
        stamps: Arc<Stamps>,
        metrics: Arc<Metrics>,
    ) -> (Self, LocalConsumer) {
        let journal = Arc::new(SpoolingJournal::new(Arc::new(Topic(kafka.clone())), spool));
        let (here, consumer) = local::open(journal.clone(), Places::Stamped(stamps), metrics);
        let drained = journal.clone();
        let drain = AbortOnDropHandle::new(tokio::spawn(async move { drained.drain().await }));
        (Self { kafka, here, journal, _drain: drain }, consumer)
    }

    /// What hands the spool over to Kafka, and knows of which rooms.
    #[must_use]
    pub fn journal(&self) -> Arc<SpoolingJournal> {
        self.journal.clone()
    }

    /// Whether records wait here for Kafka.
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

/// What turns out to be refused goes through this node's log.
fn or_else(here: &LocalLog, Submission { room_id, record, done }: Submission) -> Submission {
    let (here, room, again) = (here.clone(), room_id.clone(), record.clone());
    let done: Done = Box::new(move |result| match result {
        Err(AppendError::Away) => {
            here.submit(vec![Submission { room_id: room, record: again, done }]);
            None
        }
        result => done(result),
    });
    Submission { room_id, record, done }
}

/// What lies behind the spool: the topic, with what viewers have been given from here.
struct Topic(Arc<KafkaLog>);

#[async_trait]
impl Journal for Topic {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        let kept = entries.iter().filter(|entry| self.keeps(entry)).cloned();
        let (run, answers): (Vec<_>, Vec<_>) = kept.map(with_answer).unzip();
        self.0.submit_delivered(run);
        try_join_all(answers).await.map_err(|_| AppendError::Away)?.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
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
impl Behind for Topic {
    /// All of it: a record that waits for the one partition which has no leader is not to be taken for a bad one.
    async fn is_there(&self) -> bool {
        self.0.is_well()
    }

    /// Everything else has done what it is for when it is delivered.
    fn keeps(&self, entry: &Entry) -> bool {
        entry.record.is_kept()
    }
}
