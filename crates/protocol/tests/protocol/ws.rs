//! The frame codec against tungstenite, against itself under every way a stream can be cut, and against
//! RFC 6455's list of what must fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::ws::{
    Decoder, Event, Events, Limits, Opcode, ProtocolError, close_frame, encode_client_frame, encode_frame,
};
use tungstenite::protocol::{CloseFrame, Role, WebSocket};
use tungstenite::{Message, Utf8Bytes};

const MESSAGE_BYTES_MAX: usize = 200_000;
const FROM_CLIENT: Limits = Limits::from_client(MESSAGE_BYTES_MAX);
const FROM_SERVER: Limits = Limits::from_server(MESSAGE_BYTES_MAX);
/// What may be held beyond the message limit: the longest masked control frame.
const CONTROL_FRAME_BYTES_MAX: usize = 2 + 4 + 125;

/// An event that outlives its buffer.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.into()),
            Event::Binary(payload) => Self::Binary(payload.into()),
            Event::Ping(payload) => Self::Ping(payload.into()),
            Event::Pong(payload) => Self::Pong(payload.into()),
            Event::Deflated { .. } => unreachable!("nothing here negotiates compression"),
            Event::Close { code, reason } => Self::Close(code, reason.into()),
        }
    }
}

type Outcome = (Vec<Seen>, Option<ProtocolError>);

/// Takes at most `most` events.
fn take(mut events: Events<'_>, most: usize, outcome: &mut Outcome) -> usize {
    for taken in 0..most {
        match events.next_event() {
            Ok(Some(event)) => outcome.0.push(event.into()),
            Ok(None) => return taken,
            Err(error) => {
                outcome.1 = Some(error);
                return taken;
            }
        }
    }
    most
}

/// Decodes `stream` read in pieces that end at `cuts`, stopping and resuming after every `most` events.
fn decode(stream: &[u8], limits: Limits, cuts: &[usize], most: usize) -> Outcome {
    let mut cuts: Vec<usize> = cuts.iter().copied().chain([stream.len()]).collect();
    cuts.sort_unstable();
    let mut decoder = Decoder::default();
    let mut outcome = Outcome::default();
    let mut start = 0;
    for end in cuts {
        let mut piece = stream[start..end].to_vec();
        start = end;
        let mut taken = take(decoder.read(&mut piece, limits), most, &mut outcome);
        while taken == most {
            taken = take(decoder.resume(limits), most, &mut outcome);
        }
        assert!(decoder.buffered_bytes() <= limits.message_bytes_max + CONTROL_FRAME_BYTES_MAX);
    }
    outcome
}

fn decode_whole(stream: &[u8], limits: Limits) -> Outcome {
    decode(stream, limits, &[], usize::MAX)
}

/// A socket for tungstenite that reads from one buffer and writes to another.
#[derive(Default)]
struct Pipe {
    input: io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of `stream`, and whether it found it faulty.
fn oracle_decode(stream: &[u8], role: Role) -> (Vec<Seen>, bool) {
    let pipe = Pipe { input: io::Cursor::new(stream.to_vec()), output: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(pipe, role, None);
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => seen.push(message.into()),
            Err(tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed) => {
                return (seen, false);
            }
            Err(_) => return (seen, true),
        }
    }
}

fn oracle_encode(messages: &[Seen], role: Role) -> Vec<u8> {
    let mut socket = WebSocket::from_raw_socket(Pipe::default(), role, None);
    for message in messages {
        socket.send(message.clone().into()).unwrap();
    }
    socket.get_ref().output.clone()
}

impl From<Message> for Seen {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_string()),
            Message::Binary(payload) => Self::Binary(payload.to_vec()),
            Message::Ping(payload) => Self::Ping(payload.to_vec()),
            Message::Pong(payload) => Self::Pong(payload.to_vec()),
            Message::Close(None) => Self::Close(None, String::new()),
            Message::Close(Some(frame)) => Self::Close(Some(frame.code.into()), frame.reason.to_string()),
            Message::Frame(_) => unreachable!("reading gives no raw frames"),
        }
    }
}

impl From<Seen> for Message {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Text(text) => Self::text(text),
            Seen::Binary(payload) => Self::binary(payload),
            Seen::Ping(payload) => Self::Ping(payload.into()),
            Seen::Pong(payload) => Self::Pong(payload.into()),
            Seen::Close(None, _) => Self::Close(None),
            Seen::Close(Some(code), reason) => {
                Self::Close(Some(CloseFrame { code: code.into(), reason: Utf8Bytes::from(reason) }))
            }
        }
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    // Around the borders of the three length forms, and everything small.
    let length = prop_oneof![8 => 0..300_usize, 1 => 124..=127_usize, 1 => 65_534..=65_537_usize];
    (length, any::<u64>())
        .prop_map(|(length, seed)| (0..length as u64).map(|i| (i.wrapping_mul(seed) >> 7) as u8).collect())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![9 => "\\PC{0,80}", 1 => "[弹幕😀é]{20000,23000}"]
}

