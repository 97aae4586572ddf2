//! `comment`: handed to ingest, answered when it is durable.

use model::{Identity, RoomId, WireError};
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
        let (common, reference) = (self.common.clone(), reference.map(RawValue::to_owned));
        let protocol = self.protocol(index);
        self.run_async(index, async move {
            let reference = reference.as_deref();
            Reply::Frames(admit(&common.services, &session.identity, &room, draft, protocol, reference).await)
        });
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
                frames.extend(admit(&common.services, &session.identity, &room, draft, protocol, None).await);
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

/// Asks ingest; returns the finished frame of its answer.
async fn admit(
    services: &Services,
    who: &Identity,
    room: &RoomId,
    draft: CommentDraft,
    protocol: SubProtocol,
    reference: Option<&RawValue>,
) -> Vec<u8> {
    let client_msg_id = draft.client_msg_id.clone();
    match services.ingest.admit(who, room, draft).await {
        Ok(admitted) => {
            let ack = ServerMessage::CommentAck {
                client_msg_id: client_msg_id.as_deref(),
                id: admitted.id,
                status: admitted.status,
                created_at_ms: admitted.created_at_ms,
            };
            message_frame(protocol, &ack, reference)
        }
        Err(refusal) => error_frame(protocol, &refusal.into(), reference),
    }
}
