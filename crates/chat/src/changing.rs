//! Changes of one's own messages, and reactions to anybody's: recalls, edits, reactions.
//!
//! The store decides who may; this module checks contents and rates and notifies everybody's sockets. Devices that were
//! offline learn of the change by sync.

use std::sync::Arc;

use fanout::{Notice, Sockets};
use model::chat::{Message, MsgType, Recipient};
use model::{Emoji, Identity, Snowflake};
use store::chat::{Edit, Edited, React, Reacted, Recalled};

use crate::content;
use crate::sending::NO_MESSAGE;
use crate::{Chat, ChatError, EditAck, ReactAck, Result};

const TOO_OLD: ChatError = ChatError::TooLate("the message is too old to be recalled or edited");
const NOT_THE_AUTHOR: ChatError = ChatError::Forbidden("only its sender may edit a message");

impl Chat {
    /// Recalls a message and notifies every member's sockets. Recalling it again does nothing.
    ///
    /// # Errors
    /// [`crate::ChatError::TooLate`], [`crate::ChatError::Forbidden`], [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn recall(&self, who: &Identity, message_id: Snowflake) -> Result<()> {
        self.limit_action(who).await?;
        let at_ms = self.now_ms();
        let not_before_ms = self.changeable_since_ms(at_ms);
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
            Recalled::Forbidden => Err(ChatError::Forbidden("only its sender may recall a message")),
            Recalled::TooLate => Err(TOO_OLD),
            Recalled::NotFound => Err(NO_MESSAGE),
        }
    }

    /// Notifies every reader of these messages, which were erased, as of recalled ones.
    pub async fn notify_erased(&self, messages: &[Arc<Message>]) {
        for message in messages {
            let Some(recall) = &message.recalled else { continue };
            let users = match &message.to {
                Recipient::User(other) => Arc::from([message.from_user.clone(), other.clone()]),
                // As far as this node knows: many messages of one group are told at once. Who is not told finds the change.
                Recipient::Group(group) => match self.groups.members(*group).await {
                    Ok(members) => members.readers(message.position),
                    Err(_) => continue,
                },
            };
            let (message_id, conversation_id) = (message.id, message.conversation_id);
            let (by, at_ms) = (recall.by.clone(), recall.at_ms);
            self.parts.fanout.notify(users, Sockets::All, Notice::Recalled { message_id, conversation_id, by, at_ms });
        }
    }

    /// Gives a message another content, and notifies every member's sockets. What holds for new messages holds for the
    /// content. Repeating an edit does nothing.
    ///
    /// # Errors
    /// [`crate::ChatError::TooLate`], [`crate::ChatError::Forbidden`], [`crate::ChatError::NotFound`],
    /// [`crate::ChatError::Invalid`] for uploads and bad contents, and those of a send.
    pub async fn edit(&self, who: &Identity, message_id: Snowflake, content: &str) -> Result<EditAck> {
        self.limit_message(who).await?;
        let known = self.parts.store.message(&who.user_id, message_id).await?.ok_or(NO_MESSAGE)?.message;
        let at_ms = self.now_ms();
        let not_before_ms = self.changeable_since_ms(at_ms);
        // Rights before work; the store checks them once more with the write.
        let content = self.check_edit(who, &known, content, not_before_ms).await?;
        let edit =
            Edit { user: who.user_id.clone(), message: message_id, content: content.into(), at_ms, not_before_ms };
        match self.parts.store.edit(edit).await? {
            Edited::Done { message, members_version } => {
                let users = self.groups.readers_of(&message, Some(members_version)).await;
                let at_ms = message.edited_at_ms.unwrap_or(at_ms);
                let (conversation_id, content) = (message.conversation_id, message.content.clone());
                self.parts.fanout.notify(
                    users,
                    Sockets::All,
                    Notice::Edited { message_id, conversation_id, content, at_ms },
                );
                Ok(EditAck { message_id, edited_at_ms: message.edited_at_ms })
            }
            Edited::Unchanged(message) => Ok(EditAck { message_id, edited_at_ms: message.edited_at_ms }),
            Edited::Forbidden => Err(NOT_THE_AUTHOR),
            Edited::Blocked => Err(ChatError::BLOCKED),
            Edited::TooLate => Err(TOO_OLD),
            Edited::Recalled => Err(ChatError::RECALLED),
            Edited::NotFound => Err(NO_MESSAGE),
        }
    }

    async fn check_edit(&self, who: &Identity, known: &Message, content: &str, not_before_ms: i64) -> Result<String> {
        if known.from_user != who.user_id {
            return Err(NOT_THE_AUTHOR);
        }
        if known.recalled.is_some() {
            return Err(ChatError::RECALLED);
        }
        if known.msg_type.is_upload() {
            return Err(ChatError::Invalid("only texts and encrypted messages are edited".into()));
        }
        if known.created_at_ms < not_before_ms && *known.content != *content {
            return Err(TOO_OLD);
        }
        let content = content::check_content(known.msg_type, content, &self.parts.settings)?;
        self.filter(who, content, known.msg_type).await
    }

    /// Adds a reaction to a message or takes it back, and notifies every member's sockets. Repeating it does nothing.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::TooLate`] for a recalled message,
    /// [`crate::ChatError::Invalid`] for an encrypted one and for too many kinds.
    pub async fn react(&self, who: &Identity, message_id: Snowflake, emoji: Emoji, on: bool) -> Result<ReactAck> {
        self.limit_action(who).await?;
        if on {
            // A mute is for reactions too.
            (self.parts.message_filter)(who, emoji.as_str(), MsgType::Text).map_err(ChatError::Filtered)?;
        }
        let react = React { user: who.user_id.clone(), message: message_id, emoji, on, at_ms: self.now_ms() };
        let count = match self.parts.store.react(react).await? {
            Reacted::Done { message, members_version, change } => {
                let count = count_of(&message, emoji);
                let users = self.groups.readers_of(&message, Some(members_version)).await;
                let (conversation_id, by, emoji) =
                    (message.conversation_id, who.user_id.clone(), emoji.as_str().into());
                let notice = Notice::Reacted { message_id, conversation_id, by, emoji, on, count, change };
                self.parts.fanout.notify(users, Sockets::All, notice);
                count
            }
            Reacted::Unchanged(message) => count_of(&message, emoji),
            Reacted::Full => return Err(ChatError::Invalid("a message may have 20 kinds of reactions".into())),
            Reacted::Encrypted => return Err(ChatError::Invalid("encrypted messages have no reactions".into())),
            Reacted::Blocked => return Err(ChatError::BLOCKED),
            Reacted::Recalled => return Err(ChatError::RECALLED),
            Reacted::NotFound => return Err(NO_MESSAGE),
        };
        Ok(ReactAck { message_id, emoji, on, count })
    }

    /// Older messages are neither recalled nor edited.
    fn changeable_since_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(i64::from(self.parts.settings.recall_s) * 1_000)
    }
}

fn count_of(message: &Message, emoji: Emoji) -> u32 {
    let found = message.reactions.iter().find(|reaction| &*reaction.emoji == emoji.as_str());
    found.map_or(0, |reaction| reaction.count)
}
