//! How many comments a second a stream is given.
//!
//! Owned by a room's [streams](crate::stream::Streams), one budget per tier and filter. A token bucket in whole numbers, so
//! that nothing drifts. Never reads a clock and never chooses comments: [`crate::select`] does.

use crate::select::{Class, Counts, Share};

/// The rates of streams, in comments a second: few, so that many viewers share each stream and its frames.
pub const TIERS: [u32; 6] = [5, 10, 20, 50, 100, 200];

/// The tier of a viewer who asks for at most `max_per_s`: the largest that is not above it, or else the lowest.
/// `None` for 0: events only.
#[must_use]
pub fn tier(max_per_s: u32) -> Option<u32> {
    let [lowest, ..] = TIERS;
    let fitting = TIERS.into_iter().rev().find(|tier| *tier <= max_per_s);
    (max_per_s > 0).then(|| fitting.unwrap_or(lowest))
}

/// A token bucket that holds one second's worth for everybody: in any t seconds at most rate × t + rate normal comments.
///
/// It holds more, as a reserve for preferred classes. The owner's class leaves nothing to others; each class after it
/// leaves a sixth of a second's worth more, at least one comment. Without the reserve a busy room's ordinary comments
/// would spend each token as it drips in, and the owner would find the bucket empty.
#[derive(Debug, Clone)]
pub struct Budget {
    per_s: u64,
    /// Thousandths of a comment, so that one millisecond adds exactly `per_s` of them.
    tokens_milli: u64,
    /// What each class may still be given of other reader groups' samples, in thousandths. Every comment of the class takes
    /// from it, so it is empty while the class comes faster than the rate.
    spare_milli: [u64; Class::COUNT],
    refilled_ms: i64,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(per_s: u32, now_ms: i64) -> Self {
        let mut budget =
            Self { per_s: u64::from(per_s), tokens_milli: 0, spare_milli: [0; Class::COUNT], refilled_ms: now_ms };
        budget.tokens_milli = budget.full_milli();
        budget.spare_milli = [budget.spare_full_milli(); Class::COUNT];
        budget
    }

    fn full_milli(&self) -> u64 {
        self.per_s * 1_000 + self.left_milli(Class::Normal as usize)
    }

    /// An eighth of a second's worth: so much of a sudden flood all groups are given before each keeps to its sample.
    fn spare_full_milli(&self) -> u64 {
        (self.per_s * 1_000 / 8).max(2_000)
    }

    /// What the class with this number, from 0, leaves to the classes before it.
    fn left_milli(&self, class: usize) -> u64 {
        class as u64 * (self.per_s * 1_000 / 6).max(1_000)
    }

    /// Spends tokens on as many of the `wanted` comments as may be given now, and returns how many of each class and share.
    /// A class's own comments go before those of other groups. Once a class is cut for want of tokens, those after it get
    /// nothing. The owner's class is for all groups alike.
    ///
    /// A clock that steps back adds nothing and takes nothing.
    pub fn spend(&mut self, now_ms: i64, wanted: Counts) -> Counts {
        self.refill(now_ms);
        let mut allowed = Counts::default();
        for (class, (wanted, allowed)) in wanted.into_iter().zip(&mut allowed).enumerate() {
            let own = self.spend_class(class, wanted.own);
            self.spare_milli[class] = self.spare_milli[class].saturating_sub(own as u64 * 1_000);
            let spare =
                if class == Class::Owner as usize { usize::MAX } else { self.spare_milli[class] as usize / 1_000 };
            let others = self.spend_class(class, wanted.others.min(spare));
            self.spare_milli[class] = self.spare_milli[class].saturating_sub(others as u64 * 1_000);
            *allowed = Share { own, others };
        }
        allowed
    }

    /// Spends what the class with this number, from 0, may have.
    fn spend_class(&mut self, class: usize, wanted: usize) -> usize {
        let free_milli = self.tokens_milli.saturating_sub(self.left_milli(class));
        let allowed = (wanted as u64).min(free_milli / 1_000);
        self.tokens_milli -= allowed * 1_000;
        allowed as usize
    }

