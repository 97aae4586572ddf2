//! Files of recorded comments: the XML that players exchange, one `<d p="…">text</d>` a comment.
//!
//! `p` holds, separated by commas: seconds into the video, mode (1–3 and 6 fly, 4 bottom, 5 top,
//! 7 positioned, 8 and 9 code), font size (18 small, 25 normal, 36 large), colour as a decimal RGB
//! number, Unix seconds, pool, a hash of the sender, and the id of the comment. Fields after the
//! fourth may be missing. Positioned comments carry a JSON array whose fifth element is their text.
//! Old files write a line break as `/n`.
//! What cannot be shown (code, empty text, a place that is no number) is skipped and counted.
//!
//! Pure: bytes in, comments out. Used by the `import` and `play` commands.

use model::{Mode, Size, Style};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Most comments of one file; the rest is counted as skipped.
pub const COMMENTS_MAX: usize = 1_000_000;
/// The farthest place in a recording, in milliseconds: a week.
const OFFSET_MS_MAX: f64 = 7.0 * 86_400_000.0;

/// One recorded comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Milliseconds into the video.
    pub offset_ms: i64,
    /// The text.
    pub content: String,
    /// How it looks.
    pub style: Style,
    /// When it was said, Unix milliseconds, if the file says.
    pub created_at_ms: Option<i64>,
    /// Stands for the sender; opaque.
    pub sender: Option<String>,
}

/// A file's comments in the order of the video.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Sorted by place.
    pub comments: Vec<Recorded>,
    /// Entries that cannot be shown.
    pub skipped: u64,
}

/// The file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Not well-formed XML.
    #[error("the XML is broken at byte {at}: {why}")]
    Xml {
        /// Where.
        at: u64,
        /// Why.
        why: String,
    },
    /// Nothing in it looks like a comment.
    #[error("there is no <d p=\"…\"> in it")]
    NoComments,
}

/// Reads a file. Entities of the XML standard are resolved, others are an error; there are no
/// external ones, so nothing is ever fetched or expanded without bound.
///
/// # Errors
/// When the XML is broken, or holds no comment at all.
pub fn parse(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let mut reader = Reader::from_reader(bytes);
    let mut recording = Recording::default();
    let mut open: Option<(Place, String)> = None;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let broken = |reader: &Reader<&[u8]>, why: String| RecordingError::Xml { at: reader.error_position(), why };
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) if tag.name().as_ref() == b"d" => {
                open = place(&tag).map(|place| (place, String::new()))
            }
            Ok(Event::Text(text)) => {
                let text = text.decode().map_err(|error| broken(&reader, error.to_string()))?;
                open.iter_mut().for_each(|(_, content)| content.push_str(&text));
            }
            Ok(Event::CData(text)) => {
                let text = text.decode().map_err(|error| broken(&reader, error.to_string()))?;
                open.iter_mut().for_each(|(_, content)| content.push_str(&text));
            }
            Ok(Event::GeneralRef(reference)) => {
                let text = resolve(&reference).ok_or_else(|| broken(&reader, "an unknown entity".into()))?;
                open.iter_mut().for_each(|(_, content)| content.push_str(&text));
            }
            Ok(Event::End(tag)) if tag.name().as_ref() == b"d" => recording.take(open.take()),
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => return Err(broken(&reader, error.to_string())),
        }
    }
    if recording.comments.is_empty() && recording.skipped == 0 {
        return Err(RecordingError::NoComments);
    }
    recording.comments.sort_by_key(|comment| comment.offset_ms);
    Ok(recording)
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<String> {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return Some(c.to_string());
    }
    let name = reference.decode().ok()?;
    quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned)
}

/// What `p` says.
struct Place {
    offset_ms: i64,
    mode: u8,
    style: Style,
    created_at_ms: Option<i64>,
    sender: Option<String>,
}

