//! JSON: documents that hold their comments in arrays somewhere inside, and files with one value a line.
//!
//! A document is walked as it is read: whatever stands in an array is an entry, the names of [`CONTAINERS`] are gone
//! into. So no document is held whole, and one that is cut gives what stood before the cut. An entry that is longer than any
//! ends it too: a parser holds it before anybody can look at it. What an entry means, its format's file knows; the shape of
//! the entry tells which, unless one was asked for.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::json_mend::{Mended, Mender};
use super::{comment, dandanplay, dplayer, niconico, twitch, youtube};
use crate::collect::{Collector, ParsedEntry};
use crate::report::{Counts, Repair, SkipReason, SourceLocation};
use crate::{Format, RecordingError};

/// Members that hold entries, or lead to them.
const CONTAINERS: [&str; 9] = ["data", "threads", "comments", "video", "edges", "node", "chat", "danmaku", "danmuku"];
/// Members kept of what is no entry.
const METADATA: [&str; 2] = ["title", "created_at"];
/// Longest line.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest entry of a document, with everything that is kept of it.
const ENTRY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads one document, or several in a row.
pub(crate) fn document(
    input: &mut impl Read,
    asked: Format,
    collector: &mut Collector<'_>,
) -> Result<(), RecordingError> {
    let at = Rc::new(Cell::new(SourceLocation { line: Some(1), byte: 0 }));
    let end = Rc::new(Cell::new(u64::MAX));
    let mut mended = Mended::new(input);
    let input = Counted { input: &mut mended, at: at.clone(), end: end.clone() };
    let mut json = serde_json::Deserializer::from_reader(input);
    let mut walk = Walk { collector: &mut *collector, asked, at: At::Read { at: at.clone(), end: end.clone() } };
    let walked = values(&mut json, &mut walk);
    drop(json);
    collector.report.repaired.absorb(mended.changed());
    let is_too_long = at.get().byte >= end.get();
    match walked {
        Ok(()) => Ok(()),
        Err(_) if is_too_long => {
            collector.skip(SkipReason::TooLong, at.get());
            Ok(())
        }
        Err(_) if mended.is_too_deep() => {
            collector.skip(SkipReason::Broken, at.get());
            Ok(())
        }
        Err(error) if error.is_io() => Err(RecordingError::Io(error.into())),
        Err(error) => {
            collector.skip(if error.is_eof() { SkipReason::Cut } else { SkipReason::Broken }, at.get());
            Ok(())
        }
    }
}

/// The first value is the document; a file of several goes on until its end.
fn values<'de, R: serde_json::de::Read<'de>>(
    json: &mut serde_json::Deserializer<R>,
    walk: &mut Walk<'_, '_>,
) -> serde_json::Result<()> {
    let mut element = false;
    loop {
        walk.allow(ENTRY_BYTES_MAX);
        match json.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_io() => return Err(error),
            Err(_) => (Node { walk: &mut *walk, element, depth: 0 }).deserialize(&mut *json)?,
        }
        element = true;
    }
}

/// Reads a file with one value a line; a broken line is skipped alone.
pub(crate) fn lines(input: &mut impl Read, asked: Format, collector: &mut Collector<'_>) -> Result<(), RecordingError> {
    let mut input = BufReader::new(input);
    let mut location = SourceLocation { line: Some(1), byte: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(());
        }
        let ends = line.ends_with(b"\n");
        one_line(&line, ends, asked, location, collector);
        let mut length = read;
        if !ends && read == LINE_BYTES_MAX {
            length += input.skip_until(b'\n')? as u64;
        }
        location = SourceLocation { line: location.line.map(|line| line + 1), byte: location.byte + length };
    }
}

fn one_line(line: &[u8], ends: bool, asked: Format, location: SourceLocation, collector: &mut Collector<'_>) {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let mut mended = line.to_vec();
    let mut changed = Counts::default();
    Mender::default().mend(&mut mended, true, location, &mut changed);
    collector.report.repaired.absorb(&changed);
    let text = String::from_utf8_lossy(&mended);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        collector.repaired(Repair::BadBytes, location);
    }
    if text.trim().is_empty() {
        return;
    }
    if line.len() as u64 >= LINE_BYTES_MAX {
        return collector.skip(SkipReason::TooLong, location);
    }
    let mut json = serde_json::Deserializer::from_str(&text);
    let mut walk = Walk { collector, asked, at: At::Fixed(location) };
    let walked = (Node { walk: &mut walk, element: true, depth: 0 }).deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = walked {
        let cut = !ends && error.is_eof();
        collector.skip(if cut { SkipReason::Cut } else { SkipReason::Broken }, location);
    }
}

struct Walk<'w, 'c> {
    collector: &'w mut Collector<'c>,
    asked: Format,
    at: At,
}

/// Where the entries are.
enum At {
    Fixed(SourceLocation),
    /// Read up to `at`; nothing is read from `end` on.
    Read {
        at: Rc<Cell<SourceLocation>>,
        end: Rc<Cell<u64>>,
    },
}

impl Walk<'_, '_> {
    fn location(&self) -> SourceLocation {
        match &self.at {
            At::Fixed(location) => *location,
            At::Read { at, .. } => at.get(),
        }
    }

