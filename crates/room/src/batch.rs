//! What the hub hands to the shards that hold sockets: frames encoded once, shared by all.
//!
//! Made by [`crate::hub`], written to sockets by the gateway's shards and to event streams by the
//! API. Everything here is immutable once made and shared by reference.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::{Audience, Comment, Event, RoomId, RoomSettings, UserId};
use protocol::handshake::{Form, SubProtocol};
use protocol::ws::{self, Opcode};
use protocol::{binary, comment, proto, spoken};

use crate::hub::{HubRoom, StreamId};
use crate::merge::Kept;

/// One socket: its shard, its seat there, and the seat's generation, so that a late answer never
/// reaches whoever sits there next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnRef {
    /// Which shard.
    pub shard: u16,
    /// The seat.
    pub index: u32,
    /// Who sat down when.
    pub generation: u32,
}

/// What a shard is told by the hub. Messages of one room reach a shard in the hub's order.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// A socket is a member of a stream from here on: the batches that follow are for it too.
    Joined(Joined),
    /// One room's next frames.
    Batch(Arc<Batch>),
    /// An event for certain users, wherever in this shard they sit: those of its audience, or, when
    /// the audience is the whole room, those it is critical for who are not in that room (who are
    /// get it with the room's batch).
    UserEvent(Arc<EventFrame>),
    /// A room was disabled or made private: whoever may not read it any more leaves it.
    Restricted {
        /// The room's key.
        room: u32,
        /// Its settings.
        settings: Arc<RoomSettings>,
    },
    /// Sockets of a user whose token was issued before a moment close with 4001.
    Revoked {
        /// Who.
        user_id: UserId,
        /// Unix milliseconds.
        before_ms: i64,
    },
    /// A user is to leave a room (`Some`), or every socket of the user closes with 4003 (`None`).
    Banned {
        /// Who.
        user_id: UserId,
        /// From which room.
        room_id: Option<RoomId>,
        /// Until when, Unix milliseconds.
        until_ms: i64,
        /// Why.
        reason: Option<String>,
    },
    /// Bans or revoked tokens of a user (`Some`), or of anybody (`None`), were read again: who may not be here goes, as above.
    Recheck(Option<UserId>),
}

/// Where a shard hears the hub. Must not block: a shard that cannot take a batch refuses it, and
/// the hub counts what was in it as omitted.
pub trait Shard: Send + Sync {
    /// Hands over one message; false when the shard's inbox is full and the message was dropped.
    fn send(&self, message: ToShard) -> bool;
    /// How busy the shard's core is, 0 to 1, smoothed over about a second.
    fn load(&self) -> f32;
}

/// A socket became a member.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The socket.
    pub conn: ConnRef,
    /// The room.
    pub room: Arc<HubRoom>,
    /// The stream it now reads.
    pub stream: StreamId,
    /// Comments already counted as left out in this stream but not yet told: not this viewer's loss.
    pub credit: u64,
    /// The finished frame of the answer, a `room_joined` message.
    pub answer: Bytes,
}

/// The frames of one room for one moment: events first, then each stream's comments.
#[derive(Debug)]
pub struct Batch {
    /// The room.
    pub room: Arc<HubRoom>,
    /// Events for everybody in the room, oldest first.
    pub events: Vec<Arc<EventFrame>>,
    /// The comments of this moment in order, those merged away included. Streams name them by index.
    pub items: Vec<Item>,
    /// What each stream with members gets.
    pub streams: Vec<StreamBatch>,
    /// When the oldest of the comments was accepted, Unix milliseconds.
    pub accepted_at_ms: i64,
}

/// One comment of a batch, perhaps standing for several.
#[derive(Debug)]
pub struct Item {
    /// The comment.
    pub comment: Arc<Comment>,
    /// For how many it stands, itself included.
    pub count: u32,
    json: OnceLock<Vec<u8>>,
    proto: OnceLock<Vec<u8>>,
}

impl Item {
    /// A comment standing for `count`.
    #[must_use]
    pub fn new(comment: Arc<Comment>, count: u32) -> Self {
        Self { comment, count, json: OnceLock::new(), proto: OnceLock::new() }
    }

    /// Its JSON object, formatted once.
    pub fn json(&self) -> &[u8] {
        self.json.get_or_init(|| comment::fragment(&self.comment, Some(self.count)))
    }

    /// Its Protobuf form, as a piece of a batch, encoded once.
    #[must_use]
    pub fn proto(&self) -> &[u8] {
        self.proto.get_or_init(|| proto::fragment(&self.comment, Some(self.count)))
    }

    /// Whether a viewer must get it whatever the budget: their own, or one that mentions them.
    #[must_use]
    pub fn concerns(&self, user: &UserId) -> bool {
        self.comment.user_id == *user || self.comment.mentions.contains(user)
    }

    /// As the rules of choosing see it.
    pub(crate) fn kept(&self) -> Kept {
        Kept { comment: self.comment.clone(), count: self.count }
    }
}

/// One stream's share of a batch.
#[derive(Debug)]
pub struct StreamBatch {
    /// The stream.
    pub stream: StreamId,
    /// Indices into [`Batch::items`], in order.
    pub kept: Vec<u32>,
    /// Indices of what this stream was not given, sampled out or merged away: owed all the same to
    /// their authors and to whom they mention.
    pub left_out: Vec<u32>,
    /// What the frames tell as `omitted`; it may include earlier moments' and is 0 while it waits to
    /// be told with a later batch (at most 500 ms).
    pub omitted: u64,
    /// The finished frames.
    pub frames: Frames,
}

