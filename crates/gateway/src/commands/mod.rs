//! The commands of clients, one file each.
//!
//! The shard calls [`run`] with one message at a time. A command is a function over [`CommandCx`]: it answers at once what
//! needs this shard only, and runs asynchronously what has to wait. Rules are those of `ingest` and `chat`.

mod ack;
mod chat;
mod comment;
mod join;
mod like;
mod login;

use model::WireError;
use protocol::encode;
use protocol::handshake::SubProtocol;
use protocol::message::{ClientMessage, ServerMessage};
use serde_json::value::RawValue;

pub(crate) use self::comment::comment_batch;
use crate::shard::CommandCx;

/// Runs the command of one message.
pub(crate) fn run(cx: &mut CommandCx<'_>, message: ClientMessage) {
    match message {
        ClientMessage::Login { token, device_id } => login::login(cx, &token, device_id.as_deref()),
        ClientMessage::Logout => login::logout(cx),
        ClientMessage::Heartbeat => heartbeat(cx),
        ClientMessage::JoinRoom(options) => join::join_room(cx, options),
        ClientMessage::LeaveRoom { room_id } => cx.leave(&room_id),
        ClientMessage::Comment(draft) => comment::comment(cx, draft),
        ClientMessage::Like { comment_id } => like::like(cx, comment_id),
        ClientMessage::Ack { event_id } => ack::ack(cx, event_id),
        ClientMessage::Chat(command) => chat::chat(cx, command),
        ClientMessage::Unknown => {}
    }
}

fn heartbeat(cx: &mut CommandCx<'_>) {
    let server_time_ms = cx.services().clock.now_ms();
    cx.answer(&ServerMessage::HeartbeatAck { server_time_ms });
}

/// An `error` frame.
fn error_frame(protocol: SubProtocol, error: &WireError, reference: Option<&RawValue>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::error(protocol, error, reference, &mut out);
    out
}

/// The frame of any message.
fn message_frame(protocol: SubProtocol, message: &ServerMessage<'_>, reference: Option<&RawValue>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::message(protocol, message, reference, &mut out);
    out
}
