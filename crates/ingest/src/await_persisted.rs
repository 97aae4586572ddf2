//! Waits for comments that the store may not have yet.
//!
//! Where nodes share a log, a comment is acknowledged and shown some moments before the store has it. Likes and deletions
//! of such a comment wait for the store; nothing else does.

use std::time::Duration;

use model::Snowflake;
use model::snowflake::made_at_ms;
use store::StoreError;
use tokio::time::sleep;

use crate::Ingest;

/// An older id is in the store, or names nothing.
const UNPERSISTED_MS_MAX: u64 = 10_000;
/// Pauses between looks at the store, 1.5 s in all.
const PAUSES_MS: [u64; 6] = [20, 40, 80, 160, 400, 800];

impl Ingest {
    /// Waits a moment for a recent comment. Returns whether the store has it, deleted or not.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn wait_until_persisted(&self, id: Snowflake) -> Result<bool, StoreError> {
        for pause_ms in PAUSES_MS {
            if self.store.position_of(id).await?.is_some() {
                return Ok(true);
            }
            if self.clock.now_ms().abs_diff(made_at_ms(id)) > UNPERSISTED_MS_MAX {
                return Ok(false);
            }
            sleep(Duration::from_millis(pause_ms)).await;
        }
        Ok(self.store.position_of(id).await?.is_some())
    }
}
