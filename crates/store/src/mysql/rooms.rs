//! Rooms, live sessions, and what their rankings are made of.

use futures::TryStreamExt;
use model::{RoomId, RoomSettings, Session, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Result, Row};

use super::row::{flag, from_json, id, int, json, optional_id, parsed, uint};
use crate::tally::Tally;
use crate::{RoomRow, Scores, SessionRow};

/// The room's key, if the room is known.
async fn find(db: &mut MySqlConnection, room: &RoomId) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT room_key FROM rooms WHERE room_id = ?").bind(room.as_str()).fetch_optional(db).await
}

/// The room's key; the room is created with default settings when it is new.
pub(super) async fn ensure(db: &mut MySqlConnection, room: &RoomId) -> Result<i64> {
    if let Some(key) = find(db, room).await? {
        return Ok(key);
    }
    let new =
        sqlx::query("INSERT IGNORE INTO rooms (room_id) VALUES (?)").bind(room.as_str()).execute(&mut *db).await?;
    let key = find(db, room).await?.ok_or(sqlx::Error::RowNotFound)?;
    if new.rows_affected() > 0 {
        touch(db, key).await?;
    }
    Ok(key)
}

/// Puts the room at the head of the list. A counter, not a clock, so that no clock can disorder it; two nodes may give
/// the same number, and then either room may stand first.
async fn touch(db: &mut MySqlConnection, key: i64) -> Result<()> {
    let newest: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(activity), 0) FROM rooms").fetch_one(&mut *db).await?;
    sqlx::query("UPDATE rooms SET activity = ? WHERE room_key = ?").bind(newest + 1).bind(key).execute(db).await?;
    Ok(())
}

const ROOM: &str = "SELECT r.room_id, r.settings, r.closed, s.id, s.started_at_ms, s.explicit
    FROM rooms r LEFT JOIN sessions s ON s.on_in = r.room_key";

fn room_row(row: &MySqlRow) -> Result<RoomRow> {
    let room_id: RoomId = parsed(row, 0)?;
    let session = optional_id(row, 3)?.map(|id| -> Result<Session> {
        let (started_at_ms, explicit) = (row.try_get(4)?, flag(row, 5)?);
        Ok(Session { id, room_id: room_id.clone(), started_at_ms, ended_at_ms: None, explicit })
    });
    let session = session.transpose()?;
    Ok(RoomRow { session, settings: from_json(row, 1)?.unwrap_or_default(), closed: flag(row, 2)?, room_id })
}

pub(super) async fn rooms(db: &mut MySqlConnection, limit: usize) -> Result<Vec<RoomRow>> {
    let sql = AssertSqlSafe(format!("{ROOM} ORDER BY r.activity DESC LIMIT ?"));
    let rows = sqlx::query(sql).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(room_row).collect()
}

pub(super) async fn room(db: &mut MySqlConnection, room: &RoomId) -> Result<Option<RoomRow>> {
    let sql = AssertSqlSafe(format!("{ROOM} WHERE r.room_id = ?"));
    let row = sqlx::query(sql).bind(room.as_str()).fetch_optional(db).await?;
    row.as_ref().map(room_row).transpose()
}

pub(super) async fn put(
    db: &mut MySqlConnection,
    room: &RoomId,
    before: &RoomSettings,
    after: &RoomSettings,
) -> Result<bool> {
    let key = ensure(db, room).await?;
    let sql = "SELECT settings FROM rooms WHERE room_key = ? FOR UPDATE";
    let kept: Option<RoomSettings> = from_json(&sqlx::query(sql).bind(key).fetch_one(&mut *db).await?, 0)?;
    if kept.unwrap_or_default() != *before {
        return Ok(false);
    }
    sqlx::query("UPDATE rooms SET settings = ?, retention_days = ? WHERE room_key = ?")
        .bind(json(after)?)
        .bind(after.retention_days)
        .bind(key)
        .execute(&mut *db)
        .await?;
    touch(db, key).await?;
    Ok(true)
}

const SESSION: &str = "SELECT s.id, r.room_id, s.started_at_ms, s.ended_at_ms, s.explicit, s.comment_count
    FROM sessions s JOIN rooms r ON r.room_key = s.room_key";

fn session_row(row: &MySqlRow) -> Result<SessionRow> {
    let session = Session {
        id: id(row, 0)?,
        room_id: parsed(row, 1)?,
        started_at_ms: row.try_get(2)?,
        ended_at_ms: row.try_get(3)?,
        explicit: flag(row, 4)?,
    };
    Ok(SessionRow { session, comment_count: uint(row, 5)? })
}

async fn one_session(db: &mut MySqlConnection, filter: &'static str, key: i64) -> Result<Option<Session>> {
    let sql = AssertSqlSafe(format!("{SESSION} WHERE {filter} = ?"));
    let row = sqlx::query(sql).bind(key).fetch_optional(db).await?;
    row.as_ref().map(|row| session_row(row).map(|row| row.session)).transpose()
}

/// Makes whoever else would start or end a session of the room wait for this transaction; says whether it is closed.
async fn lock(db: &mut MySqlConnection, key: i64) -> Result<bool> {
    let row = sqlx::query("SELECT closed FROM rooms WHERE room_key = ? FOR UPDATE").bind(key).fetch_one(db).await?;
    flag(&row, 0)
}

