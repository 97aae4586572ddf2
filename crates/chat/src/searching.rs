//! Search in one's own messages. The store says what matches and how far one page looks back.

use model::chat::ConversationId;
use model::{Identity, Snowflake};
use state::Rate;
use store::chat::{SearchPage, SearchQuery, SearchText};

use crate::{Chat, ChatError, Result, page_limit};

/// Longest text of a search, in characters.
const QUERY_CHARS_MAX: usize = 100;
/// Pages of searches of one user.
const SEARCHES: Rate = Rate::per_s(5).burst(20);

impl Chat {
    /// A page of this user's texts with all words of `text`, newest first; `limit` 1–100, by default 20.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`] for a conversation of others, [`crate::ChatError::Invalid`],
    /// [`crate::ChatError::Limited`], [`crate::ChatError::Unavailable`].
    pub async fn search(
        &self,
        who: &Identity,
        text: &str,
        conversation: Option<ConversationId>,
        before: Option<Snowflake>,
        limit: Option<usize>,
    ) -> Result<SearchPage> {
        let limit = page_limit(limit, 20, 100)?;
        if text.chars().count() > QUERY_CHARS_MAX {
            return Err(ChatError::Invalid(format!("q must have at most {QUERY_CHARS_MAX} characters").into()));
        }
        let text = SearchText::new(text).ok_or(ChatError::Invalid("q must have a word".into()))?;
        self.limit("search", who.user_id.as_str(), SEARCHES).await?;
        let query = SearchQuery { user: who.user_id.clone(), text, conversation, before, limit };
        self.parts.store.search(query).await?.ok_or(ChatError::NotFound("conversation"))
    }
}
