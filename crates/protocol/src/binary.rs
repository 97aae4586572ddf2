//! `barrage.v1.bin`: comments and heartbeats behind a fixed header, big-endian.
//!
//! | magic | version | type | timestamp, Unix ms | user id | room length M | room id | content length N | content, UTF-8 |
//! |---|---|---|---|---|---|---|---|---|
//! | 2 bytes `0xABCD` | 1 | 1 | 8 | 8 | 1 | M | 2 | N |
//!
//! Only version 2 has a room; without it the header has 22 bytes.
//!
//! One WebSocket message carries one or more frames back to back. The gateway decodes and encodes them. This module checks
//! the format only, not the limits on comments.

use sha2::{Digest, Sha256};

/// Opens every frame.
pub const MAGIC: u16 = 0xABCD;
/// The version whose frames name no room.
pub const VERSION: u8 = 1;
/// The version whose frames name their room.
pub const VERSION_WITH_ROOM: u8 = 2;
/// Bytes before the content, where there is no room.
pub const HEADER_BYTES: usize = 22;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A comment, its text in the content.
    Comment = 0x01,
    /// A sign of life.
    Heartbeat = 0x02,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type of the frame.
    pub kind: Kind,
    /// Unix milliseconds; advisory when it comes from a client.
    pub timestamp_ms: u64,
    /// The user in its numeric form, see [`numeric_user_id`].
    pub user_id: u64,
    /// The room's id, in version 2; empty means the room of the query. Absent in version 1.
    pub room: Option<&'a str>,
    /// The text.
    pub content: &'a str,
}

/// Why a frame does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first two bytes are not [`MAGIC`].
    #[error("the frame does not start with 0xABCD")]
    BadMagic,
    /// Neither [`VERSION`] nor [`VERSION_WITH_ROOM`]; the answer names the supported versions.
    #[error("version {0} is not spoken, only versions 1 and 2")]
    UnsupportedVersion(u8),
    /// Neither comment nor heartbeat.
    #[error("frame type {0} is unknown")]
    UnknownType(u8),
    /// The message ends before the frame does.
    #[error("the message ends inside a frame")]
    Truncated,
    /// The content or the room is not UTF-8.
    #[error("the content or the room is not UTF-8")]
    InvalidUtf8,
}

impl FrameError {
    /// A stable name for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::BadMagic => "bad_magic",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::UnknownType(_) => "unknown_type",
            Self::Truncated => "truncated",
            Self::InvalidUtf8 => "invalid_utf8",
        }
    }
}

/// A frame's content or room is longer than its length can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes do not fit: content has at most 65535, a room 255")]
pub struct ContentTooLong {
    /// The length of what does not fit.
    pub bytes: usize,
}

/// The frames of one binary message.
///
/// A frame of unknown type, or with content that is not UTF-8, is reported and skipped by its length. After a wrong magic,
/// an unsupported version or a truncated frame the next frame cannot be found, so these end the message.
pub fn frames(message: &[u8]) -> Frames<'_> {
    Frames { rest: message }
}

/// Iterator over the frames of one message, see [`frames`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = std::mem::take(&mut self.rest);
        let header = match Header::split_from(message) {
            Ok((header, rest)) => {
                self.rest = rest;
                header
            }
            Err(error) => return Some(Err(error)),
        };
        Some(header.frame())
    }
}

/// A frame whose length is known but whose type and text are not checked yet.
struct Header<'a> {
    kind: u8,
    timestamp_ms: u64,
    user_id: u64,
    room: Option<&'a [u8]>,
    content: &'a [u8],
}

impl<'a> Header<'a> {
    /// The first frame of `message` and the rest. Magic and version are checked first: only they guarantee this layout.
    fn split_from(message: &'a [u8]) -> Result<(Self, &'a [u8]), FrameError> {
        let mut rest = message;
        if u16::from_be_bytes(split_array(&mut rest)?) != MAGIC {
            return Err(FrameError::BadMagic);
        }
        let [version] = split_array(&mut rest)?;
        if version != VERSION && version != VERSION_WITH_ROOM {
            return Err(FrameError::UnsupportedVersion(version));
        }
        let [kind] = split_array(&mut rest)?;
        let timestamp_ms = u64::from_be_bytes(split_array(&mut rest)?);
        let user_id = u64::from_be_bytes(split_array(&mut rest)?);
        let room = match version {
            VERSION => None,
            _ => {
                let [room_bytes] = split_array(&mut rest)?;
                Some(split_bytes(&mut rest, usize::from(room_bytes))?)
            }
        };
        let content_bytes = u16::from_be_bytes(split_array(&mut rest)?);
        let content = split_bytes(&mut rest, usize::from(content_bytes))?;
        Ok((Self { kind, timestamp_ms, user_id, room, content }, rest))
    }

    fn frame(self) -> Result<Frame<'a>, FrameError> {
        let kind = match self.kind {
            0x01 => Kind::Comment,
            0x02 => Kind::Heartbeat,
            other => return Err(FrameError::UnknownType(other)),
        };
        let text = |bytes| str::from_utf8(bytes).map_err(|_| FrameError::InvalidUtf8);
        let (room, content) = (self.room.map(text).transpose()?, text(self.content)?);
        Ok(Frame { kind, timestamp_ms: self.timestamp_ms, user_id: self.user_id, room, content })
    }
}

fn split_bytes<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], FrameError> {
    let (field, tail) = rest.split_at_checked(bytes).ok_or(FrameError::Truncated)?;
    *rest = tail;
    Ok(field)
}

fn split_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (field, tail) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    *rest = tail;
    Ok(*field)
}

/// Appends a frame to `out`: of version 2 when it names a room. Appends nothing when a part is too long.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), ContentTooLong> {
    let bytes = frame.content.len();
    let content_bytes = u16::try_from(bytes).map_err(|_| ContentTooLong { bytes })?;
    let room_bytes = frame.room.map(|room| u8::try_from(room.len()).map_err(|_| ContentTooLong { bytes: room.len() }));
    let room_bytes = room_bytes.transpose()?;
    out.reserve(HEADER_BYTES + 1 + frame.room.map_or(0, str::len) + bytes);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&[if room_bytes.is_some() { VERSION_WITH_ROOM } else { VERSION }, frame.kind as u8]);
    out.extend_from_slice(&frame.timestamp_ms.to_be_bytes());
    out.extend_from_slice(&frame.user_id.to_be_bytes());
    if let (Some(length), Some(room)) = (room_bytes, frame.room) {
        out.push(length);
        out.extend_from_slice(room.as_bytes());
    }
    out.extend_from_slice(&content_bytes.to_be_bytes());
    out.extend_from_slice(frame.content.as_bytes());
    Ok(())
}

/// The numeric form of a user id. A canonical decimal u64 (no sign, no leading zero) stays itself. Any other id becomes the
/// first eight bytes of its SHA-256, so that different spellings of a number stay different users.
pub fn numeric_user_id(user_id: &str) -> u64 {
    let canonical = user_id == "0" || user_id.starts_with(|c: char| matches!(c, '1'..='9'));
    match user_id.parse() {
        Ok(number) if canonical => number,
        _ => hashed(user_id),
    }
}

fn hashed(user_id: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(user_id).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
