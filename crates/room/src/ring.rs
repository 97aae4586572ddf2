//! The last published comments of one room, in the order in which they arrived here.
//!
//! Owned by whoever holds the room (worker or gateway); it answers joins, resumes and long polls, so that no
//! viewer's arrival costs the database anything. Never asks the store itself: [`Ring::covers`] says when the
//! caller has to. Comments are snapshots of the moment they were published; likes that come later are not
//! written into them.
//!
//! With one log, arrival order is the log's order. Where several nodes stamp places each has its own order of arrival,
//! and places need not rise in it: a reader who was given something here goes on by arrival, one who comes from
//! another node by place, some seconds earlier ([`Start`]).

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashSet;
use bus::stamp;
use model::{Comment, Snowflake};

use crate::recent::Recent;

/// How long a deletion is remembered, for a comment that it overtook.
pub const TOMBSTONE_MS: i64 = 600_000;
/// Deletions remembered at once; beyond it the oldest is forgotten.
const TOMBSTONES_MAX: usize = 4_096;
/// Ids remembered at once, with their places. Many more than the comments, because a repeat may come later than a
/// busy room's ring lasts, and a cursor may name a comment that has left it.
const IDS_MAX: usize = 8_192;
/// The same among several nodes, where what was missed is read again from the store among all that was not.
const IDS_MAX_ELSEWHERE: usize = 65_536;
/// Comments held for being young, beyond the ring's capacity.
const YOUNG_MAX: usize = 8_192;

/// Where a comment stands: when it arrived here, counted, and the place that its log gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    arrival: u64,
    position: u64,
}

#[derive(Debug)]
struct Held {
    place: Place,
    comment: Arc<Comment>,
}

/// From where a reader is given comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Whatever arrived after this is given, and is new to the reader.
    pub arrival: u64,
    /// Whatever has a higher place than this is new too, although it had arrived: the ring does not know when the
    /// reader's cursor arrived. `u64::MAX` when it does.
    pub position: u64,
    /// Whatever has a higher place than this is given, new or not: the reader may come from a node where it had not
    /// arrived. `u64::MAX` when the reader was given all of it here.
    pub floor: u64,
}

impl Start {
    /// The start of a reader who was given here whatever had arrived by then.
    #[must_use]
    pub const fn after_arrival(arrival: u64) -> Self {
        Self { arrival, position: u64::MAX, floor: u64::MAX }
    }

    fn is_new(&self, place: Place) -> bool {
        place.arrival > self.arrival || place.position > self.position
    }

    fn gives(&self, place: Place) -> bool {
        let is_cursor = self.position == u64::MAX && place.arrival == self.arrival;
        self.is_new(place) || (place.position > self.floor && !is_cursor)
    }
}

/// A comment for a reader.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The comment.
    pub comment: &'a Arc<Comment>,
    /// When it arrived.
    pub arrival: u64,
    /// Its place.
    pub position: u64,
    /// False when the reader most probably knows it.
    pub is_new: bool,
}

/// The last comments, in the order of their arrival.
///
/// To answer a reader who has seen everything up to some comment: [`start_after`](Self::start_after) its id;
/// unknown → ask the store for its place, and [`start_at`](Self::start_at) that. [`covers`](Self::covers) →
/// [`after`](Self::after) is the whole answer; otherwise the store must be asked for what follows.
#[derive(Debug)]
pub struct Ring {
    comments: VecDeque<Held>,
    capacity: usize,
    /// Among several nodes: for how long arrivals may differ. What is younger than twice that stays.
    reread_ms: u64,
    places: Recent<Place>,
    tombstones: Recent<()>,
    /// The number of the last arrival.
    arrived: u64,
    /// The highest place that arrived.
    highest: u64,
    /// Whatever has a higher place than this has passed through here; `None` until anything is known.
    known_after: Option<u64>,
    /// What had to leave for want of room: the last arrival, and the highest place.
    evicted: Place,
    /// The highest place of a comment whose id is forgotten.
    forgotten: u64,
}

impl Ring {
    /// An empty ring for the last `capacity` comments. `reread_ms` is by how much the order of arrival may differ
    /// between nodes, 0 when there is one log.
    #[must_use]
    pub fn new(capacity: usize, reread_ms: u64) -> Self {
        let ids_max = if reread_ms == 0 { IDS_MAX } else { IDS_MAX_ELSEWHERE };
        Self {
            comments: VecDeque::new(),
            capacity,
            reread_ms,
            places: Recent::new(ids_max.max(capacity)),
            tombstones: Recent::new(TOMBSTONES_MAX),
            arrived: 0,
            highest: 0,
            known_after: None,
            evicted: Place { arrival: 0, position: 0 },
            forgotten: 0,
        }
    }

