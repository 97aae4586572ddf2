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
    /// A whole compressed message; only where [`Limits::deflate`] allows it.
    Deflated {
        /// Text, not bytes. The inflated text is not checked for UTF-8 yet.
        text: bool,
        /// The compressed payload.
        payload: &'a [u8],
    },
    /// Answer it with a pong of the same payload.
    Ping(&'a [u8]),
    /// The answer to our ping, or a sign of life.
    Pong(&'a [u8]),
    /// The peer closes: nothing after it is decoded. Answer it with a close, then hang up.
    Close {
        /// Absent when the peer gave none (RFC 6455 §7.1.5 calls that 1005).
        code: Option<u16>,
        /// For people; empty when absent.
        reason: &'a str,
    },
}

/// What one connection remembers between reads: nothing (a null pointer), or the bytes of an unfinished frame, the
/// fragments of an unfinished message, and what the caller left unread.
#[derive(Debug, Default)]
pub struct Decoder {
    buffered: Option<Box<Buffered>>,
}

/// What a [`Decoder`] keeps, on its way to another process.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ParkedInput {
    /// Bytes that are not decoded, as the peer sent them.
    pub bytes: Vec<u8>,
    /// The message of which some fragments have arrived.
    pub message: Option<ParkedMessage>,
    /// All further input is dropped.
    pub finished: bool,
}

/// A fragmented message, as far as it has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Text, not bytes.
    pub text: bool,
    /// Its payload is compressed.
    pub deflated: bool,
    /// What has arrived.
    pub payload: Vec<u8>,
}

#[derive(Debug, Default)]
struct Buffered {
    bytes: Vec<u8>,
    /// How many of `bytes` are decoded already.
    decoded: usize,
    message: Option<Fragments>,
    /// After a close or an error: all further input is dropped.
    finished: bool,
}

/// A message of which some fragments have arrived.
#[derive(Debug)]
struct Fragments {
    kind: Kind,
    payload: Vec<u8>,
}

impl Decoder {
    /// Decodes what is buffered and then `bytes`, which it unmasks in place.
    ///
    /// Dropping the [`Events`] before they are exhausted stops there and buffers the rest; [`Self::resume`] continues. It
    /// buffers at most [`Limits::message_bytes_max`] for messages, 131 bytes for a header or a control frame between
    /// fragments, and the `bytes` of this call, provided the caller does not read the socket while it has stopped.
    pub fn read<'a>(&'a mut self, bytes: &'a mut [u8], limits: Limits) -> Events<'a> {
        let mut decoded = 0;
        let mut finished = false;
        let mut source = Source::Fresh(bytes);
        if let Some(buffered) = &mut self.buffered {
            finished = buffered.finished;
            if !buffered.bytes.is_empty() {
                decoded = std::mem::take(&mut buffered.decoded);
                source = source.after(std::mem::take(&mut buffered.bytes), &mut decoded);
            }
        }
        Events { decoder: self, source, decoded, assembled: Vec::new(), finished, limits }
    }

    /// Decodes what was buffered when the caller stopped.
    pub fn resume(&mut self, limits: Limits) -> Events<'_> {
        self.read(&mut [], limits)
    }

    /// What is kept, so that another process can continue. The decoder is empty afterwards.
    pub fn park(&mut self) -> ParkedInput {
        let Some(buffered) = self.buffered.take() else { return ParkedInput::default() };
        let Buffered { mut bytes, decoded, message, finished } = *buffered;
        bytes.drain(..decoded.min(bytes.len()));
        let message = message.map(|Fragments { kind, payload }| ParkedMessage {
            text: kind.opcode == Opcode::Text,
            deflated: kind.deflated,
            payload,
        });
        ParkedInput { bytes, message, finished }
    }

    /// A decoder that continues where another one was parked.
    #[must_use]
    pub fn unpark(parked: ParkedInput) -> Self {
        let ParkedInput { bytes, message, finished } = parked;
        if bytes.is_empty() && message.is_none() && !finished {
            return Self::default();
        }
        let message = message.map(|ParkedMessage { text, deflated, payload }| Fragments {
            kind: Kind { opcode: if text { Opcode::Text } else { Opcode::Binary }, deflated },
            payload,
        });
        Self { buffered: Some(Box::new(Buffered { bytes, decoded: 0, message, finished })) }
    }

    /// Bytes of input that this connection keeps in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered.as_ref().map_or(0, |buffered| buffered.bytes.len() + buffered.message_bytes())
    }
}

impl Buffered {
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

/// The kind of a message: its opcode, and whether it is compressed.
#[derive(Debug, Clone, Copy)]
struct Kind {
    opcode: Opcode,
    deflated: bool,
}

/// The location of a complete message.
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

