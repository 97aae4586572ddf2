//! The most liked comments of one live session.
//!
//! Owned by the room worker, fed by the log's records of likes and deletions. Never counts likes itself (the store
//! does, once per user) and never asks the store.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use model::{Comment, Snowflake};

use model::recent::Recent;

/// Candidates kept for each place that is shown.
const CANDIDATES_PER_PLACE: usize = 5;
/// Deletions remembered, for likes that stand behind them in the log; beyond it the oldest is forgotten.
const REMOVED_MAX: usize = 4_096;

/// Most likes first, equal likes by the older id.
type Place = (Reverse<u64>, Snowflake);

/// The first places among the liked comments, with a reserve behind them.
///
/// Keeps five candidates per place and lets go of the last one when a better one comes. Every record of a like
/// carries the comment and its whole count, so a comment that was let go is back, with the right count, at
/// its next like or unlike. The places shown are exact while likes only rise; and since one unlike moves one comment,
/// they stay exact through at least four unlikes per place among the candidates, beyond which the worst that happens
/// is that a comment nobody likes at the moment is missing from the tail until somebody does.
#[derive(Debug)]
pub struct HotComments {
    places: BTreeSet<Place>,
    comments: AHashMap<Snowflake, Arc<Comment>>,
    removed: Recent<()>,
    shown: usize,
    /// The last place shown; `None` while fewer are taken.
    last: Option<Place>,
    version: u64,
}

impl HotComments {
    /// An empty list that shows at most `shown` comments.
    #[must_use]
    pub fn new(shown: usize) -> Self {
        Self {
            places: BTreeSet::new(),
            comments: AHashMap::new(),
            removed: Recent::new(REMOVED_MAX),
            shown,
            last: None,
            version: 0,
        }
    }

    /// How many comments it keeps in all: whoever fills it from the store gives it as many of the most liked.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shown * CANDIDATES_PER_PLACE
    }

    /// A comment's likes changed; it carries their number as of now. Without likes it leaves the list,
    /// and once deleted it does not come back.
    pub fn liked(&mut self, comment: Arc<Comment>) {
        if self.removed.contains(comment.id) {
            return;
        }
        let place = place(&comment);
        let before = self.comments.insert(comment.id, comment).map(|comment| self::place(&comment));
        if before == Some(place) {
            return;
        }
        if let Some(before) = before {
            self.places.remove(&before);
        }
        if place.0.0 == 0 {
            self.comments.remove(&place.1);
        } else {
            self.places.insert(place);
        }
        if self.places.len() > self.capacity()
            && let Some((_, id)) = self.places.pop_last()
        {
            self.comments.remove(&id);
        }
        self.moved(before, Some(place));
    }

    /// The likes of a comment among those kept.
    #[must_use]
    pub fn likes_of(&self, id: Snowflake) -> Option<u64> {
        self.comments.get(&id).map(|comment| comment.like_count)
    }

    /// A comment was deleted.
    pub fn removed(&mut self, id: Snowflake) {
        self.removed.insert(id, (), 0);
        if let Some(comment) = self.comments.remove(&id) {
            let place = place(&comment);
            self.places.remove(&place);
            self.moved(Some(place), None);
        }
    }

    /// The first `n` comments, most liked first; no more than are shown at all.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Arc<Comment>> {
        let places = self.places.iter().take(n.min(self.shown));
        places.filter_map(|(_, id)| self.comments.get(id).cloned()).collect()
    }

    /// Rises whenever a comment that is shown, or its count, changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts a change if it reaches into what is shown: it left a place that was, or took one that is now.
    fn moved(&mut self, from: Option<Place>, to: Option<Place>) {
        let was_shown = from.is_some_and(|place| self.is_shown(place));
        self.last = self.shown.checked_sub(1).and_then(|nth| self.places.iter().nth(nth).copied());
        let is_shown = to.is_some_and(|place| self.places.contains(&place) && self.is_shown(place));
        self.version += u64::from(was_shown || is_shown);
    }

    fn is_shown(&self, place: Place) -> bool {
        self.last.is_none_or(|last| place <= last)
    }
}

