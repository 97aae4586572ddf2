//! Notes about a person.

use async_trait::async_trait;
use model::{RoomId, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::moderation::push_within;
use super::row::{id, int, optional_parsed, parsed};
use super::{MySqlStore, read, write};
use crate::RoomScope;
use crate::notes::{Note, NoteStore};

#[async_trait]
impl NoteStore for MySqlStore {
    async fn add_note(&self, note: &Note, max: usize) -> crate::Result<bool> {
        write!(self, "add_note", db => add(db, note, max))
    }

    async fn note(&self, id: Snowflake) -> crate::Result<Option<Note>> {
        read!(self, "note", db => note(db, id))
    }

    async fn notes(
        &self,
        user: &UserId,
        of: &RoomScope,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Note>> {
        read!(self, "notes", db => notes(db, user, of, before, limit))
    }

    async fn remove_note(&self, id: Snowflake) -> crate::Result<bool> {
        write!(self, "remove_note", db => remove(db, id))
    }
}

async fn add(db: &mut MySqlConnection, note: &Note, max: usize) -> Result<bool> {
    let Note { id, user_id, room_id, by, at_ms, text } = note;
    let room = room_id.as_ref().map(RoomId::as_str);
    // The rows are locked, so that of two who add the last one, the other finds it.
    let sql = "SELECT id FROM notes WHERE user_id = ? AND room_id <=> ? LIMIT ? FOR UPDATE";
    let there = sqlx::query(sql).bind(user_id.as_str()).bind(room).bind(int(max)).fetch_all(&mut *db).await?;
    if there.len() >= max {
        return Ok(false);
    }
    sqlx::query("INSERT IGNORE INTO notes (id, user_id, room_id, author, at_ms, content) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(int(id.0))
        .bind(user_id.as_str())
        .bind(room)
        .bind(by)
        .bind(at_ms)
        .bind(text)
        .execute(db)
        .await?;
    Ok(true)
}

const NOTE: &str = "SELECT id, user_id, room_id, author, at_ms, content FROM notes WHERE ";

fn note_row(row: &MySqlRow) -> Result<Note> {
    Ok(Note {
        id: id(row, 0)?,
        user_id: parsed(row, 1)?,
        room_id: optional_parsed(row, 2)?,
        by: row.try_get(3)?,
        at_ms: row.try_get(4)?,
        text: row.try_get(5)?,
    })
}

async fn note(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Note>> {
    let sql = AssertSqlSafe(format!("{NOTE}id = ?"));
    sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?.as_ref().map(note_row).transpose()
}

async fn notes(
    db: &mut MySqlConnection,
    user: &UserId,
    scope: &RoomScope,
    before: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<Note>> {
    let mut sql = QueryBuilder::<MySql>::new(NOTE);
    sql.push("user_id = ").push_bind(user.as_str().to_owned());
    sql.push(" AND id < ").push_bind(before.map_or(i64::MAX, |id| int(id.0)));
    push_within(&mut sql, scope);
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(int(limit));
    sql.build().fetch_all(db).await?.iter().map(note_row).collect()
}

async fn remove(db: &mut MySqlConnection, id: Snowflake) -> Result<bool> {
    let removed = sqlx::query("DELETE FROM notes WHERE id = ?").bind(int(id.0)).execute(db).await?;
    Ok(removed.rows_affected() > 0)
}
