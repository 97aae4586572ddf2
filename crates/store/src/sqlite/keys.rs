//! The key directory: a row for each device, one for each one-time key.

use async_trait::async_trait;
use model::{DeviceId, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{SqliteStore, column, int};
use crate::keys::{CLAIMED_MAX, ClaimedKey, DeviceKeys, KeyLimits, KeyStore, NewKeys, OneTimeKey};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn publish_keys(&self, user: &UserId, keys: NewKeys, limits: KeyLimits) -> crate::Result<u32> {
        let user = user.clone();
        self.write("publish_keys", move |db| publish(db, &user, &keys, limits)).await
    }

    async fn device_keys(&self, user: &UserId) -> crate::Result<Vec<(DeviceKeys, u32)>> {
        let user = user.clone();
        self.read("device_keys", move |db| devices(db, &user)).await
    }

    async fn claim_keys(&self, user: &UserId, of: Option<Vec<DeviceId>>) -> crate::Result<Vec<ClaimedKey>> {
        let user = user.clone();
        self.write("claim_keys", move |db| claim(db, &user, of.as_deref())).await
    }

    async fn remove_keys(&self, user: &UserId, device: &DeviceId) -> crate::Result<bool> {
        let (user, device) = (user.clone(), device.clone());
        self.write("remove_keys", move |db| remove(db, &user, &device)).await
    }
}

fn publish(db: &Connection, user: &UserId, new: &NewKeys, limits: KeyLimits) -> Result<u32> {
    let device = &new.device.device_id;
    if device_keys(db, user, device)?.is_some_and(|kept| !kept.has_same_keys(&new.device)) {
        remove(db, user, device)?;
    }
    upsert_device(db, user, new)?;
    let mut sql = db.prepare_cached(
        "INSERT INTO one_time_keys (user_id, device_id, key_id, key, signature) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
    )?;
    for OneTimeKey { key_id, key, signature } in &new.one_time_keys {
        sql.execute(params![user.as_str(), device.as_str(), key_id, key, signature])?;
    }
    delete_oldest(db, user, device, false, limits.one_time_keys_max)?;
    delete_oldest_devices(db, user, device, limits.devices_max)?;
    unclaimed(db, user, device)
}

fn upsert_device(db: &Connection, user: &UserId, new: &NewKeys) -> Result<()> {
    let DeviceKeys { device_id, identity_key, signing_key, signature } = &new.device;
    let fallback = new.fallback_key.as_ref();
    db.prepare_cached(
        "INSERT INTO device_keys (user_id, device_id, identity_key, signing_key, signature, fallback_id, fallback_key,
             fallback_signature, published_at_ms) VALUES (?,?,?,?,?,?,?,?,?)
         ON CONFLICT (user_id, device_id) DO UPDATE SET
             signature = excluded.signature,
             published_at_ms = excluded.published_at_ms,
             fallback_id = coalesce(excluded.fallback_id, fallback_id),
             fallback_key = coalesce(excluded.fallback_key, fallback_key),
             fallback_signature = coalesce(excluded.fallback_signature, fallback_signature)",
    )?
    .execute(params![
        user.as_str(),
        device_id.as_str(),
        identity_key,
        signing_key,
        signature,
        fallback.map(|key| &key.key_id),
        fallback.map(|key| &key.key),
        fallback.map(|key| &key.signature),
        new.at_ms,
    ])?;
    Ok(())
}

/// Deletes all but the newest `max` keys of a device, claimed or unclaimed.
fn delete_oldest(db: &Connection, user: &UserId, device: &DeviceId, claimed: bool, max: usize) -> Result<()> {
    db.prepare_cached(
        "DELETE FROM one_time_keys WHERE place IN (SELECT place FROM one_time_keys
             WHERE user_id = ? AND device_id = ? AND claimed = ? ORDER BY place DESC LIMIT -1 OFFSET ?)",
    )?
    .execute(params![user.as_str(), device.as_str(), claimed, int(max)])?;
    Ok(())
}