    fn refill(&mut self, now_ms: i64) {
        let passed_ms = now_ms.saturating_sub(self.refilled_ms).max(0).unsigned_abs();
        let filled = self.tokens_milli.saturating_add(passed_ms.saturating_mul(self.per_s));
        self.tokens_milli = filled.min(self.full_milli());
        let spare_full_milli = self.spare_full_milli();
        for spare_milli in &mut self.spare_milli {
            *spare_milli = spare_milli.saturating_add(passed_ms.saturating_mul(self.per_s)).min(spare_full_milli);
        }
        self.refilled_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_count_down_to_a_tier() {
        let cases = [(0, None), (1, Some(5)), (5, Some(5)), (9, Some(5)), (10, Some(10)), (49, Some(20))];
        for (max_per_s, expected) in cases {
            assert_eq!(tier(max_per_s), expected, "{max_per_s}");
        }
        assert_eq!([100, 199, 200, u32::MAX].map(tier), [Some(100), Some(100), Some(200), Some(200)]);
    }

    /// Wants so many of each class, normal last, in a room without reader groups.
    fn take(budget: &mut Budget, now_ms: i64, by_class: [usize; 4]) -> usize {
        let allowed = budget.spend(now_ms, by_class.map(|own| Share { own, others: 0 }));
        allowed.iter().map(|share| share.sum()).sum()
    }

    /// Wants one comment of the group's own or of another's, and says whether it was given.
    fn one(budget: &mut Budget, now_ms: i64, class: Class, own: bool) -> bool {
        let mut wanted = Counts::default();
        wanted[class as usize] = Share { own: usize::from(own), others: usize::from(!own) };
        budget.spend(now_ms, wanted) == wanted
    }

    #[test]
    fn a_flood_leaves_nothing_for_other_groups_comments_and_less_than_the_rate_all() {
        for class in [Class::Moderator, Class::Vip, Class::Normal] {
            let mut budget = Budget::new(20, 0);
            let others = (0..400).filter(|n| one(&mut budget, n * 5 / 2, class, n % 2 == 0) && n % 2 == 1).count();
            assert!(others <= 2, "{others} of the other group's {class:?}");
            let mut budget = Budget::new(20, 0);
            assert!((0..400).all(|n| one(&mut budget, n * 60, class, n % 2 == 0)), "16 a second are all given");
        }
        let mut budget = Budget::new(20, 0);
        let given = (0..300).filter(|n| one(&mut budget, 20_000 + n * 33, Class::Normal, n % 2 == 0)).count();
        assert!((200..230).contains(&given), "{given} of 300 in 10 s: the rest of the budget is used for the others'");
    }

    #[test]
    fn the_owner_is_for_all_groups() {
        let mut budget = Budget::new(20, 0);
        for n in 0..400 {
            one(&mut budget, n * 5, Class::Normal, true);
            assert!(n % 40 > 0 || one(&mut budget, n * 5, Class::Owner, false), "at {n}");
        }
    }

    fn by_class() -> impl Strategy<Value = [usize; 4]> {
        [0..20usize, 0..20usize, 0..20usize, 0..60usize]
    }

    proptest! {
        #[test]
        fn in_any_time_no_more_than_the_rate_and_a_full_bucket(
            takes in prop::collection::vec((0..700i64, by_class()), 1..150),
            tier in prop::sample::select(&TIERS),
        ) {
            let mut budget = Budget::new(tier, 0);
            let (mut now_ms, mut given) = (0, Vec::new());
            for (gap_ms, wanted) in takes {
                now_ms += gap_ms;
                let allowed = take(&mut budget, now_ms, wanted);
                prop_assert!(allowed <= wanted.iter().sum());
                given.push((now_ms, allowed as i64));
            }
            for from in 0..given.len() {
                let mut sum = 0;
                for &(at_ms, allowed) in &given[from..] {
                    sum += allowed;
                    let most = i64::from(tier) * (at_ms - given[from].0 + 1_000) + budget.left_milli(3).cast_signed();
                    prop_assert!(sum * 1_000 <= most);
                }
            }
        }

        #[test]
        fn who_wants_no_more_than_the_rate_gets_it_all(tier in prop::sample::select(&TIERS), seconds in 1..30i64) {
            let mut budget = Budget::new(tier, 0);
            let gap_ms = 1_000 / i64::from(tier);
            prop_assert!((1..seconds * i64::from(tier)).all(|n| take(&mut budget, n * gap_ms, [0, 0, 0, 1]) == 1));
        }

        #[test]
        fn those_before_find_room_however_busy_it_is(
            tier in prop::sample::select(&TIERS),
            ticks in 1..300i64,
            crowd in 1..4usize,
        ) {
            let mut budget = Budget::new(tier, 0);
            let (mut many, mut one) = ([0; 4], [0; 4]);
            many[crowd] = 50;
            one[crowd - 1] = 1;
            for tick in 1..ticks {
                take(&mut budget, tick * 50, many);
            }
            prop_assert_eq!(take(&mut budget, ticks * 50, one), 1);
        }

        #[test]
        fn once_a_class_is_cut_those_after_it_get_nothing(tier in prop::sample::select(&TIERS), wanted in by_class()) {
            let (mut whole, mut one_by_one) = (Budget::new(tier, 0), Budget::new(tier, 0));
            let (mut cut, mut sum) = (false, 0);
            for class in 0..4 {
                let mut only = [0; 4];
                only[class] = wanted[class];
                let allowed = take(&mut one_by_one, 0, only);
                prop_assert!(!cut || allowed == 0);
                cut |= allowed < wanted[class];
                sum += allowed;
            }
            prop_assert_eq!(take(&mut whole, 0, wanted), sum);
        }
    }

    #[test]
    fn a_flood_is_given_the_rate_no_less() {
        for tier in TIERS {
            let mut budget = Budget::new(tier, 0);
            let given: usize = (1..=1_000).map(|tick| take(&mut budget, tick * 50, [0, 0, 0, 500])).sum();
            let rate = given as f64 / 50.0;
            assert!((rate - f64::from(tier)).abs() <= f64::from(tier) * 0.03, "{rate} of {tier}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_neither_gives_nor_starves() {
        let owner = [20, 0, 0, 0];
        let mut budget = Budget::new(10, 1_000_000);
        assert_eq!(take(&mut budget, 1_000_000, owner), 14);
        assert_eq!(take(&mut budget, 0, owner), 0);
        assert_eq!(take(&mut budget, 500, owner), 5);
        assert_eq!(take(&mut budget, i64::MAX, [0, 0, 0, 20]), 10);
        assert_eq!(take(&mut budget, i64::MIN, owner), 4);
    }

    #[test]
    fn a_second_s_worth_is_given_at_once() {
        for tier in TIERS {
            let mut budget = Budget::new(tier, 0);
            assert_eq!(take(&mut budget, 0, [0, 0, 0, tier as usize + 1]), tier as usize);
        }
    }
}
