//! Notices as messages of [`protocol::chat`].
//!
//! Called by [`crate::OutboundNotice`] when a first socket needs the frame.

use fanout::Notice;
use protocol::chat::{ChatMessage, GroupChanged, NewMessage, PresenceJson};

/// The notice as a socket's message; `None` when it is for the gateway itself.
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
        Notice::Edited { message_id, conversation_id, content, at_ms } => ChatMessage::MessageEdited {
            message_id: *message_id,
            conversation_id: *conversation_id,
            content,
            edited_at_ms: *at_ms,
        },
        Notice::Reacted { message_id, conversation_id, by, emoji, on, count, change } => ChatMessage::MessageReacted {
            message_id: *message_id,
            conversation_id: *conversation_id,
            user_id: by,
            emoji,
            on: *on,
            count: *count,
            change: *change,
        },
        Notice::Typing { from, to, typing } => ChatMessage::typing(from, to, *typing),
        Notice::Presence { user, online, last_seen_ms } => {
            ChatMessage::Presence(PresenceJson::new(user, *online, *last_seen_ms))
        }
        Notice::Group { group_id, by, done } => ChatMessage::GroupChanged(GroupChanged::new(*group_id, by, done)),
        Notice::Replaced { .. } | Notice::Acknowledged { .. } => return None,
    })
}
