//! People: when they were online, their shown names, whom they block, and the cursors of their devices.

use model::{DeviceId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::chat::{Profile, Sighting};
use crate::sqlite::erasure::Purges;
use crate::sqlite::{column, int, uint};

/// Devices of one user whose cursor is remembered.
const DEVICES_MAX: i64 = 64;

pub(super) fn sight(db: &Connection, seen: &[Sighting]) -> Result<()> {
    let mut sql = db.prepare_cached(
        "INSERT INTO users (user_id, username, last_seen_ms) VALUES (?, ?, ?)
         ON CONFLICT (user_id) DO UPDATE SET username = excluded.username,
             last_seen_ms = max(coalesce(last_seen_ms, 0), excluded.last_seen_ms)",
    )?;
    // What was seen before an erasure names nobody after it.
    let purges = Purges::since(db, seen.iter().map(|one| one.at_ms).min())?;
    for Sighting { user_id, username, at_ms } in seen.iter().filter(|one| !purges.cover_all_of(&one.user_id, one.at_ms))
    {
        sql.execute(params![user_id.as_str(), &**username, at_ms])?;
    }
    Ok(())
}

pub(super) fn username(db: &Connection, user: &UserId) -> Result<Option<Box<str>>> {
    let mut sql = db.prepare_cached("SELECT username FROM users WHERE user_id = ?")?;
    sql.query_row([user.as_str()], |row| row.get(0)).optional().map(Option::flatten)
}

pub(super) fn set_hidden(db: &Connection, user: &UserId, hidden: bool) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO users (user_id, hidden) VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET hidden = excluded.hidden",
    )?
    .execute(params![user.as_str(), hidden])?;
    Ok(())
}

pub(super) fn profiles(db: &Connection, asker: &UserId, users: Vec<UserId>) -> Result<Vec<Profile>> {
    let mut sql = db.prepare_cached("SELECT username, last_seen_ms, hidden FROM users WHERE user_id = ?")?;
    let mut profile = |user_id: UserId| {
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (username, last_seen_ms, hidden) = sql.query_row([user_id.as_str()], row).optional()?.unwrap_or_default();
        let blocks_asker = is_blocked(db, &user_id, asker)?;
        Ok(Profile { user_id, username, last_seen_ms, hidden, blocks_asker })
    };
    users.into_iter().map(&mut profile).collect()
}

pub(super) fn block(db: &Connection, user: &UserId, other: &UserId, at_ms: i64, max: usize) -> Result<bool> {
    if is_blocked(db, user, other)? {
        return Ok(true);
    }
    let mut count = db.prepare_cached("SELECT count(*) FROM blocks WHERE user_id = ?")?;
    if count.query_row([user.as_str()], |row| row.get::<_, i64>(0))? >= int(max) {
        return Ok(false);
    }
    db.prepare_cached("INSERT INTO blocks (user_id, blocked, at_ms) VALUES (?, ?, ?)")?.execute(params![
        user.as_str(),
        other.as_str(),
        at_ms
    ])?;
    Ok(true)
}

pub(super) fn unblock(db: &Connection, user: &UserId, other: &UserId) -> Result<()> {
    db.prepare_cached("DELETE FROM blocks WHERE user_id = ? AND blocked = ?")?
        .execute([user.as_str(), other.as_str()])?;
    Ok(())
}

/// Whether `user` blocks `other`.
pub(super) fn is_blocked(db: &Connection, user: &UserId, other: &UserId) -> Result<bool> {
    let mut sql = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = ? AND blocked = ?)")?;
    sql.query_row([user.as_str(), other.as_str()], |row| row.get(0))
}

pub(super) fn blocks(db: &Connection, user: &UserId, limit: usize) -> Result<Vec<UserId>> {
    let mut sql = db.prepare_cached("SELECT blocked FROM blocks WHERE user_id = ? ORDER BY blocked LIMIT ?")?;
    sql.query_map(params![user.as_str(), int(limit)], |row| column(row, 0))?.collect()
}

pub(super) fn device_cursor(db: &Connection, user: &UserId, device: &DeviceId) -> Result<Option<Snowflake>> {
    let mut sql = db.prepare_cached("SELECT since_id FROM devices WHERE user_id = ? AND device_id = ?")?;
    let since = sql.query_row([user.as_str(), device.as_str()], |row| row.get(0)).optional()?;
    Ok(since.map(|id| Snowflake(uint(id))))
}

pub(super) fn set_device_cursor(
    db: &Connection,
    user: &UserId,
    device: &DeviceId,
    since: Snowflake,
    at_ms: i64,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO devices (user_id, device_id, since_id, seen_at_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (user_id, device_id) DO UPDATE SET since_id = excluded.since_id, seen_at_ms = excluded.seen_at_ms",
    )?
    .execute(params![user.as_str(), device.as_str(), int(since.0), at_ms])?;
    db.prepare_cached(
        "DELETE FROM devices WHERE user_id = ?1 AND device_id IN (SELECT device_id FROM devices WHERE user_id = ?1
             ORDER BY seen_at_ms DESC, device_id LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![user.as_str(), DEVICES_MAX])?;
    Ok(())
}
