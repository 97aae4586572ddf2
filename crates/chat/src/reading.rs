//! Sync, long polls, conversations and history.
//!
//! Reads what members may see; the store applies that rule. Moves device cursors, and changes nothing else.

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
    /// A page of messages that this user's device does not have, oldest first. Moves the device's cursor.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`] for a limit out of range, [`crate::ChatError::Unavailable`].
    pub async fn sync(&self, who: &Identity, request: SyncRequest) -> Result<Synced> {
        self.presence_tracker.record_sighting(who, self.now_ms());
        // Subscribed before the store is read, so that nothing falls between page and pushes.
        let _subscription = self.subscribe(&who.user_id).await;
        let query = self.sync_query(who, request).await?;
        self.first_page(query).await
    }

    /// [`Chat::sync`] that waits up to `wait` for news. May be dropped at any time.
    ///
    /// # Errors
    /// As [`Chat::sync`].
    pub async fn poll(&self, who: &Identity, request: SyncRequest, wait: Duration) -> Result<Synced> {
        self.presence_tracker.record_sighting(who, self.now_ms());
        let changes_too = request.since_change.is_some();
        let deadline = Instant::now() + wait;
        let _subscription = self.subscribe(&who.user_id).await;
        let query = self.sync_query(who, request).await?;
        // Without a registration the answer comes at once, and the client asks again.
        let registration = self.parts.local_fanout.register_poll(&who.user_id).filter(|_| !wait.is_zero());
        let mut first = true;
        loop {
            // Enabled before the page is read, so that nothing stored after it is missed.
            let mut woken = registration.as_ref().map(|poll| Box::pin(poll.waker.notify(changes_too).notified()));
            if let Some(woken) = &mut woken {
                woken.as_mut().enable();
            }
            let synced =
                if first { self.first_page(query.clone()).await? } else { self.read_page(query.clone()).await? };
            first = false;
            let Some(woken) = woken.filter(|_| synced.is_empty()) else { return Ok(synced) };
            if timeout_at(deadline, woken).await.is_err() {
                return Ok(synced);
            }
        }
    }

    /// A page, preceded by earlier messages that may not have reached its reader.
    async fn first_page(&self, query: SyncQuery) -> Result<Synced> {
        let reread = self.reread_before(&query).await?;
        let user = query.user.clone();
        let mut synced = self.read_page(query).await?;
        if !reread.is_empty() {
            synced.page.messages.splice(0..0, reread);
        }
        self.issued_cursors.lock().insert(user, synced.latest_id);
        Ok(synced)
    }

    async fn read_page(&self, query: SyncQuery) -> Result<Synced> {
        let page = self.parts.store.sync(query).await?;
        let latest_id = page.latest_id.unwrap_or(BEGINNING);
        Ok(Synced { page, latest_id })
    }

    /// A page of this user's conversations, newest activity first; `limit` 1–200, by default 50.
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
        self.presence_tracker.record_sighting(who, self.now_ms());
        let mut conversations = self.parts.store.conversations(&who.user_id, before, limit + 1).await?;
        let more = conversations.len() > limit;
        conversations.truncate(limit);
        let next_cursor = conversations.last().filter(|_| more).map(|last| last.cursor);
        Ok(ConversationPage { conversations, next_cursor })
    }

    /// A page of a conversation's history; `limit` 1–200, by default 50.
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

    /// A message that this user may see.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn message(&self, who: &Identity, id: Snowflake) -> Result<Seen> {
        self.parts.store.message(&who.user_id, id).await?.ok_or(ChatError::NotFound("message"))
    }

    /// The query of a sync. Without a `since_id` it begins at the device's cursor; with one it moves the cursor there.
    async fn sync_query(&self, who: &Identity, request: SyncRequest) -> Result<SyncQuery> {
        let limit = page_limit(request.limit, 100, 500)?;
        let user = who.user_id.clone();
        let since = match (request.since_id, &request.device) {
            (Some(since), device) => {
                self.advance_device_cursor(&user, device.as_ref(), since).await;
                Some(since)
            }
            (None, Some(device)) => self.parts.store.device_cursor(&user, device).await?,
            (None, None) => None,
        };
        let since = since.filter(|since| *since != BEGINNING);
        let not_before_ms = self.days_ago_ms(self.parts.settings.offline_days);
        Ok(SyncQuery { user, since, since_change: request.since_change, not_before_ms, limit })
    }

    /// A failure is left alone: the store has logged it, and a cursor left behind only repeats some messages.
    async fn advance_device_cursor(&self, user: &UserId, device: Option<&DeviceId>, since: Snowflake) {
        if let Some(device) = device
            && self.parts.store.device_cursor(user, device).await.is_ok_and(|at| at != Some(since))
        {
            let _ = self.parts.store.set_device_cursor(user, device, since, self.now_ms()).await;
        }
    }
}

/// The `since_id` of a device that has no messages.
const BEGINNING: Snowflake = Snowflake(0);

impl Synced {
    /// Whether there is nothing new in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.page.messages.is_empty() && self.page.changes.is_empty()
    }
}
