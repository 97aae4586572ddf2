//! The port: what a backend promises.
//!
//! Every method is atomic: `Ok` means durable, `Err` that nothing was changed. Lists are bounded
//! by the caller's `limit`. Times are Unix milliseconds.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, Event, Lane, RoomId, RoomSettings, Score, Session, Snowflake, UserId};
use serde::{Deserialize, Serialize};

/// The store failed. The backend has logged and counted why; callers answer `unavailable`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store is away: {0}")]
pub struct StoreError(pub String);

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A comment with its place in the room's publication order.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The comment; its `like_count` is the stored one.
    pub comment: Arc<Comment>,
    /// The offset of its record in the log.
    pub position: u64,
}

/// A comment to keep.
#[derive(Debug, Clone)]
pub struct NewComment {
    /// The comment.
    pub comment: Arc<Comment>,
    /// The offset of its record in the log.
    pub position: u64,
    /// The sender's own id for it.
    pub client_msg_id: Option<Box<str>>,
}

/// The first answer given to `(user, client_msg_id)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The id given to the comment.
    pub id: Snowflake,
    /// Whether it was held for review.
    pub pending_review: bool,
    /// When it was created.
    pub created_at_ms: i64,
}

/// A room as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomRow {
    /// The room.
    pub room_id: RoomId,
    /// Its settings.
    pub settings: RoomSettings,
    /// Somebody closed it explicitly and nobody opened it since.
    pub closed: bool,
    /// The session that is on.
    pub session: Option<Session>,
}

/// A session with the number of comments kept for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: Session,
    /// Comments kept, deleted ones not counted.
    pub comment_count: u64,
}

/// A session's scores at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scores {
    /// Of each user, in no order.
    pub users: Vec<Score>,
    /// The highest place of each lane among the comments that are counted, in no order. A lane's comments are kept in
    /// the order of their places, so those up to it are counted and those above it are not.
    pub seen: Vec<(Lane, u64)>,
}

/// Which comments of a recording to read, ordered by `(offset_ms, id)`.
#[derive(Debug, Clone)]
pub struct ReplayQuery {
    /// The room.
    pub room_id: RoomId,
    /// Only this session; `None` is the whole room.
    pub session_id: Option<Snowflake>,
    /// From this offset on.
    pub from_ms: i64,
    /// Up to but not including this offset.
    pub to_ms: i64,
    /// Only this user's.
    pub by_user: Option<UserId>,
    /// Continue after this `(offset_ms, id)`.
    pub after: Option<(i64, Snowflake)>,
    /// At most so many.
    pub limit: usize,
}

/// What a moderator decided about a held comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReviewStatus {
    /// Nobody decided yet.
    Pending,
    /// Published.
    Approved,
    /// Never published.
    Rejected,
}

impl ReviewStatus {
    /// The name on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// A held comment.
#[derive(Debug, Clone)]
pub struct Review {
    /// The comment, whose id is the review's.
    pub comment: Arc<Comment>,
    /// Whether it will be kept once approved.
    pub keep: bool,
    /// The word that held it.
    pub word: Option<String>,
    /// What was decided.
    pub status: ReviewStatus,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at_ms: Option<i64>,
}

/// What a ban takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BanKind {
    /// Neither entering nor writing.
    Ban,
    /// Reading goes on, writing does not.
    Mute,
}

/// A ban or mute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Names it for lifting.
    pub id: Snowflake,
    /// Whom.
    pub user_id: UserId,
    /// Where; `None` is everywhere.
    pub room_id: Option<RoomId>,
    /// What it takes away.
    pub kind: BanKind,
    /// Until when.
    pub until_ms: i64,
    /// Why.
    pub reason: Option<String>,
    /// Who imposed it.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

/// The three word lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WordList {
    /// Replaced by asterisks.
    Mask,
    /// Held for a moderator.
    Review,
    /// Refused.
    Block,
}

