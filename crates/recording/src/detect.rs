//! What a file is, by its first bytes; and the names of the formats.
//!
//! Called by [`crate::read`] alone. Formats that are not read are named for what they are.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};
use std::str::FromStr;

use encoding_rs::Encoding;
use memchr::memmem;

use crate::RecordingError;
use crate::encoding;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The content tells.
    Auto,
    /// XML with one `<d p="…">text</d>` a comment, as players exchange it and recorders write it.
    Bilibili,
    /// The same comments as a Protobuf segment.
    BilibiliPb,
    /// Niconico: XML `<chat>`, the threads of its current JSON, and the older JSON forms.
    Niconico,
    /// `{"count", "comments": [{"p", "m"}]}`.
    Dandanplay,
    /// `{"code", "data": [[time, type, color, author, text]]}`.
    Dplayer,
    /// Twitch's chat of a video.
    Twitch,
    /// YouTube's replay of a live chat, one action a line.
    Youtube,
    /// A table with a header.
    Csv,
    /// One comment of ours a line.
    Jsonl,
}

const NAMES: [(Format, &str); 10] = [
    (Format::Auto, "auto"),
    (Format::Bilibili, "bilibili"),
    (Format::BilibiliPb, "bilibili-pb"),
    (Format::Niconico, "niconico"),
    (Format::Dandanplay, "dandanplay"),
    (Format::Dplayer, "dplayer"),
    (Format::Twitch, "twitch"),
    (Format::Youtube, "youtube"),
    (Format::Csv, "csv"),
    (Format::Jsonl, "jsonl"),
];

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(format, _)| *format);
        found.ok_or_else(|| format!("expected one of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// How the file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileShape {
    Protobuf,
    Xml,
    Json,
    JsonLines,
    Csv,
}

/// What the first bytes show.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) kind: FileShape,
    /// The best guess; the first entry may know better.
    pub(crate) format: Format,
    /// From what to decode; `None` hands the bytes on as they are.
    pub(crate) encoding: Option<&'static Encoding>,
    /// The file is not in the encoding it declares.
    pub(crate) misdeclared: bool,
}

/// Bytes looked at.
pub(crate) const PREFIX_BYTES: u64 = 64 * 1024;

pub(crate) fn prefix(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut prefix = Vec::new();
    input.take(PREFIX_BYTES).read_to_end(&mut prefix)?;
    Ok(prefix)
}

/// # Errors
/// When it is something that is not read, or not of the asked format.
pub(crate) fn content(prefix: &[u8], asked: Format) -> Result<Content, RecordingError> {
    if let Some(other) = other_binary(prefix) {
        return Err(RecordingError::Unsupported(other.into()));
    }
    let binary = |kind, format| Content { kind, format, encoding: None, misdeclared: false };
    if asked == Format::BilibiliPb || (asked == Format::Auto && is_segment(prefix)) {
        return Ok(binary(FileShape::Protobuf, Format::BilibiliPb));
    }
    let (encoding, misdeclared) = encoding::of(prefix);
    let text = encoding::decode_prefix(prefix, encoding);
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let (kind, format) = text_kind(text, asked)?;
    // A JSON string must be valid UTF-8, the other readers mend each text where it stands.
    let encoding = encoding.or((kind == FileShape::Json).then_some(encoding_rs::UTF_8));
    Ok(Content { kind, format, encoding, misdeclared })
}

