//! XML as it is found: elements with a text, `<d p="…">text</d>` and `<chat vpos="…">text</chat>`.
//!
//! No XML parser reads these files: a raw `&` or `<`, a missing end tag, a wrong byte or a cut file ends it. This reader
//! looks for the elements it knows and mends each where it stands. It holds one element at a time.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memmem};

use super::{bilibili, niconico};
use crate::collect::Collector;
use crate::fields::{Resolved, unescape};
use crate::report::{Repair, SkipReason, SourceLocation};
use crate::{Format, RecordingError};

/// Longest start tag.
const TAG_BYTES_MAX: usize = 64 * 1024;
/// Longest text between start and end tag.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn read(input: &mut impl Read, collector: &mut Collector<'_>) -> Result<(), RecordingError> {
    let mut reader = Reader { scanner: Scanner::new(input), collector, root: None, closed: false, version_2: false };
    while reader.scanner.seek(b'<')? {
        reader.markup()?;
    }
    let end = reader.scanner.location();
    if !reader.closed {
        reader.collector.repaired(Repair::Unfinished, end);
    }
    match reader.root {
        Some(root) if reader.collector.report.comments == 0 && reader.collector.report.skipped.total() == 0 => {
            match root.as_str() {
                "i" | "packet" => Ok(()),
                _ => Err(RecordingError::Unsupported(format!("XML that begins with <{root}>"))),
            }
        }
        _ => Ok(()),
    }
}

struct Reader<'r, 'c, R> {
    scanner: Scanner<'r, R>,
    collector: &'r mut Collector<'c>,
    /// The first element's name.
    root: Option<String>,
    /// Its end tag came.
    closed: bool,
    /// `<?xml version="2.0"?>`: the fields of `p` stand in another order.
    version_2: bool,
}

/// Elements with a comment in them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    D,
    Chat,
}

impl Element {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::D => b"d",
            Self::Chat => b"chat",
        }
    }
}

impl<R: Read> Reader<'_, '_, R> {
    /// At a `<`: reads what it begins, or passes it by.
    fn markup(&mut self) -> Result<(), RecordingError> {
        self.scanner.ensure(NAME_BYTES_MAX)?;
        let rest = self.scanner.rest();
        if rest.starts_with(b"<!--") {
            return Ok(self.scanner.pass(Mark::Comment)?);
        }
        if rest.starts_with(b"<![CDATA[") {
            return Ok(self.scanner.pass(Mark::Literal)?);
        }
        if rest.starts_with(b"<?") {
            self.scanner.ensure(128)?;
            let rest = self.scanner.rest();
            let declaration = rest.get(..memchr(b'>', rest).unwrap_or(rest.len())).unwrap_or_default();
            self.version_2 |=
                memmem::find(declaration, b"version=\"2.0\"").is_some() && declaration.starts_with(b"<?xml ");
            return Ok(self.scanner.pass(Mark::Instruction)?);
        }
        let name = tag_name(rest);
        let name = String::from_utf8_lossy(name).into_owned();
        match name.as_str() {
            "d" => self.element(Element::D),
            "chat" => self.element(Element::Chat),
            "BililiveRecorderRecordInfo" => self.recorder(),
            "sc" | "gift" | "guard" | "toast" => {
                self.collector.skip(SkipReason::NotAComment, self.scanner.location());
                self.scanner.advance(1);
                Ok(())
            }
            _ => {
                match name.strip_prefix('/') {
                    Some(ended) => self.closed |= self.root.as_deref() == Some(ended),
                    None if self.root.is_none() && !name.is_empty() && !name.starts_with('!') => self.root = Some(name),
                    None => {}
                }
                self.scanner.advance(1);
                Ok(())
            }
        }
    }

    /// What a recorder says about the whole recording.
    fn recorder(&mut self) -> Result<(), RecordingError> {
        if let Tag::Whole { attributes, length, .. } = self.scanner.tag()? {
            let own = |name: &str| attributes.get(name).map(|value| unescape(value).0.trim().to_owned());
            self.collector.report.title = own("title").filter(|title| !title.is_empty());
            self.collector.report.started_at_ms = own("start_time").and_then(|time| crate::fields::time_ms(&time));
            self.scanner.advance(length);
        } else {
            self.scanner.advance(1);
        }
        Ok(())
    }

