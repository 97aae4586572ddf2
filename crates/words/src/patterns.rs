//! What an entry of a list says about how it matches, and the entries that are patterns.
//!
//! An entry is a word, `word:…`, `inside:…` or `regex:…`. Owns the compiled patterns. Called by `filter`. The regular
//! expressions are Rust's: linear in the text, without back-references; their number, length and compiled size are bounded.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::filter::{BuildError, head};
use crate::letters::Letter;

/// Most patterns in all lists together.
pub const PATTERNS_MAX: usize = 200;
/// Most characters of one pattern.
pub const PATTERN_CHARS_MAX: usize = 200;
/// Most memory of one compiled pattern, in bytes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// Most memory of all of them together, in bytes.
const SET_SIZE_MAX: usize = 16 * 1024 * 1024;

/// How an entry matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListEntry<'a> {
    /// A word; `alone` says whether it must stand as a word of its own, if the entry says.
    Word { text: &'a str, alone: Option<bool> },
    /// A regular expression.
    Pattern(&'a str),
}

/// Reads an entry as it is listed.
pub(crate) fn entry(listed: &str) -> ListEntry<'_> {
    let trimmed = listed.trim_start();
    if let Some(pattern) = trimmed.strip_prefix("regex:") {
        return ListEntry::Pattern(pattern.trim());
    }
    if let Some(text) = trimmed.strip_prefix("word:") {
        return ListEntry::Word { text, alone: Some(true) };
    }
    match trimmed.strip_prefix("inside:") {
        Some(text) => ListEntry::Word { text, alone: Some(false) },
        None => ListEntry::Word { text: listed, alone: None },
    }
}

/// The patterns of all lists.
#[derive(Default)]
pub(crate) struct Patterns {
    /// Says in one pass which of `each` match.
    set: RegexSet,
    each: Vec<(u32, Regex)>,
}

impl Patterns {
    /// Compiles patterns with the numbers of their entries.
    pub(crate) fn build(patterns: &[(u32, &str)]) -> Result<Self, BuildError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(BuildError::TooManyPatterns { count: patterns.len() });
        }
        let each = patterns.iter().map(|(word, pattern)| Ok((*word, compile(pattern)?)));
        let each = each.collect::<Result<Vec<_>, BuildError>>()?;
        let mut set = RegexSetBuilder::new(patterns.iter().map(|(_, pattern)| pattern));
        let set = set.case_insensitive(true).size_limit(SET_SIZE_MAX).build();
        let set = set.map_err(|error| BuildError::TooLarge(why(&error)))?;
        Ok(Self { set, each })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Reports matches in the text as written and as it reads once folded: the pattern's number, and the characters
    /// covered. `hit` returns false to stop.
    pub(crate) fn scan(&self, text: &str, letters: &[Letter], hit: &mut impl FnMut(u32, u32, u32) -> bool) {
        let chars = |bytes: usize| text.get(..bytes).map_or(0, |before| before.chars().count() as u32);
        if !self.scan_one(text, &mut |word, start, end| hit(word, chars(start), chars(end))) {
            return;
        }
        let folded: String = letters.iter().map(|letter| letter.ch).collect();
        if folded == text {
            return;
        }
        let letter = |bytes: usize| letters.get(folded.get(..bytes)?.chars().count());
        self.scan_one(&folded, &mut |word, start, end| {
            let before_end = folded.get(..end).and_then(|text| text.char_indices().next_back()).map_or(0, |(at, _)| at);
            match (letter(start), letter(before_end)) {
                (Some(first), Some(last)) => hit(word, first.start, last.end),
                _ => true,
            }
        });
    }

    /// False when `hit` stopped it.
    fn scan_one(&self, text: &str, hit: &mut impl FnMut(u32, usize, usize) -> bool) -> bool {
        for matched in self.set.matches(text) {
            let Some((word, pattern)) = self.each.get(matched) else { continue };
            for found in pattern.find_iter(text).filter(|found| !found.is_empty()) {
                if !hit(*word, found.start(), found.end()) {
                    return false;
                }
            }
        }
        true
    }
}

/// Compiles a pattern, which must not match where nothing is.
pub(crate) fn compile(pattern: &str) -> Result<Regex, BuildError> {
    let refused = |why: String| BuildError::Pattern { pattern: head(pattern), why };
    if pattern.is_empty() {
        return Err(BuildError::Empty { word: "regex:".into() });
    }
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(refused(format!("it may have {PATTERN_CHARS_MAX} characters")));
    }
    let compiled = RegexBuilder::new(pattern).case_insensitive(true).size_limit(PATTERN_SIZE_MAX).build();
    let compiled = compiled.map_err(|error| refused(why(&error)))?;
    if compiled.is_match("") {
        return Err(refused("it matches the empty text, and so everything".into()));
    }
    Ok(compiled)
}

/// The library draws the pattern and points at it; what it says stands in the last line.
fn why(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large once compiled".into(),
        error => {
            let text = error.to_string();
            let last = text.lines().next_back().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    }
}
