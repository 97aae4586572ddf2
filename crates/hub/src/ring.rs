//! The last published comments of one room, in the order in which they arrived here.
//!
//! Owned by a held [room](crate::Room). It answers joins, resumes and long polls, so that no viewer's arrival costs a query.
//! Never asks the store itself: [`Ring::covers`] says when the caller has to. Comments are as they were published; later
//! likes are not written into them.
//!
//! With one log, arrival order is the log's order. Where several nodes assign positions, each node has its own order of
//! arrival, and positions need not rise in it. A reader who was served here continues by arrival. One who comes from
//! another node continues by position, some seconds earlier ([`RingCursor`]).

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashSet;
use log::hlc;
use model::{Comment, Snowflake};

use model::recent::Recent;

/// How long a deletion is remembered, for a comment that arrives after it.
pub const TOMBSTONE_MS: i64 = 600_000;
/// Deletions remembered at once; beyond it the oldest is forgotten.
const TOMBSTONES_MAX: usize = 4_096;
/// Ids remembered at once, with their positions. Many more than the comments: in a busy room a repeat may arrive, and a
/// cursor may point to a comment, after it has left the ring.
const IDS_MAX: usize = 8_192;
/// The same among several nodes, where a reread returns known comments together with missed ones.
const IDS_MAX_CLUSTER: usize = 65_536;
/// Recent comments kept beyond the ring's capacity.
const RECENT_MAX: usize = 8_192;

/// A comment's number of arrival here, and the position that its log gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EntryPosition {
    arrival: u64,
    position: u64,
    /// It arrived long after its position, from a spool or behind a gap: on another node it may have arrived later still,
    /// and a reader who comes from there has a cursor beyond it.
    late: bool,
}

#[derive(Debug)]
struct Buffered {
    at: EntryPosition,
    comment: Arc<Comment>,
}

/// Where a reader continues in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingCursor {
    /// Everything that arrived after this is given, and is new to the reader.
    pub arrival: u64,
    /// Everything with a higher position is new too, even if it had arrived: the ring does not know when the reader's
    /// cursor arrived. `u64::MAX` when it does.
    pub position: u64,
    /// Everything with a higher position is given, new or not: the reader may come from a node where it had not
    /// arrived. `u64::MAX` when the reader was given all of it here.
    pub floor: u64,
}

impl RingCursor {
    /// The cursor of a reader who was given here everything that had arrived by then.
    #[must_use]
    pub const fn after_arrival(arrival: u64) -> Self {
        Self { arrival, position: u64::MAX, floor: u64::MAX }
    }

    fn is_new(&self, at: EntryPosition) -> bool {
        at.arrival > self.arrival || at.position > self.position
    }

    fn gives(&self, at: EntryPosition) -> bool {
        let is_cursor = self.position == u64::MAX && at.arrival == self.arrival;
        let from_elsewhere = self.floor != u64::MAX;
        self.is_new(at) || (from_elsewhere && !is_cursor && (at.late || at.position > self.floor))
    }
}

/// A comment for a reader.
#[derive(Debug, Clone, Copy)]
pub struct RingEntry<'a> {
    /// The comment.
    pub comment: &'a Arc<Comment>,
    /// Its number of arrival.
    pub arrival: u64,
    /// Its position.
    pub position: u64,
    /// False when the reader probably knows it.
    pub is_new: bool,
}

/// The last comments, in the order of their arrival.
///
/// To answer a reader who has seen everything up to some comment: [`start_after`](Self::start_after) its id;
/// unknown → ask the store for its position, and [`start_at`](Self::start_at) that. [`covers`](Self::covers) →
/// [`after`](Self::after) is the whole answer; otherwise the store must be asked for what follows.
#[derive(Debug)]
pub struct Ring {
    comments: VecDeque<Buffered>,
    capacity: usize,
    /// By how much the order of arrival may differ between nodes. Comments younger than twice that stay.
    reread_ms: u64,
    positions: Recent<EntryPosition>,
    tombstones: Recent<()>,
    /// The number of the last arrival.
    arrived: u64,
    /// The highest position that arrived.
    highest: u64,
    /// Everything with a higher position has passed through here; `None` until anything is known.
    known_after: Option<u64>,
    /// The last arrival and the highest position among the comments evicted.
    evicted: EntryPosition,
    /// The highest position of a comment whose id is forgotten.
    forgotten: u64,
}

