//! The port of moderation: reviews, words, bans, revoked tokens and the audit trail.
//!
//! Called by `ingest` and the admin API. Who may moderate is decided there; the store only makes the first of two decisions
//! count.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, FirstAnswer, RoomId, Snowflake, UserId};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::audit::AuditLine;

/// A moderator's decision about a held comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReviewStatus {
    /// No decision yet.
    Pending,
    /// Published.
    Approved,
    /// Never published.
    Rejected,
    /// Published by itself when its delay ends, unless somebody rejects it before.
    Delayed,
}

impl ReviewStatus {
    /// The name on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Delayed => "delayed",
        }
    }
}

/// The longest claim, in milliseconds. One that ends later was made before the clock stepped back, and holds no more.
pub const CLAIM_MS_MAX: i64 = 3_600_000;

/// A comment held for review.
#[derive(Debug, Clone)]
pub struct Review {
    /// The comment, whose id is the review's.
    pub comment: Arc<Comment>,
    /// Whether it is stored once it is approved.
    pub keep: bool,
    /// The word that matched.
    pub word: Option<String>,
    /// The decision.
    pub status: ReviewStatus,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at_ms: Option<i64>,
    /// The rule, hook or classifier that held it, or what it said.
    pub reason: Option<String>,
    /// What the hook or the classifier found.
    pub labels: Vec<LabelScore>,
    /// Who is deciding about it now.
    pub claimed_by: Option<String>,
    /// The end of that claim, Unix milliseconds.
    pub claimed_until_ms: i64,
    /// When a delayed one is published, Unix milliseconds.
    pub due_ms: Option<i64>,
}

impl Review {
    /// A comment that waits for a decision, without a reason.
    #[must_use]
    pub fn pending(comment: Arc<Comment>, keep: bool) -> Self {
        Self {
            comment,
            keep,
            word: None,
            status: ReviewStatus::Pending,
            decided_by: None,
            decided_at_ms: None,
            reason: None,
            labels: Vec::new(),
            claimed_by: None,
            claimed_until_ms: 0,
            due_ms: None,
        }
    }

    /// Who is deciding about it at `now_ms`.
    #[must_use]
    pub fn claimed_at(&self, now_ms: i64) -> Option<&str> {
        let holds = self.claimed_until_ms > now_ms && self.claimed_until_ms <= now_ms + CLAIM_MS_MAX;
        self.claimed_by.as_deref().filter(|_| holds)
    }
}

/// A label with its score, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LabelScore {
    /// The label, such as `spam`.
    pub name: String,
    /// How sure the hook or the classifier is.
    pub score: f64,
}

/// What a ban forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BanKind {
    /// Joining and writing.
    Ban,
    /// Writing; reading goes on.
    Mute,
}

/// A ban or mute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Its id, for lifting it.
    pub id: Snowflake,
    /// Who is banned.
    pub user_id: UserId,
    /// The room; `None` is everywhere.
    pub room_id: Option<RoomId>,
    /// What it forbids.
    pub kind: BanKind,
    /// When it ends.
    pub until_ms: i64,
    /// The reason.
    pub reason: Option<String>,
    /// Who imposed it.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

/// Which rooms a list covers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RoomScope {
    /// All, and what concerns no single room.
    #[default]
    All,
    /// These.
    Listed(Vec<RoomId>),
    /// Those that a user owns.
    OwnedBy {
        /// The user.
        owner: UserId,
        /// Of these alone.
        within: Option<Vec<RoomId>>,
    },
}

/// Which reviews to erase.
#[derive(Debug, Clone, Copy)]
pub enum ReviewsOf<'a> {
    /// The one of this comment.
    Comment(Snowflake),
    /// All of a user, in one room or everywhere.
    User(&'a UserId, Option<&'a RoomId>),
}

/// The three word lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WordListName)]
pub enum WordList {
    /// Replaced by asterisks.
    Mask,
    /// Held for a moderator.
    Review,
    /// Refused.
    Block,
}

/// A line of the audit trail: who did what to whom, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at_ms: i64,
    /// The actor: a user id, or `admin key`.
    pub actor: String,
    /// The action, such as `review.approve`.
    pub action: String,
    /// The room, if it concerns one.
    pub room_id: Option<RoomId>,
    /// The target: an id or a name.
    pub target: String,
    /// Details.
    pub detail: Option<String>,
}

