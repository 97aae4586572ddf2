//! Conversations with the real binary, as viewers, programs and operators have them. Each test has a server of its own.
#![allow(clippy::unwrap_used, missing_docs)] // A test that cannot go on has failed.

mod durability;
mod hostile;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_barrage");
