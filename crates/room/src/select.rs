//! Which comments of a batch a stream is given when its budget does not hold them all.
//!
//! Called once per stream and batch, after merging. A viewer's own comments and mentions are not its
//! concern: the gateway adds them for each viewer. Never counts time; `budget` says how many.

use model::Level;

use crate::merge::Kept;

/// How early a comment is chosen, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The house: the room's owner and admins.
    Owner,
    /// Moderators.
    Moderator,
    /// VIPs.
    Vip,
    /// Everyone else.
    Normal,
}

/// The classes that are preferred to [`Class::Normal`], in order.
pub const PREFERRED: [Class; 3] = [Class::Owner, Class::Moderator, Class::Vip];

impl Class {
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

/// How many of the batch are of each of the [`PREFERRED`] classes.
#[must_use]
pub fn preferred(batch: &[Kept]) -> [usize; PREFERRED.len()] {
    PREFERRED.map(|class| members(batch, class))
}

/// The indices, rising, of the comments that a stream is given: exactly `budget` of them, or all.
///
/// Whole classes first. Of the class that does not fit whole, every (m / r)-th comment, where r of m fit, counted from
/// a start that `salt` sets: systematic sampling (Madow & Madow, 1944). It is spread evenly over the batch,
/// and over all salts each comment of the class has the same chance, r / m. Two salts that lie apart choose different
/// comments; see [`salt`].
#[must_use]
pub fn select(batch: &[Kept], budget: usize, salt: u64) -> Vec<usize> {
    if batch.len() <= budget {
        return (0..batch.len()).collect();
    }
    let (cut, room) = cut(batch, budget);
    let members = members(batch, cut);
    // Bresenham's line of slope room / members: wherever it starts, it steps up exactly `room` times.
    let mut height = scale(salt, members);
    let mut chosen = Vec::with_capacity(budget);
    for (index, kept) in batch.iter().enumerate() {
        let class = class(kept);
        if class < cut {
            chosen.push(index);
        } else if class == cut {
            height += room;
            if height >= members {
                height -= members;
                chosen.push(index);
            }
        }
    }
    chosen
}

/// The salt of one reader group for one batch.
///
/// The groups' salts lie evenly apart, so that their samples differ as much as they can: while a class has room for
/// every group's share, no comment is given to two of them. `batch`, its position or number, turns the start
/// (multiplicative hashing, Knuth vol. 3, 6.4), so that nobody is left out for always arriving in the same place.
#[must_use]
pub fn salt(batch: u64, group: u16, groups: u16) -> u64 {
    let apart = u64::MAX / u64::from(groups.max(1));
    batch.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(apart.wrapping_mul(u64::from(group)))
}

/// The first class that does not fit whole, and how many of it do.
fn cut(batch: &[Kept], budget: usize) -> (Class, usize) {
    let mut room = budget;
    for (class, members) in PREFERRED.into_iter().zip(preferred(batch)) {
        if members > room {
            return (class, room);
        }
        room -= members;
    }
    (Class::Normal, room)
}

fn members(batch: &[Kept], class: Class) -> usize {
    batch.iter().filter(|kept| self::class(kept) == class).count()
}

fn class(kept: &Kept) -> Class {
    Class::of(kept.comment.level)
}

/// `salt` as a share of its range, of `n`: evenly 0 to n - 1.
fn scale(salt: u64, n: usize) -> usize {
    ((u128::from(salt) * n as u128) >> u64::BITS) as usize
}

#[cfg(test)]
mod tests {
    use model::Mode;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::spoken;

    fn batch(levels: &[Level]) -> Vec<Kept> {
        let comments = levels.iter().zip(1..).map(|(&level, id)| spoken(id, level, Mode::Scroll));
        comments.map(|comment| Kept { comment, count: 1 }).collect()
    }

    fn levels() -> impl Strategy<Value = Vec<Level>> {
        use Level::{Admin, Moderator, Normal, Owner, Vip};
        let above = prop::sample::select(vec![Vip, Vip, Moderator, Owner, Admin]);
        let level = prop_oneof![8 => Just(Normal), 5 => above];
        prop::collection::vec(level, 0..130)
    }

