//! When which comment is due. Moments are planned, never derived from the last sending: a generator
//! or server that falls behind is measured against the plan, so no waiting is hidden (coordinated omission).

use std::sync::Arc;

use model::{Mode, Size};
use serde::{Deserialize, Serialize};

/// What is said, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Load {
    /// Nothing.
    Silent,
    /// So many comments a second, evenly.
    Paced {
        /// Comments a second.
        per_s: f64,
    },
    /// As fast as it goes: the next as soon as fewer than so many are on their way.
    Closed {
        /// Comments on their way.
        in_flight: u64,
    },
    /// These, each at its own moment.
    Recorded(Arc<[Line]>),
}

/// One recorded comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds from the round's start.
    pub due_us: u64,
    /// The text.
    pub content: String,
    /// How it moves.
    pub mode: Mode,
    /// How large it is.
    pub size: Size,
}

/// One sending thread's share of a load: every `of`-th comment from the `first` on.
#[derive(Debug, Clone)]
pub struct Feed {
    load: Load,
    next: u64,
    of: u64,
    until_us: u64,
}

/// What a feed says about its next comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Due at this many microseconds from the start.
    At(u64),
    /// Due as soon as fewer than so many comments are on their way, all threads together.
    Below(u64),
    /// There is none.
    Never,
}

impl Feed {
    /// The share of thread `first` of `of`, until so many microseconds after the start.
    #[must_use]
    pub fn new(load: Load, first: usize, of: usize, until_us: u64) -> Self {
        Self { load, next: first as u64, of: of as u64, until_us }
    }

    /// The next comment's number.
    #[must_use]
    pub fn seq(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    /// How many comments of this share came before the next.
    #[must_use]
    pub fn turn(&self) -> usize {
        usize::try_from(self.next / self.of).unwrap_or(0)
    }

    /// The recorded comment that is next.
    #[must_use]
    pub fn line(&self) -> Option<&Line> {
        let Load::Recorded(lines) = &self.load else { return None };
        lines.get(usize::try_from(self.next).ok()?)
    }

    /// When the next comment is due; `elapsed_us` since the start.
    #[must_use]
    pub fn next(&self, elapsed_us: u64) -> Next {
        let at = match &self.load {
            Load::Silent => return Next::Never,
            Load::Closed { in_flight } if elapsed_us < self.until_us => return Next::Below(*in_flight),
            Load::Closed { .. } => return Next::Never,
            Load::Paced { per_s } => (self.next as f64 * 1e6 / per_s) as u64,
            Load::Recorded(_) => match self.line() {
                Some(line) => line.due_us,
                None => return Next::Never,
            },
        };
        if at < self.until_us { Next::At(at) } else { Next::Never }
    }

    /// The next comment has been sent.
    pub fn advance(&mut self) {
        self.next += self.of;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dues(mut feed: Feed) -> Vec<(u32, u64)> {
        let mut dues = Vec::new();
        while let Next::At(at) = feed.next(0) {
            dues.push((feed.seq(), at));
            feed.advance();
        }
        dues
    }

    proptest! {
        #[test]
        fn threads_share_one_plan(per_s in 1.0..5_000.0_f64, of in 1..5_usize, until_us in 1..2_000_000_u64) {
            let whole = dues(Feed::new(Load::Paced { per_s }, 0, 1, until_us));
            let mut shared: Vec<_> =
                (0..of).flat_map(|first| dues(Feed::new(Load::Paced { per_s }, first, of, until_us))).collect();
            shared.sort_unstable();
            prop_assert_eq!(&whole, &shared);
            let expected = (per_s * until_us as f64 / 1e6).ceil();
            prop_assert!((whole.len() as f64 - expected).abs() <= 1.0);
            prop_assert!(whole.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        }
    }

    #[test]
    fn the_plan_does_not_move_when_time_has_passed() {
        let feed = Feed::new(Load::Paced { per_s: 10.0 }, 3, 4, 1_000_000);
        assert_eq!((feed.next(0), feed.next(900_000)), (Next::At(300_000), Next::At(300_000)));
    }

    #[test]
    fn a_closed_load_ends_with_its_time() {
        let feed = Feed::new(Load::Closed { in_flight: 8 }, 0, 1, 500);
        assert_eq!((feed.next(499), feed.next(500)), (Next::Below(8), Next::Never));
    }
}
