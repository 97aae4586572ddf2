//! Erasures: everything of one person goes, batch by batch. Each batch is one transaction, with its count.

use async_trait::async_trait;
use model::{RoomId, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::batches;
use super::row::{code, coded, id, int, parsed, uint};
use super::{MySqlStore, chat, moderation, read, write};
use crate::audit::{ERASER, ERASURE, Seals, named_in_detail};
use crate::erasure::{ErasedMessages, Erasure, ErasureCounts, ErasureReceipt, ErasureStatus, ErasureStore};
use crate::{AuditEntry, NewComment};

#[async_trait]
impl ErasureStore for MySqlStore {
    async fn request_erasure(&self, id: Snowflake, user: &UserId, at_ms: i64) -> crate::Result<()> {
        write!(self, "request_erasure", db => request(db, id, user, at_ms))
    }

    async fn erasure(&self, id: Snowflake) -> crate::Result<Option<ErasureReceipt>> {
        read!(self, "erasure", db => receipt(db, id))
    }

    async fn claim_erasure(&self, now_ms: i64, until_ms: i64) -> crate::Result<Option<Erasure>> {
        write!(self, "claim_erasure", db => claim(db, now_ms, until_ms))
    }

    async fn renew_erasure(&self, id: Snowflake, until_ms: i64) -> crate::Result<()> {
        write!(self, "renew_erasure", db => renew(db, id, until_ms))
    }

    async fn end_erasure(&self, id: Snowflake, status: ErasureStatus) -> crate::Result<()> {
        write!(self, "end_erasure", db => end(db, id, status))
    }

    async fn note_purge(&self, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> crate::Result<()> {
        write!(self, "note_purge", db => note_purge(db, user, room, before_ms))
    }

    async fn purged_rooms(&self, erasure: Snowflake, limit: usize) -> crate::Result<Vec<RoomId>> {
        read!(self, "purged_rooms", db => purged_rooms(db, erasure, limit))
    }

    async fn purged_room_told(&self, erasure: Snowflake, room: &RoomId) -> crate::Result<()> {
        write!(self, "purged_room_told", db => purged_room_told(db, erasure, room))
    }

    async fn erase_likes(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Vec<Snowflake>> {
        write!(self, "erase_likes", db => likes(db, user, room, limit, receipt))
    }

    async fn erase_messages(
        &self,
        user: &UserId,
        after: Option<&str>,
        at_ms: i64,
        limit: usize,
        receipt: Snowflake,
    ) -> crate::Result<ErasedMessages> {
        write!(self, "erase_messages", db => messages(db, user, after.unwrap_or_default(), at_ms, limit, receipt))
    }

    async fn uploads_of(&self, user: &UserId, limit: usize) -> crate::Result<Vec<Snowflake>> {
        read!(self, "uploads_of", db => uploads_of(db, user, limit))
    }

    async fn erase_upload(&self, id: Snowflake, receipt: Snowflake) -> crate::Result<()> {
        write!(self, "erase_upload", db => erase_upload(db, id, receipt))
    }

    async fn erase_audit(&self, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> crate::Result<u64> {
        write!(self, "erase_audit", db => audit(db, user, at_ms, limit, receipt))
    }

    async fn erase_profile(&self, user: &UserId, at_ms: i64, limit: usize) -> crate::Result<u64> {
        write!(self, "erase_profile", db => profile(db, user, at_ms, limit))
    }
}

async fn request(db: &mut MySqlConnection, id: Snowflake, user: &UserId, at_ms: i64) -> Result<()> {
    note_purge(db, user, None, at_ms).await?;
    sqlx::query("INSERT IGNORE INTO erasures (id, user_id, at_ms, state) VALUES (?, ?, ?, ?)")
        .bind(int(id.0))
        .bind(user.as_str())
        .bind(at_ms)
        .bind(code(ErasureStatus::Running))
        .execute(db)
        .await
        .map(drop)
}

async fn receipt(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<ErasureReceipt>> {
    let sql = "SELECT state, at_ms, comments, messages, uploads, likes, log_entries FROM erasures WHERE id = ?";
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    let receipt = |row: &MySqlRow| {
        let counts = ErasureCounts {
            comments: uint(row, 2)?,
            messages: uint(row, 3)?,
            uploads: uint(row, 4)?,
            likes: uint(row, 5)?,
            log_entries: uint(row, 6)?,
        };
        Ok(ErasureReceipt { status: coded(row, 0)?, at_ms: row.try_get(1)?, counts })
    };
    row.as_ref().map(receipt).transpose()
}

async fn claim(db: &mut MySqlConnection, now_ms: i64, until_ms: i64) -> Result<Option<Erasure>> {
    let sql = "SELECT id, user_id, at_ms, attempts FROM erasures WHERE state = 0 AND lease_until_ms <= ?
         ORDER BY lease_until_ms, id LIMIT 1 FOR UPDATE";
    let Some(row) = sqlx::query(sql).bind(now_ms).fetch_optional(&mut *db).await? else { return Ok(None) };
    let attempts = u32::try_from(uint(&row, 3)?).unwrap_or(u32::MAX);
    let erasure = Erasure { id: id(&row, 0)?, user_id: parsed(&row, 1)?, at_ms: row.try_get(2)?, attempts };
    sqlx::query("UPDATE erasures SET lease_until_ms = ?, attempts = attempts + 1 WHERE id = ?")
        .bind(until_ms)
        .bind(int(erasure.id.0))
        .execute(db)
        .await?;
    Ok(Some(erasure))
}

async fn renew(db: &mut MySqlConnection, id: Snowflake, until_ms: i64) -> Result<()> {
    let sql = "UPDATE erasures SET lease_until_ms = ? WHERE id = ?";
    sqlx::query(sql).bind(until_ms).bind(int(id.0)).execute(db).await.map(drop)
}

async fn end(db: &mut MySqlConnection, id: Snowflake, status: ErasureStatus) -> Result<()> {
    let sql = "UPDATE erasures SET state = ?, user_id = NULL WHERE id = ?";
    sqlx::query(sql).bind(code(status)).bind(int(id.0)).execute(db).await.map(drop)
}

async fn note_purge(db: &mut MySqlConnection, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO purges (user_id, room_id, before_ms) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE before_ms = GREATEST(before_ms, VALUES(before_ms))",
    )
    .bind(user.as_str())
    .bind(room.map_or("", RoomId::as_str))
    .bind(before_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Purges that may concern some of these comments: those after the oldest of them was made. Nearly always none.
pub(in crate::mysql) struct Purges(Vec<(UserId, String, i64)>);

impl Purges {
    pub(super) async fn since_oldest_of(db: &mut MySqlConnection, batch: &[NewComment]) -> Result<Self> {
        Self::since(db, batch.iter().map(|new| new.comment.created_at_ms).min()).await
    }

    pub(in crate::mysql) async fn since(db: &mut MySqlConnection, oldest_ms: Option<i64>) -> Result<Self> {
        let Some(oldest_ms) = oldest_ms else { return Ok(Self(Vec::new())) };
        let sql = "SELECT user_id, room_id, before_ms FROM purges WHERE before_ms > ?";
        let rows = sqlx::query(sql).bind(oldest_ms).fetch_all(db).await?;
        let purge = |row: &MySqlRow| Ok((parsed(row, 0)?, row.try_get(1)?, row.try_get(2)?));
        rows.iter().map(purge).collect::<Result<_>>().map(Self)
    }

    /// Whether everything of the user that was so at a moment is purged.
    pub(in crate::mysql) fn cover_all_of(&self, user: &UserId, at_ms: i64) -> bool {
        self.0.iter().any(|(purged, room, before_ms)| purged == user && room.is_empty() && at_ms < *before_ms)
    }

    /// Whether the comment was purged before it arrived.
    pub(in crate::mysql) fn cover(&self, comment: &model::Comment) -> bool {
        self.0.iter().any(|(user, room, before_ms)| {
            *user == comment.user_id
                && comment.created_at_ms < *before_ms
                && (room.is_empty() || room.as_str() == comment.room_id.as_str())
        })
    }
}

async fn purged_rooms(db: &mut MySqlConnection, erasure: Snowflake, limit: usize) -> Result<Vec<RoomId>> {
    let sql = "SELECT room_id FROM erasure_rooms WHERE erasure = ? LIMIT ?";
    let rows = sqlx::query(sql).bind(int(erasure.0)).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

async fn purged_room_told(db: &mut MySqlConnection, erasure: Snowflake, room: &RoomId) -> Result<()> {
    let sql = "DELETE FROM erasure_rooms WHERE erasure = ? AND room_id = ?";
    sqlx::query(sql).bind(int(erasure.0)).bind(room.as_str()).execute(db).await.map(drop)
}

/// What a receipt counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    Comments,
    Messages,
    Uploads,
    Likes,
    LogEntries,
}

/// Adds to a receipt.
pub(super) async fn add(db: &mut MySqlConnection, receipt: Option<Snowflake>, what: Counted, count: u64) -> Result<()> {
    let Some(receipt) = receipt.filter(|_| count > 0) else { return Ok(()) };
    let sql = match what {
        Counted::Comments => "UPDATE erasures SET comments = comments + ? WHERE id = ?",
        Counted::Messages => "UPDATE erasures SET messages = messages + ? WHERE id = ?",
        Counted::Uploads => "UPDATE erasures SET uploads = uploads + ? WHERE id = ?",
        Counted::Likes => "UPDATE erasures SET likes = likes + ? WHERE id = ?",
        Counted::LogEntries => "UPDATE erasures SET log_entries = log_entries + ? WHERE id = ?",
    };
    sqlx::query(sql).bind(int(count)).bind(int(receipt.0)).execute(db).await.map(drop)
}

/// Notes rooms that are to be told.
pub(super) async fn note_rooms(db: &mut MySqlConnection, receipt: Option<Snowflake>, rooms: &[RoomId]) -> Result<()> {
    let Some(receipt) = receipt else { return Ok(()) };
    for room in rooms {
        let sql = "INSERT IGNORE INTO erasure_rooms (erasure, room_id) VALUES (?, ?)";
        sqlx::query(sql).bind(int(receipt.0)).bind(room.as_str()).execute(&mut *db).await?;
    }
    Ok(())
}

async fn likes(
    db: &mut MySqlConnection,
    user: &UserId,
    room: Option<&RoomId>,
    limit: usize,
    receipt: Option<Snowflake>,
) -> Result<Vec<Snowflake>> {
    let sql = match room {
        Some(_) => {
            "SELECT l.comment_id FROM likes l JOIN comments c ON c.id = l.comment_id
             JOIN rooms r ON r.room_key = c.room_key WHERE l.user_id = ? AND r.room_id = ? LIMIT ?"
        }
        None => "SELECT l.comment_id FROM likes l WHERE l.user_id = ? LIMIT ?",
    };
    let mut query = sqlx::query(sql).bind(user.as_str());
    if let Some(room) = room {
        query = query.bind(room.as_str());
    }
    let rows = query.bind(int(limit)).fetch_all(&mut *db).await?;
    let found = rows.iter().map(|row| id(row, 0)).collect::<Result<Vec<_>>>()?;
    let mut erased = Vec::with_capacity(found.len());
    for some in batches(&found) {
        // Comments are locked before their likes, as everybody does who likes. What was taken back meanwhile is not counted.
        listed("SELECT id FROM comments WHERE id IN (", some)
            .push(" ORDER BY id FOR UPDATE")
            .build()
            .fetch_all(&mut *db)
            .await?;
        let mut sql = listed("SELECT comment_id FROM likes WHERE comment_id IN (", some);
        let rows = sql.push(" AND user_id = ").push_bind(user.as_str().to_owned()).build().fetch_all(&mut *db).await?;
        let left = rows.iter().map(|row| id(row, 0)).collect::<Result<Vec<_>>>()?;
        for some in batches(&left) {
            let sql = "UPDATE comments SET like_count = GREATEST(like_count - 1, 0) WHERE id IN (";
            listed(sql, some).build().execute(&mut *db).await?;
            let mut sql = listed("DELETE FROM likes WHERE comment_id IN (", some);
            sql.push(" AND user_id = ").push_bind(user.as_str().to_owned()).build().execute(&mut *db).await?;
        }
        erased.extend(left);
    }
    add(db, receipt, Counted::Likes, erased.len() as u64).await?;
    // Also those that were taken back meanwhile: the caller goes on until nothing is found.
    Ok(found)
}

/// A statement over these ids, up to the closing parenthesis.
fn listed(sql: &'static str, ids: &[Snowflake]) -> QueryBuilder<MySql> {
    let mut sql = QueryBuilder::<MySql>::new(sql);
    let mut list = sql.separated(", ");
    ids.iter().for_each(|id| {
        list.push_bind(int(id.0));
    });
    sql.push(")");
    sql
}

async fn messages(
    db: &mut MySqlConnection,
    user: &UserId,
    after: &str,
    at_ms: i64,
    limit: usize,
    receipt: Snowflake,
) -> Result<ErasedMessages> {
    let (erased, count) = chat::erase_messages(db, user, after, at_ms, limit).await?;
    add(db, Some(receipt), Counted::Messages, count as u64).await?;
    Ok(erased)
}

async fn uploads_of(db: &mut MySqlConnection, user: &UserId, limit: usize) -> Result<Vec<Snowflake>> {
    let sql = "SELECT id FROM uploads WHERE owner = ? LIMIT ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| id(row, 0)).collect()
}

async fn erase_upload(db: &mut MySqlConnection, id: Snowflake, receipt: Snowflake) -> Result<()> {
    let removed = sqlx::query("DELETE FROM uploads WHERE id = ?").bind(int(id.0)).execute(&mut *db).await?;
    sqlx::query("DELETE FROM message_uploads WHERE upload_id = ?").bind(int(id.0)).execute(&mut *db).await?;
    add(db, Some(receipt), Counted::Uploads, removed.rows_affected()).await
}

async fn audit(db: &mut MySqlConnection, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> Result<u64> {
    // The head first, as everybody does who adds a line.
    sqlx::query("SELECT line FROM audit_head WHERE only_row = 1 FOR UPDATE").fetch_one(&mut *db).await?;
    let sql = "SELECT line FROM audit_trail WHERE actor = ? UNION SELECT line FROM audit_trail WHERE target = ?
         UNION SELECT line FROM audit_trail WHERE action = 'nuke' AND LOCATE(?, detail) > 0 LIMIT ?";
    let query = sqlx::query(sql).bind(user.as_str()).bind(user.as_str());
    let rows = query.bind(named_in_detail(user.as_str())).bind(int(limit)).fetch_all(&mut *db).await?;
    let mut erased = 0_u64;
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        let Some(mut line) = moderation::audit_line(db, number).await? else { continue };
        if !line.erase(user.as_str()) {
            continue;
        }
        sqlx::query("UPDATE audit_trail SET actor = ?, target = ?, detail = ?, seals = ? WHERE line = ?")
            .bind(&line.entry.actor)
            .bind(&line.entry.target)
            .bind(&line.entry.detail)
            .bind(line.seals.as_ref().map(Seals::to_column))
            .bind(number)
            .execute(&mut *db)
            .await?;
        erased += 1;
    }
    if erased == 0 {
        return Ok(0);
    }
    let entry = AuditEntry {
        at_ms,
        actor: ERASER.into(),
        action: ERASURE.into(),
        room_id: None,
        target: receipt.to_string(),
        detail: Some(erased.to_string()),
    };
    moderation::audit(db, &entry).await?;
    add(db, Some(receipt), Counted::LogEntries, erased).await?;
    Ok(erased)
}

/// What goes row by row.
const ROWS: [&str; 13] = [
    "DELETE FROM users WHERE user_id = ? LIMIT ?",
    "DELETE FROM devices WHERE user_id = ? LIMIT ?",
    "DELETE FROM blocks WHERE user_id = ? LIMIT ?",
    "DELETE FROM device_keys WHERE user_id = ? LIMIT ?",
    "DELETE FROM one_time_keys WHERE user_id = ? LIMIT ?",
    "DELETE FROM unacknowledged_events WHERE user_id = ? LIMIT ?",
    "DELETE FROM client_msg_ids WHERE user_id = ? LIMIT ?",
    "DELETE FROM upload_days WHERE owner = ? LIMIT ?",
    "DELETE FROM document_marks WHERE user_id = ? LIMIT ?",
    "UPDATE bans SET reason = NULL WHERE user_id = ? AND reason IS NOT NULL LIMIT ?",
    "DELETE FROM notes WHERE user_id = ? LIMIT ?",
    "UPDATE notes SET author = '' WHERE author = ? LIMIT ?",
    "DELETE FROM documents WHERE user_id = ? LIMIT ?",
];

async fn profile(db: &mut MySqlConnection, user: &UserId, at_ms: i64, limit: usize) -> Result<u64> {
    let mut changed = chat::erase_reactions(db, user, at_ms, limit).await?;
    let marks =
        "DELETE m FROM document_marks m JOIN documents d ON d.kind = m.kind AND d.id = m.id WHERE d.user_id = ?";
    changed += sqlx::query(marks).bind(user.as_str()).execute(&mut *db).await?.rows_affected();
    for sql in ROWS {
        let query = sqlx::query(AssertSqlSafe(sql)).bind(user.as_str()).bind(int(limit));
        changed += query.execute(&mut *db).await?.rows_affected();
    }
    Ok(changed)
}
