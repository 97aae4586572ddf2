//! From one message to commands, as the socket's sub-protocol has it: JSON, `barrage.v1.proto`, or frames of
//! `barrage.v1.bin`.
//!
//! [`super::input`] calls it. What does not parse is answered and counted; too much of it closes the socket. The commands
//! themselves are in [`crate::commands`].

use model::{Code, InvalidId, RoomId, WireError};
use protocol::binary::{self, Frame, FrameError, Kind};
use protocol::handshake::SubProtocol;
use protocol::message::{self, ClientMessage, CommentDraft};
use protocol::ws::{self, ProtocolError};
use protocol::{encode, proto};
use serde_json::value::RawValue;

use crate::commands;
use crate::conn::Conn;
use crate::shard::{CommandCx, Shard};

/// Bad messages within a minute that close a socket.
const STRIKES_MAX: usize = 20;
/// The message that idle viewers send all day, as the client package writes it.
const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;

impl Shard {
    pub fn handle_text(&mut self, index: u32, text: &str) {
        self.counters.messages_in += 1;
        let bytes_max = self.common.services.settings.limits.message_bytes_max;
        if text.len() > bytes_max && unescaped_bytes(text) > bytes_max {
            return self.protocol_error(index, ProtocolError::TooBig);
        }
        if self.protocol(index) == SubProtocol::Proto {
            self.answer_error(index, &WireError::invalid("barrage.v1.proto has binary messages only"), None);
            return self.strike(index, "text_message");
        }
        if text == HEARTBEAT {
            return self.run_command(index, ClientMessage::Heartbeat, None);
        }
        match message::parse(text) {
            Ok(incoming) => self.run_command(index, incoming.message, incoming.reference),
            Err((reference, error)) => {
                self.answer_error(index, &error, reference);
                self.strike(index, "message");
            }
        }
    }

    /// Inflates a message and reads it; the limit on messages holds for what it inflates to.
    pub fn handle_deflated(&mut self, index: u32, text: bool, payload: &[u8]) {
        let bytes_max = self.common.services.settings.escaped_bytes_max;
        let mut message = std::mem::take(&mut self.inflated);
        let inflated = self.inflater.inflate(payload, bytes_max, &mut message);
        match inflated.and_then(|()| if text { ws::text(&message).map(Some) } else { Ok(None) }) {
            Ok(Some(text)) => self.handle_text(index, text),
            Ok(None) => {
                self.counters.messages_in += 1;
                self.handle_binary(index, &message);
            }
            Err(error) => self.protocol_error(index, error),
        }
        self.inflated = message;
    }

    /// Counts input that does not parse; too much of it closes the socket.
    fn strike(&mut self, index: u32, reason: &'static str) {
        self.count(&self.common.services.metrics.parse_errors, "reason", reason);
        let now = self.now;
        let Some(conn) = self.conn(index) else { return };
        if conn.strikes.get_or_insert_default().add(now) >= STRIKES_MAX {
            self.close(index, 4010, "too many messages that do not parse");
        }
    }

    pub fn protocol_error(&mut self, index: u32, error: ProtocolError) {
        self.count(&self.common.services.metrics.parse_errors, "reason", error.label());
        self.close(index, error.close_code(), &error.to_string());
    }

    /// Handles one binary message as the socket's sub-protocol has it.
    pub fn handle_binary(&mut self, index: u32, message: &[u8]) {
        if message.len() > self.common.services.settings.limits.message_bytes_max {
            return self.protocol_error(index, ProtocolError::TooBig);
        }
        match self.protocol(index) {
            SubProtocol::Proto => self.handle_proto(index, message),
            SubProtocol::Bin | SubProtocol::BinWithRoom => self.binary_frames(index, message),
            SubProtocol::Json => {
                let error =
                    WireError::invalid("binary messages need the sub-protocol barrage.v1.proto or barrage.v1.bin");
                self.answer_error(index, &error, None);
                self.strike(index, "binary_message");
            }
        }
    }

    fn run_command(&mut self, index: u32, message: ClientMessage, reference: Option<&RawValue>) {
        commands::run(&mut CommandCx::new(self, index, reference), message);
    }

    fn handle_proto(&mut self, index: u32, message: &[u8]) {
        match proto::parse(message) {
            Ok((reference, message)) => self.run_command(index, message, encode::reference(reference).as_deref()),
            Err((reference, error)) => {
                self.answer_error(index, &error, encode::reference(reference).as_deref());
                self.strike(index, "proto_message");
            }
        }
    }

