//! Opening a connection and bringing the file to the newest schema.
//!
//! Migrations are numbered SQL files; `PRAGMA user_version` says how many a file has had. They
//! first expand and only a later version contracts, so that a program one version older can be put
//! back as long as the number is the same.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// Every migration, oldest first; one that was released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_chat.sql"),
    include_str!("../../migrations/sqlite/0003_keys.sql"),
    include_str!("../../migrations/sqlite/0004_uploads.sql"),
];

/// How long a connection waits for another's lock. Only a tool that looks into the file from
/// outside can make it wait: the program has one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; more than the backend has.
const STATEMENTS_MAX: usize = 160;

/// The writing connection.
///
/// - `synchronous=FULL`: in WAL mode each commit is one fsync, and what it acknowledged survives a
///   power cut (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
/// - The checkpointer copies the write-ahead log back; only when that grew to 64 MiB all the same
///   does the writer copy what is left, so that the log can begin anew.
/// - No memory map: a failing disk would kill the process by a signal instead of failing a call.
/// - `secure_delete=FAST` overwrites erased text where that costs no further I/O.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = connect(path, flags)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = FAST;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -32768;
         PRAGMA wal_autocheckpoint = 16384;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    migrate(&mut db)?;
    Ok(db)
}

/// The connection of the checkpointer; it writes nothing of its own.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(db)
}

/// A connection that can only read.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")?;
    Ok(db)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(db)
}

/// Applies what the file has not had yet, each migration in a transaction with its number.
fn migrate(db: &mut Connection) -> Result<(), OpenError> {
    let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = found as usize;
    if found > MIGRATIONS.len() {
        return Err(OpenError::Newer { found, known: MIGRATIONS.len() });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).skip(found) {
        let transaction = db.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
