//! The thread that copies the write-ahead log back into the database while the writer goes on.
//!
//! A checkpoint syncs both files, so on the writer's thread it would make a commit wait. A passive
//! one beside it blocks nobody (<https://www.sqlite.org/c3ref/wal_checkpoint_v2.html>).

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// Pages worth a checkpoint, 4 MiB: fewer would sync more often than they save.
const PAGES_MIN: i64 = 1_024;

/// The handle. Dropping it lets the thread finish and close its connection.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread.
    pub(super) fn start(db: Connection) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("sqlite-checkpoint".into()).spawn(move || run(&db, &woken))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Wakes the thread after a commit. Never waits: one pending wake-up is enough.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpointer had panicked");
        }
    }
}

fn run(db: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // A failure loses nothing: the log grows until the next checkpoint, or the writer's own.
        if let Err(error) = checkpoint(db) {
            tracing::warn!(%error, "the store's write-ahead log could not be copied back");
        }
    }
}

fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    let (pages, copied): (i64, i64) =
        db.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if pages - copied >= PAGES_MIN {
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}
