//! Any bytes: no object and no segment is fatal, and one that is read is written as it was.
#![no_main]

use archive::segment::{Segment, pack, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = unpack(bytes);
    if let Ok(segment) = Segment::decode(bytes) {
        let again = unpack(&pack(&segment).expect("it fitted before")).expect("a segment");
        assert!(again == *segment.comments);
    }
});
