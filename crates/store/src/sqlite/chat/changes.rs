//! Changes of stored messages: read marks, recalls and edits; reactions have their own file.

use model::chat::{ChangeKind, ConversationId, GroupId, Message, MsgType, Recall, Recipient, UNREAD_MAX};
use model::{Snowflake, UserId};
use rusqlite::{Connection, Result, params};
use std::sync::Arc;

use super::{member, messages, people};
use crate::chat::{Edit, Edited, Marked, Recalled};
use crate::sqlite::code_column::Code;
use crate::sqlite::{column, int, uint, uploads};

/// Newly read messages whose authors are returned.
const AUTHORS_OF: i64 = 1_000;
/// Messages scanned to count unread ones; own messages are among them.
const COUNTED_MAX: i64 = 20_000;

pub(super) fn mark(db: &Connection, user: &UserId, id: Snowflake, at_ms: i64) -> Result<Option<Marked>> {
    let Some(message) = messages::visible(db, user, id)? else { return Ok(None) };
    let conversation_id = message.conversation_id;
    let Some(own) = member(db, conversation_id, user)? else { return Ok(None) };
    let authors = if message.position > own.read {
        db.prepare_cached("UPDATE members SET read_position = ?, read_id = ? WHERE conversation = ? AND user_id = ?")?
            .execute(params![int(message.position), int(id.0), int(conversation_id.0.0), user.as_str()])?;
        delete_read_mark(db, conversation_id, user)?;
        insert(db, &message, ChangeKind::Read, user, at_ms)?;
        Some(authors(db, conversation_id, user, own.read, message.position)?)
    } else {
        None
    };
    let unread = unread(db, conversation_id, user, own.read.max(message.position))?;
    Ok(Some(Marked { conversation_id, group_id: group_of(&message), unread, authors }))
}

fn group_of(message: &Message) -> Option<GroupId> {
    match message.to {
        Recipient::Group(group) => Some(group),
        Recipient::User(_) => None,
    }
}

/// The authors after `after` up to `until`, without `user`.
fn authors(
    db: &Connection,
    conversation: ConversationId,
    user: &UserId,
    after: u64,
    until: u64,
) -> Result<Vec<UserId>> {
    let mut sql = db.prepare_cached(
        "SELECT DISTINCT from_user FROM (SELECT from_user FROM messages WHERE conversation = ? AND position > ?
             AND position <= ? ORDER BY position DESC LIMIT ?) AS newly WHERE from_user <> ?",
    )?;
    let range = params![int(conversation.0.0), int(after), int(until), AUTHORS_OF, user.as_str()];
    sql.query_map(range, |row| column(row, 0))?.collect()
}

/// How many messages of others after a position; its parameters are conversation, position, the
/// most to look at, user, the most to count.
pub(in crate::sqlite) const UNREAD: &str = "SELECT count(*) FROM (SELECT 1 FROM (SELECT from_user, recalled_at_ms
         FROM messages WHERE conversation = ? AND position > ? ORDER BY position LIMIT ?) AS newer
     WHERE from_user <> ? AND recalled_at_ms IS NULL LIMIT ?) AS counted";

pub(super) fn unread(db: &Connection, conversation: ConversationId, user: &UserId, read: u64) -> Result<u32> {
    let range = params![int(conversation.0.0), int(read), COUNTED_MAX, user.as_str(), UNREAD_MAX];
    db.prepare_cached(UNREAD)?.query_row(range, |row| row.get(0))
}

/// Deletes the change that announced a reader's mark.
pub(super) fn delete_read_mark(db: &Connection, conversation: ConversationId, user: &UserId) -> Result<()> {
    db.prepare_cached("DELETE FROM changes WHERE conversation = ? AND by_user = ? AND kind = 1")?
        .execute(params![int(conversation.0.0), user.as_str()])?;
    Ok(())
}

