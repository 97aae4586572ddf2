//! What the swarm says and understands. A batch is the same bytes for every socket of a stream, so it is
//! parsed once: whoever gets it next has its bytes compared with those already read, which costs less
//! than parsing and proves that every socket was given the same.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use ahash::{HashMap, RandomState};
use prost::Message as _;
use protocol::binary::{self, Frame, Kind};
use protocol::proto::v1;
use protocol::proto::v1::server_frame::Message as Out;
use protocol::ws::{Inflater, Opcode, encode_client_frame};
use serde::Deserialize;

use crate::clock;
use crate::content::{self, Mark};
use crate::options::Protocol;
use crate::pace::Line;

/// Batches remembered.
const REMEMBERED: usize = 512;
/// Bytes at either end of a batch that choose where it is remembered.
const SAMPLE: usize = 192;
/// Longest compressed message, once inflated.
const INFLATED_MAX: usize = 64 << 20;
/// Client and server are ours, so the masking key protects nobody (RFC 6455 §10.3) and may be constant.
pub const MASK: [u8; 4] = [0x62, 0x72, 0x67, 0x21];

/// Where a comment's mark is.
#[derive(Debug, Clone)]
pub enum Marks {
    /// In its text.
    Content,
    /// Its colour, less one, is its place in the recording; the moments count from `start_us`.
    Colour {
        /// Start of the round.
        start_us: u64,
        /// The recording.
        lines: Arc<[Line]>,
    },
}

/// What a batch, or the history at joining, holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Our comments.
    pub marks: Vec<Mark>,
    /// Comments merged away into them.
    pub merged: u64,
    /// Comments that were left out.
    pub omitted: u64,
    /// The last comment's id; 0 for none.
    pub last_id: u64,
}

/// What the server said.
#[derive(Debug, Clone)]
pub enum Said {
    /// Comments.
    Batch(Rc<Batch>),
    /// The socket is in its room, and was given these.
    Joined(Rc<Batch>),
    /// The socket has its identity.
    Connected,
    /// A comment was accepted.
    Accepted,
    /// A comment waits for a moderator.
    Held,
    /// A comment was refused, with this code.
    Refused(String),
    /// A critical event to acknowledge, by its id.
    Critical(u64),
    /// One comment by itself.
    Comment(Mark),
    /// The socket is where it belongs.
    Ready,
    /// Something that wants this answer.
    Reply(&'static [u8]),
    /// Something that nothing depends on.
    Other,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(default)]
    critical: bool,
    #[serde(default, borrow)]
    comments: Vec<Comment<'a>>,
    #[serde(default, borrow)]
    history: Vec<Comment<'a>>,
    #[serde(default)]
    omitted: u64,
}

#[derive(Deserialize)]
struct Comment<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default, borrow)]
    style: Option<Style<'a>>,
    #[serde(default)]
    count: Option<u64>,
}

#[derive(Deserialize)]
struct Style<'a> {
    #[serde(default, borrow)]
    color: Option<Cow<'a, str>>,
}

/// Understands what the sockets of one thread are sent.
pub struct Reader {
    marks: Marks,
    hasher: RandomState,
    places: HashMap<u64, usize>,
    batches: Vec<(u64, Box<[u8]>, Rc<Batch>)>,
    next: usize,
    inflater: Inflater,
    inflated: Vec<u8>,
    /// Kept between messages for its room.
    pub heard: Vec<Said>,
}

