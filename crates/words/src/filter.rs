//! The word filter: lists of words in, a verdict on each text out.
//!
//! Owns the lists and their three indexes. Built off-thread by whoever changes the lists and shared behind an `Arc`;
//! `ingest` calls [`Filter::check`] for every comment. Never does I/O, never blocks, never changes after it is built.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use crate::fold::Kind;
use crate::index::{BROKEN_MIN, DENSE_MIN, Hit, Index, Rule, SPELLED_MIN};
use crate::letters::{Letter, Squeezed, Traits, one_shape, read, read_lookalikes};
use crate::patterns::{ListEntry, PATTERNS_MAX, Patterns, compile, entry};

/// Most words in all lists together.
pub const WORDS_MAX: usize = 200_000;
/// Most characters of one word after normalisation.
pub const WORD_CHARS_MAX: usize = 64;
/// Most bytes of one entry as it is listed; the store takes no more.
pub const ENTRY_BYTES_MAX: usize = 512;

/// The three lists of words, as the admin API takes and gives them.
///
/// An entry may say how it matches:
/// - `word:ass` only as a word of its own, not in `class`;
/// - `inside:ass` anywhere, also in `class`;
/// - `regex:b[ao]d+` where the regular expression matches, upper and lower case alike, in the text as written or folded;
/// - `ass` by what it is made of: as a word of its own when all its letters are of scripts that put spaces between
///   words (Latin, Cyrillic, Greek, Arabic…), anywhere when one is of another (Chinese, kana, Hangul, Thai…) or a symbol.
///
/// Words are found however they are typed: other widths and cases, letters that look alike, symbols between the letters,
/// stretched letters (`baaad`). Patterns match as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = WordLists)]
pub struct Lists {
    /// Words replaced by one `*` per character.
    pub mask: Vec<String>,
    /// Words that hold a comment for review.
    pub review: Vec<String>,
    /// Words that refuse a comment.
    pub block: Vec<String>,
}

/// Which list a word is in. Later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WordListName)]
pub enum List {
    /// See [`Lists::mask`].
    Mask,
    /// See [`Lists::review`].
    Review,
    /// See [`Lists::block`].
    Block,
}

/// What is to be done with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No word of any list is in it.
    Clean,
    /// Publish this instead: as many characters as the original, those covered by mask words replaced by `*`.
    Masked(String),
    /// Hold it for review, because of this word (as listed).
    Review {
        /// The word, as listed.
        word: String,
    },
    /// Refuse it, because of this word.
    Block {
        /// The word, as listed.
        word: String,
    },
}

/// Why lists cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More than [`WORDS_MAX`] words.
    #[error("{count} words are too many: all lists together may have {WORDS_MAX}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A word of which normalisation leaves nothing, such as spaces or zero-width characters only.
    #[error("the word {word:?} is empty once spaces and invisible characters are dropped")]
    Empty {
        /// The word, as listed.
        word: String,
    },
    /// A word of more than [`WORD_CHARS_MAX`] characters.
    #[error("the word {word:?} is too long: after normalisation a word may have {WORD_CHARS_MAX} characters")]
    TooLong {
        /// The beginning of the word.
        word: String,
    },
    /// An entry of more than [`ENTRY_BYTES_MAX`] bytes.
    #[error("the entry {word:?} is too long: as listed it may have {ENTRY_BYTES_MAX} bytes")]
    TooManyBytes {
        /// The beginning of the entry.
        word: String,
    },
    /// A `regex:` that cannot be used.
    #[error("the pattern {pattern:?} cannot be used: {why}")]
    Pattern {
        /// The beginning of the pattern.
        pattern: String,
        /// Why.
        why: String,
    },
    /// More than [`PATTERNS_MAX`] patterns.
    #[error("{count} patterns are too many: all lists together may have {PATTERNS_MAX}")]
    TooManyPatterns {
        /// How many there are.
        count: usize,
    },
    /// The automaton refused the words: together they are too large for it.
    #[error("the words are too large together: {0}")]
    TooLarge(String),
}

/// Lists ready for use. Immutable: changing a list means building another and swapping it in.
///
/// Three indexes, each over its own view of the text:
/// - *exact*: every word, letters folded (width, case, style, marks, traditional Chinese), invisible characters dropped;
/// - *squeezed*: symbols dropped and repeated letters drawn together, for words of letters and spaces only: at least
///   two of a dense script such as Chinese (`暴*力`), three of a spaced one if every letter
///   stands apart (`b.a.d`), four if not (`fu*ck`, but not over spaces or apostrophes: `it's hit`);
/// - *lookalike*: letters of other scripts, digits and symbols read as the Latin letters they look like, for Latin words
///   of at least four letters (`раypal`, `sh1t`).
///
/// Whether a word must stand alone, [`Lists`] tells. Patterns have an index of their own.
pub struct Filter {
    words: Vec<(List, Box<str>)>,
    exact: Index,
    squeezed: Index,
    lookalike: Index,
    patterns: Patterns,
}