/// Inserts a change; returns its number.
pub(super) fn insert(db: &Connection, message: &Message, kind: ChangeKind, by: &UserId, at_ms: i64) -> Result<u64> {
    let conversation = int(message.conversation_id.0.0);
    db.prepare_cached(
        "INSERT INTO changes (conversation, message_id, position, kind, by_user, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![conversation, int(message.id.0), int(message.position), Code(kind), by.as_str(), at_ms])?;
    let change = db.last_insert_rowid();
    db.prepare_cached("UPDATE conversations SET last_change = ? WHERE id = ?")?.execute([change, conversation])?;
    Ok(uint(change))
}

/// Whether the other person of a direct conversation takes nothing from `user`.
pub(super) fn is_blocked(db: &Connection, message: &Message, user: &UserId) -> Result<bool> {
    message.peer_of(user).map_or(Ok(false), |peer| people::is_blocked(db, peer, user))
}

/// The version of the membership that a change of this message concerns.
pub(super) fn members_version(db: &Connection, message: &Message, user: &UserId) -> Result<u64> {
    match message.to {
        Recipient::Group(group) => Ok(messages::version_for(db, group, user)?.unwrap_or(0)),
        Recipient::User(_) => Ok(0),
    }
}

pub(super) fn edit(db: &Connection, edit: &Edit) -> Result<Edited> {
    let Edit { user, message: id, content, at_ms, not_before_ms } = edit;
    let Some(message) = messages::visible(db, user, *id)? else { return Ok(Edited::NotFound) };
    if message.from_user != *user {
        return Ok(Edited::Forbidden);
    }
    if message.recalled.is_some() {
        return Ok(Edited::Recalled);
    }
    if message.content == *content {
        return Ok(Edited::Unchanged(message));
    }
    if message.created_at_ms < *not_before_ms {
        return Ok(Edited::TooLate);
    }
    if is_blocked(db, &message, user)? {
        return Ok(Edited::Blocked);
    }
    let edited_at_ms = message.edited_at_ms.map_or(*at_ms, |before| before.saturating_add(1).max(*at_ms));
    db.prepare_cached("UPDATE messages SET content = ?, edited_at_ms = ? WHERE id = ?")?.execute(params![
        content,
        edited_at_ms,
        int(id.0)
    ])?;
    db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 2")?.execute([int(id.0)])?;
    insert(db, &message, ChangeKind::Edited, user, edited_at_ms)?;
    let members_version = members_version(db, &message, user)?;
    let edited = Message { content: content.clone(), edited_at_ms: Some(edited_at_ms), ..Message::clone(&message) };
    Ok(Edited::Done { message: Arc::new(edited), members_version })
}

pub(super) fn recall(
    db: &Connection,
    user: &UserId,
    id: Snowflake,
    at_ms: i64,
    not_before_ms: i64,
    keep_content: bool,
) -> Result<Recalled> {
    let Some(message) = messages::visible(db, user, id)? else { return Ok(Recalled::NotFound) };
    if message.from_user != *user {
        return Ok(Recalled::Forbidden);
    }
    if message.recalled.is_some() {
        return Ok(Recalled::Already);
    }
    if message.created_at_ms < not_before_ms {
        return Ok(Recalled::TooLate);
    }
    db.prepare_cached(
        "UPDATE messages SET recalled_at_ms = ?, recalled_by = ?, reactions = NULL,
             content = CASE WHEN ? THEN content ELSE '' END
         WHERE id = ?",
    )?
    .execute(params![at_ms, user.as_str(), keep_content, int(id.0)])?;
    db.prepare_cached("DELETE FROM outbox WHERE message_id = ?")?.execute([int(id.0)])?;
    if matches!(message.msg_type, MsgType::Image | MsgType::Video | MsgType::File) {
        uploads::end_unused(db, &message.content)?;
    }
    db.prepare_cached("DELETE FROM reactions WHERE message_id = ?")?.execute([int(id.0)])?;
    insert(db, &message, ChangeKind::Recalled, user, at_ms)?;
    let members_version = members_version(db, &message, user)?;
    let recalled = Some(Recall { by: user.clone(), at_ms });
    let message =
        Arc::new(Message { content: "".into(), reactions: Box::default(), recalled, ..Message::clone(&message) });
    Ok(Recalled::Done { message, members_version })
}
