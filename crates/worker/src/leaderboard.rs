//! One room's leaderboard in memory: the ranking and the hot comments of one session.
//!
//! Pure. [`each_change`] turns the log's records into [`LeaderboardChange`]s; the store's counts fill it at the start.
//! [`crate::leaderboards`] owns them.

use std::sync::Arc;

use ahash::AHashMap;
use log::{Entry, Record};
use model::{Comment, EventBody, OrderingKey, RankingEntry, Snowflake, UserId};
use state::leaderboard::{
    HOT_MAX, LeaderboardChange, LeaderboardContents, LeaderboardEvent, LeaderboardUpdate, LikeChange, RANKS_MAX,
};

use crate::hot::HotComments;
use crate::ranking::Ranking;

/// Ranks and hot comments that are pushed to viewers; HTTP reads all of them.
pub(crate) const PUSHED: usize = 10;

pub(crate) struct Leaderboard {
    session: Option<Snowflake>,
    ranking: Ranking,
    hot: HotComments,
    /// What each giver gave in all.
    given: AHashMap<UserId, u64>,
    /// The positions up to which the store had counted, by ordering key.
    seen: AHashMap<OrderingKey, u64>,
    /// The head of the ranking and the version of the hot comments that viewers know.
    pushed: (Arc<[RankingEntry]>, u64),
    pub(crate) touched_ms: i64,
    pub(crate) filled_ms: i64,
}

impl Leaderboard {
    pub(crate) fn new(session: Option<Snowflake>, now_ms: i64) -> Self {
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

    /// A leaderboard with what the store counted.
    pub(crate) fn filled(contents: LeaderboardContents, now_ms: i64) -> Self {
        let mut leaderboard = Self::new(Some(contents.session), now_ms);
        let mut scores = contents.scores;
        // Equal scores stand in the order in which they come.
        scores.sort_unstable_by(|a, b| (a.reached, &a.user_id).cmp(&(b.reached, &b.user_id)));
        for score in scores {
            leaderboard.ranking.add(&score.user_id, &score.username, score.score);
            if score.given > 0 {
                leaderboard.given.insert(score.user_id, score.given);
            }
        }
        contents.liked.into_iter().for_each(|comment| leaderboard.hot.liked(comment));
        leaderboard.seen = contents.seen.into_iter().collect();
        leaderboard.pushed = (leaderboard.ranking.snapshot(PUSHED), leaderboard.hot.version());
        leaderboard
    }

    /// Applies a change of `session` if that is the leaderboard's; a change without one applies to any leaderboard.
    pub(crate) fn apply(&mut self, session: Option<Snowflake>, change: &LeaderboardChange) {
        if session.is_some() && session != self.session {
            return;
        }
        match &change.event {
            LeaderboardEvent::Commented(comment) if self.is_new(change) => {
                self.ranking.add(&comment.user_id, &comment.username, 1)
            }
            LeaderboardEvent::Commented(_) => {}
            LeaderboardEvent::Gifted { user_id, username, given } => self.gave(user_id, username, *given),
            LeaderboardEvent::Liked(comment, likes) => self.liked(comment, *likes),
            LeaderboardEvent::Deleted(id) => self.hot.removed(*id),
        }
    }

    /// Takes a purged user out. What the store counted before stays counted.
    pub(crate) fn purge(&mut self, user: &UserId) {
        self.ranking.remove(user);
        self.given.remove(user);
    }

    fn is_new(&self, change: &LeaderboardChange) -> bool {
        self.seen.get(&change.key).is_none_or(|seen| change.position > *seen)
    }

    fn gave(&mut self, user: &UserId, username: &str, given: u64) {
        let known = self.given.get(user).copied().unwrap_or_default();
        if given > known {
            self.given.insert(user.clone(), given);
            self.ranking.add(user, username, given - known);
        }
    }

    fn liked(&mut self, comment: &Arc<Comment>, likes: LikeChange) {
        let old = |known| match likes {
            LikeChange::Added => comment.like_count < known,
            LikeChange::Removed => comment.like_count > known,
            LikeChange::Reread => false,
        };
        if !self.hot.likes_of(comment.id).is_some_and(old) {
            self.hot.liked(comment.clone());
        }
    }

    /// What changed since it was last asked for.
    pub(crate) fn next_update(&mut self) -> LeaderboardUpdate {
        let (ranking, hot) = (self.ranking.snapshot(PUSHED), self.hot.version());
        let (ranking_new, hot_new) = (ranking != self.pushed.0, hot != self.pushed.1);
        self.pushed = (ranking.clone(), hot);
        if !ranking_new && !hot_new {
            return LeaderboardUpdate::Unchanged;
        }
        LeaderboardUpdate::Changed {
            ranking: ranking_new.then_some(ranking),
            hot: hot_new.then(|| self.hot.top(PUSHED).into()),
        }
    }

    /// All ranks that can be read; one shared snapshot until a rank changes.
    pub(crate) fn ranking(&mut self) -> Arc<[RankingEntry]> {
        self.ranking.snapshot(RANKS_MAX)
    }

    pub(crate) fn hot(&self, limit: usize) -> Vec<Arc<Comment>> {
        self.hot.top(limit)
    }
}

/// Calls `to` with each change that a record makes, and the session it belongs to. `key` gives a comment's ordering key.
pub(crate) fn each_change(
    entry: &Entry,
    key: impl Fn(u64, &UserId) -> OrderingKey,
    mut to: impl FnMut(Option<Snowflake>, LeaderboardChange),
) {
    let position = entry.position.offset;
    let change = |event| LeaderboardChange { key: OrderingKey::ONLY, position, event };
    match &entry.record {
        Record::Comment { comment, .. } if comment.session_id.is_some() && !comment.shadow => {
            let key = key(position, &comment.user_id);
            to(comment.session_id, LeaderboardChange { key, ..change(LeaderboardEvent::Commented(comment.clone())) });
        }
        Record::Liked { comment, taken_back } if comment.session_id.is_some() => {
            let likes = if *taken_back { LikeChange::Removed } else { LikeChange::Added };
            to(comment.session_id, change(LeaderboardEvent::Liked(comment.clone(), likes)));
        }
        Record::Event(event) => match &event.body {
            EventBody::Gift(gift) => {
                if let Some(counted) = gift.counted {
                    let (user_id, username) = (gift.user_id.clone(), gift.username.as_str().into());
                    to(
                        Some(counted.session_id),
                        change(LeaderboardEvent::Gifted { user_id, username, given: counted.given }),
                    );
                }
            }
            EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } => {
                comment_ids.iter().for_each(|id| to(None, change(LeaderboardEvent::Deleted(*id))));
            }
            _ => {}
        },
        _ => {}
    }
}
