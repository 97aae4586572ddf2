//! The two sequences of chat.
//!
//! Each sequence is one row, which a transaction locks until its commit. So numbers become visible in order, whichever node
//! allocated them. A reader who has seen everything up to a number never misses anything before it.
//!
//! All transactions lock in the same order, so that no two deadlock: a group's conversation, then positions, then other
//! conversations; a member or a message, then changes. Numbers are allocated late, because others wait from then on.

use sqlx::{MySqlConnection, Result};

use crate::mysql::row::int;

/// Which sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sequence {
    /// Numbers messages.
    Positions = 1,
    /// Numbers recalls and read marks.
    Changes = 2,
}

/// Allocates the next `count` numbers; returns the first of them.
pub(super) async fn allocate(db: &mut MySqlConnection, sequence: Sequence, count: usize) -> Result<i64> {
    // LAST_INSERT_ID(n) puts n into the statement's answer, which saves a query while others wait.
    let allocated = sqlx::query("UPDATE chat_orders SET newest = LAST_INSERT_ID(newest + ?) WHERE chat_order = ?")
        .bind(int(count))
        .bind(sequence as i16)
        .execute(db)
        .await?;
    if allocated.rows_affected() == 0 {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(int(allocated.last_insert_id()) - int(count) + 1)
}

/// The newest number that is visible.
pub(super) async fn newest(db: &mut MySqlConnection, sequence: Sequence) -> Result<i64> {
    sqlx::query_scalar("SELECT newest FROM chat_orders WHERE chat_order = ?").bind(sequence as i16).fetch_one(db).await
}