impl Ring {
    /// An empty ring for the last `capacity` comments. `reread_ms` is the most by which the order of arrival differs
    /// between nodes, 0 when there is one log.
    #[must_use]
    pub fn new(capacity: usize, reread_ms: u64) -> Self {
        let ids_max = if reread_ms == 0 { IDS_MAX } else { IDS_MAX_CLUSTER };
        Self {
            comments: VecDeque::new(),
            capacity,
            reread_ms,
            positions: Recent::new(ids_max.max(capacity)),
            tombstones: Recent::new(TOMBSTONES_MAX),
            arrived: 0,
            highest: 0,
            known_after: None,
            evicted: EntryPosition { arrival: 0, position: 0, late: false },
            forgotten: 0,
        }
    }

    /// Adds a comment. `false` means that it must not be published: its id was here before, it was deleted before it arrived,
    /// or it is so old that nobody can tell.
    pub fn push(&mut self, position: u64, comment: Arc<Comment>) -> bool {
        if !self.is_unseen(comment.id) || self.is_beyond_memory(position) {
            return false;
        }
        self.known_after.get_or_insert(position.saturating_sub(1));
        let late = self.reread_ms > 0 && position < hlc::earlier(self.highest, self.reread_ms);
        self.insert(position, comment, late);
        self.evict();
        true
    }

    /// Notes a comment that is not shown, because its sender's earlier one is: it counts as arrived, so that nobody misses it
    /// and a cursor may point to it.
    pub fn pass_over(&mut self, position: u64, id: Snowflake) {
        if self.is_unseen(id) {
            let at = EntryPosition { arrival: self.arrived, position, late: false };
            self.remember(id, at);
        }
    }

    /// Adds what the store has, before what arrived live meanwhile. Used before anybody was given anything of this ring,
    /// and when too much is missing in it. Cursors by arrival from before are void.
    ///
    /// `stored` are the newest `capacity` comments of the room; fewer means that the store has no more. They must be read
    /// after this ring is being fed, so that nothing falls between the two.
    pub fn prefill(&mut self, stored: Vec<(u64, Arc<Comment>)>) {
        let oldest = stored.iter().map(|(position, _)| *position).min().filter(|_| stored.len() >= self.capacity);
        self.known_after = Some(oldest.map_or(0, |position| position.saturating_sub(1)));
        self.arrived += 1;
        self.evicted.arrival = self.arrived;
        let live: Vec<_> = self.comments.drain(..).map(|buffered| (buffered.at.position, buffered.comment)).collect();
        let here: AHashSet<_> = live.iter().map(|(_, comment)| comment.id).collect();
        let gone = |id| here.contains(&id) || self.tombstones.contains(id);
        let mut all: Vec<_> = stored.into_iter().filter(|(_, comment)| !gone(comment.id)).chain(live).collect();
        // By position, each sender's comments keep their order.
        all.sort_by_key(|(position, _)| *position);
        for (position, comment) in all {
            self.insert(position, comment, false);
        }
        self.evict();
    }

    /// Deletes a comment, and refuses it if it arrives later. Returns whether it was here.
    pub fn remove(&mut self, id: Snowflake, now_ms: i64) -> bool {
        self.tombstones.forget_before(now_ms.saturating_sub(TOMBSTONE_MS));
        self.tombstones.insert(id, (), now_ms);
        let at = self.comments.iter().rposition(|buffered| buffered.comment.id == id);
        at.and_then(|at| self.comments.remove(at)).is_some()
    }

    /// Shows a comment again that was hidden, in its old place. One that would have left the ring meanwhile stays away.
    pub fn restore(&mut self, comment: Arc<Comment>) {
        self.tombstones.remove(comment.id);
        let Some(at) = self.positions.get(comment.id).filter(|at| at.arrival > self.evicted.arrival) else { return };
        let index = self.index_after(at.arrival);
        let here = index.checked_sub(1).and_then(|before| self.comments.get(before));
        if here.is_none_or(|buffered| buffered.at.arrival != at.arrival) {
            self.comments.insert(index, Buffered { at, comment });
            self.evict();
        }
    }

