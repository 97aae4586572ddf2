//! Frames to write. A server's frames are unmasked, so all sockets of a stream share one; a client's frames are masked,
//! each with its own key.

use bytes::Bytes;

use super::frame::{CONTROL_BYTES_MAX, FIN, LEN_IN_BYTE_MAX, LEN_IN_U16, LEN_IN_U64, MASKED, Opcode, RSV1};
use super::mask;

/// The longest header of an unmasked frame: two bytes and a 64-bit length.
const HEADER_BYTES_MAX: usize = 10;

/// Appends the header of a whole, unmasked message of `payload_bytes` bytes. The caller appends the payload.
pub fn frame_header(opcode: Opcode, payload_bytes: usize, out: &mut Vec<u8>) {
    header(opcode as u8, payload_bytes, 0, out);
}

/// The same for a payload compressed with permessage-deflate.
pub(super) fn deflated_header(opcode: Opcode, payload_bytes: usize, out: &mut Vec<u8>) {
    header(RSV1 | opcode as u8, payload_bytes, 0, out);
}

/// A whole message from the server as one frame, for any number of sockets.
pub fn encode_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    frame_header(opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// A close frame. `reason` is cut to the 123 bytes that fit behind the code, never inside a character.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let room = CONTROL_BYTES_MAX - size_of::<u16>();
    let (reason, _) = reason.split_at(reason.floor_char_boundary(room));
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    encode_frame(Opcode::Close, &payload)
}

/// Appends a whole message as a client sends it, masked with `key`. The key must be unpredictable to the author of the
/// payload (RFC 6455 §5.3), unless client and payload come from the same program.
pub fn encode_client_frame(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES_MAX + key.len() + payload.len());
    header(opcode as u8, payload.len(), MASKED, out);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        mask::apply(payload, key);
    }
}

fn header(kind: u8, payload_bytes: usize, mask_bit: u8, out: &mut Vec<u8>) {
    out.push(FIN | kind);
    let length = payload_bytes as u64;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length <= LEN_IN_BYTE_MAX => out.push(mask_bit | short),
        (_, Ok(medium)) => {
            out.push(mask_bit | LEN_IN_U16);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(mask_bit | LEN_IN_U64);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}
