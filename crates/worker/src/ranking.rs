//! Who said and gave most in one live session.
//!
//! Owned by the room worker, one per session; it begins empty when a session starts. Never reads a clock, never
//! pushes: the worker takes a [`Ranking::snapshot`] as often as it likes and sends it when it is another one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use model::{RankingEntry, UserId};

/// Places anybody can ask for.
pub const PLACES_MAX: usize = 10_000;
/// Users one session's ranking remembers, about 200 bytes each.
pub const USERS_MAX: usize = 1_000_000;
/// Sizes of snapshot kept fresh at once: one for viewers, one for readers, and room for a change of mind.
const SNAPSHOTS_MAX: usize = 4;

/// Scores of one session's users, best first; equal scores by who reached them first.
///
/// Bounded at [`USERS_MAX`]. When full, a newcomer takes the place of the user who has stood longest at the lowest
/// score, who is the least likely to speak again; newcomers among themselves therefore last long enough to rise.
/// A newcomer whose first points are below even the lowest score is not counted. The places that anybody can
/// see are exact in any session of fewer than a million speakers, and practically exact beyond.
#[derive(Debug)]
pub struct Ranking {
    places: BTreeSet<Place>,
    slots: AHashMap<UserId, u32>,
    /// By slot. A displaced or removed user's slot goes to a newcomer.
    users: Vec<User>,
    users_max: usize,
    /// Counts the changes; also the time by which equal scores are ordered.
    version: u64,
    snapshots: Vec<Snapshot>,
    /// Slots of removed users, for newcomers.
    free: Vec<u32>,
}

#[derive(Debug)]
struct User {
    user_id: UserId,
    username: Arc<str>,
    place: Place,
}

/// The order of the ranking: the field order is the sort order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    score: Reverse<u64>,
    /// The version at which the score was reached.
    reached: u64,
    slot: u32,
}

/// The first `size` places as they were when last asked for.
#[derive(Debug)]
struct Snapshot {
    size: usize,
    /// The last place it holds; `None` while fewer than `size` users are ranked, when every change touches it.
    last: Option<Place>,
    stale: bool,
    entries: Arc<[RankingEntry]>,
}

impl Default for Ranking {
    fn default() -> Self {
        Self::with_users_max(USERS_MAX)
    }
}

impl Ranking {
    /// An empty ranking.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with_users_max(users_max: usize) -> Self {
        Self {
            places: BTreeSet::new(),
            slots: AHashMap::new(),
            users: Vec::new(),
            users_max,
            version: 0,
            snapshots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Adds points to a user's score and takes over the shown name. O(log n).
    ///
    /// Zero points change nothing. A score that would overflow stays at its largest value.
    pub fn add(&mut self, user_id: &UserId, username: &str, points: u64) {
        if points == 0 {
            return;
        }
        match self.slots.get(user_id) {
            Some(&slot) => self.raise(slot, username, points),
            None => self.admit(user_id, username, points),
        }
    }

    /// Removes a user with score and name.
    pub fn remove(&mut self, user_id: &UserId) {
        let Some(slot) = self.slots.remove(user_id) else { return };
        let Some(user) = self.users.get_mut(slot as usize) else { return };
        let place = user.place;
        user.username = "".into();
        self.places.remove(&place);
        self.free.push(slot);
        self.version += 1;
        self.touch(place);
    }

    /// The first `n` places, at most [`PLACES_MAX`], best first. O(n), no sort.
    #[must_use]
    pub fn top(&self, n: usize) -> Arc<[RankingEntry]> {
        let size = n.min(PLACES_MAX).min(self.places.len());
        let mut entries = Vec::with_capacity(size);
        for (place, rank) in self.places.iter().take(size).zip(1..) {
            let Some(user) = self.users.get(place.slot as usize) else { continue };
            let (user_id, username) = (user.user_id.clone(), user.username.clone());
            entries.push(RankingEntry { rank, user_id, username, score: place.score.0 });
        }
        entries.into()
    }

    /// The first `n` places; the very same `Arc` as last time unless one of these places changed, so `Arc::ptr_eq`
    /// tells whether there is something to push.
    ///
    /// The last four sizes asked for are kept fresh. Ask for few sizes and cut smaller ones from a larger one.
    pub fn snapshot(&mut self, n: usize) -> Arc<[RankingEntry]> {
        let kept = self.snapshots.iter().position(|snapshot| snapshot.size == n);
        let fresh = kept.and_then(|at| self.snapshots.get(at)).filter(|snapshot| !snapshot.stale);
        if let Some(snapshot) = fresh {
            return snapshot.entries.clone();
        }
        let entries = self.top(n);
        if let Some(at) = kept.or((self.snapshots.len() == SNAPSHOTS_MAX).then_some(0)) {
            self.snapshots.remove(at);
        }
        let last = self.last_of(&entries, n);
        self.snapshots.push(Snapshot { size: n, last, stale: false, entries: entries.clone() });
        entries
    }

    /// A user's score, if it is counted.
    #[must_use]
    pub fn score_of(&self, user_id: &UserId) -> Option<u64> {
        let slot = *self.slots.get(user_id)?;
        Some(self.users.get(slot as usize)?.place.score.0)
    }

    /// Users counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody is counted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Rises with every change of any score: while it stands still no snapshot can have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    fn raise(&mut self, slot: u32, username: &str, points: u64) {
        let Some(user) = self.users.get_mut(slot as usize) else { return };
        self.version += 1;
        let score = user.place.score.0.saturating_add(points);
        let place = Place { score: Reverse(score), reached: self.version, slot };
        self.places.remove(&user.place);
        user.place = place;
        if *user.username != *username {
            user.username = username.into();
        }
        self.places.insert(place);
        self.touch(place);
    }

