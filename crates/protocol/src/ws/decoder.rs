//! Bytes from a socket → whole messages.
//!
//! A connection owns one [`Decoder`], a single pointer that stays null while nothing is unfinished. Each
//! read from the socket opens an [`Events`] over the bytes read; messages that arrived whole are unmasked
//! where they lie and borrowed from there. Bytes are kept only when the reading stops early: in the middle
//! of a frame or a fragmented message, or because the caller wants no more events for now.
//!
//! ```
//! use protocol::ws::{Decoder, Event, Limits, Opcode, encode_client_frame};
//!
//! let mut scratch = Vec::new();
//! encode_client_frame(Opcode::Text, "弹幕".as_bytes(), [1, 2, 3, 4], &mut scratch);
//!
//! let mut decoder = Decoder::default();
//! let mut events = decoder.read(&mut scratch, Limits::from_client(16 * 1024));
//! while let Some(event) = events.next_event()? {
//!     assert_eq!(event, Event::Text("弹幕"));
//! }
//! # Ok::<(), protocol::ws::ProtocolError>(())
//! ```

use std::ops::Range;

use super::frame::{Header, Limits, Opcode, ProtocolError};
use super::mask;

/// What the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A whole compressed message, to be inflated: only where [`Limits::deflate`] allows it.
    Deflated {
        /// Text, not bytes. What it inflates to has yet to be found UTF-8.
        text: bool,
        /// As it came.
        payload: &'a [u8],
    },
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The answer to our ping, or a sign of life.
    Pong(&'a [u8]),
    /// The peer's last word: nothing after it is decoded. To be answered with a close, then hung up.
    Close {
        /// Absent when the peer gave none (RFC 6455 §7.1.5 calls that 1005).
        code: Option<u16>,
        /// For people; empty when absent.
        reason: &'a str,
    },
}

/// What one connection has to remember between reads: nothing (a null pointer), or the bytes of an
/// unfinished frame, the fragments of an unfinished message and what the caller left unread.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Option<Box<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of `bytes` are decoded already.
    decoded: usize,
    message: Option<Fragments>,
    /// After a close or an error: whatever else arrives is dropped.
    finished: bool,
}

/// A message of which some fragments have arrived.
#[derive(Debug)]
struct Fragments {
    kind: Kind,
    payload: Vec<u8>,
}

impl Decoder {
    /// Decodes what was held back and then `bytes`, which it unmasks in place.
    ///
    /// Dropping the [`Events`] before it is exhausted stops there and holds the rest; [`Self::resume`] goes on.
    /// Held are then at most [`Limits::message_bytes_max`] for messages and 131 bytes for the rest (a header, or a
    /// control frame between fragments), and besides the `bytes` of this call, provided the caller does not read
    /// on from the socket while it has stopped.
    pub fn read<'a>(&'a mut self, bytes: &'a mut [u8], limits: Limits) -> Events<'a> {
        let mut decoded = 0;
        let mut finished = false;
        let mut source = Source::Fresh(bytes);
        if let Some(held) = &mut self.held {
            finished = held.finished;
            if !held.bytes.is_empty() {
                decoded = std::mem::take(&mut held.decoded);
                source = source.after(std::mem::take(&mut held.bytes), &mut decoded);
            }
        }
        Events { decoder: self, source, decoded, assembled: Vec::new(), finished, limits }
    }

    /// Decodes what was held back when the caller stopped.
    pub fn resume(&mut self, limits: Limits) -> Events<'_> {
        self.read(&mut [], limits)
    }

    /// How many bytes of input this connection keeps in memory.
    pub fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes.len() + held.message_bytes())
    }
}

impl Held {
    fn message_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.len())
    }
}

/// The events of one read, borrowed from the bytes read: a lending iterator.
#[derive(Debug)]
pub struct Events<'a> {
    decoder: &'a mut Decoder,
    source: Source<'a>,
    /// How many bytes of `source` are decoded already.
    decoded: usize,
    /// The fragmented message delivered last, which its event borrows.
    assembled: Vec<u8>,
    finished: bool,
    limits: Limits,
}

/// What a message is: its opcode, and whether it is compressed.
#[derive(Debug, Clone, Copy)]
struct Kind {
    opcode: Opcode,
    deflated: bool,
}

/// Where a message that is ready lies.
enum Payload {
    Source(Range<usize>),
    Assembled,
}

