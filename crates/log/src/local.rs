//! The in-process log: one task gathers appended records, makes them durable in one commit, and hands them to the process's
//! only consumer.
//!
//! Owns the order and the next offset. `ingest` appends, the room worker consumes. It never touches a database itself: a
//! [`Journal`], which the server passes in, makes a run of entries durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use model::metrics::count_by;
use model::{Metrics, Repeat};
use tokio::sync::mpsc;

use crate::hlc::HybridClock;
use crate::port::{AppendError, Consumer, Delivery, Done, Entry, Log, Position, Record, Submission, answer};

/// Records that may wait for a commit. A run that would exceed it is refused with [`AppendError::Full`].
const WAITING_MAX: usize = 65_536;
/// Records in a commit from which on it includes no further run.
const COMMIT_MAX: usize = 2_048;
/// Committed runs that may wait for the consumer. Beyond it commits wait, and so do appenders.
const DELIVERIES_MAX: usize = 8;

/// Makes a run of entries durable.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Commits the run as a whole: `Ok` means that it survives a crash, but for the repeats, which are not stored; `Err`
    /// that none of it was stored or, with [`AppendError::Unknown`], that this is not known. The journal logs the cause
    /// itself.
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError>;
}

/// The appending end; clones share it. The log closes when the last clone is dropped and all waiting records are
/// committed.
#[derive(Clone)]
pub struct LocalLog {
    queue: mpsc::Sender<Vec<Submission>>,
    /// Records in the queue, which this count bounds.
    depth: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// How records are numbered.
pub enum PositionSource {
    /// Consecutive numbers after the journal's newest: for the only log of a deployment.
    Counted(Position),
    /// Hybrid timestamps, which no other node's log gives.
    Stamped(Arc<HybridClock>),
}

impl PositionSource {
    fn next(&mut self) -> Option<Position> {
        match self {
            Self::Counted(last) => {
                last.offset += 1;
                Some(*last)
            }
            Self::Stamped(stamps) => Some(Position { epoch: 1, offset: stamps.next()? }),
        }
    }
}

/// Starts the log. Returns the appending end and the consumer; must be called within a Tokio runtime.
pub fn open(journal: Arc<dyn Journal>, places: PositionSource, metrics: Arc<Metrics>) -> (LocalLog, LocalConsumer) {
    // The depth bounds it: no run in it is empty, so it never holds more runs than that.
    let (queue, waiting) = mpsc::channel(WAITING_MAX);
    let depth = Arc::new(AtomicUsize::new(0));
    let (deliveries, consumer) = mpsc::channel(DELIVERIES_MAX);
    let committer = Committer { journal, places, depth: depth.clone(), deliveries, metrics: metrics.clone() };
    tokio::spawn(committer.run(waiting));
    (LocalLog { queue, depth, metrics }, LocalConsumer { deliveries: consumer })
}

impl Log for LocalLog {
    fn submit(&self, run: Vec<Submission>) {
        let records = run.len();
        if records == 0 {
            return;
        }
        let refuse = |run: Vec<Submission>, why| answer(run.into_iter().map(|waiting| (waiting.done, Err(why))));
        if self.depth.fetch_add(records, Ordering::Relaxed) + records > WAITING_MAX {
            self.depth.fetch_sub(records, Ordering::Relaxed);
            return refuse(run, AppendError::Full);
        }
        self.metrics.log_depth.inc_by(records.cast_signed() as i64);
        // A closed log's committer is gone for good, and with it whoever counts down.
        match self.queue.try_send(run) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(run)) => refuse(run, AppendError::Full),
            Err(mpsc::error::TrySendError::Closed(run)) => refuse(run, AppendError::Away),
        }
    }
}

/// Gathers, commits, delivers. One per log, so it alone assigns positions.
struct Committer {
    journal: Arc<dyn Journal>,
    places: PositionSource,
    depth: Arc<AtomicUsize>,
    deliveries: mpsc::Sender<LocalDelivery>,
    metrics: Arc<Metrics>,
}