fn control() -> impl Strategy<Value = Seen> {
    prop_oneof![vec(any::<u8>(), 0..=125).prop_map(Seen::Ping), vec(any::<u8>(), 0..=125).prop_map(Seen::Pong)]
}

fn message() -> impl Strategy<Value = Seen> {
    prop_oneof![4 => text().prop_map(Seen::Text), 2 => payload().prop_map(Seen::Binary), 1 => control()]
}

fn farewell() -> impl Strategy<Value = Option<Seen>> {
    let code = prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16];
    let close = (code, "[a-z弹幕]{0,40}").prop_map(|(code, reason)| Seen::Close(Some(code), reason));
    proptest::option::of(prop_oneof![close, Just(Seen::Close(None, String::new()))])
}

fn conversation() -> impl Strategy<Value = Vec<Seen>> {
    (vec(message(), 0..8), farewell()).prop_map(|(messages, farewell)| messages.into_iter().chain(farewell).collect())
}

fn opcode_and_payload(seen: &Seen) -> (Opcode, Vec<u8>) {
    match seen {
        Seen::Text(text) => (Opcode::Text, text.clone().into_bytes()),
        Seen::Binary(payload) => (Opcode::Binary, payload.clone()),
        Seen::Ping(payload) => (Opcode::Ping, payload.clone()),
        Seen::Pong(payload) => (Opcode::Pong, payload.clone()),
        Seen::Close(code, reason) => {
            let code = code.map(u16::to_be_bytes).unwrap_or_default();
            (Opcode::Close, if code == [0, 0] { Vec::new() } else { [&code, reason.as_bytes()].concat() })
        }
    }
}

fn client_frame(fin: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_client_frame(opcode, payload, key, &mut out);
    if !fin {
        out[0] &= 0x7F;
    }
    out
}

fn client_stream(messages: &[Seen], key: [u8; 4]) -> Vec<u8> {
    let frame = |message| {
        let (opcode, payload) = opcode_and_payload(message);
        client_frame(true, opcode, &payload, key)
    };
    messages.iter().flat_map(frame).collect()
}