impl Events<'_> {
    /// The next event; `None` when the bytes are used up, and after a close or an error.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        if self.finished {
            return Ok(None);
        }
        let found = self.find_message();
        let Self { source, assembled, finished, .. } = self;
        let event = match found {
            Ok(None) => return Ok(None),
            Ok(Some((kind, Payload::Source(range)))) => Event::new(kind, source.bytes().get(range).unwrap_or_default()),
            Ok(Some((kind, Payload::Assembled))) => Event::new(kind, assembled),
            Err(error) => Err(error),
        };
        *finished = matches!(event, Err(_) | Ok(Event::Close { .. }));
        event.map(Some)
    }

    /// Takes frames until a message is whole.
    fn find_message(&mut self) -> Result<Option<(Kind, Payload)>, ProtocolError> {
        while let Some((header, payload)) = self.take_frame()? {
            let kind = Kind { opcode: header.opcode, deflated: header.deflated };
            match (header.opcode, header.fin) {
                (Opcode::Continuation, fin) => {
                    if let Some(kind) = self.continue_message(payload, fin) {
                        return Ok(Some((kind, Payload::Assembled)));
                    }
                }
                (_, true) => return Ok(Some((kind, Payload::Source(payload)))),
                (_, false) => self.begin_message(kind, payload),
            }
        }
        Ok(None)
    }

    /// Unmasks the next frame if all of it is there, and moves past it.
    fn take_frame(&mut self) -> Result<Option<(Header, Range<usize>)>, ProtocolError> {
        let Some(rest) = self.source.bytes_mut().get_mut(self.decoded..) else {
            return Ok(None);
        };
        let Some(header) = Header::parse(rest, &self.limits)? else {
            return Ok(None);
        };
        check_sequence(&header, self.decoder.held.as_deref(), &self.limits)?;
        let payload = rest.get_mut(header.header_bytes..).and_then(|rest| rest.get_mut(..header.payload_bytes));
        let Some(payload) = payload else {
            return Ok(None);
        };
        if let Some(key) = header.key {
            mask::apply(payload, key);
        }
        let start = self.decoded + header.header_bytes;
        self.decoded = start + header.payload_bytes;
        Ok(Some((header, start..self.decoded)))
    }

    fn begin_message(&mut self, kind: Kind, payload: Range<usize>) {
        let payload = self.source.bytes().get(payload).unwrap_or_default().to_vec();
        self.decoder.held.get_or_insert_default().message = Some(Fragments { kind, payload });
    }

    /// Adds a fragment; after the last one moves the message to `assembled` and returns what it is.
    fn continue_message(&mut self, payload: Range<usize>, fin: bool) -> Option<Kind> {
        let unfinished = &mut self.decoder.held.as_mut()?.message;
        let message = unfinished.as_mut()?;
        message.payload.extend_from_slice(self.source.bytes().get(payload).unwrap_or_default());
        if !fin {
            return None;
        }
        let message = unfinished.take()?;
        self.assembled = message.payload;
        Some(message.kind)
    }
}

/// Holds what is left, and forgets everything when nothing is.
impl Drop for Events<'_> {
    fn drop(&mut self) {
        let held = &mut self.decoder.held;
        if self.finished {
            *held = Some(Box::new(Held { finished: true, ..Held::default() }));
        } else if self.decoded < self.source.bytes().len() {
            let held = held.get_or_insert_default();
            (held.bytes, held.decoded) = self.source.take_rest(self.decoded);
        } else if held.as_ref().is_some_and(|held| held.message.is_none()) {
            *held = None;
        }
    }
}

/// A message's fragments follow each other, with only control frames between them, and stay within the limit together.
fn check_sequence(header: &Header, held: Option<&Held>, limits: &Limits) -> Result<(), ProtocolError> {
    if header.opcode.is_control() {
        return Ok(());
    }
    let message = held.and_then(|held| held.message.as_ref());
    match (header.opcode, message) {
        (Opcode::Continuation, None) => Err(ProtocolError::NothingToContinue),
        (Opcode::Continuation, Some(message)) => {
            let room = limits.message_bytes_max.saturating_sub(message.payload.len());
            if header.payload_bytes > room { Err(ProtocolError::TooBig) } else { Ok(()) }
        }
        (_, Some(_)) => Err(ProtocolError::UnfinishedMessage),
        (_, None) => Ok(()),
    }
}

/// The bytes being decoded: the caller's, or ours with the caller's appended when some were held.
#[derive(Debug)]
enum Source<'a> {
    Fresh(&'a mut [u8]),
    Held(Vec<u8>),
}

