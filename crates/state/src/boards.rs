//! The port for what a room's viewers share of a session: who said and gave most, and which comments are liked most.
//!
//! Fed by the room worker of every node, read by the edges of every node. Only a cache: the store knows comments, gifts
//! and likes, and a board that is missing or has lost something is filled from it. Decides nothing, forgets by itself.
//!
//! # Counted once
//!
//! Every change has a place in its [`Lane`], and within a lane places rise. A board remembers the highest place of each lane
//! whose comment it counted, and passes over comments up to it; so a run may be repeated, in whole or in part. What a
//! gift brought its giver to and what a comment's likes came to are sums, which may be told twice as they are.
//!
//! A board that was filled from the store begins with the places up to which the store had counted, which the store read in
//! the same moment. So of the changes that went on meanwhile each is either in what the store counted, and then passed
//! over, or not, and then counted when it comes again. That it does come again is the caller's part: it
//! keeps what it applied for some seconds, and says with each run what the board must have seen ([`Check`]).

use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, Lane, RankingEntry, RoomId, Score, Snowflake, UserId};

use crate::Result;

/// Places of the ranking that can be read.
pub const PLACES_MAX: usize = 10_000;
/// Comments that can be read.
pub const HOT_MAX: usize = 100;
/// Comments kept, so that those that are read stay exact while some lose likes.
pub const HOT_KEPT: usize = 500;
/// Deletions remembered for likes that come after them.
pub const GONE_MAX: usize = 4_096;
/// Users a board remembers.
pub const USERS_MAX: usize = 1_000_000;
/// Scores stop here: what a double holds exactly.
pub const SCORE_MAX: u64 = (1 << 53) - 1;

/// One thing that changes a board.
#[derive(Debug, Clone)]
pub struct Change {
    /// The order in which it comes.
    pub lane: Lane,
    /// Its place in that order.
    pub place: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A comment was accepted: one point for its author.
    Said(Arc<Comment>),
    /// A user gave.
    Gave {
        /// Who.
        user_id: UserId,
        /// The shown name.
        username: Box<str>,
        /// All that the user gave in this session by now; a smaller sum than was told before changes nothing.
        given: u64,
    },
    /// A comment's likes are so many now.
    Liked(Arc<Comment>, Likes),
    /// A comment was deleted: it leaves, and never comes back.
    Deleted(Snowflake),
}

/// How a number of likes came to be, which says what to make of numbers that come in another order than they were counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likes {
    /// By a like: a number below the one known is old.
    More,
    /// By taking one back: a number above the one known is old.
    Fewer,
    /// As just read from the store.
    Read,
}

/// What a lane's board must have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub lane: Lane,
    /// The highest place that the caller applied and could not apply again; 0 is none.
    pub forgotten: u64,
    /// The highest place that the caller applied; 0 is none.
    pub applied: u64,
}

/// Changes of one room's session.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The session they belong to; `None` changes nothing but a board that is there.
    pub session: Option<Snowflake>,
    /// The session is so young that the caller still has all that happened in it here: a board that is missing
    /// begins empty.
    pub young: bool,
    /// What must hold before anything is changed.
    pub checks: &'a [Check],
    /// Oldest first.
    pub changes: &'a [Change],
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// What became of a run. Only `Done` changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// All is counted, now or before.
    Done,
    /// The board is of a later session: these changes concern nobody any more.
    Past,
    /// There is no board of this session: it is to be filled.
    Missing,
    /// The board has lost something that the caller can apply again.
    Behind,
    /// The board has lost something that the caller cannot apply again: it is to be filled.
    Lost,
}

/// What a session's board is filled with.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The room's latest session.
    pub session: Snowflake,
    /// In no order.
    pub scores: Vec<Score>,
    /// The highest place of each lane that `scores` counts.
    pub seen: Vec<(Lane, u64)>,
    /// The most liked comments, at most [`HOT_KEPT`] of them.
    pub liked: Vec<Arc<Comment>>,
}

/// What was read of a board.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// Best first. Equal scores are ordered by the places at which they were reached, then by the user.
    pub ranking: Arc<[RankingEntry]>,
    /// Most liked first, equal likes by the older id.
    pub hot: Arc<[Arc<Comment>]>,
}

/// What there is to show to viewers of what a board shows first.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Nothing new.
    Same,
    /// Something was shown a short while ago: ask again.
    Soon,
    /// What changed, and is now taken for shown.
    New {
        /// The first places, if they are others.
        ranking: Option<Arc<[RankingEntry]>>,
        /// The first comments, if they or their likes are others.
        hot: Option<Arc<[Arc<Comment>]>>,
    },
}

/// The right to fill a room's board, which one caller at a time has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim(pub String);

/// Boards of rooms, one a room, of its latest session.
///
/// A ranking is exact and complete while fewer than [`USERS_MAX`] users have a score; a newcomer to a full one takes the
/// place of whoever has stood longest at the lowest score, unless its points are below even that. Hot comments are exact
/// while likes rise; as they fall, a comment that lost its place among the [`HOT_KEPT`] is missed until it is
/// liked again. Boards go some hours after their last change; every call is one step, also against other nodes.
#[async_trait]
pub trait Boards: Send + Sync {
    /// Applies a run, as a whole. After [`Applied::Done`] every reader finds it.
    async fn apply(&self, room: &RoomId, run: Run<'_>) -> Result<Applied>;

    /// Reads the first places and comments, at most [`PLACES_MAX`] and [`HOT_MAX`]; `None` when there is no board.
    async fn read(&self, room: &RoomId, places: usize, comments: usize) -> Result<Option<Picture>>;

    /// Takes what viewers are to be shown: the first `first` places and comments where they are others than those taken last, by
    /// whichever node, and only when that was `pause_ms` ago. So each change is shown once, and those in between are not.
    async fn news(&self, room: &RoomId, first: usize, pause_ms: i64, now_ms: i64) -> Result<News>;

    /// Takes the right to fill the room's board; `None` while another has it. It ends by itself some seconds after its last use.
    async fn claim(&self, room: &RoomId) -> Result<Option<Claim>>;

    /// Replaces the room's board, unless it is of a later session, and gives the claim back; readers find the old one until then. False when the
    /// claim had ended: nothing was changed. Deletions stay remembered.
    async fn fill(&self, room: &RoomId, claim: Claim, snapshot: Snapshot) -> Result<bool>;
}
