//! Pending calls of the notification hook, queued when their message is stored.

use std::sync::Arc;

use model::chat::{Message, Recipient};
use model::{Snowflake, UserId};
use rusqlite::{Connection, Result, Row, params};

use super::messages::{COLUMN_COUNT, COLUMNS, message_row};
use crate::chat::OutboxCall;
use crate::sqlite::{column, int};

pub(super) fn due(db: &Connection, now_ms: i64, limit: usize) -> Result<Vec<OutboxCall>> {
    let mut sql = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, o.attempts FROM outbox o JOIN messages x ON x.id = o.message_id
         WHERE o.next_at_ms <= ? ORDER BY o.next_at_ms LIMIT ?"
    ))?;
    let row = |row: &Row<'_>| Ok((message_row(row)?, row.get(COLUMN_COUNT)?));
    let found = sql.query_map(params![now_ms, int(limit)], row)?.collect::<Result<Vec<_>>>()?;
    let call = |(message, attempts): (Arc<Message>, u32)| {
        let recipients = recipients(db, &message)?;
        Ok(OutboxCall { message, recipients, attempts })
    };
    found.into_iter().map(call).collect()
}

fn recipients(db: &Connection, message: &Message) -> Result<Vec<UserId>> {
    if let Recipient::User(user) = &message.to {
        return Ok(vec![user.clone()]);
    }
    let mut sql = db.prepare_cached(
        "SELECT user_id FROM members WHERE conversation = ? AND joined_position < ? AND user_id <> ?",
    )?;
    let seeing = params![int(message.conversation_id.0.0), int(message.position), message.from_user.as_str()];
    sql.query_map(seeing, |row| column(row, 0))?.collect()
}

pub(super) fn retry(db: &Connection, message: Snowflake, next_at_ms: i64) -> Result<()> {
    db.prepare_cached("UPDATE outbox SET attempts = attempts + 1, next_at_ms = ? WHERE message_id = ?")?
        .execute([next_at_ms, int(message.0)])?;
    Ok(())
}

pub(super) fn done(db: &Connection, messages: &[Snowflake]) -> Result<()> {
    let mut sql = db.prepare_cached("DELETE FROM outbox WHERE message_id = ?")?;
    for id in messages {
        sql.execute([int(id.0)])?;
    }
    Ok(())
}
