//! A pool of read-only connections, used from Tokio's blocking threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Failures, contained, schema, steps};
use crate::Result;

/// Reads that run at once; the others wait.
const READERS: usize = 4;
/// How long a read waits for a connection before it fails.
const TURN_MAX: Duration = Duration::from_secs(5);

/// The pool; clones share it.
#[derive(Clone)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
    failures: Failures,
}

impl Readers {
    /// A pool over the file; it opens a connection when it first needs one.
    pub(super) fn new(path: PathBuf, failures: Failures) -> Self {
        let turns = Arc::new(Semaphore::new(READERS));
        Self { path: Arc::new(path), idle: Arc::default(), turns, failures }
    }

    /// Runs `work` on a blocking thread; it sees everything committed before it starts.
    pub(super) async fn query<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let refused = |why| self.failures.refused(operation, why);
        let turn = tokio::time::timeout(TURN_MAX, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(refused("too many reads are waiting"));
        };
        let readers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let result = readers.with_connection(work);
            drop(turn);
            result
        });
        match read.await {
            Ok(result) => result.map_err(|error| self.failures.note(operation, &error)),
            Err(_) => Err(refused("the read was abandoned")),
        }
    }

    /// The steps of SQLite's virtual machine that reads have taken since the last call: the work of a read, whatever the
    /// machine. Counts the statements that connections keep, which are nearly all.
    pub(super) fn take_steps(&self) -> u64 {
        self.idle.lock().iter().map(steps::take).sum()
    }

    fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.idle.lock().pop();
        let db = idle.map_or_else(|| schema::open_reader(&self.path), Ok)?;
        let result = contained(&db, work);
        self.idle.lock().push(db);
        result
    }
}
