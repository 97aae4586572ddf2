//! Private and group chat: handed to the rules of [`chat`], answered when they are done.

use std::sync::Arc;

use chat::{Draft, Sent, SyncRequest};
use ingest::here;
use model::chat::Recipient;
use model::{Snowflake, UserId, WireError};
use protocol::chat::{Acknowledged, ChatCommand, ChatMessage, MessageDraft, NewMessage, Page, PresenceJson, SyncWish};
use protocol::handshake::SubProtocol;
use protocol::message::ServerMessage;
use serde_json::value::RawValue;

use super::{error_frame, message_frame};
use crate::conn::Session;
use crate::inbox::Reply;
use crate::shard::Shard;

/// Messages in one page of a sync.
const PAGE_MAX: u32 = 500;
/// Bytes of contents in one page: it has to fit beside what else waits for a socket.
const PAGE_BYTES_MAX: usize = 128 * 1024;

impl Shard {
    pub(super) fn chat(&mut self, index: u32, command: ChatCommand, reference: Option<&RawValue>) {
        let Some(session) = self.need_session(index, reference) else { return };
        let reference = reference.map(RawValue::to_owned);
        match command {
            ChatCommand::Send(draft) => self.send_message(index, session, draft, reference),
            ChatCommand::MarkAsRead { message_id } => self.mark_as_read(index, session, message_id, reference),
            ChatCommand::Recall { message_id } => self.recall_message(index, session, message_id, reference),
            ChatCommand::Sync(wish) => self.sync_messages(index, session, wish, reference),
            ChatCommand::Typing { to, typing } => self.typing(index, session, to, typing, reference),
            ChatCommand::WatchPresence { user_ids } => self.watch_presence(index, session, user_ids, reference),
        }
    }

    /// The answer leaves from where messages are stored, so that this socket hears of its own message in the same
    /// order as everybody else.
    fn send_message(
        &mut self,
        index: u32,
        session: Arc<Session>,
        draft: MessageDraft,
        reference: Option<Box<RawValue>>,
    ) {
        let (promise, protocol, common) = (self.promise(index), self.protocol(index), self.common.clone());
        let MessageDraft { client_msg_id, to, content, msg_type } = draft;
        let draft = Draft { client_msg_id: client_msg_id.clone(), to, content, msg_type };
        let done = move |outcome| {
            let frames = sent(protocol, outcome, &client_msg_id, reference.as_deref());
            promise.keep(Reply::Frames(frames)).wake();
        };
        here::spawn(&self.common.runtime, async move {
            common.services.chat.send_with(&session.identity, draft, Some(session.socket), done).await;
        });
    }

    fn mark_as_read(&mut self, index: u32, who: Arc<Session>, message: Snowflake, reference: Option<Box<RawValue>>) {
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        self.run_async(index, async move {
            let marked = common.services.chat.read(&who.identity, message, Some(who.socket)).await;
            let answer = marked.map(|ack| ChatMessage::ReadAck {
                message_id: ack.message_id,
                conversation_id: ack.conversation_id,
                unread_count: ack.unread_count,
            });
            Reply::Frames(answered(protocol, answer, reference.as_deref()))
        });
    }

    fn recall_message(&mut self, index: u32, who: Arc<Session>, message: Snowflake, reference: Option<Box<RawValue>>) {
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        self.run_async(index, async move {
            let recalled = common.services.chat.recall(&who.identity, message).await;
            let answer = recalled.map(|()| ChatMessage::RecallAck { message_id: message });
            Reply::Frames(answered(protocol, answer, reference.as_deref()))
        });
    }

    fn sync_messages(&mut self, index: u32, who: Arc<Session>, wish: SyncWish, reference: Option<Box<RawValue>>) {
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        let SyncWish { since_id, since_change, limit } = wish;
        let limit = limit.map(|limit| limit.clamp(1, PAGE_MAX) as usize);
        let request = SyncRequest { since_id, since_change, limit, device: who.device.clone() };
        self.run_async(index, async move {
            let synced = common.services.chat.sync(&who.identity, request).await;
            let answer = match &synced {
                Ok(synced) => Ok(ChatMessage::SyncResponse(Page::from(synced).within(PAGE_BYTES_MAX))),
                Err(error) => Err(error.clone()),
            };
            Reply::Frames(answered(protocol, answer, reference.as_deref()))
        });
    }

    /// It has no answer, unless it is refused.
    fn typing(&mut self, index: u32, who: Arc<Session>, to: Recipient, typing: bool, reference: Option<Box<RawValue>>) {
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        self.run_async(index, async move {
            let told = common.services.chat.typing(&who.identity, to, typing, who.socket).await;
            Reply::Frames(
                told.map_or_else(|error| error_frame(protocol, &error.into(), reference.as_deref()), |()| Vec::new()),
            )
        });
    }

    fn watch_presence(&mut self, index: u32, who: Arc<Session>, users: Vec<UserId>, reference: Option<Box<RawValue>>) {
        let (common, protocol) = (self.common.clone(), self.protocol(index));
        self.run_async(index, async move {
            let watched = common.services.chat.watch(&who.identity, who.socket, users).await;
            let answer = match &watched {
                Ok(users) => Ok(ChatMessage::PresenceList { users: users.iter().map(PresenceJson::from).collect() }),
                Err(error) => Err(error.clone()),
            };
            Reply::Frames(answered(protocol, answer, reference.as_deref()))
        });
    }
}

/// The acknowledgement and, the first time, the message itself; or why it was not sent.
fn sent(
    protocol: SubProtocol,
    outcome: chat::Result<Sent>,
    client_msg_id: &str,
    reference: Option<&RawValue>,
) -> Vec<u8> {
    let Sent { message, repeated } = match outcome {
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
