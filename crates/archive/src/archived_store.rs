//! A store whose recordings are hot or cold alike.
//!
//! It answers from the database, and from objects what the database no longer has. A cold comment that somebody likes,
//! deletes or hides comes back into the database first, so each change happens in one place under one transaction. What only
//! concerns rooms, chat and the rest is passed on ([`crate::delegate`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, FirstAnswer, OrderingKey, Repeat, RoomId, Score, Session, Snowflake, UserId};
use store::{
    CommentStore, Document, LikeStore, NewComment, Positioned, Purged, ReplayQuery, Result, ScoreStore, Scores, Store,
};

use crate::archive::Archive;

/// The store over a database and an archive.
pub struct ArchivedStore {
    pub(crate) inner: Arc<dyn Store>,
    archive: Arc<Archive>,
}

impl ArchivedStore {
    /// The store over a database and its archive.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>, archive: Arc<Archive>) -> Self {
        Self { inner, archive }
    }

    /// One comment that lies in an object.
    async fn cold(&self, id: Snowflake) -> Result<Option<Positioned>> {
        Ok(self.archive.find(&[id]).await?.pop().map(|(one, _)| one))
    }

    /// Those that the database does not have, in any state.
    async fn missing(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
        let mut missing = Vec::new();
        for id in ids {
            if self.inner.position_of(*id).await?.is_none() {
                missing.push(*id);
            }
        }
        Ok(missing)
    }

    /// Brings comments back that a user liked, so that the likes can be taken from them.
    pub(crate) async fn thaw_liked_by(&self, user: &UserId, room: Option<&RoomId>, limit: usize) -> Result<()> {
        let liked = self.inner.archived_likes_of_user(user, room, limit).await?;
        if !liked.is_empty() {
            self.archive.thaw(&liked).await?;
        }
        Ok(())
    }

    async fn thaw_missing(&self, ids: &[Snowflake]) -> Result<()> {
        let missing = self.missing(ids).await?;
        if !missing.is_empty() {
            self.archive.thaw(&missing).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl CommentStore for ArchivedStore {
    async fn append_comments(&self, batch: Vec<NewComment>) -> Result<Vec<Repeat>> {
        self.inner.append_comments(batch).await
    }

    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
        self.inner.first_answer(user, client_msg_id).await
    }

    async fn earliest_answer(&self, user: &UserId) -> Result<Option<i64>> {
        self.inner.earliest_answer(user).await
    }

    async fn client_msg_ids(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, Box<str>)>> {
        self.inner.client_msg_ids(ids).await
    }

    async fn comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>> {
        match self.inner.comment(id).await? {
            Some(hot) => Ok(Some(hot)),
            None => Ok(self.cold(id).await?.map(|one| one.comment)),
        }
    }

    async fn position_of(&self, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
        match self.inner.position_of(id).await? {
            Some(hot) => Ok(Some(hot)),
            None => Ok(self.cold(id).await?.map(|one| (one.comment.room_id.clone(), one.position))),
        }
    }

    async fn author_of(&self, id: Snowflake) -> Result<Option<(RoomId, UserId)>> {
        match self.inner.author_of(id).await? {
            Some(hot) => Ok(Some(hot)),
            None => Ok(self.cold(id).await?.map(|one| (one.comment.room_id.clone(), one.comment.user_id.clone()))),
        }
    }

    async fn deleted_among(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
        self.inner.deleted_among(ids).await
    }

    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Positioned>> {
        self.inner.comments_after(room, position, limit).await
    }

    async fn count_after(&self, room: &RoomId, position: u64) -> Result<u64> {
        self.inner.count_after(room, position).await
    }

    async fn latest_comments(&self, room: &RoomId, limit: usize) -> Result<Vec<Positioned>> {
        self.inner.latest_comments(room, limit).await
    }

    async fn newest_comment_ms(&self, session: Snowflake) -> Result<Option<i64>> {
        self.inner.newest_comment_ms(session).await
    }

    async fn replay(&self, query: ReplayQuery) -> Result<Vec<Arc<Comment>>> {
        Ok(self.archive.replay(&query).await?)
    }

    async fn delete_comments(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
        self.thaw_missing(ids).await?;
        let deleted = self.inner.delete_comments(ids).await?;
        self.archive.wake.notify_one();
        Ok(deleted)
    }

    async fn purge_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> Result<Purged> {
        // A receipt says that all is gone, so an erasure waits for the objects; a ban does not.
        self.archive.erase_user(user, room, receipt.is_some()).await?;
        let purged = self.inner.purge_user(user, room, limit, receipt).await?;
        self.archive.wake.notify_one();
        Ok(purged)
    }

    async fn hide_comments(&self, ids: &[Snowflake], hidden: bool) -> Result<Vec<(Snowflake, RoomId)>> {
        if hidden {
            self.thaw_missing(ids).await?;
        }
        let changed = self.inner.hide_comments(ids, hidden).await?;
        self.archive.wake.notify_one();
        Ok(changed)
    }

    async fn comments_by_id(&self, ids: &[Snowflake]) -> Result<Vec<Positioned>> {
        let mut found = self.inner.comments_by_id(ids).await?;
        if found.len() < ids.len() {
            let hot: HashSet<_> = found.iter().map(|one| one.comment.id).collect();
            let missing: Vec<_> = ids.iter().copied().filter(|id| !hot.contains(id)).collect();
            found.extend(self.archive.find(&missing).await?.into_iter().map(|(one, _)| one));
        }
        Ok(found)
    }

    async fn shadowed_comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>> {
        self.inner.shadowed_comment(id).await
    }

    async fn shadowed_comments(&self, room: &RoomId, by: Option<&UserId>, limit: usize) -> Result<Vec<Positioned>> {
        self.inner.shadowed_comments(room, by, limit).await
    }

    async fn import_comments(&self, session: &Session, mut comments: Vec<Arc<Comment>>) -> Result<u64> {
        let ids: Vec<_> = comments.iter().map(|comment| comment.id).collect();
        let archived: HashSet<_> = self.inner.archived_places(&ids).await?.into_iter().map(|(id, _)| id).collect();
        comments.retain(|comment| !archived.contains(&comment.id));
        self.inner.import_comments(session, comments).await
    }
}

#[async_trait]
impl LikeStore for ArchivedStore {
    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>> {
        match self.inner.like(id, user, at_ms).await? {
            None if self.archive.thaw(&[id]).await? => self.inner.like(id, user, at_ms).await,
            liked => Ok(liked),
        }
    }

    async fn unlike(&self, id: Snowflake, user: &UserId) -> Result<(u64, bool)> {
        match self.inner.unlike(id, user).await? {
            (0, false) if self.archive.thaw(&[id]).await? => self.inner.unlike(id, user).await,
            unliked => Ok(unliked),
        }
    }

    async fn most_liked(&self, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>> {
        let mut most = self.inner.most_liked(room, session, limit).await?;
        let archived = self.inner.archived_likes(room, session, limit).await?;
        if !archived.is_empty() {
            let ids: Vec<_> = archived.iter().map(|(id, _)| *id).collect();
            let found = self.archive.find(&ids).await?;
            let hot: HashSet<_> = most.iter().map(|comment| comment.id).collect();
            let cold = found.into_iter().map(|(one, _)| one.comment);
            most.extend(cold.filter(|comment| comment.like_count > 0 && !hot.contains(&comment.id)));
            most.sort_by_key(|comment| (std::cmp::Reverse(comment.like_count), comment.id));
            most.truncate(limit);
        }
        Ok(most)
    }
}

#[async_trait]
impl ScoreStore for ArchivedStore {
    async fn scores(&self, session: Snowflake) -> Result<Scores> {
        let scores = self.inner.scores(session).await?;
        let rows = self.inner.archived_segments(session).await?;
        if rows.is_empty() {
            return Ok(scores);
        }
        let mut users: HashMap<UserId, Score> =
            scores.users.into_iter().map(|score| (score.user_id.clone(), score)).collect();
        let mut seen: HashMap<OrderingKey, u64> = scores.seen.into_iter().collect();
        for row in rows {
            let hot = self.inner.hot_segment(session, row.n).await?;
            let counted: HashSet<_> =
                hot.visible.iter().map(|one| one.comment.id).chain(hot.unseen.iter().copied()).collect();
            let loaded = self.archive.load(&row).await?;
            let live = loaded.segment.comments.iter().filter(|one| one.position > 0);
            for Positioned { comment, position } in live.filter(|one| !counted.contains(&one.comment.id)) {
                let last = seen.entry(OrderingKey::of(*position, &comment.user_id)).or_default();
                *last = (*last).max(*position);
                let score = users.entry(comment.user_id.clone()).or_insert_with(|| Score {
                    user_id: comment.user_id.clone(),
                    username: comment.username.to_string(),
                    score: 0,
                    given: 0,
                    reached: 0,
                });
                score.score = score.score.saturating_add(1);
                if *position > score.reached {
                    score.reached = *position;
                    comment.username.as_ref().clone_into(&mut score.username);
                }
            }
        }
        Ok(Scores { users: users.into_values().collect(), seen: seen.into_iter().collect() })
    }

    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64> {
        self.inner.add_gift(session, user, username, value).await
    }

    async fn add_gift_once(
        &self,
        session: Snowflake,
        user: &UserId,
        username: &str,
        value: u64,
        key: &Document,
    ) -> Result<Option<u64>> {
        self.inner.add_gift_once(session, user, username, value, key).await
    }
}
