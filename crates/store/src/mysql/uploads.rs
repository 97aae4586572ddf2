//! Uploads: a row for each.

use async_trait::async_trait;
use model::{Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::batches;
use super::row::{code, coded, flag, id, int, parsed, uint};
use super::{MySqlStore, read, write};
use crate::uploads::{DayQuota, Upload, UploadStore};

#[async_trait]
impl UploadStore for MySqlStore {
    async fn announce_upload(&self, upload: &Upload, check_at_ms: i64, quota: DayQuota) -> crate::Result<bool> {
        write!(self, "announce_upload", db => announce(db, upload, check_at_ms, quota))
    }

    async fn upload(&self, id: Snowflake) -> crate::Result<Option<Upload>> {
        read!(self, "upload", db => upload(db, id))
    }

    async fn complete_upload(&self, id: Snowflake, size_bytes: u64) -> crate::Result<bool> {
        write!(self, "complete_upload", db => complete(db, id, size_bytes))
    }

    async fn sees_upload(&self, user: &UserId, id: Snowflake) -> crate::Result<bool> {
        read!(self, "sees_upload", db => sees(db, user, id))
    }

    async fn stale_uploads(&self, now_ms: i64, next_check_ms: i64, limit: usize) -> crate::Result<Vec<Snowflake>> {
        write!(self, "stale_uploads", db => stale(db, now_ms, next_check_ms, limit))
    }

    async fn remove_upload(&self, id: Snowflake) -> crate::Result<()> {
        write!(self, "remove_upload", db => remove(db, id))
    }
}

const DAY_MS: i64 = 86_400_000;

async fn announce(db: &mut MySqlConnection, upload: &Upload, check_at_ms: i64, quota: DayQuota) -> Result<bool> {
    let day = "INSERT IGNORE INTO upload_days (owner, day, bytes) VALUES (?, ?, 0)";
    sqlx::query(day).bind(upload.owner.as_str()).bind(quota.day).execute(&mut *db).await?;
    let count = "UPDATE upload_days SET bytes = bytes + ? WHERE owner = ? AND day = ? AND bytes + ? <= ?";
    let bytes = int(upload.size_bytes);
    let query = sqlx::query(count).bind(bytes).bind(upload.owner.as_str()).bind(quota.day);
    if query.bind(bytes).bind(int(quota.bytes_max)).execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO uploads (id, owner, msg_type, content_type, size_bytes, name, complete, check_at_ms)
         VALUES (?,?,?,?,?,?,?,?)",
    )
    .bind(int(upload.id.0))
    .bind(upload.owner.as_str())
    .bind(code(upload.msg_type))
    .bind(&*upload.content_type)
    .bind(int(upload.size_bytes))
    .bind(upload.name.as_deref())
    .bind(upload.complete)
    .bind(check_at_ms)
    .execute(db)
    .await
    .map(|_| true)
}

async fn upload(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Upload>> {
    let sql = "SELECT owner, msg_type, content_type, size_bytes, name, complete FROM uploads WHERE id = ?";
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    let upload = |row: &MySqlRow| {
        Ok(Upload {
            id,
            owner: parsed(row, 0)?,
            msg_type: coded(row, 1)?,
            content_type: row.try_get::<&str, _>(2)?.into(),
            size_bytes: uint(row, 3)?,
            name: row.try_get::<Option<&str>, _>(4)?.map(Into::into),
            complete: flag(row, 5)?,
        })
    };
    row.as_ref().map(upload).transpose()
}

async fn complete(db: &mut MySqlConnection, id: Snowflake, size_bytes: u64) -> Result<bool> {
    let sql = "UPDATE uploads SET complete = 1, size_bytes = ? WHERE id = ?";
    sqlx::query(sql).bind(int(size_bytes)).bind(int(id.0)).execute(&mut *db).await?;
    // An update that changes nothing affects nothing.
    Ok(upload(db, id).await?.is_some())
}

/// Ends an upload to which no message refers any more; the next sweep removes its bytes. Called when one was recalled.
pub(super) async fn end_unused(db: &mut MySqlConnection, content: &str) -> Result<()> {
    let Ok(id) = content.parse::<Snowflake>() else { return Ok(()) };
    let sql = "UPDATE uploads SET complete = 0, check_at_ms = 0 WHERE id = ? AND NOT EXISTS (
         SELECT 1 FROM messages m WHERE m.upload_id = ? AND m.recalled_at_ms IS NULL)";
    sqlx::query(sql).bind(int(id.0)).bind(int(id.0)).execute(db).await.map(drop)
}

async fn remove(db: &mut MySqlConnection, id: Snowflake) -> Result<()> {
    sqlx::query("DELETE FROM uploads WHERE id = ?").bind(int(id.0)).execute(db).await.map(drop)
}

async fn sees(db: &mut MySqlConnection, user: &UserId, id: Snowflake) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM messages m
             JOIN members r ON r.conversation = m.conversation AND r.user_id = ? AND r.joined_position < m.position
             WHERE m.upload_id = ? AND m.recalled_at_ms IS NULL)
         OR EXISTS (SELECT 1 FROM message_uploads u JOIN messages m ON m.id = u.message_id
             JOIN members r ON r.conversation = m.conversation AND r.user_id = ? AND r.joined_position < m.position
             WHERE u.upload_id = ? AND m.recalled_at_ms IS NULL)";
    let query = sqlx::query_scalar(sql).bind(user.as_str()).bind(int(id.0)).bind(user.as_str()).bind(int(id.0));
    let seen: i64 = query.fetch_one(db).await?;
    Ok(seen != 0)
}

async fn stale(db: &mut MySqlConnection, now_ms: i64, next_check_ms: i64, limit: usize) -> Result<Vec<Snowflake>> {
    let past = now_ms.div_euclid(DAY_MS) - 1;
    sqlx::query("DELETE FROM upload_days WHERE day < ?").bind(past).execute(&mut *db).await?;
    let sql = "SELECT u.id, u.complete <> 0 AND (EXISTS (SELECT 1 FROM messages m
             WHERE m.upload_id = u.id AND m.recalled_at_ms IS NULL)
             OR EXISTS (SELECT 1 FROM message_uploads s JOIN messages m ON m.id = s.message_id
             WHERE s.upload_id = u.id AND m.recalled_at_ms IS NULL))
         FROM uploads u WHERE u.check_at_ms <= ? ORDER BY u.check_at_ms LIMIT ?";
    let rows = sqlx::query(sql).bind(now_ms).bind(int(limit)).fetch_all(&mut *db).await?;
    let (mut needed, mut stale) = (Vec::new(), Vec::new());
    for row in &rows {
        let list = if row.try_get::<i64, _>(1)? != 0 { &mut needed } else { &mut stale };
        list.push(id(row, 0)?);
    }
    for some in batches(&needed) {
        let mut sql = QueryBuilder::<MySql>::new("UPDATE uploads SET check_at_ms = ");
        let mut list = sql.push_bind(next_check_ms).push(" WHERE id IN (").separated(", ");
        some.iter().for_each(|id| {
            list.push_bind(int(id.0));
        });
        sql.push(")").build().execute(&mut *db).await?;
    }
    Ok(stale)
}
