//! The spool: a file on this node that holds records while the system they belong to is away.
//!
//! A record in it is as durable as this node's disk: an SQLite database, one transaction and one fsync (`synchronous=FULL`) per
//! write. It keeps records in order of arrival, with their positions, until they are handed over and removed. A process killed
//! between the two hands them over again, so the sink must drop repeats by id. [`journal`] is how the in-process log uses it.
//! Bounded in rows and bytes: a full spool refuses records.

mod journal;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::{Comment, Metrics, Repeat};
use parking_lot::Mutex;
use rusqlite::{Connection, params};

pub use self::journal::{Sink, SpoolingJournal};
use crate::local::Journal;
use crate::port::{AppendError, Entry, Record};
use crate::record::Logged;

/// How long to wait for a file that an ending process still holds.
const BUSY: Duration = Duration::from_secs(5);

/// Bounds of the file.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records.
    pub rows_max: u64,
    /// Bytes of all records; the file is a little larger.
    pub bytes_max: u64,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the spool: {0}")]
pub struct SpoolError(#[from] rusqlite::Error);

/// A waiting record.
#[derive(Debug)]
pub struct Spooled {
    /// Its row, for removing it.
    pub row: i64,
    /// The record, and whether viewers have it; `None` when a newer version wrote what this one does not understand.
    pub logged: Option<Logged>,
}

/// The spool's content in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Records to hand over.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records set aside because the sink refused them and took others.
    pub aside: u64,
}

/// Kind of access: a read says nothing about a full disk.
#[derive(Clone, Copy)]
enum Does {
    Read,
    Write,
}

