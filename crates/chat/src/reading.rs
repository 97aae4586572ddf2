//! Sync, long polls, conversations, history.

use std::time::Duration;

use model::chat::{Conversation, ConversationCursor, ConversationId, Seen};
use model::{Identity, Snowflake};
use store::chat::HistoryPage;

use crate::{Chat, Result, SyncRequest, Synced};

/// A page of a user's conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationPage {
    /// Newest activity first.
    pub conversations: Vec<Conversation>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<ConversationCursor>,
}

impl Chat {
    /// A page of what this person may see and has not, oldest first. Moves the device's cursor.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`] for a limit out of range, [`crate::ChatError::Unavailable`].
    pub async fn sync(&self, who: &Identity, request: SyncRequest) -> Result<Synced> {
        let _ = (who, request);
        unimplemented!()
    }

    /// [`Chat::sync`], waiting at most `wait` while there is nothing. May be dropped at any time.
    ///
    /// # Errors
    /// As [`Chat::sync`].
    pub async fn poll(&self, who: &Identity, request: SyncRequest, wait: Duration) -> Result<Synced> {
        let _ = (who, request, wait);
        unimplemented!()
    }

    /// This person's conversations, newest activity first; `limit` 1–200, by default 50.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`], [`crate::ChatError::Unavailable`].
    pub async fn conversations(
        &self,
        who: &Identity,
        before: Option<ConversationCursor>,
        limit: Option<usize>,
    ) -> Result<ConversationPage> {
        let _ = (who, before, limit);
        unimplemented!()
    }

    /// A page of a conversation's past; `limit` 1–200, by default 50.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`] for strangers, [`crate::ChatError::Invalid`], [`crate::ChatError::Unavailable`].
    pub async fn history(
        &self,
        who: &Identity,
        conversation: ConversationId,
        before: Option<Snowflake>,
        limit: Option<usize>,
    ) -> Result<HistoryPage> {
        let _ = (who, conversation, before, limit);
        unimplemented!()
    }

    /// One message, for one who may see it.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn message(&self, who: &Identity, id: Snowflake) -> Result<Seen> {
        let _ = (who, id);
        unimplemented!()
    }
}
