//! Binary messages: those of `barrage.v1.proto`, and the frames of `barrage.v1.bin`.

use model::{Code, WireError};
use protocol::binary::{self, Frame, FrameError, Kind};
use protocol::handshake::SubProtocol;
use protocol::message::CommentDraft;
use protocol::ws;
use protocol::{proto, spoken};

use crate::conn::Conn;
use crate::shard::Shard;

impl Shard {
    /// Reads one binary message as the socket's sub-protocol has it.
    pub fn binary(&mut self, index: u32, message: &[u8]) {
        match self.protocol(index) {
            SubProtocol::Proto => self.proto(index, message),
            SubProtocol::Bin => self.binary_frames(index, message),
            SubProtocol::Json => {
                let error =
                    WireError::invalid("binary messages need the sub-protocol barrage.v1.proto or barrage.v1.bin");
                self.answer_error(index, &error, None);
                self.strike(index, "binary_message");
            }
        }
    }

    fn proto(&mut self, index: u32, message: &[u8]) {
        match proto::parse(message) {
            Ok((reference, message)) => self.command(index, message, spoken::reference(reference).as_deref()),
            Err((reference, error)) => {
                self.answer_error(index, &error, spoken::reference(reference).as_deref());
                self.strike(index, "proto_message");
            }
        }
    }

    /// Reads the frames of one message: heartbeats are answered at once, comments go to ingest together, and
    /// what does not parse is counted and skipped.
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
            self.comments(index, drafts);
        }
    }

    fn binary_frame(&mut self, index: u32, frame: &Frame<'_>, drafts: &mut Vec<CommentDraft>) {
        match frame.kind {
            Kind::Heartbeat => self.binary_heartbeat(frame.user_id),
            Kind::Comment => {
                let Some(session) = self.need_session(index, None) else { return };
                if binary::numeric_user_id(session.identity.user_id.as_str()) == frame.user_id {
                    drafts.push(draft(frame.content));
                } else {
                    let error = WireError::new(Code::Forbidden, "the frame's user id is not this socket's");
                    self.answer_error(index, &error, None);
                }
            }
        }
    }

    fn binary_heartbeat(&mut self, user_id: u64) {
        let timestamp_ms = self.common.services.clock.now_ms().max(0).cast_unsigned();
        let frame = Frame { kind: Kind::Heartbeat, timestamp_ms, user_id, content: "" };
        ws::frame_header(ws::Opcode::Binary, binary::HEADER_BYTES, &mut self.answers);
        // No content cannot be too long.
        let _ = binary::encode(&frame, &mut self.answers);
        self.tally.frames_out += 1;
    }

    fn bad_frame(&mut self, index: u32, error: FrameError) {
        if matches!(error, FrameError::UnsupportedVersion(_)) {
            self.answer_error(index, &WireError::invalid(format!("{error}; versions spoken: 1")), None);
        }
        self.strike(index, error.label());
    }
}

fn draft(content: &str) -> CommentDraft {
    CommentDraft {
        room_id: None,
        content: content.to_owned(),
        client_msg_id: None,
        style: None,
        mentions: Vec::new(),
        session_id: None,
        offset_ms: None,
    }
}
