//! `ack`: the receipt of a critical event. It has no answer.

use model::Snowflake;

use crate::shard::CommandCx;
use crate::shard::inbox::Reply;

/// A receipt from one device of a user counts for all of them.
pub(super) fn ack(cx: &mut CommandCx<'_>, event: Snowflake) {
    let Some(session) = cx.session() else { return cx.acknowledge_anonymous(event) };
    let user = &session.identity.user_id;
    if !cx.acknowledge(user, event) {
        return;
    }
    let common = cx.common();
    common.services.chat.announce_acknowledged(user, event);
    cx.run_async(async move {
        if let Err(error) = common.services.ingest.acknowledge(&session.identity, event).await {
            // The event is sent again with the next connection.
            tracing::warn!(%error, "a receipt could not be stored");
        }
        Reply::Frames(Vec::new())
    });
}
