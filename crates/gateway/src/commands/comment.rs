//! `comment`: submitted to ingest, answered when it is durable.

use ingest::Admitted;
use model::WireError;
use protocol::handshake::SubProtocol;
use protocol::message::{CommentDraft, ServerMessage};
use serde_json::value::RawValue;

use super::{error_frame, message_frame};
use crate::shard::CommandCx;
use crate::shard::inbox::Reply;

pub(super) fn comment(cx: &mut CommandCx<'_>, draft: CommentDraft) {
    let Some(session) = cx.require_session() else { return };
    let Some(room) = draft.room_id.clone().or_else(|| cx.query_room()) else {
        return cx.answer_error(&WireError::invalid("room_id is missing and no room was joined by the query"));
    };
    let (pending, protocol, reference) = (cx.reply_later(), cx.protocol(), cx.reference());
    let client_msg_id = draft.client_msg_id.clone();
    let draft = CommentDraft { address: cx.address(), ..draft };
    let then = move |outcome| {
        let frame = answer(protocol, outcome, client_msg_id.as_deref(), reference.as_deref());
        Some(pending.complete(Reply::Frames(frame)))
    };
    let common = cx.common();
    let submission = common.services.admission.admit_then(&common.runtime, &session.identity, &room, draft, then);
    cx.submit(submission);
}

/// Several comments of one binary message, one after the other.
pub(crate) fn comment_batch(cx: &mut CommandCx<'_>, drafts: Vec<CommentDraft>) {
    let Some(session) = cx.require_session() else { return };
    let (by_query, address) = (cx.query_room(), cx.address());
    let (common, protocol) = (cx.common(), cx.protocol());
    cx.run_async(async move {
        let mut frames = Vec::new();
        for draft in drafts {
            let draft = CommentDraft { address, ..draft };
            let outcome = match draft.room_id.clone().or_else(|| by_query.clone()) {
                Some(room) => common.services.admission.admit(&session.identity, &room, draft).await,
                None => Err(WireError::invalid("the frame names no room, and none was joined by the query")),
            };
            frames.extend(answer(protocol, outcome, None, None));
        }
        Reply::Frames(frames)
    });
}

/// The frame of ingest's answer.
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
