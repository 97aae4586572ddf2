//! The port that gives a retry its first answer, also when both are under way at once.
//!
//! Called by `ingest`, first thing after identity and around the append. Remembers recent answers only:
//! older ones are in the store, which the caller asks after [`Reserved::New`] and [`Reserved::NewEverywhere`]. Never makes an id.

use std::time::Duration;

use async_trait::async_trait;
use model::{Snowflake, UserId};

use crate::Result;

/// How long a reservation that is neither finished nor released holds.
pub const IN_FLIGHT_MS: i64 = 30_000;

/// The first answer given to `(user, client_msg_id)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The id given to the comment.
    pub id: Snowflake,
    /// Whether it was held for review.
    pub pending_review: bool,
    /// When it was created, Unix milliseconds.
    pub created_at_ms: i64,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// The caller's: it goes on with its id, then calls `finish` or `release`. Only this process was asked, so the store
    /// must be.
    New,
    /// The caller's, as `New`, and no node of the deployment has given an answer lately. The store knows older
    /// ones; while it is away this is enough.
    NewEverywhere,
    /// Nobody's: this was answered before.
    Known(FirstAnswer),
    /// Another's, who goes on with this id; `wait` for its answer.
    InFlight(Snowflake),
}

/// Reservations of `client_msg_id`, each user's apart.
///
/// Of any number of concurrent `reserve` for one key exactly one is told [`Reserved::New`] (or `NewEverywhere`). A caller that
/// cannot know whether its append succeeded calls neither `finish` nor `release`: retries then learn the
/// id it used, for [`IN_FLIGHT_MS`]. A bounded number of answers is remembered, the newest; a forgotten
/// key is `New` again, and the store's unique key is the last word.
#[async_trait]
pub trait Reservations: Send + Sync {
    /// Reserves the key for a comment that would get `id`.
    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved>;

    /// Remembers the answer and hands it to those who wait. A key that has one already keeps it: the
    /// first answer stands.
    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()>;

    /// Gives back the reservation made with `id`, because the comment was refused: the next try starts
    /// fresh. Without effect when it is finished, or another's by now.
    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()>;

    /// Waits for the answer of a reservation in flight. `None` when it was released or forgotten, or gave
    /// none within `timeout` (at most [`IN_FLIGHT_MS`]): the caller reserves again or answers `unavailable`.
    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>>;
}
