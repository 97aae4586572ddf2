//! One frame's header (RFC 6455 §5.2) and the rules it must obey.

/// The rules for a stream of incoming frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, all its fragments together. Checked from the header, before a byte is kept.
    pub message_bytes_max: usize,
    /// Whether frames must be masked (from a client) or must not be (from a server).
    masked: bool,
    /// Whether messages may be compressed. RSV1 of a message's first frame then says so (RFC 7692 §6).
    deflate: bool,
}

impl Limits {
    /// For a server that reads a client's frames.
    pub const fn from_client(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, masked: true, deflate: false }
    }

    /// For a client that reads a server's frames.
    pub const fn from_server(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, masked: false, deflate: false }
    }

    /// With permessage-deflate negotiated, or without.
    pub const fn deflate(self, deflate: bool) -> Self {
        Self { deflate, ..self }
    }
}

/// The kinds of frame RFC 6455 §11.8 defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message in progress.
    Continuation = 0x0,
    /// A message of UTF-8 text.
    Text = 0x1,
    /// A message of bytes.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// A request for a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life.
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return Err(ProtocolError::ReservedOpcode),
        })
    }

    /// Close, ping and pong: short, never fragmented, allowed between another message's fragments.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a stream of frames cannot be decoded further. Close the connection with [`Self::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// RSV1–RSV3 without an extension that gives them a meaning. permessage-deflate gives RSV1 one, in the first
    /// frame of a message alone.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// Opcodes 3–7 and 11–15.
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// A client must mask.
    #[error("the frame is not masked")]
    Unmasked,
    /// A server must not mask.
    #[error("the frame is masked")]
    Masked,
    /// The length does not use the shortest of its three forms, or its top bit is set.
    #[error("the length is not in its shortest form")]
    BadLength,
    /// A close, ping or pong came in fragments.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A close, ping or pong is longer than 125 bytes.
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// A continuation came while no message was in progress.
    #[error("a continuation continues nothing")]
    NothingToContinue,
    /// A new message began inside another one.
    #[error("a message began before the previous one ended")]
    UnfinishedMessage,
    /// A close payload of one byte, or with a code that must not be sent.
    #[error("the close code is invalid")]
    BadCloseCode,
    /// A text message or close reason is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A compressed message is not deflated data.
    #[error("the message does not inflate")]
    BadDeflate,
    /// The message is longer than [`Limits::message_bytes_max`].
    #[error("the message is too big")]
    TooBig,
}

impl ProtocolError {
    /// The close code for the peer (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::BadDeflate => 1007,
            Self::TooBig => 1009,
            _ => 1002,
        }
    }

    /// A stable name for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved_bit",
            Self::ReservedOpcode => "reserved_opcode",
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::BadLength => "bad_length",
            Self::FragmentedControl => "fragmented_control",
            Self::LongControl => "long_control",
            Self::NothingToContinue => "nothing_to_continue",
            Self::UnfinishedMessage => "unfinished_message",
            Self::BadCloseCode => "bad_close_code",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::BadDeflate => "bad_deflate",
            Self::TooBig => "too_big",
        }
    }
}

/// The longest payload of a control frame (RFC 6455 §5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// Payload lengths up to here are written in the second byte itself.
pub(super) const LEN_IN_BYTE_MAX: u64 = 125;
/// The second byte's marks for a length in the next two or eight bytes.
pub(super) const LEN_IN_U16: u8 = 126;
pub(super) const LEN_IN_U64: u8 = 127;
/// The bits of a header's first and second byte.
pub(super) const FIN: u8 = 0x80;
pub(super) const MASKED: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub fin: bool,
    pub opcode: Opcode,
    /// The message that begins here is compressed.
    pub deflated: bool,
    pub key: Option<[u8; 4]>,
    /// Where the payload starts, counted from the frame's first byte.
    pub header_bytes: usize,
    pub payload_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`; `None` while it is incomplete. Refuses errors as soon as they appear, and
    /// a length beyond `limits` before any payload arrives.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let (fin, opcode, deflated) = first_byte(first, limits)?;
        let masked = second_byte(second, fin, opcode, limits)?;
        let Some((length, rest)) = payload_length(second & !MASKED, rest)? else {
            return Ok(None);
        };
        let payload_bytes = within(length, opcode, limits)?;
        let (key, rest) = match rest.split_first_chunk() {
            Some((key, rest)) if masked => (Some(*key), rest),
            None if masked => return Ok(None),
            _ => (None, rest),
        };
        let header_bytes = bytes.len() - rest.len();
        Ok(Some(Self { fin, opcode, deflated, key, header_bytes, payload_bytes }))
    }
}

fn first_byte(byte: u8, limits: &Limits) -> Result<(bool, Opcode, bool), ProtocolError> {
    let reserved = byte & RESERVED;
    if reserved != 0 && !(reserved == RSV1 && limits.deflate) {
        return Err(ProtocolError::ReservedBit);
    }
    let (opcode, deflated) = (Opcode::from_bits(byte & 0x0F)?, reserved == RSV1);
    if deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(ProtocolError::ReservedBit);
    }
    Ok((byte & FIN != 0, opcode, deflated))
}

fn second_byte(byte: u8, fin: bool, opcode: Opcode, limits: &Limits) -> Result<bool, ProtocolError> {
    let masked = byte & MASKED != 0;
    match (masked, limits.masked) {
        (false, true) => return Err(ProtocolError::Unmasked),
        (true, false) => return Err(ProtocolError::Masked),
        _ => {}
    }
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    if opcode.is_control() && byte & !MASKED >= LEN_IN_U16 {
        return Err(ProtocolError::LongControl);
    }
    Ok(masked)
}

/// The payload's length and what follows it; `None` while its bytes are incomplete.
fn payload_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (length, shortest, rest) = match short {
        LEN_IN_U16 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), LEN_IN_BYTE_MAX + 1, rest),
            None => return Ok(None),
        },
        LEN_IN_U64 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), u64::from(u16::MAX) + 1, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    if length < shortest || length > i64::MAX as u64 {
        return Err(ProtocolError::BadLength);
    }
    Ok(Some((length, rest)))
}

fn within(length: u64, opcode: Opcode, limits: &Limits) -> Result<usize, ProtocolError> {
    let length = usize::try_from(length).map_err(|_| ProtocolError::TooBig)?;
    if length > limits.message_bytes_max && !opcode.is_control() {
        return Err(ProtocolError::TooBig);
    }
    Ok(length)
}
