//! Changes of stored messages: read marks, recalls and edits; reactions have their own file.
//!
//! A mark locks the member's row, a recall, an edit or a reaction the message's row: the second of two finds it done.

use std::sync::Arc;

use model::chat::{ChangeKind, ConversationId, GroupId, Message, MsgType, Recall, Recipient, UNREAD_MAX};
use model::{Snowflake, UserId};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result};

use super::sequences::{self, Sequence};
use super::{groups, messages};
use crate::chat::{Edit, Edited, Marked, Recalled};
use crate::mysql::batches::batches;
use crate::mysql::row::{code, int, parsed, uint};
use crate::mysql::uploads;

/// Newly read messages whose authors are returned.
const AUTHORS_OF: i64 = 1_000;
/// Messages scanned to count unread ones; own messages are among them.
const COUNTED_MAX: i64 = 20_000;
/// Conversations of one query for unread messages.
const CONVERSATIONS_MAX: usize = 16;

pub(super) async fn mark(db: &mut MySqlConnection, user: &UserId, id: Snowflake, at_ms: i64) -> Result<Option<Marked>> {
    let Some(message) = messages::visible(db, user, id).await? else { return Ok(None) };
    let Some(read) = lock_mark(db, message.conversation_id, user).await? else { return Ok(None) };
    let position = int(message.position);
    let unread =
        unread(db, user, &[(message.conversation_id, read.max(position))]).await?.first().copied().unwrap_or(0);
    let authors = if position > read {
        let authors = authors(db, message.conversation_id, user, read, position).await?;
        move_mark(db, &message, user).await?;
        insert(db, &message, ChangeKind::Read, user, at_ms).await?;
        Some(authors)
    } else {
        None
    };
    Ok(Some(Marked { conversation_id: message.conversation_id, group_id: group_of(&message), unread, authors }))
}

/// Locks a member's read position until the commit, and returns it.
async fn lock_mark(db: &mut MySqlConnection, conversation: ConversationId, user: &UserId) -> Result<Option<i64>> {
    let sql = "SELECT read_position FROM members WHERE conversation = ? AND user_id = ? FOR UPDATE";
    sqlx::query_scalar(sql).bind(int(conversation.0.0)).bind(user.as_str()).fetch_optional(db).await
}

async fn move_mark(db: &mut MySqlConnection, message: &Message, user: &UserId) -> Result<()> {
    sqlx::query("UPDATE members SET read_position = ?, read_id = ? WHERE conversation = ? AND user_id = ?")
        .bind(int(message.position))
        .bind(int(message.id.0))
        .bind(int(message.conversation_id.0.0))
        .bind(user.as_str())
        .execute(db)
        .await
        .map(drop)
}

fn group_of(message: &Message) -> Option<GroupId> {
    match message.to {
        Recipient::Group(group) => Some(group),
        Recipient::User(_) => None,
    }
}

/// The authors after `after` up to `until`, without `user`.
async fn authors(
    db: &mut MySqlConnection,
    conversation: ConversationId,
    user: &UserId,
    after: i64,
    until: i64,
) -> Result<Vec<UserId>> {
    let sql = "SELECT DISTINCT from_user FROM (SELECT from_user FROM messages WHERE conversation = ? AND position > ?
             AND position <= ? ORDER BY position DESC LIMIT ?) AS newly WHERE from_user <> ?";
    let query = sqlx::query(sql).bind(int(conversation.0.0)).bind(after).bind(until);
    let rows = query.bind(AUTHORS_OF).bind(user.as_str()).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