    fn element(&mut self, element: Element) -> Result<(), RecordingError> {
        let location = self.scanner.location();
        let (attributes, empty) = match self.scanner.tag()? {
            Tag::Whole { attributes, empty, length } => {
                self.scanner.advance(length);
                (attributes, empty)
            }
            Tag::Broken { length } => {
                self.scanner.advance(length);
                self.collector.skip(SkipReason::Broken, location);
                return Ok(());
            }
            Tag::Cut => {
                self.scanner.advance_all();
                self.collector.skip(SkipReason::Cut, location);
                return Ok(());
            }
        };
        let text = if empty { Text::default() } else { self.scanner.text(element)? };
        if text.cut || text.too_long {
            self.collector.skip(if text.cut { SkipReason::Cut } else { SkipReason::TooLong }, location);
            return Ok(());
        }
        let own = |name: &str| attributes.get(name).map(|value| unescape(value).0.into_owned());
        let mut repairs: Vec<Repair> = text.repairs().collect();
        let (format, entry) = match element {
            Element::D => {
                let entry =
                    bilibili::entry(own("p").as_deref(), own("user"), text.content, self.version_2, &mut repairs);
                (Format::Bilibili, entry)
            }
            Element::Chat => (Format::Niconico, niconico::chat(&own, text.content)),
        };
        self.collector.report.format = format;
        if entry.is_ok() {
            repairs.into_iter().for_each(|repair| self.collector.repaired(repair, location));
        }
        self.collector.accept(entry, location);
        Ok(())
    }
}

/// `d` of `<d p="…">`, `/d` of `</d>`.
fn tag_name(rest: &[u8]) -> &[u8] {
    let name = rest.get(1..rest.len().min(NAME_BYTES_MAX)).unwrap_or_default();
    let is_end = |(at, byte): (usize, &u8)| byte.is_ascii_whitespace() || *byte == b'>' || (*byte == b'/' && at > 0);
    let end = name.iter().enumerate().position(|(at, byte)| is_end((at, byte))).unwrap_or(name.len());
    name.get(..end).unwrap_or_default()
}

/// Longest name looked at.
const NAME_BYTES_MAX: usize = 64;

/// A start tag's attributes as written.
#[derive(Default)]
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

enum Tag {
    /// `length` bytes; `empty` has no text: `<d p="…"/>`.
    Whole { attributes: Attributes, empty: bool, length: usize },
    /// What follows these bytes is another element.
    Broken { length: usize },
    /// The file ends in it.
    Cut,
}

/// The text of an element, and what was mended in it.
#[derive(Default)]
struct Text {
    content: String,
    resolved: Resolved,
    bad_bytes: bool,
    raw_markup: bool,
    unclosed: bool,
    cut: bool,
    too_long: bool,
}

impl Text {
    fn push(&mut self, raw: &[u8], references: bool) {
        let text = String::from_utf8_lossy(raw);
        self.bad_bytes |= matches!(text, Cow::Owned(_));
        if !references {
            return self.content.push_str(&text);
        }
        let (plain, Resolved { unescaped, dropped, surrogates }) = unescape(&text);
        self.content.push_str(&plain);
        self.resolved.unescaped |= unescaped;
        self.resolved.dropped |= dropped;
        self.resolved.surrogates |= surrogates;
    }

    fn repairs(&self) -> impl Iterator<Item = Repair> {
        [
            (self.bad_bytes, Repair::BadBytes),
            (self.raw_markup || self.resolved.unescaped, Repair::Unescaped),
            (self.resolved.dropped, Repair::Control),
            (self.resolved.surrogates, Repair::Surrogates),
            (self.unclosed, Repair::Unclosed),
        ]
        .into_iter()
        .filter_map(|(happened, repair)| happened.then_some(repair))
    }
}

/// Bytes of a stream, as many at once as one element needs.
struct Scanner<'r, R> {
    input: &'r mut R,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    line: u64,
    /// Bytes before `buffer`.
    before: u64,
    /// By [`Mark`]: none stands between here and this byte. So a file full of beginnings is searched for ends once.
    without: [u64; 3],
}

/// What ends a piece of markup that is passed by.
#[derive(Clone, Copy)]
enum Mark {
    Comment,
    Literal,
    Instruction,
}

impl Mark {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Comment => b"-->",
            Self::Literal => b"]]>",
            Self::Instruction => b"?>",
        }
    }
}

const CHUNK: usize = 64 * 1024;

