//! What happens to stored messages: read marks and recalls, and the changes that tell of them.
//!
//! A mark is decided behind the lock of the member's row, a recall by the update of the message's: whoever comes
//! second finds it done.

use std::sync::Arc;

use model::chat::{ChangeKind, ConversationId, GroupId, Message, Recall, Recipient, UNREAD_MAX};
use model::{Snowflake, UserId};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result};

use super::orders::{self, Order};
use super::{groups, messages};
use crate::chat::{Marked, Recalled};
use crate::mysql::row::{code, int, parsed, uint};
use crate::mysql::runs::runs;

/// Messages newly read whose authors are told.
const AUTHORS_OF: i64 = 1_000;
/// Messages looked at when unread ones are counted; one's own lie among them.
const COUNTED_MAX: i64 = 20_000;
/// Conversations of one question for unread messages.
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
        note(db, &message, ChangeKind::Read, user, at_ms).await?;
        Some(authors)
    } else {
        None
    };
    Ok(Some(Marked { conversation_id: message.conversation_id, group_id: group_of(&message), unread, authors }))
}

/// How far a member has read; it stays so until the commit.
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

/// Who but `user` wrote what lies after `after` up to `until`.
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
    for some in read.chunks(CONVERSATIONS_MAX).flat_map(runs) {
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

/// Takes back the change that told of a reader's mark.
pub(super) async fn forget_mark(db: &mut MySqlConnection, conversation: ConversationId, user: &UserId) -> Result<()> {
    let sql = "DELETE FROM changes WHERE conversation = ? AND reader = ?";
    sqlx::query(sql).bind(int(conversation.0.0)).bind(user.as_str()).execute(db).await.map(drop)
}

/// Notes a change, the last thing before the commit. A reader's mark takes the place of the one before.
async fn note(db: &mut MySqlConnection, message: &Message, kind: ChangeKind, by: &UserId, at_ms: i64) -> Result<()> {
    let number = orders::take(db, Order::Changes, 1).await?;
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
    .await
    .map(drop)
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
    let members_version = match message.to {
        Recipient::Group(group) => groups::version_for(db, group, user).await?.unwrap_or(0),
        Recipient::User(_) => 0,
    };
    note(db, &message, ChangeKind::Recalled, user, at_ms).await?;
    let recalled = Some(Recall { by: user.clone(), at_ms });
    let message = Arc::new(Message { content: "".into(), recalled, ..Message::clone(&message) });
    Ok(Recalled::Done { message, members_version })
}

/// False when somebody else was quicker.
async fn erase(
    db: &mut MySqlConnection,
    message: &Message,
    by: &UserId,
    at_ms: i64,
    keep_content: bool,
) -> Result<bool> {
    let sql = "UPDATE messages SET recalled_at_ms = ?, recalled_by = ?, content = IF(?, content, '')
         WHERE conversation = ? AND position = ? AND recalled_at_ms IS NULL";
    let query = sqlx::query(sql).bind(at_ms).bind(by.as_str()).bind(keep_content);
    let erased = query.bind(int(message.conversation_id.0.0)).bind(int(message.position)).execute(db).await?;
    Ok(erased.rows_affected() > 0)
}