    /// Takes a comment in. `false` means that it is not to be published: its id was here before, or it was deleted
    /// before it came.
    pub fn push(&mut self, position: u64, comment: Arc<Comment>) -> bool {
        if !self.is_unknown(comment.id) {
            return false;
        }
        self.known_after.get_or_insert(position.saturating_sub(1));
        self.insert(position, comment);
        self.evict();
        true
    }

    /// Takes in what the store has, before what arrived live meanwhile: when nobody has been given anything of this ring
    /// yet, or when too much is missing in it. What readers were given by arrival before is void.
    ///
    /// `stored` are the newest `capacity` comments of the room, asked for when this ring was already being fed, so
    /// that nothing lies between the two; fewer means that the store has no more.
    pub fn prefill(&mut self, stored: Vec<(u64, Arc<Comment>)>) {
        let oldest = stored.iter().map(|(position, _)| *position).min().filter(|_| stored.len() >= self.capacity);
        self.known_after = Some(oldest.map_or(0, |position| position.saturating_sub(1)));
        self.arrived += 1;
        self.evicted.arrival = self.arrived;
        let live: Vec<_> = self.comments.drain(..).map(|held| (held.place.position, held.comment)).collect();
        let here: AHashSet<_> = live.iter().map(|(_, comment)| comment.id).collect();
        let gone = |id| here.contains(&id) || self.tombstones.contains(id);
        let mut all: Vec<_> = stored.into_iter().filter(|(_, comment)| !gone(comment.id)).chain(live).collect();
        // By place, each sender's comments keep their order.
        all.sort_by_key(|(position, _)| *position);
        for (position, comment) in all {
            self.insert(position, comment);
        }
        self.evict();
    }

    /// Deletes a comment and remembers that, so that it does not come in later. Whether it was here.
    pub fn remove(&mut self, id: Snowflake, now_ms: i64) -> bool {
        self.tombstones.forget_before(now_ms.saturating_sub(TOMBSTONE_MS));
        self.tombstones.insert(id, (), now_ms);
        let at = self.comments.iter().rposition(|held| held.comment.id == id);
        at.and_then(|at| self.comments.remove(at)).is_some()
    }

    /// Whether it passed through here lately and was not deleted.
    #[must_use]
    pub fn knows(&self, id: Snowflake) -> bool {
        self.places.contains(id) && !self.tombstones.contains(id)
    }

    /// Whether this comment, which the store has, never came. What may have come and be forgotten counts as come.
    #[must_use]
    pub fn lacks(&self, position: u64, id: Snowflake) -> bool {
        let certain = self.known_after.is_some_and(|known_after| position > known_after.max(self.forgotten));
        certain && self.is_unknown(id)
    }

    /// The place after which it can tell what never came.
    #[must_use]
    pub fn certain_after(&self) -> u64 {
        self.known_after.unwrap_or(u64::MAX).max(self.forgotten)
    }

    /// The start of a reader who has seen this comment and all that was given before it, and the comment's place; also
    /// for a while after it was deleted or left the ring.
    #[must_use]
    pub fn start_after(&self, id: Snowflake) -> Option<(Start, u64)> {
        let Place { arrival, position } = self.places.get(id)?;
        let here = Start::after_arrival(arrival);
        let start = if self.reread_ms == 0 { here } else { Start { floor: self.earlier(position), ..here } };
        Some((start, position))
    }

    /// The start of a reader whose last comment is not known here but has this place.
    #[must_use]
    pub fn start_at(&self, position: u64) -> Start {
        Start { arrival: self.arrived, position, floor: self.earlier(position) }
    }

    /// The number of the last arrival: where a reader goes on who was given everything here.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// From which place on a reader is to be given again what it may not have been given elsewhere.
    #[must_use]
    pub fn earlier(&self, position: u64) -> u64 {
        if self.reread_ms == 0 { position } else { stamp::earlier(position, self.reread_ms) }
    }

    /// Whether everything is here that a reader is to be given and that is not deleted.
    #[must_use]
    pub fn covers(&self, start: &Start) -> bool {
        let complete =
            self.known_after.is_some_and(|known_after| start.floor >= known_after.max(self.evicted.position));
        complete && start.arrival >= self.evicted.arrival
    }

