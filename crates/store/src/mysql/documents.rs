//! Documents: small JSON objects with a version.

use async_trait::async_trait;
use model::{RoomId, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::rooms::push_listed;
use super::row::{int, optional_parsed, uint};
use super::{MySqlStore, read, write};
use crate::{Document, DocumentQuery, DocumentStore};

#[async_trait]
impl DocumentStore for MySqlStore {
    async fn add_document(&self, document: &Document) -> crate::Result<bool> {
        write!(self, "add_document", db => add(db, document))
    }

    async fn replace_document(&self, document: &Document) -> crate::Result<bool> {
        write!(self, "replace_document", db => replace(db, document))
    }

    async fn document(&self, kind: &'static str, id: &str) -> crate::Result<Option<Document>> {
        read!(self, "document", db => document(db, kind, id))
    }

    async fn documents(&self, query: DocumentQuery<'_>) -> crate::Result<Vec<Document>> {
        read!(self, "documents", db => documents(db, query))
    }

    async fn remove_document(&self, kind: &'static str, id: &str) -> crate::Result<bool> {
        write!(self, "remove_document", db => remove(db, kind, id))
    }

    async fn mark_document(&self, kind: &'static str, id: &str, user: &UserId, value: i64) -> crate::Result<bool> {
        write!(self, "mark_document", db => mark(db, kind, id, user, value))
    }

    async fn document_marks(&self, kind: &'static str, id: &str) -> crate::Result<Vec<(i64, u64)>> {
        read!(self, "document_marks", db => marks(db, kind, id))
    }
}

pub(super) async fn add(db: &mut MySqlConnection, document: &Document) -> Result<bool> {
    let added = sqlx::query(
        "INSERT IGNORE INTO documents (kind, id, room_id, state, due_ms, version, body, user_id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(document.kind)
    .bind(&document.id)
    .bind(document.room_id.as_ref().map(RoomId::as_str))
    .bind(&document.state)
    .bind(document.due_ms)
    .bind(document.version)
    .bind(&document.body)
    .bind(document.user_id.as_ref().map(UserId::as_str))
    .execute(db)
    .await?;
    Ok(added.rows_affected() > 0)
}

async fn replace(db: &mut MySqlConnection, document: &Document) -> Result<bool> {
    let replaced = sqlx::query(
        "UPDATE documents SET room_id = ?, state = ?, due_ms = ?, body = ?, version = version + 1
         WHERE kind = ? AND id = ? AND version = ?",
    )
    .bind(document.room_id.as_ref().map(RoomId::as_str))
    .bind(&document.state)
    .bind(document.due_ms)
    .bind(&document.body)
    .bind(document.kind)
    .bind(&document.id)
    .bind(document.version)
    .execute(db)
    .await?;
    Ok(replaced.rows_affected() > 0)
}

const DOCUMENT: &str = "SELECT id, room_id, state, due_ms, version, body, user_id FROM documents WHERE kind = ";

fn document_row(kind: &'static str, row: &MySqlRow) -> Result<Document> {
    Ok(Document {
        kind,
        id: row.try_get(0)?,
        room_id: optional_parsed(row, 1)?,
        state: row.try_get(2)?,
        due_ms: row.try_get(3)?,
        version: row.try_get(4)?,
        body: row.try_get(5)?,
        user_id: optional_parsed(row, 6)?,
    })
}

async fn document(db: &mut MySqlConnection, kind: &'static str, id: &str) -> Result<Option<Document>> {
    let mut sql = QueryBuilder::<MySql>::new(DOCUMENT);
    sql.push_bind(kind).push(" AND id = ").push_bind(id.to_owned());
    let row = sql.build().fetch_optional(db).await?;
    row.as_ref().map(|row| document_row(kind, row)).transpose()
}

async fn documents(db: &mut MySqlConnection, query: DocumentQuery<'_>) -> Result<Vec<Document>> {
    let DocumentQuery { kind, rooms, state, due_until_ms, after, limit } = query;
    let mut sql = QueryBuilder::<MySql>::new(DOCUMENT);
    sql.push_bind(kind);
    if let Some(rooms) = rooms {
        push_listed(sql.push(" AND "), "room_id", rooms);
    }
    if let Some(state) = state {
        sql.push(" AND state = ").push_bind(state.to_owned());
    }
    if let Some(until_ms) = due_until_ms {
        sql.push(" AND due_ms <= ").push_bind(until_ms);
    }
    if let Some(after) = after {
        sql.push(" AND line > (SELECT line FROM documents WHERE kind = ").push_bind(kind);
        sql.push(" AND id = ").push_bind(after.to_owned()).push(")");
    }
    sql.push(" ORDER BY line LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(|row| document_row(kind, row)).collect()
}

async fn remove(db: &mut MySqlConnection, kind: &str, id: &str) -> Result<bool> {
    let marks = "DELETE FROM document_marks WHERE kind = ? AND id = ?";
    sqlx::query(marks).bind(kind).bind(id).execute(&mut *db).await?;
    let sql = "DELETE FROM documents WHERE kind = ? AND id = ?";
    Ok(sqlx::query(sql).bind(kind).bind(id).execute(db).await?.rows_affected() > 0)
}

async fn mark(db: &mut MySqlConnection, kind: &str, id: &str, user: &UserId, value: i64) -> Result<bool> {
    let sql = "INSERT IGNORE INTO document_marks (kind, id, user_id, value) VALUES (?, ?, ?, ?)";
    let marked = sqlx::query(sql).bind(kind).bind(id).bind(user.as_str()).bind(value).execute(db).await?;
    Ok(marked.rows_affected() > 0)
}

async fn marks(db: &mut MySqlConnection, kind: &str, id: &str) -> Result<Vec<(i64, u64)>> {
    let sql = "SELECT value, COUNT(*) FROM document_marks WHERE kind = ? AND id = ? GROUP BY value ORDER BY value";
    let rows = sqlx::query(sql).bind(kind).bind(id).fetch_all(db).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, uint(row, 1)?))).collect()
}
