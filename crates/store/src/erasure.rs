//! The port of erasures: everything of one person goes, batch by batch, and a receipt says how much it was.
//!
//! Called by `ingest`, which is asked for erasures, and by the server's job that runs them. Each batch and its count in the
//! receipt are one commit, so an erasure that ends in the middle is simply run again. What an erasure took is never found
//! again; what a call does not find is no error.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::Message;
use model::{RoomId, Snowflake, UserId};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Purges are remembered so long: longer than a node keeps comments in its spool.
pub(crate) const PURGE_DAYS: u32 = 90;

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErasureStatus {
    /// Under way.
    Running,
    /// Everything is erased.
    Done,
    /// Given up; it may be asked for again.
    Failed,
}

/// How much an erasure has erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ErasureCounts {
    /// Comments: published, held, and those that only some saw.
    pub comments: u64,
    /// Messages of private and group chat.
    pub messages: u64,
    /// Pictures, videos and files.
    pub uploads: u64,
    /// Likes given.
    pub likes: u64,
    /// Entries of the audit trail that named the person.
    pub log_entries: u64,
}

/// What is known of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureReceipt {
    /// How far it is.
    pub status: ErasureStatus,
    /// When it was asked for, Unix milliseconds.
    pub at_ms: i64,
    /// What was erased so far.
    pub counts: ErasureCounts,
}

/// An erasure to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its id.
    pub id: Snowflake,
    /// Whose data go.
    pub user_id: UserId,
    /// When it was asked for, Unix milliseconds.
    pub at_ms: i64,
    /// How often it was begun before.
    pub attempts: u32,
}

/// A batch of erased messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedMessages {
    /// As they are now: recalled, without a content.
    pub messages: Vec<Arc<Message>>,
    /// Where the next batch begins; `None` at the end.
    pub next: Option<Box<str>>,
}

/// Erases what belongs to a person. `receipt` names the erasure that counts it.
#[async_trait]
pub trait ErasureStore: Send + Sync + 'static {
    /// Stores a request, and that comments of the person made before `at_ms` are purged, whenever they arrive.
    async fn request_erasure(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<()>;
    /// What is known of an erasure.
    async fn erasure(&self, id: Snowflake) -> Result<Option<ErasureReceipt>>;
    /// Takes a running erasure that no node works on, until `until_ms`.
    async fn claim_erasure(&self, now_ms: i64, until_ms: i64) -> Result<Option<Erasure>>;
    /// Works on for a while, or lets the next attempt begin at `until_ms`.
    async fn renew_erasure(&self, id: Snowflake, until_ms: i64) -> Result<()>;
    /// Ends an erasure, and forgets whose it was.
    async fn end_erasure(&self, id: Snowflake, status: ErasureStatus) -> Result<()>;
    /// Notes that a user's comments made before a moment are purged, in one room or everywhere: those that are stored
    /// later are stored without their text.
    async fn note_purge(&self, user: &UserId, room: Option<&RoomId>, before_ms: i64) -> Result<()>;
    /// Rooms in which an erasure purged comments or scores, and which have not been told.
    async fn purged_rooms(&self, erasure: Snowflake, limit: usize) -> Result<Vec<RoomId>>;
    /// A room was told.
    async fn purged_room_told(&self, erasure: Snowflake, room: &RoomId) -> Result<()>;
    /// Takes back likes of a user, in one room or everywhere, at most `limit`. Returns their comments.
    async fn erase_likes(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> Result<Vec<Snowflake>>;
    /// Recalls messages of a user for everybody and erases contents and names, at most `limit`, from `after` on. Records
    /// changes, so that devices that are away learn of them.
    async fn erase_messages(
        &self,
        user: &UserId,
        after: Option<&str>,
        at_ms: i64,
        limit: usize,
        receipt: Snowflake,
    ) -> Result<ErasedMessages>;
    /// Uploads of a user, at most `limit`.
    async fn uploads_of(&self, user: &UserId, limit: usize) -> Result<Vec<Snowflake>>;
    /// Removes an upload whose bytes are gone.
    async fn erase_upload(&self, id: Snowflake, receipt: Snowflake) -> Result<()>;
    /// Takes a person's name out of lines of the audit trail, at most `limit`; adds the line that says so
    /// ([`crate::audit`]). Returns how many lines it changed.
    async fn erase_audit(&self, user: &UserId, at_ms: i64, limit: usize, receipt: Snowflake) -> Result<u64>;
    /// Removes the rest, at most `limit` rows of each: name and last visit, devices and their keys, blocks, reactions,
    /// appeals, questions, votes, reasons of bans, notes about the person, pending events, `client_msg_id`s. Takes the name off
    /// notes that the person wrote. Returns how many rows it changed; call
    /// again until it is 0.
    async fn erase_profile(&self, user: &UserId, at_ms: i64, limit: usize) -> Result<u64>;
}
