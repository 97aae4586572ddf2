//! One list index: an Aho–Corasick automaton over folded letters, and the rules that say when a hit counts.
//!
//! Owns the patterns in one form. Built by `filter` three times (exact, squeezed, lookalike), scanned with every text.
//! Never knows what a list means; it reports every word it finds with the letters it covers.

use daachorse::CharwiseDoubleArrayAhoCorasick;

use crate::fold::{Disguise, Kind};
use crate::letters::{Gap, Letter, Run, Squeezed};

/// Fewest letters of a spaced-script word looked for when every letter stands apart: `b.a.d`, `a s s`.
pub(crate) const SPELLED_MIN: usize = 3;
/// Fewest letters of a spaced-script word looked for when symbols stand only here and there (`fu*ck`), or in disguise.
pub(crate) const BROKEN_MIN: usize = 4;
/// Fewest letters of a dense-script word looked for through symbols: `暴*力`.
pub(crate) const DENSE_MIN: usize = 2;
/// A letter of a spaced script counts as stretched from this many on: `gooood` may be `god`, `good` is not.
const STRETCHED: usize = 3;

/// One word in the form of this index.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// The word's number in the filter.
    pub(crate) word: u32,
    /// All its letters are of scripts that put spaces between words.
    pub(crate) spaced: bool,
    /// It must stand as a word of its own.
    pub(crate) alone: bool,
    /// How many letters and digits it has.
    pub(crate) letters: usize,
    /// How many characters its key has: letters in the exact form, runs in the squeezed ones.
    pub(crate) len: usize,
    /// The length of each run; empty when all are one.
    pub(crate) runs: Box<[u8]>,
    /// Bit i: the word has a space before run i, so any gap will do there.
    pub(crate) spaces: u64,
}

