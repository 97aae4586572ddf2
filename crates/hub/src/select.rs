//! Which comments of a batch a stream is given when its budget does not hold them all.
//!
//! [`crate::stream`] calls it once per stream and batch, after merging. The gateway adds a viewer's own comments and
//! mentions afterwards. Never measures time; [`crate::budget`] says how many of each class.
//!
//! Where a room's viewers fall into reader groups, each comment belongs to the sample of one group ([`belongs`]). A group is
//! given its own comments first, and the others' only as long as its budget is not in demand. So the samples differ over any
//! time, however few comments a batch has.

use model::{Level, Snowflake};

/// How early a comment is chosen, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The room's owner, and admins.
    Owner,
    /// Moderators.
    Moderator,
    /// VIPs.
    Vip,
    /// Everyone else.
    Normal,
}

/// A comment that a stream may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its sender's class.
    pub class: Class,
    /// Whether it belongs to the sample of the stream's reader group.
    pub own: bool,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The class of a comment by its sender's level.
    #[must_use]
    pub const fn of(level: Level) -> Self {
        match level {
            Level::Owner | Level::Admin => Self::Owner,
            Level::Moderator => Self::Moderator,
            Level::Vip => Self::Vip,
            Level::Normal => Self::Normal,
        }
    }
}

/// How many of each class, in the order of [`Class`], are of the reader group itself and of the others.
pub type Counts = [Share; Class::COUNT];

/// One class's comments, by whose sample they belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The reader group's own.
    pub own: usize,
    /// Of the other groups.
    pub others: usize,
}

impl Share {
    /// All of them.
    #[must_use]
    pub const fn sum(self) -> usize {
        self.own + self.others
    }
}

