//! Likes: one per user and comment, kept in the store and shown in hot comments. Called by the gateway and the API.

use std::sync::Arc;

use log::Record;
use model::{Comment, Identity, Snowflake};
use state::{LimitKey, Rate};

use crate::{Ingest, Reader, Refusal};

impl Ingest {
    /// Likes a comment; returns how many likes it has.
    ///
    /// # Errors
    /// [`Refusal::AlreadyLiked`], or why this user may not like it.
    pub async fn like(&self, who: &Identity, id: Snowflake) -> Result<u64, Refusal> {
        if self.sees_shadow(who, id).await? {
            // Nobody else knows of it, so nothing is kept.
            return Ok(1);
        }
        let comment = self.find_likeable(who, id).await?;
        let likes = self.store.like(id, &who.user_id, self.clock.now_ms()).await?;
        let likes = likes.ok_or(Refusal::AlreadyLiked)?;
        self.publish_likes(&comment, likes, false).await?;
        Ok(likes)
    }

    /// Takes a like back, if there was one; returns how many likes the comment has.
    ///
    /// # Errors
    /// Why this user may not like it.
    pub async fn unlike(&self, who: &Identity, id: Snowflake) -> Result<u64, Refusal> {
        let comment = self.find_likeable(who, id).await?;
        let (likes, changed) = self.store.unlike(id, &who.user_id).await?;
        if changed {
            self.publish_likes(&comment, likes, true).await?;
        }
        Ok(likes)
    }

    /// Whether this is a comment that only its sender and moderators see, and this is one of them.
    async fn sees_shadow(&self, who: &Identity, id: Snowflake) -> Result<bool, Refusal> {
        let Some(comment) = self.store.shadowed_comment(id).await? else { return Ok(false) };
        Ok(comment.user_id == who.user_id || self.sees_shadows(Reader::User(who), &comment.room_id))
    }

    async fn find_likeable(&self, who: &Identity, id: Snowflake) -> Result<Arc<Comment>, Refusal> {
        let now_ms = self.clock.now_ms();
        let key = LimitKey { scope: "like", id: who.user_id.as_str() };
        if let Err(retry_after_ms) = self.rate_limiter.allow(key, Rate::per_s(self.limits.likes_per_s), now_ms).await? {
            return Err(Refusal::Limited { scope: state::Scope::User, retry_after_ms });
        }
        let none = Refusal::NotFound("there is no such comment");
        let comment = match self.store.comment(id).await? {
            None if self.wait_until_persisted(id).await? => self.store.comment(id).await?,
            comment => comment,
        };
        let Some(comment) = comment else { return Err(none) };
        self.may_read(Reader::User(who), &comment.room_id).await.map_err(|refusal| match refusal {
            // A reader who may not enter the room learns nothing of its comments.
            Refusal::Forbidden(_) => none,
            refusal => refusal,
        })?;
        Ok(comment)
    }

    async fn publish_likes(&self, comment: &Comment, like_count: u64, taken_back: bool) -> Result<(), Refusal> {
        let comment = Arc::new(Comment { like_count, ..comment.clone() });
        self.log.append(comment.room_id.clone(), Record::Liked { comment, taken_back }).await?;
        Ok(())
    }
}
