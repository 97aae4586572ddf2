//! Rooms, live sessions, and what their rankings are made of.

use std::collections::HashMap;

use model::{RoomId, RoomSettings, Session, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{column, from_json, int, json, uint};
use crate::tally::Tally;
use crate::{RoomRow, Scores, SessionRow};

/// The short names of rooms met during one job.
#[derive(Default)]
pub(super) struct RoomKeys(HashMap<RoomId, i64>);

impl RoomKeys {
    /// The room's key; the room is created when it is new.
    pub(super) fn key(&mut self, db: &Connection, room: &RoomId) -> Result<i64> {
        if let Some(key) = self.0.get(room) {
            return Ok(*key);
        }
        let key = ensure(db, room)?;
        self.0.insert(room.clone(), key);
        Ok(key)
    }
}

/// The room's key, if the room is known.
pub(super) fn find(db: &Connection, room: &RoomId) -> Result<Option<i64>> {
    let mut sql = db.prepare_cached("SELECT room_key FROM rooms WHERE room_id = ?")?;
    sql.query_row([room.as_str()], |row| row.get(0)).optional()
}

/// The room's key; the room is created with default settings when it is new.
pub(super) fn ensure(db: &Connection, room: &RoomId) -> Result<i64> {
    if let Some(key) = find(db, room)? {
        return Ok(key);
    }
    db.prepare_cached("INSERT INTO rooms (room_id) VALUES (?)")?.execute([room.as_str()])?;
    let key = db.last_insert_rowid();
    touch(db, key)?;
    Ok(key)
}

/// Puts the room at the head of the list. A counter, not a clock, so that no clock can disorder it.
fn touch(db: &Connection, key: i64) -> Result<()> {
    db.prepare_cached("UPDATE rooms SET activity = (SELECT max(activity) + 1 FROM rooms) WHERE room_key = ?")?
        .execute([key])?;
    Ok(())
}

const ROOM: &str = "SELECT r.room_id, r.settings, r.closed, s.id, s.started_at_ms, s.explicit
    FROM rooms r LEFT JOIN sessions s ON s.room_key = r.room_key AND s.ended_at_ms IS NULL";

fn room_row(row: &Row<'_>) -> Result<RoomRow> {
    let room_id: RoomId = column(row, 0)?;
    let session = row.get::<_, Option<i64>>(3)?.map(|id| -> Result<Session> {
        Ok(Session {
            id: Snowflake(uint(id)),
            room_id: room_id.clone(),
            started_at_ms: row.get(4)?,
            ended_at_ms: None,
            explicit: row.get(5)?,
        })
    });
    Ok(RoomRow { session: session.transpose()?, settings: from_json(row, 1)?, closed: row.get(2)?, room_id })
}

pub(super) fn rooms_sql() -> String {
    format!("{ROOM} ORDER BY r.activity DESC LIMIT ?")
}

pub(super) fn rooms(db: &Connection, limit: usize) -> Result<Vec<RoomRow>> {
    let mut sql = db.prepare_cached(&rooms_sql())?;
    sql.query_map([int(limit)], room_row)?.collect()
}

pub(super) fn room(db: &Connection, room: &RoomId) -> Result<Option<RoomRow>> {
    let mut sql = db.prepare_cached(&format!("{ROOM} WHERE r.room_id = ?"))?;
    sql.query_row([room.as_str()], room_row).optional()
}

pub(super) fn put(db: &Connection, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool> {
    let key = ensure(db, room)?;
    let mut sql = db.prepare_cached("SELECT settings FROM rooms WHERE room_key = ?")?;
    let kept: RoomSettings = sql.query_row([key], |row| from_json(row, 0))?;
    if kept != *before {
        return Ok(false);
    }
    db.prepare_cached("UPDATE rooms SET settings = ?, retention_days = ? WHERE room_key = ?")?.execute(params![
        json(after)?,
        after.retention_days,
        key
    ])?;
    touch(db, key)?;
    Ok(true)
}

const SESSION: &str = "SELECT s.id, r.room_id, s.started_at_ms, s.ended_at_ms, s.explicit, s.comment_count
    FROM sessions s JOIN rooms r USING (room_key)";

fn session_row(row: &Row<'_>) -> Result<SessionRow> {
    let session = Session {
        id: Snowflake(uint(row.get(0)?)),
        room_id: column(row, 1)?,
        started_at_ms: row.get(2)?,
        ended_at_ms: row.get(3)?,
        explicit: row.get(4)?,
    };
    Ok(SessionRow { session, comment_count: uint(row.get(5)?) })
}

fn session_on(db: &Connection, room_key: i64) -> Result<Option<Session>> {
    let mut sql = db.prepare_cached(&format!("{SESSION} WHERE s.room_key = ? AND s.ended_at_ms IS NULL"))?;
    sql.query_row([room_key], session_row).optional().map(|row| row.map(|row| row.session))
}

pub(super) fn start_session(db: &Connection, session: &Session) -> Result<Option<Session>> {
    let key = ensure(db, &session.room_id)?;
    if session.explicit {
        db.prepare_cached("UPDATE rooms SET closed = 0 WHERE room_key = ?")?.execute([key])?;
        // Whoever opens a room that people are talking in takes their session over.
        db.prepare_cached("UPDATE sessions SET explicit = 1 WHERE room_key = ? AND ended_at_ms IS NULL")?
            .execute([key])?;
    }
    if let Some(on) = session_on(db, key)? {
        return Ok(Some(on));
    }
    let closed =
        || db.prepare_cached("SELECT closed FROM rooms WHERE room_key = ?")?.query_row([key], |row| row.get(0));
    if !session.explicit && closed()? {
        return Ok(None);
    }
    db.prepare_cached(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![int(session.id.0), key, session.started_at_ms, session.ended_at_ms, session.explicit])?;
    touch(db, key)?;
    Ok(Some(session.clone()))
}

/// A session that was over before it came here; without an end it counts as over at once.
pub(super) fn add_finished_session(db: &Connection, session: &Session) -> Result<()> {
    let key = ensure(db, &session.room_id)?;
    let ended_at_ms = session.ended_at_ms.unwrap_or(session.started_at_ms);
    db.prepare_cached(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET ended_at_ms = max(ended_at_ms, excluded.ended_at_ms)",
    )?
    .execute(params![int(session.id.0), key, session.started_at_ms, ended_at_ms, session.explicit])?;
    touch(db, key)
}

pub(super) fn end_session(
    db: &Connection,
    room: &RoomId,
    only: Option<Snowflake>,
    at_ms: i64,
    close: bool,
) -> Result<Option<Session>> {
    let key = ensure(db, room)?;
    if close {
        db.prepare_cached("UPDATE rooms SET closed = 1 WHERE room_key = ?")?.execute([key])?;
    }
    touch(db, key)?;
    let Some(on) = session_on(db, key)?.filter(|on| only.is_none_or(|only| on.id == only)) else {
        return Ok(None);
    };
    db.prepare_cached("UPDATE sessions SET ended_at_ms = ? WHERE id = ?")?.execute([at_ms, int(on.id.0)])?;
    Ok(Some(Session { ended_at_ms: Some(at_ms), ..on }))
}

pub(super) fn sessions_sql() -> String {
    format!("{SESSION} WHERE r.room_id = ? ORDER BY s.id DESC LIMIT ?")
}

pub(super) fn sessions(db: &Connection, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>> {
    let mut sql = db.prepare_cached(&sessions_sql())?;
    sql.query_map(params![room.as_str(), int(limit)], session_row)?.collect()
}

pub(super) fn session(db: &Connection, id: Snowflake) -> Result<Option<Session>> {
    let mut sql = db.prepare_cached(&format!("{SESSION} WHERE s.id = ?"))?;
    sql.query_row([int(id.0)], session_row).optional().map(|row| row.map(|row| row.session))
}

/// Gathered here rather than by SQL, which would sort the whole session. The shown name is that of
/// the user's last comment or, when all are deleted, of the gifts.
pub(super) fn scores(db: &Connection, session: Snowflake) -> Result<Scores> {
    let mut tally = gifts(db, session)?;
    let mut sql = db.prepare_cached(
        "SELECT user_id, username, position FROM comments INDEXED BY comments_of_session
         WHERE session_id = ? AND position > 0 ORDER BY offset_ms, id",
    )?;
    let mut rows = sql.query([int(session.0)])?;
    while let Some(row) = rows.next()? {
        let (user, username) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        tally.comment(user, username, uint(row.get(2)?), || column(row, 0))?;
    }
    Ok(tally.scores())
}

fn gifts(db: &Connection, session: Snowflake) -> Result<Tally> {
    let mut sql = db.prepare_cached("SELECT user_id, username, value FROM gifts WHERE session_id = ?")?;
    let (mut tally, mut rows) = (Tally::default(), sql.query([int(session.0)])?);
    while let Some(row) = rows.next()? {
        tally.gifts(column(row, 0)?, row.get(1)?, uint(row.get(2)?));
    }
    Ok(tally)
}

/// Adds to what a user gave; the sum stops at the largest number instead of wrapping.
pub(super) fn add_gift(db: &Connection, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64> {
    db.prepare_cached(
        "INSERT INTO gifts (session_id, user_id, username, value) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET username = excluded.username,
             value = CASE WHEN value > 9223372036854775807 - excluded.value THEN 9223372036854775807
                          ELSE value + excluded.value END
         RETURNING value",
    )?
    .query_row(params![int(session.0), user.as_str(), username, int(value)], |row| Ok(uint(row.get(0)?)))
}

/// Adds to the number of comments kept for a session; the change may be negative.
pub(super) fn add_comment_count(db: &Connection, session: i64, change: i64) -> Result<()> {
    db.prepare_cached("UPDATE sessions SET comment_count = max(comment_count + ?, 0) WHERE id = ?")?
        .execute([change, session])?;
    Ok(())
}
