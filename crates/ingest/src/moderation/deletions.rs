//! Deletes comments: from screens, history, replay, and the queue of held ones.

use std::collections::{BTreeSet, HashMap};

use log::{Change, Record};
use model::{EventBody, RoomId, Snowflake, UserId};
use store::{Review, ReviewStatus, ReviewsOf};

use super::reasons::Detail;
use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::events::Importance;
use crate::rights::Action;

/// Ids in one deletion event.
const DELETED_IDS_MAX: usize = 100;
/// Comments or likes that one commit of a purge erases.
const PURGED_MAX: usize = 500;

impl Ingest {
    /// Deletes a comment that the store has, published or held, for a reason of the list or for none.
    ///
    /// # Errors
    /// When there is none, the reason is not on the list, or this moderator may not moderate its room.
    pub async fn delete_comment(&self, who: &Moderator, id: Snowflake, reason: Option<&str>) -> ModerationResult<()> {
        self.authorise_somewhere(who).await?;
        let none = ModerationError::NotFound("there is no such comment");
        let Some((room, _)) = self.store.position_of(id).await? else {
            return self.delete_held(who, id, reason).await;
        };
        self.authorise_action(who, Some(&room), Action::Delete).await?;
        self.check_reason(reason)?;
        let deleted = self.store.delete_comments(&[id]).await?;
        if deleted.is_empty() {
            return Err(none);
        }
        self.publish_deletions(deleted).await?;
        let detail = Detail { reason, ..Detail::default() }.text();
        self.audit(who, "comment.delete", Some(&room), id.to_string(), detail).await
    }

    /// Rejects a held comment and erases its text.
    async fn delete_held(&self, who: &Moderator, id: Snowflake, reason: Option<&str>) -> ModerationResult<()> {
        let none = ModerationError::NotFound("there is no such comment");
        // A delayed one is not published meanwhile.
        let _turn = self.delays.turn().await;
        let undecided = |review: &Review| matches!(review.status, ReviewStatus::Pending | ReviewStatus::Delayed);
        let held = self.store.review(id).await?.filter(undecided);
        let Some(room) = held.map(|review| review.comment.room_id.clone()) else { return Err(none) };
        self.authorise_action(who, Some(&room), Action::Delete).await?;
        self.check_reason(reason)?;
        let erased = self.store.erase_reviews(ReviewsOf::Comment(id), who.name(), self.clock.now_ms(), None).await?;
        if erased.is_empty() {
            return Err(none); // Decided meanwhile.
        }
        self.notify_rejected(&erased);
        self.publish_early_gone(&erased).await?;
        let detail = Detail { reason, held: true, purge: false }.text();
        self.audit(who, "comment.delete", Some(&room), id.to_string(), detail).await
    }

    /// Erases all that a user said and liked, held comments and the places in rankings included: in one room or everywhere.
    pub(super) async fn purge(&self, who: &Moderator, user: &UserId, room: Option<&RoomId>) -> ModerationResult<()> {
        let before_ms = self.clock.now_ms();
        // First of all: from here on nothing late is stored or shown, whatever node it comes from.
        self.store.note_purge(user, room, before_ms).await?;
        let purged = self.purge_now(who.name(), user, room, before_ms, None).await?;
        for room in purged {
            self.publish_purged(room, user, before_ms).await?;
        }
        Ok(())
    }