/// `message` in fragments that end at `cuts`, with `controls` one by one between them.
fn fragmented(message: &Seen, cuts: &[Index], controls: &[Seen], key: [u8; 4]) -> (Vec<u8>, Vec<Seen>) {
    let (mut opcode, payload) = opcode_and_payload(message);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    ends.sort_unstable();
    let mut controls = controls.iter();
    let (mut stream, mut expected, mut start) = (Vec::new(), Vec::new(), 0);
    for end in ends {
        stream.extend(client_frame(false, opcode, &payload[start..end], key));
        (opcode, start) = (Opcode::Continuation, end);
        if let Some(control) = controls.next() {
            stream.extend(client_stream(std::slice::from_ref(control), key));
            expected.push(control.clone());
        }
    }
    stream.extend(client_frame(true, opcode, &payload[start..], key));
    expected.push(message.clone());
    (stream, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn reads_what_tungstenite_sends(messages in conversation(), cuts in vec(any::<Index>(), 0..6), most in 1..4_usize) {
        for (role, limits) in [(Role::Client, FROM_CLIENT), (Role::Server, FROM_SERVER)] {
            let stream = oracle_encode(&messages, role);
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            prop_assert_eq!(decode(&stream, limits, &cuts, most), (messages.clone(), None));
        }
    }

    #[test]
    fn tungstenite_reads_what_we_send(messages in conversation(), key: [u8; 4]) {
        prop_assert_eq!(oracle_decode(&client_stream(&messages, key), Role::Server), (messages.clone(), false));
        let server_stream: Vec<u8> = messages.iter().flat_map(|message| {
            let (opcode, payload) = opcode_and_payload(message);
            encode_frame(opcode, &payload)
        }).collect();
        prop_assert_eq!(oracle_decode(&server_stream, Role::Client), (messages, false));
    }

    #[test]
    fn fragments_are_joined_around_control_frames(
        message in prop_oneof![text().prop_map(Seen::Text), payload().prop_map(Seen::Binary)],
        fragment_cuts in vec(any::<Index>(), 0..5), controls in vec(control(), 0..5), key: [u8; 4],
        cuts in vec(any::<Index>(), 0..6), most in 1..4_usize,
    ) {
        let (stream, expected) = fragmented(&message, &fragment_cuts, &controls, key);
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        prop_assert_eq!(decode(&stream, FROM_CLIENT, &cuts, most), (expected.clone(), None));
        prop_assert_eq!(oracle_decode(&stream, Role::Server), (expected, false));
    }

    /// Frames whose every field is chosen at random, most of them faulty: same verdict as tungstenite, and the
    /// same events before it.
    #[test]
    fn judges_faulty_streams_as_tungstenite_does(frames in vec(raw_frame(), 1..6)) {
        let stream = frames.concat();
        let (ours, error) = decode_whole(&stream, FROM_CLIENT);
        let (theirs, faulty) = oracle_decode(&stream, Role::Server);
        prop_assert_eq!((&ours, error.is_some()), (&theirs, faulty), "{:?}", error);
    }

    #[test]
    fn cutting_changes_nothing(stream in vec(raw_frame(), 1..6), cuts in vec(any::<Index>(), 0..8), most in 1..4_usize) {
        let stream = stream.concat();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        prop_assert_eq!(decode(&stream, FROM_CLIENT, &cuts, most), decode_whole(&stream, FROM_CLIENT));
    }

    #[test]
    fn noise_never_panics_nor_grows(noise in vec(any::<u8>(), 0..600), cuts in vec(any::<Index>(), 0..8)) {
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(noise.len() + 1)).collect();
        for limits in [Limits::from_client(32), Limits::from_server(32)] {
            prop_assert_eq!(decode(&noise, limits, &cuts, 1), decode_whole(&noise, limits));
        }
    }

    #[test]
    fn close_reason_is_cut_between_characters(code in 3000..=4999_u16, reason in "[a弹😀]{0,130}") {
        let (seen, error) = decode_whole(&close_frame(code, &reason), FROM_SERVER);
        prop_assert_eq!(error, None);
        let [Seen::Close(Some(told), kept)] = seen.as_slice() else { panic!("{seen:?}") };
        prop_assert_eq!(*told, code);
        prop_assert!(reason.starts_with(kept.as_str()));
        prop_assert!(*kept == reason || kept.len() > 123 - 4);
    }
}

/// A short frame with any first byte that is usually plausible, masked or (rarely) not. Text is ASCII: tungstenite
/// gives up on bad UTF-8 at the fragment that has it, this decoder at the message's end.
fn raw_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => proptest::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        1 => any::<u8>().prop_filter("a close has its own table of codes", |byte| byte & 0x0F != 0x08),
    ];
    let masked = prop_oneof![9 => Just(true), 1 => Just(false)];
    (first, masked, "[a-z]{0,130}", any::<[u8; 4]>()).prop_map(|(first, masked, payload, key)| {
        let mut frame = match masked {
            true => client_frame(true, Opcode::Text, payload.as_bytes(), key),
            false => encode_frame(Opcode::Text, payload.as_bytes()).to_vec(),
        };
        frame[0] = first;
        frame
    })
}

#[test]
fn every_pair_of_cuts_gives_the_same_events() {
    let key = [0xDE, 0xAD, 0xBE, 0xEF];
    let stream = [
        client_frame(true, Opcode::Text, "弹幕".as_bytes(), key),
        client_frame(false, Opcode::Text, &"😀".as_bytes()[..3], key),
        client_frame(true, Opcode::Ping, b"?", key),
        client_frame(true, Opcode::Continuation, &"😀".as_bytes()[3..], key),
        client_frame(true, Opcode::Binary, &[7; 130], key),
        client_frame(true, Opcode::Close, &[0x03, 0xE8, b'o', b'k'], key),
    ]
    .concat();
    let whole = decode_whole(&stream, FROM_CLIENT);
    assert_eq!(whole.0.len(), 5);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            for most in [1, usize::MAX] {
                assert_eq!(decode(&stream, FROM_CLIENT, &[first, second], most), whole, "cut at {first} and {second}");
            }
        }
    }
    let every_byte: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(decode(&stream, FROM_CLIENT, &every_byte, 1), whole);
}

