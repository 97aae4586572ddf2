//! Notes about a person.

use async_trait::async_trait;
use model::{RoomId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::erasure::overwriting;
use super::moderation::within;
use super::rooms::Scope;
use super::{SqliteStore, column, int, optional_column, uint};
use crate::RoomScope;
use crate::notes::{Note, NoteStore};

#[async_trait]
impl NoteStore for SqliteStore {
    async fn add_note(&self, note: &Note, max: usize) -> crate::Result<bool> {
        let note = note.clone();
        self.write("add_note", move |db| add(db, &note, max)).await
    }

    async fn note(&self, id: Snowflake) -> crate::Result<Option<Note>> {
        self.read("note", move |db| {
            let mut sql = db.prepare_cached(&format!("SELECT {NOTE} FROM notes WHERE id = ?"))?;
            sql.query_row([int(id.0)], note_row).optional()
        })
        .await
    }

    async fn notes(
        &self,
        user: &UserId,
        of: &RoomScope,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Note>> {
        let (user, scope) = (user.clone(), Scope::from(of));
        self.read("notes", move |db| notes(db, &user, &scope, before, limit)).await
    }

    async fn remove_note(&self, id: Snowflake) -> crate::Result<bool> {
        self.write("remove_note", move |db| {
            let remove = |db: &Connection| db.prepare_cached("DELETE FROM notes WHERE id = ?")?.execute([int(id.0)]);
            Ok(overwriting(db, remove)? > 0)
        })
        .await
    }
}

fn add(db: &Connection, note: &Note, max: usize) -> Result<bool> {
    let Note { id, user_id, room_id, by, at_ms, text } = note;
    let room = room_id.as_ref().map(RoomId::as_str);
    let sql = "SELECT count(*) FROM notes WHERE user_id = ? AND room_id IS ?";
    let there: i64 = db.prepare_cached(sql)?.query_row(params![user_id.as_str(), room], |row| row.get(0))?;
    if there >= int(max) {
        return Ok(false);
    }
    db.prepare_cached(
        "INSERT INTO notes (id, user_id, room_id, author, at_ms, content) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![int(id.0), user_id.as_str(), room, by, at_ms, text])?;
    Ok(true)
}

const NOTE: &str = "id, user_id, room_id, author, at_ms, content";

fn note_row(row: &Row<'_>) -> Result<Note> {
    Ok(Note {
        id: Snowflake(uint(row.get(0)?)),
        user_id: column(row, 1)?,
        room_id: optional_column(row, 2)?,
        by: row.get(3)?,
        at_ms: row.get(4)?,
        text: row.get(5)?,
    })
}

/// The statement for the notes about one user.
pub(super) fn notes_sql(scope: &Scope) -> String {
    let within = within(scope);
    format!("SELECT {NOTE} FROM notes WHERE {within} AND user_id = ?3 AND id < ?4 ORDER BY id DESC LIMIT ?5")
}

fn notes(db: &Connection, user: &UserId, scope: &Scope, before: Option<Snowflake>, limit: usize) -> Result<Vec<Note>> {
    let (owner, rooms) = scope.parameters();
    let before = before.map_or(i64::MAX, |id| int(id.0));
    let mut sql = db.prepare_cached(&notes_sql(scope))?;
    sql.query_map(params![owner, rooms, user.as_str(), before, int(limit)], note_row)?.collect()
}