/// Deletes the devices that published longest ago; never the one that publishes now.
fn delete_oldest_devices(db: &Connection, user: &UserId, now: &DeviceId, max: usize) -> Result<()> {
    let mut sql = db.prepare_cached(
        "SELECT device_id FROM device_keys WHERE user_id = ?
         ORDER BY device_id = ? DESC, published_at_ms DESC LIMIT -1 OFFSET ?",
    )?;
    let gone = sql.query_map(params![user.as_str(), now.as_str(), int(max)], |row| column(row, 0))?;
    for device in gone.collect::<Result<Vec<DeviceId>>>()? {
        remove(db, user, &device)?;
    }
    Ok(())
}

const DEVICE: &str = "d.device_id, d.identity_key, d.signing_key, d.signature";

fn device_row(row: &Row<'_>) -> Result<DeviceKeys> {
    let (identity_key, signing_key, signature) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(DeviceKeys { device_id: column(row, 0)?, identity_key, signing_key, signature })
}

fn device_keys(db: &Connection, user: &UserId, device: &DeviceId) -> Result<Option<DeviceKeys>> {
    let mut sql =
        db.prepare_cached(&format!("SELECT {DEVICE} FROM device_keys d WHERE user_id = ? AND device_id = ?"))?;
    sql.query_row([user.as_str(), device.as_str()], device_row).optional()
}

fn devices(db: &Connection, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>> {
    let mut sql = db.prepare_cached(&format!(
        "SELECT {DEVICE}, (SELECT count(*) FROM one_time_keys o
             WHERE o.user_id = d.user_id AND o.device_id = d.device_id AND o.claimed = 0)
         FROM device_keys d WHERE d.user_id = ? ORDER BY d.device_id"
    ))?;
    sql.query_map([user.as_str()], |row| Ok((device_row(row)?, row.get(4)?)))?.collect()
}

fn unclaimed(db: &Connection, user: &UserId, device: &DeviceId) -> Result<u32> {
    let mut sql =
        db.prepare_cached("SELECT count(*) FROM one_time_keys WHERE user_id = ? AND device_id = ? AND claimed = 0")?;
    sql.query_row([user.as_str(), device.as_str()], |row| row.get(0))
}

fn claim(db: &Connection, user: &UserId, of: Option<&[DeviceId]>) -> Result<Vec<ClaimedKey>> {
    let mut claimed = Vec::new();
    for (device, unclaimed) in devices(db, user)? {
        if of.is_some_and(|of| !of.contains(&device.device_id)) {
            continue;
        }
        let fallback = unclaimed == 0;
        let key = match fallback {
            true => fallback_key(db, user, &device.device_id)?,
            false => claim_one_time(db, user, &device.device_id)?,
        };
        let fallback = fallback && key.is_some();
        claimed.push(ClaimedKey { device, key, fallback });
    }
    Ok(claimed)
}

fn claim_one_time(db: &Connection, user: &UserId, device: &DeviceId) -> Result<Option<OneTimeKey>> {
    let mut sql = db.prepare_cached(
        "UPDATE one_time_keys SET claimed = 1 WHERE place = (SELECT place FROM one_time_keys
             WHERE user_id = ? AND device_id = ? AND claimed = 0 ORDER BY place LIMIT 1)
         RETURNING key_id, key, signature",
    )?;
    let taken = sql.query_row([user.as_str(), device.as_str()], one_time_row).optional()?;
    delete_oldest(db, user, device, true, CLAIMED_MAX)?;
    Ok(taken)
}

fn one_time_row(row: &Row<'_>) -> Result<OneTimeKey> {
    Ok(OneTimeKey { key_id: row.get(0)?, key: row.get(1)?, signature: row.get(2)? })
}

fn fallback_key(db: &Connection, user: &UserId, device: &DeviceId) -> Result<Option<OneTimeKey>> {
    let mut sql = db.prepare_cached(
        "SELECT fallback_id, fallback_key, fallback_signature FROM device_keys
         WHERE user_id = ? AND device_id = ? AND fallback_id IS NOT NULL",
    )?;
    sql.query_row([user.as_str(), device.as_str()], one_time_row).optional()
}

fn remove(db: &Connection, user: &UserId, device: &DeviceId) -> Result<bool> {
    let of = [user.as_str(), device.as_str()];
    db.prepare_cached("DELETE FROM one_time_keys WHERE user_id = ? AND device_id = ?")?.execute(of)?;
    Ok(db.prepare_cached("DELETE FROM device_keys WHERE user_id = ? AND device_id = ?")?.execute(of)? > 0)
}