pub(super) async fn start_session(db: &mut MySqlConnection, session: &Session) -> Result<Option<Session>> {
    let key = ensure(db, &session.room_id).await?;
    let closed = lock(db, key).await?;
    if session.explicit {
        sqlx::query("UPDATE rooms SET closed = 0 WHERE room_key = ?").bind(key).execute(&mut *db).await?;
        // Whoever opens a room that people are talking in takes their session over.
        sqlx::query("UPDATE sessions SET explicit = 1 WHERE on_in = ?").bind(key).execute(&mut *db).await?;
    }
    if let Some(on) = one_session(db, "s.on_in", key).await? {
        return Ok(Some(on));
    }
    if closed && !session.explicit {
        return Ok(None);
    }
    let on_in = session.ended_at_ms.is_none().then_some(key);
    sqlx::query(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit, on_in) VALUES (?,?,?,?,?,?)",
    )
    .bind(int(session.id.0))
    .bind(key)
    .bind(session.started_at_ms)
    .bind(session.ended_at_ms)
    .bind(session.explicit)
    .bind(on_in)
    .execute(&mut *db)
    .await?;
    touch(db, key).await?;
    Ok(Some(session.clone()))
}

/// A session that was over before it came here; without an end it counts as over at once.
pub(super) async fn add_finished_session(db: &mut MySqlConnection, session: &Session) -> Result<()> {
    let key = ensure(db, &session.room_id).await?;
    sqlx::query(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit) VALUES (?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE ended_at_ms = GREATEST(ended_at_ms, VALUES(ended_at_ms))",
    )
    .bind(int(session.id.0))
    .bind(key)
    .bind(session.started_at_ms)
    .bind(session.ended_at_ms.unwrap_or(session.started_at_ms))
    .bind(session.explicit)
    .execute(&mut *db)
    .await?;
    touch(db, key).await
}

pub(super) async fn end_session(
    db: &mut MySqlConnection,
    room: &RoomId,
    only: Option<Snowflake>,
    at_ms: i64,
    close: bool,
) -> Result<Option<Session>> {
    let key = ensure(db, room).await?;
    lock(db, key).await?;
    if close {
        sqlx::query("UPDATE rooms SET closed = 1 WHERE room_key = ?").bind(key).execute(&mut *db).await?;
    }
    touch(db, key).await?;
    let on = one_session(db, "s.on_in", key).await?;
    let Some(on) = on.filter(|on| only.is_none_or(|only| on.id == only)) else {
        return Ok(None);
    };
    sqlx::query("UPDATE sessions SET ended_at_ms = ?, on_in = NULL WHERE id = ?")
        .bind(at_ms)
        .bind(int(on.id.0))
        .execute(db)
        .await?;
    Ok(Some(Session { ended_at_ms: Some(at_ms), ..on }))
}

pub(super) async fn sessions(db: &mut MySqlConnection, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>> {
    let sql = AssertSqlSafe(format!("{SESSION} WHERE r.room_id = ? ORDER BY s.id DESC LIMIT ?"));
    let rows = sqlx::query(sql).bind(room.as_str()).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(session_row).collect()
}

pub(super) async fn session(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Session>> {
    one_session(db, "s.id", int(id.0)).await
}

/// Gathered here rather than by SQL, which would sort the whole session. The shown name is that of
/// the user's last comment or, when all are deleted, of the gifts.
pub(super) async fn scores(db: &mut MySqlConnection, session: Snowflake) -> Result<Scores> {
    let mut tally = gifts(db, session).await?;
    let sql = "SELECT user_id, username, position FROM comments
               WHERE session_id = ? AND position > 0 ORDER BY offset_ms, id";
    let mut rows = sqlx::query(sql).bind(int(session.0)).fetch(db);
    while let Some(row) = rows.try_next().await? {
        tally.comment(row.try_get(0)?, row.try_get(1)?, uint(&row, 2)?, || parsed(&row, 0))?;
    }
    Ok(tally.scores())
}

async fn gifts(db: &mut MySqlConnection, session: Snowflake) -> Result<Tally> {
    let sql = "SELECT user_id, username, value FROM gifts WHERE session_id = ?";
    let mut tally = Tally::default();
    for row in sqlx::query(sql).bind(int(session.0)).fetch_all(db).await? {
        tally.gifts(parsed(&row, 0)?, row.try_get(1)?, uint(&row, 2)?);
    }
    Ok(tally)
}

/// Adds to what a user gave; the sum stops at the largest number instead of wrapping.
pub(super) async fn add_gift(
    db: &mut MySqlConnection,
    session: Snowflake,
    user: &UserId,
    username: &str,
    value: u64,
) -> Result<u64> {
    sqlx::query(
        "INSERT INTO gifts (session_id, user_id, username, value) VALUES (?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE username = VALUES(username),
             value = IF(value > 9223372036854775807 - VALUES(value), 9223372036854775807, value + VALUES(value))",
    )
    .bind(int(session.0))
    .bind(user.as_str())
    .bind(username)
    .bind(int(value))
    .execute(&mut *db)
    .await?;
    let sum = sqlx::query("SELECT value FROM gifts WHERE session_id = ? AND user_id = ?")
        .bind(int(session.0))
        .bind(user.as_str())
        .fetch_one(db)
        .await?;
    uint(&sum, 0)
}

/// Adds to the number of comments kept for a session; the change may be negative.
pub(super) async fn add_comment_count(db: &mut MySqlConnection, session: i64, change: i64) -> Result<()> {
    sqlx::query("UPDATE sessions SET comment_count = GREATEST(comment_count + ?, 0) WHERE id = ?")
        .bind(change)
        .bind(session)
        .execute(db)
        .await
        .map(drop)
}
