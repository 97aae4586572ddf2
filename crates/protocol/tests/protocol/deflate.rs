//! permessage-deflate: the vectors of RFC 7692 §7.2.3, what is negotiated, and the bounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use protocol::handshake::offers_deflate;
use protocol::ws::{Decoder, Event, Inflater, Limits, Opcode, ProtocolError, deflated_frame};

const SERVER: Limits = Limits::from_server(1 << 20).deflate(true);

fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Vec::new();
    Inflater::default().inflate(payload, bytes_max, &mut out)?;
    Ok(out)
}

/// What a client reads from these bytes: the message, and whether it came compressed.
fn read(mut bytes: Vec<u8>) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::default();
    let mut events = decoder.read(&mut bytes, SERVER);
    match events.next_event().unwrap().unwrap() {
        Event::Deflated { payload, .. } => (inflate(payload, 1 << 20).unwrap(), true),
        Event::Text(text) => (text.as_bytes().to_vec(), false),
        Event::Binary(bytes) => (bytes.to_vec(), false),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_vectors_of_the_rfc_inflate_to_hello() {
    let one_block = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stored_block = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    let final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    for vector in [&one_block[..], &stored_block, &final_block, &two_blocks] {
        assert_eq!(inflate(vector, 100).unwrap(), b"Hello", "{vector:02x?}");
    }
    assert_eq!(inflate(&[0x00], 100).unwrap(), b"", "an empty message");
    assert_eq!(inflate(b"", 100).unwrap(), b"");
}

#[test]
fn fragments_are_one_compressed_message_and_control_frames_may_come_between() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut bytes = vec![0x41, 3, hello[0], hello[1], hello[2], 0x89, 0, 0x80, 4];
    bytes.extend(&hello[3..]);
    let mut decoder = Decoder::default();
    let mut events = decoder.read(&mut bytes, SERVER);
    assert_eq!(events.next_event(), Ok(Some(Event::Ping(b""))));
    assert_eq!(events.next_event(), Ok(Some(Event::Deflated { text: true, payload: &hello })));
}

#[test]
fn the_compressed_bit_stands_in_the_first_frame_of_a_message_and_only_when_negotiated() {
    let refused = |bytes: &[u8], limits| {
        let mut bytes = bytes.to_vec();
        let mut decoder = Decoder::default();
        let mut events = decoder.read(&mut bytes, limits);
        events.next_event().expect_err("a protocol error")
    };
    assert_eq!(refused(&[0xC1, 0], Limits::from_server(100)), ProtocolError::ReservedBit);
    assert_eq!(refused(&[0xC9, 0], SERVER), ProtocolError::ReservedBit, "a ping");
    assert_eq!(refused(&[0x41, 0, 0xC0, 0], SERVER), ProtocolError::ReservedBit, "a continuation");
    assert_eq!(refused(&[0xE1, 0], SERVER), ProtocolError::ReservedBit, "RSV2");
}

#[test]
fn a_bomb_is_found_out_before_it_has_gone_off() {
    let mut frame = Vec::new();
    deflated_frame(Opcode::Text, &vec![b'a'; 10 << 20], &mut frame);
    assert!(frame.len() < 16 * 1024, "{} bytes", frame.len());
    let mut out = Vec::new();
    assert_eq!(Inflater::default().inflate(&frame[4..], 16 * 1024, &mut out), Err(ProtocolError::TooBig));
    assert!(out.capacity() <= 64 * 1024, "{} bytes", out.capacity());
}

#[test]
fn the_limit_is_exact() {
    let mut frame = Vec::new();
    deflated_frame(Opcode::Text, &[b'x'; 1000], &mut frame);
    assert_eq!(inflate(&frame[2..], 1000).unwrap().len(), 1000);
    assert_eq!(inflate(&frame[2..], 999), Err(ProtocolError::TooBig));
}

#[test]
fn what_gets_no_shorter_is_sent_as_it_is() {
    let noise: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut frame = Vec::new();
    deflated_frame(Opcode::Binary, &noise, &mut frame);
    assert_eq!(read(frame), (noise, false));
}

#[test]
fn offers_that_can_be_kept_are_accepted() {
    for good in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "Permessage-Deflate; client_max_window_bits=10; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_max_window_bits=\"15\"",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-deflate; server_max_window_bits=9, permessage-deflate",
    ] {
        assert!(offers_deflate(good), "{good}");
    }
    for bad in [
        "",
        "permessage-bzip2",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; unheard_of",
    ] {
        assert!(!offers_deflate(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_deflated_inflates_to_itself(text in "[a-c弹幕]{0,2000}") {
        let mut frame = Vec::new();
        deflated_frame(Opcode::Text, text.as_bytes(), &mut frame);
        prop_assert_eq!(read(frame).0, text.as_bytes());
    }

    /// Noise is inflated or refused, within its bound; and an inflater that met it is none the worse.
    #[test]
    fn noise_never_panics_nor_grows(noise: Vec<u8>, bytes_max in 0usize..500) {
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        if inflater.inflate(&noise, bytes_max, &mut out).is_ok() {
            prop_assert!(out.len() <= bytes_max);
        }
        prop_assert!(out.capacity() <= 2 * bytes_max + 256);
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        inflater.inflate(&hello, 5, &mut out).unwrap();
        prop_assert_eq!(out.as_slice(), b"Hello");
    }
}