    /// Decodes frames until a message is complete.
    fn find_message(&mut self) -> Result<Option<(Kind, Payload)>, ProtocolError> {
        while let Some((header, payload)) = self.next_frame()? {
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

    /// Unmasks the next frame if it is complete, and moves past it.
    fn next_frame(&mut self) -> Result<Option<(Header, Range<usize>)>, ProtocolError> {
        let Some(rest) = self.source.bytes_mut().get_mut(self.decoded..) else {
            return Ok(None);
        };
        let Some(header) = Header::parse(rest, &self.limits)? else {
            return Ok(None);
        };
        check_sequence(&header, self.decoder.buffered.as_deref(), &self.limits)?;
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
        self.decoder.buffered.get_or_insert_default().message = Some(Fragments { kind, payload });
    }

    /// Adds a fragment; after the last one moves the message to `assembled` and returns what it is.
    fn continue_message(&mut self, payload: Range<usize>, fin: bool) -> Option<Kind> {
        let unfinished = &mut self.decoder.buffered.as_mut()?.message;
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

/// Keeps the undecoded rest, or frees all memory when there is none.
impl Drop for Events<'_> {
    fn drop(&mut self) {
        let buffered = &mut self.decoder.buffered;
        if self.finished {
            *buffered = Some(Box::new(Buffered { finished: true, ..Buffered::default() }));
        } else if self.decoded < self.source.bytes().len() {
            let buffered = buffered.get_or_insert_default();
            (buffered.bytes, buffered.decoded) = self.source.split_off_rest(self.decoded);
        } else if buffered.as_ref().is_some_and(|buffered| buffered.message.is_none()) {
            *buffered = None;
        }
    }
}

/// A message's fragments follow each other, with only control frames between them, and stay within the limit together.
fn check_sequence(header: &Header, buffered: Option<&Buffered>, limits: &Limits) -> Result<(), ProtocolError> {
    if header.opcode.is_control() {
        return Ok(());
    }
    let message = buffered.and_then(|buffered| buffered.message.as_ref());
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

/// The bytes being decoded: the caller's, or the buffered ones with the caller's appended.
#[derive(Debug)]
enum Source<'a> {
    Fresh(&'a mut [u8]),
    Buffered(Vec<u8>),
}

impl Source<'_> {
    /// These bytes behind the `buffered` ones, whose decoded part is dropped first.
    fn after(self, mut buffered: Vec<u8>, decoded: &mut usize) -> Self {
        let fresh = self.bytes();
        if !fresh.is_empty() {
            buffered.drain(..std::mem::take(decoded).min(buffered.len()));
            buffered.extend_from_slice(fresh);
        }
        Self::Buffered(buffered)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Buffered(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Buffered(bytes) => bytes,
        }
    }

    /// What follows the first `decoded` bytes, as a vector and the number of its bytes to skip. Buffered bytes are moved, not
    /// copied, until half of them are decoded, so that resuming event by event stays linear.
    fn split_off_rest(&mut self, decoded: usize) -> (Vec<u8>, usize) {
        match self {
            Self::Buffered(bytes) if decoded < bytes.len() / 2 || decoded == 0 => (std::mem::take(bytes), decoded),
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
/// [`ProtocolError::InvalidUtf8`] when it is not UTF-8.
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
        assert!(decoder.buffered.is_none());
    }

    #[test]
    fn what_was_held_is_freed_once_decoded() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(Opcode::Text, b"in two parts");
        let (first, second) = bytes.split_at_mut(7);
        assert_eq!(drain(decoder.read(first, LIMITS)), 0);
        assert_eq!(decoder.buffered_bytes(), 7);
        assert_eq!(drain(decoder.read(second, LIMITS)), 1);
        assert!(decoder.buffered.is_none());
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
        assert!(decoder.buffered.is_none());
    }

    #[test]
    fn a_parked_decoder_continues_at_every_byte() {
        let mut begun = frame(Opcode::Text, b"begun, ");
        begun[0] &= 0x7F;
        let all = [begun, frame(Opcode::Continuation, b"ended"), frame(Opcode::Text, b"next")].concat();
        for cut in 0..=all.len() {
            let mut bytes = all.clone();
            let (first, second) = bytes.split_at_mut(cut);
            let mut before = Decoder::default();
            let mut heard = Vec::new();
            let mut hear = |mut events: Events<'_>| {
                while let Ok(Some(Event::Text(text))) = events.next_event() {
                    heard.push(text.to_owned());
                }
            };
            hear(before.read(first, LIMITS));
            let mut after = Decoder::unpark(before.park());
            hear(after.read(second, LIMITS));
            assert_eq!(heard, ["begun, ended", "next"], "cut at {cut}");
            assert!(before.buffered.is_none() && after.buffered.is_none());
        }
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
            let now = decoder.buffered.as_ref().map(|held| held.bytes.as_ptr());
            copies += usize::from(now != place);
            place = now;
            events = decoder.resume(LIMITS);
        }
        assert!(copies < 20, "{copies} copies for 1000 events");
    }
}
