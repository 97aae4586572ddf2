//! Rooms and live sessions.

use async_trait::async_trait;
use model::{RoomId, RoomSettings, Session, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::padded;
use super::row::{flag, from_json, id, int, json, optional_id, parsed, uint};
use super::{MySqlStore, read, write};
use crate::{RoomRow, RoomScope, RoomStore, SessionRow};

#[async_trait]
impl RoomStore for MySqlStore {
    async fn rooms(&self, limit: usize) -> crate::Result<Vec<RoomRow>> {
        read!(self, "rooms", db => rooms(db, limit))
    }

    async fn open_rooms(&self, owner: Option<&UserId>, limit: usize) -> crate::Result<Vec<RoomRow>> {
        read!(self, "open_rooms", db => open_rooms(db, owner, limit))
    }

    async fn rooms_of(&self, scope: &RoomScope, limit: usize) -> crate::Result<Vec<RoomRow>> {
        read!(self, "rooms_of", db => rooms_of(db, scope, limit))
    }

    async fn room(&self, room: &RoomId) -> crate::Result<Option<RoomRow>> {
        read!(self, "room", db => room_by_id(db, room))
    }

    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> crate::Result<bool> {
        write!(self, "put_room", db => put(db, room, before, after))
    }

    async fn start_session(&self, session: &Session) -> crate::Result<Option<Session>> {
        write!(self, "start_session", db => start_session(db, session))
    }

    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> crate::Result<Option<Session>> {
        write!(self, "end_session", db => end_session(db, room, only, at_ms, close))
    }

    async fn sessions_before(
        &self,
        room: &RoomId,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<SessionRow>> {
        read!(self, "sessions", db => sessions(db, room, before, limit))
    }

    async fn session(&self, id: Snowflake) -> crate::Result<Option<Session>> {
        read!(self, "session", db => session(db, id))
    }

    async fn set_session_title(&self, id: Snowflake, title: &str) -> crate::Result<()> {
        write!(self, "set_session_title", db => set_session_title(db, id, title))
    }
}

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

/// Moves the room to the head of the list. It is a counter, so no clock can disorder it. Two nodes may write the same number;
/// then either room may come first.
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

async fn rooms(db: &mut MySqlConnection, limit: usize) -> Result<Vec<RoomRow>> {
    let sql = AssertSqlSafe(format!("{ROOM} ORDER BY r.activity DESC LIMIT ?"));
    let rows = sqlx::query(sql).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(room_row).collect()
}

/// Rooms that are open, and those of an owner: each from its own index.
async fn open_rooms(db: &mut MySqlConnection, owner: Option<&UserId>, limit: usize) -> Result<Vec<RoomRow>> {
    let sql = AssertSqlSafe(format!(
        "{ROOM} JOIN (
             SELECT room_key FROM (SELECT room_key FROM rooms WHERE restricted = 0 ORDER BY activity DESC LIMIT ?) opened
             UNION
             SELECT room_key FROM (SELECT room_key FROM rooms WHERE owner_id = ? ORDER BY activity DESC LIMIT ?) owned
         ) listed ON listed.room_key = r.room_key ORDER BY r.activity DESC LIMIT ?"
    ));
    let query = sqlx::query(sql).bind(int(limit)).bind(owner.map(UserId::as_str)).bind(int(limit)).bind(int(limit));
    query.fetch_all(db).await?.iter().map(room_row).collect()
}

/// Adds the condition that a scope puts on `r`, a room.
pub(super) fn push_scope(sql: &mut QueryBuilder<MySql>, scope: &RoomScope) {
    let (owner, rooms) = match scope {
        RoomScope::All => (None, None),
        RoomScope::Listed(rooms) => (None, Some(rooms)),
        RoomScope::OwnedBy { owner, within } => (Some(owner), within.as_ref()),
    };
    sql.push("1 = 1");
    if let Some(owner) = owner {
        sql.push(" AND r.owner_id = ").push_bind(owner.to_string());
    }
    if let Some(rooms) = rooms {
        push_listed(sql.push(" AND "), "r.room_id", rooms);
    }
}

/// Adds the condition that a column holds one of these rooms.
pub(super) fn push_listed(sql: &mut QueryBuilder<MySql>, column: &'static str, rooms: &[RoomId]) {
    if rooms.is_empty() {
        sql.push("1 = 0");
        return;
    }
    let mut list = sql.push(column).push(" IN (").separated(", ");
    for room in padded(rooms.iter().map(RoomId::to_string)) {
        list.push_bind(room);
    }
    sql.push(")");
}

async fn rooms_of(db: &mut MySqlConnection, scope: &RoomScope, limit: usize) -> Result<Vec<RoomRow>> {
    let mut sql = QueryBuilder::<MySql>::new(format!("{ROOM} WHERE "));
    push_scope(&mut sql, scope);
    sql.push(" ORDER BY r.activity DESC LIMIT ").push_bind(int(limit));
    sql.build().fetch_all(db).await?.iter().map(room_row).collect()
}

async fn room_by_id(db: &mut MySqlConnection, room: &RoomId) -> Result<Option<RoomRow>> {
    let sql = AssertSqlSafe(format!("{ROOM} WHERE r.room_id = ?"));
    let row = sqlx::query(sql).bind(room.as_str()).fetch_optional(db).await?;
    row.as_ref().map(room_row).transpose()
}

async fn put(db: &mut MySqlConnection, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool> {
    let key = ensure(db, room).await?;
    let sql = "SELECT settings FROM rooms WHERE room_key = ? FOR UPDATE";
    let kept: Option<RoomSettings> = from_json(&sqlx::query(sql).bind(key).fetch_one(&mut *db).await?, 0)?;
    if kept.unwrap_or_default() != *before {
        return Ok(false);
    }
    sqlx::query("UPDATE rooms SET settings = ?, retention_days = ?, owner_id = ?, restricted = ? WHERE room_key = ?")
        .bind(json(after)?)
        .bind(after.retention_days)
        .bind(after.owner_id.as_ref().map(UserId::as_str))
        .bind(after.private || !after.enabled)
        .bind(key)
        .execute(&mut *db)
        .await?;
    touch(db, key).await?;
    Ok(true)
}

pub(super) const SESSION: &str =
    "SELECT s.id, r.room_id, s.started_at_ms, s.ended_at_ms, s.explicit, s.comment_count, s.title,
    s.archive_state
    FROM sessions s JOIN rooms r ON r.room_key = s.room_key";

pub(super) fn session_row(row: &MySqlRow) -> Result<SessionRow> {
    let session = Session {
        id: id(row, 0)?,
        room_id: parsed(row, 1)?,
        started_at_ms: row.try_get(2)?,
        ended_at_ms: row.try_get(3)?,
        explicit: flag(row, 4)?,
    };
    Ok(SessionRow { session, comment_count: uint(row, 5)?, title: row.try_get(6)?, archived: flag(row, 7)? })
}

async fn one_session(db: &mut MySqlConnection, filter: &'static str, key: i64) -> Result<Option<Session>> {
    let sql = AssertSqlSafe(format!("{SESSION} WHERE {filter} = ?"));
    let row = sqlx::query(sql).bind(key).fetch_optional(db).await?;
    row.as_ref().map(|row| session_row(row).map(|row| row.session)).transpose()
}

/// Locks the room: other starts and ends of its sessions wait for this transaction. Returns whether it is closed.
async fn lock(db: &mut MySqlConnection, key: i64) -> Result<bool> {
    let row = sqlx::query("SELECT closed FROM rooms WHERE room_key = ? FOR UPDATE").bind(key).fetch_one(db).await?;
    flag(&row, 0)
}

async fn start_session(db: &mut MySqlConnection, session: &Session) -> Result<Option<Session>> {
    let key = ensure(db, &session.room_id).await?;
    let closed = lock(db, key).await?;
    if session.explicit {
        sqlx::query("UPDATE rooms SET closed = 0 WHERE room_key = ?").bind(key).execute(&mut *db).await?;
        // Opening a room in which people already write takes their session over.
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

/// Stores a session that is over; without an end it ends at its start.
pub(super) async fn add_finished_session(db: &mut MySqlConnection, session: &Session) -> Result<()> {
    let key = ensure(db, &session.room_id).await?;
    sqlx::query(
        "INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit) VALUES (?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE started_at_ms = LEAST(started_at_ms, VALUES(started_at_ms)),
             ended_at_ms = GREATEST(ended_at_ms, VALUES(ended_at_ms))",
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

async fn end_session(
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

async fn sessions(
    db: &mut MySqlConnection,
    room: &RoomId,
    before: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<SessionRow>> {
    let sql = AssertSqlSafe(format!("{SESSION} WHERE r.room_id = ? AND s.id < ? ORDER BY s.id DESC LIMIT ?"));
    let before = before.map_or(i64::MAX, |id| int(id.0));
    let rows = sqlx::query(sql).bind(room.as_str()).bind(before).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(session_row).collect()
}

async fn set_session_title(db: &mut MySqlConnection, id: Snowflake, title: &str) -> Result<()> {
    sqlx::query("UPDATE sessions SET title = ? WHERE id = ?").bind(title).bind(int(id.0)).execute(db).await.map(drop)
}

async fn session(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Session>> {
    one_session(db, "s.id", int(id.0)).await
}

/// Adds to sessions' comment counts; a change may be negative. An archived session has changed then.
pub(super) async fn add_comment_counts(db: &mut MySqlConnection, changes: &[(i64, i64)]) -> Result<()> {
    let mut sql = QueryBuilder::<MySql>::new("UPDATE sessions SET comment_count = GREATEST(comment_count + CASE id");
    for (session, change) in changes {
        sql.push(" WHEN ").push_bind(*session).push(" THEN ").push_bind(*change);
    }
    sql.push(" ELSE 0 END, 0), archive_state = CASE archive_state WHEN 1 THEN 2 ELSE archive_state END WHERE id IN (");
    let mut list = sql.separated(", ");
    changes.iter().for_each(|(session, _)| {
        list.push_bind(*session);
    });
    sql.push(")").build().execute(db).await.map(drop)
}
