//! One node's view of the leaderboards that several nodes share.
//!
//! The worker records each change here and applies it before it commits the log; a background task repairs what could not
//! be applied. Owns each room's unacknowledged changes ([`crate::unacked_changes`]). Only [`crate::leaderboards`] uses it: that
//! module has the store, and the leaderboards in memory for the time in which the shared ones are away. A room whose
//! leaderboard is away, or must be filled first, costs the worker nothing more until the repair is done.

use std::sync::Arc;

use dashmap::DashMap;
use futures::stream::{self, StreamExt};
use log::{Entry, Record};
use model::snowflake::made_at_ms;
use model::{Comment, OrderingKey, RoomId, Snowflake};
use parking_lot::Mutex;
use state::StateError;
use state::leaderboard::{
    ApplyOutcome, ChangeBatch, LeaderboardChange, LeaderboardContents, LeaderboardEvent, LeaderboardUpdate,
    LeaderboardView, Leaderboards, LikeChange, RefillClaim,
};

use crate::leaderboard::{PUSHED, each_change};
use crate::unacked_changes::{KEEP_MS, Next, UnackedChanges};

/// Rooms whose leaderboards are asked concurrently.
pub(crate) const TOGETHER: usize = 32;
/// Nodes still hold every change of a session younger than this. Below [`KEEP_MS`] by more than clocks differ.
const YOUNG_MS: i64 = 3_000;
/// Interval at which a node asks whether the leaderboard still has what was applied.
const CHECK_MS: i64 = KEEP_MS / 2;
/// Attempts to apply a run: the first, one after the leaderboard lost something, one more in case it was replaced meanwhile.
const TRIES: usize = 3;
/// After a like was taken back its comment is read again, because likes that were counted at the same moment on
/// other nodes may have overtaken it. Milliseconds.
const READ_AGAIN_MS: i64 = 1_000;
/// Comments that wait to be read again. Beyond it a comment's count may be off by one until its next like.
const READ_AGAIN_MAX: usize = 4_096;

/// What remains to be done for a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remaining {
    Nothing,
    /// Its leaderboard must be filled.
    Fill,
}

pub(crate) struct SharedLeaderboard {
    leaderboards: Arc<dyn Leaderboards>,
    unacked: DashMap<RoomId, Arc<Mutex<UnackedChanges>>, ahash::RandomState>,
    read_again: Mutex<Vec<(i64, RoomId, Snowflake)>>,
}

impl SharedLeaderboard {
    pub(crate) fn new(leaderboards: Arc<dyn Leaderboards>) -> Self {
        Self { leaderboards, unacked: DashMap::default(), read_again: Mutex::default() }
    }

    fn unacked_of(&self, room: &RoomId) -> Arc<Mutex<UnackedChanges>> {
        if let Some(unacked) = self.unacked.get(room) {
            return unacked.clone();
        }
        self.unacked.entry(room.clone()).or_default().clone()
    }

    /// Records what an entry changes. Returns whether it changes the leaderboard at all.
    pub(crate) fn note(&self, entry: &Entry, now_ms: i64) -> bool {
        let mut noted = false;
        if let Record::SessionStarted(session) = &entry.record {
            self.unacked_of(&entry.room_id).lock().begin(Some(session.id));
            noted = true;
        }
        each_change(entry, OrderingKey::of, |session, change| {
            if let LeaderboardEvent::Liked(comment, LikeChange::Removed) = &change.event {
                self.read_again_later(&entry.room_id, comment.id, now_ms);
            }
            let unacked = self.unacked_of(&entry.room_id);
            let mut unacked = unacked.lock();
            unacked.touched_ms = now_ms;
            unacked.note(session, change, now_ms);
            noted = true;
        });
        noted
    }

    fn read_again_later(&self, room: &RoomId, comment: Snowflake, now_ms: i64) {
        let mut waiting = self.read_again.lock();
        if waiting.len() < READ_AGAIN_MAX && !waiting.iter().any(|(_, _, id)| *id == comment) {
            waiting.push((now_ms + READ_AGAIN_MS, room.clone(), comment));
        }
    }

