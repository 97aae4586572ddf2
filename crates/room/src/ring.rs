//! The last published comments of one room, in the log's order.
//!
//! Owned by whoever holds the room (worker or gateway); it answers joins, resumes and long polls, so that no
//! viewer's arrival costs the database anything. Never asks the store itself: [`Ring::covers`] says when the
//! caller has to. Comments are snapshots of the moment they were published; likes that come later are not
//! written into them.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Comment, Snowflake};

use crate::recent::Recent;

/// How long a deletion is remembered, for a comment that it overtook.
pub const TOMBSTONE_MS: i64 = 600_000;
/// Deletions remembered at once; beyond it the oldest is forgotten.
const TOMBSTONES_MAX: usize = 4_096;
/// Ids remembered at once, with their positions. Many more than the comments, because a repeat may come later than a
/// busy room's ring lasts, and a cursor may name a comment that has left it.
const IDS_MAX: usize = 8_192;

/// The last comments with their positions, oldest first.
///
/// To answer a reader who has seen everything up to some comment: [`position_of`](Self::position_of) its id;
/// unknown → ask the store. Known and [`covers`](Self::covers) → [`after`](Self::after) is the whole answer.
/// Known and not covered → the store must be asked for what follows that position.
#[derive(Debug)]
pub struct Ring {
    comments: VecDeque<(u64, Arc<Comment>)>,
    capacity: usize,
    positions: Recent<u64>,
    tombstones: Recent<()>,
    latest: Option<(u64, Snowflake)>,
    /// Whatever was published after this position has passed through here; `None` until anything is known.
    known_after: Option<u64>,
    /// The highest position that had to leave for want of room.
    evicted: u64,
}