fn place(comment: &Comment) -> Place {
    (Reverse(comment.like_count), comment.id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use testkit::comments::{ids, liked};

    const SHOWN: usize = 3;

    fn naive(likes: &BTreeMap<u64, u64>) -> Vec<(u64, u64)> {
        let mut sorted: Vec<_> = likes.iter().filter(|(_, likes)| **likes > 0).map(|(&id, &n)| (id, n)).collect();
        sorted.sort_by_key(|&(id, likes)| (Reverse(likes), id));
        sorted.truncate(SHOWN);
        sorted
    }

    fn shown(hot: &HotComments) -> Vec<(u64, u64)> {
        hot.top(usize::MAX).iter().map(|comment| (comment.id.0, comment.like_count)).collect()
    }

    /// Likes of one of many comments; a tenth take one back.
    fn changes(len: usize) -> impl Strategy<Value = Vec<(u64, i64)>> {
        prop::collection::vec((1..60u64, prop_oneof![9 => 1..4i64, 1 => Just(-1i64)]), 1..len)
    }

    proptest! {
        #[test]
        fn it_equals_a_plain_sort_while_the_reserve_lasts(changes in changes(300)) {
            let (mut hot, mut likes, mut falls) = (HotComments::new(SHOWN), BTreeMap::new(), 0);
            for (id, change) in changes {
                let count: &mut u64 = likes.entry(id).or_default();
                falls += usize::from(change < 0 && *count > 0);
                if falls > SHOWN * (CANDIDATES_PER_PLACE - 1) {
                    break;
                }
                *count = count.saturating_add_signed(change);
                let (before, version) = (shown(&hot), hot.version());
                hot.liked(liked(id, *count));
                prop_assert_eq!(shown(&hot), naive(&likes));
                prop_assert_eq!(hot.version() != version, shown(&hot) != before);
            }
        }

        #[test]
        fn it_is_bounded_and_its_counts_are_right_whatever_happens(changes in changes(400), removed in 1..60u64) {
            let (mut hot, mut likes) = (HotComments::new(SHOWN), BTreeMap::new());
            for (id, change) in changes {
                let count: &mut u64 = likes.entry(id).or_default();
                *count = count.saturating_add_signed(change * 2);
                hot.liked(liked(id, *count));
                hot.removed(Snowflake(removed));
                prop_assert!(hot.comments.len() <= SHOWN * CANDIDATES_PER_PLACE);
                prop_assert_eq!(hot.comments.len(), hot.places.len());
                prop_assert!(shown(&hot).iter().all(|(id, count)| likes.get(id) == Some(count) && *id != removed));
                prop_assert!(shown(&hot).is_sorted_by_key(|&(id, count)| (Reverse(count), id)));
            }
        }
    }

    #[test]
    fn a_comment_falls_rises_and_leaves() {
        let mut hot = HotComments::new(2);
        for (id, likes) in [(1, 3), (2, 5), (3, 5), (2, 4)] {
            hot.liked(liked(id, likes));
        }
        assert_eq!(ids(&hot.top(9)), [3, 2]);
        hot.removed(Snowflake(3));
        assert_eq!(ids(&hot.top(9)), [2, 1]);
        hot.liked(liked(2, 0));
        assert_eq!(ids(&hot.top(9)), [1]);
        let version = hot.version();
        hot.removed(Snowflake(3));
        hot.liked(liked(1, 3));
        hot.liked(liked(9, 0));
        hot.liked(liked(3, 6));
        assert_eq!(hot.version(), version);
    }

    #[test]
    fn a_list_that_shows_nothing_keeps_nothing() {
        let mut hot = HotComments::new(0);
        hot.liked(liked(1, 1));
        assert!(hot.top(9).is_empty() && hot.comments.is_empty());
    }
}
