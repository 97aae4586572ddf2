//! The port of maintenance: where a new run continues, whether writes succeed, what is past its retention.
//!
//! Called by the server's start, its readiness check and its daily clean-up. It spans all nouns.

use async_trait::async_trait;
use model::Snowflake;

use crate::Result;

/// Looks after the whole store.
#[async_trait]
pub trait MaintenanceStore: Send + Sync + 'static {
    /// The newest position and the newest id in the store, over all nouns. A new run of the server continues from them.
    async fn high_water(&self) -> Result<(u64, Option<Snowflake>)>;
    /// Whether a write would succeed now. Costs next to nothing unless the last write failed.
    async fn probe(&self) -> Result<()>;
    /// Removes what is past its retention, at most `limit` of each noun in one call:
    /// - comments and reviews older than their room's retention, or `default_days`,
    /// - sessions that have become empty,
    /// - `client_msg_id`s older than `client_msg_days`, events older than a week, bans that ended.
    /// The id tells the age, so a recording imported today is young. Returns how many comments it removed; call again
    /// until it is 0. Finding and removing may be two transactions.
    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> Result<u64>;
}
