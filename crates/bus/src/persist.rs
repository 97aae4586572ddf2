//! Keeping what stands on a log of many nodes: from a consumer to what comments are kept in, at that one's pace.
//!
//! The role `persist` is this loop, started by the server's wiring with a member of the group that persists. Delivery reads by
//! itself, so a slow or absent store delays no viewer: the log holds the records, and the lag grows. A run is committed
//! to the log after it is kept, so whoever is killed between the two keeps it again, which what lies behind drops by id.

use std::sync::Arc;
use std::time::Duration;

use model::Metrics;
use model::metrics::count;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::log::{Consumer, Entry};
use crate::spool::Behind;

/// How long to wait before a run is given again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// So often one record may be refused while others are taken.
const REFUSALS_MAX: u32 = 5;
/// When the node ends, what is being kept has so long.
const GRACE: Duration = Duration::from_secs(2);

/// Keeps what the log holds, until it ends or `closing` is cancelled.
pub async fn persist(
    mut consumer: Box<dyn Consumer>,
    behind: Arc<dyn Behind>,
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

/// Tries until it is kept. When what lies behind is there and yet refuses, one record is the reason: it is found, and left
/// on the log alone.
async fn keep(behind: &dyn Behind, run: &[Entry], metrics: &Metrics) {
    let (mut pause, mut refusals) = (PAUSE_MIN, 0);
    while behind.commit(run).await.is_err() {
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
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
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
    use model::RoomId;
    use parking_lot::Mutex;
    use prometheus_client::registry::Registry;
    use tokio::sync::mpsc;

    use super::*;
    use crate::conformance::marked;
    use crate::local::Journal;
    use crate::log::{AppendError, Delivery, Position};

    /// What records are kept in: away or there, and with records that it never takes.
    #[derive(Default)]
    struct Kept {
        places: Mutex<Vec<u64>>,
        away: Mutex<bool>,
        asked: AtomicU32,
        never: HashSet<u64>,
    }

    #[async_trait]
    impl Journal for Kept {
        async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let places = entries.iter().map(|entry| entry.position.offset);
            if *self.away.lock() || places.clone().any(|place| self.never.contains(&place)) {
                return Err(AppendError::Away);
            }
            self.places.lock().extend(places);
            Ok(())
        }
    }

    #[async_trait]
    impl Behind for Kept {
        async fn is_there(&self) -> bool {
            !*self.away.lock()
        }

        fn keeps(&self, _: &Entry) -> bool {
            true
        }
    }

    /// A log that tells what was committed to it.
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
