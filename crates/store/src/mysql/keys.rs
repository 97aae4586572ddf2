//! The key directory: a row for each device, one for each one-time key.
//!
//! Every change locks the rows of the user's devices first. So a key is handed out once and the number of keys stays bounded,
//! whichever nodes are asked.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{DeviceId, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::batches;
use super::chat::people;
use super::row::{int, parsed, text, uint};
use super::{MySqlStore, read, write};
use crate::keys::{CLAIMED_MAX, ClaimedKey, DeviceKeys, KeyLimits, KeyStore, NewKeys, OneTimeKey};

#[async_trait]
impl KeyStore for MySqlStore {
    async fn publish_keys(&self, user: &UserId, keys: NewKeys, limits: KeyLimits) -> crate::Result<u32> {
        write!(self, "publish_keys", db => publish(db, user, &keys, limits))
    }

    async fn device_keys(&self, user: &UserId) -> crate::Result<Vec<(DeviceKeys, u32)>> {
        read!(self, "device_keys", db => devices(db, user))
    }

    async fn claim_keys(&self, user: &UserId, of: Option<Vec<DeviceId>>) -> crate::Result<Vec<ClaimedKey>> {
        write!(self, "claim_keys", db => claim(db, user, of.as_deref()))
    }

    async fn remove_keys(&self, user: &UserId, device: &DeviceId) -> crate::Result<bool> {
        write!(self, "remove_keys", db => remove_one(db, user, device))
    }
}

/// Locks the user's devices until the commit, and returns them by id.
async fn lock(db: &mut MySqlConnection, user: &UserId) -> Result<Vec<DeviceKeys>> {
    let sql = "SELECT device_id, identity_key, signing_key, signature FROM device_keys WHERE user_id = ?
         ORDER BY device_id FOR UPDATE";
    let rows = sqlx::query(sql).bind(user.as_str()).fetch_all(db).await?;
    rows.iter().map(device_row).collect()
}

fn device_row(row: &MySqlRow) -> Result<DeviceKeys> {
    let column = |index| row.try_get::<&str, _>(index).map(Into::into);
    Ok(DeviceKeys {
        device_id: parsed(row, 0)?,
        identity_key: column(1)?,
        signing_key: column(2)?,
        signature: column(3)?,
    })
}

async fn publish(db: &mut MySqlConnection, user: &UserId, new: &NewKeys, limits: KeyLimits) -> Result<u32> {
    let device = &new.device.device_id;
    // The first device has no row yet to lock.
    people::lock(db, user).await?;
    let kept = lock(db, user).await?;
    if kept.iter().any(|kept| kept.device_id == *device && !kept.has_same_keys(&new.device)) {
        remove(db, user, device).await?;
    }
    upsert_device(db, user, new).await?;
    insert_one_time_keys(db, user, device, &new.one_time_keys).await?;
    delete_oldest(db, user, device, false, limits.one_time_keys_max).await?;
    delete_oldest_devices(db, user, device, limits.devices_max).await?;
    unclaimed(db, user, device).await
}

async fn upsert_device(db: &mut MySqlConnection, user: &UserId, new: &NewKeys) -> Result<()> {
    let fallback = new.fallback_key.as_ref();
    sqlx::query(
        "INSERT INTO device_keys (user_id, device_id, identity_key, signing_key, signature, fallback_id, fallback_key,
             fallback_signature, published_at_ms) VALUES (?,?,?,?,?,?,?,?,?)
         ON DUPLICATE KEY UPDATE signature = VALUES(signature), published_at_ms = VALUES(published_at_ms),
             fallback_id = COALESCE(VALUES(fallback_id), fallback_id),
             fallback_key = COALESCE(VALUES(fallback_key), fallback_key),
             fallback_signature = COALESCE(VALUES(fallback_signature), fallback_signature)",
    )
    .bind(user.as_str())
    .bind(new.device.device_id.as_str())
    .bind(&*new.device.identity_key)
    .bind(&*new.device.signing_key)
    .bind(&*new.device.signature)
    .bind(fallback.map(|key| key.key_id.as_bytes()))
    .bind(fallback.map(|key| &*key.key))
    .bind(fallback.map(|key| &*key.signature))
    .bind(new.at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Inserts the keys whose ids were not published before.
async fn insert_one_time_keys(
    db: &mut MySqlConnection,
    user: &UserId,
    device: &DeviceId,
    keys: &[OneTimeKey],
) -> Result<()> {
    let sql = "SELECT key_id, place FROM one_time_keys WHERE user_id = ? AND device_id = ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).fetch_all(&mut *db).await?;
    let (mut names, mut newest) = (HashSet::new(), 0);
    for row in &rows {
        names.insert(text(row, 0)?);
        newest = newest.max(row.try_get(1)?);
    }
    let new = keys.iter().filter(|key| names.insert(key.key_id.clone()));
    let new: Vec<_> = (newest + 1..).zip(new).collect();
    for some in batches(&new) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO one_time_keys (user_id, device_id, place, key_id, public_key, signature) ",
        );
        sql.push_values(some, |mut row, (place, OneTimeKey { key_id, key, signature })| {
            row.push_bind(user.to_string()).push_bind(device.as_str().to_owned()).push_bind(*place);
            row.push_bind(key_id.as_bytes().to_vec()).push_bind(key.to_string()).push_bind(signature.to_string());
        });
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

/// Deletes all but the newest `max` keys of a device, claimed or unclaimed.
async fn delete_oldest(
    db: &mut MySqlConnection,
    user: &UserId,
    device: &DeviceId,
    claimed: bool,
    max: usize,
) -> Result<()> {
    let sql = "SELECT place FROM one_time_keys WHERE user_id = ? AND device_id = ? AND claimed = ?
         ORDER BY place DESC LIMIT 1 OFFSET ?";
    let query = sqlx::query_scalar(sql).bind(user.as_str()).bind(device.as_str()).bind(claimed).bind(int(max));
    let newest_gone: Option<i64> = query.fetch_optional(&mut *db).await?;
    if let Some(newest_gone) = newest_gone {
        let sql = "DELETE FROM one_time_keys WHERE user_id = ? AND device_id = ? AND claimed = ? AND place <= ?";
        let query = sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).bind(claimed).bind(newest_gone);
        query.execute(db).await?;
    }
    Ok(())
}