/// Whether a comment belongs to the sample of one reader group: by its id alone (multiplicative hashing, Knuth vol. 3,
/// 6.4), so that all nodes agree.
#[must_use]
pub fn belongs(id: Snowflake, group: u16, groups: u16) -> bool {
    let groups = u64::from(groups.max(1));
    let hash = (id.0 ^ id.0 >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (hash * groups) >> 32 == u64::from(group) % groups
}

/// The number of comments of each class in the batch.
#[must_use]
pub fn counts(batch: &[Candidate]) -> Counts {
    let mut counts = Counts::default();
    for candidate in batch {
        let share = &mut counts[candidate.class as usize];
        if candidate.own { share.own += 1 } else { share.others += 1 }
    }
    counts
}

/// The indices, rising, of the comments that a stream is given: exactly `allowed` of each class and share.
///
/// Of m comments of which r are allowed it takes every (m / r)-th, counted from a start that `salt` sets: systematic
/// sampling (Madow & Madow, 1944). It is spread evenly over the batch, and over all salts each comment has the same
/// chance, r / m.
#[must_use]
pub fn select(batch: &[Candidate], allowed: Counts, salt: u64) -> Vec<usize> {
    let wanted = counts(batch);
    // Bresenham's line of slope allowed / wanted: wherever it starts, it steps up exactly `allowed` times.
    let mut heights = wanted.map(|share| Share { own: scale(salt, share.own), others: scale(salt, share.others) });
    let mut chosen = Vec::with_capacity(allowed.iter().map(|share| share.sum()).sum());
    for (index, candidate) in batch.iter().enumerate() {
        let class = candidate.class as usize;
        let (height, allowed, wanted) = if candidate.own {
            (&mut heights[class].own, allowed[class].own, wanted[class].own)
        } else {
            (&mut heights[class].others, allowed[class].others, wanted[class].others)
        };
        *height += allowed;
        if *height >= wanted {
            *height -= wanted;
            chosen.push(index);
        }
    }
    chosen
}

/// The salt of one reader group for one batch: it turns the start (multiplicative hashing, Knuth vol. 3, 6.4), so that
/// nobody is left out for always arriving in the same place. The groups' salts lie evenly apart.
#[must_use]
pub fn salt(batch: u64, group: u16, groups: u16) -> u64 {
    let apart = u64::MAX / u64::from(groups.max(1));
    batch.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(apart.wrapping_mul(u64::from(group)))
}

/// `salt` as a share of its range, of `n`: evenly 0 to n - 1.
fn scale(salt: u64, n: usize) -> usize {
    ((u128::from(salt) * n as u128) >> u64::BITS) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(classes: &[(Class, bool)]) -> Vec<Candidate> {
        classes.iter().map(|&(class, own)| Candidate { class, own }).collect()
    }

    fn classes() -> impl Strategy<Value = Vec<(Class, bool)>> {
        use Class::{Moderator, Normal, Owner, Vip};
        let class = prop_oneof![8 => Just(Normal), 5 => prop::sample::select(vec![Vip, Vip, Moderator, Owner])];
        prop::collection::vec((class, any::<bool>()), 0..130)
    }

    /// A salt for each possible start of a sample of a class of `members`.
    fn starts(members: usize) -> impl Iterator<Item = u64> {
        let step = (1u128 << u64::BITS) / members as u128 + 1;
        (0..members as u128).map(move |start| u64::try_from(start * step).expect("below 2^64"))
    }

    fn own(normal: usize) -> Counts {
        let mut counts = Counts::default();
        counts[Class::Normal as usize].own = normal;
        counts
    }

    proptest! {
        #[test]
        fn exactly_what_is_allowed_is_chosen_in_order(classes in classes(), percent in 0..=100usize, salt: u64) {
            let batch = batch(&classes);
            let part = |n: usize| n * percent / 100;
            let allowed = counts(&batch).map(|share| Share { own: part(share.own), others: part(share.others) });
            let chosen = select(&batch, allowed, salt);
            prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            let chosen: Vec<_> = chosen.into_iter().map(|index| batch[index]).collect();
            prop_assert_eq!(counts(&chosen), allowed);
        }

        #[test]
        fn within_a_class_each_has_the_same_chance(members in 1..80usize, room in 0..80usize) {
            let (batch, room) = (batch(&vec![(Class::Normal, true); members]), room.min(members));
            let mut times = vec![0; members];
            for salt in starts(members) {
                select(&batch, own(room), salt).into_iter().for_each(|index| times[index] += 1);
            }
            prop_assert!(times.into_iter().all(|times| times == room));
        }

        #[test]
        fn a_sample_is_spread_evenly(
            (members, room) in (1..200usize).prop_flat_map(|members| (Just(members), 1..=members)),
            salt: u64,
        ) {
            let chosen = select(&batch(&vec![(Class::Normal, true); members]), own(room), salt);
            let far = members / room..=members.div_ceil(room);
            prop_assert!(chosen.windows(2).all(|pair| far.contains(&(pair[1] - pair[0]))));
        }

        #[test]
        fn a_comment_belongs_to_one_group(id: u64, groups in 1..99u16) {
            prop_assert_eq!((0..groups).filter(|group| belongs(Snowflake(id), *group, groups)).count(), 1);
        }
    }

    #[test]
    fn over_many_batches_each_has_about_the_same_chance() {
        for (members, room) in [(20, 2), (7, 3), (2, 1), (100, 20)] {
            let batch = batch(&vec![(Class::Normal, true); members]);
            let mut times = vec![0; members];
            for sequence in 0..2_000 {
                select(&batch, own(room), salt(sequence, 1, 3)).into_iter().for_each(|index| times[index] += 1);
            }
            let fair = 2_000 * room / members;
            assert!(times.iter().all(|&times| fair.abs_diff(times) < fair / 10), "{room} of {members}: {times:?}");
        }
    }

    #[test]
    fn groups_get_about_equal_shares_of_a_flood_and_of_single_comments() {
        let base = 275_897_962_192_699_392u64;
        for (step, groups) in [(1, 2), (1, 5), (2, 2), (1 << 22, 2), (10 << 22, 4)] {
            for group in 0..groups {
                let ids = (0..1_000).map(|n| Snowflake(base + n * step));
                let share = ids.filter(|id| belongs(*id, group, groups)).count() * usize::from(groups);
                assert!((850..1_150).contains(&share), "{share} of 1000 by {step}, group {group} of {groups}");
            }
        }
    }
}
