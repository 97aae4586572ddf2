//! Sending, read marks and typing.
//!
//! Decides what may be stored and hands it to [`crate::message_writer`]; notifies sockets of the other changes itself.

use std::sync::Arc;

use fanout::{Notice, Sockets};
use model::chat::{ConversationId, MsgType, Recipient};
use model::metrics::count;
use model::{Identity, Snowflake, UserId, WireError};
use state::{LimitKey, Rate};
use store::chat::{Marked, NewMessage};
use tokio::sync::oneshot;

use crate::content;
use crate::message_writer::{PendingMessage, SendCallback};
use crate::{Chat, ChatError, MessageDraft, ReadAck, Result, SendOutcome};

/// Larger groups are not told who is typing.
const TYPING_MEMBERS_MAX: usize = 100;
/// The interval between typing notices of one socket in one conversation.
const TYPING_EVERY_MS: u32 = 2_000;
/// Typing notices of one user.
const TYPING: Rate = Rate::per_s(5).burst(20);
/// Read marks, recalls, reactions, and changes of groups and blocks by one user.
const ACTIONS: Rate = Rate::per_s(20).burst(100);

impl Chat {
    /// Sends a message from the socket `origin`, which learns of it by the answer alone.
    /// `reply` is called once: in the order in which messages are stored, right after everybody else was notified, or at
    /// once when the message is refused. It must not block.
    ///
    /// # Errors
    /// Given to `reply`; the codes of [`crate::ChatError`].
    pub async fn send_with(
        &self,
        who: &Identity,
        draft: MessageDraft,
        origin: Option<u64>,
        reply: impl FnOnce(Result<SendOutcome>) + Send + 'static,
    ) {
        let metrics = self.parts.metrics.clone();
        let reply = move |outcome| {
            count(&metrics.messages, "outcome", outcome_label(&outcome));
            reply(outcome);
        };
        match self.prepare(who, draft).await {
            Ok(Prepared::New(message)) => {
                self.presence_tracker.record_sighting(who, message.created_at_ms);
                self.message_writer.enqueue(PendingMessage {
                    message: *message,
                    origin,
                    reply: Box::new(reply) as SendCallback,
                });
            }
            Ok(Prepared::Repeat(outcome)) => reply(Ok(outcome)),
            Err(error) => reply(Err(error)),
        }
    }

    /// [`Chat::send_with`] for callers that may wait.
    ///
    /// # Errors
    /// The codes of [`crate::ChatError`].
    pub async fn send(&self, who: &Identity, draft: MessageDraft, origin: Option<u64>) -> Result<SendOutcome> {
        let (answer, answered) = oneshot::channel();
        // A caller that stopped waiting needs no answer.
        let reply = move |outcome| drop(answer.send(outcome));
        self.send_with(who, draft, origin, reply).await;
        answered.await.unwrap_or(Err(ChatError::Unavailable))
    }

