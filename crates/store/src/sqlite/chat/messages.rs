//! Messages: storing each once, finding them again.

use std::sync::Arc;

use model::chat::{ConversationId, GroupId, GroupRole, Message, Recall, Recipient, Seen};
use model::{Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::member_view::MemberView;
use super::{last_position, member, people, position_of, reactions};
use crate::chat::{Appended, HistoryPage, NewMessage};
use crate::sqlite::code_column::Code;
use crate::sqlite::{column, int, optional_column, uint};

/// What [`message_row`] reads.
pub(super) const COLUMNS: &str = "x.position, x.id, x.conversation, x.from_user, x.from_name, x.to_user, x.content, \
     x.msg_type, x.client_msg_id, x.created_at_ms, x.recalled_at_ms, x.recalled_by, x.reply_to, x.edited_at_ms, \
     x.reactions";
/// How many columns those are.
pub(super) const COLUMN_COUNT: usize = 15;

/// A message from [`COLUMNS`]; the content of a recalled one stays in the file.
pub(super) fn message_row(row: &Row<'_>) -> Result<Arc<Message>> {
    let conversation_id = ConversationId(Snowflake(uint(row.get(2)?)));
    let to = optional_column(row, 5)?.map_or(Recipient::Group(GroupId(conversation_id.0)), Recipient::User);
    let recalled = optional_column(row, 11)?.zip(row.get(10)?).map(|(by, at_ms)| Recall { by, at_ms });
    Ok(Arc::new(Message {
        position: uint(row.get(0)?),
        id: Snowflake(uint(row.get(1)?)),
        conversation_id,
        from_user: column(row, 3)?,
        from_name: row.get(4)?,
        to,
        content: if recalled.is_some() { "".into() } else { row.get(6)? },
        msg_type: row.get::<_, Code<_>>(7)?.0,
        client_msg_id: row.get(8)?,
        created_at_ms: row.get(9)?,
        reply_to: row.get::<_, Option<i64>>(12)?.map(|id| Snowflake(uint(id))),
        edited_at_ms: row.get(13)?,
        reactions: reactions::counts(row.get(14)?),
        recalled,
    }))
}

/// Message by message in order, so that a repeat inside the batch finds the first.
pub(super) fn append(db: &Connection, batch: &[NewMessage]) -> Result<Vec<Appended>> {
    batch.iter().map(|new| append_one(db, new)).collect()
}

fn append_one(db: &Connection, new: &NewMessage) -> Result<Appended> {
    if let Some(message) = first(db, &new.from_user, &new.client_msg_id)? {
        return Ok(Appended::Repeat(message));
    }
    let (conversation_id, members_version) = match &new.to {
        Recipient::User(other) if people::is_blocked(db, other, &new.from_user)? => return Ok(Appended::Blocked),
        Recipient::User(other) => (direct(db, new, other)?, 0),
        Recipient::Group(group) => match version_for(db, *group, &new.from_user)? {
            Some(version) => (group.conversation(), version),
            None => return Ok(Appended::NoGroup),
        },
    };
    let message = Arc::new(insert(db, new, conversation_id)?);
    if new.outbox {
        db.prepare_cached("INSERT INTO outbox (message_id, next_at_ms) VALUES (?, ?)")?
            .execute([int(new.id.0), new.created_at_ms])?;
    }
    for upload in &new.uploads {
        db.prepare_cached("INSERT OR IGNORE INTO message_uploads (upload_id, message_id) VALUES (?, ?)")?
            .execute([int(upload.0), int(new.id.0)])?;
    }
    Ok(Appended::New { message, members_version })
}

fn insert(db: &Connection, new: &NewMessage, conversation_id: ConversationId) -> Result<Message> {
    let NewMessage { id, client_msg_id, from_user, from_name, to, content, msg_type, reply_to, created_at_ms, .. } =
        new.clone();
    let to_user = match &to {
        Recipient::User(user) => Some(user.as_str()),
        Recipient::Group(_) => None,
    };
    db.prepare_cached(
        "INSERT INTO messages (id, conversation, from_user, from_name, to_user, content, msg_type, client_msg_id,
             created_at_ms, reply_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        int(id.0),
        int(conversation_id.0.0),
        from_user.as_str(),
        from_name,
        to_user,
        content,
        Code(msg_type),
        client_msg_id,
        created_at_ms,
        reply_to.map(|id| int(id.0))
    ])?;
    let position = db.last_insert_rowid();
    db.prepare_cached("UPDATE conversations SET last_position = ? WHERE id = ?")?
        .execute([position, int(conversation_id.0.0)])?;
    let position = uint(position);
    Ok(Message {
        id,
        position,
        client_msg_id,
        conversation_id,
        from_user,
        from_name,
        to,
        content,
        msg_type,
        created_at_ms,
        reply_to,
        edited_at_ms: None,
        reactions: Box::default(),
        recalled: None,
    })
}

