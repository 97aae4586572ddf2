//! Held comments: listed, published with their own id and time, or rejected for good.

use std::collections::HashMap;

use model::{RoomId, Snowflake};
use store::{Review, ReviewStatus};

use super::{Done, ModerationError, Moderator};
use crate::Ingest;

impl Ingest {
    /// Held comments, oldest first; those of rooms this moderator may not see are left out.
    ///
    /// # Errors
    /// When the named room is not this moderator's.
    pub async fn reviews(
        &self,
        who: &Moderator,
        status: Option<ReviewStatus>,
        room: Option<&RoomId>,
        limit: usize,
    ) -> Done<Vec<Review>> {
        if room.is_some() {
            self.authorise(who, room).await?;
        }
        let mut reviews = self.store.reviews(status, room, limit).await?;
        let mut mine = HashMap::new();
        for review in &reviews {
            let room = &review.comment.room_id;
            if !mine.contains_key(room) {
                mine.insert(room.clone(), self.authorise(who, Some(room)).await.is_ok());
            }
        }
        reviews.retain(|review| mine.get(&review.comment.room_id) == Some(&true));
        Ok(reviews)
    }

    /// Publishes a held comment, with its own id and time, or rejects it for good.
    ///
    /// # Errors
    /// When nothing is held under this id, or it is another's to decide.
    pub async fn decide_review(&self, who: &Moderator, id: Snowflake, approve: bool) -> Done<Review> {
        let none = ModerationError::NotFound("nothing is held under this id");
        let Some(review) = self.store.review(id).await? else { return Err(none) };
        self.authorise(who, Some(&review.comment.room_id)).await?;
        let status = if approve { ReviewStatus::Approved } else { ReviewStatus::Rejected };
        let decided = self.store.decide(id, status, who.name(), self.clock.now_ms()).await?.ok_or(none)?;
        if approve && let Err(refusal) = self.publish(decided.comment.clone(), decided.keep).await {
            self.store.undecide(id).await?;
            return Err(refusal.into());
        }
        (self.tell_review)(&decided.comment, status);
        let action = if approve { "review.approve" } else { "review.reject" };
        self.audit(who, action, Some(&decided.comment.room_id), id.to_string(), None).await?;
        Ok(decided)
    }
}
