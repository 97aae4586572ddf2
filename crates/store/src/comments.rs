//! The port of comments: storing them, finding them by position or in a recording, erasing them.
//!
//! The journal writes here; `ingest`, the hub and the API read. Positions are offsets of the log: they order a room's live
//! comments and outlive deletions, so that a cursor never breaks.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, FirstAnswer, Repeat, RoomId, Session, Snowflake, UserId};

use crate::Result;

/// How far [`CommentStore::count_after`] counts.
pub const COUNTED_MAX: i64 = 20_000;

/// A comment with its position in the room's publication order.
#[derive(Debug, Clone)]
pub struct Positioned {
    /// The comment; its `like_count` is the stored one.
    pub comment: Arc<Comment>,
    /// The offset of its record in the log.
    pub position: u64,
}

/// A comment to store.
#[derive(Debug, Clone)]
pub struct NewComment {
    /// The comment.
    pub comment: Arc<Comment>,
    /// The offset of its record in the log.
    pub position: u64,
    /// The sender's own id for it.
    pub client_msg_id: Option<Box<str>>,
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
    /// At most this many.
    pub limit: usize,
}

/// What a purge erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Comments that were not deleted before, with their rooms.
    pub comments: Vec<(Snowflake, RoomId)>,
    /// Rooms where the user had comments or gifts, each once.
    pub rooms: Vec<RoomId>,
    /// There is more: the call is to be repeated.
    pub more: bool,
}

/// Stores comments and finds them again.
#[async_trait]
pub trait CommentStore: Send + Sync + 'static {
    /// Stores comments and their `client_msg_id`s in one commit. Leaves a comment alone whose id is stored already, so
    /// the caller may repeat the call after a crash. Of two comments of one user with the same `client_msg_id` the first
    /// is stored, whoever appends the other one and whenever; returns those that it did not store for that. Of a comment that
    /// was purged before it arrived ([`crate::ErasureStore::note_purge`]) it stores the position alone.
    async fn append_comments(&self, batch: Vec<NewComment>) -> Result<Vec<Repeat>>;
    /// The first answer to this user's `client_msg_id`, unless it is older than the retention.
    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>>;
    /// When the first comment of this user was made whose `client_msg_id` is still kept, Unix milliseconds.
    async fn earliest_answer(&self, user: &UserId) -> Result<Option<i64>>;
    /// The `client_msg_id`s of these comments, of those that have one and within the retention, in no order.
    async fn client_msg_ids(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, Box<str>)>>;
    /// One comment; `None` when it does not exist, is deleted or hidden, or only its sender sees it.
    async fn comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>>;
    /// Room and position of a comment. Deleted comments keep theirs: cursors outlive deletions.
    async fn position_of(&self, id: Snowflake) -> Result<Option<(RoomId, u64)>>;
    /// Room and author of a comment, deleted or not.
    async fn author_of(&self, id: Snowflake) -> Result<Option<(RoomId, UserId)>>;
    /// Which of these comments are deleted or hidden, in no order.
    async fn deleted_among(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>>;
    /// Comments of a room after a position, oldest first.
    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Positioned>>;
    /// How many comments a room has after a position, deleted ones not counted. Counts no further than [`COUNTED_MAX`]: a reader who missed that many has missed too many to be told exactly.
    async fn count_after(&self, room: &RoomId, position: u64) -> Result<u64>;
    /// The newest comments of a room; the oldest of them comes first.
    async fn latest_comments(&self, room: &RoomId, limit: usize) -> Result<Vec<Positioned>>;
    /// When the newest comment of a live session was made, in Unix milliseconds. Deleted comments count.
    async fn newest_comment_ms(&self, session: Snowflake) -> Result<Option<i64>>;
    /// A page of a recording.
    async fn replay(&self, query: ReplayQuery) -> Result<Vec<Arc<Comment>>>;
    /// Deletes comments: erases the text, keeps the position. Returns those that existed, with their rooms.
    async fn delete_comments(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>>;
    /// Deletes comments of a user, in one room or everywhere, at most `limit`. The last call also takes the user out of those
    /// rooms' scores: gifts, and comments that were deleted before, count no more. The erasure that `receipt` names counts
    /// the comments and notes the rooms.
    async fn purge_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> Result<Purged>;
    /// Hides comments that everybody sees, or shows them again: the text stays. Returns those that changed, with their
    /// rooms.
    async fn hide_comments(&self, ids: &[Snowflake], hidden: bool) -> Result<Vec<(Snowflake, RoomId)>>;
    /// These comments with their positions, as far as everybody sees them, in no order.
    async fn comments_by_id(&self, ids: &[Snowflake]) -> Result<Vec<Positioned>>;
    /// One comment that only its sender and moderators see.
    async fn shadowed_comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>>;
    /// A room's newest comments that only their senders and moderators see: all, or one user's. The oldest comes first.
    async fn shadowed_comments(&self, room: &RoomId, by: Option<&UserId>, limit: usize) -> Result<Vec<Positioned>>;
    /// Imports recorded comments under a finished session, which it creates when it is new. Imported comments are not
    /// part of the live order (their position is 0), so no cursor meets them. Returns how many were new.
    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> Result<u64>;
}
