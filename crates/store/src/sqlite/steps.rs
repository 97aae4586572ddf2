//! How much work a connection's statements were.
//!
//! SQLite counts the steps of its virtual machine for each statement; neither rusqlite nor a safe interface sums them.

#![allow(unsafe_code)]

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// The steps of all statements that the connection keeps, which start from nothing again.
pub(super) fn take(db: &Connection) -> u64 {
    // SAFETY: nobody else uses the connection: the caller holds it. The statements belong to it and live as long.
    unsafe {
        let handle = db.handle();
        let (mut steps, mut statement) = (0, ffi::sqlite3_next_stmt(handle, std::ptr::null_mut()));
        while !statement.is_null() {
            let taken: c_int = ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 1);
            steps += u64::from(taken.unsigned_abs());
            statement = ffi::sqlite3_next_stmt(handle, statement);
        }
        steps
    }
}
