//! Any bytes in any format: the promises of the crate hold and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/recording/hostile/mod.rs"]
mod hostile;

fuzz_target!(|input: (u8, &[u8])| {
    let (format, bytes) = input;
    hostile::check(bytes, format);
});
