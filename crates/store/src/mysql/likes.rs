//! Likes: a row for each comment and user, and the count in the comment's row.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, Snowflake, UserId};
use sqlx::{AssertSqlSafe, MySqlConnection, Result};

use super::comments::{COLUMNS, FROM, comment_row};
use super::row::{int, uint};
use super::{MySqlStore, read, write};
use crate::LikeStore;

#[async_trait]
impl LikeStore for MySqlStore {
    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> crate::Result<Option<u64>> {
        write!(self, "like", db => like(db, id, user, at_ms))
    }

    async fn unlike(&self, id: Snowflake, user: &UserId) -> crate::Result<(u64, bool)> {
        write!(self, "unlike", db => unlike(db, id, user))
    }

    async fn most_liked(
        &self,
        room: &RoomId,
        session: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Arc<Comment>>> {
        read!(self, "most_liked", db => most_liked(db, room, session, limit))
    }
}

/// `None` also when the comment does not exist: then nothing is stored.
async fn like(db: &mut MySqlConnection, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>> {
    let Some(count) = lock(db, id).await? else {
        return Ok(None);
    };
    let new = sqlx::query("INSERT IGNORE INTO likes (comment_id, user_id, at_ms) VALUES (?, ?, ?)")
        .bind(int(id.0))
        .bind(user.as_str())
        .bind(at_ms)
        .execute(&mut *db)
        .await?;
    if new.rows_affected() == 0 { Ok(None) } else { set(db, id, count + 1).await.map(Some) }
}

/// `(0, false)` when the comment does not exist.
async fn unlike(db: &mut MySqlConnection, id: Snowflake, user: &UserId) -> Result<(u64, bool)> {
    let Some(count) = lock(db, id).await? else {
        return Ok((0, false));
    };
    let gone = sqlx::query("DELETE FROM likes WHERE comment_id = ? AND user_id = ?")
        .bind(int(id.0))
        .bind(user.as_str())
        .execute(&mut *db)
        .await?;
    if gone.rows_affected() == 0 { Ok((count, false)) } else { Ok((set(db, id, count.saturating_sub(1)).await?, true)) }
}

/// The comment's likes; nobody else changes them before this transaction ends.
async fn lock(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<u64>> {
    let sql = "SELECT like_count FROM comments WHERE id = ? AND deleted = 0 FOR UPDATE";
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(|row| uint(row, 0)).transpose()
}

async fn set(db: &mut MySqlConnection, id: Snowflake, count: u64) -> Result<u64> {
    sqlx::query("UPDATE comments SET like_count = ? WHERE id = ?").bind(int(count)).bind(int(id.0)).execute(db).await?;
    Ok(count)
}

async fn most_liked(
    db: &mut MySqlConnection,
    room: &RoomId,
    session: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<Arc<Comment>>> {
    let of_session = if session.is_some() { "AND c.session_id = ?" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} {FROM} WHERE r.room_id = ? {of_session} AND c.deleted = 0 AND c.like_count > 0
         ORDER BY c.like_count DESC, c.id LIMIT ?"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(room.as_str());
    if let Some(session) = session {
        query = query.bind(int(session.0));
    }
    let rows = query.bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(comment_row).collect()
}
