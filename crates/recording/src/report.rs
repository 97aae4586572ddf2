//! What reading a file showed besides its comments: what was left out, what was changed, and where.
//!
//! Owned by the caller of [`crate::read`]; filled by the formats through [`crate::collect::Collector`]. Memory is
//! bounded: every entry is counted, only the first locations of each kind are kept.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use crate::Format;

/// Places kept of one kind.
pub const LOCATIONS_MAX: usize = 5;

/// Where an entry stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLocation {
    /// Counted from 1; `None` in binary files.
    pub line: Option<u64>,
    /// Counted from 0, in the text as UTF-8.
    pub byte: u64,
}

impl Display for SourceLocation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} (byte {})", self.byte),
            None => write!(f, "byte {}", self.byte),
        }
    }
}

/// Why an entry did not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// The file ends inside it.
    Cut,
    /// It cannot be read: a tag that never ends, fields that are missing or of another type.
    Broken,
    /// It has no time, or one that is no number.
    NoTime,
    /// Its time lies before the start or after a week.
    OutOfRange,
    /// It has no text that can be shown.
    Empty,
    /// It is a program (modes 8 and 9), which is never run.
    Code,
    /// The service had deleted it.
    Deleted,
    /// It is something else: a gift, a membership, a deletion.
    NotAComment,
    /// It is longer than any comment.
    TooLong,
    /// The file has more than [`crate::COMMENTS_MAX`].
    TooMany,
}

impl Display for SkipReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the file ends inside it",
            Self::Broken => "it cannot be read",
            Self::NoTime => "it has no time",
            Self::OutOfRange => "its time is before the start or after a week",
            Self::Empty => "it has no text that can be shown",
            Self::Code => "it is a program (mode 8 or 9)",
            Self::Deleted => "it was deleted",
            Self::NotAComment => "it is no comment (gift, membership, deletion or the like)",
            Self::TooLong => "it is too long",
            Self::TooMany => "the file has too many",
        })
    }
}

/// What was changed in an entry that came in, or in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// Bytes that are no text in the file's encoding became U+FFFD.
    BadBytes,
    /// Control characters were dropped, raw or as references.
    Control,
    /// A `&` or `<` that should have been escaped was taken as it stands.
    Unescaped,
    /// A character written as two surrogate references was put together.
    Surrogates,
    /// The colour was in another form, or was none and became white.
    Color,
    /// The mode was in another form, or was none and became scroll.
    Mode,
    /// A positioned comment (mode 7) came in as its text.
    Positioned,
    /// Its end tag was missing.
    Unclosed,
    /// The file has no end: what should close it is missing.
    Unfinished,
    /// The file is in another encoding than it declares.
    Encoding,
}

impl Display for Repair {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadBytes => "bytes that are no text were replaced",
            Self::Control => "control characters were dropped",
            Self::Unescaped => "a raw & or < was taken as text",
            Self::Surrogates => "a surrogate pair was put together",
            Self::Color => "the colour was in another form",
            Self::Mode => "the mode was in another form",
            Self::Positioned => "a positioned comment came in as its text",
            Self::Unclosed => "the end tag was missing",
            Self::Unfinished => "the file has no end",
            Self::Encoding => "the file is not in the encoding it declares",
        })
    }
}

/// How often something happened, and where first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Occurrences {
    /// How often.
    pub count: u64,
    /// The first [`LOCATIONS_MAX`] locations.
    pub locations: Vec<SourceLocation>,
}

/// Counts by kind, with locations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts<K: Ord>(BTreeMap<K, Occurrences>);

impl<K: Ord> Default for Counts<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy + Display> Counts<K> {
    pub(crate) fn note(&mut self, kind: K, location: SourceLocation) {
        let noted = self.0.entry(kind).or_default();
        noted.count += 1;
        if noted.locations.len() < LOCATIONS_MAX {
            noted.locations.push(location);
        }
    }

    /// Adds what another tally counted.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (kind, Occurrences { count, locations }) in other.iter() {
            let noted = self.0.entry(kind).or_default();
            noted.count += count;
            noted.locations.extend(locations);
            noted.locations.truncate(LOCATIONS_MAX);
        }
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|noted| noted.count).sum()
    }

    /// One kind.
    #[must_use]
    pub fn count(&self, kind: K) -> u64 {
        self.0.get(&kind).map_or(0, |noted| noted.count)
    }

    /// Every kind that happened.
    pub fn iter(&self) -> impl Iterator<Item = (K, &Occurrences)> {
        self.0.iter().map(|(kind, noted)| (*kind, noted))
    }
}

impl<K: Ord + Copy + Display> Display for Counts<K> {
    /// One line a kind: `  3 × it has no time: line 4 (byte 96), …`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (kind, Occurrences { count, locations }) in self.iter() {
            let named: Vec<String> = locations.iter().map(SourceLocation::to_string).collect();
            let more = if *count > locations.len() as u64 { ", …" } else { "" };
            writeln!(f, "  {count} × {kind}: {}{more}", named.join(", "))?;
        }
        Ok(())
    }
}

/// What reading a file showed besides its comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the file is.
    pub format: Format,
    /// Comments that came in.
    pub comments: u64,
    /// Entries that did not, by reason.
    pub skipped: Counts<SkipReason>,
    /// What was changed.
    pub repaired: Counts<Repair>,
    /// The recording's title, if the file has one.
    pub title: Option<String>,
    /// When the recording began, Unix milliseconds, if the file says.
    pub started_at_ms: Option<i64>,
}
