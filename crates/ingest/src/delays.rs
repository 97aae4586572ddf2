//! Comments that a room publishes some seconds after they were said.
//!
//! The store holds them as delayed reviews, so an acknowledged one outlives this process. The node that took a comment
//! publishes it; the others do so only when it is overdue. Rejecting and publishing exclude each other here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::Record;
use model::{Comment, EventBody, FirstAnswer, RoomId, Snowflake};
use parking_lot::Mutex;
use store::{Review, ReviewStatus};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep};

use crate::events::{Importance, PublishError};
use crate::{Ingest, Refusal};

/// Comments that are published together.
const TOGETHER_MAX: usize = 512;
/// How often comments of nodes that are gone are looked for.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(5);
/// From when on a comment of another node is overdue, in milliseconds.
const OVERDUE_MS: i64 = 5_000;
/// Moderators who are told that a comment is gone.
const TOLD_MAX: usize = 50;
/// The pause after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What this node has to publish, and when: by a clock that never steps, so that a comment waits as long as its room says
/// whatever becomes of the time of day.
#[derive(Default)]
pub struct Delays {
    /// With the due time that the store knows, Unix milliseconds.
    due: Mutex<BTreeMap<(Instant, Snowflake), i64>>,
    /// Shared, so that who waits for it keeps no rules alive.
    added: Arc<Notify>,
    /// Held while comments are published or rejected.
    turn: AsyncMutex<()>,
}

impl Delays {
    /// When the next comment is due, and what tells that an earlier one was added.
    fn next(&self) -> (Option<Instant>, Arc<Notify>) {
        let next = self.due.lock().first_key_value().map(|((at, _), _)| *at);
        (next, self.added.clone())
    }

    fn add(&self, id: Snowflake, due_ms: i64, now_ms: i64) {
        let wait = Duration::from_millis((due_ms - now_ms).max(0).unsigned_abs());
        self.due.lock().insert((Instant::now() + wait, id), due_ms);
        self.added.notify_one();
    }

    /// Keeps delayed comments from being published until it is dropped.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Ingest {
    /// Keeps a comment until it is due. Returns the answer that its `client_msg_id` has, if another comment got one.
    pub(crate) async fn delay(
        &self,
        comment: Arc<Comment>,
        keep: bool,
        due_ms: i64,
        client_msg_id: Option<Box<str>>,
    ) -> Result<Option<FirstAnswer>, Refusal> {
        let (id, room, early) = (comment.id, comment.room_id.clone(), comment.clone());
        let review = Review { status: ReviewStatus::Delayed, due_ms: Some(due_ms), ..Review::pending(comment, keep) };
        let first = self.store.hold(&review, client_msg_id.as_deref()).await.map_err(|_| Refusal::Unknown)?;
        if first.is_none() {
            self.delays.add(id, due_ms, self.clock.now_ms());
            // It is kept: should the log be away, its sender sees it with everybody.
            let _ = self.log.append(room, Record::Early(early)).await;
        }
        Ok(first)
    }

    /// Tells those who have seen delayed comments that these are gone.
    pub(crate) async fn publish_early_gone(&self, reviews: &[Review]) -> Result<(), PublishError> {
        let delayed = reviews.iter().filter(|review| review.status == ReviewStatus::Delayed);
        for Review { comment, .. } in delayed {
            let (room, now_ms) = (&comment.room_id, self.clock.now_ms());
            let settings = self.rooms.known_settings(room).unwrap_or_default();
            let mut told = self.tokens.moderators_of(room, &settings, now_ms);
            told.truncate(TOLD_MAX);
            if !told.contains(&comment.user_id) {
                told.push(comment.user_id.clone());
            }
            // Not as a deletion that is stored: an undo may publish it after all.
            let body = EventBody::CommentsHidden { comment_ids: vec![comment.id] };
            self.publish_event(room, Importance::PrivateInRoom(told), body).await?;
        }
        Ok(())
    }

