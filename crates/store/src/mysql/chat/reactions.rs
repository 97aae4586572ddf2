//! Reactions: who gave which emoji, and on the message itself how often each was given.
//!
//! A message carries its own counts, so that a page reads no more rows for popular messages than for others. Whoever
//! changes them holds the message's row.

use std::collections::HashMap;
use std::sync::Arc;

use model::chat::{ChangeKind, Message, MsgType, count_reaction};
use model::{Snowflake, UserId};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result};

use super::{changes, messages, push_numbers};
use crate::chat::{React, Reacted};
use crate::codes::reactions_to_json;
use crate::mysql::row::{id, int, text};

/// The emoji that `user` gave to each of these messages.
pub(super) async fn of(
    db: &mut MySqlConnection,
    user: &UserId,
    messages: &[Arc<Message>],
) -> Result<HashMap<Snowflake, Vec<Box<str>>>> {
    let mut given = HashMap::<_, Vec<_>>::new();
    let asked: Vec<_> =
        messages.iter().filter(|message| !message.reactions.is_empty()).map(|message| message.id).collect();
    if asked.is_empty() {
        return Ok(given);
    }
    let mut sql = QueryBuilder::<MySql>::new("SELECT message_id, emoji FROM reactions WHERE user_id = ");
    push_numbers(sql.push_bind(user.as_str().to_owned()).push(" AND message_id"), asked);
    for row in &sql.build().fetch_all(db).await? {
        given.entry(id(row, 0)?).or_default().push(text(row, 1)?);
    }
    Ok(given)
}

pub(super) async fn react(db: &mut MySqlConnection, react: &React) -> Result<Reacted> {
    let React { user, message: id, emoji, on, at_ms } = react;
    let Some(message) = messages::visible(db, user, *id).await? else { return Ok(Reacted::NotFound) };
    let Some(message) = changes::lock(db, &message).await? else { return Ok(Reacted::NotFound) };
    if message.recalled.is_some() {
        return Ok(Reacted::Recalled);
    }
    if message.msg_type == MsgType::Encrypted {
        return Ok(Reacted::Encrypted);
    }
    if changes::is_blocked(db, &message, user).await? {
        return Ok(Reacted::Blocked);
    }
    let Some(reactions) = count_reaction(&message.reactions, emoji.as_str(), *on) else { return Ok(Reacted::Full) };
    let sql = if *on {
        "INSERT IGNORE INTO reactions (message_id, user_id, emoji) VALUES (?, ?, ?)"
    } else {
        "DELETE FROM reactions WHERE message_id = ? AND user_id = ? AND emoji = ?"
    };
    let query = sqlx::query(sql).bind(int(id.0)).bind(user.as_str()).bind(emoji.as_str().as_bytes());
    if query.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(Reacted::Unchanged(message));
    }
    sqlx::query("UPDATE messages SET reactions = ? WHERE conversation = ? AND position = ?")
        .bind(reactions_to_json(&reactions))
        .bind(int(message.conversation_id.0.0))
        .bind(int(message.position))
        .execute(&mut *db)
        .await?;
    let members_version = changes::members_version(db, &message, user).await?;
    changes::delete_earlier(db, &message, ChangeKind::Reacted).await?;
    let change = changes::insert(db, &message, ChangeKind::Reacted, user, *at_ms).await?;
    let message = Arc::new(Message { reactions, ..Message::clone(&message) });
    Ok(Reacted::Done { message, members_version, change })
}
