//! Sending, read marks, recalls, typing.

use std::sync::Arc;

use bus::{Notice, Sockets};
use model::chat::{ConversationId, Recipient};
use model::metrics::count;
use model::{Identity, Snowflake, UserId, WireError};
use state::{LimitKey, Rate};
use store::chat::{Marked, NewMessage, Recalled};
use tokio::sync::oneshot;

use crate::content;
use crate::mailroom::{Done, Letter};
use crate::{Chat, ChatError, Draft, ReadAck, Result, Sent};

/// Groups with more members are not told who is typing.
const TYPING_MEMBERS_MAX: usize = 100;
/// How often typing goes out, per conversation and socket.
const TYPING_EVERY_MS: u32 = 2_000;
/// How often one person may be typing anywhere.
const TYPING: Rate = Rate::per_s(5).burst(20);
/// How often one person may mark, recall, change groups and blocks.
const ACTS: Rate = Rate::per_s(20).burst(100);

impl Chat {
    /// Sends a message from the socket `origin`, which is not told again what its answer says.
    /// `done` is called once: in the order in which messages are stored, right after everybody else was told, or
    /// earlier when it is refused. It must not block.
    ///
    /// # Errors
    /// Told to `done`; the codes of [`crate::ChatError`].
    pub async fn send_with(
        &self,
        who: &Identity,
        draft: Draft,
        origin: Option<u64>,
        done: impl FnOnce(Result<Sent>) + Send + 'static,
    ) {
        let metrics = self.parts.metrics.clone();
        let done = move |answer| {
            count(&metrics.messages, "outcome", outcome(&answer));
            done(answer);
        };
        match self.prepare(who, draft).await {
            Ok(Prepared::New(message)) => {
                self.here.saw(who, message.created_at_ms);
                self.mailroom.post(Letter { message: *message, origin, done: Box::new(done) as Done });
            }
            Ok(Prepared::Repeat(sent)) => done(Ok(sent)),
            Err(error) => done(Err(error)),
        }
    }

    /// [`Chat::send_with`] for those who may wait for the answer.
    ///
    /// # Errors
    /// The codes of [`crate::ChatError`].
    pub async fn send(&self, who: &Identity, draft: Draft, origin: Option<u64>) -> Result<Sent> {
        let (answer, answered) = oneshot::channel();
        // Whoever stopped waiting has no use for the answer.
        let done = move |sent| drop(answer.send(sent));
        self.send_with(who, draft, origin, done).await;
        answered.await.unwrap_or(Err(ChatError::Unavailable))
    }