/// `None` when there is no usable `p`.
fn place(tag: &BytesStart<'_>) -> Option<Place> {
    let attribute = tag.try_get_attribute("p").ok()??;
    let text = std::str::from_utf8(&attribute.value).ok()?;
    let mut fields = text.split(',').map(str::trim);
    let offset_ms = fields.next()?.parse::<f64>().ok().map(|seconds| seconds * 1_000.0)?;
    if !(0.0..=OFFSET_MS_MAX).contains(&offset_ms) {
        return None;
    }
    let mode = fields.next()?.parse::<u8>().ok()?;
    let size = match fields.next().and_then(|size| size.parse::<u32>().ok()) {
        Some(..=18) => Size::Small,
        Some(36..) => Size::Large,
        _ => Size::Normal,
    };
    let color = fields.next().and_then(|rgb| rgb.parse::<u32>().ok()).map_or(0xFF_FF_FF, |rgb| rgb & 0xFF_FF_FF);
    let created_at_ms =
        fields.next().and_then(|seconds| seconds.parse::<i64>().ok()).and_then(|s| s.checked_mul(1_000));
    let sender = fields.nth(1).filter(|sender| !sender.is_empty()).map(|sender| sender.chars().take(64).collect());
    let style = Style { mode: movement(mode), color, size };
    Some(Place { offset_ms: offset_ms.round() as i64, mode, style, created_at_ms, sender })
}

fn movement(mode: u8) -> Mode {
    match mode {
        4 => Mode::Bottom,
        5 => Mode::Top,
        _ => Mode::Scroll,
    }
}

impl Recording {
    fn take(&mut self, entry: Option<(Place, String)>) {
        let comment = entry.and_then(|(place, content)| comment(place, content));
        match comment {
            Some(comment) if self.comments.len() < COMMENTS_MAX => self.comments.push(comment),
            _ => self.skipped += 1,
        }
    }
}

fn comment(place: Place, content: String) -> Option<Recorded> {
    let content = match place.mode {
        1..=6 => content,
        7 => positioned(&content)?,
        _ => return None,
    };
    let Place { offset_ms, style, created_at_ms, sender, .. } = place;
    // An address may hold the same two characters by chance.
    let content = if content.contains("://") { content } else { content.replace("/n", "\n") };
    let shown = !content.trim().is_empty();
    shown.then_some(Recorded { offset_ms, content, style, created_at_ms, sender })
}

/// The text of a positioned comment.
fn positioned(json: &str) -> Option<String> {
    let fields: Vec<serde_json::Value> = serde_json::from_str(json).ok()?;
    fields.get(4)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Recording {
        parse(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><i><chatid>1</chatid>{body}</i>").as_bytes())
            .expect("well-formed")
    }

    #[test]
    fn fields_become_a_comment() {
        let recording = read(
            r#"<d p="2.5,5,36,255,1304950621,0,b82a51a3,26516962">凄い &lt;w&gt; &#33;</d><d p="1,1,25,16777215">a</d>"#,
        );
        let [first, second] = recording.comments.as_slice() else { panic!("two comments: {recording:?}") };
        assert_eq!((first.offset_ms, first.content.as_str()), (1_000, "a"));
        assert_eq!((second.offset_ms, second.content.as_str()), (2_500, "凄い <w> !"));
        assert_eq!(second.style, Style { mode: Mode::Top, color: 255, size: Size::Large });
        assert_eq!(second.created_at_ms, Some(1_304_950_621_000));
        assert_eq!(second.sender.as_deref(), Some("b82a51a3"));
    }

    #[test]
    fn what_cannot_be_shown_is_counted() {
        let recording = read(
            r#"<d p="1,8,25,0">alert(1)</d><d p="nan,1,25,0">x</d><d p="-1,1,25,0">x</d><d>x</d><d p="1,1,25,0"> </d>
               <d p="1,7,25,0">[0,0,"1-1",4,"shown"]</d><d p="1,7,25,0">not json</d>
               <d p="1,7,25,0">[0,0,"1-1",4,"/n /n"]</d>"#,
        );
        assert_eq!(recording.comments.iter().map(|c| c.content.as_str()).collect::<Vec<_>>(), ["shown"]);
        assert_eq!(recording.skipped, 7);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(parse(b"<i></i>"), Err(RecordingError::NoComments)));
        assert!(matches!(parse(b"<i><d p=\"1,1,25,0\">&bomb;</d></i>"), Err(RecordingError::Xml { .. })));
        assert!(matches!(parse(b"<i><d p=\"1,1,25,0\">x</i>"), Err(RecordingError::Xml { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_fields_panic(p in "[-0-9a-z.,e+]{0,60}", text in "[^<&\\x00-\\x08]{0,20}") {
            let _ = parse(format!("<i><d p=\"{p}\">{text}</d></i>").as_bytes());
        }
    }
}
