//! The clean-up of messages past their time. Age is told by the id, as for comments.

use rusqlite::{Connection, Result, params};

use crate::sqlite::expire::first_id_of;
use crate::sqlite::int;

/// Messages made before a moment, by id.
pub(super) fn find(db: &Connection, not_before_ms: i64, limit: usize) -> Result<Vec<i64>> {
    let mut sql = db.prepare_cached("SELECT id FROM messages WHERE id < ? ORDER BY id LIMIT ?")?;
    sql.query_map(params![first_id_of(not_before_ms), int(limit)], |row| row.get(0))?.collect()
}

/// Removes them with what hangs on them, and devices not seen for long.
pub(super) fn remove(db: &Connection, ids: &[i64], devices_not_before_ms: i64, limit: usize) -> Result<u64> {
    let mut message = db.prepare_cached("DELETE FROM messages WHERE id = ?")?;
    let mut recall = db.prepare_cached("DELETE FROM changes WHERE message_id = ? AND kind = 0")?;
    let mut call = db.prepare_cached("DELETE FROM outbox WHERE message_id = ?")?;
    let mut removed = 0;
    for id in ids {
        removed += message.execute([id])? as u64;
        recall.execute([id])?;
        call.execute([id])?;
    }
    db.prepare_cached(
        "DELETE FROM devices WHERE (user_id, device_id) IN
             (SELECT user_id, device_id FROM devices WHERE seen_at_ms < ? LIMIT ?)",
    )?
    .execute(params![devices_not_before_ms, int(limit)])?;
    Ok(removed)
}
