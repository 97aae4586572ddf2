//! The two orders of chat. Numbers of each are taken from one row, which the transaction then holds until its commit:
//! so they become visible in their order, whichever node took them, and a reader who has seen everything up to a
//! number is never told anything before it later.
//!
//! Locks are taken in one sequence, so that no two transactions wait for each other: a group's conversation, then
//! positions, then other conversations; a member or a message, then changes. Numbers are taken late: others wait for
//! what comes after.

use sqlx::{MySqlConnection, Result};

use crate::mysql::row::int;

/// Which order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// Messages, as they are stored.
    Positions = 1,
    /// Recalls and read marks.
    Changes = 2,
}

/// Takes the next `count` numbers; returns the first of them.
pub(super) async fn take(db: &mut MySqlConnection, order: Order, count: usize) -> Result<i64> {
    // LAST_INSERT_ID(n) puts n into the statement's answer, which saves a question while others wait.
    let taken = sqlx::query("UPDATE chat_orders SET newest = LAST_INSERT_ID(newest + ?) WHERE chat_order = ?")
        .bind(int(count))
        .bind(order as i16)
        .execute(db)
        .await?;
    if taken.rows_affected() == 0 {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(int(taken.last_insert_id()) - int(count) + 1)
}

/// The newest number that is visible.
pub(super) async fn newest(db: &mut MySqlConnection, order: Order) -> Result<i64> {
    sqlx::query_scalar("SELECT newest FROM chat_orders WHERE chat_order = ?").bind(order as i16).fetch_one(db).await
}
