//! Tables (RFC 4180) with a header: `offset_ms`, `content`, and optionally `user_id`, `username`, `mode`, `color`, `size`,
//! `created_at`.

use std::cell::Cell;
use std::io::{self, Read};

use csv::ByteRecord;
use memchr::{memchr, memchr_iter};
use model::{Mode, Size, Style};

use crate::collect::{Collector, ParsedEntry};
use crate::fields::{self, moment_ms, time_ms};
use crate::report::{Repair, SkipReason, SourceLocation};
use crate::{Format, RecordingError};

/// Longest record. The table ends where one is longer: without its end nobody can tell where the next begins.
const RECORD_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) fn read(input: &mut impl Read, collector: &mut Collector<'_>) -> Result<(), RecordingError> {
    collector.report.format = Format::Csv;
    let seen = Seen::default();
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(Watched { input, seen: &seen });
    seen.end.set(RECORD_BYTES_MAX);
    let header = reader.byte_headers().map_err(failed)?;
    let columns = Columns::of(header);
    if columns.offset_ms.is_none() || columns.content.is_none() {
        let header = String::from_utf8_lossy(header.as_slice());
        let header: String = header.chars().take(80).collect();
        return Err(RecordingError::Unusable(format!(
            "the table's header must name offset_ms and content; it is {header:?}"
        )));
    }
    let width = header.len();
    let mut record = ByteRecord::new();
    // A record is taken when the next one shows that the file went on: only the last one can be cut.
    let mut held: Option<(ByteRecord, SourceLocation)> = None;
    loop {
        seen.end.set(seen.read.get() + RECORD_BYTES_MAX);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) if seen.is_too_long() => {
                if let Some((record, location)) = held.take() {
                    accept_record(&record, &columns, width, location, collector);
                }
                let position = reader.position();
                let location = SourceLocation { line: Some(position.line()), byte: position.byte() };
                collector.skip(SkipReason::TooLong, location);
                break;
            }
            Err(error) => return Err(failed(error)),
        }
        if let Some((record, location)) = held.take() {
            accept_record(&record, &columns, width, location, collector);
        }
        let position = record.position();
        // Between CR and LF the reader counts the record as begun.
        let behind = u64::from(seen.crlf.get());
        let location = SourceLocation {
            line: position.map(|position| position.line() + behind),
            byte: position.map_or(0, |position| position.byte() + behind),
        };
        held = Some((record.clone(), location));
    }
    if let Some((record, location)) = held {
        match seen.is_cut() {
            true => collector.skip(SkipReason::Cut, location),
            false => accept_record(&record, &columns, width, location, collector),
        }
    }
    Ok(())
}

fn failed(error: csv::Error) -> RecordingError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => RecordingError::Io(error),
        other => RecordingError::Unusable(format!("the table cannot be read: {other:?}")),
    }
}

/// What went by, to tell whether the file ends inside a quoted field: then it has an odd number of quotes and no line
/// end behind them.
#[derive(Default)]
struct Seen {
    quotes: Cell<u64>,
    last: Cell<u8>,
    /// Lines end with CR and LF: the first one does.
    crlf: Cell<bool>,
    begun: Cell<bool>,
    read: Cell<u64>,
    /// Nothing is read from this byte on.
    end: Cell<u64>,
}

impl Seen {
    fn is_too_long(&self) -> bool {
        self.read.get() >= self.end.get()
    }

    fn is_cut(&self) -> bool {
        self.quotes.get() % 2 == 1 && !matches!(self.last.get(), b'"' | b'\n')
    }
}

