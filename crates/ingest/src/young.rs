//! Comments so young that the store may not have them yet.
//!
//! Where nodes share a log, a comment is acknowledged and shown some moments before it is kept; likes and deletions of what
//! somebody has just read wait for that. Called by those two; elsewhere nobody waits for the store.

use std::time::Duration;

use model::Snowflake;
use model::snowflake::made_at_ms;
use store::StoreError;
use tokio::time::sleep;

use crate::Ingest;

/// An id that was made longer ago than this is kept, or names nothing.
const YOUNG_MS: u64 = 10_000;
/// Between one look and the next; 1.5 s in all.
const PAUSES_MS: [u64; 6] = [20, 40, 80, 160, 400, 800];

impl Ingest {
    /// Whether the store has this comment, be it deleted; while it is young, after waiting for it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn is_kept_soon(&self, id: Snowflake) -> Result<bool, StoreError> {
        for pause_ms in PAUSES_MS {
            if self.store.position_of(id).await?.is_some() {
                return Ok(true);
            }
            if self.clock.now_ms().abs_diff(made_at_ms(id)) > YOUNG_MS {
                return Ok(false);
            }
            sleep(Duration::from_millis(pause_ms)).await;
        }
        Ok(self.store.position_of(id).await?.is_some())
    }
}
