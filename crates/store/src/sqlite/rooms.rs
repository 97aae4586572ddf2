//! Rooms and live sessions.

use std::collections::HashMap;

use async_trait::async_trait;
use model::{RoomId, RoomSettings, Session, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{SqliteStore, column, from_json, int, json, uint};
use crate::{RoomRow, RoomScope, RoomStore, SessionRow};

#[async_trait]
impl RoomStore for SqliteStore {
    async fn rooms(&self, limit: usize) -> crate::Result<Vec<RoomRow>> {
        self.read("rooms", move |db| rooms(db, limit)).await
    }

    async fn open_rooms(&self, owner: Option<&UserId>, limit: usize) -> crate::Result<Vec<RoomRow>> {
        let owner = owner.cloned();
        self.read("open_rooms", move |db| open_rooms(db, owner.as_ref(), limit)).await
    }

    async fn rooms_of(&self, scope: &RoomScope, limit: usize) -> crate::Result<Vec<RoomRow>> {
        let scope = Scope::from(scope);
        self.read("rooms_of", move |db| rooms_of(db, &scope, limit)).await
    }

    async fn room(&self, room: &RoomId) -> crate::Result<Option<RoomRow>> {
        let room = room.clone();
        self.read("room", move |db| room_by_id(db, &room)).await
    }

    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> crate::Result<bool> {
        let (room, before, after) = (room.clone(), before.clone(), after.clone());
        self.write("put_room", move |db| put(db, &room, &before, &after)).await
    }

    async fn start_session(&self, session: &Session) -> crate::Result<Option<Session>> {
        let session = session.clone();
        self.write("start_session", move |db| start_session(db, &session)).await
    }

    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> crate::Result<Option<Session>> {
        let room = room.clone();
        self.write("end_session", move |db| end_session(db, &room, only, at_ms, close)).await
    }

    async fn sessions_before(
        &self,
        room: &RoomId,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<SessionRow>> {
        let room = room.clone();
        self.read("sessions", move |db| sessions(db, &room, before, limit)).await
    }

    async fn session(&self, id: Snowflake) -> crate::Result<Option<Session>> {
        self.read("session", move |db| session(db, id)).await
    }

    async fn set_session_title(&self, id: Snowflake, title: &str) -> crate::Result<()> {
        let title = title.to_owned();
        self.write("set_session_title", move |db| set_session_title(db, id, &title)).await
    }
}

/// Caches the keys of rooms during one job.
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

/// Moves the room to the head of the list. It is a counter, so no clock can disorder it.
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

fn rooms(db: &Connection, limit: usize) -> Result<Vec<RoomRow>> {
    let mut sql = db.prepare_cached(&rooms_sql())?;
    sql.query_map([int(limit)], room_row)?.collect()
}

/// The statement for rooms that are open, and those of an owner: each from its own index.
pub(super) fn open_rooms_sql() -> String {
    format!(
        "{ROOM} WHERE r.room_key IN (
             SELECT room_key FROM (SELECT room_key FROM rooms WHERE restricted = 0 ORDER BY activity DESC LIMIT ?2)
             UNION ALL
             SELECT room_key FROM (SELECT room_key FROM rooms WHERE owner_id = ?1 ORDER BY activity DESC LIMIT ?2))
         ORDER BY r.activity DESC LIMIT ?2"
    )
}

fn open_rooms(db: &Connection, owner: Option<&UserId>, limit: usize) -> Result<Vec<RoomRow>> {
    let mut sql = db.prepare_cached(&open_rooms_sql())?;
    sql.query_map(params![owner.map(UserId::as_str), int(limit)], room_row)?.collect()
}

/// A scope as the parameters of a statement.
pub(super) struct Scope {
    owner: Option<String>,
    /// Room ids as a JSON array.
    rooms: Option<String>,
}

impl From<&RoomScope> for Scope {
    fn from(scope: &RoomScope) -> Self {
        let list = |rooms: &Vec<RoomId>| serde_json::Value::from_iter(rooms.iter().map(RoomId::as_str)).to_string();
        match scope {
            RoomScope::All => Self { owner: None, rooms: None },
            RoomScope::Listed(rooms) => Self { owner: None, rooms: Some(list(rooms)) },
            RoomScope::OwnedBy { owner, within } => {
                Self { owner: Some(owner.to_string()), rooms: within.as_ref().map(list) }
            }
        }
    }
}

impl Scope {
    /// Whether it covers all rooms, and what is in none.
    pub fn is_all(&self) -> bool {
        self.owner.is_none() && self.rooms.is_none()
    }

    pub fn parameters(&self) -> (Option<&str>, Option<&str>) {
        (self.owner.as_deref(), self.rooms.as_deref())
    }

    /// The condition on `r`, a room; [`Scope::parameters`] are the statement's first two.
    pub fn condition(&self) -> &'static str {
        match self.parameters() {
            (None, None) => "?1 IS ?2",
            (None, Some(_)) => "?1 IS NULL AND r.room_id IN (SELECT value FROM json_each(?2))",
            (Some(_), None) => "r.owner_id = ?1 AND ?2 IS NULL",
            (Some(_), Some(_)) => "r.owner_id = ?1 AND r.room_id IN (SELECT value FROM json_each(?2))",
        }
    }
}

