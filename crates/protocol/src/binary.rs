//! `barrage.v1.bin`: comments and heartbeats behind a fixed 22-byte header, big-endian.
//!
//! | magic | version | type | timestamp, Unix ms | user id | content length N | content, UTF-8 |
//! |---|---|---|---|---|---|---|
//! | 2 bytes `0xABCD` | 1 | 1 | 8 | 8 | 2 | N |
//!
//! One WebSocket message carries one or more frames back to back. The gateway decodes what clients send and
//! encodes what they are sent; limits on comments are not this module's.

use sha2::{Digest, Sha256};

/// Opens every frame.
pub const MAGIC: u16 = 0xABCD;
/// The one version spoken.
pub const VERSION: u8 = 1;
/// Bytes before the content.
pub const HEADER_BYTES: usize = 22;

/// What a frame is.
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
    /// What the frame is.
    pub kind: Kind,
    /// Unix milliseconds; from a client advisory.
    pub timestamp_ms: u64,
    /// The user in its numeric form, see [`numeric_user_id`].
    pub user_id: u64,
    /// The text.
    pub content: &'a str,
}

/// Why a frame does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first two bytes are not [`MAGIC`].
    #[error("the frame does not start with 0xABCD")]
    BadMagic,
    /// Not [`VERSION`]; the peer is to be told which versions are spoken.
    #[error("version {0} is not spoken, only version 1")]
    UnsupportedVersion(u8),
    /// Neither comment nor heartbeat.
    #[error("frame type {0} is unknown")]
    UnknownType(u8),
    /// The message ends before the frame does.
    #[error("the message ends inside a frame")]
    Truncated,
    /// The content is not UTF-8.
    #[error("the content is not UTF-8")]
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

/// A frame's content is longer than its two-byte length can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content is {bytes} bytes long, at most 65535 fit")]
pub struct ContentTooLong {
    /// The content's length.
    pub bytes: usize,
}

/// The frames of one binary message.
///
/// A frame of unknown type or with content that is not UTF-8 is reported and skipped by its length. Behind a
/// wrong magic, an unsupported version or a cut-off frame nothing says where the next one starts, so these
/// end the message.
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

/// A frame whose extent is known but whose type and text are not checked yet.
struct Header<'a> {
    kind: u8,
    timestamp_ms: u64,
    user_id: u64,
    content: &'a [u8],
}

impl<'a> Header<'a> {
    /// The first frame of `message` and what follows it. Magic and version are judged first: only they
    /// promise that the rest has this layout.
    fn split_from(message: &'a [u8]) -> Result<(Self, &'a [u8]), FrameError> {
        let mut rest = message;
        if u16::from_be_bytes(take(&mut rest)?) != MAGIC {
            return Err(FrameError::BadMagic);
        }
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(FrameError::UnsupportedVersion(version));
        }
        let [kind] = take(&mut rest)?;
        let timestamp_ms = u64::from_be_bytes(take(&mut rest)?);
        let user_id = u64::from_be_bytes(take(&mut rest)?);
        let content_bytes = u16::from_be_bytes(take(&mut rest)?);
        let (content, rest) = rest.split_at_checked(usize::from(content_bytes)).ok_or(FrameError::Truncated)?;
        Ok((Self { kind, timestamp_ms, user_id, content }, rest))
    }

    fn frame(self) -> Result<Frame<'a>, FrameError> {
        let kind = match self.kind {
            0x01 => Kind::Comment,
            0x02 => Kind::Heartbeat,
            other => return Err(FrameError::UnknownType(other)),
        };
        let content = str::from_utf8(self.content).map_err(|_| FrameError::InvalidUtf8)?;
        Ok(Frame { kind, timestamp_ms: self.timestamp_ms, user_id: self.user_id, content })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (field, tail) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    *rest = tail;
    Ok(*field)
}

/// Appends a frame to `out`, which stays as it was when the content is too long.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), ContentTooLong> {
    let bytes = frame.content.len();
    let content_bytes = u16::try_from(bytes).map_err(|_| ContentTooLong { bytes })?;
    out.reserve(HEADER_BYTES + bytes);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&[VERSION, frame.kind as u8]);
    out.extend_from_slice(&frame.timestamp_ms.to_be_bytes());
    out.extend_from_slice(&frame.user_id.to_be_bytes());
    out.extend_from_slice(&content_bytes.to_be_bytes());
    out.extend_from_slice(frame.content.as_bytes());
    Ok(())
}

/// A user id as the header carries it: a canonical decimal u64 (no sign, no leading zero) as it is, any other id
/// as the first eight bytes of its SHA-256, so that different spellings of a number stay different users.
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
