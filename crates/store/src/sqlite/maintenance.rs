//! Where a new run continues, whether writes succeed, and the clean-up.

use async_trait::async_trait;
use model::Snowflake;
use rusqlite::{Connection, Result};

use super::{SqliteStore, beside, expire, probe, uint};
use crate::MaintenanceStore;

#[async_trait]
impl MaintenanceStore for SqliteStore {
    async fn high_water(&self) -> crate::Result<(u64, Option<Snowflake>)> {
        self.read("high_water", high_water).await
    }

    async fn probe(&self) -> crate::Result<()> {
        if !self.writer.is_failing() {
            return self.read("probe", probe::read).await;
        }
        let path = beside(&self.path, ".probe");
        let room = tokio::task::spawn_blocking(move || probe::room(&path)).await;
        let room = room.unwrap_or_else(|error| Err(error.into()));
        room.map_err(|error| self.writer.failures().refused("probe", &error.to_string()))?;
        self.write("probe", probe::write).await
    }

    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> crate::Result<u64> {
        let found = self.read("expire", move |db| expire::find(db, now_ms, default_days, limit)).await?;
        self.write("expire", move |db| expire::remove(db, &found, now_ms, client_msg_days, limit)).await
    }
}

fn high_water(db: &Connection) -> Result<(u64, Option<Snowflake>)> {
    let sql = "SELECT (SELECT position FROM high_water), (SELECT max(id) FROM (
         SELECT max(id) AS id FROM comments UNION ALL SELECT max(id) FROM client_msg_ids
         UNION ALL SELECT max(id) FROM reviews UNION ALL SELECT max(id) FROM sessions
         UNION ALL SELECT max(id) FROM bans UNION ALL SELECT max(event_id) FROM unacknowledged_events
         UNION ALL SELECT max(max_id) FROM archive_segments UNION ALL SELECT max(id) FROM notes
         UNION ALL SELECT max(id) FROM erasures UNION ALL SELECT max(id) FROM messages UNION ALL SELECT max(id) FROM conversations))";
    db.query_row(sql, [], |row| {
        let id: Option<i64> = row.get(1)?;
        Ok((uint(row.get(0)?), id.map(|id| Snowflake(uint(id)))))
    })
}
