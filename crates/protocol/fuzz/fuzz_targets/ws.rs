//! Any bytes, cut anywhere and stopped after every event, decode as they do in one piece, within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::ws::{Decoder, Events, Limits};

const MESSAGE_BYTES_MAX: usize = 300;
/// What may be held beyond the message limit: the longest masked control frame.
const CONTROL_FRAME_BYTES_MAX: usize = 2 + 4 + 125;

/// Renders the next `most` events; false once there are no more.
fn take(mut events: Events<'_>, most: usize, seen: &mut Vec<String>) -> bool {
    for _ in 0..most {
        match events.next_event() {
            Ok(Some(event)) => seen.push(format!("{event:?}")),
            Ok(None) => return false,
            Err(error) => {
                seen.push(format!("{error:?}"));
                return false;
            }
        }
    }
    true
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (from_client, piece_bytes, stream) = input;
    let limits = if from_client {
        Limits::from_client
    } else {
        Limits::from_server
    }(MESSAGE_BYTES_MAX);

    let mut whole = Vec::new();
    take(
        Decoder::default().read(&mut stream.clone(), limits),
        usize::MAX,
        &mut whole,
    );

    let mut cut = Vec::new();
    let mut decoder = Decoder::default();
    for piece in stream.clone().chunks_mut(usize::from(piece_bytes).max(1)) {
        let mut more = take(decoder.read(piece, limits), 1, &mut cut);
        while more {
            more = take(decoder.resume(limits), 1, &mut cut);
        }
        assert!(decoder.buffered_bytes() <= MESSAGE_BYTES_MAX + CONTROL_FRAME_BYTES_MAX);
    }
    assert_eq!(whole, cut);
});
