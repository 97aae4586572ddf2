//! Appeals: the author of a held, rejected or removed comment asks once for another look.
//!
//! Kept as documents of the store, one for each comment. The answer reaches the author as a notice.

use model::{EventBody, Identity, RoomId, Snowflake, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Document, DocumentQuery, Review, ReviewStatus};

use super::reasons::Detail;
use super::{ModerationError, ModerationResult, Moderator};
use crate::events::Importance;
use crate::rights::Action;
use crate::{Ingest, Refusal};

/// Longest appeal, in characters.
const TEXT_CHARS_MAX: usize = 500;
/// The kind of the documents.
const KIND: &str = "appeal";

/// An appeal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Appeal {
    /// Its id: that of the comment.
    pub id: Snowflake,
    /// Where the comment was said.
    pub room_id: RoomId,
    /// Its author.
    pub user_id: UserId,
    /// What the author says.
    pub text: String,
    /// The comment, where its text is still kept.
    #[serde(default)]
    pub content: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: i64,
    /// The decision.
    pub status: ReviewStatus,
    /// Who decided.
    #[serde(default)]
    pub decided_by: Option<String>,
}

impl Appeal {
    fn document(&self, version: i64) -> Document {
        Document {
            kind: KIND,
            id: self.id.to_string(),
            room_id: Some(self.room_id.clone()),
            state: self.status.as_str().into(),
            due_ms: 0,
            version,
            user_id: Some(self.user_id.clone()),
            body: serde_json::to_string(self).unwrap_or_default(),
        }
    }

    fn read(document: &Document) -> Option<Self> {
        serde_json::from_str(&document.body).ok()
    }
}

impl Ingest {
    /// Makes an appeal.
    ///
    /// # Errors
    /// When the comment is not the author's or is neither held nor removed, or an appeal was made before.
    pub async fn appeal(&self, who: &Identity, comment: Snowflake, text: &str) -> Result<Appeal, ModerationError> {
        let text = words::sanitise(text).into_owned();
        if !(1..=TEXT_CHARS_MAX).contains(&text.chars().count()) {
            return Err(ModerationError::Invalid(format!("text must have 1-{TEXT_CHARS_MAX} characters")));
        }
        let none = || ModerationError::NotFound("there is no such comment");
        let held = self.store.review(comment).await?;
        let (room_id, author, content) = match &held {
            Some(Review { comment, status, .. }) if *status != ReviewStatus::Approved => {
                (comment.room_id.clone(), comment.user_id.clone(), Some(comment.content.to_string()))
            }
            _ => {
                let Some((room, author)) = self.store.author_of(comment).await? else { return Err(none()) };
                if author == who.user_id && self.store.comment(comment).await?.is_some() {
                    return Err(ModerationError::Invalid("the comment is neither held nor removed".into()));
                }
                (room, author, None)
            }
        };
        // Of other people's comments nobody learns what became of them, nor anybody of a shadow.
        if author != who.user_id || self.store.shadowed_comment(comment).await?.is_some() {
            return Err(none());
        }
        self.may_read(crate::Reader::User(who), &room_id).await.map_err(|refusal| match refusal {
            Refusal::Unavailable => ModerationError::Away,
            _ => none(),
        })?;
        let content = content.filter(|content| !content.is_empty());
        let (created_at_ms, status) = (self.clock.now_ms(), ReviewStatus::Pending);
        let appeal =
            Appeal { id: comment, room_id, user_id: author, text, content, created_at_ms, status, decided_by: None };
        if !self.store.add_document(&appeal.document(0)).await? {
            return Err(ModerationError::TooLate("you have appealed before"));
        }
        let told = json!({ "id": comment, "comment_id": comment, "room_id": appeal.room_id, "user_id": appeal.user_id,
            "text": appeal.text });
        self.tell_services("appeal", Some(&appeal.room_id), told).await?;
        Ok(appeal)
    }

    /// Appeals where this moderator may read, or of one room; oldest first, behind the one of the id `after`.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn appeals(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        status: ReviewStatus,
        after: Option<Snowflake>,
        limit: usize,
    ) -> ModerationResult<Vec<Appeal>> {
        let rooms = self.listed_rooms(who, room).await?;
        let after = after.map(|id| id.to_string());
        let query = DocumentQuery {
            kind: KIND,
            rooms: rooms.as_deref(),
            state: Some(status.as_str()),
            after: after.as_deref(),
            limit,
            ..DocumentQuery::default()
        };
        Ok(self.store.documents(query).await?.iter().filter_map(Appeal::read).collect())
    }

    /// Decides about an appeal, for a reason of the list or for none; the author is told both. A held or rejected comment is
    /// published when it is granted, and a hidden one is shown again; an erased one has no text any more.
    ///
    /// # Errors
    /// When there is none, it was decided before, the reason is not on the list, or this moderator may not.
    pub async fn decide_appeal(
        &self,
        who: &Moderator,
        id: Snowflake,
        grant: bool,
        reason: Option<&str>,
    ) -> ModerationResult<Appeal> {
        self.authorise_somewhere(who).await?;
        let none = ModerationError::NotFound("there is no such appeal");
        let Some(found) = self.store.document(KIND, &id.to_string()).await? else { return Err(none) };
        let Some(appeal) = Appeal::read(&found) else { return Err(none) };
        let room = appeal.room_id.clone();
        self.authorise_action(who, Some(&room), Action::Decide).await?;
        self.check_reason(reason)?;
        let late = || ModerationError::TooLate("it was decided before");
        if appeal.status != ReviewStatus::Pending {
            return Err(late());
        }
        let status = if grant { ReviewStatus::Approved } else { ReviewStatus::Rejected };
        let decided = Appeal { status, decided_by: Some(who.name().into()), ..appeal };
        if !self.store.replace_document(&decided.document(found.version)).await? {
            return Err(late());
        }
        if grant {
            self.grant(who, id, &room).await?;
        }
        let (code, message) = match grant {
            true => ("appeal_approved", "your appeal was granted · 申诉已通过"),
            false => ("appeal_rejected", "your appeal was not granted · 申诉未通过"),
        };
        let body = EventBody::Notice {
            code: code.into(),
            message: message.into(),
            comment_id: Some(id),
            reason: reason.map(str::to_owned),
        };
        self.publish_stored_event(&room, Importance::Private(vec![decided.user_id.clone()]), body).await?;
        let action = if grant { "appeal.approve" } else { "appeal.reject" };
        let detail = Detail { reason, ..Detail::default() }.text();
        self.audit(who, action, Some(&room), id.to_string(), detail).await?;
        Ok(decided)
    }

    async fn grant(&self, who: &Moderator, id: Snowflake, room: &RoomId) -> ModerationResult<()> {
        if let Some(review) = self.store.review(id).await?
            && !review.comment.content.is_empty()
        {
            let by = who.name();
            let decided = self.store.decide(id, ReviewStatus::Approved, by, self.clock.now_ms()).await?;
            if decided.is_some() || review.status == ReviewStatus::Rejected {
                self.publish(review.comment, review.keep).await?;
            }
            return Ok(());
        }
        let shown = self.store.hide_comments(&[id], false).await?;
        if !shown.is_empty() {
            let found = self.store.comments_by_id(&[id]).await?;
            let comments = found.into_iter().map(|found| (found.position, found.comment)).collect();
            self.publish_event(room, Importance::Plain, EventBody::CommentsRestored { comments }).await?;
        }
        Ok(())
    }
}
