//! Checks whether the database accepts writes, without risking anybody's comment.
//!
//! Called by readiness checks. After a failed commit the write-ahead log may still have room for one small write, so the check
//! needs room for many pages before it reports success.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rusqlite::Connection;

/// Bytes that the disk must accept to count as writable.
const ROOM_BYTES: usize = 1 << 20;

/// Reads a page.
pub(super) fn read(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA user_version", [], |_| Ok(()))
}

/// Rewrites a page with its own content.
pub(super) fn write(db: &Connection) -> rusqlite::Result<()> {
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    db.pragma_update(None, "user_version", version)
}

/// Writes a file and removes it.
pub(super) fn room(path: &Path) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_all()
    });
    // A file that could not even be made is not there to be removed.
    let _ = fs::remove_file(path);
    written
}