    /// Handles the frames of one message: answers heartbeats at once, submits comments together, and counts and skips what
    /// does not parse.
    fn binary_frames(&mut self, index: u32, message: &[u8]) {
        let mut drafts = Vec::new();
        for frame in binary::frames(message) {
            match frame {
                Ok(frame) => self.binary_frame(index, &frame, &mut drafts),
                Err(error) => self.bad_frame(index, error),
            }
            if !self.conns.get(index as usize).is_some_and(Conn::is_open) {
                return;
            }
        }
        if !drafts.is_empty() {
            commands::comment_batch(&mut CommandCx::new(self, index, None), drafts);
        }
    }

    fn binary_frame(&mut self, index: u32, frame: &Frame<'_>, drafts: &mut Vec<CommentDraft>) {
        if frame.room.is_some() && self.protocol(index) == SubProtocol::Bin {
            // Who names rooms is told them, too.
            self.change_protocol(index, SubProtocol::BinWithRoom);
        }
        match frame.kind {
            Kind::Heartbeat => self.binary_heartbeat(frame.user_id, frame.room),
            Kind::Comment => {
                let room_id = match frame.room.filter(|room| !room.is_empty()).map(str::parse).transpose() {
                    Ok(room_id) => room_id,
                    Err(error) => {
                        let error: InvalidId = error;
                        self.answer_error(index, &WireError::invalid(error.to_string()), None);
                        return self.strike(index, "room_id");
                    }
                };
                let Some(session) = CommandCx::new(self, index, None).require_session() else { return };
                if binary::numeric_user_id(session.identity.user_id.as_str()) == frame.user_id {
                    drafts.push(draft(room_id, frame.content));
                } else {
                    let error = WireError::new(Code::Forbidden, "the frame's user id is not this socket's");
                    self.answer_error(index, &error, None);
                }
            }
        }
    }

    fn binary_heartbeat(&mut self, user_id: u64, room: Option<&str>) {
        let timestamp_ms = self.common.services.clock.now_ms().max(0).cast_unsigned();
        let frame = Frame { kind: Kind::Heartbeat, timestamp_ms, user_id, room, content: "" };
        let mut bytes = Vec::new();
        // An empty content cannot be too long, and the room was short enough for the client's frame.
        let _ = binary::encode(&frame, &mut bytes);
        ws::frame_header(ws::Opcode::Binary, bytes.len(), &mut self.answers);
        self.answers.extend_from_slice(&bytes);
        self.counters.frames_out += 1;
    }

    fn bad_frame(&mut self, index: u32, error: FrameError) {
        if matches!(error, FrameError::UnsupportedVersion(_)) {
            self.answer_error(index, &WireError::invalid(format!("{error}; versions spoken: 1, 2")), None);
        }
        self.strike(index, error.label());
    }
}

fn draft(room_id: Option<RoomId>, content: &str) -> CommentDraft {
    CommentDraft {
        room_id,
        content: content.to_owned(),
        client_msg_id: None,
        style: None,
        mentions: Vec::new(),
        session_id: None,
        offset_ms: None,
        address: None,
    }
}

/// The length of a JSON text with each `\uXXXX` as the bytes of its character in UTF-8.
fn unescaped_bytes(json: &str) -> usize {
    let (mut rest, mut bytes) = (json.as_bytes(), 0);
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at..).unwrap_or_default();
        let code = escape.get(2..6).filter(|_| escape.get(1) == Some(&b'u'));
        let code = code.and_then(|code| u16::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        let (length, stands_for) = match code {
            Some(..0x80) => (6, 1),
            // Two surrogates stand for four bytes.
            Some(..0x800 | 0xD800..0xE000) => (6, 2),
            Some(_) => (6, 3),
            None => (2, 2),
        };
        bytes += at + stands_for;
        rest = escape.get(length..).unwrap_or_default();
    }
    bytes + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_characters_count_as_in_utf_8() {
        let cases = [
            (r#"{"content":"plain"}"#, 19),
            (r"a\u0041b", 3),
            (r"\u0041\u00e9\u5f39\ud83d\ude00", 1 + 2 + 3 + 4),
            (r"\\u0041", 7),
            (r"\n\u12", 6),
            (r"\", 2),
        ];
        for (json, bytes) in cases {
            assert_eq!(unescaped_bytes(json), bytes, "{json}");
        }
    }
}
