//! Private and group chat as Protobuf. Called by [`super`]; translates to and from the types of [`crate::chat`] only.

use model::chat::{ChangeKind, GroupId, GroupRole, MsgStatus, MsgType, Recipient};
use model::{Snowflake, UserId, WireError};

use super::v1;
use super::v1::server_frame::Message as Out;
use super::{filled, id, users};
use crate::chat::{
    Acknowledged, ChangeJson, ChatCommand, ChatMessage, EditAck, GroupChanged, MessageDraft, MessageJson, NewMessage,
    Page, PresenceJson, ReactAck, ReactionJson, SyncOptions, reactions,
};
use crate::message::{ClientMessage, parse_cursor};

type Parsed = Result<ClientMessage, WireError>;

// ---- From clients

pub(super) fn send_message(message: v1::SendMessage) -> Parsed {
    let v1::SendMessage { client_msg_id, to_user, content, msg_type, reply_to, uploads } = message;
    let (msg_type, reply_to) = (type_of(msg_type)?, optional_id("reply_to", reply_to)?);
    let uploads = uploads.into_iter().map(|upload| id("uploads", upload)).collect::<Result<_, _>>()?;
    let to = Recipient::User(user(&to_user)?);
    Ok(send(MessageDraft { client_msg_id, to, content, msg_type, reply_to, uploads }))
}

pub(super) fn send_group_message(message: v1::SendGroupMessage) -> Parsed {
    let v1::SendGroupMessage { client_msg_id, group_id, content, msg_type, reply_to } = message;
    let (msg_type, reply_to) = (type_of(msg_type)?, optional_id("reply_to", reply_to)?);
    let to = Recipient::Group(group(&group_id)?);
    Ok(send(MessageDraft { client_msg_id, to, content, msg_type, reply_to, uploads: Vec::new() }))
}

fn send(draft: MessageDraft) -> ClientMessage {
    ClientMessage::Chat(ChatCommand::Send(draft))
}

fn type_of(msg_type: i32) -> Result<MsgType, WireError> {
    match v1::MessageType::try_from(msg_type) {
        Ok(v1::MessageType::Text) => Ok(MsgType::Text),
        Ok(v1::MessageType::Image) => Ok(MsgType::Image),
        Ok(v1::MessageType::Video) => Ok(MsgType::Video),
        Ok(v1::MessageType::File) => Ok(MsgType::File),
        Ok(v1::MessageType::Encrypted) => Ok(MsgType::Encrypted),
        Err(_) => Err(WireError::invalid("msg_type is unknown")),
    }
}

/// 0 is none.
fn optional_id(name: &'static str, number: u64) -> Result<Option<Snowflake>, WireError> {
    if number == 0 { Ok(None) } else { id(name, number).map(Some) }
}

pub(super) fn edit_message(message: v1::EditMessage) -> Parsed {
    let v1::EditMessage { message_id, content } = message;
    Ok(ClientMessage::Chat(ChatCommand::Edit { message_id: id("message_id", message_id)?, content }))
}

pub(super) fn react(message: &v1::React) -> Parsed {
    let message_id = id("message_id", message.message_id)?;
    let emoji = message.emoji.parse().map_err(|error: model::emoji::NoEmoji| WireError::invalid(error.to_string()))?;
    Ok(ClientMessage::Chat(ChatCommand::React { message_id, emoji, on: message.on.unwrap_or(true) }))
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
    Ok(ClientMessage::Chat(ChatCommand::Sync(SyncOptions { since_id, since_change, limit })))
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
        ChatMessage::EditAck(EditAck { message_id, edited_at_ms }) => {
            Out::EditAck(v1::EditAck { message_id: message_id.0, edited_at_ms: *edited_at_ms })
        }
        ChatMessage::ReactAck(ReactAck { message_id, emoji, on, count }) => Out::ReactAck(v1::ReactAck {
            message_id: message_id.0,
            emoji: emoji.as_str().into(),
            on: *on,
            count: *count,
        }),
        ChatMessage::MessageEdited { message_id, conversation_id, content, edited_at_ms } => {
            Out::MessageEdited(v1::MessageEdited {
                message_id: message_id.0,
                conversation_id: conversation_id.0.0,
                content: (*content).into(),
                edited_at_ms: *edited_at_ms,
            })
        }
        ChatMessage::MessageReacted { message_id, conversation_id, user_id, emoji, on, count, change } => {
            Out::MessageReacted(v1::MessageReacted {
                message_id: message_id.0,
                conversation_id: conversation_id.0.0,
                user_id: user_id.as_str().into(),
                emoji: (*emoji).into(),
                on: *on,
                count: *count,
                change: change.to_string(),
            })
        }
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
        ChatMessage::NotSent { code, message, retry_after_ms, client_msg_id, rule } => Out::Error(v1::Error {
            code: (*code).into(),
            message: (*message).into(),
            retry_after_ms: *retry_after_ms,
            client_msg_id: (*client_msg_id).into(),
            prefer: String::new(),
            rule: rule.unwrap_or_default().into(),
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
        reply_to: new.reply_to.map_or(0, |id| id.0),
        edited_at_ms: new.edited_at_ms,
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
        reply_to: new.reply_to.map_or(0, |id| id.0),
        edited_at_ms: new.edited_at_ms,
        reactions: reactions(seen)
            .map(|ReactionJson { emoji, count, mine }| v1::Reaction { emoji: emoji.into(), count, mine })
            .collect(),
    }
}

fn change(change: &ChangeJson<'_>) -> v1::MessageChange {
    v1::MessageChange {
        message_id: change.message_id.0,
        status: change_status(change.kind).into(),
        by_user: change.by_user.as_str().into(),
        at_ms: change.at_ms,
        conversation_id: change.conversation_id.0.0,
        message: change.message.as_ref().map(stored),
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

fn change_status(kind: ChangeKind) -> v1::MessageStatus {
    match kind {
        ChangeKind::Recalled => v1::MessageStatus::Recalled,
        ChangeKind::Read => v1::MessageStatus::Read,
        ChangeKind::Edited => v1::MessageStatus::Edited,
        ChangeKind::Reacted => v1::MessageStatus::Reacted,
    }
}

fn status(status: MsgStatus) -> v1::MessageStatus {
    match status {
        MsgStatus::Delivered => v1::MessageStatus::Delivered,
        MsgStatus::Read => v1::MessageStatus::Read,
        MsgStatus::Recalled => v1::MessageStatus::Recalled,
    }
}
