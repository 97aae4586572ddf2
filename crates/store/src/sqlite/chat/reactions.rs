//! Reactions: who gave which emoji, and on the message itself how often each was given.
//!
//! A message carries its own counts, so that a page reads no more rows for popular messages than for others.

use std::sync::Arc;

use model::UserId;
use model::chat::{ChangeKind, Message, MsgType, Reaction, count_reaction};
use rusqlite::{Connection, Result, params};

use super::{changes, messages};
use crate::chat::{React, Reacted};
use crate::codes::{reactions_from_json, reactions_to_json};
use crate::sqlite::int;

/// The counts in a message's column.
pub(super) fn counts(column: Option<String>) -> Box<[Reaction]> {
    column.map(|json| reactions_from_json(&json)).unwrap_or_default()
}

/// The emoji that `user` gave to a message.
pub(super) fn of(db: &Connection, message: &Message, user: &UserId) -> Result<Vec<Box<str>>> {
    if message.reactions.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = db.prepare_cached("SELECT emoji FROM reactions WHERE message_id = ? AND user_id = ?")?;
    sql.query_map(params![int(message.id.0), user.as_str()], |row| row.get(0))?.collect()
}

pub(super) fn react(db: &Connection, react: &React) -> Result<Reacted> {
    let React { user, message: id, emoji, on, at_ms } = react;
    let Some(message) = messages::visible(db, user, *id)? else { return Ok(Reacted::NotFound) };
    if message.recalled.is_some() {
        return Ok(Reacted::Recalled);
    }
    if message.msg_type == MsgType::Encrypted {
        return Ok(Reacted::Encrypted);
    }
    if changes::is_blocked(db, &message, user)? {
        return Ok(Reacted::Blocked);
    }
    let Some(reactions) = count_reaction(&message.reactions, emoji.as_str(), *on) else { return Ok(Reacted::Full) };
    let sql = if *on {
        "INSERT OR IGNORE INTO reactions (message_id, user_id, emoji) VALUES (?, ?, ?)"
    } else {
        "DELETE FROM reactions WHERE message_id = ? AND user_id = ? AND emoji = ?"
    };
    if db.prepare_cached(sql)?.execute(params![int(id.0), user.as_str(), emoji.as_str()])? == 0 {
        return Ok(Reacted::Unchanged(message));
    }
    db.prepare_cached("UPDATE messages SET reactions = ? WHERE id = ?")?
        .execute(params![reactions_to_json(&reactions), int(id.0)])?;
    db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 3")?.execute([int(id.0)])?;
    let change = changes::insert(db, &message, ChangeKind::Reacted, user, *at_ms)?;
    let members_version = changes::members_version(db, &message, user)?;
    let message = Arc::new(Message { reactions, ..Message::clone(&message) });
    Ok(Reacted::Done { message, members_version, change })
}
