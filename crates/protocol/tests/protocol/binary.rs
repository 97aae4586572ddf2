//! The fixed-header format: its published vector, round trips, and what happens to frames that do not parse.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use protocol::binary::{ContentTooLong, Frame, FrameError, HEADER_BYTES, Kind, encode, frames, numeric_user_id};

const HELLO: &[u8] = b"\xab\xcd\x01\x01\x00\x00\x01\x8a\xe8\x88\xe4\x00\x00\x00\x00\x00\x00\x01\xe2\x40\x00\x05Hello";
const HELLO_FRAME: Frame<'static> =
    Frame { kind: Kind::Comment, timestamp_ms: 1_696_118_400_000, user_id: 123_456, room: None, content: "Hello" };

/// The same in the room `lobby`.
const IN_LOBBY: &[u8] =
    b"\xab\xcd\x02\x01\x00\x00\x01\x8a\xe8\x88\xe4\x00\x00\x00\x00\x00\x00\x01\xe2\x40\x05lobby\x00\x05Hello";

fn decode(message: &[u8]) -> Vec<Result<Frame<'_>, FrameError>> {
    frames(message).collect()
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out).unwrap();
    out
}

/// The hello frame with one byte replaced, and a good frame behind it.
fn spoilt(at: usize, byte: u8) -> Vec<u8> {
    let mut message = [HELLO, HELLO].concat();
    message[at] = byte;
    message
}

#[test]
fn published_vector() {
    assert_eq!(encoded(&HELLO_FRAME), HELLO);
    assert_eq!(decode(HELLO), [Ok(HELLO_FRAME)]);
}

#[test]
fn version_2_names_its_room() {
    let frame = Frame { room: Some("lobby"), ..HELLO_FRAME };
    assert_eq!(encoded(&frame), IN_LOBBY);
    assert_eq!(decode(&[IN_LOBBY, HELLO].concat()), [Ok(frame), Ok(HELLO_FRAME)]);
    for cut in 1..IN_LOBBY.len() {
        assert_eq!(decode(&IN_LOBBY[..cut]), [Err(FrameError::Truncated)], "cut at {cut}");
    }
    let mut spoilt = [IN_LOBBY, IN_LOBBY].concat();
    spoilt[21] = 0xFF;
    assert_eq!(decode(&spoilt), [Err(FrameError::InvalidUtf8), Ok(frame)]);
    let long = "r".repeat(256);
    let mut out = Vec::new();
    assert_eq!(encode(&Frame { room: Some(&long), ..frame }, &mut out), Err(ContentTooLong { bytes: 256 }));
    assert_eq!(out, b"");
}

#[test]
fn frames_of_known_extent_are_skipped() {
    assert_eq!(decode(&spoilt(3, 9)), [Err(FrameError::UnknownType(9)), Ok(HELLO_FRAME)]);
    assert_eq!(decode(&spoilt(HEADER_BYTES, 0xFF)), [Err(FrameError::InvalidUtf8), Ok(HELLO_FRAME)]);
}

#[test]
fn frames_of_unknown_extent_end_the_message() {
    assert_eq!(decode(&spoilt(0, 0)), [Err(FrameError::BadMagic)]);
    assert_eq!(decode(&spoilt(2, 3)), [Err(FrameError::UnsupportedVersion(3))]);
    for cut in 1..HELLO.len() {
        assert_eq!(decode(&HELLO[..cut]), [Err(FrameError::Truncated)], "cut at {cut}");
    }
}

#[test]
fn a_version_is_reported_even_when_shorter_than_ours() {
    assert_eq!(decode(b"\xab\xcd\x03"), [Err(FrameError::UnsupportedVersion(3))]);
}

#[test]
fn content_beyond_the_length_field_is_refused() {
    let content = "x".repeat(65_536);
    let frame = |content| Frame { content, ..HELLO_FRAME };
    let mut out = b"before".to_vec();
    assert_eq!(encode(&frame(&content), &mut out), Err(ContentTooLong { bytes: 65_536 }));
    assert_eq!(out, b"before");
    assert_eq!(decode(&encoded(&frame(&content[1..]))), [Ok(frame(&content[1..]))]);
}

#[test]
fn user_ids_that_are_not_canonical_numbers_are_hashed() {
    assert_eq!(numeric_user_id("123456"), 123_456);
    assert_eq!(numeric_user_id("0"), 0);
    assert_eq!(numeric_user_id("18446744073709551615"), u64::MAX);
    // SHA-256("alice") and SHA-256("007") as any other tool prints them.
    assert_eq!(numeric_user_id("alice"), 0x2bd8_06c9_7f0e_00af);
    for id in ["007", "00", "+7", "-7", "", "18446744073709551616", "7 ", "1_000", "٣"] {
        let number = id.trim().parse().unwrap_or(0);
        assert_ne!(numeric_user_id(id), number, "{id}");
    }
}

proptest! {
    #[test]
    fn round_trip(
        sent in proptest::collection::vec(
            (any::<bool>(), any::<u64>(), any::<u64>(), proptest::option::of("[a-z]{0,64}"), "\\PC{0,50}"),
            0..6,
        )
    ) {
        let sent: Vec<Frame<'_>> = sent.iter().map(|(comment, timestamp_ms, user_id, room, content)| {
            let kind = if *comment { Kind::Comment } else { Kind::Heartbeat };
            Frame { kind, timestamp_ms: *timestamp_ms, user_id: *user_id, room: room.as_deref(), content }
        }).collect();
        let message: Vec<u8> = sent.iter().flat_map(encoded).collect();
        prop_assert_eq!(frames(&message).collect::<Result<Vec<_>, _>>(), Ok(sent));
    }

    #[test]
    fn every_number_stays_itself(id: u64) {
        prop_assert_eq!(numeric_user_id(&id.to_string()), id);
    }

    #[test]
    fn noise_is_judged_and_left_behind(noise: Vec<u8>, version: Option<bool>) {
        let noise = match version {
            Some(named) => [&[0xab, 0xcd, 1 + u8::from(named)], &*noise].concat(),
            None => noise,
        };
        let judged = frames(&noise).take(noise.len() + 1).count();
        prop_assert!(judged <= noise.len());
    }
}
