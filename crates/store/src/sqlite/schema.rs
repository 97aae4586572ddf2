//! Opens connections and migrates the file to the newest schema.
//!
//! Migrations are numbered SQL files; `PRAGMA user_version` counts those applied. A migration only expands the schema, and a
//! later version contracts it. So an older program can be restored as long as the number is the same.

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
    include_str!("../../migrations/sqlite/0005_session_titles.sql"),
    include_str!("../../migrations/sqlite/0006_moderation_scopes.sql"),
    include_str!("../../migrations/sqlite/0007_shares.sql"),
    include_str!("../../migrations/sqlite/0008_message_changes.sql"),
    include_str!("../../migrations/sqlite/0009_moderation.sql"),
    include_str!("../../migrations/sqlite/0010_archive.sql"),
    include_str!("../../migrations/sqlite/0011_erasure.sql"),
    include_str!("../../migrations/sqlite/0012_samples.sql"),
    include_str!("../../migrations/sqlite/0013_notes.sql"),
];

/// How long a connection waits for another's lock. Only an outside tool can make it wait: the program has one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; more than the backend has.
const STATEMENTS_MAX: usize = 200;

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

/// Refuses a file that has another schema than this program's newest; migrates nothing.
pub(super) fn check_newest(path: &Path) -> Result<(), OpenError> {
    let found: u32 = open_reader(path)?.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found as usize {
        found if found == MIGRATIONS.len() => Ok(()),
        found => Err(OpenError::OtherVersion { found, known: MIGRATIONS.len() }),
    }
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
