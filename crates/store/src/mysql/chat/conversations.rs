//! A member's list of conversations: one query for the rows, then one for each kind of detail.

use std::collections::HashMap;

use model::chat::{
    Conversation, ConversationCursor, ConversationId, ConversationKind, GroupId, GroupRole, Message, Seen,
};
use model::{Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::changes::unread;
use super::{member_view, messages, people, push_pairs};
use crate::mysql::row::{coded, id, int, optional_id, optional_parsed, uint};

/// A row of the list before what is looked up for it.
struct ListRow {
    id: ConversationId,
    /// The other one of a direct one.
    with: Option<UserId>,
    name: Option<Box<str>>,
    member_count: u32,
    position: i64,
    joined: i64,
    read: i64,
    read_id: Option<Snowflake>,
    role: GroupRole,
}

fn list_row(row: &MySqlRow, user: &UserId) -> Result<ListRow> {
    let pair: Option<(UserId, UserId)> = optional_parsed(row, 1)?.zip(optional_parsed(row, 2)?);
    Ok(ListRow {
        id: ConversationId(id(row, 0)?),
        with: pair.map(|(low, high)| if low == *user { high } else { low }),
        name: row.try_get::<Option<&str>, _>(3)?.map(Into::into),
        member_count: u32::try_from(uint(row, 4)?).unwrap_or(u32::MAX),
        position: row.try_get(5)?,
        joined: row.try_get(6)?,
        read: row.try_get(7)?,
        read_id: optional_id(row, 8)?,
        role: coded(row, 9)?,
    })
}

pub(super) async fn list(
    db: &mut MySqlConnection,
    user: &UserId,
    before: Option<ConversationCursor>,
    limit: usize,
) -> Result<Vec<Conversation>> {
    let rows = rows(db, user, before, limit).await?;
    let read: Vec<_> = rows.iter().map(|row| (row.id, row.read)).collect();
    let unread = unread(db, user, &read).await?;
    let mut last = newest(db, user, &rows).await?;
    let peers: Vec<_> = rows.iter().filter_map(|row| Some((row.id, row.with.clone()?))).collect();
    let peers_read = read_ids(db, &peers).await?;
    let names = people::usernames(db, &peers.into_iter().map(|(_, user)| user).collect::<Vec<_>>()).await?;
    let conversation = |(row, unread): (ListRow, u32)| {
        let ListRow { id, member_count, role, read_id, .. } = row;
        let (kind, name) = match row.with {
            Some(with) => {
                let name = names.get(&with).cloned().unwrap_or_else(|| with.as_str().into());
                (ConversationKind::Direct { with, peer_read_id: peers_read.get(&id).copied() }, name)
            }
            None => {
                let kind = ConversationKind::Group { group_id: GroupId(id.0), member_count, role };
                (kind, row.name.unwrap_or_default())
            }
        };
        let cursor = ConversationCursor { position: u64::try_from(row.position).unwrap_or(0), id };
        Conversation { id, kind, name, unread, last: last.remove(&id), read_id, cursor }
    };
    Ok(rows.into_iter().zip(unread).map(conversation).collect())
}

async fn rows(
    db: &mut MySqlConnection,
    user: &UserId,
    before: Option<ConversationCursor>,
    limit: usize,
) -> Result<Vec<ListRow>> {
    let (position, number) = before.map_or((i64::MAX, i64::MAX), |at| (int(at.position), int(at.id.0.0)));
    let sql = "SELECT c.id, c.low_user, c.high_user, c.name, c.member_count, c.last_position, m.joined_position,
             m.read_position, m.read_id, m.role
         FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND (c.last_position < ? OR (c.last_position = ? AND c.id < ?))
         ORDER BY c.last_position DESC, c.id DESC LIMIT ?";
    let query = sqlx::query(sql).bind(user.as_str()).bind(position).bind(position).bind(number);
    let rows = query.bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| list_row(row, user)).collect()
}

/// The newest message of each conversation that the member may see.
async fn newest(db: &mut MySqlConnection, user: &UserId, rows: &[ListRow]) -> Result<HashMap<ConversationId, Seen>> {
    let visible = rows.iter().filter(|row| row.position > row.joined);
    let pairs: Vec<_> = visible.map(|row| (int(row.id.0.0), row.position)).collect();
    let found = messages::at(db, &pairs).await?;
    let of = |seen: Seen| (Message::clone(&seen.message).conversation_id, seen);
    Ok(member_view::seen(db, user, found).await?.into_iter().map(of).collect())
}

/// Up to where these people have read these conversations.
async fn read_ids(
    db: &mut MySqlConnection,
    peers: &[(ConversationId, UserId)],
) -> Result<HashMap<ConversationId, Snowflake>> {
    let mut found = HashMap::new();
    if peers.is_empty() {
        return Ok(found);
    }
    let mut sql = QueryBuilder::<MySql>::new("SELECT conversation, read_id FROM members WHERE ");
    let pairs = peers.iter().map(|(conversation, user)| (int(conversation.0.0), user.to_string()));
    push_pairs(&mut sql, "conversation", "user_id", pairs);
    for row in &sql.build().fetch_all(&mut *db).await? {
        found.extend(optional_id(row, 1)?.zip(Some(ConversationId(id(row, 0)?))).map(|(read, of)| (of, read)));
    }
    Ok(found)
}
