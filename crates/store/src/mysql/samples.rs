//! Passed comments that are kept for quality control.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::erasure::Purges;
use super::moderation::push_within;
use super::row::{id, int, parsed};
use super::{MySqlStore, read, write};
use crate::retention::first_id_of;
use crate::samples::{Sample, SampleQuery, SampleStore};

#[async_trait]
impl SampleStore for MySqlStore {
    async fn add_samples(&self, comments: Vec<Arc<Comment>>) -> crate::Result<()> {
        write!(self, "add_samples", db => add(db, &comments))
    }

    async fn samples(&self, query: &SampleQuery) -> crate::Result<Vec<Sample>> {
        read!(self, "samples", db => samples(db, query))
    }

    async fn erase_samples(&self, user: &UserId, room: Option<&RoomId>, limit: usize) -> crate::Result<u64> {
        write!(self, "erase_samples", db => erase(db, user, room, limit))
    }

    async fn expire_samples(&self, before_ms: i64, limit: usize) -> crate::Result<u64> {
        write!(self, "expire_samples", db => expire(db, before_ms, limit))
    }
}

async fn add(db: &mut MySqlConnection, comments: &[Arc<Comment>]) -> Result<()> {
    let oldest_ms = comments.iter().map(|comment| comment.created_at_ms).min();
    let purges = Purges::since(&mut *db, oldest_ms).await?;
    for comment in comments.iter().filter(|comment| !purges.cover(comment)) {
        sqlx::query(
            "INSERT IGNORE INTO comment_samples (id, room_id, user_id, username, content, created_at_ms)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(int(comment.id.0))
        .bind(comment.room_id.as_str())
        .bind(comment.user_id.as_str())
        .bind(&*comment.username)
        .bind(&*comment.content)
        .bind(comment.created_at_ms)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn samples(db: &mut MySqlConnection, query: &SampleQuery) -> Result<Vec<Sample>> {
    let from = query.after.map_or(0, |id| int(id.0) + 1).max(query.since_ms.map_or(0, first_id_of));
    let to = query.until_ms.map_or(i64::MAX, first_id_of);
    let mut sql = QueryBuilder::<MySql>::new(
        "SELECT id, room_id, user_id, username, content, created_at_ms FROM comment_samples WHERE id >= ",
    );
    sql.push_bind(from).push(" AND id < ").push_bind(to);
    push_within(&mut sql, &query.of);
    sql.push(" ORDER BY id LIMIT ").push_bind(int(query.limit));
    sql.build().fetch_all(db).await?.iter().map(sample_row).collect()
}

fn sample_row(row: &MySqlRow) -> Result<Sample> {
    Ok(Sample {
        id: id(row, 0)?,
        room_id: parsed(row, 1)?,
        user_id: parsed(row, 2)?,
        username: row.try_get(3)?,
        content: row.try_get(4)?,
        created_at_ms: row.try_get(5)?,
    })
}

async fn erase(db: &mut MySqlConnection, user: &UserId, room: Option<&RoomId>, limit: usize) -> Result<u64> {
    let mut sql = QueryBuilder::<MySql>::new("DELETE FROM comment_samples WHERE user_id = ");
    sql.push_bind(user.as_str().to_owned());
    if let Some(room) = room {
        sql.push(" AND room_id = ").push_bind(room.as_str().to_owned());
    }
    sql.push(" LIMIT ").push_bind(int(limit));
    Ok(sql.build().execute(db).await?.rows_affected())
}

async fn expire(db: &mut MySqlConnection, before_ms: i64, limit: usize) -> Result<u64> {
    let expired = sqlx::query("DELETE FROM comment_samples WHERE id < ? ORDER BY id LIMIT ?");
    Ok(expired.bind(first_id_of(before_ms)).bind(int(limit)).execute(db).await?.rows_affected())
}