    fn admit(&mut self, user_id: &UserId, username: &str, points: u64) {
        let Some(slot) = self.free_slot(points) else { return };
        self.version += 1;
        let place = Place { score: Reverse(points), reached: self.version, slot };
        let user = User { user_id: user_id.clone(), username: username.into(), place };
        match self.users.get_mut(slot as usize) {
            Some(displaced) => *displaced = user,
            None => self.users.push(user),
        }
        self.slots.insert(user_id.clone(), slot);
        self.places.insert(place);
        self.touch(place);
    }

    /// The next unused slot, or when full that of the user to displace; `None` when `points` do not suffice for it.
    fn free_slot(&mut self, points: u64) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.users.len() < self.users_max {
            return u32::try_from(self.users.len()).ok();
        }
        let lowest = self.places.last()?.score;
        let first_of_lowest = Place { score: lowest, reached: 0, slot: 0 };
        let displaced = *self.places.range(first_of_lowest..).next()?;
        if points < lowest.0 {
            return None;
        }
        self.slots.remove(&self.users.get(displaced.slot as usize)?.user_id);
        self.places.remove(&displaced);
        self.touch(displaced);
        Some(displaced.slot)
    }

    /// Marks the snapshots that `place` is or was in. Scores only rise, so whoever left a better place for a
    /// worse one does not exist, and the new place alone says whether a snapshot changed.
    fn touch(&mut self, place: Place) {
        for snapshot in &mut self.snapshots {
            snapshot.stale |= snapshot.last.is_none_or(|last| place <= last);
        }
    }

    fn last_of(&self, entries: &[RankingEntry], size: usize) -> Option<Place> {
        let last = entries.last().filter(|_| entries.len() == size.min(PLACES_MAX))?;
        let slot = *self.slots.get(&last.user_id)?;
        self.users.get(slot as usize).map(|user| user.place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(n: u32) -> UserId {
        UserId::new(&format!("u{n}")).expect("an id")
    }

    fn ranked(entries: &[RankingEntry]) -> Vec<(u32, String, u64)> {
        entries.iter().map(|e| (e.rank, e.user_id.to_string(), e.score)).collect()
    }

    /// The rule written plainly: (score, time it was reached, user), sorted whole each time.
    #[derive(Default)]
    struct Naive(Vec<(u64, usize, u32)>);

    impl Naive {
        fn add(&mut self, n: u32, points: u64, now: usize) {
            let at = self.0.iter().position(|&(_, _, of)| of == n);
            let score = at.map_or(0, |at| self.0.swap_remove(at).0) + points;
            self.0.push((score, now, n));
            self.0.sort_by_key(|&(score, reached, _)| (Reverse(score), reached));
        }

        fn top(&self, size: usize) -> Vec<(u32, String, u64)> {
            let line = |(&(score, _, n), rank)| (rank, format!("u{n}"), score);
            self.0.iter().take(size).zip(1..).map(line).collect()
        }
    }

    proptest! {
        #[test]
        fn it_equals_a_plain_sort(adds in prop::collection::vec((0..30u32, 1..6u64, 0..12usize), 1..200)) {
            let (mut ranking, mut naive) = (Ranking::new(), Naive::default());
            for (now, (n, points, size)) in adds.into_iter().enumerate() {
                ranking.add(&user(n), "name", points);
                naive.add(n, points, now);
                prop_assert_eq!(ranked(&ranking.snapshot(size)), naive.top(size));
                prop_assert_eq!(ranked(&ranking.top(size)), naive.top(size));
                prop_assert_eq!(ranking.len(), naive.0.len());
                let score = naive.0.iter().find(|line| line.2 == n).map(|line| line.0);
                prop_assert_eq!(ranking.score_of(&user(n)), score);
            }
        }

        #[test]
        fn a_snapshot_is_another_one_exactly_when_its_places_changed(
            adds in prop::collection::vec((0..20u32, 1..4u64), 1..200),
        ) {
            let mut ranking = Ranking::new();
            for (n, points) in adds {
                let before = ranking.snapshot(5);
                ranking.add(&user(n), "name", points);
                let after = ranking.snapshot(5);
                prop_assert_eq!(Arc::ptr_eq(&before, &after), before == after);
            }
        }

        #[test]
        fn a_full_ranking_stays_bounded_and_consistent(
            adds in prop::collection::vec((0..40u32, 1..9u64), 1..300),
        ) {
            let mut ranking = Ranking::with_users_max(8);
            for (n, points) in adds {
                ranking.add(&user(n), "name", points);
                prop_assert!(ranking.len() <= 8);
                prop_assert_eq!(ranking.slots.len(), ranking.len());
                prop_assert_eq!(ranking.snapshot(8), ranking.top(8));
                for entry in ranking.top(8).iter() {
                    prop_assert_eq!(ranking.score_of(&entry.user_id), Some(entry.score));
                }
            }
        }
    }

    #[test]
    fn a_full_ranking_gives_up_whoever_stood_longest_at_the_lowest_score() {
        let mut ranking = Ranking::with_users_max(3);
        for (n, points) in [(1, 5), (2, 2), (3, 2), (4, 1), (5, 2), (3, 1)] {
            ranking.add(&user(n), "name", points);
        }
        let scores = [1, 2, 3, 4, 5].map(|n| ranking.score_of(&user(n)));
        assert_eq!(scores, [Some(5), None, Some(3), None, Some(2)]);
    }

    #[test]
    fn a_removed_user_leaves_every_snapshot_and_begins_anew() {
        let mut ranking = Ranking::with_users_max(3);
        for (n, points) in [(1, 5), (2, 3), (3, 1)] {
            ranking.add(&user(n), "name", points);
        }
        let (one, all) = (ranking.snapshot(1), ranking.snapshot(10));
        ranking.remove(&user(2));
        ranking.remove(&user(2));
        assert!(Arc::ptr_eq(&one, &ranking.snapshot(1)), "the first place is as it was");
        assert_ne!(all, ranking.snapshot(10));
        assert_eq!(ranked(&ranking.snapshot(10)), [(1, "u1".into(), 5), (2, "u3".into(), 1)]);
        ranking.add(&user(4), "name", 2);
        ranking.add(&user(2), "name", 1);
        let scores = [1, 2, 3, 4].map(|n| ranking.score_of(&user(n)));
        assert_eq!(scores, [Some(5), Some(1), None, Some(2)], "full again, it gives up the lowest");
    }

    #[test]
    fn nothing_given_changes_nothing_and_scores_never_wrap() {
        let mut ranking = Ranking::new();
        ranking.add(&user(1), "name", 0);
        assert_eq!((ranking.len(), ranking.version()), (0, 0));
        ranking.add(&user(1), "name", u64::MAX);
        ranking.add(&user(1), "renamed", 1);
        assert_eq!(ranking.score_of(&user(1)), Some(u64::MAX));
        assert_eq!(&*ranking.top(1)[0].username, "renamed");
    }

    #[test]
    fn more_sizes_than_are_kept_are_still_right() {
        let mut ranking = Ranking::new();
        for n in 0..20 {
            ranking.add(&user(n), "name", u64::from(n) + 1);
            for size in 0..10 {
                assert_eq!(ranking.snapshot(size), ranking.top(size));
            }
        }
    }
}