impl<'r, R: Read> Scanner<'r, R> {
    fn new(input: &'r mut R) -> Self {
        Self { input, buffer: Vec::new(), at: 0, ended: false, line: 1, before: 0, without: [0; 3] }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    fn location(&self) -> SourceLocation {
        SourceLocation { line: Some(self.line), byte: self.before + self.at as u64 }
    }

    fn advance(&mut self, n: usize) {
        let n = n.min(self.rest().len());
        self.line += memchr_iter(b'\n', self.rest().get(..n).unwrap_or_default()).count() as u64;
        self.at += n;
    }

    fn advance_all(&mut self) {
        self.advance(usize::MAX);
    }

    /// Reads on. False at the end.
    fn more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.before += self.at as u64;
        self.buffer.drain(..self.at);
        self.at = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + CHUNK, 0);
        let read = self.input.read(self.buffer.get_mut(held..).unwrap_or_default())?;
        self.buffer.truncate(held + read);
        self.ended = read == 0;
        Ok(!self.ended)
    }

    /// Has `n` bytes at hand, or all there are.
    fn ensure(&mut self, n: usize) -> io::Result<()> {
        while self.rest().len() < n && self.more()? {}
        Ok(())
    }

    /// Goes to the next `byte`. False when there is none.
    fn seek(&mut self, byte: u8) -> io::Result<bool> {
        loop {
            match memchr(byte, self.rest()) {
                Some(n) => {
                    self.advance(n);
                    return Ok(true);
                }
                None => self.advance_all(),
            }
            if !self.more()? {
                return Ok(false);
            }
        }
    }

    /// Goes behind the next mark; if there is none soon, behind the `<` only: it began nothing.
    fn pass(&mut self, mark: Mark) -> io::Result<()> {
        let length = self.find(mark)?.map_or(1, |at| at + mark.bytes().len());
        self.advance(length);
        Ok(())
    }

    /// Where the next mark is, if that is within [`TEXT_BYTES_MAX`].
    fn find(&mut self, mark: Mark) -> io::Result<Option<usize>> {
        let (here, bytes) = (self.location().byte, mark.bytes());
        let known = self.without.get(mark as usize).copied().unwrap_or(0).saturating_sub(here);
        let mut from = usize::try_from(known).unwrap_or(usize::MAX).min(TEXT_BYTES_MAX);
        loop {
            let rest = self.rest();
            let window = rest.get(..rest.len().min(TEXT_BYTES_MAX)).unwrap_or_default();
            if let Some(at) = window.get(from..).and_then(|window| memmem::find(window, bytes)) {
                return Ok(Some(from + at));
            }
            from = from.max((window.len() + 1).saturating_sub(bytes.len()));
            if let Some(without) = self.without.get_mut(mark as usize) {
                *without = here + from as u64;
            }
            if self.rest().len() >= TEXT_BYTES_MAX || !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Reads the start tag that stands here; goes nowhere.
    fn tag(&mut self) -> io::Result<Tag> {
        let (mut at, mut quote) = (1, None);
        loop {
            if self.rest().len() <= at + NAME_BYTES_MAX {
                self.ensure(at + CHUNK)?;
            }
            let Some(byte) = self.rest().get(at).copied() else { return Ok(Tag::Cut) };
            match (quote, byte) {
                (None, b'>') => break,
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if byte == open => quote = None,
                // A quote or a tag that never ended.
                (_, b'<') if begins_element(self.rest().get(at..).unwrap_or_default()) => {
                    return Ok(Tag::Broken { length: at });
                }
                _ => {}
            }
            at += 1;
            if at >= TAG_BYTES_MAX {
                return Ok(Tag::Broken { length: at });
            }
        }
        let tag = self.rest().get(1..at).unwrap_or_default();
        let empty = tag.ends_with(b"/");
        Ok(Tag::Whole { attributes: attributes(&String::from_utf8_lossy(tag)), empty, length: at + 1 })
    }

    /// Reads the text up to the element's end tag, and goes behind it.
    fn text(&mut self, element: Element) -> io::Result<Text> {
        let mut text = Text::default();
        let mut ends = SectionEnds::default();
        // `from`: what has been taken into the text; `at`: what has been looked at.
        let (mut from, mut at) = (0, 0);
        let end = loop {
            let Some(found) = memchr(b'<', self.rest().get(at..).unwrap_or_default()) else {
                at = self.rest().len();
                text.too_long |= at > TEXT_BYTES_MAX;
                if text.too_long || !self.more()? {
                    text.cut = !text.too_long;
                    break at;
                }
                continue;
            };
            at += found;
            if self.rest().len() < at + NAME_BYTES_MAX {
                self.ensure(at + CHUNK)?;
            }
            let markup = self.rest().get(at..).unwrap_or_default();
            if let Some(length) = end_tag(markup, element) {
                text.push(self.rest().get(from..at).unwrap_or_default(), true);
                break at + length;
            }
            if begins_element(markup) || ends_root(markup) {
                text.unclosed = true;
                text.push(self.rest().get(from..at).unwrap_or_default(), true);
                break at;
            }
            if let Some(section) = Section::at(markup) {
                self.ensure(at + SECTION_BYTES_MAX)?;
                if let Some(inner) = ends.find(section, self.rest(), at, element) {
                    text.push(self.rest().get(from..at).unwrap_or_default(), true);
                    if section == Section::Literal {
                        text.push(self.rest().get(at + CDATA.len()..at + inner).unwrap_or_default(), false);
                    }
                    at += inner + section.closing().len();
                    from = at;
                    continue;
                }
            }
            text.raw_markup = true;
            at += 1;
        };
        self.advance(end);
        Ok(text)
    }
}

const CDATA: &[u8] = b"<![CDATA[";
/// Longest section inside a text; one that is longer is text.
const SECTION_BYTES_MAX: usize = 64 * 1024;

/// What stands in a text and is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// `<![CDATA[…]]>`: shown as it is.
    Literal,
    /// `<!--…-->`: not shown.
    Comment,
}

