//! Between the frames that shards read and write and the messages of a WebTransport stream.
//!
//! A message on the stream is its length (a varint of RFC 9000 §16) and its bytes. Shards speak WebSocket frames, because a
//! batch is encoded once for all its sockets. Both directions are a change of headers: payloads are copied and never read.
//! Knows no connection and does no I/O.

use protocol::varint::varint;
use protocol::ws::Opcode;

/// The longest varint, in bytes.
const VARINT_BYTES_MAX: usize = 8;
/// What a client's frame has before its payload, at most: two bytes, a 64-bit length and the mask.
const CLIENT_HEADER_BYTES_MAX: usize = 14;
/// Input bytes become at most this many times as many frame bytes: an empty message is one byte, its frame six.
pub(super) const GROWTH_MAX: usize = 8;
/// The length that stands for every length beyond the limit. The decoder refuses it from the header.
const TOO_BIG: u64 = u32::MAX as u64;
const MASKED: u8 = 0x80;
const FIN: u8 = 0x80;

/// A frame of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFrame<'a> {
    /// A message for the client.
    Message(&'a [u8]),
    /// The session ends with a code and a reason.
    Close(u16, &'a [u8]),
    /// Means something to WebSockets alone.
    Other,
}

/// The frame at the start of `bytes`, and the bytes behind it; `None` at the end.
pub(super) fn server_frame(bytes: &[u8]) -> Option<(ServerFrame<'_>, &[u8])> {
    let [kind, short, rest @ ..] = bytes else { return None };
    let (length, rest) = match short {
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        short => (u64::from(*short), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let frame = match (kind & 0x0F, payload) {
        (1 | 2, payload) => ServerFrame::Message(payload),
        (8, [high, low, reason @ ..]) => ServerFrame::Close(u16::from_be_bytes([*high, *low]), reason),
        _ => ServerFrame::Other,
    };
    Some((frame, rest))
}

/// Makes frames of a client's messages, however its bytes are cut.
#[derive(Debug, Default)]
pub(super) struct MessageReader {
    /// The first bytes of a length.
    length: [u8; VARINT_BYTES_MAX],
    have: usize,
    /// Bytes of the current message that are still to come.
    left: u64,
}

impl MessageReader {
    /// Writes the frames of `raw` into `out`, which has [`GROWTH_MAX`] times its length; returns their length. A message over
    /// `bytes_max` becomes a header that the decoder refuses, before its bytes come.
    pub fn frames(&mut self, mut raw: &[u8], opcode: Opcode, bytes_max: usize, out: &mut [u8]) -> usize {
        let mut written = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(to) = out.get_mut(written..written + bytes.len()) {
                to.copy_from_slice(bytes);
                written += bytes.len();
            }
        };
        while let Some(&first) = raw.first() {
            if self.left > 0 {
                let n = raw.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let (payload, rest) = raw.split_at(n);
                put(payload);
                self.left -= n as u64;
                raw = rest;
                continue;
            }
            if let Some(slot) = self.length.get_mut(self.have) {
                *slot = first;
            }
            self.have += 1;
            raw = raw.get(1..).unwrap_or_default();
            if let Some((length, _)) = varint(self.length.get(..self.have).unwrap_or_default()) {
                self.have = 0;
                self.left = length;
                let length = if length > bytes_max as u64 { TOO_BIG } else { length };
                let mut header = Vec::with_capacity(CLIENT_HEADER_BYTES_MAX);
                client_header(opcode, length, &mut header);
                put(&header);
            }
        }
        written
    }
}

/// The header of a client's frame whose mask changes nothing.
fn client_header(opcode: Opcode, length: u64, out: &mut Vec<u8>) {
    out.push(FIN | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(MASKED | short),
        (_, Ok(medium)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::varint::put_varint;
    use protocol::ws::{Decoder, Event, Limits, ProtocolError, close_frame, encode_frame};

    use super::*;

    const BYTES_MAX: usize = 4_096;

    fn read(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (mut reader, mut decoder, mut messages) = (MessageReader::default(), Decoder::default(), Vec::new());
        for chunk in chunks {
            let mut out = vec![0; chunk.len() * GROWTH_MAX];
            let n = reader.frames(chunk, Opcode::Binary, BYTES_MAX, &mut out);
            let mut events = decoder.read(&mut out[..n], Limits::from_client(BYTES_MAX * 2));
            while let Some(event) = events.next_event()? {
                if let Event::Binary(bytes) = event {
                    messages.push(bytes.to_vec());
                }
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes() {
        let mut bytes = Vec::new();
        put_varint(BYTES_MAX as u64 + 1, &mut bytes);
        assert_eq!(read(&[&bytes]), Err(ProtocolError::TooBig));
        assert_eq!(read(&[&[0xff; 8]]), Err(ProtocolError::TooBig));
    }

    #[test]
    fn frames_of_ours_become_messages_and_a_close() {
        let frames = [encode_frame(Opcode::Text, b"one"), encode_frame(Opcode::Pong, b""), close_frame(4003, "why")];
        let bytes = frames.concat();
        let (first, rest) = server_frame(&bytes).unwrap();
        let (second, rest) = server_frame(rest).unwrap();
        let (third, rest) = server_frame(rest).unwrap();
        assert_eq!((first, second), (ServerFrame::Message(b"one"), ServerFrame::Other));
        assert_eq!((third, server_frame(rest)), (ServerFrame::Close(4003, b"why"), None));
        let long = vec![7; 70_000];
        let bytes = encode_frame(Opcode::Binary, &long);
        assert_eq!(server_frame(&bytes), Some((ServerFrame::Message(&long), &[][..])));
    }

    proptest! {
        /// Wherever the bytes are cut, the messages are the same.
        #[test]
        fn messages_survive_any_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1usize..40, 1..64),
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                put_varint(message.len() as u64, &mut bytes);
                bytes.extend_from_slice(message);
            }
            let (mut rest, mut chunks, mut cuts) = (&bytes[..], Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                chunks.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(read(&chunks), Ok(messages));
        }

        /// Whatever a client sends, every byte of it is used up and nothing overflows.
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[&bytes]);
        }
    }
}