    /// Marks a message and everything before it in its conversation as read. Notifies the authors of newly read messages
    /// and the reader's other sockets.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn mark_as_read(&self, who: &Identity, message_id: Snowflake, origin: Option<u64>) -> Result<ReadAck> {
        self.limit_action(who).await?;
        let at_ms = self.now_ms();
        let marked = self.parts.store.mark_read(&who.user_id, message_id, at_ms).await?;
        let Marked { conversation_id, group_id, unread, authors } = marked.ok_or(NO_MESSAGE)?;
        if let Some(authors) = authors {
            let notified: Vec<UserId> = authors.into_iter().chain([who.user_id.clone()]).collect();
            let notice = Notice::Read { message_id, conversation_id, group_id, by: who.user_id.clone(), at_ms };
            self.parts.fanout.notify(notified.into(), Sockets::but(origin), notice);
        }
        Ok(ReadAck { message_id, conversation_id, unread_count: unread })
    }

    /// Notifies the others that a user is typing, at most every two seconds per conversation and socket.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`] for a group of others, [`crate::ChatError::Forbidden`] for a blocked sender.
    pub async fn typing(&self, who: &Identity, to: Recipient, typing: bool, origin: u64) -> Result<()> {
        self.limit("typing", who.user_id.as_str(), TYPING).await?;
        let users: Arc<[UserId]> = match &to {
            Recipient::User(other) => {
                self.may_write_to(&who.user_id, other).await?;
                Arc::new([other.clone(), who.user_id.clone()])
            }
            Recipient::Group(group) => {
                let members = self.groups.members(*group).await?.members.clone();
                if members.binary_search(&who.user_id).is_err() {
                    return Err(ChatError::NotFound("group"));
                }
                members
            }
        };
        let conversation = match &to {
            Recipient::User(other) => format!("{origin}/{other}/{typing}"),
            Recipient::Group(group) => format!("{origin}/#{group}/{typing}"),
        };
        let too_soon = self.limit("typing_there", &conversation, Rate::every_ms(TYPING_EVERY_MS)).await.is_err();
        if !too_soon && users.len() <= TYPING_MEMBERS_MAX {
            let notice = Notice::Typing { from: who.user_id.clone(), to, typing };
            self.parts.fanout.notify(users, Sockets::AllBut(origin), notice);
        }
        Ok(())
    }

    /// Checks a draft before it is stored. A draft that is refused here may be the retry of a stored message, which gets
    /// its first answer all the same.
    async fn prepare(&self, who: &Identity, draft: MessageDraft) -> Result<Prepared> {
        content::check_client_msg_id(&draft.client_msg_id)?;
        match self.check_draft(who, &draft).await {
            Ok(content) => Ok(Prepared::New(Box::new(self.new_message(who, draft, content)?))),
            Err(refusal) => {
                let first = self.parts.store.first_message(&who.user_id, &draft.client_msg_id).await?;
                first.map(|message| Prepared::Repeat(SendOutcome { message, repeated: true })).ok_or(refusal)
            }
        }
    }

    /// The content as it may be stored.
    async fn check_draft(&self, who: &Identity, draft: &MessageDraft) -> Result<String> {
        if draft.to == Recipient::User(who.user_id.clone()) {
            return Err(ChatError::Invalid("to_user is yourself".into()));
        }
        let content = content::check(draft, &self.parts.settings)?;
        self.limit_message(who).await?;
        let content = self.filter(who, content, draft.msg_type).await?;
        if draft.msg_type.is_upload() && !self.parts.attachments.usable(&who.user_id, &content, draft.msg_type).await? {
            return Err(ChatError::Invalid("content must be a finished upload of your own and of this type".into()));
        }
        for upload in &draft.uploads {
            if !self.parts.attachments.usable(&who.user_id, &upload.to_string(), MsgType::File).await? {
                return Err(ChatError::Invalid("uploads must be finished files of your own".into()));
            }
        }
        if let Some(answered) = draft.reply_to {
            self.check_reply(who, &draft.to, answered).await?;
        }
        Ok(content)
    }

    /// The content after the word lists and the hook.
    pub(crate) async fn filter(&self, who: &Identity, content: String, msg_type: MsgType) -> Result<String> {
        let filtered = (self.parts.message_filter)(who, &content, msg_type).map_err(ChatError::Filtered)?;
        match &self.parts.message_screen {
            Some(screen) if msg_type == MsgType::Text => {
                screen(who.clone(), content, filtered).await.map_err(ChatError::Filtered)
            }
            _ => Ok(filtered),
        }
    }

    /// A message answers one that its author can see, in the conversation it goes to. That one may be recalled.
    async fn check_reply(&self, who: &Identity, to: &Recipient, answered: Snowflake) -> Result<()> {
        let answered = self.parts.store.message(&who.user_id, answered).await?.ok_or(NO_MESSAGE)?.message;
        let same = match to {
            Recipient::User(other) => answered.peer_of(&who.user_id) == Some(other),
            group @ Recipient::Group(_) => answered.to == *group,
        };
        if same { Ok(()) } else { Err(ChatError::Invalid("reply_to must be of the same conversation".into())) }
    }

    fn new_message(&self, who: &Identity, draft: MessageDraft, content: String) -> Result<NewMessage> {
        let kind = match draft.to {
            Recipient::User(_) => "direct",
            Recipient::Group(_) => "group",
        };
        let hook = &self.parts.hook;
        let outbox = !hook.url.is_empty() && hook.kinds.iter().any(|covered| covered == kind);
        Ok(NewMessage {
            id: self.parts.ids.next()?,
            conversation_id: ConversationId(self.parts.ids.next()?),
            client_msg_id: draft.client_msg_id.into(),
            from_user: who.user_id.clone(),
            from_name: (*who.username).into(),
            to: draft.to,
            content: content.into(),
            msg_type: draft.msg_type,
            reply_to: draft.reply_to,
            uploads: draft.uploads,
            created_at_ms: self.now_ms(),
            outbox,
        })
    }

    async fn may_write_to(&self, user: &UserId, other: &UserId) -> Result<()> {
        let profiles = self.parts.store.profiles(user, std::slice::from_ref(other)).await?;
        if profiles.iter().any(|profile| profile.blocks_asker) { Err(ChatError::BLOCKED) } else { Ok(()) }
    }

    /// Counts one message, or one edit: both put a text before other people.
    pub(crate) async fn limit_message(&self, who: &Identity) -> Result<()> {
        let rate = Rate::per_s(self.parts.settings.messages_per_s).burst(self.parts.settings.burst);
        self.limit("chat", who.user_id.as_str(), rate).await
    }

    /// Counts one action that is neither a message nor a query.
    pub(crate) async fn limit_action(&self, who: &Identity) -> Result<()> {
        self.limit("chat_act", who.user_id.as_str(), ACTIONS).await
    }

    pub(crate) async fn limit(&self, scope: &'static str, id: &str, rate: Rate) -> Result<()> {
        let allowed = self.parts.rate_limiter.allow(LimitKey { scope, id }, rate, self.now_ms()).await?;
        allowed.map_err(|retry_after_ms| ChatError::Limited { retry_after_ms })
    }
}

pub(crate) const NO_MESSAGE: ChatError = ChatError::NotFound("message");

/// The metric's label for an outcome.
fn outcome_label(outcome: &Result<SendOutcome>) -> &'static str {
    match outcome {
        Ok(outcome) if outcome.repeated => "repeated",
        Ok(_) => "accepted",
        Err(error) => WireError::from(error.clone()).code.as_str(),
    }
}

/// A draft that passed its checks.
enum Prepared {
    New(Box<NewMessage>),
    Repeat(SendOutcome),
}
