//! A worker that lags.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bus::{Change, Consumer, Delivery, Entry, Fanout, Position, Record, Weight};
use model::{Metrics, RoomId, SnowflakeGenerator, SystemClock};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use room::boards::Boards;
use room::worker::Worker;
use store::sqlite::SqliteStore;

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
    let worker =
        Worker::new(Box::new(Backlog { runs: runs.into() }), pushed.clone(), Arc::new(Boards::new(store)), clock, ids);
    let priority = |room: &RoomId| match room.as_str() {
        "gala" => 10,
        "attic" => -1,
        _ => 0,
    };
    worker.weighing(Arc::new(move |room| Weight { hot: false, priority: priority(room) })).run().await;

    let expected = [("gala", vec![4, 6]), ("lobby", vec![1, 5]), ("hall", vec![2]), ("attic", vec![3])];
    assert_eq!(*pushed.0.lock(), expected.map(|(room, offsets)| (room.to_owned(), offsets)));
    assert_eq!(*committed.lock(), 3);
}
