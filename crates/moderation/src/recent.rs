//! The room's last comments, as far as similarity needs them.
//!
//! Owns a bounded memory of one room on one node. Called by `ingest` under no lock of its own: the memory has one, held
//! for microseconds. Keeps hashes, never texts.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// With how many of the room's comments a new one is compared.
pub const SIMILAR_TO_LAST: usize = 50;
/// Texts with fewer folded letters are applause (`666`, `哈哈`), which everybody may repeat.
const LETTERS_MIN: usize = 4;

/// The pairs of neighbouring letters of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shingles {
    /// A bit for each pair, by its hash; different pairs may share one. Tells at once of most texts that they differ.
    bits: u128,
    /// Hashes, sorted.
    pairs: Box<[u32]>,
}

impl Shingles {
    /// Those of a text; `None` when it is too short to compare. Case, width, punctuation and repeated letters do not count.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let letters: Vec<char> = words::normalise(text).chars().collect();
        if letters.len() < LETTERS_MIN {
            return None;
        }
        let mut pairs: Vec<u32> = letters.windows(2).map(hash).collect();
        pairs.sort_unstable();
        let bits = pairs.iter().fold(0, |bits, pair| bits | 1 << (pair >> 25));
        Some(Self { bits, pairs: pairs.into() })
    }

    /// How similar two texts are, 0 to 1: twice the pairs they share by all they have (Dice's coefficient).
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        self.coefficient(other, self.shared(other))
    }

    /// Whether two texts are at least this similar; cheap for those that differ much.
    #[must_use]
    pub fn is_similar(&self, other: &Self, threshold: f64) -> bool {
        self.coefficient(other, self.shared_max(other)) >= threshold && self.similarity(other) >= threshold
    }

    fn coefficient(&self, other: &Self, shared: usize) -> f64 {
        2.0 * shared as f64 / (self.pairs.len() + other.pairs.len()) as f64
    }

    /// How many pairs they share.
    fn shared(&self, other: &Self) -> usize {
        let (mut a, mut b) = (self.pairs.iter().peekable(), other.pairs.iter().peekable());
        let mut shared = 0;
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => drop(a.next()),
                std::cmp::Ordering::Greater => drop(b.next()),
                std::cmp::Ordering::Equal => {
                    shared += 1;
                    a.next();
                    b.next();
                }
            }
        }
        shared
    }

    /// How many they share at most: a bit that only one has stands for at least one pair of it that the other lacks.
    fn shared_max(&self, other: &Self) -> usize {
        let here = self.pairs.len() - (self.bits & !other.bits).count_ones() as usize;
        let there = other.pairs.len() - (other.bits & !self.bits).count_ones() as usize;
        here.min(there)
    }
}

/// Multiplying by an odd number loses nothing and spreads the bits upwards; the upper half is the hash.
fn hash(pair: &[char]) -> u32 {
    let pair = pair.iter().fold(0u64, |pair, c| pair << 32 | u64::from(u32::from(*c)));
    (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// A room's last comments.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Shingles>>);

impl Recent {
    /// Whether one of the last comments is at least this similar.
    #[must_use]
    pub fn has_similar(&self, text: &Shingles, threshold: f64) -> bool {
        let last = self.0.lock();
        last.iter().any(|known| text.is_similar(known, threshold))
    }

    /// Remembers a comment that enters the room.
    pub fn remember(&self, text: Shingles) {
        let mut last = self.0.lock();
        if last.len() >= SIMILAR_TO_LAST {
            last.pop_front();
        }
        last.push_back(text);
    }

    /// Forgets a comment that did not enter after all. What it pushed out stays forgotten.
    pub fn forget(&self, text: &Shingles) {
        let mut last = self.0.lock();
        if let Some(at) = last.iter().rposition(|known| known == text) {
            last.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn similarity(a: &str, b: &str) -> f64 {
        Shingles::of(a).expect("long enough").similarity(&Shingles::of(b).expect("long enough"))
    }

    #[test]
    fn copies_with_small_changes_are_similar_and_other_texts_are_not() {
        assert_eq!(similarity("Buy now!!!", "buy  NOW"), 1.0);
        assert!(similarity("加微信abc123领取福利", "加微信abc124领取福利") > 0.8);
        assert!(similarity("what a goal that was", "the referee is blind") < 0.3);
        assert!(Shingles::of("666666").is_none() && Shingles::of("哈哈哈哈").is_none());
    }

    #[test]
    fn only_the_last_comments_count() {
        let (recent, first) = (Recent::default(), Shingles::of("the first one").expect("long enough"));
        recent.remember(first.clone());
        assert!(recent.has_similar(&first, 0.9));
        for n in 0..SIMILAR_TO_LAST {
            recent.remember(Shingles::of(&format!("{n} {n} other words {n}")).expect("long enough"));
        }
        assert!(!recent.has_similar(&first, 0.9));
        recent.remember(first.clone());
        recent.forget(&first);
        assert!(!recent.has_similar(&first, 0.9));
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_and_one_for_the_same(a in ".{0,60}", b in ".{0,60}") {
            if let (Some(x), Some(y)) = (Shingles::of(&a), Shingles::of(&b)) {
                prop_assert_eq!(x.similarity(&x), 1.0);
                prop_assert_eq!(x.similarity(&y), y.similarity(&x));
            }
        }

        /// Few letters, so that texts are near each other.
        #[test]
        fn the_short_cut_decides_as_the_whole_comparison(a in "[abcd]{0,12}", b in "[abcd]{0,12}", threshold in 0.0..1.0) {
            if let (Some(x), Some(y)) = (Shingles::of(&a), Shingles::of(&b)) {
                prop_assert_eq!(x.is_similar(&y, threshold), x.similarity(&y) >= threshold);
            }
        }
    }
}
