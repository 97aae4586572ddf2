//! Private and group chat: handed to the rules of [`chat`], answered when they are done.

use std::sync::Arc;

use chat::{SendOutcome, SyncRequest};
use model::chat::Recipient;
use model::{Emoji, Snowflake, UserId, WireError};
use protocol::chat::{
    Acknowledged, ChatCommand, ChatMessage, MessageDraft, NewMessage, Page, PresenceJson, SyncOptions,
};
use protocol::handshake::SubProtocol;
use protocol::message::ServerMessage;
use serde_json::value::RawValue;

use super::{error_frame, message_frame};
use crate::conn::Session;
use crate::shard::CommandCx;
use crate::shard::inbox::Reply;

/// Messages in one page of a sync.
const PAGE_MAX: u32 = 500;
/// Bytes of contents in one page: it must fit beside what else waits for a socket.
const PAGE_BYTES_MAX: usize = 128 * 1024;

pub(super) fn chat(cx: &mut CommandCx<'_>, command: ChatCommand) {
    let Some(session) = cx.require_session() else { return };
    match command {
        ChatCommand::Send(draft) => send_message(cx, session, draft),
        ChatCommand::MarkAsRead { message_id } => mark_as_read(cx, session, message_id),
        ChatCommand::Recall { message_id } => recall_message(cx, session, message_id),
        ChatCommand::Edit { message_id, content } => edit_message(cx, session, message_id, content),
        ChatCommand::React { message_id, emoji, on } => react(cx, session, message_id, emoji, on),
        ChatCommand::Sync(request) => sync_messages(cx, session, request),
        ChatCommand::Typing { to, typing } => send_typing(cx, session, to, typing),
        ChatCommand::WatchPresence { user_ids } => watch_presence(cx, session, user_ids),
    }
}

/// The answer leaves from where messages are stored, so that this socket receives its own message in the same order as
/// every other socket.
fn send_message(cx: &mut CommandCx<'_>, session: Arc<Session>, draft: MessageDraft) {
    let (pending, protocol, reference) = (cx.reply_later(), cx.protocol(), cx.reference());
    let client_msg_id = draft.client_msg_id.clone();
    let done = move |outcome| {
        let frames = sent(protocol, outcome, &client_msg_id, reference.as_deref());
        pending.complete(Reply::Frames(frames)).wake();
    };
    let common = cx.common();
    cx.spawn(async move {
        common.services.chat.send_with(&session.identity, draft, Some(session.socket), done).await;
    });
}

fn mark_as_read(cx: &mut CommandCx<'_>, session: Arc<Session>, message: Snowflake) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let marked = common.services.chat.mark_as_read(&session.identity, message, Some(session.socket)).await;
        let answer = marked.map(|ack| ChatMessage::ReadAck {
            message_id: ack.message_id,
            conversation_id: ack.conversation_id,
            unread_count: ack.unread_count,
        });
        Reply::Frames(answered(protocol, answer, reference.as_deref()))
    });
}

fn recall_message(cx: &mut CommandCx<'_>, session: Arc<Session>, message: Snowflake) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let recalled = common.services.chat.recall(&session.identity, message).await;
        let answer = recalled.map(|()| ChatMessage::RecallAck { message_id: message });
        Reply::Frames(answered(protocol, answer, reference.as_deref()))
    });
}

fn edit_message(cx: &mut CommandCx<'_>, session: Arc<Session>, message: Snowflake, content: String) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let edited = common.services.chat.edit(&session.identity, message, &content).await;
        Reply::Frames(answered(protocol, edited.map(ChatMessage::EditAck), reference.as_deref()))
    });
}

fn react(cx: &mut CommandCx<'_>, session: Arc<Session>, message: Snowflake, emoji: Emoji, on: bool) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let reacted = common.services.chat.react(&session.identity, message, emoji, on).await;
        Reply::Frames(answered(protocol, reacted.map(ChatMessage::ReactAck), reference.as_deref()))
    });
}

fn sync_messages(cx: &mut CommandCx<'_>, session: Arc<Session>, request: SyncOptions) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    let SyncOptions { since_id, since_change, limit } = request;
    let limit = limit.map(|limit| limit.min(PAGE_MAX) as usize);
    let request = SyncRequest { since_id, since_change, limit, device: session.device.clone() };
    cx.run_async(async move {
        let synced = common.services.chat.sync(&session.identity, request).await;
        let answer = match &synced {
            Ok(synced) => Ok(ChatMessage::SyncResponse(Page::from(synced).within(PAGE_BYTES_MAX))),
            Err(error) => Err(error.clone()),
        };
        Reply::Frames(answered(protocol, answer, reference.as_deref()))
    });
}

/// It has no answer, unless it is refused.
fn send_typing(cx: &mut CommandCx<'_>, session: Arc<Session>, to: Recipient, typing: bool) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let outcome = common.services.chat.typing(&session.identity, to, typing, session.socket).await;
        Reply::Frames(match outcome {
            Ok(()) => Vec::new(),
            Err(error) => error_frame(protocol, &error.into(), reference.as_deref()),
        })
    });
}

fn watch_presence(cx: &mut CommandCx<'_>, session: Arc<Session>, users: Vec<UserId>) {
    let (common, protocol, reference) = (cx.common(), cx.protocol(), cx.reference());
    cx.run_async(async move {
        let watched = common.services.chat.watch(&session.identity, session.socket, users).await;
        let answer = match &watched {
            Ok(users) => Ok(ChatMessage::PresenceList { users: users.iter().map(PresenceJson::from).collect() }),
            Err(error) => Err(error.clone()),
        };
        Reply::Frames(answered(protocol, answer, reference.as_deref()))
    });
}

/// The acknowledgement and, the first time, the message itself; or why it was not sent.
fn sent(
    protocol: SubProtocol,
    outcome: chat::Result<SendOutcome>,
    client_msg_id: &str,
    reference: Option<&RawValue>,
) -> Vec<u8> {
    let SendOutcome { message, repeated } = match outcome {
        Ok(sent) => sent,
        Err(error) => {
            let error = WireError::from(error);
            return message_frame(
                protocol,
                &ServerMessage::Chat(ChatMessage::not_sent(&error, client_msg_id)),
                reference,
            );
        }
    };
    let ack = ChatMessage::MessageAck(Acknowledged::from(&*message));
    let mut frames = message_frame(protocol, &ServerMessage::Chat(ack), reference);
    if !repeated {
        let new = ChatMessage::NewMessage(NewMessage::from(&*message));
        frames.extend(message_frame(protocol, &ServerMessage::Chat(new), None));
    }
    frames
}

fn answered(protocol: SubProtocol, answer: chat::Result<ChatMessage<'_>>, reference: Option<&RawValue>) -> Vec<u8> {
    match answer {
        Ok(message) => message_frame(protocol, &ServerMessage::Chat(message), reference),
        Err(error) => error_frame(protocol, &error.into(), reference),
    }
}