impl Reader {
    /// For comments marked like this.
    #[must_use]
    pub fn new(marks: Marks) -> Self {
        let hasher = RandomState::new();
        Self {
            marks,
            hasher,
            places: HashMap::default(),
            batches: Vec::with_capacity(REMEMBERED),
            next: 0,
            inflater: Inflater::default(),
            inflated: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// A text message; none when it is not one of the protocol's.
    pub fn text(&mut self, text: &str) -> Option<Said> {
        let is_batch = text.starts_with(r#"{"type":"comments""#);
        if is_batch && let Some(batch) = self.remembered(text.as_bytes()) {
            return Some(Said::Batch(batch));
        }
        let message: Message<'_> = serde_json::from_str(text).ok()?;
        Some(match &*message.kind {
            "comments" => {
                let batch = Rc::new(self.batch(&message.comments, message.omitted));
                self.remember(text.as_bytes(), batch.clone());
                Said::Batch(batch)
            }
            "room_joined" => Said::Joined(Rc::new(self.batch(&message.history, message.omitted))),
            "connected" => Said::Connected,
            "comment_ack" if message.status.as_deref() == Some("pending_review") => Said::Held,
            "comment_ack" | "message_ack" => Said::Accepted,
            "new_message" => message.content.as_deref().and_then(content::read).map_or(Said::Other, Said::Comment),
            "error" => Said::Refused(message.code.unwrap_or_default().into_owned()),
            "event" if message.critical => Said::Critical(message.event_id?.parse().ok()?),
            _ => Said::Other,
        })
    }

    /// A binary message; none when it is not one of the sub-protocol's.
    pub fn binary(&mut self, protocol: Protocol, bytes: &[u8]) -> Option<Said> {
        if let Some(batch) = self.remembered(bytes) {
            return Some(Said::Batch(batch));
        }
        let said = match protocol {
            Protocol::Json => return None,
            Protocol::Proto => self.protobuf(bytes)?,
            Protocol::Bin => {
                let comments = binary::frames(bytes).flatten().filter(|frame| frame.kind == Kind::Comment);
                let marks = comments.filter_map(|frame| content::read(frame.content)).collect();
                Said::Batch(Rc::new(Batch { marks, ..Batch::default() }))
            }
        };
        if let Said::Batch(batch) = &said {
            self.remember(bytes, batch.clone());
        }
        Some(said)
    }

    /// A compressed message. Whoever has had the same one knows what is in it.
    pub fn deflated(&mut self, protocol: Protocol, text: bool, payload: &[u8]) -> Option<Said> {
        if let Some(batch) = self.remembered(payload) {
            return Some(Said::Batch(batch));
        }
        let mut inflated = std::mem::take(&mut self.inflated);
        self.inflater.inflate(payload, INFLATED_MAX, &mut inflated).ok()?;
        let said = match text {
            true => self.text(str::from_utf8(&inflated).ok()?)?,
            false => self.binary(protocol, &inflated)?,
        };
        self.inflated = inflated;
        if let Said::Batch(batch) = &said {
            self.remember(payload, batch.clone());
        }
        Some(said)
    }

    fn protobuf(&self, bytes: &[u8]) -> Option<Said> {
        Some(match v1::ServerFrame::decode(bytes).ok()?.message? {
            Out::Comments(batch) => Said::Batch(Rc::new(self.comments(&batch.comments, batch.omitted))),
            Out::RoomJoined(joined) => Said::Joined(Rc::new(self.comments(&joined.history, joined.omitted))),
            Out::Connected(_) => Said::Connected,
            Out::CommentAck(ack) if ack.status() == v1::CommentStatus::PendingReview => Said::Held,
            Out::CommentAck(_) => Said::Accepted,
            Out::Error(error) => Said::Refused(error.code),
            Out::Event(event) if event.critical => Said::Critical(event.event_id),
            _ => Said::Other,
        })
    }

    fn comments(&self, comments: &[v1::Comment], omitted: u64) -> Batch {
        let color = |comment: &v1::Comment| comment.style.as_ref().and_then(|style| style.color);
        Batch {
            marks: comments.iter().filter_map(|comment| self.mark(&comment.content, color(comment))).collect(),
            merged: comments.iter().map(|comment| u64::from(comment.count.saturating_sub(1))).sum(),
            omitted,
            last_id: comments.last().map_or(0, |comment| comment.id),
        }
    }

    fn batch(&self, comments: &[Comment<'_>], omitted: u64) -> Batch {
        let color = |comment: &Comment<'_>| {
            let color = comment.style.as_ref()?.color.as_deref()?.strip_prefix('#')?;
            u32::from_str_radix(color, 16).ok()
        };
        Batch {
            marks: comments.iter().filter_map(|comment| self.mark(&comment.content, color(comment))).collect(),
            merged: comments.iter().filter_map(|comment| comment.count).map(|count| count.saturating_sub(1)).sum(),
            omitted,
            last_id: comments.last().and_then(|comment| comment.id.parse().ok()).unwrap_or(0),
        }
    }

    fn mark(&self, content: &str, color: Option<u32>) -> Option<Mark> {
        match &self.marks {
            Marks::Content => content::read(content),
            Marks::Colour { start_us, lines } => {
                let seq = color?.checked_sub(1)?;
                Some(Mark { seq, due_us: start_us + lines.get(seq as usize)?.due_us })
            }
        }
    }

    fn key(&self, bytes: &[u8]) -> u64 {
        let head = bytes.get(..SAMPLE).unwrap_or(bytes);
        let tail = bytes.get(bytes.len().saturating_sub(SAMPLE)..).unwrap_or_default();
        self.hasher.hash_one((bytes.len(), head, tail))
    }

    fn remembered(&self, bytes: &[u8]) -> Option<Rc<Batch>> {
        let place = self.places.get(&self.key(bytes))?;
        let (_, known, batch) = self.batches.get(*place)?;
        (**known == *bytes).then(|| batch.clone())
    }

    fn remember(&mut self, bytes: &[u8], batch: Rc<Batch>) {
        let key = self.key(bytes);
        let entry = (key, bytes.into(), batch);
        let place = self.next % REMEMBERED;
        self.next += 1;
        match self.batches.get_mut(place) {
            Some(old) => {
                if self.places.get(&old.0) == Some(&place) {
                    self.places.remove(&old.0);
                }
                *old = entry;
            }
            None => self.batches.push(entry),
        }
        self.places.insert(key, place);
    }
}

/// A comment as a client sends it, as a frame.
pub fn comment(room: &str, content: &str, line: Option<(&Line, u32)>, out: &mut Vec<u8>) {
    let style = line.map(
        |(line, seq)| serde_json::json!({ "mode": line.mode, "size": line.size, "color": format!("#{:06X}", seq + 1) }),
    );
    let style = style.map_or_else(String::new, |style| format!(r#","style":{style}"#));
    let content = serde_json::Value::from(content);
    let text = format!(r#"{{"type":"comment","room_id":"{room}","content":{content}{style}}}"#);
    encode_client_frame(Opcode::Text, text.as_bytes(), MASK, out);
}

/// A private message, to a group or else to a user. Its mark is its `client_msg_id`: no other has it.
pub fn message(group: &str, user: &str, content: &str, out: &mut Vec<u8>) {
    let (kind, to, whom) = match group {
        "" => ("send_message", "to_user", user),
        group => ("send_group_message", "group_id", group),
    };
    let id = content.get(1..content::MARK_BYTES).unwrap_or_default();
    let content = serde_json::Value::from(content);
    let text = format!(r#"{{"type":"{kind}","client_msg_id":"{id}","{to}":"{whom}","content":{content}}}"#);
    encode_client_frame(Opcode::Text, text.as_bytes(), MASK, out);
}

/// A comment behind the binary header.
pub fn binary_comment(user_id: u64, content: &str, out: &mut Vec<u8>) {
    let frame = Frame { kind: Kind::Comment, timestamp_ms: clock::now_us() / 1_000, user_id, room: None, content };
    let mut payload = Vec::with_capacity(binary::HEADER_BYTES + content.len());
    // Contents are at most a few thousand bytes: they fit.
    if binary::encode(&frame, &mut payload).is_ok() {
        encode_client_frame(Opcode::Binary, &payload, MASK, out);
    }
}

/// A sign of life.
pub fn heartbeat(out: &mut Vec<u8>) {
    encode_client_frame(Opcode::Text, br#"{"type":"heartbeat"}"#, MASK, out);
}

/// The receipt of a critical event.
pub fn receipt(event_id: u64, out: &mut Vec<u8>) {
    let text = format!(r#"{{"type":"ack","event_id":"{event_id}"}}"#);
    encode_client_frame(Opcode::Text, text.as_bytes(), MASK, out);
}

/// The answer to a ping.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    encode_client_frame(Opcode::Pong, payload, MASK, out);
}

#[cfg(test)]
mod tests {
    use protocol::ws::deflated_frame;

    use super::*;

    fn message(seq: u32, omitted: u64) -> String {
        let mut content = String::new();
        content::write(Mark { seq, due_us: 7 }, 40, &mut content);
        format!(
            r##"{{"type":"comments","room_id":"r","comments":[{{"id":"{}","content":"{content}","style":{{"color":"#00000{seq}"}},"count":3}}],"omitted":{omitted}}}"##,
            seq + 100
        )
    }

    #[test]
    fn a_batch_is_parsed_once_and_told_apart() {
        let mut reader = Reader::new(Marks::Content);
        let batch = |said| match said {
            Some(Said::Batch(batch)) => batch,
            other => panic!("{other:?}"),
        };
        let first = batch(reader.text(&message(1, 5)));
        assert_eq!(*first, Batch { marks: vec![Mark { seq: 1, due_us: 7 }], merged: 2, omitted: 5, last_id: 101 });
        assert!(Rc::ptr_eq(&first, &batch(reader.text(&message(1, 5)))));
        assert_eq!(batch(reader.text(&message(1, 6))).omitted, 6);
        for seq in 2..2_000 {
            assert_eq!(batch(reader.text(&message(seq, 0))).marks[0].seq, seq);
        }
        assert!(reader.places.len() <= REMEMBERED && reader.batches.len() == REMEMBERED);
        assert_eq!(*batch(reader.text(&message(1, 5))), *first);
    }

    #[test]
    fn every_form_of_a_batch_says_the_same() {
        let mut content = String::new();
        content::write(Mark { seq: 3, due_us: 9 }, 200, &mut content);
        let comment = v1::Comment { id: 8, content: content.clone(), count: 2, ..Default::default() };
        let batch = v1::Comments { comments: vec![comment], omitted: 4, ..Default::default() };
        let frame = v1::ServerFrame { r#ref: 0, message: Some(Out::Comments(batch)) }.encode_to_vec();
        let expected = Batch { marks: vec![Mark { seq: 3, due_us: 9 }], merged: 1, omitted: 4, last_id: 8 };

        let mut reader = Reader::new(Marks::Content);
        let read = |said| match said {
            Some(Said::Batch(batch)) => batch,
            other => panic!("{other:?}"),
        };
        assert_eq!(*read(reader.binary(Protocol::Proto, &frame)), expected);
        let deflated = |opcode, message: &[u8]| {
            let mut frame = Vec::new();
            deflated_frame(opcode, message, &mut frame);
            let header_bytes = if frame[1] < 126 { 2 } else { 4 };
            frame.split_off(header_bytes)
        };
        let compressed = deflated(Opcode::Binary, &frame);
        let first = read(reader.deflated(Protocol::Proto, false, &compressed));
        assert_eq!(*first, expected);
        assert!(Rc::ptr_eq(&first, &read(reader.deflated(Protocol::Proto, false, &compressed))));

        let text =
            format!(r#"{{"type":"comments","comments":[{{"id":"8","content":"{content}","count":2}}],"omitted":4}}"#);
        assert_eq!(*read(reader.deflated(Protocol::Json, true, &deflated(Opcode::Text, text.as_bytes()))), expected);
        assert!(
            reader.binary(Protocol::Json, b"text").is_none()
                && reader.deflated(Protocol::Proto, false, &[7; 9]).is_none()
        );
    }

    #[test]
    fn a_recording_is_marked_by_colour() {
        let line = |due_us| Line { due_us, content: String::new(), mode: model::Mode::Top, size: model::Size::Small };
        let lines: Arc<[Line]> = [line(0), line(50)].into();
        let mut reader = Reader::new(Marks::Colour { start_us: 1_000, lines });
        let Some(Said::Batch(batch)) = reader.text(&message(2, 0)) else { panic!() };
        assert_eq!(batch.marks, [Mark { seq: 1, due_us: 1_050 }]);
    }

    #[test]
    fn answers_are_told_apart() {
        let mut reader = Reader::new(Marks::Content);
        let mut said = |text| reader.text(text);
        assert!(matches!(said(r#"{"type":"comment_ack","id":"1","status":"accepted"}"#), Some(Said::Accepted)));
        assert!(matches!(said(r#"{"type":"comment_ack","id":"1","status":"pending_review"}"#), Some(Said::Held)));
        assert!(matches!(said(r#"{"type":"error","code":"muted"}"#), Some(Said::Refused(code)) if code == "muted"));
        assert!(matches!(said(r#"{"type":"event","event_id":"9","critical":true}"#), Some(Said::Critical(9))));
        assert!(matches!(said(r#"{"type":"event","event_id":"9"}"#), Some(Said::Other)));
        assert!(
            matches!(said(r#"{"type":"room_joined","history":[],"omitted":4}"#), Some(Said::Joined(b)) if b.omitted == 4)
        );
        let mut content = String::new();
        content::write(Mark { seq: 1, due_us: 2 }, 40, &mut content);
        let message = format!(r#"{{"type":"new_message","server_msg_id":"1","content":"{content}"}}"#);
        assert!(matches!(said(message.as_str()), Some(Said::Comment(Mark { seq: 1, due_us: 2 }))));
        assert!(matches!(said(r#"{"type":"message_ack","status":"delivered"}"#), Some(Said::Accepted)));
        assert!(said("nonsense").is_none());
    }
}
