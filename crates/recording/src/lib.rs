//! Files of recorded comments that other programs write: read tolerantly, and written.
//!
//! A file is read as a stream. What can be shown comes out as [`Recorded`]; everything else is counted by reason and
//! named with its location in the [`Report`], as is whatever was changed. Real files are dirty: one bad entry never
//! refuses the others. [`Format`] names the formats; each has a file in `formats`.
//!
//! Pure but for the reader and writer passed in. The `import`, `play`, `export` and `bench` commands call it. It never
//! runs code from a file, follows a link or expands an entity of the file's own.

mod collect;
mod detect;
mod encoding;
mod fields;
mod formats;
mod report;
mod title;
mod write;

use std::io::{self, Read};

use model::Style;

pub use detect::Format;
pub use formats::bilibili_pb::bilibili_segment;
pub use report::{Counts, LOCATIONS_MAX, Occurrences, Repair, Report, SkipReason, SourceLocation};
pub use title::title_of;
pub use write::{ExportFormat, ParquetWriter, Writer};

use collect::Collector;
use detect::FileShape;
use encoding::Decoded;

/// Most comments of one file that is held as a whole; the rest is counted as skipped.
pub const COMMENTS_MAX: usize = 1_000_000;
/// The latest offset in a recording, in milliseconds: a week.
pub const OFFSET_MS_MAX: i64 = 7 * 86_400_000;
/// Most bytes read of a file.
pub const FILE_BYTES_MAX: u64 = 4 << 30;

/// One recorded comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Milliseconds into the video.
    pub offset_ms: i64,
    /// The text. It may have several lines.
    pub content: String,
    /// How it looks.
    pub style: Style,
    /// When it was said, Unix milliseconds, if the file says.
    pub created_at_ms: Option<i64>,
    /// Stands for the sender; opaque.
    pub sender: Option<String>,
    /// The sender's shown name, if the file has one.
    pub username: Option<String>,
}

/// A file's comments in the order of the video, and what else was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Sorted by offset.
    pub comments: Vec<Recorded>,
    /// What was skipped and changed.
    pub report: Report,
}

/// The file as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Reading it failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is {0}, which import does not read yet")]
    Unsupported(String),
    /// It is of the asked format, but something is missing without which nothing in it makes sense.
    #[error("{0}")]
    Unusable(String),
    /// Nothing in it looks like a comment.
    #[error("there are no comments in it ({0})")]
    NoComments(Format),
}

/// Reads a file's comments in the order of the video; the content tells the format.
///
/// # Errors
/// When the file is something else, or there is no entry in it at all.
pub fn parse(file: &[u8]) -> Result<Recording, RecordingError> {
    parse_from(file, Format::Auto)
}

/// As [`parse`], from a stream, of the given format.
///
/// # Errors
/// As [`parse`], and when reading fails.
pub fn parse_from(input: impl Read, format: Format) -> Result<Recording, RecordingError> {
    let mut comments = Vec::new();
    let report = read_up_to(COMMENTS_MAX as u64, input, format, &mut |comment| comments.push(comment))?;
    comments.sort_by_key(|comment: &Recorded| comment.offset_ms);
    Ok(Recording { comments, report })
}

/// Reads a file as a stream and hands each comment to `each`, in the order of the file. Memory does not grow with it.
///
/// # Errors
/// As [`parse_from`]. What was handed on before stays valid.
pub fn read(input: impl Read, format: Format, each: &mut dyn FnMut(Recorded)) -> Result<Report, RecordingError> {
    read_up_to(u64::MAX, input, format, each)
}

fn read_up_to(
    comments_max: u64,
    input: impl Read,
    format: Format,
    each: &mut dyn FnMut(Recorded),
) -> Result<Report, RecordingError> {
    let mut input = input.take(FILE_BYTES_MAX);
    let prefix = detect::prefix(&mut input)?;
    let content = detect::content(&prefix, format)?;
    let mut collector = Collector::new(content.format, comments_max, each);
    let mut input = Decoded::new(prefix.as_slice().chain(input), content.encoding);
    match content.kind {
        FileShape::Protobuf => formats::bilibili_pb::read(&mut input, &mut collector)?,
        FileShape::Xml => formats::xml::read(&mut input, &mut collector)?,
        FileShape::Json => formats::json::document(&mut input, format, &mut collector)?,
        FileShape::JsonLines => formats::json::lines(&mut input, format, &mut collector)?,
        FileShape::Csv => formats::csv::read(&mut input, &mut collector)?,
    }
    collector.report.repaired.absorb(input.changed());
    if content.misdeclared {
        collector.repaired(Repair::Encoding, SourceLocation { line: Some(1), byte: 0 });
    }
    let report = collector.finish();
    if report.comments == 0 && report.skipped.total() == 0 {
        return Err(RecordingError::NoComments(report.format));
    }
    Ok(report)
}
