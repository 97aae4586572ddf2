//! A live segment as JSON and as Protobuf.
//!
//! The API encodes each segment once in each form. Never compresses.

use model::{Comment, Event, RoomId};
use prost::Message as _;

use crate::comment::fragment;
use crate::message::encode_event;
use crate::proto::{comment, event_message, v1};

/// What a live segment says.
#[derive(Debug, Clone, Copy)]
pub struct LiveSegment<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// Its number.
    pub seq: u64,
    /// Its start, Unix milliseconds.
    pub from_ms: i64,
    /// Its end, which it does not include.
    pub to_ms: i64,
    /// Comments that were left out.
    pub omitted: u64,
    /// `segments` while the server would rather have viewers read these.
    pub prefer: Option<&'static str>,
}

impl LiveSegment<'_> {
    /// As JSON. The comments come with how many each stands for, the events with whether they are critical for everybody.
    #[must_use]
    pub fn json<'c>(
        &self,
        comments: impl Iterator<Item = (&'c Comment, u32)>,
        events: impl Iterator<Item = (&'c Event, bool)>,
    ) -> Vec<u8> {
        let Self { room_id, seq, from_ms, to_ms, omitted, prefer } = self;
        // A room id's alphabet needs no escapes.
        let head = format!(r#"{{"room_id":"{room_id}","seq":{seq},"from_ms":{from_ms},"to_ms":{to_ms},"comments":["#);
        let mut out = head.into_bytes();
        join(&mut out, comments.map(|(comment, count)| fragment(comment, Some(count))));
        out.extend_from_slice(br#"],"events":["#);
        join(&mut out, events.map(|(event, critical)| encode_event(event, critical)));
        out.extend_from_slice(format!(r#"],"omitted":{omitted}"#).as_bytes());
        if let Some(prefer) = prefer {
            out.extend_from_slice(format!(r#","prefer":"{prefer}""#).as_bytes());
        }
        out.push(b'}');
        out
    }

    /// As `LiveSegment` of `client.proto`.
    #[must_use]
    pub fn proto<'c>(
        &self,
        comments: impl Iterator<Item = (&'c Comment, u32)>,
        events: impl Iterator<Item = (&'c Event, bool)>,
    ) -> Vec<u8> {
        let segment = v1::LiveSegment {
            room_id: self.room_id.as_str().into(),
            seq: self.seq,
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            comments: comments.map(|(shown, count)| comment(shown, Some(count))).collect(),
            events: events.map(|(event, critical)| event_message(event, critical)).collect(),
            omitted: self.omitted,
            prefer: self.prefer.unwrap_or_default().into(),
        };
        segment.encode_to_vec()
    }
}

fn join(out: &mut Vec<u8>, objects: impl Iterator<Item = Vec<u8>>) {
    for (n, object) in objects.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&object);
    }
}
