//! Erasures: everything of one person goes, batch by batch. Each batch is one job of the writer, with its count.

use async_trait::async_trait;
use model::{RoomId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::code_column::Code;
use super::{SqliteStore, chat, column, int, moderation, uint};
use crate::audit::{ERASER, ERASURE, named_in_detail};
use crate::erasure::{ErasedMessages, Erasure, ErasureCounts, ErasureReceipt, ErasureStatus, ErasureStore};
use crate::{AuditEntry, NewComment};

#[async_trait]
impl ErasureStore for SqliteStore {
    async fn request_erasure(&self, id: Snowflake, user: &UserId, at_ms: i64) -> crate::Result<()> {
        let user = user.clone();
        self.write("request_erasure", move |db| request(db, id, &user, at_ms)).await
    }

    async fn erasure(&self, id: Snowflake) -> crate::Result<Option<ErasureReceipt>> {
        self.read("erasure", move |db| receipt(db, id)).await
    }

    async fn claim_erasure(&self, now_ms: i64, until_ms: i64) -> crate::Result<Option<Erasure>> {
        self.write("claim_erasure", move |db| claim(db, now_ms, until_ms)).await
    }

    async fn renew_erasure(&self, id: Snowflake, until_ms: i64) -> crate::Result<()> {
        self.write("renew_erasure", move |db| {
            let mut sql = db.prepare_cached("UPDATE erasures SET lease_until_ms = ? WHERE id = ?")?;
            sql.execute([until_ms, int(id.0)]).map(drop)
        })
        .await
    }

    async fn end_erasure(&self, id: Snowflake, status: ErasureStatus) -> crate::Result<()> {
        self.write("end_erasure", move |db| {
            db.prepare_cached("UPDATE erasures SET state = ?, user_id = NULL WHERE id = ?")?
                .execute(params![Code(status), int(id.0)])
                .map(drop)
        })
        .await
    }

    async fn note_purge(&self, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> crate::Result<()> {
        let (user, room) = (user.clone(), room.cloned());
        self.write("note_purge", move |db| note_purge(db, &user, room.as_ref(), before_ms)).await
    }

    async fn purged_rooms(&self, erasure: Snowflake, limit: usize) -> crate::Result<Vec<RoomId>> {
        self.read("purged_rooms", move |db| {
            let mut sql = db.prepare_cached("SELECT room_id FROM erasure_rooms WHERE erasure = ? LIMIT ?")?;
            sql.query_map([int(erasure.0), int(limit)], |row| column(row, 0))?.collect()
        })
        .await
    }

    async fn purged_room_told(&self, erasure: Snowflake, room: &RoomId) -> crate::Result<()> {
        let room = room.clone();
        self.write("purged_room_told", move |db| {
            let mut sql = db.prepare_cached("DELETE FROM erasure_rooms WHERE erasure = ? AND room_id = ?")?;
            sql.execute(params![int(erasure.0), room.as_str()]).map(drop)
        })
        .await
    }

    async fn erase_likes(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Vec<Snowflake>> {
        let (user, room) = (user.clone(), room.cloned());
        self.write("erase_likes", move |db| likes(db, &user, room.as_ref(), limit, receipt)).await
    }

    async fn erase_messages(
        &self,
        user: &UserId,
        after: Option<&str>,
        at_ms: i64,
        limit: usize,
        receipt: Snowflake,
    ) -> crate::Result<ErasedMessages> {
        let (user, after) = (user.clone(), after.unwrap_or_default().to_owned());
        self.write("erase_messages", move |db| {
            let (erased, count) = overwriting(db, |db| chat::erase_messages(db, &user, &after, at_ms, limit))?;
            add(db, Some(receipt), Counted::Messages, count)?;
            Ok(erased)
        })
        .await
    }

    async fn uploads_of(&self, user: &UserId, limit: usize) -> crate::Result<Vec<Snowflake>> {
        let user = user.clone();
        self.read("uploads_of", move |db| {
            let mut sql = db.prepare_cached("SELECT id FROM uploads WHERE owner = ? LIMIT ?")?;
            sql.query_map(params![user.as_str(), int(limit)], |row| row.get(0).map(|id| Snowflake(uint(id))))?.collect()
        })
        .await
    }

    async fn erase_upload(&self, id: Snowflake, receipt: Snowflake) -> crate::Result<()> {
        self.write("erase_upload", move |db| {
            let removed =
                overwriting(db, |db| db.prepare_cached("DELETE FROM uploads WHERE id = ?")?.execute([int(id.0)]))?;
            db.prepare_cached("DELETE FROM message_uploads WHERE upload_id = ?")?.execute([int(id.0)])?;
            add(db, Some(receipt), Counted::Uploads, removed)
        })
        .await
    }

    async fn erase_audit(&self, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> crate::Result<u64> {
        let user = user.clone();
        self.write("erase_audit", move |db| overwriting(db, |db| audit(db, &user, at_ms, limit, receipt))).await
    }

    async fn erase_profile(&self, user: &UserId, at_ms: i64, limit: usize) -> crate::Result<u64> {
        let user = user.clone();
        self.write("erase_profile", move |db| overwriting(db, |db| profile(db, &user, at_ms, limit))).await
    }
}

/// Runs work whose deletions leave nothing in free pages either. Usually they may: overwriting those costs a write each.
pub(super) fn overwriting<T>(db: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let set = |how: &str| db.pragma_update_and_check(None, "secure_delete", how, |_| Ok(()));
    set("ON")?;
    let done = work(db);
    set("FAST")?;
    done
}

fn request(db: &Connection, id: Snowflake, user: &UserId, at_ms: i64) -> Result<()> {
    note_purge(db, user, None, at_ms)?;
    db.prepare_cached("INSERT INTO erasures (id, user_id, at_ms, state) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![int(id.0), user.as_str(), at_ms, Code(ErasureStatus::Running)])?;
    Ok(())
}

fn receipt(db: &Connection, id: Snowflake) -> Result<Option<ErasureReceipt>> {
    let mut sql = db.prepare_cached(
        "SELECT state, at_ms, comments, messages, uploads, likes, log_entries FROM erasures WHERE id = ?",
    )?;
    let row = |row: &Row<'_>| {
        let count = |index| row.get(index).map(uint);
        let counts = ErasureCounts {
            comments: count(2)?,
            messages: count(3)?,
            uploads: count(4)?,
            likes: count(5)?,
            log_entries: count(6)?,
        };
        Ok(ErasureReceipt { status: row.get::<_, Code<_>>(0)?.0, at_ms: row.get(1)?, counts })
    };
    sql.query_row([int(id.0)], row).optional()
}

fn claim(db: &Connection, now_ms: i64, until_ms: i64) -> Result<Option<Erasure>> {
    let mut sql = db.prepare_cached(
        "UPDATE erasures SET lease_until_ms = ?1, attempts = attempts + 1 WHERE id = (
             SELECT id FROM erasures WHERE state = 0 AND lease_until_ms <= ?2 ORDER BY lease_until_ms, id LIMIT 1)
         RETURNING id, user_id, at_ms, attempts - 1",
    )?;
    let row = |row: &Row<'_>| {
        let id = Snowflake(uint(row.get(0)?));
        Ok(Erasure { id, user_id: column(row, 1)?, at_ms: row.get(2)?, attempts: row.get(3)? })
    };
    sql.query_row([until_ms, now_ms], row).optional()
}

fn note_purge(db: &Connection, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO purges (user_id, room_id, before_ms) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET before_ms = max(before_ms, excluded.before_ms)",
    )?
    .execute(params![user.as_str(), room.map_or("", RoomId::as_str), before_ms])?;
    Ok(())
}

/// Purges that may concern some of these comments: those after the oldest of them was made. Nearly always none.
pub(in crate::sqlite) struct Purges(Vec<(UserId, String, i64)>);

impl Purges {
    pub(super) fn since_oldest_of(db: &Connection, batch: &[NewComment]) -> Result<Self> {
        Self::since(db, batch.iter().map(|new| new.comment.created_at_ms).min())
    }

    pub(in crate::sqlite) fn since(db: &Connection, oldest_ms: Option<i64>) -> Result<Self> {
        let Some(oldest_ms) = oldest_ms else { return Ok(Self(Vec::new())) };
        let mut sql = db.prepare_cached("SELECT user_id, room_id, before_ms FROM purges WHERE before_ms > ?")?;
        let found = sql.query_map([oldest_ms], |row| Ok((column(row, 0)?, row.get(1)?, row.get(2)?)))?;
        found.collect::<Result<_>>().map(Self)
    }

    /// Whether everything of the user that was so at a moment is purged.
    pub(in crate::sqlite) fn cover_all_of(&self, user: &UserId, at_ms: i64) -> bool {
        self.0.iter().any(|(purged, room, before_ms)| purged == user && room.is_empty() && at_ms < *before_ms)
    }

    /// Whether the comment was purged before it arrived.
    pub(in crate::sqlite) fn cover(&self, comment: &model::Comment) -> bool {
        self.0.iter().any(|(user, room, before_ms)| {
            *user == comment.user_id
                && comment.created_at_ms < *before_ms
                && (room.is_empty() || room.as_str() == comment.room_id.as_str())
        })
    }
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
pub(super) fn add(db: &Connection, receipt: Option<Snowflake>, what: Counted, count: usize) -> Result<()> {
    let Some(receipt) = receipt.filter(|_| count > 0) else { return Ok(()) };
    let sql = match what {
        Counted::Comments => "UPDATE erasures SET comments = comments + ? WHERE id = ?",
        Counted::Messages => "UPDATE erasures SET messages = messages + ? WHERE id = ?",
        Counted::Uploads => "UPDATE erasures SET uploads = uploads + ? WHERE id = ?",
        Counted::Likes => "UPDATE erasures SET likes = likes + ? WHERE id = ?",
        Counted::LogEntries => "UPDATE erasures SET log_entries = log_entries + ? WHERE id = ?",
    };
    db.prepare_cached(sql)?.execute([int(count), int(receipt.0)])?;
    Ok(())
}

/// Notes rooms that are to be told.
pub(super) fn note_rooms(db: &Connection, receipt: Option<Snowflake>, rooms: &[RoomId]) -> Result<()> {
    let Some(receipt) = receipt else { return Ok(()) };
    let mut sql =
        db.prepare_cached("INSERT INTO erasure_rooms (erasure, room_id) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
    rooms.iter().try_for_each(|room| sql.execute(params![int(receipt.0), room.as_str()]).map(drop))
}

fn likes(
    db: &Connection,
    user: &UserId,
    room: Option<&RoomId>,
    limit: usize,
    receipt: Option<Snowflake>,
) -> Result<Vec<Snowflake>> {
    let within = if room.is_some() {
        "EXISTS (SELECT 1 FROM comments c JOIN rooms r USING (room_key) WHERE c.id = l.comment_id AND r.room_id = ?2)"
    } else {
        "?2 IS NULL"
    };
    let mut sql = db.prepare_cached(&format!(
        "DELETE FROM likes WHERE (comment_id, user_id) IN (
             SELECT l.comment_id, l.user_id FROM likes l WHERE l.user_id = ?1 AND {within} LIMIT ?3) RETURNING comment_id"
    ))?;
    let ids = sql.query_map(params![user.as_str(), room.map(RoomId::as_str), int(limit)], |row| row.get(0))?;
    let ids: Vec<i64> = ids.collect::<Result<_>>()?;
    let mut count = db.prepare_cached("UPDATE comments SET like_count = max(like_count - 1, 0) WHERE id = ?")?;
    for id in &ids {
        count.execute([id])?;
    }
    add(db, receipt, Counted::Likes, ids.len())?;
    Ok(ids.into_iter().map(|id| Snowflake(uint(id))).collect())
}

fn audit(db: &Connection, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> Result<u64> {
    let mut sql = db.prepare_cached(
        "SELECT line FROM audit_trail WHERE actor = ?1 UNION SELECT line FROM audit_trail WHERE target = ?1
         UNION SELECT line FROM audit_trail WHERE action = 'nuke' AND instr(detail, ?2) > 0 LIMIT ?3",
    )?;
    let lines = sql.query_map(params![user.as_str(), named_in_detail(user.as_str()), int(limit)], |row| row.get(0))?;
    let lines: Vec<i64> = lines.collect::<Result<_>>()?;
    let mut update =
        db.prepare_cached("UPDATE audit_trail SET actor = ?, target = ?, detail = ?, seals = ? WHERE line = ?")?;
    let mut erased = 0_u64;
    for number in lines {
        let Some(mut line) = moderation::audit_line(db, number)? else { continue };
        if !line.erase(user.as_str()) {
            continue;
        }
        let seals = line.seals.as_ref().map(crate::audit::Seals::to_column);
        update.execute(params![line.entry.actor, line.entry.target, line.entry.detail, seals, number])?;
        // One that another erasure changed is declared already.
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
    moderation::audit(db, &entry)?;
    add(db, Some(receipt), Counted::LogEntries, usize::try_from(erased).unwrap_or(usize::MAX))?;
    Ok(erased)
}

/// What goes row by row, each with the user as its first and the limit as its second parameter.
const ROWS: [&str; 13] = [
    "DELETE FROM users WHERE user_id IN (SELECT user_id FROM users WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM devices WHERE (user_id, device_id) IN
         (SELECT user_id, device_id FROM devices WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM blocks WHERE (user_id, blocked) IN (SELECT user_id, blocked FROM blocks WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM device_keys WHERE (user_id, device_id) IN
         (SELECT user_id, device_id FROM device_keys WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM one_time_keys WHERE place IN (SELECT place FROM one_time_keys WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM unacknowledged_events WHERE (user_id, event_id) IN
         (SELECT user_id, event_id FROM unacknowledged_events WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM client_msg_ids WHERE id IN (SELECT id FROM client_msg_ids WHERE user_id = ?1 LIMIT ?2)",
    "DELETE FROM upload_days WHERE (owner, day) IN (SELECT owner, day FROM upload_days WHERE owner = ?1 LIMIT ?2)",
    "DELETE FROM document_marks WHERE (kind, id, user_id) IN
         (SELECT kind, id, user_id FROM document_marks WHERE user_id = ?1 LIMIT ?2)",
    "UPDATE bans SET reason = NULL WHERE id IN
         (SELECT id FROM bans WHERE user_id = ?1 AND reason IS NOT NULL LIMIT ?2)",
    "DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE user_id = ?1 LIMIT ?2)",
    "UPDATE notes SET author = '' WHERE id IN (SELECT id FROM notes WHERE author = ?1 LIMIT ?2)",
    "DELETE FROM document_marks WHERE (kind, id) IN
         (SELECT kind, id FROM documents WHERE user_id = ?1 ORDER BY line LIMIT ?2)",
];
/// After their marks.
const DOCUMENTS: &str =
    "DELETE FROM documents WHERE line IN (SELECT line FROM documents WHERE user_id = ?1 ORDER BY line LIMIT ?2)";

fn profile(db: &Connection, user: &UserId, at_ms: i64, limit: usize) -> Result<u64> {
    let mut changed = chat::erase_reactions(db, user, at_ms, limit)?;
    for sql in ROWS.into_iter().chain([DOCUMENTS]) {
        changed += db.prepare_cached(sql)?.execute(params![user.as_str(), int(limit)])?;
    }
    Ok(changed as u64)
}