/// How many messages of others lie after a position, for each of these conversations.
pub(super) async fn unread(
    db: &mut MySqlConnection,
    user: &UserId,
    read: &[(ConversationId, i64)],
) -> Result<Vec<u32>> {
    let mut counts = Vec::with_capacity(read.len());
    for some in read.chunks(CONVERSATIONS_MAX).flat_map(batches) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT ");
        let mut between = "";
        for (conversation, position) in some {
            sql.push(between).push("(SELECT COUNT(*) FROM (SELECT 1 AS one FROM (SELECT from_user, recalled_at_ms");
            sql.push(" FROM messages WHERE conversation = ").push_bind(int(conversation.0.0));
            sql.push(" AND position > ").push_bind(*position).push(" ORDER BY position LIMIT ").push_bind(COUNTED_MAX);
            sql.push(") AS newer WHERE from_user <> ").push_bind(user.as_str().to_owned());
            sql.push(" AND recalled_at_ms IS NULL LIMIT ").push_bind(i64::from(UNREAD_MAX)).push(") AS counted)");
            between = ", ";
        }
        for row in &sql.build().fetch_all(&mut *db).await? {
            for column in 0..some.len() {
                counts.push(u32::try_from(uint(row, column)?).unwrap_or(UNREAD_MAX));
            }
        }
    }
    Ok(counts)
}

/// Deletes the change that announced a reader's mark.
pub(super) async fn delete_read_mark(
    db: &mut MySqlConnection,
    conversation: ConversationId,
    user: &UserId,
) -> Result<()> {
    let sql = "DELETE FROM changes WHERE conversation = ? AND reader = ?";
    sqlx::query(sql).bind(int(conversation.0.0)).bind(user.as_str()).execute(db).await.map(drop)
}