impl Ring {
    /// An empty ring for the last `capacity` comments.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            comments: VecDeque::new(),
            capacity,
            positions: Recent::new(IDS_MAX.max(capacity)),
            tombstones: Recent::new(TOMBSTONES_MAX),
            latest: None,
            known_after: None,
            evicted: 0,
        }
    }

    /// How many comments it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a comment in. `false` means that it is not to be published: its id was here before, or it was deleted
    /// before it came.
    pub fn push(&mut self, position: u64, comment: Arc<Comment>) -> bool {
        if !self.is_new(comment.id) {
            return false;
        }
        self.known_after.get_or_insert(position.saturating_sub(1));
        self.insert(position, comment);
        self.evict();
        true
    }

    /// Takes in what the store has, and keeps what arrived live meanwhile.
    ///
    /// `stored` are the newest [`capacity`](Self::capacity) comments of the room, asked for when this ring was
    /// already being fed, so that nothing lies between the two; fewer means that the store has no more.
    pub fn prefill(&mut self, stored: Vec<(u64, Arc<Comment>)>) {
        let oldest = stored.iter().map(|(position, _)| *position).min().filter(|_| stored.len() >= self.capacity);
        self.known_after = Some(oldest.map_or(0, |position| position.saturating_sub(1)));
        for (position, comment) in stored {
            if self.is_new(comment.id) {
                self.insert(position, comment);
            }
        }
        self.evict();
    }

    /// Deletes a comment and remembers that, so that it does not come in later. Whether it was here.
    pub fn remove(&mut self, id: Snowflake, now_ms: i64) -> bool {
        self.tombstones.forget_before(now_ms.saturating_sub(TOMBSTONE_MS));
        self.tombstones.insert(id, (), now_ms);
        let at = self.comments.iter().rposition(|(_, comment)| comment.id == id);
        at.and_then(|at| self.comments.remove(at)).is_some()
    }

    /// Whether a deletion of this comment is remembered.
    #[must_use]
    pub fn is_removed(&self, id: Snowflake) -> bool {
        self.tombstones.contains(id)
    }

    /// Where a comment stands, also for a while after it was deleted or left the ring.
    #[must_use]
    pub fn position_of(&self, id: Snowflake) -> Option<u64> {
        self.positions.get(id)
    }

    /// Whether everything published after `position` and not deleted is here.
    #[must_use]
    pub fn covers(&self, position: u64) -> bool {
        self.known_after.is_some_and(|known_after| position >= known_after.max(self.evicted))
    }

    /// The oldest `limit` comments published after `position`, oldest first.
    #[must_use]
    pub fn after(&self, position: u64, limit: usize) -> Vec<Arc<Comment>> {
        let from = self.index_after(position);
        self.comments.range(from..).take(limit).map(|(_, comment)| comment.clone()).collect()
    }

    /// How many comments here were published after `position`.
    #[must_use]
    pub fn count_after(&self, position: u64) -> usize {
        self.comments.len() - self.index_after(position)
    }

    /// The newest `n` comments, oldest first.
    #[must_use]
    pub fn newest(&self, n: usize) -> Vec<Arc<Comment>> {
        let from = self.comments.len().saturating_sub(n);
        self.comments.range(from..).map(|(_, comment)| comment.clone()).collect()
    }

    /// The comments created at or after a time, in the order of their publication.
    #[must_use]
    pub fn newest_since(&self, created_at_ms: i64) -> Vec<Arc<Comment>> {
        let comments = self.comments.iter().map(|(_, comment)| comment);
        comments.filter(|comment| comment.created_at_ms >= created_at_ms).cloned().collect()
    }

    /// The position of the oldest comment here.
    #[must_use]
    pub fn oldest_position(&self) -> Option<u64> {
        self.comments.front().map(|(position, _)| *position)
    }

    /// Position and id of what was published last, even if it has been deleted since: a reader who has come so far
    /// needs a cursor that says so.
    #[must_use]
    pub fn latest(&self) -> Option<(u64, Snowflake)> {
        self.latest
    }

    /// Comments held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.comments.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.comments.is_empty()
    }

    fn is_new(&self, id: Snowflake) -> bool {
        !self.positions.contains(id) && !self.tombstones.contains(id)
    }

    fn insert(&mut self, position: u64, comment: Arc<Comment>) {
        self.positions.insert(comment.id, position, 0);
        self.latest = self.latest.max(Some((position, comment.id)));
        let at = self.index_after(position);
        self.comments.insert(at, (position, comment));
    }

    fn evict(&mut self) {
        while self.comments.len() > self.capacity {
            if let Some((position, _)) = self.comments.pop_front() {
                self.evicted = self.evicted.max(position);
            }
        }
    }

    /// The index of the first comment after `position`; the log's order makes it the end for what is new.
    fn index_after(&self, position: u64) -> usize {
        match self.comments.back() {
            Some((last, _)) if *last > position => self.comments.partition_point(|(at, _)| *at <= position),
            _ => self.comments.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{comment, ids};

    fn at(position: u64) -> (u64, Arc<Comment>) {
        (position, Arc::new(comment(position + 1_000)))
    }

    fn push(ring: &mut Ring, position: u64) -> bool {
        let (position, comment) = at(position);
        ring.push(position, comment)
    }

    fn id(position: u64) -> Snowflake {
        Snowflake(position + 1_000)
    }

    fn filled(capacity: usize, positions: impl IntoIterator<Item = u64>) -> Ring {
        let mut ring = Ring::new(capacity);
        for position in positions {
            assert!(push(&mut ring, position));
        }
        ring
    }

    #[test]
    fn repeats_are_dropped_even_after_they_left() {
        let mut ring = filled(3, [10, 20, 30, 40]);
        assert_eq!(ids(&ring.newest(9)), [1_020, 1_030, 1_040]);
        assert!(!push(&mut ring, 10) && !push(&mut ring, 40));
        assert!(!ring.push(50, Arc::new(comment(1_020))), "the same id again, further on in the log");
        assert_eq!(ring.position_of(id(20)), Some(20));
    }

    #[test]
    fn a_deletion_wins_even_when_it_comes_first() {
        let mut ring = filled(3, [10, 20]);
        assert!(ring.remove(id(20), 0) && !ring.remove(id(20), 0));
        assert!(!ring.remove(id(30), 0) && !push(&mut ring, 30));
        assert!(!push(&mut ring, 20));
        ring.prefill(vec![at(5), at(20), at(30)]);
        assert_eq!(ids(&ring.newest(9)), [1_005, 1_010]);
        assert!(ring.is_removed(id(30)) && !ring.is_removed(id(10)));
    }

    #[test]
    fn a_cursor_on_a_deleted_comment_still_works() {
        let mut ring = filled(5, [10, 20, 30]);
        ring.remove(id(20), 0);
        ring.remove(id(30), 0);
        let cursor = ring.position_of(id(20)).expect("remembered");
        assert_eq!((ring.covers(cursor), ring.latest()), (true, Some((30, id(30)))));
        assert!(push(&mut ring, 40));
        assert_eq!(ids(&ring.after(cursor, 9)), [1_040]);
    }

    #[test]
    fn tombstones_are_bounded_in_age_and_number() {
        let mut ring = Ring::new(3);
        ring.remove(Snowflake(1), 0);
        ring.remove(Snowflake(2), TOMBSTONE_MS + 1);
        assert!(!ring.is_removed(Snowflake(1)) && ring.is_removed(Snowflake(2)));
        for n in 0..TOMBSTONES_MAX as u64 {
            ring.remove(Snowflake(100 + n), TOMBSTONE_MS + 1);
        }
        assert!(!ring.is_removed(Snowflake(2)) && ring.is_removed(Snowflake(100)));
    }

    #[test]
    fn it_knows_how_far_back_it_reaches() {
        let mut cold = Ring::new(3);
        assert!(!cold.covers(u64::MAX), "nothing is known yet");
        push(&mut cold, 50);
        assert_eq!([48, 49, 50].map(|position| cold.covers(position)), [false, true, true]);

        cold.prefill(vec![at(40), at(45)]);
        assert!(cold.covers(0), "the store had fewer than asked for");
        push(&mut cold, 60);
        assert_eq!([39, 40].map(|position| cold.covers(position)), [false, true]);

        let mut full = Ring::new(3);
        full.prefill(vec![at(20), at(30), at(40)]);
        assert_eq!([18, 19].map(|position| full.covers(position)), [false, true]);
        let mut new_room = Ring::new(3);
        new_room.prefill(vec![]);
        assert!(new_room.covers(0) && new_room.oldest_position().is_none());
    }

    #[test]
    fn a_ring_that_overflowed_while_warming_does_not_hide_the_gap() {
        let mut ring = filled(3, [50, 60, 70, 80]);
        ring.remove(id(60), 0);
        ring.prefill(vec![at(20), at(30), at(40)]);
        assert_eq!(ids(&ring.newest(9)), [1_040, 1_070, 1_080]);
        assert_eq!([40, 49, 50].map(|position| ring.covers(position)), [false, false, true]);
    }

    #[test]
    fn history_is_cut_by_number_position_and_time() {
        let mut ring = filled(5, [10, 20, 40]);
        push(&mut ring, 30);
        assert_eq!(ids(&ring.newest(2)), [1_030, 1_040]);
        assert_eq!(ids(&ring.after(10, 2)), [1_020, 1_030]);
        assert_eq!((ring.count_after(10), ring.count_after(15), ring.count_after(40)), (3, 3, 0));
        assert_eq!(ids(&ring.newest_since(1_030)), [1_030, 1_040]);
        assert_eq!(ring.oldest_position(), Some(10));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u64),
        Remove(u64),
        Prefill,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (1..40u64).prop_map(Step::Push),
            2 => (1..40u64).prop_map(Step::Remove),
            1 => Just(Step::Prefill),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        /// A log of comments in order, some deleted, some delivered twice, with a store that has all of them: whatever
        /// the ring says it covers, it has.
        #[test]
        fn what_it_covers_it_has(steps in steps(), born in 0..10u64) {
            const CAPACITY: usize = 6;
            let mut ring = Ring::new(CAPACITY);
            let (mut head, mut published, mut removed) = (born, BTreeMap::new(), Vec::new());
            for earlier in 1..=born {
                published.insert(earlier, id(earlier));
            }
            for step in steps {
                match step {
                    // A small number repeats what was, a larger one appends.
                    Step::Push(n) if n < 10 && n <= head && n > born => prop_assert!(!push(&mut ring, n)),
                    Step::Push(_) => {
                        head += 1;
                        prop_assert_eq!(push(&mut ring, head), !removed.contains(&head));
                        published.insert(head, id(head));
                        removed.iter().for_each(|gone| { published.remove(gone); });
                    }
                    Step::Remove(n) => {
                        ring.remove(id(n), 0);
                        removed.push(n);
                        published.remove(&n);
                    }
                    Step::Prefill => {
                        let newest = published.keys().rev().take(CAPACITY).rev();
                        ring.prefill(newest.map(|&position| at(position)).collect());
                    }
                }
                prop_assert!(ring.len() <= CAPACITY);
                for position in 0..=head {
                    if ring.covers(position) {
                        let expected: Vec<_> = published.range(position + 1..).map(|(_, id)| id.0).collect();
                        prop_assert_eq!(ids(&ring.after(position, usize::MAX)), expected);
                    }
                }
                prop_assert!(ring.comments.iter().is_sorted_by_key(|(position, _)| *position));
            }
        }
    }
}