fn rooms_of(db: &Connection, scope: &Scope, limit: usize) -> Result<Vec<RoomRow>> {
    let (owner, rooms) = scope.parameters();
    let order = "ORDER BY r.activity DESC LIMIT ?3";
    let mut sql = db.prepare_cached(&format!("{ROOM} WHERE {} {order}", scope.condition()))?;
    sql.query_map(params![owner, rooms, int(limit)], room_row)?.collect()
}

fn room_by_id(db: &Connection, room: &RoomId) -> Result<Option<RoomRow>> {
    let mut sql = db.prepare_cached(&format!("{ROOM} WHERE r.room_id = ?"))?;
    sql.query_row([room.as_str()], room_row).optional()
}

fn put(db: &Connection, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool> {
    let key = ensure(db, room)?;
    let mut sql = db.prepare_cached("SELECT settings FROM rooms WHERE room_key = ?")?;
    let kept: RoomSettings = sql.query_row([key], |row| from_json(row, 0))?;
    if kept != *before {
        return Ok(false);
    }
    let mut sql = db.prepare_cached(
        "UPDATE rooms SET settings = ?, retention_days = ?, owner_id = ?, restricted = ? WHERE room_key = ?",
    )?;
    let owner = after.owner_id.as_ref().map(UserId::as_str);
    sql.execute(params![json(after)?, after.retention_days, owner, after.private || !after.enabled, key])?;
    touch(db, key)?;
    Ok(true)
}

pub(super) const SESSION: &str =
    "SELECT s.id, r.room_id, s.started_at_ms, s.ended_at_ms, s.explicit, s.comment_count, s.title,
    s.archive_state <> 0
    FROM sessions s JOIN rooms r USING (room_key)";

pub(super) fn session_row(row: &Row<'_>) -> Result<SessionRow> {
    let session = Session {
        id: Snowflake(uint(row.get(0)?)),
        room_id: column(row, 1)?,
        started_at_ms: row.get(2)?,
        ended_at_ms: row.get(3)?,
        explicit: row.get(4)?,
    };
    Ok(SessionRow { session, comment_count: uint(row.get(5)?), title: row.get(6)?, archived: row.get(7)? })
}

fn session_on(db: &Connection, room_key: i64) -> Result<Option<Session>> {
    let mut sql = db.prepare_cached(&format!("{SESSION} WHERE s.room_key = ? AND s.ended_at_ms IS NULL"))?;
    sql.query_row([room_key], session_row).optional().map(|row| row.map(|row| row.session))
}

fn start_session(db: &Connection, session: &Session) -> Result<Option<Session>> {
    let key = ensure(db, &session.room_id)?;
    if session.explicit {
        db.prepare_cached("UPDATE rooms SET closed = 0 WHERE room_key = ?")?.execute([key])?;
        // Opening a room in which people already write takes their session over.
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

/// Stores a session that is over; without an end it ends at its start.
pub(super) fn add_finished_session(db: &Connection, session: &Session) -> Result<()> {
    let key = ensure(db, &session.room_id)?;
    let ended_at_ms = session.ended_at_ms.unwrap_or(session.started_at_ms);
    db.prepare_cached(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET
             started_at_ms = min(started_at_ms, excluded.started_at_ms),
             ended_at_ms = max(ended_at_ms, excluded.ended_at_ms)",
    )?
    .execute(params![int(session.id.0), key, session.started_at_ms, ended_at_ms, session.explicit])?;
    touch(db, key)
}

fn set_session_title(db: &Connection, id: Snowflake, title: &str) -> Result<()> {
    let mut sql = db.prepare_cached("UPDATE sessions SET title = ? WHERE id = ?")?;
    sql.execute(params![title, int(id.0)]).map(drop)
}

fn end_session(
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
    format!("{SESSION} WHERE r.room_id = ? AND s.id < ? ORDER BY s.id DESC LIMIT ?")
}

fn sessions(db: &Connection, room: &RoomId, before: Option<Snowflake>, limit: usize) -> Result<Vec<SessionRow>> {
    let mut sql = db.prepare_cached(&sessions_sql())?;
    let before = before.map_or(i64::MAX, |id| int(id.0));
    sql.query_map(params![room.as_str(), before, int(limit)], session_row)?.collect()
}

fn session(db: &Connection, id: Snowflake) -> Result<Option<Session>> {
    let mut sql = db.prepare_cached(&format!("{SESSION} WHERE s.id = ?"))?;
    sql.query_row([int(id.0)], session_row).optional().map(|row| row.map(|row| row.session))
}

/// Adds to a session's comment count; the change may be negative. An archived session has changed then.
pub(super) fn add_comment_count(db: &Connection, session: i64, change: i64) -> Result<()> {
    let sql = "UPDATE sessions SET comment_count = max(comment_count + ?, 0),
             archive_state = CASE archive_state WHEN 1 THEN 2 ELSE archive_state END WHERE id = ?";
    db.prepare_cached(sql)?.execute([change, session])?;
    Ok(())
}