    /// Rejects a comment before it is published; false when it is not delayed any more.
    pub(crate) async fn reject_delayed(&self, id: Snowflake, by: &str) -> Result<bool, PublishError> {
        let _turn = self.delays.turn.lock().await;
        let delayed = self.store.review(id).await?.filter(|review| review.status == ReviewStatus::Delayed);
        let Some(review) = delayed else { return Ok(false) };
        let decided = self.store.decide(id, ReviewStatus::Rejected, by, self.clock.now_ms()).await?;
        if decided.is_some() {
            self.publish_early_gone(&[review]).await?;
        }
        Ok(decided.is_some())
    }

    /// Publishes what comes due, until `ingest` is gone.
    pub async fn publish_delayed(ingest: Weak<Self>) {
        let mut overdue = tokio::time::interval(OVERDUE_INTERVAL);
        loop {
            let Some((next, added)) = ingest.upgrade().map(|this| this.delays.next()) else { return };
            let wait = next.map_or(SLEEP_MAX, |at| at.saturating_duration_since(Instant::now()).min(SLEEP_MAX));
            let others = tokio::select! {
                () = added.notified() => continue,
                () = sleep(wait) => next.is_none(),
                _ = overdue.tick() => true,
            };
            let Some(this) = ingest.upgrade() else { return };
            let published = if others { this.publish_overdue().await } else { this.publish_due().await };
            if published.is_err() {
                sleep(RETRY).await;
            }
        }
    }

    async fn publish_due(&self) -> Result<(), Refusal> {
        let mine: Vec<_> = {
            let (due, now) = (self.delays.due.lock(), (Instant::now(), Snowflake(u64::MAX)));
            due.range(..=now).take(TOGETHER_MAX).map(|(key, due_ms)| (*key, *due_ms)).collect()
        };
        let Some(until_ms) = mine.iter().map(|(_, due_ms)| *due_ms).max() else { return Ok(()) };
        let places: HashMap<_, _> = mine.iter().enumerate().map(|(place, ((_, id), _))| (*id, place)).collect();
        let _turn = self.delays.turn.lock().await;
        // Those of other nodes may stand between.
        let mut due = self.store.due_reviews(until_ms, TOGETHER_MAX * 4).await?;
        due.retain(|review| places.contains_key(&review.comment.id));
        due.sort_by_key(|review| places.get(&review.comment.id).copied());
        self.publish_reviews(due).await?;
        let mut due = self.delays.due.lock();
        for (key, _) in &mine {
            due.remove(key);
        }
        Ok(())
    }

    async fn publish_overdue(&self) -> Result<(), Refusal> {
        let _turn = self.delays.turn.lock().await;
        let mut overdue = self.store.due_reviews(self.clock.now_ms() - OVERDUE_MS, TOGETHER_MAX).await?;
        // Of this node's the other half takes care, also when the time of day has stepped forward.
        let mine: HashSet<_> = self.delays.due.lock().keys().map(|(_, id)| *id).collect();
        overdue.retain(|review| !mine.contains(&review.comment.id));
        self.publish_reviews(overdue).await
    }

    /// Publishes them in this order; then the store forgets that they were delayed. A crash in between
    /// publishes them again under the same ids.
    async fn publish_reviews(&self, reviews: Vec<Review>) -> Result<(), Refusal> {
        let mut rooms: BTreeMap<RoomId, Vec<Record>> = BTreeMap::new();
        let ids: Vec<_> = reviews.iter().map(|review| review.comment.id).collect();
        for Review { comment, keep, .. } in reviews {
            let room = comment.room_id.clone();
            rooms.entry(room).or_default().push(Record::Comment { comment, client_msg_id: None, keep });
        }
        for (room, records) in rooms {
            self.log.append_all(room, records).await?;
        }
        if !ids.is_empty() {
            self.store.forget_reviews(&ids).await?;
        }
        Ok(())
    }
}
