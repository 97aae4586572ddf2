//! Likes: once a user, kept in the store, shown in hot comments.

use std::sync::Arc;

use bus::Record;
use model::{Comment, Identity, Snowflake};
use state::{LimitKey, Rate};

use crate::rooms::may_enter;
use crate::{Ingest, Refusal};

impl Ingest {
    /// Likes a comment; returns its likes.
    ///
    /// # Errors
    /// [`Refusal::AlreadyLiked`], or why this user may not like it.
    pub async fn like(&self, who: &Identity, id: Snowflake) -> Result<u64, Refusal> {
        let comment = self.likeable(who, id).await?;
        let likes = self.store.like(id, &who.user_id, self.clock.now_ms()).await?;
        let likes = likes.ok_or(Refusal::AlreadyLiked)?;
        self.tell_likes(&comment, likes, false).await?;
        Ok(likes)
    }

    /// Takes a like back; returns the comment's likes, whether or not there was one to take back.
    ///
    /// # Errors
    /// Why this user may not.
    pub async fn unlike(&self, who: &Identity, id: Snowflake) -> Result<u64, Refusal> {
        let comment = self.likeable(who, id).await?;
        let (likes, changed) = self.store.unlike(id, &who.user_id).await?;
        if changed {
            self.tell_likes(&comment, likes, true).await?;
        }
        Ok(likes)
    }

    async fn likeable(&self, who: &Identity, id: Snowflake) -> Result<Arc<Comment>, Refusal> {
        let now_ms = self.clock.now_ms();
        let key = LimitKey { scope: "like", id: who.user_id.as_str() };
        if let Err(retry_after_ms) = self.gate.allow(key, Rate::per_s(self.limits.likes_per_s), now_ms).await? {
            return Err(Refusal::Limited { scope: state::Scope::User, retry_after_ms });
        }
        let none = Refusal::NotFound("there is no such comment");
        let comment = match self.store.comment(id).await? {
            None if self.is_kept_soon(id).await? => self.store.comment(id).await?,
            comment => comment,
        };
        let comment = comment.ok_or(none.clone())?;
        let info = self.rooms.info(&comment.room_id).await?;
        // Whoever may not enter the room learns nothing of its comments.
        may_enter(&info.settings, Some(who), &comment.room_id).map_err(|_| none)?;
        self.bans.may_enter(&who.user_id, &comment.room_id, now_ms)?;
        Ok(comment)
    }

    async fn tell_likes(&self, comment: &Comment, like_count: u64, taken_back: bool) -> Result<(), Refusal> {
        let comment = Arc::new(Comment { like_count, ..comment.clone() });
        self.log.append(comment.room_id.clone(), Record::Liked { comment, taken_back }).await?;
        Ok(())
    }
}
