//! A segment of comments as Protobuf: `elems = 1`, each an element with id, `progress` in milliseconds, mode, size,
//! colour, sender's hash, text, Unix seconds. Elements are read one by one, so that a broken one is skipped alone. The
//! players' door writes them.

use std::io::{self, Read};
use std::sync::Arc;

use model::{Comment, Mode, Size, Style};
use prost::Message;

use super::bilibili;
use crate::collect::{Collector, ParsedEntry};
use crate::fields::{font, movement};
use crate::report::{Repair, SkipReason, SourceLocation};
use crate::{Format, RecordingError};

/// Longest element.
const ELEMENT_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(message, repeated, tag = "1")]
    elements: Vec<Element>,
}

#[derive(Clone, PartialEq, Message)]
struct Element {
    #[prost(int64, tag = "1")]
    id: i64,
    /// Milliseconds into the recording, not into the segment.
    #[prost(int32, tag = "2")]
    progress_ms: i32,
    #[prost(int32, tag = "3")]
    mode: i32,
    #[prost(int32, tag = "4")]
    font_size: i32,
    #[prost(uint32, tag = "5")]
    color: u32,
    #[prost(string, tag = "6")]
    sender: String,
    #[prost(string, tag = "7")]
    content: String,
    #[prost(int64, tag = "8")]
    sent_s: i64,
    #[prost(string, tag = "12")]
    id_text: String,
}

/// Comments as the bytes of a segment; of none there are none.
#[must_use]
pub fn bilibili_segment(comments: &[Arc<Comment>]) -> Vec<u8> {
    Segment { elements: comments.iter().map(|comment| element(comment)).collect() }.encode_to_vec()
}

fn element(comment: &Comment) -> Element {
    Element {
        id: comment.id.0.cast_signed(),
        progress_ms: i32::try_from(comment.offset_ms).unwrap_or(i32::MAX),
        mode: match comment.style.mode {
            Mode::Scroll => 1,
            Mode::Bottom => 4,
            Mode::Top => 5,
        },
        font_size: match comment.style.size {
            Size::Small => 18,
            Size::Normal => 25,
            Size::Large => 36,
        },
        color: comment.style.color,
        sender: comment.user_id.as_str().to_owned(),
        content: comment.content.to_string(),
        sent_s: comment.created_at_ms / 1_000,
        id_text: comment.id.to_string(),
    }
}

pub(crate) fn read(input: &mut impl Read, collector: &mut Collector<'_>) -> Result<(), RecordingError> {
    collector.report.format = Format::BilibiliPb;
    let mut bytes = Bytes { input: io::BufReader::new(input), at: 0 };
    loop {
        let location = SourceLocation { line: None, byte: bytes.at };
        let end = match field(&mut bytes) {
            Ok(Some(Field::Element(element))) => {
                match element {
                    Ok(element) => accept_element(element, location, collector),
                    Err(reason) => collector.skip(reason, location),
                }
                continue;
            }
            Ok(Some(Field::Other)) => continue,
            Ok(None) => return Ok(()),
            Err(end) => end,
        };
        match end {
            // Nothing after it can be told apart.
            End::Broken => collector.skip(SkipReason::Broken, location),
            End::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => collector.skip(SkipReason::Cut, location),
            End::Io(error) => return Err(error.into()),
        }
        return Ok(());
    }
}

enum Field {
    Element(Result<Element, SkipReason>),
    Other,
}

enum End {
    Broken,
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The next field; `None` at the end of the file.
fn field(bytes: &mut Bytes<impl Read>) -> Result<Option<Field>, End> {
    let Some(key) = bytes.varint()? else { return Ok(None) };
    match key & 7 {
        0 => {
            bytes.varint()?.ok_or(End::Io(io::ErrorKind::UnexpectedEof.into()))?;
        }
        1 => bytes.skip(8)?,
        5 => bytes.skip(4)?,
        2 => {
            let length = bytes.varint()?.ok_or(End::Io(io::ErrorKind::UnexpectedEof.into()))?;
            if key >> 3 != 1 {
                bytes.skip(length)?;
            } else if length > ELEMENT_BYTES_MAX {
                bytes.skip(length)?;
                return Ok(Some(Field::Element(Err(SkipReason::TooLong))));
            } else {
                let body = bytes.bytes(length)?;
                return Ok(Some(Field::Element(Element::decode(body.as_slice()).map_err(|_| SkipReason::Broken))));
            }
        }
        _ => return Err(End::Broken),
    }
    Ok(Some(Field::Other))
}

fn accept_element(element: Element, location: SourceLocation, collector: &mut Collector<'_>) {
    let mut repairs = Vec::new();
    let entry = entry(element, &mut repairs);
    if entry.is_ok() {
        repairs.into_iter().for_each(|repair| collector.repaired(repair, location));
    }
    collector.accept(entry, location);
}

fn entry(element: Element, repairs: &mut Vec<Repair>) -> Result<ParsedEntry, SkipReason> {
    let Element { progress_ms, mode, font_size, color, sender, content, sent_s, .. } = element;
    // 0 is the value of a field that is not there.
    let mode = u8::try_from(mode).unwrap_or(1).max(1);
    Ok(ParsedEntry {
        offset_ms: f64::from(progress_ms),
        content: bilibili::content(mode, content, repairs)?,
        style: Style { mode: movement(mode), color: color & 0xff_ffff, size: font(font_size) },
        created_at_ms: (sent_s > 0).then(|| sent_s.checked_mul(1_000)).flatten(),
        sender: Some(sender),
        username: None,
    })
}

/// A stream with its position.
struct Bytes<R> {
    input: R,
    at: u64,
}

impl<R: Read> Bytes<R> {
    /// `None` when the stream ends before it.
    fn varint(&mut self) -> Result<Option<u64>, End> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            match self.input.read(&mut byte)? {
                0 if shift == 0 => return Ok(None),
                0 => return Err(End::Io(io::ErrorKind::UnexpectedEof.into())),
                _ => self.at += 1,
            }
            let [byte] = byte;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Err(End::Broken)
    }

    fn bytes(&mut self, n: u64) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        let read = (&mut self.input).take(n).read_to_end(&mut taken)? as u64;
        self.at += read;
        if read < n { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(taken) }
    }

    fn skip(&mut self, n: u64) -> io::Result<()> {
        let read = io::copy(&mut (&mut self.input).take(n), &mut io::sink())?;
        self.at += read;
        if read < n { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