/// Deletes the devices that published longest ago; never the one that publishes now.
async fn delete_oldest_devices(db: &mut MySqlConnection, user: &UserId, now: &DeviceId, max: usize) -> Result<()> {
    let sql = "SELECT device_id FROM device_keys WHERE user_id = ?
         ORDER BY (device_id = ?) DESC, published_at_ms DESC LIMIT 1000 OFFSET ?";
    let query = sqlx::query(sql).bind(user.as_str()).bind(now.as_str()).bind(int(max));
    for row in &query.fetch_all(&mut *db).await? {
        remove(db, user, &parsed(row, 0)?).await?;
    }
    Ok(())
}

async fn devices(db: &mut MySqlConnection, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>> {
    let sql = "SELECT d.device_id, d.identity_key, d.signing_key, d.signature, (SELECT COUNT(*) FROM one_time_keys o
             WHERE o.user_id = d.user_id AND o.device_id = d.device_id AND o.claimed = 0)
         FROM device_keys d WHERE d.user_id = ? ORDER BY d.device_id";
    let rows = sqlx::query(sql).bind(user.as_str()).fetch_all(db).await?;
    rows.iter().map(|row| Ok((device_row(row)?, count(row, 4)?))).collect()
}

fn count(row: &MySqlRow, index: usize) -> Result<u32> {
    Ok(u32::try_from(uint(row, index)?).unwrap_or(u32::MAX))
}

async fn unclaimed(db: &mut MySqlConnection, user: &UserId, device: &DeviceId) -> Result<u32> {
    let sql = "SELECT COUNT(*) FROM one_time_keys WHERE user_id = ? AND device_id = ? AND claimed = 0";
    count(&sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).fetch_one(db).await?, 0)
}

async fn claim(db: &mut MySqlConnection, user: &UserId, of: Option<&[DeviceId]>) -> Result<Vec<ClaimedKey>> {
    let mut claimed = Vec::new();
    for device in lock(db, user).await? {
        if of.is_some_and(|of| !of.contains(&device.device_id)) {
            continue;
        }
        let key = claim_one_time(db, user, &device.device_id).await?;
        claimed.push(match key {
            Some(key) => ClaimedKey { device, key: Some(key), fallback: false },
            None => {
                let key = fallback_key(db, user, &device.device_id).await?;
                ClaimedKey { device, fallback: key.is_some(), key }
            }
        });
    }
    Ok(claimed)
}

/// Claims the oldest one-time key of a device.
async fn claim_one_time(db: &mut MySqlConnection, user: &UserId, device: &DeviceId) -> Result<Option<OneTimeKey>> {
    let sql = "SELECT key_id, public_key, signature, place FROM one_time_keys
         WHERE user_id = ? AND device_id = ? AND claimed = 0 ORDER BY place LIMIT 1";
    let row = sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(None) };
    let place: i64 = row.try_get(3)?;
    let sql = "UPDATE one_time_keys SET claimed = 1 WHERE user_id = ? AND device_id = ? AND place = ?";
    sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).bind(place).execute(&mut *db).await?;
    delete_oldest(db, user, device, true, CLAIMED_MAX).await?;
    one_time_row(&row).map(Some)
}

fn one_time_row(row: &MySqlRow) -> Result<OneTimeKey> {
    let column = |index| row.try_get::<&str, _>(index).map(Into::into);
    Ok(OneTimeKey { key_id: text(row, 0)?, key: column(1)?, signature: column(2)? })
}

async fn fallback_key(db: &mut MySqlConnection, user: &UserId, device: &DeviceId) -> Result<Option<OneTimeKey>> {
    let sql = "SELECT fallback_id, fallback_key, fallback_signature FROM device_keys
         WHERE user_id = ? AND device_id = ? AND fallback_id IS NOT NULL";
    let row = sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).fetch_optional(db).await?;
    row.as_ref().map(one_time_row).transpose()
}

async fn remove_one(db: &mut MySqlConnection, user: &UserId, device: &DeviceId) -> Result<bool> {
    lock(db, user).await?;
    remove(db, user, device).await
}

async fn remove(db: &mut MySqlConnection, user: &UserId, device: &DeviceId) -> Result<bool> {
    let sql = "DELETE FROM one_time_keys WHERE user_id = ? AND device_id = ?";
    sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).execute(&mut *db).await?;
    let sql = "DELETE FROM device_keys WHERE user_id = ? AND device_id = ?";
    Ok(sqlx::query(sql).bind(user.as_str()).bind(device.as_str()).execute(db).await?.rows_affected() > 0)
}
