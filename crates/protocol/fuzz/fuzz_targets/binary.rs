//! Any bytes are judged without a panic; frames that parse are encoded to the bytes they came from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::binary::{encode, frames};

fuzz_target!(|message: &[u8]| {
    let judged: Vec<_> = frames(message).collect();
    let mut encoded = Vec::new();
    for frame in judged.iter().flatten() {
        encode(frame, &mut encoded).expect("its length came from the length field");
    }
    if judged.iter().all(Result::is_ok) {
        assert_eq!(encoded, message);
    }
});
