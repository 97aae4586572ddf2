//! Erases what one person wrote to others: contents, names, reactions. Everybody learns of it by a change.

use std::sync::Arc;

use model::chat::{ChangeKind, Message, Recall, count_reaction};
use model::{Snowflake, UserId};
use sqlx::{AssertSqlSafe, MySqlConnection, Result, Row};

use super::changes;
use super::messages::{self, COLUMN_COUNT, COLUMNS, message_row};
use crate::codes::reactions_to_json;
use crate::erasure::ErasedMessages;
use crate::mysql::row::{id, int, text};

/// One batch of a user's messages, in the order of their `client_msg_id`s, which an index holds. Returns how many of them
/// were not erased before.
pub(in crate::mysql) async fn erase_messages(
    db: &mut MySqlConnection,
    user: &UserId,
    after: &str,
    at_ms: i64,
    limit: usize,
) -> Result<(ErasedMessages, usize)> {
    let sql = AssertSqlSafe(format!(
        "SELECT {COLUMNS}, CAST(x.content <> '' OR x.from_name <> '' OR x.recalled_at_ms IS NULL AS SIGNED)
         FROM messages x WHERE x.from_user = ? AND x.client_msg_id > ? AND x.created_at_ms <= ?
         ORDER BY x.client_msg_id LIMIT ? FOR UPDATE"
    ));
    let query = sqlx::query(sql).bind(user.as_str()).bind(after.as_bytes()).bind(at_ms).bind(int(limit));
    let rows = query.fetch_all(&mut *db).await?;
    let (mut next, mut whole) = (None, Vec::new());
    for row in &rows {
        let message = message_row(row)?;
        next = Some(message.client_msg_id.clone());
        if row.try_get::<i64, _>(COLUMN_COUNT)? != 0 {
            whole.push(message);
        }
    }
    let mut erased = Vec::with_capacity(whole.len());
    for message in whole {
        erased.push(erase(db, &message, user, at_ms).await?);
    }
    let count = erased.len();
    Ok((ErasedMessages { messages: erased, next: next.filter(|_| rows.len() >= limit) }, count))
}

async fn erase(db: &mut MySqlConnection, message: &Message, user: &UserId, at_ms: i64) -> Result<Arc<Message>> {
    sqlx::query(
        "UPDATE messages SET content = '', from_name = '', reactions = NULL, upload_id = NULL,
             recalled_by = COALESCE(recalled_by, ?), recalled_at_ms = COALESCE(recalled_at_ms, ?)
         WHERE conversation = ? AND position = ?",
    )
    .bind(user.as_str())
    .bind(at_ms)
    .bind(int(message.conversation_id.0.0))
    .bind(int(message.position))
    .execute(&mut *db)
    .await?;
    for sql in ["DELETE FROM outbox WHERE message_id = ?", "DELETE FROM reactions WHERE message_id = ?"] {
        sqlx::query(sql).bind(int(message.id.0)).execute(&mut *db).await?;
    }
    if message.recalled.is_none() {
        changes::insert(db, message, ChangeKind::Recalled, user, at_ms).await?;
    }
    let recalled = message.recalled.clone().or(Some(Recall { by: user.clone(), at_ms }));
    let (content, from_name, reactions) = ("".into(), "".into(), Box::default());
    Ok(Arc::new(Message { content, from_name, reactions, recalled, ..message.clone() }))
}

/// Takes back reactions of a user, at most `limit`. Returns how many.
pub(in crate::mysql) async fn erase_reactions(
    db: &mut MySqlConnection,
    user: &UserId,
    at_ms: i64,
    limit: usize,
) -> Result<u64> {
    let sql = "SELECT message_id, emoji FROM reactions WHERE user_id = ? LIMIT ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(int(limit)).fetch_all(&mut *db).await?;
    for row in &rows {
        let (message, emoji) = (id(row, 0)?, text(row, 1)?);
        take_back(db, user, message, &emoji, at_ms).await?;
    }
    Ok(rows.len() as u64)
}

async fn take_back(db: &mut MySqlConnection, user: &UserId, message: Snowflake, emoji: &str, at_ms: i64) -> Result<()> {
    let found = messages::by_id(db, message).await?;
    // The message first, as everybody who changes its reactions locks it.
    let locked = match &found {
        Some(message) => changes::lock(db, message).await?,
        None => None,
    };
    let sql = "DELETE FROM reactions WHERE message_id = ? AND user_id = ? AND emoji = ?";
    sqlx::query(sql).bind(int(message.0)).bind(user.as_str()).bind(emoji.as_bytes()).execute(&mut *db).await?;
    let Some(message) = locked else { return Ok(()) };
    let Some(reactions) = count_reaction(&message.reactions, emoji, false) else { return Ok(()) };
    sqlx::query("UPDATE messages SET reactions = ? WHERE conversation = ? AND position = ?")
        .bind(reactions_to_json(&reactions))
        .bind(int(message.conversation_id.0.0))
        .bind(int(message.position))
        .execute(&mut *db)
        .await?;
    changes::delete_earlier(db, &message, ChangeKind::Reacted).await?;
    changes::insert(db, &message, ChangeKind::Reacted, user, at_ms).await.map(drop)
}
