//! Any text is judged without a panic; what is said back is JSON of a bounded length that carries the `ref`
//! as it came.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use protocol::message::{ClientMessage, REF_BYTES_MAX, ServerMessage, encode, encode_error, parse};
use serde_json::value::RawValue;

/// The longest answer to a message that does not parse: a sentence and a `ref`.
const ERROR_BYTES_MAX: usize = 2_048;

fn is_json_with(reference: Option<&RawValue>, answer: &[u8]) {
    let answer: BTreeMap<String, &RawValue> = serde_json::from_slice(answer).expect("answers are JSON objects");
    assert_eq!(answer.get("ref").map(|given| given.get()), reference.map(RawValue::get));
}

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(incoming) => {
            assert!(incoming.reference.is_none_or(|given| given.get().len() <= REF_BYTES_MAX));
            if let ClientMessage::JoinRoom(options) = &incoming.message {
                assert!(options.since_id.is_none_or(|id| i64::try_from(id.0).is_ok()));
            }
            let answer = encode(&ServerMessage::HeartbeatAck { server_time_ms: 0 }, incoming.reference);
            is_json_with(incoming.reference, &answer);
        }
        Err((reference, error)) => {
            assert_eq!(error.code, model::Code::InvalidRequest);
            let answer = encode_error(&error, reference);
            assert!(answer.len() <= ERROR_BYTES_MAX, "{} bytes", answer.len());
            is_json_with(reference, &answer);
        }
    }
});
