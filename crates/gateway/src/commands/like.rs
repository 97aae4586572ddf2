//! `like`: once per user and comment.

use model::Snowflake;
use protocol::message::ServerMessage;
use serde_json::value::RawValue;

use super::{error_frame, message_frame};
use crate::inbox::Reply;
use crate::shard::Shard;

impl Shard {
    pub(super) fn like(&mut self, index: u32, comment_id: Snowflake, reference: Option<&RawValue>) {
        let Some(session) = self.need_session(index, reference) else { return };
        let (common, reference) = (self.common.clone(), reference.map(RawValue::to_owned));
        let protocol = self.protocol(index);
        self.run_async(index, async move {
            Reply::Frames(match common.services.ingest.like(&session.identity, comment_id).await {
                Ok(like_count) => {
                    message_frame(protocol, &ServerMessage::LikeAck { comment_id, like_count }, reference.as_deref())
                }
                Err(refusal) => error_frame(protocol, &refusal.into(), reference.as_deref()),
            })
        });
    }
}
