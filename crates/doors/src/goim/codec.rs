//! Packets of goim (MIT; `docs/proto.md` in github.com/Terry-Mao/goim): a 16-byte big-endian header, then the body.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the packet |
//! | 2 | length of the header, 16 |
//! | 2 | version of the body: 0 JSON, 1 control, 2 zlib of packets, 3 brotli of packets |
//! | 4 | operation |
//! | 4 | sequence |
//!
//! Pure. A packet that breaks these rules ends the connection, because nothing after it can be told apart.

use std::io::{self, Write as _};

/// The length of a header.
const HEADER_BYTES: usize = 16;
/// Longest packet of a client: a token is the longest that it sends.
pub(super) const PACKET_BYTES_MAX: usize = 16_384;
/// Speed of compression, which a batch pays once for each version.
const BROTLI_QUALITY: u32 = 3;
const BROTLI_WINDOW: u32 = 18;

/// What a packet is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Heartbeat,
    HeartbeatReply,
    Message,
    Auth,
    AuthReply,
    /// Anything that this door does not do.
    Other(u32),
}

impl Operation {
    const fn number(self) -> u32 {
        match self {
            Self::Heartbeat => 2,
            Self::HeartbeatReply => 3,
            Self::Message => 5,
            Self::Auth => 7,
            Self::AuthReply => 8,
            Self::Other(number) => number,
        }
    }

    const fn of(number: u32) -> Self {
        match number {
            2 => Self::Heartbeat,
            3 => Self::HeartbeatReply,
            5 => Self::Message,
            7 => Self::Auth,
            8 => Self::AuthReply,
            other => Self::Other(other),
        }
    }
}

/// How the bodies of messages reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyVersion {
    Plain,
    Zlib,
    Brotli,
}

impl BodyVersion {
    /// The version that a client asks for as `protover`.
    pub fn asked(protover: u64) -> Self {
        match protover {
            2 => Self::Zlib,
            3 => Self::Brotli,
            _ => Self::Plain,
        }
    }
}

/// A packet of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub operation: Operation,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// The header is not one of these packets, or the packet is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPacket;

/// Bytes as they come, cut into packets.
#[derive(Debug, Default)]
pub(super) struct Packets(Vec<u8>);

impl Packets {
    /// Adds bytes. Between two calls all packets are to be taken.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` when there is none yet.
    pub fn next_packet(&mut self) -> Option<Result<Packet, BadPacket>> {
        let header = self.0.first_chunk::<HEADER_BYTES>()?;
        let [a, b, c, d, h0, h1, _, _, o0, o1, o2, o3, s0, s1, s2, s3] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let is_known = u16::from_be_bytes([h0, h1]) as usize == HEADER_BYTES;
        if !is_known || !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
            return Some(Err(BadPacket));
        }
        if self.0.len() < length {
            return None;
        }
        let packet: Vec<u8> = self.0.drain(..length).collect();
        Some(Ok(Packet {
            operation: Operation::of(u32::from_be_bytes([o0, o1, o2, o3])),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            body: packet.get(HEADER_BYTES..).unwrap_or_default().to_vec(),
        }))
    }
}

/// One packet.
pub(super) fn encode(operation: Operation, version: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&(HEADER_BYTES as u16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&operation.number().to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Messages as a client asked for them: packet after packet, or one packet with all of them compressed.
pub(super) fn messages<'a>(bodies: impl Iterator<Item = &'a [u8]>, version: BodyVersion) -> io::Result<Vec<u8>> {
    let packets = bodies.flat_map(|body| encode(Operation::Message, 0, 0, body)).collect::<Vec<u8>>();
    Ok(match version {
        BodyVersion::Plain => packets,
        BodyVersion::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&packets)?;
            encode(Operation::Message, 2, 0, &encoder.finish()?)
        }
        BodyVersion::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4_096, BROTLI_QUALITY, BROTLI_WINDOW);
            encoder.write_all(&packets)?;
            encode(Operation::Message, 3, 0, &encoder.into_inner())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn packets(chunks: &[&[u8]]) -> Vec<Result<Packet, BadPacket>> {
        let mut packets = Packets::default();
        let mut found = Vec::new();
        for chunk in chunks {
            packets.push(chunk);
            while let Some(packet) = packets.next_packet() {
                let is_bad = packet.is_err();
                found.push(packet);
                if is_bad {
                    return found;
                }
            }
        }
        found
    }

    #[test]
    fn a_heartbeat_is_these_bytes() {
        let bytes = encode(Operation::Heartbeat, 1, 1, b"");
        assert_eq!(bytes, [0, 0, 0, 16, 0, 16, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn packets_come_in_pieces_and_together() {
        let (auth, beat) = (encode(Operation::Auth, 1, 1, b"{}"), encode(Operation::Heartbeat, 1, 2, b""));
        let both = [auth.as_slice(), &beat].concat();
        for cut in 0..both.len() {
            let (first, second) = both.split_at(cut);
            let found: Vec<_> = packets(&[first, second]).into_iter().flatten().collect();
            assert_eq!(found.len(), 2, "cut at {cut}");
            assert_eq!((found[0].operation, found[0].body.as_slice()), (Operation::Auth, b"{}".as_slice()));
            assert_eq!((found[1].operation, found[1].sequence), (Operation::Heartbeat, 2));
        }
    }

    #[test]
    fn a_hostile_header_is_refused_before_its_body() {
        for header in [
            [0xff, 0xff, 0xff, 0xff, 0, 16, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0],
            [0, 0, 0, 32, 0, 255, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0],
        ] {
            assert_eq!(packets(&[&header]), [Err(BadPacket)]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            packets(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn compressed_messages_are_the_plain_ones(bodies in prop::collection::vec(".{0,40}", 1..6)) {
            let bytes = |version| messages(bodies.iter().map(String::as_bytes), version).expect("in memory");
            let plain = bytes(BodyVersion::Plain);
            let (zlib, brotli) = (bytes(BodyVersion::Zlib), bytes(BodyVersion::Brotli));
            let mut inflated = Vec::new();
            flate2::read::ZlibDecoder::new(&zlib[HEADER_BYTES..]).read_to_end(&mut inflated).expect("zlib");
            prop_assert_eq!(&inflated, &plain);
            let mut inflated = Vec::new();
            brotli::Decompressor::new(&brotli[HEADER_BYTES..], 4_096).read_to_end(&mut inflated).expect("brotli");
            prop_assert_eq!(&inflated, &plain);
        }
    }
}
