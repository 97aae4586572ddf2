//! Rankings and hot comments of the rooms: the room worker writes, the edges read.
//!
//! A leaderboard belongs to one live session and stays readable until the next one starts. It can be rebuilt from the store
//! (comments, gifts, likes). A process that runs alone has its leaderboards in memory ([`crate::leaderboard`]) and rebuilds them
//! when it starts. Of several nodes each sees only a part, so they share theirs ([`crate::shared_leaderboard`]); while the shared
//! ones are away, each node shows what the store had some seconds ago and what it saw since.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use log::{Change, Entry, Record};
use model::{Comment, OrderingKey, RankingEntry, RoomId, Session, Snowflake};
use parking_lot::Mutex;
use state::StateError;
use state::leaderboard::{HOT_STORED, LeaderboardContents, LeaderboardEvent, LeaderboardUpdate, LeaderboardView};
use store::{Store, StoreError};

use crate::kept_rankings;
use crate::leaderboard::{Leaderboard, each_change};
use crate::shared_leaderboard::{Remaining, SharedLeaderboard, TOGETHER};

/// An untouched leaderboard is forgotten after this time; it can be rebuilt.
const IDLE_MS: i64 = 3_600_000;
/// Rooms read from the store when the server starts.
const WARM_ROOMS: usize = 100_000;
/// Interval of reading other nodes' counts from the store while the shared leaderboards are away.
const READ_AGAIN_MS: i64 = 10_000;
/// How often and at which interval a reader asks again while another fills the leaderboard.
const FILLING: (usize, Duration) = (20, Duration::from_millis(25));
/// Live sessions compared with the store at once, when a node starts.
const AUDITED_TOGETHER: usize = 4;
/// Attempts, a second apart, while Redis or the store is away.
const AUDIT_TRIES: usize = 60;
/// A live node applies a stored comment within less than this.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// The leaderboards of this process.
pub struct Leaderboards {
    rooms: DashMap<RoomId, Arc<Mutex<Leaderboard>>, ahash::RandomState>,
    store: Arc<dyn Store>,
    shared: Option<SharedLeaderboard>,
    /// Held by the repair task.
    repairing: Arc<tokio::sync::Mutex<()>>,
}