    /// Purges batch by batch. Returns the rooms whose rankings are to be told, unless a receipt notes them.
    pub(crate) async fn purge_now(
        &self,
        by: &str,
        user: &UserId,
        room: Option<&RoomId>,
        before_ms: i64,
        receipt: Option<Snowflake>,
    ) -> ModerationResult<BTreeSet<RoomId>> {
        // Held comments first: what is approved meanwhile is found among the published.
        let turn = self.delays.turn().await;
        let held = ReviewsOf::User(user, room);
        let rejected = self.store.erase_reviews(held, by, self.clock.now_ms(), receipt).await?;
        drop(turn);
        self.notify_rejected(&rejected);
        self.publish_early_gone(&rejected).await?;
        while self.store.erase_samples(user, room, PURGED_MAX).await? >= PURGED_MAX as u64 {}
        let everywhere = room.cloned().unwrap_or_else(RoomId::everywhere);
        self.publish_purged(everywhere, user, before_ms).await?;
        let mut rooms = BTreeSet::new();
        loop {
            let purged = self.store.purge_user(user, room, PURGED_MAX, receipt).await?;
            self.publish_deletions(purged.comments).await?;
            if receipt.is_none() {
                rooms.extend(purged.rooms);
            }
            if !purged.more {
                break;
            }
        }
        loop {
            let disliked = self.store.erase_likes(user, room, PURGED_MAX, receipt).await?;
            self.publish_taken_back(&disliked).await?;
            if disliked.len() < PURGED_MAX {
                return Ok(rooms);
            }
        }
    }

    /// Tells every node that a user was purged in a room.
    pub(crate) async fn publish_purged(&self, room: RoomId, user: &UserId, before_ms: i64) -> ModerationResult<()> {
        let purged = Change::Purged { user_id: user.clone(), before_ms };
        self.log.append(room, Record::Changed(purged)).await?;
        Ok(())
    }

    /// Tells hot comments that some lost a like.
    async fn publish_taken_back(&self, ids: &[Snowflake]) -> ModerationResult<()> {
        let mut by_room: HashMap<RoomId, Vec<Record>> = HashMap::new();
        for found in self.store.comments_by_id(ids).await? {
            let room = found.comment.room_id.clone();
            by_room.entry(room).or_default().push(Record::Liked { comment: found.comment, taken_back: true });
        }
        for (room, records) in by_room {
            self.log.append_all(room, records).await?;
        }
        Ok(())
    }

    fn notify_rejected(&self, reviews: &[Review]) {
        let held = reviews.iter().filter(|review| review.status == ReviewStatus::Pending);
        held.for_each(|review| (self.review_listener)(&review.comment, ReviewStatus::Rejected));
    }

    /// Deletes a comment that is not stored; only its room's ring knows it.
    ///
    /// # Errors
    /// When the reason is not on the list, or this moderator may not moderate its room.
    pub async fn delete_unstored_comment(
        &self,
        who: &Moderator,
        room: &RoomId,
        id: Snowflake,
        reason: Option<&str>,
    ) -> ModerationResult<()> {
        self.authorise_action(who, Some(room), Action::Delete).await?;
        self.check_reason(reason)?;
        self.publish_deletions(vec![(id, room.clone())]).await?;
        let detail = Detail { reason, ..Detail::default() }.text();
        self.audit(who, "comment.delete", Some(room), id.to_string(), detail).await
    }

    pub(super) async fn publish_deletions(&self, deleted: Vec<(Snowflake, RoomId)>) -> ModerationResult<()> {
        self.publish_gone(deleted, |comment_ids| EventBody::CommentsDeleted { comment_ids }).await
    }

    /// Tells viewers of comments that are hidden as they are told of deleted ones.
    pub(super) async fn publish_hidden(&self, hidden: Vec<(Snowflake, RoomId)>) -> ModerationResult<()> {
        self.publish_gone(hidden, |comment_ids| EventBody::CommentsHidden { comment_ids }).await
    }

    async fn publish_gone(
        &self,
        deleted: Vec<(Snowflake, RoomId)>,
        body: impl Fn(Vec<Snowflake>) -> EventBody + Send + Sync,
    ) -> ModerationResult<()> {
        let mut by_room: HashMap<RoomId, Vec<Snowflake>> = HashMap::new();
        for (id, room) in deleted {
            by_room.entry(room).or_default().push(id);
        }
        for (room, ids) in by_room {
            let pinned = self.rooms.info(&room).await?.settings.pin.as_ref().map(|pin| pin.comment.id);
            if let Some(pinned) = pinned.filter(|pinned| ids.contains(pinned)) {
                self.end_pin(&room, pinned).await?;
            }
            for ids in ids.chunks(DELETED_IDS_MAX) {
                self.publish_event(&room, Importance::Plain, body(ids.to_vec())).await?;
            }
        }
        Ok(())
    }
}