    /// Whether it passed through here lately and was not deleted.
    #[must_use]
    pub fn contains(&self, id: Snowflake) -> bool {
        self.positions.contains(id) && !self.tombstones.contains(id)
    }

    /// Whether this stored comment never arrived. One that may have arrived and be forgotten counts as arrived.
    #[must_use]
    pub fn is_missing(&self, position: u64, id: Snowflake) -> bool {
        let certain = self.known_after.is_some_and(|known_after| position > known_after.max(self.forgotten));
        certain && self.is_unseen(id)
    }

    /// The position after which the ring can tell what never arrived.
    #[must_use]
    pub fn certain_after(&self) -> u64 {
        self.known_after.unwrap_or(u64::MAX).max(self.forgotten)
    }

    /// The cursor of a reader who has seen this comment and all given before it, with the comment's position. Works for a
    /// while after the comment was deleted or left the ring.
    #[must_use]
    pub fn start_after(&self, id: Snowflake) -> Option<(RingCursor, u64)> {
        let EntryPosition { arrival, position, .. } = self.positions.get(id)?;
        let here = RingCursor::after_arrival(arrival);
        let start = if self.reread_ms == 0 { here } else { RingCursor { floor: self.reread_from(position), ..here } };
        Some((start, position))
    }

    /// The cursor of a reader whose last comment is unknown here but has this position.
    #[must_use]
    pub fn start_at(&self, position: u64) -> RingCursor {
        RingCursor { arrival: self.arrived, position, floor: self.reread_from(position) }
    }

    /// The number of the last arrival: where a reader who was given everything continues.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// The position after which a reader is given again what it may have missed on another node.
    #[must_use]
    pub fn reread_from(&self, position: u64) -> u64 {
        if self.reread_ms == 0 { position } else { hlc::earlier(position, self.reread_ms) }
    }

    /// Whether everything that this cursor's reader needs, and that is not deleted, is here.
    #[must_use]
    pub fn covers(&self, start: &RingCursor) -> bool {
        let complete =
            self.known_after.is_some_and(|known_after| start.floor >= known_after.max(self.evicted.position));
        complete && start.arrival >= self.evicted.arrival
    }

