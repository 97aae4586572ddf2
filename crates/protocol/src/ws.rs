//! WebSocket frames (RFC 6455) without a socket: bytes in, events out, and finished frames to write.
//!
//! Gateway shards read every socket into one shared scratch buffer and give it to the connection's [`Decoder`]; the load
//! generator uses the same decoder as a client. This module never reads, writes, waits or logs, and never allocates more
//! than [`Limits`] and its input allow.
//!
//! - [`Decoder`]: bytes → [`Event`]s, unmasked in place, borrowed from the caller's buffer.
//! - [`encode_frame`] and the like: payload → frame, built once and shared by any number of sockets.
//! - [`deflated_frame`] and [`Inflater`]: the same with permessage-deflate.

mod decoder;
mod deflate;
mod encoder;
mod frame;
mod mask;

pub use decoder::{Decoder, Event, Events, ParkedInput, ParkedMessage, text};
pub use deflate::{Inflater, deflated_frame};
pub use encoder::{close_frame, encode_client_frame, encode_frame, frame_header};
pub use frame::{Limits, Opcode, ProtocolError};