    /// A salt for each possible start of a sample of a class of `members`.
    fn starts(members: usize) -> impl Iterator<Item = u64> {
        let step = (1u128 << u64::BITS) / members as u128 + 1;
        (0..members as u128).map(move |start| u64::try_from(start * step).expect("below 2^64"))
    }

    proptest! {
        #[test]
        fn the_budget_is_used_whole_and_the_order_stays(levels in levels(), budget in 0..140usize, salt: u64) {
            let chosen = select(&batch(&levels), budget, salt);
            prop_assert_eq!(chosen.len(), budget.min(levels.len()));
            prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            prop_assert!(chosen.iter().all(|&index| index < levels.len()));
        }

        #[test]
        fn no_class_is_kept_while_a_higher_one_is_cut(levels in levels(), budget in 0..140usize, salt: u64) {
            let chosen = select(&batch(&levels), budget, salt);
            let class = |index: usize| Class::of(levels[index]);
            let lowest_kept = chosen.iter().map(|&index| class(index)).max();
            let highest_left_out = (0..levels.len()).filter(|index| !chosen.contains(index)).map(class).min();
            prop_assert!(lowest_kept.zip(highest_left_out).is_none_or(|(kept, left_out)| kept <= left_out));
        }

        #[test]
        fn within_a_class_each_has_the_same_chance(members in 1..80usize, budget in 0..80usize, owners in 0..3usize) {
            let mut levels = vec![Level::Normal; members];
            levels.splice(members / 2..members / 2, vec![Level::Owner; owners]);
            let batch = batch(&levels);
            let mut times = vec![0; levels.len()];
            for salt in starts(members) {
                select(&batch, budget, salt).into_iter().for_each(|index| times[index] += 1);
            }
            let room = budget.saturating_sub(owners).min(members);
            let normal = times.iter().zip(&levels).filter(|(_, level)| **level == Level::Normal);
            prop_assert!(normal.map(|(times, _)| *times).all(|times| times == room));
        }

        #[test]
        fn a_sample_is_spread_evenly(
            (members, room) in (1..200usize).prop_flat_map(|members| (Just(members), 1..=members)),
            salt: u64,
        ) {
            let chosen = select(&batch(&vec![Level::Normal; members]), room, salt);
            let far = members / room..=members.div_ceil(room);
            prop_assert!(chosen.windows(2).all(|pair| far.contains(&(pair[1] - pair[0]))));
        }

        #[test]
        fn reader_groups_are_given_different_comments(
            sequence: u64,
            groups in 1..9u16,
            room in 1..12usize,
            spare in 0..9usize,
        ) {
            // One more for each group than it has room for, because the groups' starts are rounded to whole comments.
            let members = usize::from(groups) * (room + 1) + spare;
            let batch = batch(&vec![Level::Normal; members]);
            let mut given = vec![0; members];
            for group in 0..groups {
                select(&batch, room, salt(sequence, group, groups)).into_iter().for_each(|index| given[index] += 1);
            }
            prop_assert!(given.iter().all(|&groups| groups <= 1));
        }
    }

    #[test]
    fn over_many_batches_each_has_about_the_same_chance() {
        for (members, room) in [(20, 2), (7, 3), (2, 1), (100, 20)] {
            let batch = batch(&vec![Level::Normal; members]);
            let mut times = vec![0; members];
            for sequence in 0..2_000 {
                select(&batch, room, salt(sequence, 1, 3)).into_iter().for_each(|index| times[index] += 1);
            }
            let fair = 2_000 * room / members;
            assert!(times.iter().all(|&times| fair.abs_diff(times) < fair / 10), "{room} of {members}: {times:?}");
        }
    }

    #[test]
    fn those_above_normal_are_counted() {
        use Level::{Admin, Moderator, Normal, Owner, Vip};
        assert_eq!(preferred(&batch(&[Normal, Vip, Owner, Normal, Admin, Moderator, Vip])), [2, 1, 2]);
    }
}
