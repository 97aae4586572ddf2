//! Any bytes are judged without a panic, and a verdict stands when more bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::handshake::{
    Handshake, SubProtocol, accept_key, choose_protocol, parse, query_pairs,
};

fuzz_target!(|bytes: &[u8]| {
    let verdict = parse(bytes);
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Ok(Handshake::Incomplete) => {}
            early => assert_eq!(early, verdict),
        }
    }
    if let Ok(Handshake::Upgrade(request)) = verdict {
        assert!(request.head_bytes <= bytes.len());
        query_pairs(request.query).for_each(drop);
        let _ = choose_protocol(
            request.protocols.as_deref().unwrap_or_default(),
            &[SubProtocol::Json],
        );
        let _ = accept_key(request.key);
    }
});
