//! The wire, byte by byte.

mod binary;
mod chat;
mod deflate;
mod forwarded;
mod handshake;
mod message;
mod proto;
mod ws;
