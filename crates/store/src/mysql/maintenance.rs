//! Where a new run continues, whether writes succeed, and the clean-up.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use model::Snowflake;
use sqlx::{MySqlConnection, Result};

use super::circuit_breaker::ANSWER_TIMEOUT;
use super::row::{optional_id, uint};
use super::{MySqlStore, expire, partitions, read, schema, write};
use crate::{MaintenanceStore, StoreError};

#[async_trait]
impl MaintenanceStore for MySqlStore {
    async fn high_water(&self) -> crate::Result<(u64, Option<Snowflake>)> {
        read!(self, "high_water", db => high_water(db))
    }

    async fn probe(&self) -> crate::Result<()> {
        let probe = async {
            if self.failing.load(Ordering::Relaxed) {
                write!(self, "probe", db => schema::probe(db, self.slot))
            } else {
                read!(self, "probe", db => sqlx::query("SELECT 1").execute(db)).map(drop)
            }
        };
        // The caller needs an answer soon, and a hanging database is noticed before its calls have waited long.
        tokio::time::timeout(ANSWER_TIMEOUT, probe).await.unwrap_or_else(|_| {
            self.breaker.report(&sqlx::Error::PoolTimedOut);
            Err(StoreError("probe: no answer".to_owned()))
        })
    }

    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> crate::Result<u64> {
        let found = read!(self, "expire", db => expire::find(db, now_ms, default_days, limit))?;
        let gone = write!(self, "expire", db => expire::remove(db, &found, now_ms, client_msg_days, limit))?;
        self.call("expire", partitions::make(&self.pool, now_ms)).await?;
        Ok(gone)
    }
}

async fn high_water(db: &mut MySqlConnection) -> Result<(u64, Option<Snowflake>)> {
    let sql = "SELECT (SELECT COALESCE(MAX(position), 0) FROM high_water), (SELECT MAX(id) FROM (
         SELECT MAX(id) AS id FROM comments UNION ALL SELECT MAX(id) FROM client_msg_ids
         UNION ALL SELECT MAX(id) FROM reviews UNION ALL SELECT MAX(id) FROM sessions
         UNION ALL SELECT MAX(id) FROM bans UNION ALL SELECT MAX(event_id) FROM unacknowledged_events
         UNION ALL SELECT MAX(max_id) FROM archive_segments UNION ALL SELECT MAX(id) FROM notes
         UNION ALL SELECT MAX(id) FROM erasures UNION ALL SELECT MAX(id) FROM messages UNION ALL SELECT MAX(id) FROM conversations) ids)";
    let row = sqlx::query(sql).fetch_one(db).await?;
    Ok((uint(&row, 0)?, optional_id(&row, 1)?))
}
