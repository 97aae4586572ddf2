//! Uploads: a row for each.

use async_trait::async_trait;
use model::{Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::code_column::Code;
use super::{SqliteStore, column, int, uint};
use crate::uploads::{DayQuota, Upload, UploadStore};

const DAY_MS: i64 = 86_400_000;

#[async_trait]
impl UploadStore for SqliteStore {
    async fn announce_upload(&self, upload: &Upload, check_at_ms: i64, quota: DayQuota) -> crate::Result<bool> {
        let upload = upload.clone();
        self.write("announce_upload", move |db| announce(db, &upload, check_at_ms, quota)).await
    }

    async fn upload(&self, id: Snowflake) -> crate::Result<Option<Upload>> {
        self.read("upload", move |db| upload(db, id)).await
    }

    async fn complete_upload(&self, id: Snowflake, size_bytes: u64) -> crate::Result<bool> {
        self.write("complete_upload", move |db| complete(db, id, size_bytes)).await
    }

    async fn sees_upload(&self, user: &UserId, id: Snowflake) -> crate::Result<bool> {
        let user = user.clone();
        self.read("sees_upload", move |db| sees(db, &user, id)).await
    }

    async fn stale_uploads(&self, now_ms: i64, next_check_ms: i64, limit: usize) -> crate::Result<Vec<Snowflake>> {
        self.write("stale_uploads", move |db| stale(db, now_ms, next_check_ms, limit)).await
    }

    async fn remove_upload(&self, id: Snowflake) -> crate::Result<()> {
        self.write("remove_upload", move |db| remove(db, id)).await
    }
}

fn announce(db: &Connection, upload: &Upload, check_at_ms: i64, quota: DayQuota) -> Result<bool> {
    let mut count = db.prepare_cached(
        "INSERT INTO upload_days (owner, day, bytes) SELECT ?1, ?2, ?3 WHERE ?3 <= ?4
         ON CONFLICT (owner, day) DO UPDATE SET bytes = bytes + ?3 WHERE bytes + ?3 <= ?4",
    )?;
    let (bytes, bytes_max) = (int(upload.size_bytes), int(quota.bytes_max));
    if count.execute(params![upload.owner.as_str(), quota.day, bytes, bytes_max])? == 0 {
        return Ok(false);
    }
    db.prepare_cached(
        "INSERT INTO uploads (id, owner, msg_type, content_type, size_bytes, name, complete, check_at_ms)
         VALUES (?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        int(upload.id.0),
        upload.owner.as_str(),
        Code(upload.msg_type),
        upload.content_type,
        int(upload.size_bytes),
        upload.name,
        upload.complete,
        check_at_ms,
    ])?;
    Ok(true)
}

fn upload(db: &Connection, id: Snowflake) -> Result<Option<Upload>> {
    let mut sql = db
        .prepare_cached("SELECT owner, msg_type, content_type, size_bytes, name, complete FROM uploads WHERE id = ?")?;
    sql.query_row([int(id.0)], |row| {
        Ok(Upload {
            id,
            owner: column(row, 0)?,
            msg_type: row.get::<_, Code<_>>(1)?.0,
            content_type: row.get(2)?,
            size_bytes: uint(row.get(3)?),
            name: row.get(4)?,
            complete: row.get(5)?,
        })
    })
    .optional()
}

fn complete(db: &Connection, id: Snowflake, size_bytes: u64) -> Result<bool> {
    let mut sql = db.prepare_cached("UPDATE uploads SET complete = 1, size_bytes = ? WHERE id = ?")?;
    sql.execute([int(size_bytes), int(id.0)]).map(|changed| changed > 0)
}

/// Ends an upload to which no message refers any more; the next sweep removes its bytes. Called when one was recalled.
pub(super) fn end_unused(db: &Connection, content: &str) -> Result<()> {
    let mut sql = db.prepare_cached(
        "UPDATE uploads SET complete = 0, check_at_ms = 0 WHERE id = CAST(?1 AS INTEGER) AND NOT EXISTS (
             SELECT 1 FROM messages m WHERE m.content = ?1 AND m.msg_type IN (1, 2, 3) AND m.recalled_at_ms IS NULL)",
    )?;
    sql.execute([content]).map(drop)
}

fn remove(db: &Connection, id: Snowflake) -> Result<()> {
    db.prepare_cached("DELETE FROM uploads WHERE id = ?")?.execute([int(id.0)]).map(drop)
}

fn sees(db: &Connection, user: &UserId, id: Snowflake) -> Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages m
             JOIN members r ON r.conversation = m.conversation AND r.user_id = ?2 AND r.joined_position < m.position
             WHERE m.content = ?1 AND m.msg_type IN (1, 2, 3) AND m.recalled_at_ms IS NULL)
         OR EXISTS (SELECT 1 FROM message_uploads u JOIN messages m ON m.id = u.message_id
             JOIN members r ON r.conversation = m.conversation AND r.user_id = ?2 AND r.joined_position < m.position
             WHERE u.upload_id = ?3 AND m.recalled_at_ms IS NULL)",
    )?
    .query_row(params![id.to_string(), user.as_str(), int(id.0)], |row| row.get(0))
}

fn stale(db: &Connection, now_ms: i64, next_check_ms: i64, limit: usize) -> Result<Vec<Snowflake>> {
    db.prepare_cached("DELETE FROM upload_days WHERE day < ?")?.execute([now_ms.div_euclid(DAY_MS) - 1])?;
    let mut due = db.prepare_cached(
        "SELECT u.id, u.complete AND (EXISTS (SELECT 1 FROM messages m
             WHERE m.content = CAST(u.id AS TEXT) AND m.msg_type IN (1, 2, 3) AND m.recalled_at_ms IS NULL)
             OR EXISTS (SELECT 1 FROM message_uploads s JOIN messages m ON m.id = s.message_id
             WHERE s.upload_id = u.id AND m.recalled_at_ms IS NULL))
         FROM uploads u WHERE u.check_at_ms <= ? ORDER BY u.check_at_ms LIMIT ?",
    )?;
    let due = due.query_map([now_ms, int(limit)], |row| Ok((Snowflake(uint(row.get(0)?)), row.get(1)?)))?;
    let due: Vec<(Snowflake, bool)> = due.collect::<Result<_>>()?;
    let mut put_off = db.prepare_cached("UPDATE uploads SET check_at_ms = ? WHERE id = ?")?;
    for (id, _) in due.iter().filter(|(_, needed)| *needed) {
        put_off.execute([next_check_ms, int(id.0)])?;
    }
    Ok(due.into_iter().filter(|(_, needed)| !needed).map(|(id, _)| id).collect())
}
