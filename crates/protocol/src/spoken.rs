//! One message in whatever form a socket speaks, as a finished WebSocket frame.
//!
//! Called by the gateway for answers and by the hub for what many sockets share. JSON goes in text frames, Protobuf
//! in binary ones; a socket of `barrage.v1.bin` is answered in JSON ([`crate::binary`] has frames for comments and
//! heartbeats alone).

use bytes::Bytes;
use model::{Event, WireError};
use serde_json::value::RawValue;

use crate::handshake::SubProtocol;
use crate::message::{self, ServerMessage};
use crate::proto;
use crate::ws::{Opcode, encode_frame, frame_header};

/// Appends the frame of a message, with the `ref` it answers.
pub fn message(protocol: SubProtocol, message: &ServerMessage<'_>, reference: Option<&RawValue>, out: &mut Vec<u8>) {
    let (opcode, payload) = match protocol {
        SubProtocol::Proto => (Opcode::Binary, proto::encode(message, reference_number(reference))),
        SubProtocol::Json | SubProtocol::Bin => (Opcode::Text, message::encode(message, reference)),
    };
    frame_header(opcode, payload.len(), out);
    out.extend_from_slice(&payload);
}

/// Appends the frame of an error.
pub fn error(protocol: SubProtocol, error: &WireError, reference: Option<&RawValue>, out: &mut Vec<u8>) {
    let WireError { code, message: text, retry_after_ms } = error;
    let error = ServerMessage::Error { code: code.as_str(), message: text, retry_after_ms: *retry_after_ms };
    message(protocol, &error, reference, out);
}

/// The frame of an event; `critical` is whether it is so for the viewer it is encoded for.
#[must_use]
pub fn event(protocol: SubProtocol, event: &Event, critical: bool) -> Bytes {
    match protocol {
        SubProtocol::Proto => encode_frame(Opcode::Binary, &proto::encode_event(event, critical)),
        SubProtocol::Json | SubProtocol::Bin => encode_frame(Opcode::Text, &message::encode_event(event, critical)),
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
