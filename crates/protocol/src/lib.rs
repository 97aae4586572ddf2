//! The wire: WebSocket frames and handshakes, the messages as JSON and Protobuf, the fixed binary header.
//!
//! Used by the gateway, `chat`, the API and the load generator. Pure: bytes in, values out. No socket, no clock, no state
//! beyond a decoder's unfinished frame.
//! `PROTOCOL.md` is this crate in prose.

pub mod binary;
pub mod chat;
pub mod comment;
pub mod encode;
pub mod forwarded;
pub mod handshake;
pub mod message;
pub mod proto;
pub mod segment;
pub mod varint;
pub mod ws;
