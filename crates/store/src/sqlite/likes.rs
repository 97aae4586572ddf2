//! Likes: a row for each comment and user, and the count in the comment's row.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::comments::{COLUMNS, comment_row, from_index};
use super::{SqliteStore, int, uint};
use crate::LikeStore;

#[async_trait]
impl LikeStore for SqliteStore {
    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> crate::Result<Option<u64>> {
        let user = user.clone();
        self.write("like", move |db| like(db, id, &user, at_ms)).await
    }

    async fn unlike(&self, id: Snowflake, user: &UserId) -> crate::Result<(u64, bool)> {
        let user = user.clone();
        self.write("unlike", move |db| unlike(db, id, &user)).await
    }

    async fn most_liked(
        &self,
        room: &RoomId,
        session: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Arc<Comment>>> {
        let room = room.clone();
        self.read("most_liked", move |db| most_liked(db, &room, session, limit)).await
    }
}

/// `None` also when the comment does not exist: then nothing is stored.
fn like(db: &Connection, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>> {
    if count(db, id)?.is_none() {
        return Ok(None);
    }
    let new = db
        .prepare_cached("INSERT INTO likes (comment_id, user_id, at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![int(id.0), user.as_str(), at_ms])?;
    if new == 0 { Ok(None) } else { add(db, id, 1).map(Some) }
}

/// `(0, false)` when the comment does not exist.
fn unlike(db: &Connection, id: Snowflake, user: &UserId) -> Result<(u64, bool)> {
    let Some(count) = count(db, id)? else {
        return Ok((0, false));
    };
    let gone = db
        .prepare_cached("DELETE FROM likes WHERE comment_id = ? AND user_id = ?")?
        .execute(params![int(id.0), user.as_str()])?;
    if gone == 0 { Ok((count, false)) } else { Ok((add(db, id, -1)?, true)) }
}

fn count(db: &Connection, id: Snowflake) -> Result<Option<u64>> {
    let mut sql = db.prepare_cached("SELECT like_count FROM comments WHERE id = ? AND deleted = 0")?;
    sql.query_row([int(id.0)], |row| row.get(0).map(uint)).optional()
}

fn add(db: &Connection, id: Snowflake, change: i64) -> Result<u64> {
    let mut sql =
        db.prepare_cached("UPDATE comments SET like_count = like_count + ? WHERE id = ? RETURNING like_count")?;
    sql.query_row([change, int(id.0)], |row| row.get(0).map(uint))
}

/// The statement for the most liked of a session or of the whole room.
pub(super) fn most_liked_sql(by_session: bool) -> String {
    let (index, session) = match by_session {
        true => ("comments_liked_in_session", "c.session_id = ?2"),
        false => ("comments_liked_in_room", "?2 IS NULL"),
    };
    let from = from_index(index);
    format!(
        "SELECT {COLUMNS} {from} WHERE r.room_id = ?1 AND {session} AND c.deleted = 0 AND c.like_count > 0
         ORDER BY c.like_count DESC, c.id LIMIT ?3"
    )
}

fn most_liked(db: &Connection, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>> {
    let mut sql = db.prepare_cached(&most_liked_sql(session.is_some()))?;
    let session = session.map(|session| int(session.0));
    sql.query_map(params![room.as_str(), session, int(limit)], comment_row)?.collect()
}