    /// Marks a message and everything before it in its conversation as read. Tells the authors of
    /// what was newly read, and the reader's other sockets.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn read(&self, who: &Identity, message_id: Snowflake, origin: Option<u64>) -> Result<ReadAck> {
        self.act(who).await?;
        let at_ms = self.now_ms();
        let marked = self.parts.store.mark_read(&who.user_id, message_id, at_ms).await?;
        let Marked { conversation_id, group_id, unread, authors } = marked.ok_or(NO_MESSAGE)?;
        if let Some(authors) = authors {
            let told: Vec<UserId> = authors.into_iter().chain([who.user_id.clone()]).collect();
            let notice = Notice::Read { message_id, conversation_id, group_id, by: who.user_id.clone(), at_ms };
            self.parts.fanout.notify(told.into(), Sockets::but(origin), notice);
        }
        Ok(ReadAck { message_id, conversation_id, unread_count: unread })
    }

    /// Takes a message back and tells every member's sockets. Taking it back again is fine.
    ///
    /// # Errors
    /// [`crate::ChatError::TooLate`], [`crate::ChatError::Forbidden`], [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn recall(&self, who: &Identity, message_id: Snowflake) -> Result<()> {
        self.act(who).await?;
        let at_ms = self.now_ms();
        let not_before_ms = at_ms.saturating_sub(i64::from(self.parts.settings.recall_s) * 1_000);
        let keep = self.parts.settings.recall_keeps_content;
        match self.parts.store.recall(&who.user_id, message_id, at_ms, not_before_ms, keep).await? {
            Recalled::Done { message, members_version } => {
                let users = self.groups.readers_of(&message, Some(members_version)).await;
                let (conversation_id, by) = (message.conversation_id, who.user_id.clone());
                let notice = Notice::Recalled { message_id, conversation_id, by, at_ms };
                self.parts.fanout.notify(users, Sockets::All, notice);
                Ok(())
            }
            Recalled::Already => Ok(()),
            Recalled::Forbidden => Err(ChatError::Forbidden("only its sender may take a message back")),
            Recalled::TooLate => Err(ChatError::TooLate),
            Recalled::NotFound => Err(NO_MESSAGE),
        }
    }

    /// Tells the others that somebody is writing, at most every two seconds per conversation and socket.
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
                let everybody = self.groups.members(*group).await?.everybody.clone();
                if everybody.binary_search(&who.user_id).is_err() {
                    return Err(ChatError::NotFound("group"));
                }
                everybody
            }
        };
        let conversation = match &to {
            Recipient::User(other) => format!("{origin}/{other}/{typing}"),
            Recipient::Group(group) => format!("{origin}/#{group}/{typing}"),
        };
        let quiet = self.limit("typing_there", &conversation, Rate::every_ms(TYPING_EVERY_MS)).await.is_err();
        if !quiet && users.len() <= TYPING_MEMBERS_MAX {
            let notice = Notice::Typing { from: who.user_id.clone(), to, typing };
            self.parts.fanout.notify(users, Sockets::AllBut(origin), notice);
        }
        Ok(())
    }

    /// Everything that is decided before a message is stored. What is refused here may be the
    /// retry of what was taken before, which gets its first answer all the same.
    async fn prepare(&self, who: &Identity, draft: Draft) -> Result<Prepared> {
        content::check_client_msg_id(&draft.client_msg_id)?;
        match self.admit(who, &draft).await {
            Ok(content) => Ok(Prepared::New(Box::new(self.letter(who, draft, content)?))),
            Err(refusal) => {
                let first = self.parts.store.first_message(&who.user_id, &draft.client_msg_id).await?;
                first.map(|message| Prepared::Repeat(Sent { message, repeated: true })).ok_or(refusal)
            }
        }
    }

    /// The content as it may be stored.
    async fn admit(&self, who: &Identity, draft: &Draft) -> Result<String> {
        if draft.to == Recipient::User(who.user_id.clone()) {
            return Err(ChatError::Invalid("to_user is yourself".into()));
        }
        let content = content::check(draft, &self.parts.settings)?;
        let rate = Rate::per_s(self.parts.settings.messages_per_s).burst(self.parts.settings.burst);
        self.limit("chat", who.user_id.as_str(), rate).await?;
        let content = (self.parts.screen)(who, &content, draft.msg_type).map_err(ChatError::Screened)?;
        if draft.msg_type.is_upload() && !self.parts.attachments.usable(&who.user_id, &content, draft.msg_type).await? {
            return Err(ChatError::Invalid("content must be a finished upload of your own and of this type".into()));
        }
        Ok(content)
    }

    fn letter(&self, who: &Identity, draft: Draft, content: String) -> Result<NewMessage> {
        let outbox = match draft.to {
            Recipient::User(_) => self.parts.settings.hook_direct,
            Recipient::Group(_) => self.parts.settings.hook_group,
        };
        Ok(NewMessage {
            id: self.parts.ids.next()?,
            conversation_id: ConversationId(self.parts.ids.next()?),
            client_msg_id: draft.client_msg_id.into(),
            from_user: who.user_id.clone(),
            from_name: (*who.username).into(),
            to: draft.to,
            content: content.into(),
            msg_type: draft.msg_type,
            created_at_ms: self.now_ms(),
            outbox,
        })
    }

    async fn may_write_to(&self, user: &UserId, other: &UserId) -> Result<()> {
        let profiles = self.parts.store.profiles(user, std::slice::from_ref(other)).await?;
        if profiles.iter().any(|profile| profile.blocks_asker) { Err(ChatError::BLOCKED) } else { Ok(()) }
    }

    /// Counts one of what is neither a message nor a question.
    pub(crate) async fn act(&self, who: &Identity) -> Result<()> {
        self.limit("chat_act", who.user_id.as_str(), ACTS).await
    }

    pub(crate) async fn limit(&self, scope: &'static str, id: &str, rate: Rate) -> Result<()> {
        let allowed = self.parts.gate.allow(LimitKey { scope, id }, rate, self.now_ms()).await?;
        allowed.map_err(|retry_after_ms| ChatError::Limited { retry_after_ms })
    }
}

const NO_MESSAGE: ChatError = ChatError::NotFound("message");

/// How an answer is counted.
fn outcome(answer: &Result<Sent>) -> &'static str {
    match answer {
        Ok(sent) if sent.repeated => "repeated",
        Ok(_) => "accepted",
        Err(error) => WireError::from(error.clone()).code.as_str(),
    }
}

/// What became of a draft before the store.
enum Prepared {
    New(Box<NewMessage>),
    Repeat(Sent),
}