/// A line of the audit trail: who did what to what, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at_ms: i64,
    /// Who: a user id, or `admin key`.
    pub actor: String,
    /// What, such as `review.approve`.
    pub action: String,
    /// Where.
    pub room_id: Option<RoomId>,
    /// To what: an id or a name.
    pub target: String,
    /// Anything else worth keeping.
    pub detail: Option<String>,
}

/// The port.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Comments -----------------------------------------------------------------------------------

    /// Keeps a run of comments and their `client_msg_id`s in one commit. A comment whose id is kept
    /// already is left as it is, so a run may be repeated after a crash.
    async fn append_comments(&self, run: Vec<NewComment>) -> Result<()>;
    /// The newest log offset and the newest id in the store (comments, reviews, sessions, bans,
    /// messages, conversations together), from which a new run of the server continues.
    async fn high_water(&self) -> Result<(u64, Option<Snowflake>)>;
    /// Whether a write would be kept now. Costs next to nothing unless the last write failed.
    async fn probe(&self) -> Result<()>;
    /// The answer first given to this user's `client_msg_id`, if it is younger than the retention.
    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>>;
    /// One kept comment; `None` when it never was or is deleted.
    async fn comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>>;
    /// Room and log offset of a comment, deleted ones included: cursors outlive deletions.
    async fn position_of(&self, id: Snowflake) -> Result<Option<(RoomId, u64)>>;
    /// Which of these comments were deleted, in no order.
    async fn deleted_among(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>>;
    /// Comments of a room after a log offset, oldest first.
    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Placed>>;
    /// How many comments a room published after a log offset and still keeps.
    async fn count_after(&self, room: &RoomId, position: u64) -> Result<u64>;
    /// The newest comments of a room, oldest of them first.
    async fn latest_comments(&self, room: &RoomId, limit: usize) -> Result<Vec<Placed>>;
    /// A page of a recording.
    async fn replay(&self, query: ReplayQuery) -> Result<Vec<Arc<Comment>>>;
    /// Deletes comments: their text is erased, their place in the order stays. Returns those that
    /// were there, with their rooms.
    async fn delete_comments(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>>;
    /// Deletes all comments of a user, in one room or everywhere; returns what was deleted.
    async fn purge_user(&self, user: &UserId, room: Option<&RoomId>) -> Result<Vec<(Snowflake, RoomId)>>;
    /// Brings recorded comments in under a finished session, which is made when it is new. They have
    /// no place in the live order (position 0), so no cursor ever meets them. Returns how many were new.
    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> Result<u64>;
    /// Removes comments and reviews older than their room's retention (or `default_days`), sessions
    /// left empty, `client_msg_id`s older than `client_msg_days`, events older than a week, expired
    /// bans; at most `limit` of each a call. Age is told by the id, so that a recording brought in
    /// today is young. Returns how many comments went: call again until it is 0. What is found and
    /// what is removed may be two transactions.
    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> Result<u64>;

    // Rooms and sessions -------------------------------------------------------------------------

    /// All rooms ever configured or spoken in, newest activity first.
    async fn rooms(&self, limit: usize) -> Result<Vec<RoomRow>>;
    /// One room.
    async fn room(&self, room: &RoomId) -> Result<Option<RoomRow>>;
    /// Replaces a room's settings, if they are as `before` says; a room that is new has the defaults. Returns whether they
    /// were. Sessions and `closed` are untouched.
    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool>;
    /// Starts `session` unless the room has one on; returns the one that is on. Creates the room if
    /// need be. An explicit start clears `closed` and makes the session that is on explicit; any other
    /// finds a closed room closed: `None`. Of several nodes that start one at once all get the same.
    async fn start_session(&self, session: &Session) -> Result<Option<Session>>;
    /// Ends the room's session, if one is on and it is not another than `only`. With `close` the room
    /// is closed too, otherwise `closed` stays as it is. Returns the ended session: of several nodes
    /// that end it at once one gets it.
    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> Result<Option<Session>>;
    /// When the newest comment kept for a live session was made, Unix milliseconds; deleted ones count.
    async fn newest_comment_ms(&self, session: Snowflake) -> Result<Option<i64>>;
    /// Sessions of a room, newest first.
    async fn sessions(&self, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>>;
    /// One session.
    async fn session(&self, id: Snowflake) -> Result<Option<Session>>;
    /// What a session's ranking can be rebuilt from: comments kept per user (deleted ones count: they
    /// were accepted; imported ones do not) plus gifts. The name is the last that was not erased, else
    /// the user's id.
    async fn scores(&self, session: Snowflake) -> Result<Scores>;
    /// Adds to what a user gave in a session; returns all that the user gave in it by now.
    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64>;

    // Likes --------------------------------------------------------------------------------------

    /// Notes a like. `None` when this user likes it already, or when there is no such comment (the
    /// caller has looked before); otherwise the new count.
    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>>;
    /// Takes a like back; returns the count, changed or not, and whether it changed.
    async fn unlike(&self, id: Snowflake, user: &UserId) -> Result<(u64, bool)>;
    /// The most liked comments of a session (or of the room when `None`), most liked first,
    /// ties by older id; only those with likes.
    async fn most_liked(&self, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>>;

    // Moderation ---------------------------------------------------------------------------------

    /// Holds a comment.
    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> Result<()>;
    /// One review.
    async fn review(&self, id: Snowflake) -> Result<Option<Review>>;
    /// Reviews by status and room, oldest first.
    async fn reviews(&self, status: Option<ReviewStatus>, room: Option<&RoomId>, limit: usize) -> Result<Vec<Review>>;
    /// Decides a pending review; `None` when there is none pending under this id (the first of two
    /// moderators wins).
    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Result<Option<Review>>;
    /// Puts an approved review back to pending, when publishing it failed.
    async fn undecide(&self, id: Snowflake) -> Result<()>;
    /// All words.
    async fn words(&self) -> Result<Vec<(WordList, String)>>;
    /// Replaces all lists.
    async fn set_words(&self, words: Vec<(WordList, String)>) -> Result<()>;
    /// Adds a word; a word that is there stays once.
    async fn add_word(&self, list: WordList, word: &str) -> Result<()>;
    /// Removes a word; false when it was not there.
    async fn remove_word(&self, list: WordList, word: &str) -> Result<bool>;
    /// Adds a ban.
    async fn add_ban(&self, ban: &Ban) -> Result<()>;
    /// Bans that are still in force, newest first; with a room only that room's own.
    async fn bans(&self, now_ms: i64, room: Option<&RoomId>, limit: usize) -> Result<Vec<Ban>>;
    /// One user's bans that are still in force, in no order.
    async fn bans_of(&self, user: &UserId, now_ms: i64) -> Result<Vec<Ban>>;
    /// One ban, in force or over.
    async fn ban(&self, id: Snowflake) -> Result<Option<Ban>>;
    /// Lifts a ban; `None` when there is none under this id.
    async fn remove_ban(&self, id: Snowflake) -> Result<Option<Ban>>;
    /// Refuses this user's tokens issued before a moment.
    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> Result<()>;
    /// All revocations.
    async fn revocations(&self) -> Result<Vec<(UserId, i64)>>;
    /// Adds a line to the audit trail.
    async fn audit(&self, entry: AuditEntry) -> Result<()>;
    /// The audit trail, newest first.
    async fn audit_trail(&self, room: Option<&RoomId>, limit: usize) -> Result<Vec<AuditEntry>>;

    // Critical events for single users -----------------------------------------------------------

    /// Keeps a critical event for each of these users until acknowledged or a week old.
    async fn keep_event(&self, event: &Event, users: &[UserId]) -> Result<()>;
    /// At most `limit` of the users for whom an event is kept, in no order.
    async fn users_with_events(&self, limit: usize) -> Result<Vec<UserId>>;
    /// What a user has not acknowledged, oldest first.
    async fn unacknowledged(&self, user: &UserId, limit: usize) -> Result<Vec<Event>>;
    /// Forgets an event for a user.
    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> Result<()>;
}
