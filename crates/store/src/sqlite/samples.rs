//! Passed comments that are kept for quality control.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, Snowflake, UserId};
use rusqlite::{Connection, Result, Row, params};

use super::erasure::{Purges, overwriting};
use super::moderation::within;
use super::rooms::Scope;
use super::{SqliteStore, column, int, uint};
use crate::retention::first_id_of;
use crate::samples::{Sample, SampleQuery, SampleStore};

#[async_trait]
impl SampleStore for SqliteStore {
    async fn add_samples(&self, comments: Vec<Arc<Comment>>) -> crate::Result<()> {
        self.write("add_samples", move |db| add(db, &comments)).await
    }

    async fn samples(&self, query: &SampleQuery) -> crate::Result<Vec<Sample>> {
        let query = query.clone();
        self.read("samples", move |db| samples(db, &query)).await
    }

    async fn erase_samples(&self, user: &UserId, room: Option<&RoomId>, limit: usize) -> crate::Result<u64> {
        let (user, room) = (user.clone(), room.cloned());
        self.write("erase_samples", move |db| overwriting(db, |db| erase(db, &user, room.as_ref(), limit))).await
    }

    async fn expire_samples(&self, before_ms: i64, limit: usize) -> crate::Result<u64> {
        self.write("expire_samples", move |db| {
            let sql = "DELETE FROM comment_samples WHERE id IN (SELECT id FROM comment_samples WHERE id < ? LIMIT ?)";
            Ok(db.prepare_cached(sql)?.execute([first_id_of(before_ms), int(limit)])? as u64)
        })
        .await
    }
}

fn add(db: &Connection, comments: &[Arc<Comment>]) -> Result<()> {
    let purges = Purges::since(db, comments.iter().map(|comment| comment.created_at_ms).min())?;
    let mut sql = db.prepare_cached(
        "INSERT INTO comment_samples (id, room_id, user_id, username, content, created_at_ms) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )?;
    for comment in comments.iter().filter(|comment| !purges.cover(comment)) {
        sql.execute(params![
            int(comment.id.0),
            comment.room_id.as_str(),
            comment.user_id.as_str(),
            comment.username,
            comment.content,
            comment.created_at_ms
        ])?;
    }
    Ok(())
}

pub(super) fn samples(db: &Connection, query: &SampleQuery) -> Result<Vec<Sample>> {
    let scope = Scope::from(&query.of);
    let (owner, rooms) = scope.parameters();
    let from = query.after.map_or(0, |id| int(id.0) + 1).max(query.since_ms.map_or(0, first_id_of));
    let to = query.until_ms.map_or(i64::MAX, first_id_of);
    let mut sql = db.prepare_cached(&format!(
        "SELECT id, room_id, user_id, username, content, created_at_ms FROM comment_samples
         WHERE {} AND id >= ?3 AND id < ?4 ORDER BY id LIMIT ?5",
        within(&scope)
    ))?;
    sql.query_map(params![owner, rooms, from, to, int(query.limit)], sample_row)?.collect()
}

fn sample_row(row: &Row<'_>) -> Result<Sample> {
    Ok(Sample {
        id: Snowflake(uint(row.get(0)?)),
        room_id: column(row, 1)?,
        user_id: column(row, 2)?,
        username: row.get(3)?,
        content: row.get(4)?,
        created_at_ms: row.get(5)?,
    })
}

fn erase(db: &Connection, user: &UserId, room: Option<&RoomId>, limit: usize) -> Result<u64> {
    let mut sql = db.prepare_cached(
        "DELETE FROM comment_samples WHERE id IN
             (SELECT id FROM comment_samples WHERE user_id = ?1 AND (?2 IS NULL OR room_id = ?2) LIMIT ?3)",
    )?;
    Ok(sql.execute(params![user.as_str(), room.map(RoomId::as_str), int(limit)])? as u64)
}
