//! Any bytes are judged as a `ClientFrame` without a panic; what is said back is a `ServerFrame` with the `ref`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use protocol::handshake::SubProtocol;
use protocol::message::{ClientMessage, ServerMessage};
use protocol::proto::{encode, parse, v1};
use protocol::encode;

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok((reference, message)) => {
            if let ClientMessage::JoinRoom(options) = &message {
                assert!(options.since_id.is_none_or(|id| i64::try_from(id.0).is_ok()));
            }
            let answer = encode(&ServerMessage::HeartbeatAck { server_time_ms: 0 }, reference);
            let answer = v1::ServerFrame::decode(answer.as_slice()).expect("answers are ServerFrames");
            assert_eq!(answer.r#ref, reference);
        }
        Err((reference, error)) => {
            assert_eq!(error.code, model::Code::InvalidRequest);
            let mut frame = Vec::new();
            encode::error(SubProtocol::Proto, &error, encode::reference(reference).as_deref(), &mut frame);
            assert!(frame.len() < 256);
        }
    }
});