impl Committer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Vec<Submission>>) {
        while let Some(mut gathered) = waiting.recv().await {
            while gathered.len() < COMMIT_MAX
                && let Ok(more) = waiting.try_recv()
            {
                gathered.extend(more);
            }
            self.depth.fetch_sub(gathered.len(), Ordering::Relaxed);
            self.metrics.log_depth.dec_by(gathered.len().cast_signed() as i64);
            self.commit(gathered).await;
        }
    }

    async fn commit(&mut self, gathered: Vec<Submission>) {
        let (mut entries, mut owed) = (Vec::with_capacity(gathered.len()), Vec::with_capacity(gathered.len()));
        let mut unplaced = Vec::new();
        for Submission { room_id, record, done } in gathered {
            match self.places.next() {
                Some(position) => {
                    entries.push(Entry { room_id, position, record });
                    owed.push(done);
                }
                None => unplaced.push(done),
            }
        }
        let refused = |owed: Vec<Done>| answer(owed.into_iter().map(|done| (done, Err(AppendError::Away))));
        refused(unplaced);
        if entries.is_empty() {
            return;
        }
        let started = Instant::now();
        let committed = self.journal.commit(&entries).await;
        self.metrics.log_commit.observe(started.elapsed().as_secs_f64());
        match committed {
            Ok(repeats) => {
                if !repeats.is_empty() {
                    (entries, owed) = self.without_repeats(entries, owed, &repeats);
                }
                let delivery = LocalDelivery { entries, owed };
                // A consumer that has gone away drops the delivery, which acknowledges it: it is durable.
                let _ = self.deliveries.send(delivery).await;
            }
            Err(why) => answer(owed.into_iter().map(|done| (done, Err(why)))),
        }
    }

    /// Tells who appended a repeat what the earlier comment was answered. Nobody is delivered it.
    fn without_repeats(&self, entries: Vec<Entry>, owed: Vec<Done>, repeats: &[Repeat]) -> (Vec<Entry>, Vec<Done>) {
        count_by(&self.metrics.repeats, "part", "store", repeats.len() as u64);
        let first = |entry: &Entry| match &entry.record {
            Record::Comment { comment, .. } => repeats.iter().find(|repeat| repeat.id == comment.id),
            _ => None,
        };
        let (repeated, kept): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .zip(owed)
            .map(|(entry, done)| (first(&entry), entry, done))
            .partition(|it| it.0.is_some());
        let refused =
            repeated.into_iter().filter_map(|(first, _, done)| Some((done, Err(AppendError::Repeat(first?.first)))));
        answer(refused);
        kept.into_iter().map(|(_, entry, done)| (entry, done)).unzip()
    }
}

/// The reading end of the process's log.
pub struct LocalConsumer {
    deliveries: mpsc::Receiver<LocalDelivery>,
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        Some(Box::new(self.deliveries.recv().await?))
    }
}

/// A committed run. Dropping it answers its appenders: by then the consumer has handled it or died, and either way it is
/// durable.
struct LocalDelivery {
    entries: Vec<Entry>,
    owed: Vec<Done>,
}

impl Delivery for LocalDelivery {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn commit(self: Box<Self>) {}
}

impl Drop for LocalDelivery {
    fn drop(&mut self) {
        let places = self.entries.iter().map(|entry| Ok(entry.position));
        answer(self.owed.drain(..).zip(places));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use model::{FirstAnswer, RoomId, Snowflake};
    use prometheus_client::registry::Registry;
    use testkit::comments::comment;

    use super::*;
    use crate::conformance;
    use crate::conformance::marked;

    #[derive(Default)]
    struct Counting {
        kept: AtomicUsize,
        away: AtomicBool,
    }

    #[async_trait]
    impl Journal for Counting {
        async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
            if self.away.load(Ordering::SeqCst) {
                return Err(AppendError::Away);
            }
            self.kept.fetch_add(entries.len(), Ordering::SeqCst);
            Ok(Vec::new())
        }
    }

    fn start(after: u64) -> (Arc<Counting>, Arc<dyn Log>, Box<dyn Consumer>) {
        let journal = Arc::new(Counting::default());
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (log, consumer) =
            open(journal.clone(), PositionSource::Counted(Position { epoch: 1, offset: after }), metrics);
        (journal, Arc::new(log), Box::new(consumer))
    }

    fn hall() -> RoomId {
        RoomId::new("hall").expect("an id")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        let (journal, log, consumer) = start(0);
        conformance::log(log, consumer).await;
        assert_eq!(journal.kept.load(Ordering::SeqCst), 200, "what was delivered had been kept");
    }

    #[tokio::test]
    async fn an_append_is_answered_when_the_consumer_has_handled_it() {
        let (_, log, mut consumer) = start(41);
        let mut append = Box::pin(log.append(hall(), marked("a")));
        let delivery = tokio::select! {
            biased;
            _ = &mut append => panic!("answered before anybody saw it"),
            delivery = consumer.next() => delivery.expect("an open log goes on"),
        };
        delivery.commit();
        assert_eq!(append.await, Ok(Position { epoch: 1, offset: 42 }));
    }

