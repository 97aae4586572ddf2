//! The port of samples: passed comments that are kept for quality control, apart from the comments themselves.
//!
//! `ingest` writes and erases, the admin API and `barrage audit` read. A sample outlives the deletion of its comment by a
//! moderator; a purge or the erasure of its author takes it.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, Snowflake, UserId};

use crate::{Result, RoomScope};

/// A passed comment as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The comment's id.
    pub id: Snowflake,
    /// Where it was said.
    pub room_id: RoomId,
    /// Who said it.
    pub user_id: UserId,
    /// The shown name.
    pub username: String,
    /// What was published.
    pub content: String,
    /// When it was said, Unix milliseconds.
    pub created_at_ms: i64,
}

/// Which samples to read.
#[derive(Debug, Clone, Default)]
pub struct SampleQuery {
    /// Of these rooms.
    pub of: RoomScope,
    /// Made from this moment on, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Made before this moment, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Those above this id.
    pub after: Option<Snowflake>,
    /// At most this many.
    pub limit: usize,
}

/// Stores samples.
#[async_trait]
pub trait SampleStore: Send + Sync + 'static {
    /// Keeps comments, each once; none whose author was purged meanwhile ([`crate::ErasureStore::note_purge`]).
    async fn add_samples(&self, comments: Vec<Arc<Comment>>) -> Result<()>;
    /// Samples, the oldest id first. The id tells the time.
    async fn samples(&self, query: &SampleQuery) -> Result<Vec<Sample>>;
    /// Erases samples of a user, in one room or everywhere, at most `limit`. Returns how many it erased.
    async fn erase_samples(&self, user: &UserId, room: Option<&RoomId>, limit: usize) -> Result<u64>;
    /// Removes samples that were made before a moment, at most `limit`. Returns how many it removed.
    async fn expire_samples(&self, before_ms: i64, limit: usize) -> Result<u64>;
}
