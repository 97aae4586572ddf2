//! `like`: once per user and comment.

use model::Snowflake;
use protocol::message::ServerMessage;

use super::{error_frame, message_frame};
use crate::shard::CommandCx;
use crate::shard::inbox::Reply;

pub(super) fn like(cx: &mut CommandCx<'_>, comment_id: Snowflake) {
    let Some(session) = cx.require_session() else { return };
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        Reply::Frames(match common.services.ingest.like(&session.identity, comment_id).await {
            Ok(like_count) => {
                message_frame(protocol, &ServerMessage::LikeAck { comment_id, like_count }, reference.as_deref())
            }
            Err(refusal) => error_frame(protocol, &refusal.into(), reference.as_deref()),
        })
    });
}
