//! Text in whatever encoding a file declares, as UTF-8.
//!
//! Called by [`crate::read`] and `detect`. A byte order mark decides; then the XML declaration; otherwise UTF-8.

use std::borrow::Cow;
use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use memchr::{memchr_iter, memmem};

use crate::report::{Counts, Repair, SourceLocation};

/// The encoding of a file, `None` for UTF-8, and whether it declares another.
pub(crate) fn of(prefix: &[u8]) -> (Option<&'static Encoding>, bool) {
    let declared = declared(prefix);
    let found = match prefix {
        [0xff, 0xfe, ..] | [b'<' | b'{' | b'[', 0, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] | [0, b'<' | b'{' | b'[', ..] => Some(UTF_16BE),
        [0xef, 0xbb, 0xbf, ..] => None,
        // A declaration in single bytes cannot speak of UTF-16. Files are often converted and keep the old declaration:
        // text of another encoding is hardly ever valid UTF-8 by chance.
        _ => declared.filter(|encoding| encoding.is_ascii_compatible() && !is_wide_utf8(prefix)),
    };
    let single = !matches!(found, Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE);
    (found, single && declared.is_some_and(|declared| declared != found.unwrap_or(UTF_8)))
}

fn declared(prefix: &[u8]) -> Option<&'static Encoding> {
    let prefix = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(prefix).trim_ascii_start();
    let declaration = prefix.strip_prefix(b"<?xml")?;
    let declaration = declaration.get(..memmem::find(declaration, b"?>")?)?;
    let value = declaration.get(memmem::find(declaration, b"encoding")? + 8..)?;
    let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    Encoding::for_label(value.split(|byte| byte == quote).next()?)
}

/// Valid UTF-8 (but for a character that the prefix cuts) with something beyond ASCII in it.
fn is_wide_utf8(prefix: &[u8]) -> bool {
    let valid = match std::str::from_utf8(prefix) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !prefix.is_ascii()
}

/// The prefix as text, to look at.
pub(crate) fn decode_prefix<'a>(prefix: &'a [u8], encoding: Option<&'static Encoding>) -> Cow<'a, str> {
    encoding.unwrap_or(UTF_8).decode(prefix).0
}

/// A file's bytes as UTF-8.
pub(crate) struct Decoded<R> {
    input: R,
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    raw_at: usize,
    out: Vec<u8>,
    out_at: usize,
    ended: bool,
    /// Where `out` ends in the whole text.
    end: SourceLocation,
    changed: Counts<Repair>,
}

const CHUNK: usize = 32 * 1024;
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

impl<R: Read> Decoded<R> {
    /// Without an encoding the bytes pass as they are.
    pub(crate) fn new(input: R, encoding: Option<&'static Encoding>) -> Self {
        Self {
            input,
            decoder: encoding.map(Encoding::new_decoder_with_bom_removal),
            raw: Vec::new(),
            raw_at: 0,
            out: Vec::new(),
            out_at: 0,
            ended: false,
            end: SourceLocation { line: Some(1), byte: 0 },
            changed: Counts::default(),
        }
    }

    /// Bytes that had to be replaced.
    pub(crate) fn changed(&self) -> &Counts<Repair> {
        &self.changed
    }

    fn fill(&mut self) -> io::Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        self.out_at = 0;
        self.out.resize(CHUNK * 3, 0);
        let mut written = 0;
        while written == 0 && !self.ended {
            if self.raw_at == self.raw.len() {
                self.raw.resize(CHUNK, 0);
                let read = self.input.read(&mut self.raw)?;
                self.raw.truncate(read);
                self.raw_at = 0;
            }
            let last = self.raw.is_empty();
            loop {
                // Room for the replacement is kept back.
                let room = self.out.len() - REPLACEMENT.len();
                let (raw, out) = (self.raw.get(self.raw_at..), self.out.get_mut(written..room));
                let (raw, out) = (raw.unwrap_or_default(), out.unwrap_or_default());
                let (result, read, wrote) = decoder.decode_to_utf8_without_replacement(raw, out, last);
                self.raw_at += read;
                let text = self.out.get(written..written + wrote).unwrap_or_default();
                let lines = memchr_iter(b'\n', text).count() as u64;
                self.end =
                    SourceLocation { line: self.end.line.map(|line| line + lines), byte: self.end.byte + wrote as u64 };
                written += wrote;
                match result {
                    DecoderResult::InputEmpty => {
                        self.ended = last;
                        break;
                    }
                    DecoderResult::OutputFull => break,
                    DecoderResult::Malformed(..) => {
                        self.changed.note(Repair::BadBytes, self.end);
                        if let Some(slot) = self.out.get_mut(written..written + REPLACEMENT.len()) {
                            slot.copy_from_slice(REPLACEMENT);
                        }
                        written += REPLACEMENT.len();
                        self.end.byte += REPLACEMENT.len() as u64;
                        if written >= room - REPLACEMENT.len() {
                            break;
                        }
                    }
                }
            }
        }
        self.out.truncate(written);
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.decoder.is_none() {
            return self.input.read(buffer);
        }
        if self.out_at == self.out.len() {
            self.fill()?;
        }
        let ready = self.out.get(self.out_at..).unwrap_or_default();
        let n = ready.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), ready.get(..n)) {
            to.copy_from_slice(from);
        }
        self.out_at += n;
        Ok(n)
    }
}
