//! Whether the database takes writes, found out without anybody's comment being the one that fails.
//!
//! Asked by readiness checks. After a failed commit the write-ahead log may still have room for the few pages
//! of one small write: only room for many says that the disk takes more again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rusqlite::Connection;

/// What the disk must take to count as writable, in bytes.
const ROOM_BYTES: usize = 1 << 20;

/// Reads a page.
pub(super) fn read(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA user_version", [], |_| Ok(()))
}

/// Writes a page with what it holds already.
pub(super) fn write(db: &Connection) -> rusqlite::Result<()> {
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    db.pragma_update(None, "user_version", version)
}

/// Writes a file for a moment.
pub(super) fn room(path: &Path) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_all()
    });
    // A file that could not even be made is not there to be removed.
    let _ = fs::remove_file(path);
    written
}