/// RFC 6455 §5.2–5.5, §7.4, §8.1, one row each: what is sent, what it is refused for, the close code.
#[test]
fn faults_have_their_names_and_close_codes() {
    use ProtocolError::*;
    let length_of_5_in_16_bits = &[0x81, 0xFE, 0, 5];
    let length_of_65535_in_64_bits = &[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
    let length_with_top_bit = &[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let length_just_too_big = &[0x82, 0xFF, 0, 0, 0, 0, 0, 3, 0x0D, 0x41];
    let masked = |first, payload: &[u8]| {
        let mut frame = client_frame(true, Opcode::Text, payload, [1, 2, 3, 4]);
        frame[0] = first;
        frame
    };
    let table: &[(&[u8], ProtocolError, u16)] = &[
        (&[0x81, 0x05], Unmasked, 1002),
        (&[0xC1, 0x80], ReservedBit, 1002),
        (&[0xA1, 0x80], ReservedBit, 1002),
        (&[0x91, 0x80], ReservedBit, 1002),
        (&[0x83, 0x80], ReservedOpcode, 1002),
        (&[0x8B, 0x80], ReservedOpcode, 1002),
        (&[0x09, 0x80], FragmentedControl, 1002),
        (&[0x89, 0xFE], LongControl, 1002),
        (&[0x88, 0xFF], LongControl, 1002),
        (length_of_5_in_16_bits, BadLength, 1002),
        (length_of_65535_in_64_bits, BadLength, 1002),
        (length_with_top_bit, BadLength, 1002),
        (length_just_too_big, TooBig, 1009),
        (&masked(0x80, b""), NothingToContinue, 1002),
        (&[masked(0x01, b"a"), masked(0x81, b"b")].concat(), UnfinishedMessage, 1002),
        (&masked(0x88, &[0x03]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xE7]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xEC]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xED]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xEE]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xF7]), BadCloseCode, 1002),
        (&masked(0x88, &[0x0B, 0xB7]), BadCloseCode, 1002),
        (&masked(0x88, &[0x13, 0x88]), BadCloseCode, 1002),
        (&masked(0x88, &[0x03, 0xE8, 0xFF]), InvalidUtf8, 1007),
        (&masked(0x81, b"\xC3\x28"), InvalidUtf8, 1007),
        (&masked(0x81, b"\xED\xA0\x80"), InvalidUtf8, 1007),
        (&[masked(0x01, b"\xF0\x9F"), masked(0x80, b"\x98")].concat(), InvalidUtf8, 1007),
    ];
    for (stream, error, close_code) in table {
        assert_eq!(decode_whole(stream, FROM_CLIENT), (vec![], Some(*error)), "{stream:02x?}");
        assert_eq!(error.close_code(), *close_code);
    }
    assert_eq!(decode_whole(&[0x81, 0x80], FROM_SERVER), (vec![], Some(Masked)));
}

#[test]
fn fragments_are_limited_together_before_the_last_one_arrives() {
    let limits = Limits::from_client(100);
    let mut stream = client_frame(false, Opcode::Text, &[b'a'; 60], [0; 4]);
    let fits = [stream.clone(), client_frame(true, Opcode::Continuation, &[b'a'; 40], [0; 4])].concat();
    assert_eq!(decode_whole(&fits, limits), (vec![Seen::Text("a".repeat(100))], None));
    stream.extend([0x80, 0x80 | 41, 0, 0, 0, 0]);
    assert_eq!(decode_whole(&stream, limits), (vec![], Some(ProtocolError::TooBig)));
}

#[test]
fn nothing_is_decoded_after_a_close_or_an_error() {
    let ping = client_frame(true, Opcode::Ping, b"", [0; 4]);
    for last in [client_frame(true, Opcode::Close, b"", [0; 4]), vec![0xF1, 0x80]] {
        let mut decoder = Decoder::default();
        let mut outcome = Outcome::default();
        let mut stream = [last, ping.clone()].concat();
        take(decoder.read(&mut stream, FROM_CLIENT), usize::MAX, &mut outcome);
        let after = outcome.clone();
        take(decoder.read(&mut ping.clone(), FROM_CLIENT), usize::MAX, &mut outcome);
        assert_eq!(outcome, after);
        assert_eq!(decoder.buffered_bytes(), 0);
    }
}

#[test]
fn at_most_a_message_and_a_control_frame_are_held() {
    let limits = Limits::from_client(100);
    let fragment = client_frame(false, Opcode::Text, &[b'a'; 100], [0; 4]);
    let ping = client_frame(true, Opcode::Ping, &[0; 125], [0; 4]);
    let mut stream = [fragment, ping].concat();
    stream.pop();
    let mut decoder = Decoder::default();
    take(decoder.read(&mut stream, limits), usize::MAX, &mut Outcome::default());
    assert_eq!(decoder.buffered_bytes(), 100 + CONTROL_FRAME_BYTES_MAX - 1);
}
