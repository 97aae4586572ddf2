//! A worker that lags.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use fanout::{Fanout, Weight};
use log::{Change, Consumer, Delivery, Entry, Position, Record};
use model::{Metrics, RoomId, SnowflakeGenerator, SystemClock};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use store::sqlite::SqliteStore;
use worker::Worker;
use worker::leaderboards::Leaderboards;

/// Runs that all wait already; what is committed is noted.
struct Backlog {
    runs: VecDeque<Run>,
}

struct Run {
    entries: Vec<Entry>,
    committed: Arc<Mutex<usize>>,
}

impl Delivery for Run {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn commit(self: Box<Self>) {
        *self.committed.lock() += 1;
    }
}

#[async_trait]
impl Consumer for Backlog {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        self.runs.pop_front().map(|run| Box::new(run) as Box<dyn Delivery>)
    }
}

#[derive(Default)]
struct Pushed(Mutex<Vec<(String, Vec<u64>)>>);

impl Fanout for Pushed {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let offsets = entries.iter().map(|entry| entry.position.offset).collect();
        self.0.lock().push((room_id.to_string(), offsets));
    }
}

#[tokio::test]
async fn of_two_comments_with_one_client_msg_id_the_later_is_neither_counted_nor_pushed() {
    let said = |offset: u64, id: u64, key: &str| Entry {
        room_id: "hall".parse().expect("an id"),
        position: Position { epoch: 1, offset },
        record: Record::Comment {
            comment: Arc::new(testkit::comments::comment(id)),
            client_msg_id: Some(key.into()),
            keep: true,
        },
    };
    let committed = Arc::new(Mutex::new(0));
    let run = |entries: Vec<Entry>| Run { entries, committed: committed.clone() };
    // The worker that held the partition before pushed the first of them too.
    let runs = [
        run(vec![said(1, 1, "a"), said(2, 2, "b")]),
        run(vec![said(3, 3, "a"), said(4, 1, "a")]),
        // Both in one block.
        run(vec![said(5, 5, "c"), said(6, 6, "c")]),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&dir.path().join("db"), metrics.clone()).expect("a store"));
    let (clock, pushed) = (Arc::new(SystemClock), Arc::new(Pushed::default()));
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
    let boards = Arc::new(Leaderboards::new(store));
    let worker = Worker::new(Box::new(Backlog { runs: runs.into() }), pushed.clone(), boards, clock, ids);
    worker.with_metrics(metrics.clone()).run().await;
    assert_eq!(*pushed.0.lock(), [("hall".to_owned(), vec![1, 2, 4, 5])], "its own repeat is the hub's to drop");
    assert_eq!((*committed.lock(), metrics.repeats.get_or_create(&vec![("part", "worker")]).get()), (3, 2));
}

#[tokio::test]
async fn a_worker_that_lags_pushes_important_rooms_first_and_handles_every_run() {
    let entry = |(offset, room): (u64, &str)| Entry {
        room_id: room.parse().expect("an id"),
        position: Position { epoch: 1, offset },
        record: Record::Changed(Change::Room),
    };
    let committed = Arc::new(Mutex::new(0));
    let run = |entries: &[(u64, &str)]| Run {
        entries: entries.iter().copied().map(entry).collect(),
        committed: committed.clone(),
    };
    let runs =
        [run(&[(1, "lobby"), (2, "hall")]), run(&[(3, "attic"), (4, "gala")]), run(&[(5, "lobby"), (6, "gala")])];

    let dir = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&dir.path().join("db"), metrics).expect("a store"));
    let (clock, pushed) = (Arc::new(SystemClock), Arc::new(Pushed::default()));
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
    let worker = Worker::new(
        Box::new(Backlog { runs: runs.into() }),
        pushed.clone(),
        Arc::new(Leaderboards::new(store)),
        clock,
        ids,
    );
    let priority = |room: &RoomId| match room.as_str() {
        "gala" => 10,
        "attic" => -1,
        _ => 0,
    };
    worker.with_priority(Arc::new(move |room| Weight { hot: false, priority: priority(room) })).run().await;

    let expected = [("gala", vec![4, 6]), ("lobby", vec![1, 5]), ("hall", vec![2]), ("attic", vec![3])];
    assert_eq!(*pushed.0.lock(), expected.map(|(room, offsets)| (room.to_owned(), offsets)));
    assert_eq!(*committed.lock(), 3);
}
