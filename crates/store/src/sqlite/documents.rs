//! Documents: small JSON objects with a version.

use async_trait::async_trait;
use model::{RoomId, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{SqliteStore, int, json, optional_column, uint};
use crate::{Document, DocumentQuery, DocumentStore};

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn add_document(&self, document: &Document) -> crate::Result<bool> {
        let document = document.clone();
        self.write("add_document", move |db| add(db, &document)).await
    }

    async fn replace_document(&self, document: &Document) -> crate::Result<bool> {
        let document = document.clone();
        self.write("replace_document", move |db| replace(db, &document)).await
    }

    async fn document(&self, kind: &'static str, id: &str) -> crate::Result<Option<Document>> {
        let id = id.to_owned();
        self.read("document", move |db| document(db, kind, &id)).await
    }

    async fn documents(&self, query: DocumentQuery<'_>) -> crate::Result<Vec<Document>> {
        let DocumentQuery { kind, rooms, state, due_until_ms, after, limit } = query;
        let (rooms, state, after) = (rooms.map(<[_]>::to_vec), state.map(str::to_owned), after.map(str::to_owned));
        let list = move |db: &Connection| {
            let (rooms, state, after) = (rooms.as_deref(), state.as_deref(), after.as_deref());
            documents(db, DocumentQuery { kind, rooms, state, due_until_ms, after, limit })
        };
        self.read("documents", list).await
    }

    async fn remove_document(&self, kind: &'static str, id: &str) -> crate::Result<bool> {
        let id = id.to_owned();
        self.write("remove_document", move |db| remove(db, kind, &id)).await
    }

    async fn mark_document(&self, kind: &'static str, id: &str, user: &UserId, value: i64) -> crate::Result<bool> {
        let (id, user) = (id.to_owned(), user.clone());
        self.write("mark_document", move |db| mark(db, kind, &id, &user, value)).await
    }

    async fn document_marks(&self, kind: &'static str, id: &str) -> crate::Result<Vec<(i64, u64)>> {
        let id = id.to_owned();
        self.read("document_marks", move |db| marks(db, kind, &id)).await
    }
}

pub(super) fn add(db: &Connection, document: &Document) -> Result<bool> {
    let Document { kind, id, room_id, state, due_ms, version, user_id, body } = document;
    let added = db
        .prepare_cached(
            "INSERT INTO documents (kind, id, room_id, state, due_ms, version, body, user_id)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            kind,
            id,
            room_id.as_ref().map(RoomId::as_str),
            state,
            due_ms,
            version,
            body,
            user_id.as_ref().map(UserId::as_str)
        ])?;
    Ok(added > 0)
}

fn replace(db: &Connection, document: &Document) -> Result<bool> {
    let Document { kind, id, room_id, state, due_ms, version, body, .. } = document;
    let replaced = db
        .prepare_cached(
            "UPDATE documents SET room_id = ?, state = ?, due_ms = ?, body = ?, version = version + 1
             WHERE kind = ? AND id = ? AND version = ?",
        )?
        .execute(params![room_id.as_ref().map(RoomId::as_str), state, due_ms, body, kind, id, version])?;
    Ok(replaced > 0)
}

const COLUMNS: &str = "id, room_id, state, due_ms, version, body, user_id";

fn document_row(kind: &'static str, row: &Row<'_>) -> Result<Document> {
    Ok(Document {
        kind,
        id: row.get(0)?,
        room_id: optional_column(row, 1)?,
        state: row.get(2)?,
        due_ms: row.get(3)?,
        version: row.get(4)?,
        body: row.get(5)?,
        user_id: optional_column(row, 6)?,
    })
}

fn document(db: &Connection, kind: &'static str, id: &str) -> Result<Option<Document>> {
    let mut sql = db.prepare_cached(&format!("SELECT {COLUMNS} FROM documents WHERE kind = ? AND id = ?"))?;
    sql.query_row([kind, id], |row| document_row(kind, row)).optional()
}

fn documents(db: &Connection, query: DocumentQuery<'_>) -> Result<Vec<Document>> {
    let DocumentQuery { kind, rooms, state, due_until_ms, after, limit } = query;
    let of_rooms = if rooms.is_some() { "room_id IN (SELECT value FROM json_each(?2))" } else { "?2 IS NULL" };
    let by_state = if state.is_some() { "state = ?3" } else { "?3 IS NULL" };
    let mut sql = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM documents WHERE kind = ?1 AND {of_rooms} AND {by_state} AND (?4 IS NULL OR due_ms <= ?4)
         AND (?5 IS NULL OR line > (SELECT line FROM documents WHERE kind = ?1 AND id = ?5)) ORDER BY line LIMIT ?6"
    ))?;
    let rooms = rooms.map(|rooms| json(&rooms)).transpose()?;
    let parameters = params![kind, rooms, state, due_until_ms, after, int(limit)];
    sql.query_map(parameters, |row| document_row(kind, row))?.collect()
}

fn remove(db: &Connection, kind: &str, id: &str) -> Result<bool> {
    db.prepare_cached("DELETE FROM document_marks WHERE kind = ? AND id = ?")?.execute([kind, id])?;
    Ok(db.prepare_cached("DELETE FROM documents WHERE kind = ? AND id = ?")?.execute([kind, id])? > 0)
}

fn mark(db: &Connection, kind: &str, id: &str, user: &UserId, value: i64) -> Result<bool> {
    let marked = db
        .prepare_cached(
            "INSERT INTO document_marks (kind, id, user_id, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![kind, id, user.as_str(), value])?;
    Ok(marked > 0)
}

fn marks(db: &Connection, kind: &str, id: &str) -> Result<Vec<(i64, u64)>> {
    let mut sql = db.prepare_cached(
        "SELECT value, count(*) FROM document_marks WHERE kind = ? AND id = ? GROUP BY value ORDER BY value",
    )?;
    sql.query_map([kind, id], |row| Ok((row.get(0)?, uint(row.get(1)?))))?.collect()
}