    /// What a reader is given, in the order of arrival.
    pub fn after(&self, start: RingCursor) -> impl DoubleEndedIterator<Item = RingEntry<'_>> {
        let by_arrival = start == RingCursor::after_arrival(start.arrival);
        let from = if by_arrival { self.index_after(start.arrival) } else { 0 };
        let given = move |buffered: &Buffered| start.gives(buffered.at);
        self.comments.range(from..).filter(move |buffered| given(buffered)).map(move |buffered| RingEntry {
            comment: &buffered.comment,
            arrival: buffered.at.arrival,
            position: buffered.at.position,
            is_new: start.is_new(buffered.at),
        })
    }

    /// All comments in the order of arrival.
    pub fn comments(&self) -> impl DoubleEndedIterator<Item = &Arc<Comment>> {
        self.comments.iter().map(|buffered| &buffered.comment)
    }

    /// The position up to which everything that was published has passed through here, and what passed beyond it. With one
    /// log nothing is beyond it: its order is that of the positions.
    #[must_use]
    pub fn passed(&self) -> (u64, Vec<Snowflake>) {
        if self.reread_ms == 0 {
            return (self.highest.max(self.known_after.unwrap_or(0)), Vec::new());
        }
        let floor = self.known_after.unwrap_or(0).max(self.evicted.position);
        let floor = floor.max(hlc::earlier(self.highest, self.reread_ms * 2));
        let beyond = self.comments.iter().filter(|buffered| buffered.at.position > floor);
        (floor, beyond.map(|buffered| buffered.comment.id).collect())
    }

    /// Those held with a position beyond `floor`, in the order of arrival.
    pub fn beyond(&self, floor: u64) -> impl Iterator<Item = &Arc<Comment>> {
        self.comments.iter().filter(move |buffered| buffered.at.position > floor).map(|buffered| &buffered.comment)
    }

    /// The ids of the comments held.
    #[must_use]
    pub fn ids(&self) -> Vec<Snowflake> {
        self.comments.iter().map(|buffered| buffered.comment.id).collect()
    }

    /// The newest `n` comments, oldest first.
    #[must_use]
    pub fn newest(&self, n: usize) -> Vec<Arc<Comment>> {
        let from = self.comments.len().saturating_sub(n);
        self.comments.range(from..).map(|buffered| buffered.comment.clone()).collect()
    }

    /// The number of comments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.comments.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.comments.is_empty()
    }

    /// Whether it may have come before everything that is remembered: a log that is read again tells it again.
    fn is_beyond_memory(&self, position: u64) -> bool {
        self.reread_ms > 0
            && self.known_after.is_some_and(|known_after| position <= known_after.max(self.forgotten))
            && position < hlc::earlier(self.highest, self.reread_ms)
    }

    fn is_unseen(&self, id: Snowflake) -> bool {
        !self.positions.contains(id) && !self.tombstones.contains(id)
    }

    fn insert(&mut self, position: u64, comment: Arc<Comment>, late: bool) {
        self.arrived += 1;
        self.highest = self.highest.max(position);
        let at = EntryPosition { arrival: self.arrived, position, late };
        self.remember(comment.id, at);
        self.comments.push_back(Buffered { at, comment });
    }

    fn remember(&mut self, id: Snowflake, at: EntryPosition) {
        if let Some(lost) = self.positions.insert(id, at, 0) {
            self.forgotten = self.forgotten.max(lost.position);
        }
    }

    fn evict(&mut self) {
        let old = hlc::earlier(self.highest, self.reread_ms * 2);
        while self.comments.len() > self.capacity
            && let Some(oldest) = self.comments.front()
            && (self.reread_ms == 0 || oldest.at.position < old || self.comments.len() > RECENT_MAX)
        {
            self.evicted.arrival = self.evicted.arrival.max(oldest.at.arrival);
            self.evicted.position = self.evicted.position.max(oldest.at.position);
            self.comments.pop_front();
        }
    }

    fn index_after(&self, arrival: u64) -> usize {
        self.comments.partition_point(|buffered| buffered.at.arrival <= arrival)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use testkit::comments::{comment, ids};

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
        let mut ring = Ring::new(capacity, 0);
        for position in positions {
            assert!(push(&mut ring, position));
        }
        ring
    }

    fn given(ring: &Ring, start: RingCursor) -> Vec<u64> {
        ring.after(start).map(|given| given.comment.id.0).collect()
    }

    fn covers(ring: &Ring, position: u64) -> bool {
        ring.covers(&ring.start_at(position))
    }

    #[test]
    fn repeats_are_dropped_even_after_they_left() {
        let mut ring = filled(3, [10, 20, 30, 40]);
        assert_eq!(ids(&ring.newest(9)), [1_020, 1_030, 1_040]);
        assert!(!push(&mut ring, 10) && !push(&mut ring, 40));
        assert!(!ring.push(50, Arc::new(comment(1_020))), "the same id again, further on in the log");
        assert_eq!(ring.start_after(id(20)).map(|(_, position)| position), Some(20));
    }

    #[test]
    fn another_ring_continues_where_this_one_ended() {
        let (before, after) = (filled(3, [10, 20]), filled(3, [10, 20, 30]));
        assert_eq!(before.passed(), (20, Vec::new()));
        assert_eq!(ids(after.beyond(before.passed().0)), [1_030]);
        let mut cluster = Ring::new(9, 5_000);
        cluster.prefill(vec![]);
        for (ms, node) in [(1_000, 1), (60_000, 1), (59_000, 2)] {
            let (position, comment) = stamped(ms, node);
            assert!(cluster.push(position, comment));
        }
        let (floor, given) = cluster.passed();
        assert_eq!(
            (floor, given),
            (hlc::earlier(stamped(60_000, 1).0, 10_000), vec![Snowflake(600_001), Snowflake(590_002)])
        );
    }

    #[test]
    fn a_deletion_wins_even_when_it_comes_first() {
        let mut ring = filled(3, [10, 20]);
        assert!(ring.remove(id(20), 0) && !ring.remove(id(20), 0));
        assert!(!ring.remove(id(30), 0) && !push(&mut ring, 30));
        assert!(!push(&mut ring, 20));
        ring.prefill(vec![at(5), at(20), at(30)]);
        assert_eq!(ids(&ring.newest(9)), [1_005, 1_010]);
        assert!(!ring.contains(id(20)) && ring.contains(id(10)));
    }

    #[test]
    fn a_cursor_on_a_deleted_comment_still_works() {
        let mut ring = filled(5, [10, 20, 30]);
        ring.remove(id(20), 0);
        ring.remove(id(30), 0);
        let (cursor, _) = ring.start_after(id(20)).expect("remembered");
        assert!(ring.covers(&cursor));
        assert!(push(&mut ring, 40));
        assert_eq!(given(&ring, cursor), [1_040]);
    }

    #[test]
    fn tombstones_are_bounded_in_age_and_number() {
        let mut ring = Ring::new(3, 0);
        ring.remove(Snowflake(1), 0);
        ring.remove(Snowflake(2), TOMBSTONE_MS + 1);
        assert!(!ring.tombstones.contains(Snowflake(1)) && ring.tombstones.contains(Snowflake(2)));
        for n in 0..TOMBSTONES_MAX as u64 {
            ring.remove(Snowflake(100 + n), TOMBSTONE_MS + 1);
        }
        assert!(!ring.tombstones.contains(Snowflake(2)) && ring.tombstones.contains(Snowflake(100)));
    }

    #[test]
    fn it_knows_how_far_back_it_reaches() {
        let mut cold = Ring::new(3, 0);
        assert!(!covers(&cold, u64::MAX), "nothing is known yet");
        push(&mut cold, 50);
        assert_eq!([48, 49, 50].map(|position| covers(&cold, position)), [false, true, true]);

        cold.prefill(vec![at(40), at(45)]);
        assert!(covers(&cold, 0), "the store had fewer than asked for");
        push(&mut cold, 60);
        assert_eq!([39, 40].map(|position| covers(&cold, position)), [false, true]);

        let mut full = Ring::new(3, 0);
        full.prefill(vec![at(20), at(30), at(40)]);
        assert_eq!([18, 19].map(|position| covers(&full, position)), [false, true]);
        let mut new_room = Ring::new(3, 0);
        new_room.prefill(vec![]);
        assert!(covers(&new_room, 0) && new_room.is_empty());
    }

    #[test]
    fn a_ring_that_overflowed_while_warming_does_not_hide_the_gap() {
        let mut ring = filled(3, [50, 60, 70, 80]);
        ring.remove(id(60), 0);
        ring.prefill(vec![at(20), at(30), at(40)]);
        assert_eq!(ids(&ring.newest(9)), [1_040, 1_070, 1_080]);
        assert_eq!([40, 49, 50].map(|position| covers(&ring, position)), [false, false, true]);
        let (cursor, _) = ring.start_after(id(60)).expect("remembered");
        assert!(!ring.covers(&cursor), "where it stood among those that arrived anew is not known");
    }

    /// A position `ms` after the beginning, assigned by a node.
    fn stamped(ms: u64, node: u64) -> (u64, Arc<Comment>) {
        let position = (1_000_000 + ms) << 20 | node;
        (position, Arc::new(comment(ms * 10 + node)))
    }

    #[test]
    fn what_is_young_stays_among_several_nodes() {
        let mut ring = Ring::new(3, 5_000);
        for ms in [0, 1_000, 2_000, 3_000, 9_000] {
            let (position, comment) = stamped(ms, 1);
            assert!(ring.push(position, comment));
        }
        assert_eq!(ring.len(), 5);
        let (position, comment) = stamped(11_500, 1);
        ring.push(position, comment);
        assert_eq!(ids(&ring.newest(9)), [20_001, 30_001, 90_001, 115_001]);
    }

    #[test]
    fn who_comes_from_another_node_is_given_again_what_it_may_not_have_had() {
        let mut ring = Ring::new(9, 5_000);
        ring.prefill(vec![]);
        for (ms, node) in [(900, 1), (6_500, 1), (6_000, 2), (7_000, 1), (6_900, 2)] {
            let (position, comment) = stamped(ms, node);
            assert!(ring.push(position, comment));
        }
        let (start, position) = ring.start_after(Snowflake(60_002)).expect("here");
        let served: Vec<_> = ring.after(start).map(|given| (given.comment.id.0, given.is_new)).collect();
        assert_eq!(served, [(65_001, false), (70_001, true), (69_002, true)]);
        let here = RingCursor::after_arrival(ring.arrived());
        assert!(ring.covers(&start) && given(&ring, here).is_empty());
        assert_eq!(
            ring.after(ring.start_at(position)).map(|given| given.is_new).collect::<Vec<_>>(),
            [true, false, true, true]
        );
    }

    #[test]
    fn what_is_older_than_the_memory_is_not_shown_again() {
        let mut ring = Ring::new(2, 5_000);
        ring.prefill(vec![stamped(50_000, 1), stamped(60_000, 1)]);
        let mut push = |(position, comment)| ring.push(position, comment);
        assert!(!push(stamped(20_000, 1)), "the log is read again from before the room was held");
        assert!(push(stamped(62_000, 1)) && push(stamped(61_500, 2)), "a little disorder is usual");
    }

    #[test]
    fn what_waited_in_a_spool_is_given_to_whoever_comes_with_a_newer_cursor() {
        let mut ring = Ring::new(9, 5_000);
        ring.prefill(vec![]);
        for (ms, node) in [(1_000, 1), (60_000, 1), (2_000, 2), (61_000, 1)] {
            let (position, comment) = stamped(ms, node);
            assert!(ring.push(position, comment));
        }
        let (newest, _) = ring.start_after(Snowflake(610_001)).expect("here");
        assert_eq!(given(&ring, newest), [600_001, 20_002], "it may not have been there yet");
        assert!(given(&ring, RingCursor::after_arrival(ring.arrived())).is_empty(), "who was served here has it");
    }

    #[test]
    fn it_can_tell_what_never_came() {
        let mut ring = Ring::new(3, 5_000);
        let (first, second) = (stamped(1_000, 1), stamped(2_000, 2));
        assert!(!ring.is_missing(first.0, first.1.id), "it is not warm");
        ring.prefill(vec![]);
        ring.push(second.0, second.1.clone());
        assert!(ring.is_missing(first.0, first.1.id) && !ring.is_missing(second.0, second.1.id));
        ring.remove(first.1.id, 0);
        assert!(!ring.is_missing(first.0, first.1.id), "it is deleted");
        let here = RingCursor::after_arrival(ring.arrived());
        ring.prefill(vec![stamped(1_500, 2)]);
        assert_eq!(ids(&ring.newest(9)), [15_002, 20_002]);
        assert!(!ring.covers(&here) && !ring.push(second.0, second.1), "another order, nothing forgotten");
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
        /// the ring says it covers, it has, by position and by arrival.
        #[test]
        fn what_it_covers_it_has(steps in steps(), born in 0..10u64) {
            const CAPACITY: usize = 6;
            let mut ring = Ring::new(CAPACITY, 0);
            let (mut head, mut published, mut removed) = (born, BTreeMap::new(), BTreeSet::new());
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
                        removed.insert(n);
                        published.remove(&n);
                    }
                    Step::Prefill => {
                        let newest = published.keys().rev().take(CAPACITY).rev();
                        ring.prefill(newest.map(|&position| at(position)).collect());
                    }
                }
                prop_assert!(ring.len() <= CAPACITY);
                for position in 0..=head {
                    let expected: Vec<_> = published.range(position + 1..).map(|(_, id)| id.0).collect();
                    let known = ring.start_after(id(position)).map(|(start, _)| start);
                    for start in known.into_iter().chain([ring.start_at(position)]).filter(|start| ring.covers(start)) {
                        prop_assert_eq!(&given(&ring, start), &expected);
                    }
                }
            }
        }
    }
}
