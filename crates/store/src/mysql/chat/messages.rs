//! Messages: finding them again.

use std::sync::Arc;

use model::chat::{ConversationId, GroupId, Message, Recall, Recipient, Seen};
use model::{Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::{member, member_view, push_pairs};
use crate::chat::HistoryPage;
use crate::codes::reactions_from_json;
use crate::mysql::batches::batches;
use crate::mysql::row::{coded, id, int, optional_id, optional_parsed, parsed, text, uint};

/// What [`message_row`] reads.
pub(super) const COLUMNS: &str = "x.position, x.id, x.conversation, x.from_user, x.from_name, x.to_user, x.content, \
     x.msg_type, x.client_msg_id, x.created_at_ms, x.recalled_at_ms, x.recalled_by, x.reply_to, x.edited_at_ms, \
     x.reactions";
/// How many columns those are.
pub(super) const COLUMN_COUNT: usize = 15;

/// A message from [`COLUMNS`]; the content of a recalled one stays in the database.
pub(super) fn message_row(row: &MySqlRow) -> Result<Arc<Message>> {
    let conversation_id = ConversationId(id(row, 2)?);
    let to = optional_parsed(row, 5)?.map_or(Recipient::Group(GroupId(conversation_id.0)), Recipient::User);
    let recalled = optional_parsed(row, 11)?.zip(row.try_get(10)?).map(|(by, at_ms)| Recall { by, at_ms });
    Ok(Arc::new(Message {
        position: uint(row, 0)?,
        id: id(row, 1)?,
        conversation_id,
        from_user: parsed(row, 3)?,
        from_name: row.try_get::<&str, _>(4)?.into(),
        to,
        content: if recalled.is_some() { "".into() } else { row.try_get::<&str, _>(6)?.into() },
        msg_type: coded(row, 7)?,
        client_msg_id: text(row, 8)?,
        created_at_ms: row.try_get(9)?,
        reply_to: optional_id(row, 12)?,
        edited_at_ms: row.try_get(13)?,
        reactions: row.try_get::<Option<&str>, _>(14)?.map(reactions_from_json).unwrap_or_default(),
        recalled,
    }))
}

pub(super) async fn first(
    db: &mut MySqlConnection,
    user: &UserId,
    client_msg_id: &str,
) -> Result<Option<Arc<Message>>> {
    let sql = format!("SELECT {COLUMNS} FROM messages x WHERE x.from_user = ? AND x.client_msg_id = ?");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(user.as_str()).bind(client_msg_id.as_bytes());
    query.fetch_optional(db).await?.as_ref().map(message_row).transpose()
}

pub(super) async fn by_id(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Arc<Message>>> {
    let sql = format!("SELECT {COLUMNS} FROM messages x WHERE x.id = ?");
    sqlx::query(AssertSqlSafe(sql)).bind(int(id.0)).fetch_optional(db).await?.as_ref().map(message_row).transpose()
}

/// A message that `user` may see.
pub(super) async fn visible(db: &mut MySqlConnection, user: &UserId, id: Snowflake) -> Result<Option<Arc<Message>>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messages x JOIN members m ON m.conversation = x.conversation AND m.user_id = ?
         WHERE x.id = ? AND x.position > m.joined_position"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(user.as_str()).bind(int(id.0));
    query.fetch_optional(db).await?.as_ref().map(message_row).transpose()
}

pub(super) async fn seen(db: &mut MySqlConnection, user: &UserId, id: Snowflake) -> Result<Option<Seen>> {
    let found = visible(db, user, id).await?;
    Ok(member_view::seen(db, user, found.into_iter().collect()).await?.pop())
}

/// The messages at these pairs of conversation and position, by position.
pub(super) async fn at(db: &mut MySqlConnection, pairs: &[(i64, i64)]) -> Result<Vec<Arc<Message>>> {
    columns_at(db, COLUMNS, pairs).await
}

/// [`at`], with other expressions for some columns.
pub(super) async fn columns_at(
    db: &mut MySqlConnection,
    columns: &str,
    pairs: &[(i64, i64)],
) -> Result<Vec<Arc<Message>>> {
    let mut found = Vec::with_capacity(pairs.len());
    for some in batches(pairs) {
        let mut sql = QueryBuilder::<MySql>::new(format!("SELECT {columns} FROM messages x WHERE "));
        push_pairs(&mut sql, "x.conversation", "x.position", some.iter().copied());
        for row in &sql.build().fetch_all(&mut *db).await? {
            found.push(message_row(row)?);
        }
    }
    found.sort_unstable_by_key(|message| message.position);
    Ok(found)
}

pub(super) async fn position_of(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT position FROM messages WHERE id = ?").bind(int(id.0)).fetch_optional(db).await
}

pub(super) async fn history(
    db: &mut MySqlConnection,
    user: &UserId,
    conversation: ConversationId,
    before: Option<Snowflake>,
    limit: usize,
) -> Result<Option<HistoryPage>> {
    let Some(own) = member(db, conversation, user).await? else { return Ok(None) };
    let before = match before {
        // Nothing comes before an unknown message.
        Some(id) => position_of(db, id).await?.unwrap_or(0),
        None => i64::MAX,
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM messages x WHERE x.conversation = ? AND x.position > ? AND x.position < ?
         ORDER BY x.position DESC LIMIT ?"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(int(conversation.0.0)).bind(int(own.joined)).bind(before);
    let rows = query.bind(int(limit.saturating_add(1))).fetch_all(&mut *db).await?;
    let mut messages = rows.iter().map(message_row).collect::<Result<Vec<_>>>()?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    messages.reverse();
    Ok(Some(HistoryPage { messages: member_view::seen(db, user, messages).await?, more }))
}
