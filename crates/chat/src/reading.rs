//! Sync, long polls, conversations, history.

use std::time::Duration;

use model::chat::{Conversation, ConversationCursor, ConversationId, Seen};
use model::{DeviceId, Identity, Snowflake, UserId};
use store::chat::{HistoryPage, SyncQuery};
use tokio::time::{Instant, timeout_at};

use crate::{Chat, ChatError, Result, SyncRequest, Synced, page_limit};

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
        self.here.saw(who, self.now_ms());
        // What is pushed from other nodes is heard before the store is looked at: nothing falls between the two.
        let _held = self.hear(&who.user_id).await;
        let query = self.query(who, request).await?;
        self.first_look(query).await
    }

    /// [`Chat::sync`], waiting at most `wait` while there is nothing. May be dropped at any time.
    ///
    /// # Errors
    /// As [`Chat::sync`].
    pub async fn poll(&self, who: &Identity, request: SyncRequest, wait: Duration) -> Result<Synced> {
        self.here.saw(who, self.now_ms());
        let changes_too = request.since_change.is_some();
        let deadline = Instant::now() + wait;
        let _held = self.hear(&who.user_id).await;
        let query = self.query(who, request).await?;
        // Without a bell the answer comes at once, and the client asks again.
        let listening = self.parts.post.listen(&who.user_id).filter(|_| !wait.is_zero());
        let mut first = true;
        loop {
            // Rung from here on, it rings in `heard`: nothing stored after the look is missed.
            let mut heard = listening.as_ref().map(|listening| Box::pin(listening.bell.of(changes_too).notified()));
            if let Some(heard) = &mut heard {
                heard.as_mut().enable();
            }
            let synced =
                if first { self.first_look(query.clone()).await? } else { self.look_at(query.clone()).await? };
            first = false;
            let Some(heard) = heard.filter(|_| synced.is_empty()) else { return Ok(synced) };
            if timeout_at(deadline, heard).await.is_err() {
                return Ok(synced);
            }
        }
    }

    /// A page, with what may not have reached its reader before its place.
    async fn first_look(&self, query: SyncQuery) -> Result<Synced> {
        let unsure = self.unsure(&query).await?;
        let user = query.user.clone();
        let mut synced = self.look_at(query).await?;
        if !unsure.is_empty() {
            synced.page.messages.splice(0..0, unsure);
        }
        self.handed.lock().note(user, synced.latest_id);
        Ok(synced)
    }

    async fn look_at(&self, query: SyncQuery) -> Result<Synced> {
        let page = self.parts.store.sync(query).await?;
        let latest_id = page.latest_id.unwrap_or(BEGINNING);
        Ok(Synced { page, latest_id })
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
        let limit = page_limit(limit, 50, 200)?;
        self.here.saw(who, self.now_ms());
        let mut conversations = self.parts.store.conversations(&who.user_id, before, limit + 1).await?;
        let more = conversations.len() > limit;
        conversations.truncate(limit);
        let next_cursor = conversations.last().filter(|_| more).map(|last| last.cursor);
        Ok(ConversationPage { conversations, next_cursor })
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
        let limit = page_limit(limit, 50, 200)?;
        let page = self.parts.store.history(&who.user_id, conversation, before, limit).await?;
        page.ok_or(ChatError::NotFound("conversation"))
    }

    /// One message, for one who may see it.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn message(&self, who: &Identity, id: Snowflake) -> Result<Seen> {
        self.parts.store.message(&who.user_id, id).await?.ok_or(ChatError::NotFound("message"))
    }

    /// What is asked for, from where the device stands when the request does not say; notes where it
    /// says it is.
    async fn query(&self, who: &Identity, request: SyncRequest) -> Result<SyncQuery> {
        let limit = page_limit(request.limit, 100, 500)?;
        let user = who.user_id.clone();
        let since = match (request.since_id, &request.device) {
            (Some(since), device) => {
                self.move_device(&user, device.as_ref(), since).await;
                Some(since)
            }
            (None, Some(device)) => self.parts.store.device_cursor(&user, device).await?,
            (None, None) => None,
        };
        let since = since.filter(|since| *since != BEGINNING);
        let not_before_ms = self.days_ago_ms(self.parts.settings.offline_days);
        Ok(SyncQuery { user, since, since_change: request.since_change, not_before_ms, limit })
    }

    /// The store tells of its failures itself. A cursor left behind gives its device some messages
    /// once more, which is better than none.
    async fn move_device(&self, user: &UserId, device: Option<&DeviceId>, since: Snowflake) {
        if let Some(device) = device
            && self.parts.store.device_cursor(user, device).await.is_ok_and(|at| at != Some(since))
        {
            let _ = self.parts.store.set_device_cursor(user, device, since, self.now_ms()).await;
        }
    }
}

/// The `since_id` of one who has seen nothing.
const BEGINNING: Snowflake = Snowflake(0);

impl Synced {
    /// Whether there is nothing new in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.page.messages.is_empty() && self.page.changes.is_empty()
    }
}