/// The direct conversation of two users, which their first message creates.
fn direct(db: &Connection, new: &NewMessage, other: &UserId) -> Result<ConversationId> {
    let (low, high) = (other.min(&new.from_user), other.max(&new.from_user));
    let mut sql = db.prepare_cached("SELECT id FROM conversations WHERE low_user = ? AND high_user = ?")?;
    if let Some(id) = sql.query_row([low.as_str(), high.as_str()], |row| row.get(0)).optional()? {
        return Ok(ConversationId(Snowflake(uint(id))));
    }
    let position = last_position(db)?;
    db.prepare_cached(
        "INSERT INTO conversations (id, low_user, high_user, created_at_ms, member_count, last_position)
         VALUES (?, ?, ?, ?, 2, ?)",
    )?
    .execute(params![int(new.conversation_id.0.0), low.as_str(), high.as_str(), new.created_at_ms, position])?;
    for user in [low, high] {
        join(db, new.conversation_id, user, GroupRole::Member, position, new.created_at_ms)?;
    }
    Ok(new.conversation_id)
}

/// Adds a member who sees what comes after `position`.
pub(super) fn join(
    db: &Connection,
    conversation: ConversationId,
    user: &UserId,
    role: GroupRole,
    position: i64,
    at_ms: i64,
) -> Result<bool> {
    let mut sql = db.prepare_cached(
        "INSERT INTO members (conversation, user_id, role, joined_position, joined_at_ms, read_position)
         VALUES (?1, ?2, ?3, ?4, ?5, ?4) ON CONFLICT DO NOTHING",
    )?;
    Ok(sql.execute(params![int(conversation.0.0), user.as_str(), Code(role), position, at_ms])? > 0)
}

/// The version of a group's membership, if `user` is a member.
pub(super) fn version_for(db: &Connection, group: GroupId, user: &UserId) -> Result<Option<u64>> {
    let mut sql = db.prepare_cached(
        "SELECT c.members_version FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.conversation = ? AND m.user_id = ? AND c.low_user IS NULL",
    )?;
    let version = sql.query_row(params![int(group.0.0), user.as_str()], |row| row.get(0)).optional()?;
    Ok(version.map(uint))
}

pub(super) fn first(db: &Connection, user: &UserId, client_msg_id: &str) -> Result<Option<Arc<Message>>> {
    let sql = format!("SELECT {COLUMNS} FROM messages x WHERE x.from_user = ? AND x.client_msg_id = ?");
    db.prepare_cached(&sql)?.query_row([user.as_str(), client_msg_id], message_row).optional()
}

pub(super) fn by_position(db: &Connection, position: u64) -> Result<Option<Arc<Message>>> {
    let sql = format!("SELECT {COLUMNS} FROM messages x WHERE x.position = ?");
    db.prepare_cached(&sql)?.query_row([int(position)], message_row).optional()
}

pub(super) fn by_id(db: &Connection, id: Snowflake) -> Result<Option<Arc<Message>>> {
    let sql = format!("SELECT {COLUMNS} FROM messages x WHERE x.id = ?");
    db.prepare_cached(&sql)?.query_row([int(id.0)], message_row).optional()
}

/// A message that `user` may see.
pub(super) fn visible(db: &Connection, user: &UserId, id: Snowflake) -> Result<Option<Arc<Message>>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messages x JOIN members m ON m.conversation = x.conversation AND m.user_id = ?
         WHERE x.id = ? AND x.position > m.joined_position"
    );
    db.prepare_cached(&sql)?.query_row(params![user.as_str(), int(id.0)], message_row).optional()
}

pub(super) fn seen(db: &Connection, user: &UserId, id: Snowflake) -> Result<Option<Seen>> {
    visible(db, user, id)?.map(|message| MemberView::new(db, user).seen(message)).transpose()
}

/// A conversation's newest messages first; its parameters are conversation, after, before, limit.
pub(in crate::sqlite) fn history_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM messages x WHERE x.conversation = ? AND x.position > ? AND x.position < ?
         ORDER BY x.position DESC LIMIT ?"
    )
}

pub(super) fn history(
    db: &Connection,
    user: &UserId,
    conversation: ConversationId,
    before: Option<Snowflake>,
    limit: usize,
) -> Result<Option<HistoryPage>> {
    let Some(own) = member(db, conversation, user)? else { return Ok(None) };
    let before = match before {
        // Nothing comes before an unknown message.
        Some(id) => position_of(db, id)?.map_or(0, int),
        None => i64::MAX,
    };
    let range = params![int(conversation.0.0), int(own.joined), before, int(limit.saturating_add(1))];
    let mut sql = db.prepare_cached(&history_sql())?;
    let mut messages = sql.query_map(range, message_row)?.collect::<Result<Vec<_>>>()?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    messages.reverse();
    let mut view = MemberView::new(db, user);
    let messages = messages.into_iter().map(|message| view.seen(message)).collect::<Result<_>>()?;
    Ok(Some(HistoryPage { messages, more }))
}
