//! One message as a finished WebSocket frame, in the sub-protocol that the socket speaks.
//!
//! Called by the gateway. JSON goes in text frames, Protobuf in binary ones. A socket of `barrage.v1.bin` is answered in
//! JSON, because [`crate::binary`] has frames for comments and heartbeats only. Never compresses and never masks.

use std::sync::OnceLock;

use bytes::Bytes;
use model::{Event, WireError};
use serde_json::value::RawValue;

use crate::handshake::SubProtocol;
use crate::message::{self, ServerMessage};
use crate::proto;
use crate::ws::{Opcode, encode_frame, frame_header};

/// Encodings of one shared value. The first reader that needs a slot encodes it; the others share the bytes.
#[derive(Debug)]
pub struct EncodeOnce<const N: usize>([OnceLock<Bytes>; N]);

impl<const N: usize> Default for EncodeOnce<N> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; N])
    }
}

impl<const N: usize> EncodeOnce<N> {
    /// The bytes of a slot below `N`, encoded now if nobody has before.
    pub fn get_or_encode(&self, slot: usize, encode: impl FnOnce() -> Bytes) -> &Bytes {
        self.0[slot].get_or_init(encode)
    }
}

/// Appends the frame of a message, with the `ref` it answers.
pub fn message(protocol: SubProtocol, message: &ServerMessage<'_>, reference: Option<&RawValue>, out: &mut Vec<u8>) {
    let (opcode, payload) = match protocol {
        SubProtocol::Proto => (Opcode::Binary, proto::encode(message, reference_number(reference))),
        SubProtocol::Json | SubProtocol::Bin | SubProtocol::BinWithRoom => {
            (Opcode::Text, message::encode(message, reference))
        }
    };
    frame_header(opcode, payload.len(), out);
    out.extend_from_slice(&payload);
}

/// Appends the frame of an error.
pub fn error(protocol: SubProtocol, error: &WireError, reference: Option<&RawValue>, out: &mut Vec<u8>) {
    message(protocol, &ServerMessage::error(error), reference, out);
}

/// The frame of an event; `critical` says whether it is so for its viewer.
#[must_use]
pub fn event(protocol: SubProtocol, event: &Event, critical: bool) -> Bytes {
    match protocol {
        SubProtocol::Proto => encode_frame(Opcode::Binary, &proto::encode_event(event, critical)),
        SubProtocol::Json | SubProtocol::Bin | SubProtocol::BinWithRoom => {
            encode_frame(Opcode::Text, &message::encode_event(event, critical))
        }
    }
}

/// A Protobuf `ref` as commands carry it.
#[must_use]
pub fn reference(number: u64) -> Option<Box<RawValue>> {
    // A number is JSON.
    (number != 0).then(|| RawValue::from_string(number.to_string()).ok()).flatten()
}

fn reference_number(reference: Option<&RawValue>) -> u64 {
    reference.and_then(|number| number.get().parse().ok()).unwrap_or(0)
}