    /// What a reader is given, in the order of arrival, but for the last `pending` arrivals.
    pub fn after(&self, start: Start, pending: usize) -> impl DoubleEndedIterator<Item = Given<'_>> {
        let shown = self.comments.len().saturating_sub(pending);
        let by_arrival = start == Start::after_arrival(start.arrival);
        let from = if by_arrival { self.index_after(start.arrival) } else { 0 };
        let given = move |held: &Held| start.gives(held.place);
        self.comments.range(from.min(shown)..shown).filter(move |held| given(held)).map(move |held| Given {
            comment: &held.comment,
            arrival: held.place.arrival,
            position: held.place.position,
            is_new: start.is_new(held.place),
        })
    }

    /// All comments but the last `pending` arrivals, in the order of arrival.
    pub fn shown(&self, pending: usize) -> impl DoubleEndedIterator<Item = &Arc<Comment>> {
        self.comments.range(..self.comments.len().saturating_sub(pending)).map(|held| &held.comment)
    }

    /// The ids of what it holds.
    #[must_use]
    pub fn ids(&self) -> Vec<Snowflake> {
        self.comments.iter().map(|held| held.comment.id).collect()
    }

    /// The newest `n` comments, oldest first.
    #[must_use]
    pub fn newest(&self, n: usize) -> Vec<Arc<Comment>> {
        let from = self.comments.len().saturating_sub(n);
        self.comments.range(from..).map(|held| held.comment.clone()).collect()
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

    fn is_unknown(&self, id: Snowflake) -> bool {
        !self.places.contains(id) && !self.tombstones.contains(id)
    }

    fn insert(&mut self, position: u64, comment: Arc<Comment>) {
        self.arrived += 1;
        self.highest = self.highest.max(position);
        let place = Place { arrival: self.arrived, position };
        if let Some(lost) = self.places.insert(comment.id, place, 0) {
            self.forgotten = self.forgotten.max(lost.position);
        }
        self.comments.push_back(Held { place, comment });
    }

    fn evict(&mut self) {
        let old = stamp::earlier(self.highest, self.reread_ms * 2);
        while self.comments.len() > self.capacity
            && let Some(oldest) = self.comments.front()
            && (self.reread_ms == 0 || oldest.place.position < old || self.comments.len() > YOUNG_MAX)
        {
            self.evicted.arrival = self.evicted.arrival.max(oldest.place.arrival);
            self.evicted.position = self.evicted.position.max(oldest.place.position);
            self.comments.pop_front();
        }
    }

    fn index_after(&self, arrival: u64) -> usize {
        self.comments.partition_point(|held| held.place.arrival <= arrival)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

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
        let mut ring = Ring::new(capacity, 0);
        for position in positions {
            assert!(push(&mut ring, position));
        }
        ring
    }

    fn given(ring: &Ring, start: Start) -> Vec<u64> {
        ring.after(start, 0).map(|given| given.comment.id.0).collect()
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
    fn a_deletion_wins_even_when_it_comes_first() {
        let mut ring = filled(3, [10, 20]);
        assert!(ring.remove(id(20), 0) && !ring.remove(id(20), 0));
        assert!(!ring.remove(id(30), 0) && !push(&mut ring, 30));
        assert!(!push(&mut ring, 20));
        ring.prefill(vec![at(5), at(20), at(30)]);
        assert_eq!(ids(&ring.newest(9)), [1_005, 1_010]);
        assert!(!ring.knows(id(20)) && ring.knows(id(10)));
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

    /// A place `ms` after the beginning, stamped by a node.
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
        let (start, place) = ring.start_after(Snowflake(60_002)).expect("here");
        let told: Vec<_> = ring.after(start, 0).map(|given| (given.comment.id.0, given.is_new)).collect();
        assert_eq!(told, [(65_001, false), (70_001, true), (69_002, true)]);
        let here = Start::after_arrival(ring.arrived());
        assert!(ring.covers(&start) && given(&ring, here).is_empty());
        assert_eq!(ring.after(ring.start_at(place), 2).map(|given| given.is_new).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn it_can_tell_what_never_came() {
        let mut ring = Ring::new(3, 5_000);
        let (first, second) = (stamped(1_000, 1), stamped(2_000, 2));
        assert!(!ring.lacks(first.0, first.1.id), "it is not warm");
        ring.prefill(vec![]);
        ring.push(second.0, second.1.clone());
        assert!(ring.lacks(first.0, first.1.id) && !ring.lacks(second.0, second.1.id));
        ring.remove(first.1.id, 0);
        assert!(!ring.lacks(first.0, first.1.id), "it is deleted");
        let here = Start::after_arrival(ring.arrived());
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
        /// the ring says it covers, it has, by place and by arrival.
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