impl Source<'_> {
    /// These bytes behind the `held` ones, of which those already decoded make room first.
    fn after(self, mut held: Vec<u8>, decoded: &mut usize) -> Self {
        let fresh = self.bytes();
        if !fresh.is_empty() {
            held.drain(..std::mem::take(decoded).min(held.len()));
            held.extend_from_slice(fresh);
        }
        Self::Held(held)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Held(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Held(bytes) => bytes,
        }
    }

    /// What follows the first `decoded` bytes, as a vector and how much of that to skip. Bytes of ours are moved
    /// rather than copied until half of them are decoded, so that resuming event by event stays linear.
    fn take_rest(&mut self, decoded: usize) -> (Vec<u8>, usize) {
        match self {
            Self::Held(bytes) if decoded < bytes.len() / 2 || decoded == 0 => (std::mem::take(bytes), decoded),
            _ => (self.bytes().get(decoded..).unwrap_or_default().to_vec(), 0),
        }
    }
}

impl<'a> Event<'a> {
    fn new(kind: Kind, payload: &'a [u8]) -> Result<Self, ProtocolError> {
        Ok(match kind.opcode {
            opcode if kind.deflated => Self::Deflated { text: opcode == Opcode::Text, payload },
            Opcode::Text => Self::Text(text(payload)?),
            // A continuation never gets here: an assembled message has the opcode it began with.
            Opcode::Binary | Opcode::Continuation => Self::Binary(payload),
            Opcode::Ping => Self::Ping(payload),
            Opcode::Pong => Self::Pong(payload),
            Opcode::Close => close(payload)?,
        })
    }
}

/// The text of a whole message.
///
/// # Errors
/// [`ProtocolError::InvalidUtf8`] when it is none.
pub fn text(payload: &[u8]) -> Result<&str, ProtocolError> {
    str::from_utf8(payload).map_err(|_| ProtocolError::InvalidUtf8)
}

fn close(payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    if payload.is_empty() {
        return Ok(Event::Close { code: None, reason: "" });
    }
    let (code, reason) = payload.split_first_chunk().ok_or(ProtocolError::BadCloseCode)?;
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(ProtocolError::BadCloseCode);
    }
    Ok(Event::Close { code: Some(code), reason: text(reason)? })
}

/// The codes RFC 6455 §7.4 and IANA's registry allow on the wire; 1004–1006 and 1015 never travel.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::encode_client_frame;

    const LIMITS: Limits = Limits::from_client(1024);

    fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_client_frame(opcode, payload, [9, 8, 7, 6], &mut out);
        out
    }

    fn drain(mut events: Events<'_>) -> usize {
        let mut count = 0;
        while events.next_event().is_ok_and(|event| event.is_some()) {
            count += 1;
        }
        count
    }

    #[test]
    fn idle_connection_holds_one_null_pointer() {
        assert_eq!(size_of::<Decoder>(), size_of::<usize>());
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Text, b"whole");
        assert_eq!(drain(decoder.read(&mut bytes, LIMITS)), 1);
        assert!(decoder.held.is_none());
    }

    #[test]
    fn what_was_held_is_freed_once_decoded() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Text, b"in two parts");
        let (first, second) = bytes.split_at_mut(7);
        assert_eq!(drain(decoder.read(first, LIMITS)), 0);
        assert_eq!(decoder.held_bytes(), 7);
        assert_eq!(drain(decoder.read(second, LIMITS)), 1);
        assert!(decoder.held.is_none());
    }

    #[test]
    fn fragmented_message_is_freed_once_delivered() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Text, b"begun, ");
        bytes[0] &= 0x7F;
        bytes.extend(frame(Opcode::Continuation, b"ended"));
        let mut events = decoder.read(&mut bytes, LIMITS);
        assert_eq!(events.next_event(), Ok(Some(Event::Text("begun, ended"))));
        drop(events);
        assert!(decoder.held.is_none());
    }

    #[test]
    fn whole_message_is_borrowed_from_the_callers_buffer() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Binary, b"here");
        let lies_in = bytes.as_ptr_range();
        let mut events = decoder.read(&mut bytes, LIMITS);
        let Ok(Some(Event::Binary(payload))) = events.next_event() else {
            panic!("no message");
        };
        assert!(lies_in.contains(&payload.as_ptr()));
    }

    #[test]
    fn resuming_event_by_event_copies_little() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Text, b"x").repeat(1000);
        let mut events = decoder.read(&mut bytes, LIMITS);
        let mut copies = 0;
        let mut place = None;
        while events.next_event() != Ok(None) {
            drop(events);
            let now = decoder.held.as_ref().map(|held| held.bytes.as_ptr());
            copies += usize::from(now != place);
            place = now;
            events = decoder.resume(LIMITS);
        }
        assert!(copies < 20, "{copies} copies for 1000 events");
    }
}
