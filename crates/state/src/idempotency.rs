//! The port that gives a retry its first answer, also when both are in progress at once.
//!
//! Called by `ingest`, directly after authentication and around the append. Remembers recent answers only. Older ones are in
//! the store, which the caller asks after [`Reserved::New`] and [`Reserved::NewEverywhere`]. Never makes an id.

use std::time::Duration;

use async_trait::async_trait;
use model::{FirstAnswer, Snowflake, UserId};

use crate::Result;

/// How long a reservation holds that is neither finished nor released.
pub const IN_FLIGHT_MS: i64 = 30_000;

/// The outcome of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// The caller may go on with its id, then calls `finish` or `release`. Only this process was asked, so the caller
    /// must ask the store.
    New,
    /// As `New`, and no node of the deployment has given an answer lately. The store knows older answers; while it is
    /// away this is enough.
    NewEverywhere,
    /// The key was answered before.
    Known(FirstAnswer),
    /// Another caller goes on with this id; `wait` for its answer.
    InFlight(Snowflake),
}

/// What became of an answer that was to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It is the first.
    First,
    /// An earlier attempt was answered before; that answer stands.
    Known(FirstAnswer),
    /// Another attempt holds the reservation by now: which of the two is first, the log or the store decides. Nothing was
    /// stored; [`Reservations::settle`] what it decided.
    TakenOver,
}

/// Reservations of `client_msg_id`s, separate for each user.
///
/// A reservation is a shortcut, not a fence: it ends while its holder is frozen, and another attempt may take it over. The
/// log and the store decide which comment is first.
///
/// Of any number of concurrent `reserve` calls for one key exactly one gets [`Reserved::New`] (or `NewEverywhere`). A
/// caller that cannot know whether its append succeeded calls neither `finish` nor `release`: for [`IN_FLIGHT_MS`],
/// retries then get the id that it used, until one of them takes over. The number of remembered answers is bounded. A
/// forgotten key is `New` again; the store's unique key decides in the end.
#[async_trait]
pub trait Reservations: Send + Sync {
    /// Whether [`Reserved::New`] leaves other nodes that were not asked.
    fn are_shared(&self) -> bool {
        false
    }

    /// Reserves the key for a comment that would get `id`.
    async fn reserve(&self, user: &UserId, client_msg_id: &str, id: Snowflake, now_ms: i64) -> Result<Reserved>;

    /// Stores the answer and hands it to callers that wait, unless the key has an answer or is reserved for another attempt.
    async fn finish(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<Finished>;

    /// Stores the answer that the log or the store decided on, whatever was there, and hands it to callers that wait.
    async fn settle(&self, user: &UserId, client_msg_id: &str, answer: FirstAnswer) -> Result<()>;

    /// Reserves the key anew that an attempt holds which gives no answer. That one may still be appended: the caller has to
    /// ask the store who was first.
    async fn take_over(
        &self,
        user: &UserId,
        client_msg_id: &str,
        held_by: Snowflake,
        id: Snowflake,
        now_ms: i64,
    ) -> Result<Reserved> {
        self.release(user, client_msg_id, held_by).await?;
        self.reserve(user, client_msg_id, id, now_ms).await
    }

    /// Releases the reservation made with `id`, because the comment was refused. The next attempt starts fresh. No
    /// effect when it is finished or belongs to another caller by now.
    async fn release(&self, user: &UserId, client_msg_id: &str, id: Snowflake) -> Result<()>;

    /// Waits for the answer of a reservation in flight. `None` when it was released or forgotten, or gave no answer
    /// within `timeout` (at most [`IN_FLIGHT_MS`]): the caller reserves again or answers `unavailable`.
    async fn wait(&self, user: &UserId, client_msg_id: &str, timeout: Duration) -> Result<Option<FirstAnswer>>;
}
