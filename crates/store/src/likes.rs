//! The port of likes: at most one for each comment and user.
//!
//! Called by `ingest`, which has checked that the user may see the comment.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, RoomId, Snowflake, UserId};

use crate::Result;

/// Stores likes.
#[async_trait]
pub trait LikeStore: Send + Sync + 'static {
    /// Stores a like and returns the new count. `None` when the user likes the comment already, or when the comment
    /// does not exist.
    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>>;
    /// Removes a like. Returns the count, and whether it changed.
    async fn unlike(&self, id: Snowflake, user: &UserId) -> Result<(u64, bool)>;
    /// The most liked comments of a session, or of the room when `None`. Most likes first, then the older id; comments
    /// without likes are left out.
    async fn most_liked(&self, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>>;
}