    /// Comments whose likes are to be read from the store now.
    pub(crate) fn to_read_again(&self, now_ms: i64) -> Vec<(RoomId, Snowflake)> {
        self.read_again
            .lock()
            .extract_if(.., |(due_ms, ..)| *due_ms <= now_ms)
            .map(|(_, room, id)| (room, id))
            .collect()
    }

    /// A comment's likes as just read from the store.
    pub(crate) fn note_likes(&self, room: &RoomId, comment: Arc<Comment>, now_ms: i64) {
        let (session, position) = (comment.session_id, 0);
        let change = LeaderboardChange {
            key: OrderingKey::ONLY,
            position,
            event: LeaderboardEvent::Liked(comment, LikeChange::Reread),
        };
        self.unacked_of(room).lock().note(session, change, now_ms);
    }

    /// Leaves a room to the repair task.
    pub(crate) fn fail(&self, room: &RoomId) {
        self.unacked_of(room).lock().failing = true;
    }

    /// Whether the worker leaves the room to the repair task.
    pub(crate) fn is_failing(&self, room: &RoomId) -> bool {
        self.unacked.get(room).is_some_and(|unacked| unacked.lock().failing)
    }

    /// Applies the rooms' unapplied changes concurrently. True when all were applied.
    pub(crate) async fn apply_pending(&self, rooms: Vec<RoomId>, now_ms: i64) -> bool {
        let rooms = rooms.into_iter().filter(|room| !self.is_failing(room));
        let applied = stream::iter(rooms.map(async |room| match self.apply(&room, now_ms).await {
            Ok(Remaining::Nothing) => true,
            Ok(Remaining::Fill) | Err(_) => {
                self.fail(&room);
                false
            }
        }));
        applied.buffer_unordered(TOGETHER).fold(true, async |all, one| all && one).await
    }

    /// Applies a room's unapplied changes.
    pub(crate) async fn apply(&self, room: &RoomId, now_ms: i64) -> Result<Remaining, StateError> {
        let unacked = self.unacked_of(room);
        let mut tries = TRIES;
        while tries > 0 {
            let next = unacked.lock().next();
            if next.changes.is_empty() && next.session.is_none() {
                return Ok(Remaining::Nothing);
            }
            match self.leaderboards.apply(room, batch(&next, now_ms)).await? {
                ApplyOutcome::Applied => {
                    if !unacked.lock().confirm(&next) {
                        return Ok(Remaining::Nothing);
                    }
                }
                ApplyOutcome::Superseded => {
                    unacked.lock().drop_all();
                    return Ok(Remaining::Nothing);
                }
                ApplyOutcome::Behind => {
                    unacked.lock().reset();
                    tries -= 1;
                }
                ApplyOutcome::Missing | ApplyOutcome::Lost => {
                    unacked.lock().reset();
                    return Ok(Remaining::Fill);
                }
            }
        }
        Ok(Remaining::Nothing)
    }

    /// Asks whether the leaderboard still has what was applied; if so, forgets old changes.
    async fn check(
        &self,
        room: &RoomId,
        unacked: &Mutex<UnackedChanges>,
        now_ms: i64,
    ) -> Result<Remaining, StateError> {
        let (session, checks) = {
            let unacked = unacked.lock();
            (unacked.session(), unacked.checks())
        };
        let batch = ChangeBatch { session, from_start: false, checks: &checks, changes: &[], now_ms };
        match self.leaderboards.apply(room, batch).await? {
            ApplyOutcome::Applied | ApplyOutcome::Superseded => {
                unacked.lock().checked(now_ms);
                Ok(Remaining::Nothing)
            }
            ApplyOutcome::Behind => {
                unacked.lock().reset();
                self.apply(room, now_ms).await
            }
            ApplyOutcome::Missing | ApplyOutcome::Lost => {
                unacked.lock().reset();
                Ok(Remaining::Fill)
            }
        }
    }