/// Which lines of the audit trail to read.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// About this user, comment, room or whatever else the action was done to.
    pub target: Option<String>,
    /// Of these rooms.
    pub of: RoomScope,
    /// From this moment on, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Before this moment, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Lines before this one.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// Stores what moderators decide.
#[async_trait]
pub trait ModerationStore: Send + Sync + 'static {
    /// Stores a review, or a comment that is delayed. Returns the first answer, and stores nothing, when this user's
    /// `client_msg_id` has one for another comment.
    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> Result<Option<FirstAnswer>>;
    /// One review.
    async fn review(&self, id: Snowflake) -> Result<Option<Review>>;
    /// Reviews by status, oldest first, those above `after`.
    async fn reviews(
        &self,
        status: Option<ReviewStatus>,
        of: &RoomScope,
        after: Option<Snowflake>,
        limit: usize,
    ) -> Result<Vec<Review>>;
    /// Erases texts and names of reviews, and rejects those that are pending or delayed. Returns the latter as they were. The
    /// erasure that `receipt` names counts those whose text was nowhere else.
    async fn erase_reviews(
        &self,
        of: ReviewsOf<'_>,
        by: &str,
        at_ms: i64,
        receipt: Option<Snowflake>,
    ) -> Result<Vec<Review>>;
    /// How many comments of a user wait for a decision. Counts no further than `max`.
    async fn held_of(&self, user: &UserId, max: u32) -> Result<u32>;
    /// Claims a pending review until a moment. `None` when no pending review has this id, or somebody else's claim holds.
    async fn claim(&self, id: Snowflake, by: &str, now_ms: i64, until_ms: i64) -> Result<Option<Review>>;
    /// Comments whose delay ends by `until_ms`, the first to end first.
    async fn due_reviews(&self, until_ms: i64, limit: usize) -> Result<Vec<Review>>;
    /// Forgets comments that were delayed and are published.
    async fn forget_reviews(&self, ids: &[Snowflake]) -> Result<()>;
    /// Decides a pending or delayed review. `None` when none has this id, or somebody else's claim holds: the first of two
    /// moderators wins.
    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Result<Option<Review>>;
    /// Makes an approved review pending again, because publishing failed.
    async fn undecide(&self, id: Snowflake) -> Result<()>;
    /// All words.
    async fn words(&self) -> Result<Vec<(WordList, String)>>;
    /// Replaces all lists.
    async fn set_words(&self, words: Vec<(WordList, String)>) -> Result<()>;
    /// Adds a word. Adding it twice is no error.
    async fn add_word(&self, list: WordList, word: &str) -> Result<()>;
    /// Removes a word; false when it was not in the list.
    async fn remove_word(&self, list: WordList, word: &str) -> Result<bool>;
    /// Adds a ban.
    async fn add_ban(&self, ban: &Ban) -> Result<()>;
    /// Bans in force, newest first, those below `before`. Bans in the whole deployment belong to [`RoomScope::All`] alone.
    async fn bans(&self, now_ms: i64, of: &RoomScope, before: Option<Snowflake>, limit: usize) -> Result<Vec<Ban>>;
    /// One user's bans in force, in no order.
    async fn bans_of(&self, user: &UserId, now_ms: i64) -> Result<Vec<Ban>>;
    /// One ban, in force or not.
    async fn ban(&self, id: Snowflake) -> Result<Option<Ban>>;
    /// Lifts a ban; `None` when it does not exist.
    async fn remove_ban(&self, id: Snowflake) -> Result<Option<Ban>>;
    /// Makes this user's tokens invalid that were issued before a moment.
    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> Result<()>;
    /// All revocations.
    async fn revocations(&self) -> Result<Vec<(UserId, i64)>>;
    /// Adds lines to the audit trail, each chained to the one before ([`crate::audit`]).
    async fn audit(&self, entries: Vec<AuditEntry>) -> Result<()>;
    /// The audit trail with the lines' numbers, newest first. What concerns no room belongs to [`RoomScope::All`] alone.
    async fn audit_trail(&self, query: &AuditQuery) -> Result<Vec<(i64, AuditEntry)>>;
    /// The lines of the audit trail after one, oldest first.
    async fn audit_lines(&self, after: i64, limit: usize) -> Result<Vec<AuditLine>>;
    /// The number and the hash of the last line; `None` before the first.
    async fn audit_head(&self) -> Result<Option<(i64, String)>>;
}
