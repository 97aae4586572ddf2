//! JSON strings that no parser takes, mended before one sees them: raw control characters, and halves of surrogate pairs,
//! which is what a program leaves that cuts a text inside an emoji.
//!
//! Called by `json`. Replaces bytes by as many others, so that every location stays where it was. Where values are nested
//! deeper than in any file of comments, the text ends: a parser remembers every bracket.

use std::io::{self, Read};

use crate::report::{Counts, Repair, SourceLocation};

/// Longest sequence looked at together: `\ud83d\ude02`.
const PAIR: usize = 12;

/// Values in one another; more are no document of comments.
const DEPTH_MAX: u32 = 256;

/// Knows whether it is in a string, and how deep.
#[derive(Default)]
pub(crate) struct Mender {
    in_string: bool,
    depth: u32,
    /// Nested too deeply; nothing more is read.
    pub(crate) too_deep: bool,
}

impl Mender {
    /// Mends `bytes`, which begin at `location`. Returns how many are done: all if they are the `last`, otherwise what
    /// remains is to be shown again with what follows.
    pub(crate) fn mend(
        &mut self,
        bytes: &mut [u8],
        last: bool,
        location: SourceLocation,
        changed: &mut Counts<Repair>,
    ) -> usize {
        let mut at = 0;
        let mut lines = 0;
        while let Some(byte) = bytes.get_mut(at) {
            let here = SourceLocation { line: location.line.map(|line| line + lines), byte: location.byte + at as u64 };
            lines += u64::from(*byte == b'\n');
            match *byte {
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        self.too_deep = true;
                        return at;
                    }
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                0..0x20 if self.in_string || !byte.is_ascii_whitespace() => {
                    *byte = b' ';
                    changed.note(Repair::Control, here);
                }
                b'\\' if self.in_string => {
                    if !last && bytes.len() - at < PAIR {
                        return at;
                    }
                    let (length, half) = escape(bytes.get(at..).unwrap_or_default());
                    if half {
                        changed.note(Repair::BadBytes, here);
                        if let Some(digits) = bytes.get_mut(at + 2..at + 6) {
                            digits.copy_from_slice(b"fffd");
                        }
                    }
                    at += length;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        at.min(bytes.len())
    }
}

/// The length of the escape that `bytes` begin with, and whether it is half a pair.
fn escape(bytes: &[u8]) -> (usize, bool) {
    match unit(bytes) {
        Some(0xd800..=0xdbff) => match bytes.get(6..).and_then(unit) {
            Some(0xdc00..=0xdfff) => (PAIR, false),
            _ => (6, true),
        },
        Some(0xdc00..=0xdfff) => (6, true),
        Some(_) => (6, false),
        None => (2, false),
    }
}

/// `\uXXXX`
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

/// A stream of JSON, mended.
pub(crate) struct Mended<'r, R> {
    input: &'r mut R,
    mender: Mender,
    buffer: Vec<u8>,
    at: usize,
    done: usize,
    ended: bool,
    location: SourceLocation,
    changed: Counts<Repair>,
}

const CHUNK: usize = 32 * 1024;

impl<'r, R: Read> Mended<'r, R> {
    pub(crate) fn new(input: &'r mut R) -> Self {
        let location = SourceLocation { line: Some(1), byte: 0 };
        let (buffer, changed) = (Vec::new(), Counts::default());
        Self { input, mender: Mender::default(), buffer, at: 0, done: 0, ended: false, location, changed }
    }

    pub(crate) fn changed(&self) -> &Counts<Repair> {
        &self.changed
    }

    /// Whether it ends because it is nested too deeply.
    pub(crate) fn is_too_deep(&self) -> bool {
        self.mender.too_deep
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.done);
        (self.at, self.done) = (0, 0);
        while self.done == 0 && !self.ended && !self.mender.too_deep {
            let held = self.buffer.len();
            self.buffer.resize(held + CHUNK, 0);
            let read = self.input.read(self.buffer.get_mut(held..).unwrap_or_default())?;
            self.buffer.truncate(held + read);
            self.ended = read == 0;
            let lines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
            let before = lines(&self.buffer);
            self.done = self.mender.mend(&mut self.buffer, self.ended, self.location, &mut self.changed);
            let after = lines(self.buffer.get(self.done..).unwrap_or_default());
            self.location.line = self.location.line.map(|line| line + before - after);
            self.location.byte += self.done as u64;
        }
        Ok(())
    }
}

impl<R: Read> Read for Mended<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.done {
            self.fill()?;
        }
        let ready = self.buffer.get(self.at..self.done).unwrap_or_default();
        let n = ready.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), ready.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mended(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Mended::new(&mut &*text).read_to_end(&mut out).expect("memory");
        out
    }

    #[test]
    fn strings_become_readable() {
        for (from, to) in [
            (r#"{"a": "\ud83d\ude02"}"#, r#"{"a": "\ud83d\ude02"}"#),
            (
                r#"["\ud83d", "\ude02x", "\ud83dxx\ud83d\ud83d\ude02"]"#,
                r#"["\ufffd", "\ufffdx", "\ufffdxx\ufffd\ud83d\ude02"]"#,
            ),
            ("[\n\"a\nb\tc\u{0}\" ]", "[\n\"a b c \" ]"),
            (r#"["\"\\", "\u00"#, r#"["\"\\", "\u00"#),
            (r#"["\"#, r#"["\"#),
        ] {
            assert_eq!(String::from_utf8(mended(from.as_bytes())).expect("UTF-8"), to);
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays(value in "[\\PC\\n\"\\\\]{0,40}", padding in 0..40_000usize) {
            let json = serde_json::to_vec(&(" ".repeat(padding), value)).expect("JSON");
            prop_assert_eq!(mended(&json), json);
        }

        #[test]
        fn nothing_moves(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'u'), Just(b'd'), Just(b'8'), any::<u8>()], 0..200)) {
            prop_assert_eq!(mended(&bytes).len(), bytes.len());
        }
    }
}
