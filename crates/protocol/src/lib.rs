//! The wire: WebSocket frames and handshakes, the messages as JSON and Protobuf, the fixed binary header.
//!
//! Pure: bytes in, values out. No socket, no clock, no state beyond a decoder's unfinished frame.
//! `PROTOCOL.md` is this crate in prose.

pub mod binary;
pub mod chat;
pub mod comment;
pub mod handshake;
pub mod message;
pub mod proto;
pub mod spoken;
pub mod ws;