/// A mask may bring letters together (`坏坏蛋蛋` is `坏**蛋` once 坏蛋 is masked), so what would be published is checked
/// again, at most this often: a gap grows with each round and is soon too wide to read across.
const ROUNDS_MAX: usize = 8;

/// Buffers longer than this many letters are given back after use.
const SCRATCH_KEPT: usize = 16 * 1024;

#[derive(Default)]
struct Scratch {
    letters: Vec<Letter>,
    squeezed: Squeezed,
    /// For each original character, how many masks begin there less how many have ended before it.
    cover: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Filter {
    /// Builds the filter of these lists: for 100,000 words some 0.7 s of processor time, on two threads. The same word may
    /// be in several lists.
    ///
    /// # Errors
    /// Names the first word that breaks a bound; see [`BuildError`].
    pub fn build(lists: &Lists) -> Result<Filter, BuildError> {
        let count = lists.mask.len() + lists.review.len() + lists.block.len();
        if count > WORDS_MAX {
            return Err(BuildError::TooMany { count });
        }
        let mut forms = Forms::default();
        let mut words = Vec::with_capacity(count);
        let all = [(List::Block, &lists.block), (List::Review, &lists.review), (List::Mask, &lists.mask)];
        for (list, word) in all.into_iter().flat_map(|(list, words)| words.iter().map(move |w| (list, w))) {
            forms.add(word, words.len() as u32)?;
            words.push((list, word.as_str().into()));
        }
        let number = |(at, (_, word)): (usize, &(List, Box<str>))| match entry(word) {
            ListEntry::Pattern(pattern) => Some((at as u32, pattern.to_owned())),
            ListEntry::Word { .. } => None,
        };
        let patterns: Vec<_> = words.iter().enumerate().filter_map(number).collect();
        let patterns: Vec<_> = patterns.iter().map(|(word, pattern)| (*word, pattern.as_str())).collect();
        let patterns = Patterns::build(&patterns)?;
        let Forms { exact, squeezed, lookalike, .. } = forms;
        let index = |entries| Index::build(entries).map_err(|e| BuildError::TooLarge(e.to_string()));
        // The two large automata take most of the time: one on a thread of its own.
        let (exact, squeezed) = std::thread::scope(|scope| {
            let squeezed = scope.spawn(|| index(squeezed));
            (index(exact), squeezed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(Filter { words, exact: exact?, squeezed: squeezed?, lookalike: index(lookalike)?, patterns })
    }

    /// How many words it holds.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True when there is no word to look for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// What is to be done with `text`: block beats review beats mask.
    ///
    /// A mask covers all occurrences of all mask words, overlapping or not. Of a word that was broken up it covers
    /// everything from the first matched character to the last, the inserted ones included (`敏*感` is `***`).
    /// Time is linear in the text. Checking a masked text again changes nothing more.
    pub fn check(&self, text: &str) -> Verdict {
        self.judge(text, true)
    }

    /// The same for texts that no moderator is to see: as if the review list were empty.
    pub fn check_private(&self, text: &str) -> Verdict {
        self.judge(text, false)
    }

    fn judge(&self, text: &str, review: bool) -> Verdict {
        if self.is_empty() {
            return Verdict::Clean;
        }
        let mut masked: Option<String> = None;
        for _ in 0..ROUNDS_MAX {
            let current = masked.as_deref().unwrap_or(text);
            let (found, next) = with_scratch(|scratch| {
                let found = self.find(current, scratch, review);
                let next = found.filter(|(list, _)| *list == List::Mask).map(|_| mask(current, &scratch.cover));
                (found, next)
            });
            match (found, next) {
                (Some((List::Block, word)), _) => {
                    return Verdict::Block { word: word.to_owned() };
                }
                (Some((List::Review, word)), _) => {
                    return Verdict::Review { word: word.to_owned() };
                }
                (_, Some(next)) if next != current => masked = Some(next),
                (_, Some(next)) => return Verdict::Masked(next),
                (_, None) => break,
            }
        }
        masked.map_or(Verdict::Clean, Verdict::Masked)
    }

    /// The word that decides about `text`, as listed, and its list: None when the text is clean. Cheaper than
    /// [`Filter::check`] by the masking.
    pub fn first_hit(&self, text: &str) -> Option<(List, &str)> {
        with_scratch(|scratch| self.find(text, scratch, true))
    }

    /// Finds the deciding word and leaves in `scratch.cover` what the mask words cover. Words to review are passed over
    /// unless `review`.
    fn find(&self, text: &str, scratch: &mut Scratch, review: bool) -> Option<(List, &str)> {
        let Scratch { letters, squeezed, cover } = scratch;
        let Traits { squeezable, disguised, chars } = read(text, letters);
        cover.clear();
        let mut best: Option<(List, &str)> = None;
        let mut hit = |Hit { word, start, end }| {
            let Some((list, word)) = self.words.get(word as usize) else {
                return true;
            };
            if *list == List::Review && !review {
                return true;
            }
            if best.is_none_or(|(found, _)| *list > found) {
                best = Some((*list, word));
            }
            if *list == List::Mask {
                cover_span(cover, chars, start, end);
            }
            *list != List::Block
        };
        if !self.patterns.is_empty() {
            self.patterns.scan(text, letters, &mut |word, start, end| hit(Hit { word, start, end }));
        }
        self.exact.scan(letters, &mut hit);
        if squeezable && !self.squeezed.is_empty() {
            squeezed.fill(letters);
            self.squeezed.scan_squeezed(squeezed, false, &mut hit);
        }
        if disguised && !self.lookalike.is_empty() {
            read_lookalikes(text, letters);
            squeezed.fill(letters);
            self.lookalike.scan_squeezed(squeezed, true, &mut hit);
        }
        best
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

/// Is `word` fit for a list?
///
/// # Errors
/// Says why not, as [`Filter::build`] would.
pub fn validate_word(word: &str) -> Result<(), BuildError> {
    Forms::default().add(word, 0)?;
    match entry(word) {
        ListEntry::Pattern(pattern) => compile(pattern).map(drop),
        ListEntry::Word { .. } => Ok(()),
    }
}

fn with_scratch<T>(run: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let result = run(scratch);
        if scratch.letters.capacity() > SCRATCH_KEPT {
            *scratch = Scratch::default();
        }
        result
    })
}

fn cover_span(cover: &mut Vec<i32>, chars: u32, start: u32, end: u32) {
    cover.resize(chars as usize + 1, 0);
    if let Some(at) = cover.get_mut(start as usize) {
        *at += 1;
    }
    if let Some(at) = cover.get_mut(end as usize) {
        *at -= 1;
    }
}

fn mask(text: &str, cover: &[i32]) -> String {
    let depths = cover.iter().scan(0, |depth, change| {
        *depth += change;
        Some(*depth)
    });
    text.chars().zip(depths).map(|(c, depth)| if depth > 0 { '*' } else { c }).collect()
}

/// The keys of each word in the form of each index that takes it.
#[derive(Default)]
struct Forms {
    exact: Vec<(String, Rule)>,
    squeezed: Vec<(String, Rule)>,
    lookalike: Vec<(String, Rule)>,
    letters: Vec<Letter>,
    runs: Squeezed,
}

impl Forms {
    fn add(&mut self, listed: &str, word: u32) -> Result<(), BuildError> {
        if listed.len() > ENTRY_BYTES_MAX {
            return Err(BuildError::TooManyBytes { word: head(listed) });
        }
        let ListEntry::Word { text: spelled, alone } = entry(listed) else { return Ok(()) };
        read(spelled, &mut self.letters);
        let is_space = |l: &Letter| l.kind == Kind::Space;
        self.letters.truncate(self.letters.iter().rposition(|l| !is_space(l)).map_or(0, |last| last + 1));
        self.letters.drain(..self.letters.iter().position(|l| !is_space(l)).unwrap_or(0));
        match self.letters.len() {
            0 => return Err(BuildError::Empty { word: head(listed) }),
            len if len > WORD_CHARS_MAX => return Err(BuildError::TooLong { word: head(listed) }),
            _ => {}
        }
        let is_spaced = |l: &Letter| matches!(l.kind, Kind::Letter | Kind::Digit);
        let text = || self.letters.iter().filter(|l| l.kind.is_text());
        let (spaced, count) = (text().count() > 0 && text().all(is_spaced), text().count());
        let alone = alone.unwrap_or(spaced);
        let plain = self.letters.iter().all(|l| l.kind.is_text() || is_space(l));
        let latin = text().all(|l| l.ch.is_ascii_lowercase());
        let rule = Rule { word, spaced, alone, letters: count, len: self.letters.len(), runs: [].into(), spaces: 0 };
        self.exact.push((self.letters.iter().map(|l| l.ch).collect(), rule.clone()));
        if plain && count >= if spaced { SPELLED_MIN } else { DENSE_MIN } {
            self.runs.fill(&self.letters);
            self.squeezed.push(squeezed(&self.runs, rule.clone()));
        }
        if plain && latin && count >= BROKEN_MIN {
            self.letters.iter_mut().for_each(|l| l.ch = one_shape(l.ch));
            self.runs.fill(&self.letters);
            self.lookalike.push(squeezed(&self.runs, rule));
        }
        Ok(())
    }
}

fn squeezed(form: &Squeezed, rule: Rule) -> (String, Rule) {
    let key = form.runs.iter().map(|r| r.ch).collect();
    let repeats = form.runs.iter().any(|r| r.len > 1);
    let lengths = form.runs.iter().filter(|_| repeats).map(|r| r.len.min(WORD_CHARS_MAX) as u8).collect();
    let follows_space =
        |r: &crate::letters::Run| form.letters.get(r.first).is_some_and(|l| l.gap != crate::letters::Gap::NONE);
    let spaces = form.runs.iter().enumerate().filter(|(_, r)| follows_space(r)).fold(0, |bits, (i, _)| bits | 1 << i);
    (key, Rule { len: form.runs.len(), runs: lengths, spaces, ..rule })
}

/// Enough of a word to recognise it in a message.
pub(crate) fn head(word: &str) -> String {
    word.chars().take(WORD_CHARS_MAX).collect()
}
