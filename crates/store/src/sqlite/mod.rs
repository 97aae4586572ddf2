//! The embedded backend: one SQLite file in WAL mode (<https://www.sqlite.org/wal.html>).
//!
//! One thread does all writes and commits them in groups ([`writer`]). Another copies the write-ahead log back into the
//! file ([`checkpoint`]). A few read-only connections serve the reads ([`readers`]). Each noun has a file with its port and its
//! SQL. The server opens the store; callers see only the ports.

mod archive;
mod audit_file;
mod chat;
mod checkpoint;
mod code_column;
mod comments;
mod documents;
mod erasure;
mod events;
mod expire;
mod keys;
mod likes;
mod maintenance;
mod moderation;
mod notes;
mod probe;
mod readers;
mod rooms;
mod samples;
mod schema;
mod scores;
mod steps;
#[cfg(test)]
mod tests;
mod uploads;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use model::Metrics;
use model::metrics::count;
use model::panics::contain;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, ffi};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::audit_file::AuditFile;
use self::checkpoint::Checkpointer;
use self::readers::Readers;
use self::writer::Writer;
use crate::{Result, StoreError};

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock file cannot be created: usually a missing directory or permission.
    #[error("cannot lock {}: {cause}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Another server uses the file. Each of two would believe that it knows the newest position.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A newer version of the program wrote it.
    #[error("the database has schema {found}, newer than the {known} this program knows; use a newer barrage")]
    Newer {
        /// The schema of the file.
        found: usize,
        /// The newest schema of this program.
        known: usize,
    },
    /// The server that uses it has another version of this program.
    #[error("the running server has schema {found}, and this program {known}; use the same version")]
    OtherVersion {
        /// The schema of the file.
        found: usize,
        /// The newest schema of this program.
        known: usize,
    },
    /// SQLite refused.
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread did not start.
    #[error("cannot start the store's threads: {0}")]
    Thread(std::io::Error),
}

/// Copies a database into a new file as of one moment. Another process may write to it meanwhile.
///
/// # Errors
/// When the database is missing or cannot be read, or the new file exists or cannot be written.
pub fn snapshot(path: &Path, into: &Path) -> std::result::Result<(), OpenError> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // One read transaction: what is committed later is not in the copy.
    connection.execute("VACUUM INTO ?1", [into.to_string_lossy()])?;
    Ok(())
}

/// A store in one SQLite file. Dropping it finishes pending writes and closes the file.
pub struct SqliteStore {
    path: PathBuf,
    readers: Readers,
    writer: Writer,
}

impl SqliteStore {
    /// Opens or creates the database at `path`, in an existing directory, and migrates it to the newest schema. A file
    /// `<path>.lock` stays locked until the store is dropped or the process ends. Blocks while it works.
    ///
    /// # Errors
    /// [`OpenError`] says what failed; the file is unchanged then.
    pub fn open(path: &Path, metrics: Arc<Metrics>) -> std::result::Result<Self, OpenError> {
        let failures = Failures { metrics };
        let lock = lock(path)?;
        let db = schema::open_writer(path)?;
        let readers = Readers::new(path.to_owned(), failures.clone());
        let checkpointer = Checkpointer::start(schema::open_checkpointer(path)?).map_err(OpenError::Thread)?;
        let writer = Writer::start(db, checkpointer, lock, failures).map_err(OpenError::Thread)?;
        Ok(Self { path: path.to_owned(), readers, writer })
    }

    /// Opens the database at `path` while a server of this version uses it: a command beside it, which writes little. Waits
    /// for the server's transactions, and the server for these, for some seconds at most.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and when the server has another schema.
    pub fn open_beside(path: &Path, metrics: Arc<Metrics>) -> std::result::Result<Self, OpenError> {
        schema::check_newest(path)?;
        let failures = Failures { metrics };
        let lock_path = beside(path, ".lock");
        let lock = File::open(&lock_path).map_err(|cause| OpenError::Lock { path: lock_path, cause })?;
        let db = schema::open_writer(path)?;
        let readers = Readers::new(path.to_owned(), failures.clone());
        let checkpointer = Checkpointer::start(schema::open_checkpointer(path)?).map_err(OpenError::Thread)?;
        let writer = Writer::start(db, checkpointer, lock, failures).map_err(OpenError::Thread)?;
        Ok(Self { path: path.to_owned(), readers, writer })
    }

    /// The steps of SQLite's virtual machine that finished reads have taken since the last call. For tests of what reads
    /// cost; while nothing reads, it is exact.
    pub fn take_read_steps(&self) -> u64 {
        self.readers.take_steps()
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.query(operation, work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.submit(operation, work).await
    }
}

/// The database's path with this ending added.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Locks the file beside the database. The operating system releases it when the process ends.
fn lock(path: &Path) -> std::result::Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    let failed = |cause| OpenError::Lock { path: lock_path.clone(), cause };
    let file = OpenOptions::new().create(true).append(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Reports failures: once in the log, and once for each operation in the metrics.
#[derive(Clone)]
struct Failures {
    metrics: Arc<Metrics>,
}

impl Failures {
    /// Logs and counts a failure of SQLite.
    fn note(&self, operation: &'static str, error: &rusqlite::Error) -> StoreError {
        self.count(operation);
        self.log(operation, error)
    }

    fn log(&self, operation: &'static str, error: &rusqlite::Error) -> StoreError {
        let code = error.sqlite_error().map(|error| error.extended_code);
        tracing::error!(operation, code, %error, "the store failed");
        StoreError(format!("{operation}: {error}"))
    }

    /// Counts an operation that was not tried. It is no error in the log: overload would write a line for each caller.
    fn refused(&self, operation: &'static str, why: &str) -> StoreError {
        self.count(operation);
        tracing::debug!(operation, why, "the store refused");
        StoreError(format!("{operation}: {why}"))
    }

    fn count(&self, operation: &'static str) {
        count(&self.metrics.store_errors, "operation", operation);
    }
}

/// Runs one caller's work on a connection that others use next. A panic becomes that caller's error, and its changes are
/// rolled back as after any error.
fn contained<T>(db: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    contain(|| work(db)).unwrap_or_else(|| {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERNAL), Some("a panic".into())))
    })
}

/// A number as SQLite's signed integer. Ids, positions and counts stay far below its maximum.
fn int(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Back from [`int`].
fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A text column, parsed into its type.
fn column<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// A text column that may be null, parsed into its type.
fn optional_column<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(index)?.data_type() == Type::Null { Ok(None) } else { column(row, index).map(Some) }
}

fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A JSON column.
fn from_json<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}
