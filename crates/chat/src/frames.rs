//! What sockets are told: each notice as the message of [`protocol::chat`] that it is.
//!
//! Called by [`crate::Told`] when a first socket needs it.

use bus::Notice;
use protocol::chat::{ChatMessage, GroupChanged, NewMessage, PresenceJson};

/// The notice as a message of the socket; `None` when it is for whoever holds the sockets.
pub(crate) fn message(notice: &Notice) -> Option<ChatMessage<'_>> {
    Some(match notice {
        Notice::Message(message) => ChatMessage::NewMessage(NewMessage::from(&**message)),
        Notice::Read { message_id, conversation_id, group_id, by, at_ms } => ChatMessage::MessageRead {
            message_id: *message_id,
            conversation_id: *conversation_id,
            group_id: *group_id,
            read_by: by,
            read_at_ms: *at_ms,
        },
        Notice::Recalled { message_id, conversation_id, by, at_ms } => ChatMessage::MessageRecalled {
            message_id: *message_id,
            conversation_id: *conversation_id,
            recalled_by: by,
            recalled_at_ms: *at_ms,
        },
        Notice::Typing { from, to, typing } => ChatMessage::typing(from, to, *typing),
        Notice::Presence { user, online, last_seen_ms } => {
            ChatMessage::Presence(PresenceJson::new(user, *online, *last_seen_ms))
        }
        Notice::Group { group_id, by, done } => ChatMessage::GroupChanged(GroupChanged::new(*group_id, by, done)),
        Notice::Replaced { .. } | Notice::Acknowledged { .. } => return None,
    })
}
