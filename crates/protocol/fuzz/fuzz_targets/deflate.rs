//! Any bytes inflate to something within the bound, or are refused; memory stays within it too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::ws::Inflater;

const BYTES_MAX: usize = 16 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    if inflater.inflate(bytes, BYTES_MAX, &mut out).is_ok() {
        assert!(out.len() <= BYTES_MAX);
    }
    assert!(out.capacity() <= 2 * BYTES_MAX + 256);
});
