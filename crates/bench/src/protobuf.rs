//! What sockets of `barrage.v1.proto` say, as finished frames. What they are told is read in [`crate::wire`].

use model::Style;
use prost::Message as _;
use protocol::proto;
use protocol::proto::v1::client_frame::Message;
use protocol::proto::v1::{Ack, ClientFrame, CommentDraft, Heartbeat};
use protocol::ws::{Opcode, encode_client_frame};

use crate::pace::Line;
use crate::wire::MASK;

/// A comment; one of a recording has its place as its colour.
pub fn comment(room: &str, content: &str, line: Option<(&Line, u32)>, out: &mut Vec<u8>) {
    let style = line.map(|(line, seq)| proto::style(Style { mode: line.mode, color: seq + 1, size: line.size }));
    let (room_id, content) = (room.to_owned(), content.to_owned());
    say(Message::Comment(CommentDraft { room_id, content, style, ..CommentDraft::default() }), out);
}

/// A sign of life.
pub fn heartbeat(out: &mut Vec<u8>) {
    say(Message::Heartbeat(Heartbeat {}), out);
}

/// The receipt of a critical event.
pub fn receipt(event_id: u64, out: &mut Vec<u8>) {
    say(Message::Ack(Ack { event_id }), out);
}

fn say(message: Message, out: &mut Vec<u8>) {
    let frame = ClientFrame { r#ref: 0, message: Some(message) };
    encode_client_frame(Opcode::Binary, &frame.encode_to_vec(), MASK, out);
}