fn text_kind(text: &str, asked: Format) -> Result<(FileShape, Format), RecordingError> {
    let looks = match text.chars().next() {
        Some('<') if !is_html(text) => Some((FileShape::Xml, Format::Bilibili)),
        Some('{' | '[') if !text.starts_with("[Script Info]") && !is_lyrics(text) => {
            Some((if is_lines(text) { FileShape::JsonLines } else { FileShape::Json }, Format::Jsonl))
        }
        _ if is_table(text) => Some((FileShape::Csv, Format::Csv)),
        _ => None,
    };
    match (asked, looks) {
        (Format::Auto, Some(looks)) => Ok(looks),
        (Format::Auto, None) => Err(RecordingError::Unsupported(other_text(text).into())),
        (Format::Csv, _) => Ok((FileShape::Csv, Format::Csv)),
        (Format::Jsonl, _) => Ok((FileShape::JsonLines, Format::Jsonl)),
        (Format::Bilibili, Some((FileShape::Xml, _))) => Ok((FileShape::Xml, asked)),
        (Format::Niconico, Some((kind @ (FileShape::Xml | FileShape::Json | FileShape::JsonLines), _))) => {
            Ok((kind, asked))
        }
        (
            Format::Dandanplay | Format::Dplayer | Format::Twitch | Format::Youtube,
            Some((kind @ (FileShape::Json | FileShape::JsonLines), _)),
        ) => Ok((kind, asked)),
        (_, looks) => {
            let found = match looks {
                Some((FileShape::Xml, _)) => "XML",
                Some((FileShape::Json | FileShape::JsonLines, _)) => "JSON",
                Some((FileShape::Csv, _)) => "a CSV table",
                _ => other_text(text),
            };
            Err(RecordingError::Unusable(format!("this is {found}, not {asked}")))
        }
    }
}

/// One JSON value a line: the first line is complete, or broken but of the same kind as the second.
fn is_lines(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some(first) = lines.next().filter(|first| first.starts_with('{') && first.len() > 1) else { return false };
    let whole_line = text.len() > first.len();
    let goes_on = |line: &str| line.ends_with(['{', '[', ',', ':']);
    let second = lines.next();
    (whole_line && serde_json::from_str::<serde::de::IgnoredAny>(first).is_ok())
        || second.is_some_and(|second| second.starts_with('{') && !goes_on(first))
}

/// A header that names the two columns without which a table means nothing.
fn is_table(text: &str) -> bool {
    let header = text.lines().next().unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| header.split(',').any(|column| column.trim().trim_matches('"').trim() == name);
    has("offset_ms") && has("content")
}

fn is_html(text: &str) -> bool {
    let head = text.get(..text.len().min(15)).unwrap_or_default().to_ascii_lowercase();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// `[ti:…]`, `[00:12.34]`
fn is_lyrics(text: &str) -> bool {
    let tag = text.get(1..).unwrap_or_default();
    ["ti:", "ar:", "al:", "by:", "offset:"].iter().any(|name| tag.starts_with(name))
        || matches!(tag.as_bytes(), [b'0'..=b'9', b'0'..=b'9', b':', ..])
}

/// What a text is that is not read.
fn other_text(text: &str) -> &'static str {
    let cue = |line: &str| line.contains("-->");
    match text {
        "" => "an empty file",
        _ if text.starts_with("[Script Info]") || text.contains("\nDialogue:") => "ASS subtitles",
        _ if text.starts_with("WEBVTT") => "WebVTT subtitles",
        _ if text.lines().take(3).any(cue) => "SRT subtitles",
        _ if is_lyrics(text) => "LRC lyrics",
        _ if is_html(text) => "an HTML page",
        _ if text.contains('\0') => "a binary file of an unknown kind",
        _ => "text of an unknown kind",
    }
}

const MAGIC: [(&[u8], &str); 15] = [
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "Parquet"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "an FLV video"),
    (b"OggS", "an Ogg recording"),
];

fn other_binary(prefix: &[u8]) -> Option<&'static str> {
    let known = MAGIC.iter().find(|(magic, _)| prefix.starts_with(magic)).map(|(_, name)| *name);
    known.or_else(|| (memmem::find(prefix.get(..12)?, b"ftyp") == Some(4)).then_some("an MP4 video"))
}

/// Begins as a Protobuf segment: a first element of plausible length that begins with its id, time or mode.
fn is_segment(prefix: &[u8]) -> bool {
    let [0x0a, length, rest @ ..] = prefix else { return false };
    let rest = if *length < 0x80 { rest } else { rest.get(1..).unwrap_or_default() };
    *length > 0 && matches!(rest.first(), Some(0x08 | 0x10 | 0x18))
}
