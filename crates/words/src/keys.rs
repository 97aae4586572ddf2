//! Keys under which texts count as the same, or nearly.
//!
//! Called by `ingest` (duplicates of one user) and the streams (merging of near-identical comments). The keys are
//! the same on every node and in every run: SipHash-1-3 with a fixed key. They are for grouping, not for secrets:
//! someone who tries can make two texts collide, and would only have his own comment merged.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::fold::{Kind, is_ignorable};
use crate::letters::{Letter, read};

/// A repeated letter counts up to this often: `66666` is `666`, and `good` is not `god`.
const REPEATS_MAX: usize = 2;

/// The form in which near-identical texts are equal; what [`fold_key`] hashes.
///
/// Folded as for the word lists (width, case, style, marks, traditional Chinese), without spaces, punctuation, symbols
/// and emoji, a letter repeated at most twice: `Nice!!` is `nice`, `哈哈哈哈` is `哈哈`. A sign before a digit stays when it
/// could carry meaning (`-1`, `3:2`). A text of symbols only keeps them, each run once: `！！！` is `!`, `❤❤` is `❤`.
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    near(text, &mut |c| out.push(c));
    out
}

/// A key that near-identical texts share: the hash of [`normalise`]. Stable between processes and versions.
pub fn fold_key(text: &str) -> u64 {
    hash(|emit| near(text, emit))
}

/// A key that the same text shares however it is typed: trimmed, case and width folded, white space as one space,
/// invisible characters dropped; everything else counts. Stable between processes and versions.
pub fn same_text_key(text: &str) -> u64 {
    let visible = || text.chars().filter(|c| !is_ignorable(*c) && !c.is_whitespace());
    hash(|emit| match visible().next() {
        Some(_) => same(text, emit),
        None => text.chars().for_each(emit),
    })
}

fn same(text: &str, emit: &mut dyn FnMut(char)) {
    let mut space = false;
    for c in text.trim().chars().filter(|c| !is_ignorable(*c)) {
        if c.is_whitespace() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) {
            emit(' ');
        }
        match c {
            c if c.is_ascii() => emit(c.to_ascii_lowercase()),
            // Kana, Han and Hangul have no case.
            '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => emit(c),
            c => narrow(c).to_lowercase().for_each(&mut *emit),
        }
    }
}

/// Full-width ASCII forms (U+FF01–FF5E) as ASCII.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Characters are gathered first: the hasher takes a run of bytes far faster than four at a time.
fn hash(feed: impl FnOnce(&mut dyn FnMut(char))) -> u64 {
    let mut bytes = BYTES.take();
    bytes.clear();
    feed(&mut |c| bytes.extend_from_slice(&u32::from(c).to_le_bytes()));
    let mut hasher = SipHasher13::new_with_keys(0x6261_7272_6167_6500, 1);
    hasher.write(&bytes);
    BYTES.set(bytes);
    hasher.finish()
}

thread_local! {
    static BYTES: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    static LETTERS: std::cell::RefCell<Vec<Letter>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn near(text: &str, emit: &mut dyn FnMut(char)) {
    let mut letters = LETTERS.take();
    read(text, &mut letters);
    let any_text = letters.iter().any(|l| l.kind.is_text());
    let any = letters.iter().any(|l| l.kind != Kind::Space);
    if any_text {
        collapse(REPEATS_MAX, (0..letters.len()).filter_map(|i| kept(&letters, i)), emit);
    } else if any {
        collapse(1, letters.iter().filter(|l| l.kind != Kind::Space).map(|l| l.ch), emit);
    } else {
        text.chars().for_each(emit);
    }
    LETTERS.set(letters);
}

/// Letters and digits, and symbols that are a digit's sign or separator.
fn kept(letters: &[Letter], i: usize) -> Option<char> {
    let letter = letters.get(i)?;
    let kind = |at: Option<usize>| at.and_then(|at| letters.get(at)).map(|l| l.kind);
    let signs = letter.kind != Kind::Space
        && kind(i.checked_add(1)) == Some(Kind::Digit)
        && matches!(kind(i.checked_sub(1)), None | Some(Kind::Digit | Kind::Space));
    (letter.kind.is_text() || signs).then_some(letter.ch)
}

fn collapse(most: usize, chars: impl Iterator<Item = char>, emit: &mut dyn FnMut(char)) {
    let (mut last, mut times) = (None, 0);
    for c in chars {
        times = if last == Some(c) { times + 1 } else { 1 };
        last = Some(c);
        if times <= most {
            emit(c);
        }
    }
}