/// A word found: its number, and the original characters it covers.
pub(crate) struct Hit {
    pub(crate) word: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Which words it holds and how to find them.
#[derive(Default)]
pub(crate) struct Index {
    automaton: Option<CharwiseDoubleArrayAhoCorasick<u32>>,
    rules: Vec<Rule>,
    /// Where the rules of key k begin; those of the next key end them.
    first_rule: Vec<u32>,
}

impl Index {
    /// Builds the index of these keys. Several words may share a key (`god` and `good`, squeezed).
    pub(crate) fn build(mut entries: Vec<(String, Rule)>) -> Result<Index, daachorse::errors::DaachorseError> {
        if entries.is_empty() {
            return Ok(Index::default());
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut keys: Vec<(String, u32)> = Vec::with_capacity(entries.len());
        let mut index = Index::default();
        for (at, (key, rule)) in (0u32..).zip(entries) {
            if keys.last().is_none_or(|(last, _)| *last != key) {
                keys.push((key, index.first_rule.len() as u32));
                index.first_rule.push(at);
            }
            index.rules.push(rule);
        }
        index.first_rule.push(index.rules.len() as u32);
        index.automaton = Some(CharwiseDoubleArrayAhoCorasick::with_values(keys)?);
        Ok(index)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Reports words that stand in `letters` as they are. `hit` returns false to stop.
    pub(crate) fn scan(&self, letters: &[Letter], hit: &mut impl FnMut(Hit) -> bool) {
        self.each(letters.iter().map(|l| l.ch), |last, rule| {
            let first = (last + 1).checked_sub(rule.len)?;
            if rule.alone && !stands_alone(letters, first, last) {
                return Some(true);
            }
            Some(hit(Hit { word: rule.word, start: letters.get(first)?.start, end: letters.get(last)?.end }))
        });
    }

    /// Reports words that stand in `text` through inserted symbols and repeated letters; with `disguised`, only those
    /// that have a disguised letter. `hit` returns false to stop.
    pub(crate) fn scan_squeezed(&self, text: &Squeezed, disguised: bool, hit: &mut impl FnMut(Hit) -> bool) {
        self.each(text.runs.iter().map(|r| r.ch), |last, rule| {
            let runs = text.runs.get((last + 1).checked_sub(rule.len)?..=last)?;
            match rule.find(text, runs) {
                Some((first, last)) if !disguised || is_disguised(text.letters.get(first..=last)?) => Some(hit(Hit {
                    word: rule.word,
                    start: text.letters.get(first)?.start,
                    end: text.letters.get(last)?.end,
                })),
                _ => Some(true),
            }
        });
    }

    /// Calls `found` with the position of the last character and the rule of every key that ends there, longest first,
    /// until it returns something else than `Some(true)`.
    fn each(&self, text: impl Iterator<Item = char>, mut found: impl FnMut(usize, &Rule) -> Option<bool>) {
        let Some(automaton) = &self.automaton else {
            return;
        };
        let mut stepper = automaton.find_overlapping_stepper();
        for (at, c) in text.enumerate() {
            stepper.consume(c);
            for key in stepper.matches() {
                for rule in self.rules_of(key.value()) {
                    if found(at, rule) != Some(true) {
                        return;
                    }
                }
            }
        }
    }

    fn rules_of(&self, key: u32) -> &[Rule] {
        let bound = |key: u32| self.first_rule.get(key as usize).map_or(0, |at| *at as usize);
        self.rules.get(bound(key)..bound(key + 1)).unwrap_or_default()
    }
}

impl Rule {
    fn run(&self, i: usize) -> usize {
        self.runs.get(i).map_or(1, |len| usize::from(*len))
    }

    fn has_space_before(&self, i: usize) -> bool {
        self.spaces >> i & 1 == 1
    }

    /// The letters of `text` that are this word, given the runs that spell it; None when they only seem to.
    fn find(&self, text: &Squeezed, runs: &[Run]) -> Option<(usize, usize)> {
        let (first, last) = self.ends(text, runs)?;
        let mut gaps = Gaps::default();
        let mut stretched = true;
        for (i, run) in runs.iter().enumerate() {
            let taken = run.first.max(first)..=(run.first + run.len - 1).min(last);
            stretched &= self.allows_stretch(i, text.letters.get(*taken.start()..=*taken.end())?);
            for at in taken.skip(usize::from(i == 0)) {
                let own_space = at == run.first && self.has_space_before(i);
                gaps.add(text.letters.get(at)?.gap, own_space);
            }
        }
        // Letters far apart are a word only when nothing touches them: `rob a dog` has no `bad` inside.
        let must_stand = self.alone || (self.spaced && gaps.seen != Gap::NONE);
        let alone = !must_stand || stands_alone(&text.letters, first, last);
        (alone && self.allows_gaps(&gaps) && (stretched || gaps.spelled_out())).then_some((first, last))
    }

    /// Where the word begins and ends. In the runs at its ends a dense-script word takes just the letters it needs; a
    /// spaced-script one takes on until something stands between two letters, because there words end.
    fn ends(&self, text: &Squeezed, runs: &[Run]) -> Option<(usize, usize)> {
        let (head, tail) = (runs.first()?, runs.last()?);
        let (head_end, tail_end) = (head.first + head.len, tail.first + tail.len);
        let mut first = head_end.checked_sub(self.run(0)).filter(|first| *first >= head.first)?;
        let mut last = tail.first + self.run(self.len - 1) - 1;
        if runs.len() == 1 {
            (first, last) = (head.first, tail_end - 1);
        }
        if last >= tail_end || head.len < self.run(0) {
            return None;
        }
        if self.spaced && self.alone {
            let touches = |at: usize| text.letters.get(at).is_some_and(|l| l.gap == Gap::NONE);
            while first > head.first && touches(first) {
                first -= 1;
            }
            while last + 1 < tail_end && touches(last + 1) {
                last += 1;
            }
        }
        Some((first, last))
    }

    /// May run `i` of the word be these letters? Dense-script words may have any letter repeated; others only plainly
    /// stretched ones, and never digits.
    fn allows_stretch(&self, i: usize, taken: &[Letter]) -> bool {
        let is_letter = taken.first().is_some_and(|l| l.kind != Kind::Digit || l.disguise == Disguise::Leet);
        match taken.len().cmp(&self.run(i)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater if !self.spaced => true,
            std::cmp::Ordering::Greater => is_letter && self.letters >= SPELLED_MIN && taken.len() >= STRETCHED,
        }
    }

    fn allows_gaps(&self, gaps: &Gaps) -> bool {
        let inserted = gaps.seen;
        if inserted == Gap::NONE {
            return true;
        }
        if inserted.has(Gap::WIDE) {
            return false;
        }
        match self.spaced {
            true => gaps.spelled_out() || (self.letters >= BROKEN_MIN && inserted == Gap::SYMBOL),
            // Two characters around a comma are usually two words: 公共，产品 is not 共产.
            false => self.letters > DENSE_MIN || !inserted.has(Gap::CLAUSE),
        }
    }
}

/// What stands between the letters of a word found.
#[derive(Default)]
struct Gaps {
    seen: Gap,
    /// Two letters touch.
    touching: bool,
}

impl Gaps {
    fn add(&mut self, gap: Gap, own_space: bool) {
        match own_space && !gap.has(Gap::WIDE) {
            true => {}
            false => {
                self.touching |= gap == Gap::NONE;
                self.seen = self.seen.and(gap);
            }
        }
    }

    /// No two letters touch.
    fn spelled_out(&self) -> bool {
        self.seen != Gap::NONE && !self.touching
    }
}

/// No letter touches a letter of its kind at the ends, nor a digit a digit: `ass` does not stand in `class`, `vx` does in
/// `vx123`.
fn stands_alone(letters: &[Letter], first: usize, last: usize) -> bool {
    let apart = |end: Option<&Letter>, next: Option<&Letter>, gap: Option<Gap>| match (end, next) {
        (Some(end), Some(next)) if gap == Some(Gap::NONE) => !runs_on(end, next),
        _ => true,
    };
    let (head, tail) = (letters.get(first), letters.get(last));
    let before = first.checked_sub(1).and_then(|at| letters.get(at));
    let after = letters.get(last + 1);
    apart(head, before, head.map(|l| l.gap)) && apart(tail, after, after.map(|l| l.gap))
}

fn runs_on(end: &Letter, next: &Letter) -> bool {
    let disguised_letter = end.disguise == Disguise::Leet && next.kind == Kind::Letter;
    let same = end.kind == next.kind && end.kind.is_text();
    next.disguise != Disguise::Leet && (same || disguised_letter)
}

/// At least one letter is disguised, and digits or symbols make up at most half.
fn is_disguised(letters: &[Letter]) -> bool {
    let leet = letters.iter().filter(|l| l.disguise == Disguise::Leet).count();
    leet * 2 <= letters.len() && letters.iter().any(|l| l.disguise != Disguise::Plain)
}
