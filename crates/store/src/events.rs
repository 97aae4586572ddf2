//! The port of critical events: each waits for a single user until the user acknowledges it.
//!
//! Called by `ingest`, which sends them again to a user who comes back.

use async_trait::async_trait;
use model::{Event, Snowflake, UserId};

use crate::Result;

/// Stores critical events until they are acknowledged.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Stores a critical event for each of these users, until they acknowledge it or it is a week old.
    async fn keep_event(&self, event: &Event, users: &[UserId]) -> Result<()>;
    /// Up to `limit` of the users who have a stored event, in no order.
    async fn users_with_events(&self, limit: usize) -> Result<Vec<UserId>>;
    /// A user's unacknowledged events, oldest first.
    async fn unacknowledged(&self, user: &UserId, limit: usize) -> Result<Vec<Event>>;
    /// Removes an event for a user.
    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> Result<()>;
}