struct Watched<'a, R> {
    input: &'a mut R,
    seen: &'a Seen,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.seen.is_too_long() {
            return Err(io::Error::other("a record is too long"));
        }
        let n = self.input.read(buffer)?;
        let read = buffer.get(..n).unwrap_or_default();
        self.seen.read.set(self.seen.read.get() + n as u64);
        self.seen.quotes.set(self.seen.quotes.get() + memchr_iter(b'"', read).count() as u64);
        if let Some(end) = memchr(b'\n', read).filter(|_| !self.seen.begun.replace(true)) {
            self.seen.crlf.set(end.checked_sub(1).and_then(|before| read.get(before)) == Some(&b'\r'));
        }
        self.seen.last.set(read.last().copied().unwrap_or(self.seen.last.get()));
        Ok(n)
    }
}

#[derive(Default)]
struct Columns {
    offset_ms: Option<usize>,
    content: Option<usize>,
    user_id: Option<usize>,
    username: Option<usize>,
    mode: Option<usize>,
    color: Option<usize>,
    size: Option<usize>,
    created_at: Option<usize>,
}

impl Columns {
    fn of(header: &ByteRecord) -> Self {
        let at = |name: &str| {
            // A byte order mark may stand before the first name.
            let same = |column: &[u8]| {
                column.strip_prefix(b"\xef\xbb\xbf").unwrap_or(column).eq_ignore_ascii_case(name.as_bytes())
            };
            header.iter().position(same)
        };
        Self {
            offset_ms: at("offset_ms"),
            content: at("content"),
            user_id: at("user_id"),
            username: at("username"),
            mode: at("mode"),
            color: at("color"),
            size: at("size"),
            created_at: at("created_at"),
        }
    }
}

fn accept_record(
    record: &ByteRecord,
    columns: &Columns,
    width: usize,
    location: SourceLocation,
    collector: &mut Collector<'_>,
) {
    if record.iter().any(|field| std::str::from_utf8(field).is_err()) {
        collector.repaired(Repair::BadBytes, location);
    }
    let entry = entry(record, columns, width, location, collector);
    collector.accept(entry, location);
}

fn entry(
    record: &ByteRecord,
    columns: &Columns,
    width: usize,
    location: SourceLocation,
    collector: &mut Collector<'_>,
) -> Result<ParsedEntry, SkipReason> {
    // More fields than columns: a comma in a text without quotes. Which column it belongs to cannot be told.
    if record.len() > width {
        return Err(SkipReason::Broken);
    }
    let field = |at: Option<usize>| {
        let text = String::from_utf8_lossy(record.get(at?)?).into_owned();
        (!text.trim().is_empty()).then_some(text)
    };
    let offset_ms =
        field(columns.offset_ms).ok_or(SkipReason::NoTime)?.trim().parse().map_err(|_| SkipReason::NoTime)?;
    let content = record.get(columns.content.unwrap_or(usize::MAX)).ok_or(SkipReason::Broken)?;
    let mut style = Style::default();
    if let Some(mode) = field(columns.mode) {
        style.mode = match mode.trim().to_ascii_lowercase().as_str() {
            "scroll" => Mode::Scroll,
            "top" => Mode::Top,
            "bottom" => Mode::Bottom,
            other => {
                collector.repaired(Repair::Mode, location);
                fields::movement(fields::mode_number(Some(other)).value)
            }
        };
    }
    if let Some(color) = field(columns.color) {
        style.color = fields::hex_color(color.trim()).unwrap_or_else(|| {
            collector.repaired(Repair::Color, location);
            fields::color(color.trim()).value
        });
    }
    if let Some(size) = field(columns.size) {
        style.size = match size.trim().to_ascii_lowercase().as_str() {
            "small" => Size::Small,
            "large" => Size::Large,
            "normal" => Size::Normal,
            other => fields::size(Some(other)),
        };
    }
    Ok(ParsedEntry {
        offset_ms,
        content: String::from_utf8_lossy(content).into_owned(),
        style,
        created_at_ms: field(columns.created_at).and_then(|time| time_ms(&time).or_else(|| moment_ms(time.trim()))),
        sender: field(columns.user_id),
        username: field(columns.username),
    })
}
