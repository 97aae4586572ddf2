//! `comment`: handed to ingest, answered when it is durable.

use ingest::Admitted;
use model::{RoomId, WireError};
use protocol::handshake::SubProtocol;
use protocol::message::{CommentDraft, ServerMessage};
use serde_json::value::RawValue;

use super::{error_frame, message_frame};
use crate::Services;
use crate::inbox::Reply;
use crate::shard::Shard;

impl Shard {
    pub(super) fn comment(&mut self, index: u32, draft: CommentDraft, reference: Option<&RawValue>) {
        let Some(session) = self.need_session(index, reference) else { return };
        let Some(room) = draft.room_id.clone().or_else(|| self.query_room(index)) else {
            let error = WireError::invalid("room_id is missing and no room was joined by the query");
            return self.answer_error(index, &error, reference);
        };
        let (promise, reference) = (self.promise(index), reference.map(RawValue::to_owned));
        let (client_msg_id, protocol) = (draft.client_msg_id.clone(), self.protocol(index));
        let then = move |outcome| {
            let frames = answer(protocol, outcome, client_msg_id.as_deref(), reference.as_deref());
            Some(promise.keep(Reply::Frames(frames)))
        };
        let Services { admission, .. } = &self.common.services;
        let submission = admission.admit_then(&self.common.runtime, &session.identity, &room, draft, then);
        self.submissions.extend(submission);
    }

    /// Several comments of one binary message, one after the other.
    pub(super) fn comments(&mut self, index: u32, drafts: Vec<CommentDraft>) {
        let Some(session) = self.need_session(index, None) else { return };
        let Some(room) = self.query_room(index) else {
            return self.answer_error(index, &WireError::invalid("no room was joined by the query"), None);
        };
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        self.run_async(index, async move {
            let mut frames = Vec::new();
            for draft in drafts {
                let outcome = common.services.admission.admit(&session.identity, &room, draft).await;
                frames.extend(answer(protocol, outcome, None, None));
            }
            Reply::Frames(frames)
        });
    }

    /// The room of the query, as long as the socket has not left it.
    fn query_room(&mut self, index: u32) -> Option<RoomId> {
        let key = self.conn(index)?.memberships.iter().find(|m| m.by_query)?.room;
        Some(self.rooms.get(&key)?.room.id().clone())
    }
}

/// The finished frame of ingest's answer.
fn answer(
    protocol: SubProtocol,
    outcome: Result<Admitted, WireError>,
    client_msg_id: Option<&str>,
    reference: Option<&RawValue>,
) -> Vec<u8> {
    match outcome {
        Ok(Admitted { id, status, created_at_ms }) => {
            message_frame(protocol, &ServerMessage::CommentAck { client_msg_id, id, status, created_at_ms }, reference)
        }
        Err(error) => error_frame(protocol, &error, reference),
    }
}
