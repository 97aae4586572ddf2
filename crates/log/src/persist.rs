//! Copies a shared log into the store, at the store's pace.
//!
//! The role `persist` is this loop; the server starts it with a member of the persisting consumer group. Delivery has a group
//! of its own, so a slow or absent store delays no viewer: the log holds the records, and the lag grows. A run is committed
//! to the log after it is stored. A process killed between the two stores it again, and the store drops repeats by id.
//! It drops a later comment with the same `client_msg_id`, too.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use model::Metrics;
use model::metrics::{count, count_by};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::port::{Consumer, Entry};
use crate::spool::Sink;

/// Pauses between attempts to store a run. Attempts never end.
const RETRY: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(2))
    .without_max_times();
/// Refusals of one record, while others are stored, after which it is skipped.
const REFUSALS_MAX: u32 = 5;
/// Time that the run being stored has when the node ends.
const GRACE: Duration = Duration::from_secs(2);

/// Stores the log's records until the log ends or `closing` is cancelled.
pub async fn persist(
    mut consumer: Box<dyn Consumer>,
    behind: Arc<dyn Sink>,
    closing: CancellationToken,
    metrics: Arc<Metrics>,
) {
    while let Some(delivery) = consumer.next().await {
        let end = async {
            closing.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            () = keep(&*behind, delivery.entries(), &metrics) => delivery.commit(),
            // Whoever holds these partitions next reads it again.
            () = end => return,
        }
    }
}

/// Tries until the run is stored. When the store is available and still refuses, one record is the cause: it is found and
/// skipped.
async fn keep(behind: &dyn Sink, run: &[Entry], metrics: &Metrics) {
    let (mut pauses, mut refusals) = (RETRY.build(), 0);
    loop {
        if let Ok(repeats) = behind.commit(run).await {
            count_by(&metrics.repeats, "part", "store", repeats.len() as u64);
            return;
        }
        if behind.is_there().await {
            refusals += 1;
            match run {
                [one] if refusals == REFUSALS_MAX => return left_out(one, metrics),
                [_] => {}
                many => {
                    for one in many {
                        Box::pin(keep(behind, std::slice::from_ref(one), metrics)).await;
                    }
                    return;
                }
            }
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

fn left_out(entry: &Entry, metrics: &Metrics) {
    count(&metrics.kafka_errors, "operation", "keep");
    let (room, position) = (entry.room_id.as_str(), entry.position.offset);
    tracing::error!(room, position, "a record is refused where others are kept; it stays on the log alone");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use model::{Repeat, RoomId};
    use parking_lot::Mutex;
    use prometheus_client::registry::Registry;
    use tokio::sync::mpsc;

    use super::*;
    use crate::conformance::marked;
    use crate::local::Journal;
    use crate::port::{AppendError, Delivery, Position};

    /// A store that is away or available, and refuses some records always.
    #[derive(Default)]
    struct Kept {
        places: Mutex<Vec<u64>>,
        away: Mutex<bool>,
        asked: AtomicU32,
        never: HashSet<u64>,
    }

    #[async_trait]
    impl Journal for Kept {
        async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let places = entries.iter().map(|entry| entry.position.offset);
            if *self.away.lock() || places.clone().any(|place| self.never.contains(&place)) {
                return Err(AppendError::Away);
            }
            self.places.lock().extend(places);
            Ok(Vec::new())
        }
    }

    #[async_trait]
    impl Sink for Kept {
        async fn is_there(&self) -> bool {
            !*self.away.lock()
        }

        fn keeps(&self, _: &Entry) -> bool {
            true
        }
    }

    /// A log that reports what was committed to it.
    struct Runs(mpsc::Receiver<Vec<Entry>>, mpsc::Sender<usize>);

    #[async_trait]
    impl Consumer for Runs {
        async fn next(&mut self) -> Option<Box<dyn Delivery>> {
            Some(Box::new(Run(self.0.recv().await?, self.1.clone())))
        }
    }

    struct Run(Vec<Entry>, mpsc::Sender<usize>);

    impl Delivery for Run {
        fn entries(&self) -> &[Entry] {
            &self.0
        }

        fn commit(self: Box<Self>) {
            self.1.try_send(self.0.len()).expect("the test listens");
        }
    }

    struct World {
        kept: Arc<Kept>,
        runs: mpsc::Sender<Vec<Entry>>,
        committed: mpsc::Receiver<usize>,
        closing: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(kept: Kept) -> World {
        let (kept, closing) = (Arc::new(kept), CancellationToken::new());
        let ((runs, consumer), (commits, committed)) = (mpsc::channel(8), mpsc::channel(8));
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let consumer = Box::new(Runs(consumer, commits));
        let task = tokio::spawn(persist(consumer, kept.clone(), closing.clone(), metrics));
        World { kept, runs, committed, closing, task }
    }

    fn run(places: impl Iterator<Item = u64>) -> Vec<Entry> {
        let room_id = RoomId::new("hall").expect("an id");
        let entry = |offset| Entry {
            room_id: room_id.clone(),
            position: Position { epoch: 1, offset },
            record: marked(&offset.to_string()),
        };
        places.map(entry).collect()
    }

    #[tokio::test]
    async fn nothing_is_committed_before_it_is_kept_while_the_store_is_away() {
        let mut world = start(Kept { away: Mutex::new(true), ..Kept::default() });
        world.runs.send(run(1..4)).await.expect("it listens");
        testkit::eventually("it to be tried again", async || {
            (world.kept.asked.load(Ordering::Relaxed) > 2).then_some(())
        })
        .await;
        assert!(world.committed.try_recv().is_err());
        *world.kept.away.lock() = false;
        assert_eq!(world.committed.recv().await, Some(3));
        assert_eq!(*world.kept.places.lock(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn one_record_that_is_never_taken_does_not_hold_up_the_others() {
        let mut world = start(Kept { never: HashSet::from([2]), ..Kept::default() });
        world.runs.send(run(1..4)).await.expect("it listens");
        world.runs.send(run(4..6)).await.expect("it listens");
        assert_eq!((world.committed.recv().await, world.committed.recv().await), (Some(3), Some(2)));
        assert_eq!(*world.kept.places.lock(), [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_node_that_ends_while_the_store_is_away_leaves_it_to_the_next() {
        let mut world = start(Kept { away: Mutex::new(true), ..Kept::default() });
        world.runs.send(run(1..4)).await.expect("it listens");
        world.closing.cancel();
        world.task.await.expect("it ends");
        assert!(world.committed.try_recv().is_err());
    }
}
