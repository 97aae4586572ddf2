//! Any words, any text: the promises of the crate hold and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/words/hostile/mod.rs"]
mod hostile;

fuzz_target!(|input: (Vec<String>, String)| {
    let (mut words, text) = input;
    words.truncate(8);
    hostile::check(words, &text);
});
