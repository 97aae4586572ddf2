//! People: when they were online, their shown names, whom they block, and the cursors of their devices.

use std::collections::{HashMap, HashSet};

use model::{DeviceId, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use crate::chat::{Profile, Sighting};
use crate::mysql::batches::batches;
use crate::mysql::erasure::Purges;
use crate::mysql::row::{flag, id, int, parsed};

/// Devices of one user whose cursor is remembered.
const DEVICES_MAX: i64 = 64;

/// Locks this user until the commit.
pub(in crate::mysql) async fn lock(db: &mut MySqlConnection, user: &UserId) -> Result<()> {
    let sql = "INSERT INTO users (user_id) VALUES (?) ON DUPLICATE KEY UPDATE user_id = users.user_id";
    sqlx::query(sql).bind(user.as_str()).execute(db).await.map(drop)
}

/// Writes in the order of ids, so that two nodes do not deadlock. The last sighting of a user sets its name.
pub(super) async fn sight(db: &mut MySqlConnection, seen: &[Sighting]) -> Result<()> {
    // What was seen before an erasure names nobody after it.
    let purges = Purges::since(db, seen.iter().map(|one| one.at_ms).min()).await?;
    let mut seen: Vec<_> = seen.iter().filter(|one| !purges.cover_all_of(&one.user_id, one.at_ms)).collect();
    seen.sort_by(|one, other| one.user_id.cmp(&other.user_id));
    for some in batches(&seen) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT INTO users (user_id, username, last_seen_ms) ");
        sql.push_values(some, |mut row, Sighting { user_id, username, at_ms }| {
            row.push_bind(user_id.to_string()).push_bind(username.to_string()).push_bind(*at_ms);
        });
        sql.push(" ON DUPLICATE KEY UPDATE username = VALUES(username)");
        sql.push(", last_seen_ms = GREATEST(COALESCE(last_seen_ms, 0), VALUES(last_seen_ms))");
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

/// Writes `user_id IN (…)`.
pub(super) fn push_people(sql: &mut QueryBuilder<MySql>, people: &[UserId]) {
    let mut list = sql.push("user_id IN (").separated(", ");
    for user in people {
        list.push_bind(user.to_string());
    }
    sql.push(")");
}

/// The shown names of those who were ever online.
pub(super) async fn usernames(db: &mut MySqlConnection, people: &[UserId]) -> Result<HashMap<UserId, Box<str>>> {
    let mut names = HashMap::new();
    for some in batches(people) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT user_id, username FROM users WHERE username IS NOT NULL AND ");
        push_people(&mut sql, some);
        for row in &sql.build().fetch_all(&mut *db).await? {
            names.insert(parsed(row, 0)?, row.try_get::<&str, _>(1)?.into());
        }
    }
    Ok(names)
}

pub(super) async fn set_hidden(db: &mut MySqlConnection, user: &UserId, hidden: bool) -> Result<()> {
    let sql = "INSERT INTO users (user_id, hidden) VALUES (?, ?) ON DUPLICATE KEY UPDATE hidden = VALUES(hidden)";
    sqlx::query(sql).bind(user.as_str()).bind(hidden).execute(db).await.map(drop)
}

pub(super) async fn profiles(db: &mut MySqlConnection, asker: &UserId, users: &[UserId]) -> Result<Vec<Profile>> {
    let (mut known, mut blocking) = (HashMap::new(), HashSet::new());
    for some in batches(users) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT user_id, username, last_seen_ms, hidden FROM users WHERE ");
        push_people(&mut sql, some);
        for row in &sql.build().fetch_all(&mut *db).await? {
            known.insert(parsed::<UserId>(row, 0)?, known_row(row)?);
        }
        let mut sql = QueryBuilder::<MySql>::new("SELECT user_id FROM blocks WHERE blocked = ");
        push_people(sql.push_bind(asker.to_string()).push(" AND "), some);
        for row in &sql.build().fetch_all(&mut *db).await? {
            blocking.insert(parsed::<UserId>(row, 0)?);
        }
    }
    let profile = |user_id: &UserId| {
        let (username, last_seen_ms, hidden) = known.get(user_id).cloned().unwrap_or_default();
        let blocks_asker = blocking.contains(user_id);
        Profile { user_id: user_id.clone(), username, last_seen_ms, hidden, blocks_asker }
    };
    Ok(users.iter().map(profile).collect())
}

