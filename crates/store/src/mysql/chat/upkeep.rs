//! Removes messages past their retention. The id tells the age, as for comments.

use sqlx::{MySqlConnection, Result};

use crate::mysql::expire::delete_by_id;
use crate::mysql::row::int;
use crate::retention::first_id_of;

/// Messages made before a moment, by id.
pub(super) async fn find(db: &mut MySqlConnection, not_before_ms: i64, limit: usize) -> Result<Vec<i64>> {
    let sql = "SELECT id FROM messages WHERE id < ? ORDER BY id LIMIT ?";
    sqlx::query_scalar(sql).bind(first_id_of(not_before_ms)).bind(int(limit)).fetch_all(db).await
}

/// Removes them with everything that refers to them, and devices not seen for long.
pub(super) async fn remove(
    db: &mut MySqlConnection,
    ids: &[i64],
    devices_not_before_ms: i64,
    limit: usize,
) -> Result<u64> {
    let removed = delete_by_id(db, "DELETE FROM messages WHERE id", ids).await?;
    delete_by_id(db, "DELETE FROM outbox WHERE message_id", ids).await?;
    delete_by_id(db, "DELETE FROM changes WHERE reader IS NULL AND message_id", ids).await?;
    delete_by_id(db, "DELETE FROM reactions WHERE message_id", ids).await?;
    delete_by_id(db, "DELETE FROM message_uploads WHERE message_id", ids).await?;
    sqlx::query("DELETE FROM devices WHERE seen_at_ms < ? LIMIT ?")
        .bind(devices_not_before_ms)
        .bind(int(limit))
        .execute(db)
        .await?;
    Ok(removed)
}
