//! A text as folded letters, each knowing which original characters it came from.
//!
//! Owns the views the indexes are run over: every folded character in order (plain, or with lookalikes read as
//! Latin), and the same squeezed into runs of letters with the symbols between them dropped. Called by `index` for the
//! lists and by `filter` for the texts. Linear in the text; a character that folds to many (`﷽`) gives many letters
//! with one origin, several that fold to one (`か` + `゛`) give one letter with a wider origin.

use crate::fold::{Disguise, Kind, fold, homoglyph, joins_back, kind, leet};

/// What lies between a letter and the letter before it: which kinds of symbols, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gap(u8);

impl Gap {
    pub(crate) const NONE: Gap = Gap(0);
    pub(crate) const SYMBOL: Gap = Gap(1);
    pub(crate) const CLAUSE: Gap = Gap(2);
    pub(crate) const WIDE: Gap = Gap(4);
    const SPACE: Gap = Gap(8);
    const APOSTROPHE: Gap = Gap(16);

    pub(crate) fn has(self, other: Gap) -> bool {
        self.0 & other.0 != 0
    }

    /// Everything seen in either gap.
    pub(crate) fn and(self, other: Gap) -> Gap {
        Gap(self.0 | other.0)
    }

    fn widen(&mut self, by: Kind) {
        self.0 |= match by {
            Kind::Space => Gap::SPACE.0,
            Kind::Clause => Gap::CLAUSE.0,
            Kind::Apostrophe => Gap::APOSTROPHE.0,
            _ => Gap::SYMBOL.0,
        };
    }
}

/// More inserted symbols than this between two letters, and they are no longer read as one word.
pub(crate) const GAP_MAX: u32 = 8;

/// One folded character.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter {
    pub(crate) ch: char,
    pub(crate) kind: Kind,
    pub(crate) disguise: Disguise,
    /// What was dropped between this letter and the one before it; only meaningful for letters and digits.
    pub(crate) gap: Gap,
    /// The original characters it came from: `start..end`, counted in characters.
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What reading a text showed about it, so that views which could find nothing new are skipped.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    /// Something was inserted between letters, or a letter is repeated: the squeezed view differs.
    pub(crate) squeezable: bool,
    /// Disguised letters stand beside Latin ones: the lookalike view differs.
    pub(crate) disguised: bool,
    /// How many original characters there are.
    pub(crate) chars: u32,
}

/// Reads `text` into `out` (cleared first): every folded character, symbols and spaces included.
pub(crate) fn read(text: &str, out: &mut Vec<Letter>) -> Traits {
    let mut reader = Reader::new(out);
    let (mut latin, mut disguises) = (0u32, 0u32);
    let mut previous = ' ';
    for c in text.chars() {
        match c {
            'I' if previous.is_ascii_lowercase() => (latin, disguises) = (latin + 1, disguises + 1),
            'a'..='z' | 'A'..='Z' => latin += 1,
            '\u{3000}'..='\u{d7ff}' | ' ' => {}
            c if homoglyph(c).is_some() => (latin, disguises) = (latin + 1, disguises + 1),
            c if leet(c).is_some() => disguises += 1,
            _ => {}
        }
        fold(c, &mut |f| reader.push(f, kind(f), Disguise::Plain));
        reader.at += 1;
        previous = c;
    }
    Traits { squeezable: reader.squeezable, disguised: latin >= 2 && disguises > 0, chars: reader.at }
}

/// Reads `text` as [`read`] does, but with letters, digits and symbols that pass for Latin letters read as those, and
/// `l` read as `i` (they and `1` share one shape).
pub(crate) fn read_lookalikes(text: &str, out: &mut Vec<Letter>) {
    let mut reader = Reader::new(out);
    let mut chars = text.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        match disguised(previous, c, next) {
            Some((ch, Disguise::Leet)) => reader.push(ch, Kind::Digit, Disguise::Leet),
            Some((ch, disguise)) => reader.push(one_shape(ch), Kind::Letter, disguise),
            None => fold(c, &mut |f| reader.push(one_shape(f), kind(f), Disguise::Plain)),
        }
        reader.at += 1;
        previous = c;
    }
}

