//! Removes messages past their retention. The id tells the age, as for comments.

use rusqlite::{Connection, Result, params};

use crate::retention::first_id_of;
use crate::sqlite::int;

/// Messages made before a moment, by id.
pub(super) fn find(db: &Connection, not_before_ms: i64, limit: usize) -> Result<Vec<i64>> {
    let mut sql = db.prepare_cached("SELECT id FROM messages WHERE id < ? ORDER BY id LIMIT ?")?;
    sql.query_map(params![first_id_of(not_before_ms), int(limit)], |row| row.get(0))?.collect()
}

/// Removes them with everything that refers to them, and devices not seen for long.
pub(super) fn remove(db: &Connection, ids: &[i64], devices_not_before_ms: i64, limit: usize) -> Result<u64> {
    let mut message = db.prepare_cached("DELETE FROM messages WHERE id = ?")?;
    let mut recall = db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 0")?;
    let mut edit = db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 2")?;
    let mut reacted = db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 3")?;
    let mut reactions = db.prepare_cached("DELETE FROM reactions WHERE message_id = ?")?;
    let mut uploads = db.prepare_cached("DELETE FROM message_uploads WHERE message_id = ?")?;
    let mut call = db.prepare_cached("DELETE FROM outbox WHERE message_id = ?")?;
    let mut removed = 0;
    for id in ids {
        removed += message.execute([id])? as u64;
        for statement in [&mut recall, &mut edit, &mut reacted, &mut reactions, &mut uploads, &mut call] {
            statement.execute([id])?;
        }
    }
    db.prepare_cached(
        "DELETE FROM devices WHERE (user_id, device_id) IN
             (SELECT user_id, device_id FROM devices WHERE seen_at_ms < ? LIMIT ?)",
    )?
    .execute(params![devices_not_before_ms, int(limit)])?;
    Ok(removed)
}