impl Leaderboards {
    /// Leaderboards over a store for a process that runs alone, none loaded yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { rooms: DashMap::default(), store, shared: None, repairing: Arc::default() }
    }

    /// Leaderboards shared with other nodes.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>, leaderboards: Arc<dyn state::Leaderboards>) -> Self {
        Self { shared: Some(SharedLeaderboard::new(leaderboards)), ..Self::new(store) }
    }

    /// Loads the leaderboards of all live sessions. Called before the worker starts, so that nothing is counted twice.
    /// Leaderboards in memory are rebuilt; shared ones are audited in the background, since a node that crashed may have
    /// stored comments that it did not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn warm(self: &Arc<Self>, now_ms: i64) -> Result<(), StoreError> {
        let rows = self.store.rooms(WARM_ROOMS).await?;
        let live = rows.into_iter().filter_map(|row| Some((row.room_id, row.session?)));
        if self.shared.is_some() {
            let (leaderboards, live) = (self.clone(), live.collect());
            tokio::spawn(async move { leaderboards.audit(live, now_ms).await });
            return Ok(());
        }
        for (room, session) in live {
            let leaderboard = self.rebuild(&room, &session, now_ms).await?;
            self.rooms.insert(room, Arc::new(Mutex::new(leaderboard)));
        }
        Ok(())
    }

    /// Whether other nodes share them.
    pub(crate) fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    async fn contents(&self, room: &RoomId, session: &Session, now_ms: i64) -> Result<LeaderboardContents, StoreError> {
        let scores = kept_rankings::scores(&*self.store, session, now_ms).await?;
        let liked = self.store.most_liked(room, Some(session.id), HOT_STORED).await?;
        Ok(LeaderboardContents { session: session.id, scores: scores.users, seen: scores.seen, liked })
    }

    async fn rebuild(&self, room: &RoomId, session: &Session, now_ms: i64) -> Result<Leaderboard, StoreError> {
        let mut contents = self.contents(room, session, now_ms).await?;
        if self.shared.is_none() {
            // Nothing is counted meanwhile, and places that are counted say nothing of lanes.
            contents.seen.clear();
        }
        Ok(Leaderboard::filled(contents, now_ms))
    }

    async fn latest_session(&self, room: &RoomId) -> Result<Option<Session>, StoreError> {
        Ok(self.store.sessions(room, 1).await?.into_iter().next().map(|row| row.session))
    }

    // The worker ---------------------------------------------------------------------------------

    /// Applies one entry to the leaderboard in memory and records it for [`Leaderboards::apply_pending`]. Returns whether that
    /// call is needed.
    pub(crate) fn apply(&self, entry: &Entry, now_ms: i64) -> bool {
        if let Record::SessionStarted(session) = &entry.record
            && self.shared.is_none()
        {
            let leaderboard = Leaderboard::new(Some(session.id), now_ms);
            self.rooms.insert(entry.room_id.clone(), Arc::new(Mutex::new(leaderboard)));
        }
        if let Some(leaderboard) = self.rooms.get(&entry.room_id).map(|leaderboard| leaderboard.clone()) {
            let mut leaderboard = leaderboard.lock();
            leaderboard.touched_ms = now_ms;
            if let Record::Changed(Change::Purged { user_id, .. }) = &entry.record {
                leaderboard.purge(user_id);
            }
            each_change(
                entry,
                |position, user| self.key(position, user),
                |session, change| leaderboard.apply(session, &change),
            );
        }
        self.shared.as_ref().is_some_and(|shared| shared.note(entry, now_ms))
    }

    fn key(&self, position: u64, user: &model::UserId) -> OrderingKey {
        if self.shared.is_some() { OrderingKey::of(position, user) } else { OrderingKey::ONLY }
    }

    /// Applies the rooms' recorded changes to the shared leaderboards. After that every reader on every node sees them, unless
    /// the shared leaderboards are away; that costs one call's time at most once a room.
    pub(crate) async fn apply_pending(self: &Arc<Self>, rooms: Vec<RoomId>, now_ms: i64) {
        if let Some(shared) = &self.shared
            && !shared.apply_pending(rooms, now_ms).await
        {
            self.repair(now_ms);
        }
    }

    /// What to push to a room's viewers now, from the leaderboard in memory.
    pub(crate) fn local_update(&self, room: &RoomId) -> LeaderboardUpdate {
        self.rooms
            .get(room)
            .map(|leaderboard| leaderboard.clone())
            .map_or(LeaderboardUpdate::Unchanged, |leaderboard| leaderboard.lock().next_update())
    }

    /// What to push to the rooms' viewers now, from the shared leaderboards; one node pushes each change, at most once in
    /// `pause_ms`. From memory while the shared ones are away.
    pub(crate) async fn next_update(
        &self,
        rooms: Vec<RoomId>,
        pause_ms: i64,
        now_ms: i64,
    ) -> Vec<(RoomId, LeaderboardUpdate)> {
        let asked = stream::iter(rooms.into_iter().map(async |room| {
            let shared = match &self.shared {
                Some(shared) => shared.next_update(&room, pause_ms, now_ms).await,
                None => None,
            };
            let next_update = shared.unwrap_or_else(|| self.local_update(&room));
            (room, next_update)
        }));
        asked.buffer_unordered(TOGETHER).collect().await
    }

    /// Starts a task that applies what failed and finds what may have been lost; one at a time.
    pub(crate) fn repair(self: &Arc<Self>, now_ms: i64) {
        if self.shared.is_none() {
            return;
        }
        let (leaderboards, Ok(alone)) = (self.clone(), self.repairing.clone().try_lock_owned()) else { return };
        tokio::spawn(async move {
            leaderboards.repair_all(now_ms).await;
            drop(alone);
        });
    }

    async fn repair_all(&self, now_ms: i64) {
        let Some(shared) = &self.shared else { return };
        for (room, comment) in shared.to_read_again(now_ms) {
            self.read_likes(shared, &room, comment, now_ms).await;
        }
        for rooms in shared.due_for_repair(now_ms).chunks(TOGETHER) {
            let repaired = join_all(rooms.iter().map(|room| self.repair_one(shared, room, now_ms))).await;
            // No call succeeded: the next ones will not either.
            if repaired.iter().all(Result::is_err) {
                return;
            }
        }
    }

    async fn repair_one(&self, shared: &SharedLeaderboard, room: &RoomId, now_ms: i64) -> Result<(), StateError> {
        let repaired = match shared.repair(room, now_ms).await {
            Ok(Remaining::Fill) => self.fill_and_repair(shared, room, now_ms).await,
            Ok(Remaining::Nothing) => return Ok(()),
            Err(away) => Err(away),
        };
        if shared.is_failing(room) {
            // Until then viewers see the leaderboard in memory, if the store answers; if not, the store logs it.
            let _ = self.leaderboard(room, now_ms).await;
        }
        repaired
    }

    async fn fill_and_repair(&self, shared: &SharedLeaderboard, room: &RoomId, now_ms: i64) -> Result<(), StateError> {
        if self.fill(shared, room, now_ms).await? {
            shared.repair(room, now_ms).await?;
        }
        Ok(())
    }

    /// Fills a room's shared leaderboard from the store. False when it cannot be done now: another node does it, the store is
    /// away (and logs it), or the room never had a session.
    async fn fill(&self, shared: &SharedLeaderboard, room: &RoomId, now_ms: i64) -> Result<bool, StateError> {
        let Some(claim) = shared.claim(room).await? else { return Ok(false) };
        let Ok(Some(session)) = self.latest_session(room).await else { return Ok(false) };
        let Ok(contents) = self.contents(room, &session, now_ms).await else { return Ok(false) };
        tracing::debug!(room = room.as_str(), users = contents.scores.len(), "filled a leaderboard from the store");
        shared.fill(room, claim, contents).await
    }

    async fn read_likes(&self, shared: &SharedLeaderboard, room: &RoomId, id: Snowflake, now_ms: i64) {
        // Deleted meanwhile, or the store is away: then its next like sets it right.
        let Ok(Some(comment)) = self.store.comment(id).await else { return };
        shared.note_likes(room, comment, now_ms);
        if shared.apply(room, now_ms).await != Ok(Remaining::Nothing) {
            shared.fail(room);
        }
    }

    /// Finds leaderboards that lack stored comments: a node ended between storing and counting them.
    async fn audit(&self, live: Vec<(RoomId, Session)>, now_ms: i64) {
        let Some(shared) = &self.shared else { return };
        let audited = stream::iter(live).map(|(room, session)| self.audit_one(shared, room, session, now_ms));
        audited.buffer_unordered(AUDITED_TOGETHER).for_each(async |()| ()).await;
    }

    async fn audit_one(&self, shared: &SharedLeaderboard, room: RoomId, session: Session, now_ms: i64) {
        for _ in 0..AUDIT_TRIES {
            if self.is_whole(shared, &room, &session, now_ms).await {
                return;
            }
        }
        tracing::warn!(room = room.as_str(), "could not compare a ranking with the store; it may lack comments");
    }

    /// Whether the leaderboard has all that was stored a second ago; if not, fills it. False as well while Redis or the store is
    /// away, which they log themselves.
    async fn is_whole(&self, shared: &SharedLeaderboard, room: &RoomId, session: &Session, now_ms: i64) -> bool {
        let contents = self.contents(room, session, now_ms).await;
        tokio::time::sleep(IN_FLIGHT).await;
        let Ok(contents) = contents else { return false };
        match shared.lacks(room, &contents, now_ms).await {
            Ok(true) => self.fill(shared, room, now_ms).await == Ok(true),
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// Fills a room's shared leaderboard from the store again, because comments reached the store later than their count: spooled
    /// ones, for instance. Does nothing when the leaderboards are in memory.
    ///
    /// # Errors
    /// When the shared leaderboards are away. The next reader that finds one missing fills it.
    pub async fn renew(&self, room: &RoomId, now_ms: i64) -> Result<(), StateError> {
        match &self.shared {
            Some(shared) => self.fill(shared, room, now_ms).await.map(drop),
            None => Ok(()),
        }
    }

    /// Fills the shared leaderboards of these rooms anew, without the users who were purged: in a task of its own, and again until
    /// it is done.
    pub(crate) fn refill(self: &Arc<Self>, rooms: Vec<RoomId>, now_ms: i64) {
        if self.shared.is_none() || rooms.is_empty() {
            return;
        }
        let leaderboards = self.clone();
        tokio::spawn(async move {
            for room in rooms {
                leaderboards.refill_one(&room, now_ms).await;
            }
        });
    }

    async fn refill_one(&self, room: &RoomId, now_ms: i64) {
        let Some(shared) = &self.shared else { return };
        for _ in 0..AUDIT_TRIES {
            let session = self.latest_session(room).await;
            if matches!(session, Ok(None)) || (session.is_ok() && self.fill(shared, room, now_ms).await == Ok(true)) {
                return;
            }
            tokio::time::sleep(IN_FLIGHT).await;
        }
        tracing::warn!(room = room.as_str(), "a ranking could not be read again; it may name a purged user");
    }

    /// Forgets leaderboards that were untouched for an hour.
    pub(crate) fn forget_idle(&self, now_ms: i64) {
        self.rooms.retain(|_, leaderboard| now_ms - leaderboard.lock().touched_ms < IDLE_MS);
        if let Some(shared) = &self.shared {
            shared.forget_idle(now_ms, IDLE_MS);
        }
    }

    // The readers --------------------------------------------------------------------------------

    /// At least the first `limit` ranks of the room's current or last session, best first, up to 10,000. A process that runs
    /// alone shares one snapshot until a rank changes.
    ///
    /// # Errors
    /// When the leaderboard is not loaded and the store cannot be read.
    pub async fn ranking(&self, room: &RoomId, limit: usize, now_ms: i64) -> Result<Arc<[RankingEntry]>, StoreError> {
        if let Some(view) = self.read(room, limit, 0, now_ms).await {
            return Ok(view.ranking);
        }
        let leaderboard = self.leaderboard(room, now_ms).await?;
        let entries = leaderboard.lock().ranking();
        Ok(entries)
    }

    /// The most liked comments of the room's current or last session, most liked first.
    ///
    /// # Errors
    /// When the leaderboard is not loaded and the store cannot be read.
    pub async fn hot(&self, room: &RoomId, limit: usize, now_ms: i64) -> Result<Vec<Arc<Comment>>, StoreError> {
        if let Some(view) = self.read(room, 0, limit, now_ms).await {
            return Ok(view.hot.to_vec());
        }
        let leaderboard = self.leaderboard(room, now_ms).await?;
        let comments = leaderboard.lock().hot(limit);
        Ok(comments)
    }

    /// Reads the shared leaderboard; the first reader who finds none fills it. `None` when none can be had.
    async fn read(&self, room: &RoomId, places: usize, hot: usize, now_ms: i64) -> Option<LeaderboardView> {
        let shared = self.shared.as_ref()?;
        for _ in 0..FILLING.0 {
            if let Some(view) = shared.read(room, places, hot).await.ok()? {
                return Some(view);
            }
            if self.latest_session(room).await.ok()?.is_none() {
                return Some(LeaderboardView::default());
            }
            if !self.fill(shared, room, now_ms).await.ok()? {
                tokio::time::sleep(FILLING.1).await;
            }
        }
        None
    }

    /// The leaderboard in memory. Where leaderboards are not shared, none in memory means no live session, so the store is
    /// complete. While shared ones are away it is read from the store every ten seconds.
    async fn leaderboard(&self, room: &RoomId, now_ms: i64) -> Result<Arc<Mutex<Leaderboard>>, StoreError> {
        let known = self.rooms.get(room).map(|leaderboard| leaderboard.clone());
        match (known, &self.shared) {
            (Some(leaderboard), None) => {
                // One that somebody reads is not forgotten.
                leaderboard.lock().touched_ms = now_ms;
                Ok(leaderboard)
            }
            (Some(leaderboard), Some(_)) if now_ms - leaderboard.lock().filled_ms < READ_AGAIN_MS => Ok(leaderboard),
            (known, _) => match (self.stored(room, now_ms).await, known) {
                (Err(_), Some(leaderboard)) => Ok(leaderboard),
                (stored, _) => stored,
            },
        }
    }

    async fn stored(&self, room: &RoomId, now_ms: i64) -> Result<Arc<Mutex<Leaderboard>>, StoreError> {
        let Some(session) = self.latest_session(room).await? else {
            return Ok(Arc::new(Mutex::new(Leaderboard::new(None, now_ms))));
        };
        let mut leaderboard = self.rebuild(room, &session, now_ms).await?;
        let Some(shared) = &self.shared else {
            return Ok(self.rooms.entry(room.clone()).or_insert_with(|| Arc::new(Mutex::new(leaderboard))).clone());
        };
        shared.each_unconfirmed(room, |session, change| {
            leaderboard.apply(session.filter(|_| !matches!(change.event, LeaderboardEvent::Deleted(_))), change);
        });
        let leaderboard = Arc::new(Mutex::new(leaderboard));
        self.rooms.insert(room.clone(), leaderboard.clone());
        Ok(leaderboard)
    }
}