    /// So many bytes may be read from here; a line is short enough by itself.
    fn allow(&self, bytes: u64) {
        if let At::Read { at, end } = &self.at {
            end.set(at.get().byte.saturating_add(bytes));
        }
    }

    fn entry(&mut self, value: &Value, location: SourceLocation) {
        let mut repairs = Vec::new();
        match meaning(self.asked, value, &mut repairs) {
            Some((format, entries)) => {
                self.collector.report.format = format;
                for entry in entries {
                    if entry.is_ok() {
                        repairs.drain(..).for_each(|repair| self.collector.repaired(repair, location));
                    }
                    self.collector.accept(entry, location);
                }
            }
            None => {
                // Beside its comments, Niconico's older form has entries about the thread.
                let about = ["thread", "ping", "leaf", "global_num_res"].iter().any(|name| value.get(name).is_some());
                self.collector.skip(if about { SkipReason::NotAComment } else { SkipReason::Broken }, location);
            }
        }
    }

    fn metadata(&mut self, members: &Map<String, Value>) {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let report = &mut self.collector.report;
        report.title = report.title.take().or_else(|| text("title").map(str::to_owned));
        report.started_at_ms = report.started_at_ms.or_else(|| text("created_at").and_then(crate::fields::time_ms));
    }
}

/// What an entry is, by what was asked for or by its shape.
fn meaning(
    asked: Format,
    value: &Value,
    repairs: &mut Vec<Repair>,
) -> Option<(Format, Vec<Result<ParsedEntry, SkipReason>>)> {
    let one = |format: Format, repairs: &mut Vec<Repair>| match format {
        Format::Dandanplay => dandanplay::entry(value, repairs).map(|entry| vec![entry]),
        Format::Dplayer => dplayer::entry(value, repairs).map(|entry| vec![entry]),
        Format::Niconico => niconico::entry(value).map(|entry| vec![entry]),
        Format::Twitch => twitch::entry(value).map(|entry| vec![entry]),
        Format::Youtube => youtube::entries(value),
        Format::Jsonl => comment::entry(value).map(|entry| vec![entry]),
        _ => None,
    };
    let all = [Format::Jsonl, Format::Twitch, Format::Niconico, Format::Dandanplay, Format::Youtube, Format::Dplayer];
    let asked = [asked];
    let tried = if asked == [Format::Auto] { &all[..] } else { &asked[..] };
    tried.iter().find_map(|format| Some((*format, one(*format, repairs)?)))
}

/// A value of the document: a container, or an entry.
struct Node<'n, 'w, 'c> {
    walk: &'n mut Walk<'w, 'c>,
    /// It stands where entries do.
    element: bool,
    depth: u8,
}

/// Containers in one another; more are no document of comments.
const DEPTH_MAX: u8 = 16;

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth > DEPTH_MAX {
            return Err(A::Error::custom("too deep"));
        }
        let location = self.walk.location();
        let (mut members, mut container) = (Map::new(), false);
        // What is kept of an entry is bounded, also when other entries stand between its members.
        let mut left = ENTRY_BYTES_MAX;
        loop {
            let from = self.walk.location().byte;
            self.walk.allow(left);
            let Some(name) = map.next_key::<String>()? else { break };
            if CONTAINERS.contains(&name.as_str()) {
                container = true;
                left = left.saturating_sub(self.walk.location().byte - from);
                let element = matches!(name.as_str(), "node" | "chat");
                map.next_value_seed(Node { walk: &mut *self.walk, element, depth: self.depth + 1 })?;
            } else if self.element || METADATA.contains(&name.as_str()) {
                members.insert(name, map.next_value()?);
                left = left.saturating_sub(self.walk.location().byte - from);
            } else {
                self.walk.allow(u64::MAX);
                map.next_value::<IgnoredAny>()?;
            }
        }
        match (container, self.element) {
            (false, true) => self.walk.entry(&Value::Object(members), location),
            _ => self.walk.metadata(&members),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.element {
            let location = self.walk.location();
            self.walk.allow(ENTRY_BYTES_MAX);
            let mut fields = Vec::new();
            while let Some(field) = seq.next_element::<Value>()? {
                fields.push(field);
            }
            self.walk.entry(&Value::Array(fields), location);
            return Ok(());
        }
        loop {
            self.walk.allow(ENTRY_BYTES_MAX);
            if seq.next_element_seed(Node { walk: &mut *self.walk, element: true, depth: self.depth + 1 })?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Node<'_, '_, '_> {
    fn scalar<E>(self) -> Result<(), E> {
        if self.element {
            let location = self.walk.location();
            self.walk.collector.skip(SkipReason::Broken, location);
        }
        Ok(())
    }
}

/// Counts the lines and bytes that go by, and ends where no more may be read.
struct Counted<R> {
    input: R,
    at: Rc<Cell<SourceLocation>>,
    end: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let SourceLocation { line, byte } = self.at.get();
        if byte >= self.end.get() {
            return Err(io::Error::other("an entry is too long"));
        }
        let n = self.input.read(buffer)?;
        let read = buffer.get(..n).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', read).count() as u64;
        self.at.set(SourceLocation { line: line.map(|line| line + lines), byte: byte + n as u64 });
        Ok(n)
    }
}