fn known_row(row: &MySqlRow) -> Result<(Option<Box<str>>, Option<i64>, bool)> {
    Ok((row.try_get::<Option<&str>, _>(1)?.map(Into::into), row.try_get(2)?, flag(row, 3)?))
}

/// Locks the user who blocks, so that two nodes count each other's blocks.
pub(super) async fn block(
    db: &mut MySqlConnection,
    user: &UserId,
    other: &UserId,
    at_ms: i64,
    max: usize,
) -> Result<bool> {
    lock(db, user).await?;
    let sql = "SELECT COUNT(*), COALESCE(MAX(blocked = ?), 0) FROM blocks WHERE user_id = ?";
    let (count, there): (i64, i64) =
        sqlx::query_as(sql).bind(other.as_str()).bind(user.as_str()).fetch_one(&mut *db).await?;
    if there > 0 || count >= int(max) {
        return Ok(there > 0);
    }
    let sql = "INSERT INTO blocks (user_id, blocked, at_ms) VALUES (?, ?, ?)";
    sqlx::query(sql).bind(user.as_str()).bind(other.as_str()).bind(at_ms).execute(db).await?;
    Ok(true)
}

pub(super) async fn unblock(db: &mut MySqlConnection, user: &UserId, other: &UserId) -> Result<()> {
    let sql = "DELETE FROM blocks WHERE user_id = ? AND blocked = ?";
    sqlx::query(sql).bind(user.as_str()).bind(other.as_str()).execute(db).await.map(drop)
}

pub(super) async fn blocks(db: &mut MySqlConnection, user: &UserId, limit: usize) -> Result<Vec<UserId>> {
    let sql = "SELECT blocked FROM blocks WHERE user_id = ? ORDER BY blocked LIMIT ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

pub(super) async fn device_cursor(
    db: &mut MySqlConnection,
    user: &UserId,
    device: &DeviceId,
) -> Result<Option<Snowflake>> {
    let sql = "SELECT since_id FROM devices WHERE user_id = ? AND device_id = ?";
    let row = sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).fetch_optional(db).await?;
    row.as_ref().map(|row| id(row, 0)).transpose()
}

pub(super) async fn set_device_cursor(
    db: &mut MySqlConnection,
    user: &UserId,
    device: &DeviceId,
    since: Snowflake,
    at_ms: i64,
) -> Result<()> {
    let noted = sqlx::query(
        "INSERT INTO devices (user_id, device_id, since_id, seen_at_ms) VALUES (?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE since_id = VALUES(since_id), seen_at_ms = VALUES(seen_at_ms)",
    )
    .bind(user.as_str())
    .bind(device.as_str())
    .bind(int(since.0))
    .bind(at_ms)
    .execute(&mut *db)
    .await?;
    // The database answers 2 for a row that existed and was changed.
    if noted.rows_affected() == 2 { Ok(()) } else { delete_oldest_devices(db, user).await }
}

/// Deletes the devices that were not seen for longest.
async fn delete_oldest_devices(db: &mut MySqlConnection, user: &UserId) -> Result<()> {
    let sql = "SELECT device_id FROM devices WHERE user_id = ? ORDER BY seen_at_ms DESC, device_id LIMIT ? OFFSET ?";
    let query = sqlx::query_scalar(sql).bind(user.as_str()).bind(DEVICES_MAX).bind(DEVICES_MAX);
    let gone: Vec<String> = query.fetch_all(&mut *db).await?;
    for device in gone {
        let sql = "DELETE FROM devices WHERE user_id = ? AND device_id = ?";
        sqlx::query(sql).bind(user.as_str()).bind(device).execute(&mut *db).await?;
    }
    Ok(())
}