/// Finished WebSocket frames, one encoding per form in use; empty means nothing to send.
#[derive(Debug, Default, Clone)]
pub struct Frames([Bytes; Form::COUNT]);

impl Frames {
    /// Encodes a batch in each form that has `readers`, and compresses messages of at least `deflate_bytes_min` for
    /// those who read them so.
    #[must_use]
    pub fn encode<'a>(
        readers: &[u32; Form::COUNT],
        deflate_bytes_min: usize,
        room: &RoomId,
        items: impl Iterator<Item = &'a Item> + Clone,
        omitted: u64,
    ) -> Self {
        let mut frames = Self::default();
        for protocol in [SubProtocol::Json, SubProtocol::Proto, SubProtocol::Bin] {
            let forms = [false, true].map(|deflated| Form { protocol, deflated });
            let read = forms.map(|form| readers[form.index()] > 0);
            if read != [false, false] {
                let messages = messages(protocol, room, items.clone(), omitted);
                for form in forms.into_iter().filter(|form| read[usize::from(form.deflated)]) {
                    let bytes_min = if form.deflated { deflate_bytes_min } else { usize::MAX };
                    frames.0[form.index()] = finish(&messages, bytes_min);
                }
            }
        }
        frames
    }

    /// The frames of one form.
    #[must_use]
    pub fn of(&self, form: Form) -> &Bytes {
        &self.0[form.index()]
    }
}

/// The uncompressed frames that tell `items` and `omitted` to one viewer.
#[must_use]
pub fn encode<'a>(
    protocol: SubProtocol,
    room: &RoomId,
    items: impl Iterator<Item = &'a Item> + Clone,
    omitted: u64,
) -> Bytes {
    finish(&messages(protocol, room, items, omitted), usize::MAX)
}

/// One after the other as frames, those of at least `deflate_bytes_min` compressed.
fn finish(messages: &[(Opcode, Vec<u8>)], deflate_bytes_min: usize) -> Bytes {
    let mut out = Vec::with_capacity(messages.iter().map(|(_, payload)| payload.len() + 16).sum());
    for (opcode, payload) in messages {
        if payload.len() >= deflate_bytes_min {
            ws::deflated_frame(*opcode, payload, &mut out);
        } else {
            ws::frame_header(*opcode, payload.len(), &mut out);
            out.extend_from_slice(payload);
        }
    }
    out.into()
}

/// The WebSocket messages of a batch: one, but for `barrage.v1.bin`, where `omitted` is a JSON message of its own.
fn messages<'a>(
    protocol: SubProtocol,
    room: &RoomId,
    items: impl Iterator<Item = &'a Item> + Clone,
    omitted: u64,
) -> Vec<(Opcode, Vec<u8>)> {
    let room = room.as_str();
    match protocol {
        SubProtocol::Json => vec![(Opcode::Text, comment::batch(room, items.map(Item::json), omitted))],
        SubProtocol::Proto => vec![(Opcode::Binary, proto::batch(room, items.map(Item::proto), omitted))],
        SubProtocol::Bin => {
            let comments = Some((Opcode::Binary, binary_frames(items))).filter(|(_, frames)| !frames.is_empty());
            let told = (omitted > 0).then(|| (Opcode::Text, comment::batch(room, std::iter::empty(), omitted)));
            comments.into_iter().chain(told).collect()
        }
    }
}

fn binary_frames<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<u8> {
    let mut out = Vec::new();
    for Item { comment, .. } in items {
        let frame = binary::Frame {
            kind: binary::Kind::Comment,
            timestamp_ms: comment.created_at_ms.max(0).cast_unsigned(),
            user_id: binary::numeric_user_id(comment.user_id.as_str()),
            content: &comment.content,
        };
        // Comments are far shorter than the 65,535 bytes a frame can say; a longer one is not sayable.
        let _ = binary::encode(&frame, &mut out);
    }
    out
}

/// An event with its finished frames.
#[derive(Debug)]
pub struct EventFrame {
    /// The event.
    pub event: Arc<Event>,
    json: Told,
    /// Made when the first reader of Protobuf is there.
    proto: OnceLock<Told>,
}

/// An event's two frames in one format.
#[derive(Debug)]
struct Told {
    /// For viewers to whom it is critical.
    critical: Bytes,
    /// For all others.
    plain: Bytes,
}

impl Told {
    fn new(protocol: SubProtocol, event: &Event) -> Self {
        let frame = |critical| spoken::event(protocol, event, critical);
        let plain = frame(false);
        // Most events are critical to nobody, and the other form is never asked for.
        let critical = if event.critical_for == Audience::Nobody { plain.clone() } else { frame(true) };
        Self { critical, plain }
    }
}

impl EventFrame {
    /// Encodes both forms as JSON.
    #[must_use]
    pub fn new(event: Arc<Event>) -> Self {
        Self { json: Told::new(SubProtocol::Json, &event), proto: OnceLock::new(), event }
    }

    /// The frame in one format, for those to whom it is critical or for the others.
    #[must_use]
    pub fn frame(&self, protocol: SubProtocol, critical: bool) -> &Bytes {
        let told = match protocol {
            SubProtocol::Json | SubProtocol::Bin => &self.json,
            SubProtocol::Proto => self.proto.get_or_init(|| Told::new(protocol, &self.event)),
        };
        if critical { &told.critical } else { &told.plain }
    }

    /// The frame for one viewer, and whether it is to be acknowledged.
    #[must_use]
    pub fn for_user(&self, protocol: SubProtocol, user: Option<&UserId>) -> (&Bytes, bool) {
        let critical = self.event.critical_for.includes(user);
        (self.frame(protocol, critical), critical)
    }
}
