//! Pending calls of the notification hook, queued when their message is stored.

use std::sync::Arc;

use model::chat::{Message, Recipient};
use model::{Snowflake, UserId};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::messages::{COLUMN_COUNT, COLUMNS, message_row};
use super::push_numbers;
use crate::chat::OutboxCall;
use crate::mysql::row::{int, parsed};

/// Leases the calls that are due: delays them by the lease, after which another node gets them if this one is gone. Nodes
/// that ask at once wait for each other and find what is left, so no `SKIP LOCKED` is needed.
pub(super) async fn lease_due(
    db: &mut MySqlConnection,
    now_ms: i64,
    lease_ms: i64,
    limit: usize,
) -> Result<Vec<OutboxCall>> {
    let sql = "SELECT message_id FROM outbox WHERE next_at_ms <= ? ORDER BY next_at_ms, message_id LIMIT ? FOR UPDATE";
    let due: Vec<i64> = sqlx::query_scalar(sql).bind(now_ms).bind(int(limit)).fetch_all(&mut *db).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let ids = || due.iter().map(|id| Snowflake(id.cast_unsigned()));
    let mut sql = QueryBuilder::<MySql>::new(format!(
        "SELECT {COLUMNS}, o.attempts FROM outbox o JOIN messages x ON x.id = o.message_id WHERE o.message_id"
    ));
    push_numbers(&mut sql, ids());
    let rows = sql.push(" ORDER BY o.next_at_ms, o.message_id").build().fetch_all(&mut *db).await?;
    let found = rows.iter().map(|row| Ok((message_row(row)?, row.try_get::<i64, _>(COLUMN_COUNT)?)));
    let found = found.collect::<Result<Vec<_>>>()?;
    let mut sql = QueryBuilder::<MySql>::new("UPDATE outbox SET next_at_ms = ");
    push_numbers(sql.push_bind(now_ms.saturating_add(lease_ms)).push(" WHERE message_id"), ids());
    sql.build().execute(&mut *db).await?;
    let mut calls = Vec::with_capacity(found.len());
    for (message, attempts) in found {
        calls.push(call(db, message, attempts).await?);
    }
    Ok(calls)
}

async fn call(db: &mut MySqlConnection, message: Arc<Message>, attempts: i64) -> Result<OutboxCall> {
    let recipients = recipients(db, &message).await?;
    Ok(OutboxCall { message, recipients, attempts: u32::try_from(attempts).unwrap_or(u32::MAX) })
}

async fn recipients(db: &mut MySqlConnection, message: &Message) -> Result<Vec<UserId>> {
    if let Recipient::User(user) = &message.to {
        return Ok(vec![user.clone()]);
    }
    let sql = "SELECT user_id FROM members WHERE conversation = ? AND joined_position < ? AND user_id <> ?";
    let query = sqlx::query(sql).bind(int(message.conversation_id.0.0)).bind(int(message.position));
    let rows = query.bind(message.from_user.as_str()).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

pub(super) async fn retry(db: &mut MySqlConnection, message: Snowflake, next_at_ms: i64) -> Result<()> {
    let sql = "UPDATE outbox SET attempts = attempts + 1, next_at_ms = ? WHERE message_id = ?";
    sqlx::query(sql).bind(next_at_ms).bind(int(message.0)).execute(db).await.map(drop)
}

pub(super) async fn done(db: &mut MySqlConnection, messages: &[Snowflake]) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<MySql>::new("DELETE FROM outbox WHERE message_id");
    push_numbers(&mut sql, messages.iter().copied());
    sql.build().execute(&mut *db).await.map(drop)
}
