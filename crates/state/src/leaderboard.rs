//! The port of leaderboards: who commented and gave most in a room's session, and which comments are liked most.
//!
//! The room worker of every node writes, the edges of every node read. It is only a cache. The store has comments, gifts and
//! likes; a leaderboard that is missing or has lost something is refilled from it. Decides nothing.
//!
//! # Each change counts once
//!
//! Every comment has a position, and positions rise within its [`OrderingKey`]. A leaderboard remembers the highest position it
//! counted for each key and skips comments up to it, so a batch may be repeated in whole or in part. Gifts and likes are
//! reported as sums, which may be repeated as they are.
//!
//! A refill from the store starts with the positions up to which the store had counted, read in the same moment. A change made
//! meanwhile is either in that count, and skipped, or it is not, and counted when it comes again. The caller makes it come
//! again: it keeps applied changes for some seconds, and says with each batch what the leaderboard must have seen
//! ([`SeenCheck`]).

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, OrderingKey, RankingEntry, RoomId, Score, Snowflake, UserId};

use crate::Result;

/// Ranks that can be read.
pub const RANKS_MAX: usize = 10_000;
/// Comments that can be read.
pub const HOT_MAX: usize = 100;
/// Comments stored, so that those that can be read stay exact while some lose likes.
pub const HOT_STORED: usize = 500;
/// Deletions remembered for likes that arrive after them.
pub const DELETED_MAX: usize = 4_096;
/// Users with a score.
pub const USERS_MAX: usize = 1_000_000;
/// The highest score: what a double represents exactly.
pub const SCORE_MAX: u64 = (1 << 53) - 1;

/// One change of a leaderboard.
#[derive(Debug, Clone)]
pub struct LeaderboardChange {
    /// The key that orders it.
    pub key: OrderingKey,
    /// Its position in that order.
    pub position: u64,
    /// What happened.
    pub event: LeaderboardEvent,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum LeaderboardEvent {
    /// A comment was accepted: one point for its author.
    Commented(Arc<Comment>),
    /// A user gave a gift.
    Gifted {
        /// Who.
        user_id: UserId,
        /// The shown name.
        username: Box<str>,
        /// All that the user has given in this session. A smaller sum than before changes nothing.
        given: u64,
    },
    /// A comment's new number of likes.
    Liked(Arc<Comment>, LikeChange),
    /// A comment was deleted: it leaves and never comes back.
    Deleted(Snowflake),
}

/// How a number of likes changed. It decides about numbers that arrive out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeChange {
    /// A like was added: a number below the known one is old.
    Added,
    /// A like was removed: a number above the known one is old.
    Removed,
    /// The number was just read from the store.
    Reread,
}

/// What a leaderboard must have seen of one ordering key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenCheck {
    /// Which.
    pub key: OrderingKey,
    /// The highest position that the caller applied and cannot apply again; 0 is none.
    pub forgotten: u64,
    /// The highest position that the caller applied; 0 is none.
    pub applied: u64,
}

/// Changes of one room's session.
#[derive(Debug, Clone, Copy)]
pub struct ChangeBatch<'a> {
    /// Their session; `None` changes only an existing leaderboard.
    pub session: Option<Snowflake>,
    /// The caller still has everything that happened in the session here, so a missing leaderboard may start empty.
    pub from_start: bool,
    /// What must hold before anything is changed.
    pub checks: &'a [SeenCheck],
    /// Oldest first.
    pub changes: &'a [LeaderboardChange],
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// The outcome of a batch. Only `Applied` changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Everything is counted, now or before.
    Applied,
    /// The leaderboard is of a later session: nobody needs these changes any more.
    Superseded,
    /// There is no leaderboard of this session; refill it.
    Missing,
    /// The leaderboard has lost something that the caller can apply again.
    Behind,
    /// The leaderboard has lost something that the caller cannot apply again; refill it.
    Lost,
}

/// The contents for a refill.
#[derive(Debug, Clone)]
pub struct LeaderboardContents {
    /// The room's latest session.
    pub session: Snowflake,
    /// In no order.
    pub scores: Vec<Score>,
    /// The highest position of each ordering key that `scores` counts.
    pub seen: Vec<(OrderingKey, u64)>,
    /// The most liked comments, at most [`HOT_STORED`] of them.
    pub liked: Vec<Arc<Comment>>,
}

/// What was read of a leaderboard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeaderboardView {
    /// Best first. Equal scores are ordered by the positions at which they were reached, then by the user.
    pub ranking: Arc<[RankingEntry]>,
    /// Most liked first, equal likes by the older id.
    pub hot: Arc<[Arc<Comment>]>,
}

/// What to show to viewers.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaderboardUpdate {
    /// Nothing changed.
    Unchanged,
    /// Something changed, but too soon after the last update: ask again.
    TooSoon,
    /// What changed. It counts as shown from now on.
    Changed {
        /// The first ranks, if they changed.
        ranking: Option<Arc<[RankingEntry]>>,
        /// The first comments, if they or their likes changed.
        hot: Option<Arc<[Arc<Comment>]>>,
    },
}

/// The right to refill a room's leaderboard, which one caller at a time has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefillClaim(pub String);

/// One leaderboard for each room, of its latest session.
///
/// A ranking is exact and complete while fewer than [`USERS_MAX`] users have a score. In a full one, a new user
/// replaces the user who has been longest at the lowest score, unless the new score is below even that. Hot comments
/// are exact while likes rise. As likes fall, a comment that left the best [`HOT_STORED`] is missing until it is liked
/// again. Leaderboards expire some hours after their last change. Every call is one atomic step, also against other
/// nodes.
#[async_trait]
pub trait Leaderboards: Send + Sync {
    /// Applies a batch as a whole. After [`ApplyOutcome::Applied`] every reader finds it.
    async fn apply(&self, room: &RoomId, batch: ChangeBatch<'_>) -> Result<ApplyOutcome>;

    /// Reads the first ranks and comments, at most [`RANKS_MAX`] and [`HOT_MAX`]; `None` when there is no leaderboard.
    async fn read(&self, room: &RoomId, ranks: usize, comments: usize) -> Result<Option<LeaderboardView>>;

    /// Claims what to show to viewers: the first `first` ranks and comments, if they differ from the last update on any
    /// node, and if that was at least `pause_ms` ago. So each update is shown by one node.
    async fn take_update(&self, room: &RoomId, first: usize, pause_ms: i64, now_ms: i64) -> Result<LeaderboardUpdate>;

    /// Claims the right to refill the room's leaderboard; `None` while another caller has it. It expires some seconds
    /// after its last use.
    async fn claim(&self, room: &RoomId) -> Result<Option<RefillClaim>>;

    /// Replaces the room's leaderboard, unless it is of a later session, and releases the claim. Readers see the old
    /// one until then. Returns false, and changes nothing, when the claim had expired. Deletions stay remembered.
    async fn fill(&self, room: &RoomId, claim: RefillClaim, contents: LeaderboardContents) -> Result<bool>;
}
