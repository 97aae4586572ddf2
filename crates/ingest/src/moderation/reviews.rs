//! Comments held for review: listed, then published with their own id and time, or rejected for good.

use model::{RoomId, Snowflake};
use serde_json::json;
use store::{Review, ReviewStatus};

use super::reasons::Detail;
use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::rights::Action;

impl Ingest {
    /// Held comments where this moderator may moderate, or of one room; oldest first, those above `after`.
    ///
    /// # Errors
    /// When this moderator may not moderate `room`, or nothing at all.
    pub async fn reviews(
        &self,
        who: &Moderator,
        status: Option<ReviewStatus>,
        room: Option<&RoomId>,
        after: Option<Snowflake>,
        limit: usize,
    ) -> ModerationResult<Vec<Review>> {
        let scope = self.list_scope(who, room).await?;
        Ok(self.store.reviews(status, &scope, after, limit).await?)
    }

    /// Publishes a held comment, with its own id and time, or rejects it for good, for a reason of the list or for none.
    ///
    /// # Errors
    /// When nothing is held under this id, somebody has decided it, the reason is not on the list, or this moderator may not
    /// moderate its room.
    pub async fn decide_review(
        &self,
        who: &Moderator,
        id: Snowflake,
        approve: bool,
        reason: Option<&str>,
    ) -> ModerationResult<Review> {
        self.authorise_somewhere(who).await?;
        let none = ModerationError::NotFound("nothing is held under this id");
        let Some(review) = self.store.review(id).await? else { return Err(none) };
        self.authorise_action(who, Some(&review.comment.room_id), Action::Decide).await?;
        self.check_reason(reason)?;
        let status = if approve { ReviewStatus::Approved } else { ReviewStatus::Rejected };
        let now_ms = self.clock.now_ms();
        let Some(decided) = self.store.decide(id, status, who.name(), now_ms).await? else {
            return Err(self.undecidable(id, who).await?);
        };
        if approve && let Err(refusal) = self.publish(decided.comment.clone(), decided.keep).await {
            self.store.undecide(id).await?;
            return Err(refusal.into());
        }
        if approve && self.store.review(id).await?.is_none_or(|now| now.comment.content.is_empty()) {
            // Its author was purged meanwhile.
            self.publish_deletions(vec![(id, decided.comment.room_id.clone())]).await?;
        }
        if !approve {
            self.publish_early_gone(&[review]).await?;
        }
        (self.review_listener)(&decided.comment, status);
        let told = json!({ "id": id, "room_id": decided.comment.room_id, "user_id": decided.comment.user_id,
            "status": status, "by": who.name(), "content": decided.comment.content, "reason": reason });
        self.tell_services("decision", Some(&decided.comment.room_id), told).await?;
        let action = if approve { "review.approve" } else { "review.reject" };
        let detail = Detail { reason, ..Detail::default() }.text();
        self.audit(who, action, Some(&decided.comment.room_id), id.to_string(), detail).await?;
        Ok(decided)
    }

    /// Claims a held comment: until the claim ends nobody else decides about it.
    ///
    /// # Errors
    /// When nothing is held under this id, somebody else decides about it, or this moderator may not.
    pub async fn claim_review(&self, who: &Moderator, id: Snowflake) -> ModerationResult<Review> {
        self.authorise_somewhere(who).await?;
        let none = ModerationError::NotFound("nothing is held under this id");
        let Some(review) = self.store.review(id).await? else { return Err(none) };
        self.authorise_action(who, Some(&review.comment.room_id), Action::Decide).await?;
        let now_ms = self.clock.now_ms();
        match self.store.claim(id, who.name(), now_ms, now_ms + self.screening.claim_ms).await? {
            Some(claimed) => Ok(claimed),
            None => Err(self.undecidable(id, who).await?),
        }
    }

    /// Why a review could be neither claimed nor decided.
    async fn undecidable(&self, id: Snowflake, who: &Moderator) -> ModerationResult<ModerationError> {
        let review = self.store.review(id).await?;
        let claimed = review.as_ref().and_then(|review| review.claimed_at(self.clock.now_ms()));
        Ok(match (&review, claimed) {
            (None, _) => ModerationError::NotFound("nothing is held under this id"),
            // Its text was erased: there is nothing to decide about.
            (Some(review), _) if review.comment.content.is_empty() => {
                ModerationError::NotFound("nothing is held under this id")
            }
            (Some(review), Some(by)) if review.status == ReviewStatus::Pending && by != who.name() => {
                ModerationError::Claimed("another moderator is deciding about it")
            }
            _ => ModerationError::TooLate("it was decided before"),
        })
    }
}
