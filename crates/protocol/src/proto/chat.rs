//! Private and group chat as Protobuf; the messages are those of [`crate::chat`].

use model::chat::{GroupId, GroupRole, MsgStatus, MsgType, Recipient};
use model::{Snowflake, UserId, WireError};

use super::v1;
use super::v1::server_frame::Message as Out;
use super::{filled, id, users};
use crate::chat::{
    Acknowledged, ChangeJson, ChatCommand, ChatMessage, GroupChanged, MessageDraft, MessageJson, NewMessage, Page,
    PresenceJson, SyncWish,
};
use crate::message::{ClientMessage, parse_cursor};

type Parsed = Result<ClientMessage, WireError>;

// ---- From clients

pub(super) fn send_message(message: v1::SendMessage) -> Parsed {
    let v1::SendMessage { client_msg_id, to_user, content, msg_type } = message;
    send(Recipient::User(user(&to_user)?), client_msg_id, content, msg_type)
}

pub(super) fn send_group_message(message: v1::SendGroupMessage) -> Parsed {
    let v1::SendGroupMessage { client_msg_id, group_id, content, msg_type } = message;
    send(Recipient::Group(group(&group_id)?), client_msg_id, content, msg_type)
}

fn send(to: Recipient, client_msg_id: String, content: String, msg_type: i32) -> Parsed {
    let msg_type = match v1::MessageType::try_from(msg_type) {
        Ok(v1::MessageType::Text) => MsgType::Text,
        Ok(v1::MessageType::Image) => MsgType::Image,
        Ok(v1::MessageType::Video) => MsgType::Video,
        Ok(v1::MessageType::File) => MsgType::File,
        Ok(v1::MessageType::Encrypted) => MsgType::Encrypted,
        Err(_) => return Err(WireError::invalid("msg_type is unknown")),
    };
    Ok(ClientMessage::Chat(ChatCommand::Send(MessageDraft { client_msg_id, to, content, msg_type })))
}

pub(super) fn mark_as_read(message: &v1::MarkAsRead) -> Parsed {
    Ok(ClientMessage::Chat(ChatCommand::MarkAsRead { message_id: id("message_id", message.message_id)? }))
}

pub(super) fn recall_message(message: &v1::RecallMessage) -> Parsed {
    Ok(ClientMessage::Chat(ChatCommand::Recall { message_id: id("message_id", message.message_id)? }))
}

pub(super) fn sync_messages(message: v1::SyncMessages) -> Parsed {
    let v1::SyncMessages { since_id, since_change, limit } = message;
    let since_id = match since_id {
        Some(0) => Some(Snowflake(0)),
        Some(seen) => Some(id("since_id", seen)?),
        None => None,
    };
    let cursor = |text: String| parse_cursor(&text).ok_or_else(|| WireError::invalid("since_change must be a number"));
    let since_change = filled(since_change).map(cursor).transpose()?.map(|Snowflake(change)| change);
    Ok(ClientMessage::Chat(ChatCommand::Sync(SyncWish { since_id, since_change, limit })))
}

pub(super) fn typing(message: &v1::Typing) -> Parsed {
    let to = match (message.to_user.as_str(), message.group_id.as_str()) {
        ("", "") => return Err(WireError::invalid("to_user or group_id is missing")),
        (to_user, "") => Recipient::User(user(to_user)?),
        ("", group_id) => Recipient::Group(group(group_id)?),
        _ => return Err(WireError::invalid("to_user and group_id exclude each other")),
    };
    Ok(ClientMessage::Chat(ChatCommand::Typing { to, typing: message.typing.unwrap_or(true) }))
}

pub(super) fn watch_presence(message: &v1::WatchPresence) -> Parsed {
    Ok(ClientMessage::Chat(ChatCommand::WatchPresence { user_ids: users(&message.user_ids)? }))
}

fn user(text: &str) -> Result<UserId, WireError> {
    UserId::new(text).map_err(|error| WireError::invalid(error.to_string()))
}

fn group(text: &str) -> Result<GroupId, WireError> {
    text.parse().map_err(|error: model::InvalidId| WireError::invalid(error.to_string()))
}

// ---- To clients

