//! What the generator's comments say: a mark that tells which comment it is and when it was due, then
//! ordinary words up to the wanted length. Marks are read back from whatever a socket is given, so
//! latency needs no table and may be measured by another process of the same host.
//!
//! The mark has no letter twice in a row and none that reads like another, so that two comments are
//! never near-identical and a server that merges those has nothing to merge.

/// Characters (and bytes) a mark takes.
pub const MARK_BYTES: usize = 1 + SEQ_DIGITS + DUE_DIGITS;
const OPEN: char = '#';
const SEQ_DIGITS: usize = 8;
const DUE_DIGITS: usize = 12;
/// The digits 0 to 15 at even and at odd places: neighbours never repeat.
const EVEN: &[u8; 16] = b"abcdefghijkmnopr";
const ODD: &[u8; 16] = b"qstuvwxyz2345679";

/// Which comment, and when it was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Counts the comments of a round.
    pub seq: u32,
    /// The moment of [`crate::clock::now_us`] for which it was scheduled.
    pub due_us: u64,
}

/// Words of live comments, in the languages they come in.
const WORDS: [&str; 12] = [
    "前方高能",
    "this is so good",
    "哈哈哈",
    "泪目",
    "front row",
    "名场面",
    "弹幕护体",
    "what a play",
    "再来一遍",
    "草",
    "8888",
    "awesome",
];

/// A comment's content: the mark, then words, `bytes` bytes in all (never less than the mark).
pub fn write(mark: Mark, bytes: usize, out: &mut String) {
    out.clear();
    out.push(OPEN);
    digits(u64::from(mark.seq), SEQ_DIGITS, out);
    digits(mark.due_us, DUE_DIGITS, out);
    let mut word = mark.seq as usize;
    while out.len() + 4 < bytes {
        out.push(' ');
        let text = WORDS.get(word % WORDS.len()).copied().unwrap_or_default();
        out.push_str(&text[..text.floor_char_boundary(bytes - out.len())]);
        word += 1;
    }
    while out.len() < bytes {
        out.push('.');
    }
}

/// The mark at the start of a content; none in a comment of somebody else's.
#[must_use]
pub fn read(content: &str) -> Option<Mark> {
    let text = content.strip_prefix(OPEN)?.as_bytes();
    let seq = number(text.get(..SEQ_DIGITS)?)?;
    let due_us = number(text.get(SEQ_DIGITS..SEQ_DIGITS + DUE_DIGITS)?)?;
    Some(Mark { seq: u32::try_from(seq).ok()?, due_us })
}

fn digits(number: u64, count: usize, out: &mut String) {
    for place in 0..count {
        let digit = (number >> (4 * (count - 1 - place))) & 15;
        out.push(char::from(alphabet(place)[digit as usize]));
    }
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().enumerate().try_fold(0, |number, (place, letter)| {
        let digit = alphabet(place).iter().position(|known| known == letter)?;
        Some(number << 4 | digit as u64)
    })
}

fn alphabet(place: usize) -> &'static [u8; 16] {
    if place.is_multiple_of(2) { EVEN } else { ODD }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(seq in any::<u32>(), due_us in 0..1_u64 << 48, bytes in 0..300_usize) {
            let (mark, mut content) = (Mark { seq, due_us }, String::new());
            write(mark, bytes, &mut content);
            prop_assert_eq!(read(&content), Some(mark));
            prop_assert_eq!(content.len(), bytes.max(MARK_BYTES));
        }
    }

    #[test]
    fn no_two_comments_are_near_identical() {
        let mut keys = HashSet::new();
        let mut content = String::new();
        for seq in (0..20_000).chain((0..20_000).map(|n| n * 4_099)) {
            write(Mark { seq, due_us: 0 }, 64, &mut content);
            keys.insert((words::fold_key(&content), seq));
        }
        let folded: HashSet<u64> = keys.iter().map(|(key, _)| *key).collect();
        assert_eq!(folded.len(), keys.len());
    }

    #[test]
    fn other_peoples_comments_have_no_mark() {
        for content in ["", "#", "#hello everybody in this room", "前方高能"] {
            assert_eq!(read(content), None);
        }
    }
}