/// The file; clones share it. Only one process may have it open.
#[derive(Clone)]
pub struct Spool {
    file: Arc<Mutex<File>>,
    /// The last write failed and was logged; logged again only after a success.
    failing: Arc<AtomicBool>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

struct File {
    db: Connection,
    depth: Depth,
}

impl Spool {
    /// Opens the file with what an earlier run left in it; creates it when missing. Records set aside wait again.
    ///
    /// # Errors
    /// When it cannot be used or another process has it.
    pub fn open(path: &Path, bounds: Bounds, metrics: Arc<Metrics>) -> Result<Self, SpoolError> {
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA secure_delete = FAST;
             CREATE TABLE IF NOT EXISTS spool
                 (row INTEGER PRIMARY KEY, logged BLOB NOT NULL, aside INTEGER NOT NULL DEFAULT 0) STRICT;
             CREATE INDEX IF NOT EXISTS spool_waiting ON spool (row) WHERE NOT aside;
             UPDATE spool SET aside = 0 WHERE aside;",
        )?;
        let depth = db.query_row("SELECT COUNT(*), COALESCE(SUM(LENGTH(logged)), 0) FROM spool", [], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(Depth { rows: count(0)?, bytes: count(1)?, aside: 0 })
        })?;
        let (file, failing) = (Arc::new(Mutex::new(File { db, depth })), Arc::default());
        let spool = Self { file, failing, bounds, metrics };
        spool.show(depth);
        Ok(spool)
    }

    /// Writes a run: `Ok` means that it is on disk, `Err` that none of it is.
    ///
    /// # Errors
    /// [`AppendError::Full`] when it would hold too much, [`AppendError::Away`] when the file cannot be written.
    pub async fn put(&self, entries: &[Entry], delivered: bool) -> Result<(), AppendError> {
        let logged = |entry: &Entry| Logged { entry: entry.clone(), delivered }.encode();
        let run: Vec<_> = entries.iter().filter_map(logged).collect();
        let bytes: u64 = run.iter().map(|logged| logged.len() as u64).sum();
        let bounds = self.bounds;
        let put = self.with(Does::Write, move |file| {
            let Depth { rows, bytes: held, .. } = file.depth;
            if rows + run.len() as u64 > bounds.rows_max || held + bytes > bounds.bytes_max {
                return Ok(Err(AppendError::Full));
            }
            file.insert(&run)?;
            file.depth = Depth { rows: rows + run.len() as u64, bytes: held + bytes, ..file.depth };
            Ok(Ok(()))
        });
        put.await.unwrap_or(Err(AppendError::Away))
    }

    /// The oldest waiting records, in order of arrival.
    ///
    /// # Errors
    /// [`SpoolError`], counted and logged.
    pub async fn oldest(&self, limit: usize) -> Result<Vec<Spooled>, SpoolError> {
        self.with(Does::Read, move |file| {
            let sql = "SELECT row, logged FROM spool WHERE NOT aside ORDER BY row LIMIT ?";
            let mut statement = file.db.prepare_cached(sql)?;
            let spooled = statement.query_map([limit as i64], |row| {
                let logged = Logged::decode(row.get_ref(1)?.as_blob()?).ok().flatten();
                Ok(Spooled { row: row.get(0)?, logged })
            })?;
            spooled.collect()
        })
        .await
    }

    /// Removes records that were handed over.
    ///
    /// # Errors
    /// [`SpoolError`], counted and logged; they are then handed over again.
    pub async fn remove(&self, rows: Vec<i64>) -> Result<(), SpoolError> {
        self.with(Does::Write, move |file| {
            file.take_out(&rows, "DELETE FROM spool WHERE row = ? RETURNING LENGTH(logged)", false)
        })
        .await
    }

    /// Sets a record aside that the sink refuses while it takes others, so that it blocks none. It is tried again at the next
    /// start.
    ///
    /// # Errors
    /// [`SpoolError`], counted and logged.
    pub async fn put_aside(&self, row: i64) -> Result<(), SpoolError> {
        let sql = "UPDATE spool SET aside = 1 WHERE row = ? RETURNING LENGTH(logged)";
        self.with(Does::Write, move |file| file.take_out(&[row], sql, true)).await
    }

    /// Calls `each` with every waiting comment and its `client_msg_id`, oldest first: the store does not know these answers of
    /// an earlier run yet.
    ///
    /// # Errors
    /// [`SpoolError`], counted and logged.
    pub async fn answered(&self, each: impl Fn(&Comment, &str)) -> Result<(), SpoolError> {
        for Spooled { logged, .. } in self.oldest(i64::MAX as usize).await? {
            if let Some(Record::Comment { comment, client_msg_id: Some(key), .. }) = logged.map(|it| it.entry.record) {
                each(&comment, &key);
            }
        }
        Ok(())
    }

    /// The numbers now.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.file.lock().depth
    }

    /// Whether the disk accepts writes. Tries one only after a failure.
    pub async fn is_writable(&self) -> bool {
        let try_it = |file: &mut File| {
            let transaction = file.db.transaction()?;
            transaction
                .execute_batch("INSERT INTO spool (row, logged) VALUES (-1, X''); DELETE FROM spool WHERE row = -1;")?;
            transaction.commit()
        };
        !self.failing.load(Ordering::Relaxed) || self.with(Does::Write, try_it).await.is_ok()
    }

    /// Runs `work` on a thread that may wait for the disk.
    async fn with<T: Send + 'static>(
        &self,
        does: Does,
        work: impl FnOnce(&mut File) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut file = file.lock();
            (work(&mut file), file.depth)
        });
        let (done, depth) = match done.await {
            Ok(done) => done,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        };
        self.show(depth);
        let failed_before = match (does, &done) {
            (Does::Read, Ok(_)) => self.failing.load(Ordering::Relaxed),
            (_, done) => self.failing.swap(done.is_err(), Ordering::Relaxed),
        };
        done.map_err(|error| {
            self.metrics.spool_errors.inc();
            if !failed_before {
                tracing::error!(%error, "this node's disk does not take what is to be spooled");
            }
            error.into()
        })
    }

    fn show(&self, depth: Depth) {
        self.metrics.spool_records.set(depth.rows.cast_signed());
        self.metrics.spool_bytes.set(depth.bytes.cast_signed());
        self.metrics.spool_aside.set(depth.aside.cast_signed());
    }
}

impl File {
    fn insert(&mut self, run: &[Vec<u8>]) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO spool (logged) VALUES (?)")?;
            for logged in run {
                insert.execute(params![logged])?;
            }
        }
        transaction.commit()
    }

    /// Runs `sql`, which returns a record's bytes, for each row.
    fn take_out(&mut self, rows: &[i64], sql: &str, aside: bool) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        let mut depth = self.depth;
        for row in rows {
            let mut statement = transaction.prepare_cached(sql)?;
            let bytes: i64 = statement.query_row([row], |row| row.get(0))?;
            depth.rows = depth.rows.saturating_sub(1);
            depth.bytes = depth.bytes.saturating_sub(bytes.unsigned_abs());
            depth.aside += u64::from(aside);
        }
        transaction.commit()?;
        self.depth = depth;
        Ok(())
    }
}

/// The spool may be a log's only journal while delivery takes another way.
#[async_trait]
impl Journal for Spool {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
        self.put(entries, true).await.map(|()| Vec::new())
    }
}
