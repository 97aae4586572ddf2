//! Erases what one person wrote to others: contents, names, reactions. Everybody learns of it by a change.

use std::sync::Arc;

use model::chat::{ChangeKind, Message, Recall, count_reaction};
use model::{Snowflake, UserId};
use rusqlite::{Connection, Result, params};

use super::changes;
use super::messages::{self, COLUMN_COUNT, COLUMNS, message_row};
use crate::codes::reactions_to_json;
use crate::erasure::ErasedMessages;
use crate::sqlite::{int, uint};

/// One batch of a user's messages, in the order of their `client_msg_id`s, which an index holds. Returns how many of them
/// were not erased before.
pub(in crate::sqlite) fn erase_messages(
    db: &Connection,
    user: &UserId,
    after: &str,
    at_ms: i64,
    limit: usize,
) -> Result<(ErasedMessages, usize)> {
    let mut sql = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, x.content <> '' OR x.from_name <> '' OR x.recalled_at_ms IS NULL FROM messages x
         WHERE x.from_user = ? AND x.client_msg_id > ? AND x.created_at_ms <= ? ORDER BY x.client_msg_id LIMIT ?"
    ))?;
    let found = sql.query_map(params![user.as_str(), after, at_ms, int(limit)], |row| {
        Ok((message_row(row)?, row.get::<_, bool>(COLUMN_COUNT)?))
    })?;
    let found: Vec<(Arc<Message>, bool)> = found.collect::<Result<_>>()?;
    let next = found.last().filter(|_| found.len() >= limit).map(|(message, _)| message.client_msg_id.clone());
    let mut erased = Vec::new();
    for (message, _) in found.into_iter().filter(|(_, is_whole)| *is_whole) {
        erased.push(erase(db, &message, user, at_ms)?);
    }
    let count = erased.len();
    Ok((ErasedMessages { messages: erased, next }, count))
}

fn erase(db: &Connection, message: &Message, user: &UserId, at_ms: i64) -> Result<Arc<Message>> {
    let id = int(message.id.0);
    db.prepare_cached(
        "UPDATE messages SET content = '', from_name = '', reactions = NULL,
             recalled_by = coalesce(recalled_by, ?), recalled_at_ms = coalesce(recalled_at_ms, ?) WHERE id = ?",
    )?
    .execute(params![user.as_str(), at_ms, id])?;
    for sql in ["DELETE FROM outbox WHERE message_id = ?", "DELETE FROM reactions WHERE message_id = ?"] {
        db.prepare_cached(sql)?.execute([id])?;
    }
    if message.recalled.is_none() {
        changes::insert(db, message, ChangeKind::Recalled, user, at_ms)?;
    }
    let recalled = message.recalled.clone().or(Some(Recall { by: user.clone(), at_ms }));
    let (content, from_name, reactions) = ("".into(), "".into(), Box::default());
    Ok(Arc::new(Message { content, from_name, reactions, recalled, ..message.clone() }))
}

/// Takes back reactions of a user, at most `limit`. Returns how many.
pub(in crate::sqlite) fn erase_reactions(db: &Connection, user: &UserId, at_ms: i64, limit: usize) -> Result<usize> {
    let mut sql = db.prepare_cached("SELECT message_id, emoji FROM reactions WHERE user_id = ? LIMIT ?")?;
    let given = sql.query_map(params![user.as_str(), int(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let given: Vec<(i64, String)> = given.collect::<Result<_>>()?;
    for (id, emoji) in &given {
        db.prepare_cached("DELETE FROM reactions WHERE message_id = ? AND user_id = ? AND emoji = ?")?
            .execute(params![id, user.as_str(), emoji])?;
        let Some(message) = messages::by_id(db, Snowflake(uint(*id)))? else { continue };
        let Some(reactions) = count_reaction(&message.reactions, emoji, false) else { continue };
        db.prepare_cached("UPDATE messages SET reactions = ? WHERE id = ?")?
            .execute(params![reactions_to_json(&reactions), id])?;
        db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 3")?.execute([id])?;
        changes::insert(db, &message, ChangeKind::Reacted, user, at_ms)?;
    }
    Ok(given.len())
}