    /// Says that its comments with even ids are repeats.
    struct Deciding;

    #[async_trait]
    impl Journal for Deciding {
        async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
            let ids = entries.iter().filter_map(|entry| match &entry.record {
                Record::Comment { comment, .. } if comment.id.0 % 2 == 0 => Some(comment.id),
                _ => None,
            });
            Ok(ids.map(|id| Repeat { id, first: FIRST }).collect())
        }
    }

    const FIRST: FirstAnswer = FirstAnswer { id: Snowflake(7), pending_review: false, created_at_ms: 1 };

    #[tokio::test]
    async fn a_repeat_is_answered_as_the_first_and_not_delivered() {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let counted = PositionSource::Counted(Position { epoch: 1, offset: 0 });
        let (log, mut consumer) = open(Arc::new(Deciding), counted, metrics);
        let said = |id| Record::Comment { comment: Arc::new(comment(id)), client_msg_id: Some("a".into()), keep: true };
        let appends = futures::future::join_all([1, 2, 3].map(|id| log.append(hall(), said(id))));
        let (answers, ids) = tokio::join!(appends, async {
            let delivery = consumer.next().await.expect("an open log goes on");
            let ids = delivery.entries().iter().map(|entry| match &entry.record {
                Record::Comment { comment, .. } => comment.id.0,
                other => panic!("{other:?}"),
            });
            let ids: Vec<_> = ids.collect();
            delivery.commit();
            ids
        });
        assert_eq!(ids, [1, 3]);
        assert_eq!(answers[1], Err(AppendError::Repeat(FIRST)));
        assert!(answers[0].is_ok() && answers[2].is_ok());
    }

    #[tokio::test]
    async fn what_the_journal_did_not_keep_is_not_delivered() {
        let (journal, log, mut consumer) = start(0);
        journal.away.store(true, Ordering::SeqCst);
        assert_eq!(log.append(hall(), marked("lost")).await, Err(AppendError::Away));
        journal.away.store(false, Ordering::SeqCst);
        let (place, ()) = tokio::join!(log.append(hall(), marked("kept")), async {
            let delivery = consumer.next().await.expect("an open log goes on");
            assert_eq!(delivery.entries().len(), 1);
            delivery.commit();
        });
        assert_eq!(place, Ok(Position { epoch: 1, offset: 2 }), "a place is given once");
    }

    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A run of marked records that notes the answers in their order, and wakes `woken`.
    fn run(count: usize, answers: &mpsc::Sender<(usize, bool)>, woken: &Arc<Counter>) -> Vec<Submission> {
        let submission = |n: usize| {
            let (answers, waker) = (answers.clone(), Waker::from(woken.clone()));
            let done: Done = Box::new(move |result| {
                answers.try_send((n, result.is_ok())).expect("the test listens");
                Some(waker)
            });
            Submission { room_id: hall(), record: marked(&n.to_string()), done }
        };
        (0..count).map(submission).collect()
    }

    #[tokio::test]
    async fn a_run_is_answered_in_its_order_and_wakes_once() {
        let (_, log, mut consumer) = start(0);
        let (answers, mut answered) = mpsc::channel(2 * WAITING_MAX);
        let woken = Arc::new(Counter(AtomicUsize::new(0)));
        log.submit(run(100, &answers, &woken));
        let delivery = consumer.next().await.expect("an open log goes on");
        assert_eq!((delivery.entries().len(), answered.len(), woken.0.load(Ordering::SeqCst)), (100, 0, 0));
        delivery.commit();
        for n in 0..100 {
            assert_eq!(answered.recv().await, Some((n, true)));
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_would_be_too_much_is_refused_at_once() {
        let (_, log, _consumer) = start(0);
        let (answers, mut answered) = mpsc::channel(2 * WAITING_MAX);
        let woken = Arc::new(Counter(AtomicUsize::new(0)));
        log.submit(run(WAITING_MAX + 1, &answers, &woken));
        assert_eq!(answered.try_recv(), Ok((0, false)));
        assert_eq!(answered.len(), WAITING_MAX);
        log.submit(run(1, &answers, &woken));
        assert_eq!(answered.len(), WAITING_MAX, "what fits is not refused");
    }

    #[tokio::test]
    async fn a_log_without_appenders_ends() {
        let (_, log, mut consumer) = start(0);
        drop(log);
        assert!(consumer.next().await.is_none());
    }
}
