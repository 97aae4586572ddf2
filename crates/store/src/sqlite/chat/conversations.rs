//! A member's list of conversations.

use model::chat::{Conversation, ConversationCursor, ConversationId, ConversationKind, GroupId, GroupRole};
use model::{Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::changes::unread;
use super::member_view::MemberView;
use super::{messages, people};
use crate::sqlite::code_column::Code;
use crate::sqlite::{int, optional_column, uint};

/// A row of the list before what is looked up for it.
struct ListRow {
    id: ConversationId,
    /// The two people of a direct one.
    pair: Option<(UserId, UserId)>,
    name: Option<Box<str>>,
    member_count: u32,
    position: u64,
    joined: u64,
    read: u64,
    read_id: Option<Snowflake>,
    role: GroupRole,
}

fn list_row(row: &Row<'_>) -> Result<ListRow> {
    Ok(ListRow {
        id: ConversationId(Snowflake(uint(row.get(0)?))),
        pair: optional_column(row, 1)?.zip(optional_column(row, 2)?),
        name: row.get(3)?,
        member_count: row.get(4)?,
        position: uint(row.get(5)?),
        joined: uint(row.get(6)?),
        read: uint(row.get(7)?),
        read_id: id(row.get(8)?),
        role: row.get::<_, Code<_>>(9)?.0,
    })
}

fn id(column: Option<i64>) -> Option<Snowflake> {
    column.map(|id| Snowflake(uint(id)))
}

pub(super) fn list(
    db: &Connection,
    user: &UserId,
    before: Option<ConversationCursor>,
    limit: usize,
) -> Result<Vec<Conversation>> {
    let (position, number) = before.map_or((i64::MAX, i64::MAX), |at| (int(at.position), int(at.id.0.0)));
    let mut sql = db.prepare_cached(
        "SELECT c.id, c.low_user, c.high_user, c.name, c.member_count, c.last_position, m.joined_position,
             m.read_position, m.read_id, m.role
         FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND (c.last_position, c.id) < (?, ?)
         ORDER BY c.last_position DESC, c.id DESC LIMIT ?",
    )?;
    let rows = sql.query_map(params![user.as_str(), position, number, int(limit)], list_row)?;
    rows.map(|row| conversation(db, user, row?)).collect()
}

fn conversation(db: &Connection, user: &UserId, row: ListRow) -> Result<Conversation> {
    let ListRow { id, position, read, .. } = row;
    let unread = unread(db, id, user, read)?;
    let mut last = db.prepare_cached(&messages::history_sql())?;
    let range = params![int(id.0.0), int(row.joined), i64::MAX, 1];
    let last = last.query_row(range, messages::message_row).optional()?;
    let last = last.map(|message| MemberView::new(db, user).seen(message)).transpose()?;
    let (kind, name) = match row.pair {
        Some((low, high)) => direct(db, id, if low == *user { high } else { low })?,
        None => {
            let ListRow { member_count, role, name, .. } = row;
            (ConversationKind::Group { group_id: GroupId(id.0), member_count, role }, name.unwrap_or_default())
        }
    };
    let cursor = ConversationCursor { position, id };
    Ok(Conversation { id, kind, name, unread, last, read_id: row.read_id, cursor })
}

fn direct(db: &Connection, conversation: ConversationId, with: UserId) -> Result<(ConversationKind, Box<str>)> {
    let mut sql = db.prepare_cached("SELECT read_id FROM members WHERE conversation = ? AND user_id = ?")?;
    let read_id = sql.query_row(params![int(conversation.0.0), with.as_str()], |row| row.get(0)).optional()?;
    let name = people::username(db, &with)?.unwrap_or_else(|| with.as_str().into());
    Ok((ConversationKind::Direct { with, peer_read_id: id(read_id.flatten()) }, name))
}
