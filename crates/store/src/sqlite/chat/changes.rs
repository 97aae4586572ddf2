//! What happens to stored messages: read marks and recalls, and the changes that tell of them.

use model::chat::{ChangeKind, ConversationId, GroupId, Message, Recall, Recipient, UNREAD_MAX};
use model::{Snowflake, UserId};
use rusqlite::{Connection, Result, params};
use std::sync::Arc;

use super::{member, messages};
use crate::chat::{Marked, Recalled};
use crate::sqlite::codes::Code;
use crate::sqlite::{column, int};

/// Messages newly read whose authors are told.
const AUTHORS_OF: i64 = 1_000;
/// Messages looked at when unread ones are counted; one's own lie among them.
const COUNTED_MAX: i64 = 20_000;

pub(super) fn mark(db: &Connection, user: &UserId, id: Snowflake, at_ms: i64) -> Result<Option<Marked>> {
    let Some(message) = messages::visible(db, user, id)? else { return Ok(None) };
    let conversation_id = message.conversation_id;
    let Some(own) = member(db, conversation_id, user)? else { return Ok(None) };
    let authors = if message.position > own.read {
        db.prepare_cached("UPDATE members SET read_position = ?, read_id = ? WHERE conversation = ? AND user_id = ?")?
            .execute(params![int(message.position), int(id.0), int(conversation_id.0.0), user.as_str()])?;
        forget_mark(db, conversation_id, user)?;
        note(db, &message, ChangeKind::Read, user, at_ms)?;
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

/// Who but `user` wrote what lies after `after` up to `until`.
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

/// Takes back the change that told of a reader's mark.
pub(super) fn forget_mark(db: &Connection, conversation: ConversationId, user: &UserId) -> Result<()> {
    db.prepare_cached("DELETE FROM changes WHERE conversation = ? AND by_user = ? AND kind = 1")?
        .execute(params![int(conversation.0.0), user.as_str()])?;
    Ok(())
}

fn note(db: &Connection, message: &Message, kind: ChangeKind, by: &UserId, at_ms: i64) -> Result<()> {
    let conversation = int(message.conversation_id.0.0);
    db.prepare_cached(
        "INSERT INTO changes (conversation, message_id, position, kind, by_user, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![conversation, int(message.id.0), int(message.position), Code(kind), by.as_str(), at_ms])?;
    let change = db.last_insert_rowid();
    db.prepare_cached("UPDATE conversations SET last_change = ? WHERE id = ?")?.execute([change, conversation])?;
    Ok(())
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
        "UPDATE messages SET recalled_at_ms = ?, recalled_by = ?, content = CASE WHEN ? THEN content ELSE '' END
         WHERE id = ?",
    )?
    .execute(params![at_ms, user.as_str(), keep_content, int(id.0)])?;
    db.prepare_cached("DELETE FROM outbox WHERE message_id = ?")?.execute([int(id.0)])?;
    note(db, &message, ChangeKind::Recalled, user, at_ms)?;
    let members_version = match message.to {
        Recipient::Group(group) => messages::version_for(db, group, user)?.unwrap_or(0),
        Recipient::User(_) => 0,
    };
    let recalled = Some(Recall { by: user.clone(), at_ms });
    let message = Arc::new(Message { content: "".into(), recalled, ..Message::clone(&message) });
    Ok(Recalled::Done { message, members_version })
}