pub(super) fn answer(message: &ChatMessage<'_>) -> Out {
    match message {
        ChatMessage::MessageAck(ack) => Out::MessageAck(message_ack(ack)),
        ChatMessage::ReadAck { message_id, conversation_id, unread_count } => Out::ReadAck(v1::ReadAck {
            message_id: message_id.0,
            conversation_id: conversation_id.0.0,
            unread_count: *unread_count,
        }),
        ChatMessage::RecallAck { message_id } => Out::RecallAck(v1::RecallAck { message_id: message_id.0 }),
        ChatMessage::SyncResponse(page) => Out::SyncResponse(sync_response(page)),
        ChatMessage::PresenceList { users } => {
            Out::PresenceList(v1::PresenceList { users: users.iter().map(presence).collect() })
        }
        ChatMessage::NewMessage(new) => Out::NewMessage(new_message(new)),
        ChatMessage::MessageRead { message_id, conversation_id, group_id, read_by, read_at_ms } => {
            Out::MessageRead(v1::MessageRead {
                message_id: message_id.0,
                read_by: read_by.as_str().into(),
                read_at_ms: *read_at_ms,
                conversation_id: conversation_id.0.0,
                group_id: number(*group_id),
            })
        }
        ChatMessage::MessageRecalled { message_id, conversation_id, recalled_by, recalled_at_ms } => {
            Out::MessageRecalled(v1::MessageRecalled {
                message_id: message_id.0,
                conversation_id: conversation_id.0.0,
                recalled_by: recalled_by.as_str().into(),
                recalled_at_ms: *recalled_at_ms,
            })
        }
        ChatMessage::Typing { from_user, to_user, group_id, typing } => Out::Typing(v1::TypingNotice {
            from_user: from_user.as_str().into(),
            group_id: number(*group_id),
            to_user: name(*to_user),
            typing: *typing,
        }),
        ChatMessage::Presence(of) => Out::Presence(presence(of)),
        ChatMessage::GroupChanged(changed) => Out::GroupChanged(group_changed(changed)),
        ChatMessage::NotSent { code, message, retry_after_ms, client_msg_id } => Out::Error(v1::Error {
            code: (*code).into(),
            message: (*message).into(),
            retry_after_ms: *retry_after_ms,
            client_msg_id: (*client_msg_id).into(),
        }),
    }
}

fn message_ack(ack: &Acknowledged<'_>) -> v1::MessageAck {
    v1::MessageAck {
        client_msg_id: ack.client_msg_id.unwrap_or_default().into(),
        server_msg_id: ack.server_msg_id.0,
        status: status(ack.status).into(),
        conversation_id: ack.conversation_id.0.0,
        created_at_ms: ack.created_at_ms,
    }
}

fn new_message(new: &NewMessage<'_>) -> v1::NewMessage {
    v1::NewMessage {
        server_msg_id: new.server_msg_id.0,
        from_user: new.from_user.as_str().into(),
        to_user: name(new.to_user),
        group_id: number(new.group_id),
        content: new.content.into(),
        msg_type: msg_type(new.msg_type).into(),
        created_at_ms: new.created_at_ms,
        client_msg_id: new.client_msg_id.into(),
        conversation_id: new.conversation_id.0.0,
        from_name: new.from_name.into(),
    }
}

fn sync_response(page: &Page<'_>) -> v1::SyncResponse {
    v1::SyncResponse {
        messages: page.messages.iter().map(stored).collect(),
        latest_id: page.latest_id.0,
        changes: page.changes.iter().map(change).collect(),
        latest_change: page.latest_change.to_string(),
        more: page.more,
        expired: page.expired,
    }
}

fn stored(MessageJson(seen): &MessageJson<'_>) -> v1::Message {
    let message = &seen.message;
    let new = NewMessage::from(&**message);
    v1::Message {
        id: message.id.0,
        client_msg_id: new.client_msg_id.into(),
        from_user: new.from_user.as_str().into(),
        to_user: name(new.to_user),
        group_id: number(new.group_id),
        content: if message.recalled.is_some() { String::new() } else { new.content.into() },
        msg_type: msg_type(new.msg_type).into(),
        status: status(seen.status).into(),
        created_at_ms: new.created_at_ms,
        conversation_id: new.conversation_id.0.0,
        from_name: new.from_name.into(),
        read_count: seen.read_count,
        recalled_at_ms: message.recalled.as_ref().map(|recall| recall.at_ms),
    }
}

fn change(change: &ChangeJson<'_>) -> v1::MessageChange {
    v1::MessageChange {
        message_id: change.message_id.0,
        status: status(change.status).into(),
        by_user: change.by_user.as_str().into(),
        at_ms: change.at_ms,
        conversation_id: change.conversation_id.0.0,
    }
}

fn presence(of: &PresenceJson<'_>) -> v1::Presence {
    v1::Presence { user_id: of.user_id.as_str().into(), online: of.online, last_seen_ms: of.last_seen_ms }
}

fn group_changed(changed: &GroupChanged<'_>) -> v1::GroupChanged {
    v1::GroupChanged {
        group_id: changed.group_id.to_string(),
        change: changed.change.into(),
        by_user: changed.by_user.as_str().into(),
        user_ids: changed.user_ids.iter().map(|user| user.as_str().into()).collect(),
        name: changed.name.unwrap_or_default().into(),
        role: changed.role.map_or("", GroupRole::as_str).into(),
        owner_id: name(changed.owner_id),
        conversation_id: changed.conversation_id.0.0,
    }
}

fn name(user: Option<&UserId>) -> String {
    user.map_or_else(String::new, |user| user.as_str().into())
}

fn number(group: Option<GroupId>) -> String {
    group.map_or_else(String::new, |group| group.to_string())
}

fn msg_type(msg_type: MsgType) -> v1::MessageType {
    match msg_type {
        MsgType::Text => v1::MessageType::Text,
        MsgType::Image => v1::MessageType::Image,
        MsgType::Video => v1::MessageType::Video,
        MsgType::File => v1::MessageType::File,
        MsgType::Encrypted => v1::MessageType::Encrypted,
    }
}

fn status(status: MsgStatus) -> v1::MessageStatus {
    match status {
        MsgStatus::Delivered => v1::MessageStatus::Delivered,
        MsgStatus::Read => v1::MessageStatus::Read,
        MsgStatus::Recalled => v1::MessageStatus::Recalled,
    }
}