    /// Rooms whose last attempt failed, or whose changes are due for a check.
    pub(crate) fn due_for_repair(&self, now_ms: i64) -> Vec<RoomId> {
        let due = |unacked: &UnackedChanges| {
            unacked.failing || (!unacked.is_idle() && now_ms - unacked.checked_ms >= CHECK_MS)
        };
        self.unacked.iter().filter(|unacked| due(&unacked.lock())).map(|unacked| unacked.key().clone()).collect()
    }

    /// Applies or checks. A room stays failing until this returns [`Remaining::Nothing`].
    pub(crate) async fn repair(&self, room: &RoomId, now_ms: i64) -> Result<Remaining, StateError> {
        let unacked = self.unacked_of(room);
        let failing = unacked.lock().failing;
        let left = if failing { self.apply(room, now_ms).await } else { self.check(room, &unacked, now_ms).await };
        unacked.lock().failing = !matches!(left, Ok(Remaining::Nothing));
        left
    }

    /// Whether a leaderboard lacks something that the store counted before.
    pub(crate) async fn lacks(
        &self,
        room: &RoomId,
        contents: &LeaderboardContents,
        now_ms: i64,
    ) -> Result<bool, StateError> {
        let check = |&(key, position): &(OrderingKey, u64)| state::leaderboard::SeenCheck {
            key,
            forgotten: position,
            applied: 0,
        };
        let checks: Vec<_> = contents.seen.iter().map(check).collect();
        let batch =
            ChangeBatch { session: Some(contents.session), from_start: false, checks: &checks, changes: &[], now_ms };
        Ok(self.leaderboards.apply(room, batch).await? == ApplyOutcome::Lost)
    }

    /// The right to fill a room's leaderboard from what the store has now.
    pub(crate) async fn claim(&self, room: &RoomId) -> Result<Option<RefillClaim>, StateError> {
        let claim = self.leaderboards.claim(room).await?;
        if claim.is_some() {
            self.unacked_of(room).lock().forget_gaps();
        }
        Ok(claim)
    }

    pub(crate) async fn fill(
        &self,
        room: &RoomId,
        claim: RefillClaim,
        contents: LeaderboardContents,
    ) -> Result<bool, StateError> {
        self.leaderboards.fill(room, claim, contents).await
    }

    pub(crate) async fn read(
        &self,
        room: &RoomId,
        places: usize,
        hot: usize,
    ) -> Result<Option<LeaderboardView>, StateError> {
        self.leaderboards.read(room, places, hot).await
    }

    /// Changes that no node has shown yet; `None` when the leaderboard cannot be asked.
    pub(crate) async fn next_update(&self, room: &RoomId, pause_ms: i64, now_ms: i64) -> Option<LeaderboardUpdate> {
        if self.is_failing(room) {
            return None;
        }
        self.leaderboards.take_update(room, PUSHED, pause_ms, now_ms).await.ok()
    }

    /// Calls `to` with each change that this node still keeps.
    pub(crate) fn each_unconfirmed(&self, room: &RoomId, mut to: impl FnMut(Option<Snowflake>, &LeaderboardChange)) {
        if let Some(unacked) = self.unacked.get(room).map(|unacked| unacked.clone()) {
            unacked.lock().kept().for_each(|(session, change)| to(session, change));
        }
    }

    pub(crate) fn forget_idle(&self, now_ms: i64, idle_ms: i64) {
        self.unacked.retain(|_, unacked| {
            let unacked = unacked.lock();
            !unacked.is_idle() || now_ms - unacked.touched_ms < idle_ms
        });
    }
}

fn batch(next: &Next, now_ms: i64) -> ChangeBatch<'_> {
    let from_start = next.whole && next.session.is_some_and(|session| now_ms - made_at_ms(session) < YOUNG_MS);
    ChangeBatch { session: next.session, from_start, checks: &next.checks, changes: &next.changes, now_ms }
}
