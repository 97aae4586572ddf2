//! The port of scores: from what a session's leaderboard can be rebuilt, and the gifts that only the store knows.
//!
//! Called by the worker's leaderboards alone.

use async_trait::async_trait;
use model::{OrderingKey, Score, Snowflake, UserId};

use crate::{Document, Result};

/// A session's scores at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scores {
    /// One score for each user, in no order.
    pub users: Vec<Score>,
    /// The highest position of each ordering key among the counted comments, in no order. Comments of one key are stored in
    /// the order of their positions: those up to it are counted, those above it are not.
    pub seen: Vec<(OrderingKey, u64)>,
}

/// Sums up comments and gifts by user.
#[async_trait]
pub trait ScoreStore: Send + Sync + 'static {
    /// The sums from which a session's leaderboard can be rebuilt: comments for each user plus gifts. Deleted comments
    /// count, because they were accepted; imported ones and those of a purge do not. The name is the last one that was not erased, else the
    /// user's id.
    async fn scores(&self, session: Snowflake) -> Result<Scores>;
    /// Adds to what a user gave in a session. Returns the user's sum in this session.
    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64>;
    /// As [`ScoreStore::add_gift`], once for each key: adds the key with the gift. `None` when there is such a key; then
    /// nothing changes.
    async fn add_gift_once(
        &self,
        session: Snowflake,
        user: &UserId,
        username: &str,
        value: u64,
        key: &Document,
    ) -> Result<Option<u64>>;
}