impl Section {
    fn at(markup: &[u8]) -> Option<Self> {
        let comment = || markup.starts_with(b"<!--").then_some(Self::Comment);
        markup.starts_with(CDATA).then_some(Self::Literal).or_else(comment)
    }

    const fn closing(self) -> &'static [u8] {
        match self {
            Self::Literal => b"]]>",
            Self::Comment => b"-->",
        }
    }
}

/// What is known of the sections of one text, so that each byte is searched once: up to these bytes of it no section of the
/// kind ends, and the element ends before the next comment does.
#[derive(Default)]
struct SectionEnds {
    literal: usize,
    comment: usize,
    element: usize,
}

impl SectionEnds {
    /// How far behind `at`, where a section begins, its closing mark stands.
    fn find(&mut self, section: Section, text: &[u8], at: usize, element: Element) -> Option<usize> {
        let known = match section {
            Section::Literal => &mut self.literal,
            // A viewer may have typed `<!--`: then the element ends before the mark.
            Section::Comment if at < self.element => return None,
            Section::Comment => &mut self.comment,
        };
        let (from, window) = (at.max(*known), text.len().min(at + SECTION_BYTES_MAX));
        let searched = text.get(from..window).unwrap_or_default();
        let Some(end) = memmem::find(searched, section.closing()).map(|end| from + end) else {
            *known = from.max((window + 1).saturating_sub(section.closing().len()));
            return None;
        };
        *known = end;
        if section == Section::Comment {
            let inner = text.get(at..end).unwrap_or_default();
            let is_end = |at: &usize| end_tag(inner.get(*at..).unwrap_or_default(), element).is_some();
            if let Some(tag) = memmem::find_iter(inner, b"</").find(is_end) {
                self.element = at + tag;
                return None;
            }
        }
        Some(end - at)
    }
}

/// How long the end tag of `element` is that stands here.
fn end_tag(markup: &[u8], element: Element) -> Option<usize> {
    let after = markup.strip_prefix(b"</")?.strip_prefix(element.name())?;
    let spaces = after.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    (after.get(spaces) == Some(&b'>')).then_some(2 + element.name().len() + spaces + 1)
}

/// A start tag of a comment: no text looks like it.
fn begins_element(markup: &[u8]) -> bool {
    [&b"<d p="[..], b"<d user=", b"<chat thread=", b"<chat no=", b"<chat vpos="]
        .iter()
        .any(|tag| markup.starts_with(tag))
}

fn ends_root(markup: &[u8]) -> bool {
    markup.starts_with(b"</i>") || markup.starts_with(b"</packet>")
}

/// `name="value"` as often as it stands there, with either quote or none.
fn attributes(tag: &str) -> Attributes {
    let mut found = Attributes::default();
    let mut rest = tag.split_once(|c: char| c.is_ascii_whitespace()).map_or("", |(_, rest)| rest);
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.rsplit(|c: char| c.is_ascii_whitespace()).find(|name| !name.is_empty()).unwrap_or_default();
        let value = value.trim_start();
        let quoted = value.chars().next().filter(|quote| matches!(quote, '"' | '\''));
        let (value, after) = match quoted {
            Some(quote) => value.get(1..).unwrap_or_default().split_once(quote).unwrap_or((value, "")),
            None => value.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((value, "")),
        };
        found.0.push((name.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}
