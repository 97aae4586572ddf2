//! The in-process log: one task that gathers what was appended, has it made durable in one commit,
//! and hands it to the one consumer of the process.
//!
//! Owns the order and the next offset. Fed by `ingest`, heard by the room worker. It never touches
//! a database itself: a [`Journal`], given by the server's wiring, makes a run of entries durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use model::Metrics;
use tokio::sync::mpsc;

use crate::log::{AppendError, Consumer, Delivery, Done, Entry, Log, Position, Submission, answer};
use crate::stamp::Stamps;

/// Records that may wait for a commit; a run that would make more is refused with [`AppendError::Full`].
const WAITING_MAX: usize = 65_536;
/// A commit with so many records takes no further run along.
const COMMIT_MAX: usize = 2_048;
/// Committed runs that may wait for the consumer; beyond it commits wait, and so do appenders.
const DELIVERIES_MAX: usize = 8;

/// Makes a run of entries durable.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Commits the run as a whole: `Ok` means that it survives a crash, `Err` that none of it was
    /// kept. The journal says why in its own log.
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError>;
}

/// The appending end; clones share it. The log closes when the last clone is gone and what was
/// waiting has been committed.
#[derive(Clone)]
pub struct LocalLog {
    queue: mpsc::Sender<Vec<Submission>>,
    /// Records in the queue, which is what bounds it.
    depth: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// How records are numbered.
pub enum Places {
    /// One after the other, after the newest one that the journal holds: for a log that is the only one.
    Counted(Position),
    /// By stamps that other nodes' logs do not give.
    Stamped(Arc<Stamps>),
}

impl Places {
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
pub fn open(journal: Arc<dyn Journal>, places: Places, metrics: Arc<Metrics>) -> (LocalLog, LocalConsumer) {
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

/// Gathers, commits, delivers. One per log, so it alone gives places.
struct Committer {
    journal: Arc<dyn Journal>,
    places: Places,
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
            Ok(()) => {
                let delivery = LocalDelivery { entries, owed };
                // A consumer that has gone away drops the delivery, which acknowledges it: it is durable.
                let _ = self.deliveries.send(delivery).await;
            }
            Err(why) => answer(owed.into_iter().map(|done| (done, Err(why)))),
        }
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

/// A committed run. Its appenders get their answer when it is dropped: by then the consumer has
/// handled it, or died trying, and either way it is durable.
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

    use model::RoomId;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::conformance::{self, marked};

    #[derive(Default)]
    struct Counting {
        kept: AtomicUsize,
        away: AtomicBool,
    }

    #[async_trait]
    impl Journal for Counting {
        async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
            if self.away.load(Ordering::SeqCst) {
                return Err(AppendError::Away);
            }
            self.kept.fetch_add(entries.len(), Ordering::SeqCst);
            Ok(())
        }
    }

    fn start(after: u64) -> (Arc<Counting>, Arc<dyn Log>, Box<dyn Consumer>) {
        let journal = Arc::new(Counting::default());
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (log, consumer) = open(journal.clone(), Places::Counted(Position { epoch: 1, offset: after }), metrics);
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