/// `l` as `i`, the form in which the lookalike view and its index compare.
pub(crate) fn one_shape(c: char) -> char {
    if c == 'l' { 'i' } else { c }
}

fn disguised(previous: char, c: char, next: char) -> Option<(char, Disguise)> {
    let reads_on = |c: char| c.is_alphanumeric() || matches!(c, '@' | '$');
    match c {
        'I' if previous.is_ascii_lowercase() => Some(('i', Disguise::Homoglyph)),
        '!' | '|' | '€' if !(reads_on(previous) && reads_on(next)) => None,
        '@' | '$' if !reads_on(next) => None,
        c => homoglyph(c).map(|l| (l, Disguise::Homoglyph)).or_else(|| leet(c).map(|l| (l, Disguise::Leet))),
    }
}

struct Reader<'a> {
    out: &'a mut Vec<Letter>,
    gap: Gap,
    gap_len: u32,
    last_text: Option<char>,
    squeezable: bool,
    at: u32,
}

impl<'a> Reader<'a> {
    fn new(out: &'a mut Vec<Letter>) -> Self {
        out.clear();
        Reader { out, gap: Gap::NONE, gap_len: 0, last_text: None, squeezable: false, at: 0 }
    }

    fn push(&mut self, ch: char, kind: Kind, disguise: Disguise) {
        if joins_back(ch) && self.join(ch) {
            return;
        }
        let mut letter = Letter { ch, kind, disguise, gap: Gap::NONE, start: self.at, end: self.at + 1 };
        if kind.is_text() {
            letter.gap = self.close_gap();
            self.squeezable |= self.last_text == Some(ch) || (self.last_text.is_some() && letter.gap != Gap::NONE);
            self.last_text = Some(ch);
        } else {
            self.gap.widen(kind);
            self.gap_len += 1;
        }
        self.out.push(letter);
    }

    /// Joins a mark or jamo to the letter before it. A mark that joins nothing is dropped.
    fn join(&mut self, ch: char) -> bool {
        let joined = self.out.last().and_then(|l| unicode_normalization::char::compose(l.ch, ch));
        if let (Some(letter), Some(joined)) = (self.out.last_mut(), joined) {
            letter.ch = joined;
            letter.end = self.at + 1;
            self.last_text = Some(joined);
            // It may now repeat the letter before it; the squeezed view will tell.
            self.squeezable = true;
        }
        joined.is_some() || matches!(ch, '\u{3099}' | '\u{309a}')
    }

    fn close_gap(&mut self) -> Gap {
        let mut gap = std::mem::take(&mut self.gap);
        if std::mem::take(&mut self.gap_len) > GAP_MAX {
            gap.0 |= Gap::WIDE.0;
        }
        gap
    }
}

/// The same letter several times over, symbols between them ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) ch: char,
    /// Where its letters begin in [`Squeezed::letters`], and how many there are.
    pub(crate) first: usize,
    pub(crate) len: usize,
}

/// A text without its symbols, as runs of letters.
#[derive(Debug, Default)]
pub(crate) struct Squeezed {
    pub(crate) letters: Vec<Letter>,
    pub(crate) runs: Vec<Run>,
}

impl Squeezed {
    /// Replaces what is here by the squeezed form of `letters`.
    pub(crate) fn fill(&mut self, letters: &[Letter]) {
        self.letters.clear();
        self.runs.clear();
        for letter in letters.iter().filter(|l| l.kind.is_text()) {
            match self.runs.last_mut() {
                Some(run) if run.ch == letter.ch && !letter.gap.has(Gap::WIDE) => run.len += 1,
                _ => self.runs.push(Run { ch: letter.ch, first: self.letters.len(), len: 1 }),
            }
            self.letters.push(*letter);
        }
    }
}
