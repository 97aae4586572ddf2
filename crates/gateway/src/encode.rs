//! From the hub's batches and chat's notices to WebSocket frames.
//!
//! Shards call it while they deliver. A stream's batch is encoded once per form (sub-protocol and compression), by the
//! first shard that needs it; the result stays in the batch and all sockets of all shards share it. Never writes.

use bytes::Bytes;
use chat::OutboundNotice;
use hub::batch::{Batch, BatchItem, Joined, SharedEvent, StreamBatch};
use model::{RoomId, UserId};
use protocol::comment::CommentJson;
use protocol::encode;
use protocol::handshake::{Form, SubProtocol};
use protocol::message::ServerMessage;
use protocol::ws::{self, Opcode};
use protocol::{binary, comment, proto};

/// The frames of a stream's batch in one form, for all its readers; empty when they are sent no comments.
pub(crate) fn stream_frames<'a>(
    batch: &Batch,
    stream: &'a StreamBatch,
    form: Form,
    deflate_bytes_min: usize,
) -> &'a Bytes {
    stream.encoded.get_or_encode(form.index(), || {
        if stream.is_empty() {
            return Bytes::new();
        }
        let items = stream.kept.iter().filter_map(|&i| batch.items.get(i as usize));
        comments(form, deflate_bytes_min, batch.room.id(), items, stream.omitted)
    })
}

/// The frames of `items` and `omitted`. Readers who negotiated compression get messages of at least `deflate_bytes_min`
/// bytes compressed.
#[must_use]
pub fn comments<'a>(
    form: Form,
    deflate_bytes_min: usize,
    room: &RoomId,
    items: impl Iterator<Item = &'a BatchItem> + Clone,
    omitted: u64,
) -> Bytes {
    let deflate_bytes_min = if form.deflated { deflate_bytes_min } else { usize::MAX };
    let messages = messages(form.protocol, room, items, omitted);
    let mut out = Vec::with_capacity(messages.iter().map(|(_, payload)| payload.len() + 16).sum());
    for (opcode, payload) in messages {
        if payload.len() >= deflate_bytes_min {
            ws::deflated_frame(opcode, &payload, &mut out);
        } else {
            ws::frame_header(opcode, payload.len(), &mut out);
            out.extend_from_slice(&payload);
        }
    }
    out.into()
}

/// The WebSocket messages of a batch: one, except in `barrage.v1.bin`, where `omitted` is a JSON message of its own.
fn messages<'a>(
    protocol: SubProtocol,
    room: &RoomId,
    items: impl Iterator<Item = &'a BatchItem> + Clone,
    omitted: u64,
) -> Vec<(Opcode, Vec<u8>)> {
    let room = room.as_str();
    match protocol {
        SubProtocol::Json => vec![(Opcode::Text, comment::batch(room, items.map(BatchItem::json), omitted))],
        SubProtocol::Proto => vec![(Opcode::Binary, proto::batch(room, items.map(BatchItem::proto), omitted))],
        SubProtocol::Bin | SubProtocol::BinWithRoom => {
            let named = (protocol == SubProtocol::BinWithRoom).then_some(room);
            let comments = Some((Opcode::Binary, binary_frames(named, items))).filter(|(_, frames)| !frames.is_empty());
            let left_out = (omitted > 0).then(|| (Opcode::Text, comment::batch(room, std::iter::empty(), omitted)));
            comments.into_iter().chain(left_out).collect()
        }
    }
}

fn binary_frames<'a>(room: Option<&str>, items: impl Iterator<Item = &'a BatchItem>) -> Vec<u8> {
    let mut out = Vec::new();
    for BatchItem { comment, .. } in items {
        let frame = binary::Frame {
            kind: binary::Kind::Comment,
            timestamp_ms: comment.created_at_ms.max(0).cast_unsigned(),
            user_id: binary::numeric_user_id(comment.user_id.as_str()),
            room,
            content: &comment.content,
        };
        // Comments are far shorter than the 65,535 bytes that fit into a frame; a longer one cannot be sent.
        let _ = binary::encode(&frame, &mut out);
    }
    out
}

/// The frame of an event, for those to whom it is critical or for the others.
pub(crate) fn event_frame(shared: &SharedEvent, protocol: SubProtocol, critical: bool) -> &Bytes {
    let encode = || encode::event(protocol, &shared.event, critical);
    shared.encoded.get_or_encode(shared.encoding(protocol, critical), encode)
}

/// The frame of an event for one user, and whether that user must acknowledge it.
pub(crate) fn event_frame_for<'a>(
    shared: &'a SharedEvent,
    protocol: SubProtocol,
    user: Option<&UserId>,
) -> (&'a Bytes, bool) {
    let critical = shared.is_critical_for(user);
    (event_frame(shared, protocol, critical), critical)
}

/// Appends the `room_joined` frame.
pub(crate) fn joined_frame(joined: &Joined, protocol: SubProtocol, out: &mut Vec<u8>) {
    let message = ServerMessage::RoomJoined {
        room_id: joined.room.id(),
        state: joined.state,
        viewers: joined.viewers,
        history: joined.history.iter().map(|comment| CommentJson(comment, None)).collect(),
        omitted: joined.omitted,
        pin: joined.pin.as_deref(),
    };
    encode::message(protocol, &message, joined.reference.as_deref(), out);
}

/// The frame of a chat notice; `None` for one that is for this process and not for clients.
pub(crate) fn notice_frame(notice: &OutboundNotice, protocol: SubProtocol) -> Option<&Bytes> {
    let encode = || {
        let mut out = Vec::new();
        if let Some(message) = notice.message() {
            encode::message(protocol, &ServerMessage::Chat(message), None, &mut out);
        }
        out.into()
    };
    let frame = notice.encoded.get_or_encode(usize::from(protocol == SubProtocol::Proto), encode);
    Some(frame).filter(|frame| !frame.is_empty())
}
