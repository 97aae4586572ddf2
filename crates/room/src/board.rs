//! One room's board in memory: the ranking and the hot comments of one session.
//!
//! Pure. What changes it comes as [`Change`]s, which [`each_change`] makes of the log's records; it is filled with what
//! the store knows. Held by [`crate::boards`].

use std::sync::Arc;

use ahash::AHashMap;
use bus::{Entry, Record};
use model::{Comment, EventBody, Lane, RankingEntry, Snowflake, UserId};
use state::boards::{Change, HOT_MAX, Likes, News, PLACES_MAX, Snapshot, What};

use crate::hot::HotComments;
use crate::ranking::Ranking;

/// Places of the ranking, and hot comments, that are pushed to viewers; all of them are read over HTTP.
pub(crate) const PUSHED: usize = 10;

pub(crate) struct Board {
    session: Option<Snowflake>,
    ranking: Ranking,
    hot: HotComments,
    /// What each giver gave in all.
    given: AHashMap<UserId, u64>,
    /// The places up to which it was filled. What comes after them comes once, so they stay as they are.
    seen: AHashMap<Lane, u64>,
    /// The head of the ranking and the version of the hot comments that viewers know.
    pushed: (Arc<[RankingEntry]>, u64),
    pub(crate) touched_ms: i64,
    pub(crate) filled_ms: i64,
}

impl Board {
    pub(crate) fn of(session: Option<Snowflake>, now_ms: i64) -> Self {
        let hot = HotComments::new(HOT_MAX);
        Self {
            session,
            ranking: Ranking::new(),
            given: AHashMap::new(),
            seen: AHashMap::new(),
            pushed: (Arc::from([]), hot.version()),
            hot,
            touched_ms: now_ms,
            filled_ms: now_ms,
        }
    }

    /// A board with what the store counted.
    pub(crate) fn filled(snapshot: Snapshot, now_ms: i64) -> Self {
        let mut board = Self::of(Some(snapshot.session), now_ms);
        let mut scores = snapshot.scores;
        // Equal scores stand in the order in which they come.
        scores.sort_unstable_by(|a, b| (a.reached, &a.user_id).cmp(&(b.reached, &b.user_id)));
        for score in scores {
            board.ranking.add(&score.user_id, &score.username, score.score);
            if score.given > 0 {
                board.given.insert(score.user_id, score.given);
            }
        }
        snapshot.liked.into_iter().for_each(|comment| board.hot.liked(comment));
        board.seen = snapshot.seen.into_iter().collect();
        board.pushed = (board.ranking.snapshot(PUSHED), board.hot.version());
        board
    }

    /// Applies a change of `session`, if that is the board's; without one it concerns any board.
    pub(crate) fn apply(&mut self, session: Option<Snowflake>, change: &Change) {
        if session.is_some() && session != self.session {
            return;
        }
        match &change.what {
            What::Said(comment) if self.is_new(change) => self.ranking.add(&comment.user_id, &comment.username, 1),
            What::Said(_) => {}
            What::Gave { user_id, username, given } => self.gave(user_id, username, *given),
            What::Liked(comment, likes) => self.liked(comment, *likes),
            What::Deleted(id) => self.hot.removed(*id),
        }
    }

    fn is_new(&self, change: &Change) -> bool {
        self.seen.get(&change.lane).is_none_or(|seen| change.place > *seen)
    }

    fn gave(&mut self, user: &UserId, username: &str, given: u64) {
        let known = self.given.get(user).copied().unwrap_or_default();
        if given > known {
            self.given.insert(user.clone(), given);
            self.ranking.add(user, username, given - known);
        }
    }

    fn liked(&mut self, comment: &Arc<Comment>, likes: Likes) {
        let old = |known| match likes {
            Likes::More => comment.like_count < known,
            Likes::Fewer => comment.like_count > known,
            Likes::Read => false,
        };
        if !self.hot.likes_of(comment.id).is_some_and(old) {
            self.hot.liked(comment.clone());
        }
    }

    /// What changed since it was last asked for.
    pub(crate) fn news(&mut self) -> News {
        let (ranking, hot) = (self.ranking.snapshot(PUSHED), self.hot.version());
        let (ranking_new, hot_new) = (ranking != self.pushed.0, hot != self.pushed.1);
        self.pushed = (ranking.clone(), hot);
        if !ranking_new && !hot_new {
            return News::Same;
        }
        News::New { ranking: ranking_new.then_some(ranking), hot: hot_new.then(|| self.hot.top(PUSHED).into()) }
    }

    /// All places that can be read; the same snapshot for everybody until a place changes.
    pub(crate) fn ranking(&mut self) -> Arc<[RankingEntry]> {
        self.ranking.snapshot(PLACES_MAX)
    }

    pub(crate) fn hot(&self, limit: usize) -> Vec<Arc<Comment>> {
        self.hot.top(limit)
    }
}

/// What a record means for a board, with the session it belongs to. `lane` says in which order a comment comes.
pub(crate) fn each_change(
    entry: &Entry,
    lane: impl Fn(u64, &UserId) -> Lane,
    mut to: impl FnMut(Option<Snowflake>, Change),
) {
    let place = entry.position.offset;
    let change = |what| Change { lane: Lane::ONLY, place, what };
    match &entry.record {
        Record::Comment { comment, .. } if comment.session_id.is_some() => {
            let lane = lane(place, &comment.user_id);
            to(comment.session_id, Change { lane, ..change(What::Said(comment.clone())) });
        }
        Record::Liked { comment, taken_back } if comment.session_id.is_some() => {
            let likes = if *taken_back { Likes::Fewer } else { Likes::More };
            to(comment.session_id, change(What::Liked(comment.clone(), likes)));
        }
        Record::Event(event) => match &event.body {
            EventBody::Gift(gift) => {
                if let Some(counted) = gift.counted {
                    let (user_id, username) = (gift.user_id.clone(), gift.username.as_str().into());
                    to(Some(counted.session_id), change(What::Gave { user_id, username, given: counted.given }));
                }
            }
            EventBody::CommentsDeleted { comment_ids } => {
                comment_ids.iter().for_each(|id| to(None, change(What::Deleted(*id))));
            }
            _ => {}
        },
        _ => {}
    }
}