/// Inserts a change, last before the commit; returns its number. A reader's mark replaces the one before.
pub(super) async fn insert(
    db: &mut MySqlConnection,
    message: &Message,
    kind: ChangeKind,
    by: &UserId,
    at_ms: i64,
) -> Result<u64> {
    let number = sequences::allocate(db, Sequence::Changes, 1).await?;
    sqlx::query(
        "REPLACE INTO changes (conversation, change_number, message_id, position, kind, by_user, at_ms, reader)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(int(message.conversation_id.0.0))
    .bind(number)
    .bind(int(message.id.0))
    .bind(int(message.position))
    .bind(code(kind))
    .bind(by.as_str())
    .bind(at_ms)
    .bind((kind == ChangeKind::Read).then_some(by.as_str()))
    .execute(db)
    .await?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// Deletes the earlier changes of this kind: of the edits of a message, and of its reactions, only the newest is kept.
pub(super) async fn delete_earlier(db: &mut MySqlConnection, message: &Message, kind: ChangeKind) -> Result<()> {
    let sql = "DELETE FROM changes WHERE message_id = ? AND reader IS NULL AND kind = ?";
    sqlx::query(sql).bind(int(message.id.0)).bind(code(kind)).execute(db).await.map(drop)
}

/// Locks a message until the commit and reads it again; `None` when it is gone.
pub(super) async fn lock(db: &mut MySqlConnection, message: &Message) -> Result<Option<Arc<Message>>> {
    let sql =
        format!("SELECT {} FROM messages x WHERE x.conversation = ? AND x.position = ? FOR UPDATE", messages::COLUMNS);
    let query = sqlx::query(AssertSqlSafe(sql)).bind(int(message.conversation_id.0.0)).bind(int(message.position));
    query.fetch_optional(db).await?.as_ref().map(messages::message_row).transpose()
}

/// Whether the other person of a direct conversation takes nothing from `user`.
pub(super) async fn is_blocked(db: &mut MySqlConnection, message: &Message, user: &UserId) -> Result<bool> {
    let Some(peer) = message.peer_of(user) else { return Ok(false) };
    let sql = "SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = ? AND blocked = ?)";
    let blocked: i64 = sqlx::query_scalar(sql).bind(peer.as_str()).bind(user.as_str()).fetch_one(db).await?;
    Ok(blocked != 0)
}

/// The version of the membership that a change of this message concerns.
pub(super) async fn members_version(db: &mut MySqlConnection, message: &Message, user: &UserId) -> Result<u64> {
    match message.to {
        Recipient::Group(group) => Ok(groups::version_for(db, group, user).await?.unwrap_or(0)),
        Recipient::User(_) => Ok(0),
    }
}

pub(super) async fn edit(db: &mut MySqlConnection, edit: &Edit) -> Result<Edited> {
    let Edit { user, message: id, content, at_ms, not_before_ms } = edit;
    let Some(message) = messages::visible(db, user, *id).await? else { return Ok(Edited::NotFound) };
    if message.from_user != *user {
        return Ok(Edited::Forbidden);
    }
    let Some(message) = lock(db, &message).await? else { return Ok(Edited::NotFound) };
    if message.recalled.is_some() {
        return Ok(Edited::Recalled);
    }
    if message.content == *content {
        return Ok(Edited::Unchanged(message));
    }
    if message.created_at_ms < *not_before_ms {
        return Ok(Edited::TooLate);
    }
    if is_blocked(db, &message, user).await? {
        return Ok(Edited::Blocked);
    }
    let edited_at_ms = message.edited_at_ms.map_or(*at_ms, |before| before.saturating_add(1).max(*at_ms));
    sqlx::query("UPDATE messages SET content = ?, edited_at_ms = ? WHERE conversation = ? AND position = ?")
        .bind(&**content)
        .bind(edited_at_ms)
        .bind(int(message.conversation_id.0.0))
        .bind(int(message.position))
        .execute(&mut *db)
        .await?;
    let members_version = members_version(db, &message, user).await?;
    delete_earlier(db, &message, ChangeKind::Edited).await?;
    insert(db, &message, ChangeKind::Edited, user, edited_at_ms).await?;
    let edited = Message { content: content.clone(), edited_at_ms: Some(edited_at_ms), ..Message::clone(&message) };
    Ok(Edited::Done { message: Arc::new(edited), members_version })
}

pub(super) async fn recall(
    db: &mut MySqlConnection,
    user: &UserId,
    id: Snowflake,
    at_ms: i64,
    not_before_ms: i64,
    keep_content: bool,
) -> Result<Recalled> {
    let Some(message) = messages::visible(db, user, id).await? else { return Ok(Recalled::NotFound) };
    if message.from_user != *user {
        return Ok(Recalled::Forbidden);
    }
    if message.recalled.is_some() {
        return Ok(Recalled::Already);
    }
    if message.created_at_ms < not_before_ms {
        return Ok(Recalled::TooLate);
    }
    if !erase(db, &message, user, at_ms, keep_content).await? {
        return Ok(Recalled::Already);
    }
    sqlx::query("DELETE FROM outbox WHERE message_id = ?").bind(int(id.0)).execute(&mut *db).await?;
    if matches!(message.msg_type, MsgType::Image | MsgType::Video | MsgType::File) {
        uploads::end_unused(db, &message.content).await?;
    }
    sqlx::query("DELETE FROM reactions WHERE message_id = ?").bind(int(id.0)).execute(&mut *db).await?;
    let members_version = members_version(db, &message, user).await?;
    insert(db, &message, ChangeKind::Recalled, user, at_ms).await?;
    let recalled = Some(Recall { by: user.clone(), at_ms });
    let message =
        Arc::new(Message { content: "".into(), reactions: Box::default(), recalled, ..Message::clone(&message) });
    Ok(Recalled::Done { message, members_version })
}

/// False when another recall was faster.
async fn erase(
    db: &mut MySqlConnection,
    message: &Message,
    by: &UserId,
    at_ms: i64,
    keep_content: bool,
) -> Result<bool> {
    let sql = "UPDATE messages SET recalled_at_ms = ?, recalled_by = ?, reactions = NULL, content = IF(?, content, '')
         WHERE conversation = ? AND position = ? AND recalled_at_ms IS NULL";
    let query = sqlx::query(sql).bind(at_ms).bind(by.as_str()).bind(keep_content);
    let erased = query.bind(int(message.conversation_id.0.0)).bind(int(message.position)).execute(db).await?;
    Ok(erased.rows_affected() > 0)
}
