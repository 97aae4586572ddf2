//! Rankings and hot comments of the rooms: the room worker writes, the edges read.
//!
//! A board belongs to one live session and stays readable until the next one starts. What it shows can be rebuilt
//! from the store (comments, gifts, likes). A process that is alone has its boards in memory ([`crate::board`]) and rebuilds
//! them when it starts. Of several nodes each sees a part of what happens, so their boards are shared
//! ([`crate::shared`]); while those are away each node shows what the store had some seconds ago and what it saw since.

use std::sync::Arc;
use std::time::Duration;

use bus::{Entry, Record};
use dashmap::DashMap;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use model::{Comment, Lane, RankingEntry, RoomId, Snowflake};
use parking_lot::Mutex;
use state::StateError;
use state::boards::{HOT_KEPT, News, Picture, Snapshot, What};
use store::{Store, StoreError};

use crate::board::{Board, each_change};
use crate::shared::{Left, Shared, TOGETHER};

/// A board nobody touched for so long is forgotten; it can be rebuilt.
const IDLE_MS: i64 = 3_600_000;
/// Rooms read from the store when the server starts.
const WARM_ROOMS: usize = 100_000;
/// While the shared boards are away, what other nodes counted is read from the store so often.
const READ_AGAIN_MS: i64 = 10_000;
/// How long a reader waits while another fills the board, and how often it looks.
const FILLING: (usize, Duration) = (20, Duration::from_millis(25));
/// Live sessions compared with the store at once, when a node starts.
const AUDITED_TOGETHER: usize = 4;
/// How often that is tried, a second apart, while Redis or the store is away.
const AUDIT_TRIES: usize = 60;
/// What was kept is applied within less than this, by a node that lives.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// The boards of this process.
pub struct Boards {
    rooms: DashMap<RoomId, Arc<Mutex<Board>>, ahash::RandomState>,
    store: Arc<dyn Store>,
    shared: Option<Shared>,
    /// Held by the tending task.
    tending: Arc<tokio::sync::Mutex<()>>,
}

impl Boards {
    /// Boards over a store for a process that is alone, none loaded yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { rooms: DashMap::default(), store, shared: None, tending: Arc::default() }
    }

    /// Boards that are shared with other nodes.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>, boards: Arc<dyn state::Boards>) -> Self {
        Self { shared: Some(Shared::new(boards)), ..Self::new(store) }
    }

    /// Readies the boards of all sessions that are on; called before the worker starts, so that nothing is counted
    /// twice. Alone they are rebuilt; shared ones are looked after in the background, since a node that crashed may
    /// have kept comments that it did not count any more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn warm(self: &Arc<Self>, now_ms: i64) -> Result<(), StoreError> {
        let rows = self.store.rooms(WARM_ROOMS).await?;
        let live = rows.into_iter().filter_map(|row| Some((row.room_id, row.session?.id)));
        if self.shared.is_some() {
            let (boards, live) = (self.clone(), live.collect());
            tokio::spawn(async move { boards.audit(live, now_ms).await });
            return Ok(());
        }
        for (room, session) in live {
            let board = self.rebuild(&room, session, now_ms).await?;
            self.rooms.insert(room, Arc::new(Mutex::new(board)));
        }
        Ok(())
    }

    /// Whether other nodes share them.
    pub(crate) fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    async fn snapshot(&self, room: &RoomId, session: Snowflake) -> Result<Snapshot, StoreError> {
        let scores = self.store.scores(session).await?;
        let liked = self.store.most_liked(room, Some(session), HOT_KEPT).await?;
        Ok(Snapshot { session, scores: scores.users, seen: scores.seen, liked })
    }

    async fn rebuild(&self, room: &RoomId, session: Snowflake, now_ms: i64) -> Result<Board, StoreError> {
        let mut snapshot = self.snapshot(room, session).await?;
        if self.shared.is_none() {
            // Nothing is counted meanwhile, and places that are counted say nothing of lanes.
            snapshot.seen.clear();
        }
        Ok(Board::filled(snapshot, now_ms))
    }

    async fn latest_session(&self, room: &RoomId) -> Result<Option<Snowflake>, StoreError> {
        Ok(self.store.sessions(room, 1).await?.first().map(|row| row.session.id))
    }

    // The worker ---------------------------------------------------------------------------------

    /// Applies one entry: at once to what is in memory here, and notes it for [`Boards::settle`]. Says whether that
    /// is needed.
    pub(crate) fn apply(&self, entry: &Entry, now_ms: i64) -> bool {
        if let Record::SessionStarted(session) = &entry.record
            && self.shared.is_none()
        {
            let board = Board::of(Some(session.id), now_ms);
            self.rooms.insert(entry.room_id.clone(), Arc::new(Mutex::new(board)));
        }
        if let Some(board) = self.rooms.get(&entry.room_id).map(|board| board.clone()) {
            let mut board = board.lock();
            board.touched_ms = now_ms;
            each_change(entry, |place, user| self.lane(place, user), |session, change| board.apply(session, &change));
        }
        self.shared.as_ref().is_some_and(|shared| shared.note(entry, now_ms))
    }

    fn lane(&self, place: u64, user: &model::UserId) -> Lane {
        if self.shared.is_some() { Lane::of(place, user) } else { Lane::ONLY }
    }

    /// Applies to the shared boards what was noted of these rooms. After that every reader on every node finds it, unless the
    /// shared boards are away, which costs the time of one call at most once a room.
    pub(crate) async fn settle(self: &Arc<Self>, rooms: Vec<RoomId>, now_ms: i64) {
        if let Some(shared) = &self.shared
            && !shared.settle(rooms, now_ms).await
        {
            self.tend(now_ms);
        }
    }

    /// What is to be pushed to a room's viewers now, from the boards in memory.
    pub(crate) fn news_here(&self, room: &RoomId) -> News {
        self.rooms.get(room).map(|board| board.clone()).map_or(News::Same, |board| board.lock().news())
    }

    /// What is to be pushed to the viewers of these rooms now, from the shared boards; each change by one node, at most
    /// once in `pause_ms`. From memory while the shared ones are away.
    pub(crate) async fn news(&self, rooms: Vec<RoomId>, pause_ms: i64, now_ms: i64) -> Vec<(RoomId, News)> {
        let asked = stream::iter(rooms.into_iter().map(async |room| {
            let shared = match &self.shared {
                Some(shared) => shared.news(&room, pause_ms, now_ms).await,
                None => None,
            };
            let news = shared.unwrap_or_else(|| self.news_here(&room));
            (room, news)
        }));
        asked.buffer_unordered(TOGETHER).collect().await
    }

    /// Looks after what could not be applied and what may have been lost, in a task of its own; one at a time.
    pub(crate) fn tend(self: &Arc<Self>, now_ms: i64) {
        if self.shared.is_none() {
            return;
        }
        let (boards, Ok(alone)) = (self.clone(), self.tending.clone().try_lock_owned()) else { return };
        tokio::spawn(async move {
            boards.tend_all(now_ms).await;
            drop(alone);
        });
    }

    async fn tend_all(&self, now_ms: i64) {
        let Some(shared) = &self.shared else { return };
        for (room, comment) in shared.to_read_again(now_ms) {
            self.read_likes(shared, &room, comment, now_ms).await;
        }
        for rooms in shared.to_tend(now_ms).chunks(TOGETHER) {
            let tended = join_all(rooms.iter().map(|room| self.tend_one(shared, room, now_ms))).await;
            // Nobody answered: the others will not be answered either.
            if tended.iter().all(Result::is_err) {
                return;
            }
        }
    }

    async fn tend_one(&self, shared: &Shared, room: &RoomId, now_ms: i64) -> Result<(), StateError> {
        let tended = match shared.tend(room, now_ms).await {
            Ok(Left::Fill) => self.fill_and_tend(shared, room, now_ms).await,
            Ok(Left::Nothing) => return Ok(()),
            Err(away) => Err(away),
        };
        if shared.is_failing(room) {
            // Until it is done viewers are shown the board in memory, if the store answers; if not, it has said so.
            let _ = self.board(room, now_ms).await;
        }
        tended
    }

    async fn fill_and_tend(&self, shared: &Shared, room: &RoomId, now_ms: i64) -> Result<(), StateError> {
        if self.fill(shared, room).await? {
            shared.tend(room, now_ms).await?;
        }
        Ok(())
    }

    /// Fills a room's shared board from the store. False when it could not be done now: another does it, the store is
    /// away (which it has said), or the room never had a session.
    async fn fill(&self, shared: &Shared, room: &RoomId) -> Result<bool, StateError> {
        let Some(claim) = shared.claim(room).await? else { return Ok(false) };
        let Ok(Some(session)) = self.latest_session(room).await else { return Ok(false) };
        let Ok(snapshot) = self.snapshot(room, session).await else { return Ok(false) };
        tracing::debug!(room = room.as_str(), users = snapshot.scores.len(), "a board is filled from the store");
        shared.fill(room, claim, snapshot).await
    }

    async fn read_likes(&self, shared: &Shared, room: &RoomId, id: Snowflake, now_ms: i64) {
        // Deleted meanwhile, or the store is away: then its next like sets it right.
        let Ok(Some(comment)) = self.store.comment(id).await else { return };
        shared.note_likes(room, comment, now_ms);
        if shared.apply(room, now_ms).await != Ok(Left::Nothing) {
            shared.fail(room);
        }
    }

    /// Finds boards that lack comments which are kept: their node ended between keeping and counting them.
    async fn audit(&self, live: Vec<(RoomId, Snowflake)>, now_ms: i64) {
        let Some(shared) = &self.shared else { return };
        let audited = stream::iter(live).map(|(room, session)| self.audit_one(shared, room, session, now_ms));
        audited.buffer_unordered(AUDITED_TOGETHER).for_each(async |()| ()).await;
    }

    async fn audit_one(&self, shared: &Shared, room: RoomId, session: Snowflake, now_ms: i64) {
        for _ in 0..AUDIT_TRIES {
            if self.is_whole(shared, &room, session, now_ms).await {
                return;
            }
        }
        tracing::warn!(room = room.as_str(), "a ranking could not be compared with the store; it may lack comments");
    }

    /// Whether the board has all that was kept a second ago, or is to be filled anyway; if not, it is filled. False as well
    /// while Redis or the store is away, which they say themselves.
    async fn is_whole(&self, shared: &Shared, room: &RoomId, session: Snowflake, now_ms: i64) -> bool {
        let snapshot = self.snapshot(room, session).await;
        tokio::time::sleep(IN_FLIGHT).await;
        let Ok(snapshot) = snapshot else { return false };
        match shared.lacks(room, &snapshot, now_ms).await {
            Ok(true) => self.fill(shared, room).await == Ok(true),
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// Has a room's shared board filled from the store, because comments were kept later than they were counted: what was
    /// spooled while the store was away, for instance. Without effect when the boards are in memory.
    ///
    /// # Errors
    /// When the shared boards are away: whoever finds one missing fills it.
    pub async fn renew(&self, room: &RoomId) -> Result<(), StateError> {
        match &self.shared {
            Some(shared) => self.fill(shared, room).await.map(drop),
            None => Ok(()),
        }
    }

    /// Forgets boards that nobody touched for an hour.
    pub(crate) fn forget_idle(&self, now_ms: i64) {
        self.rooms.retain(|_, board| now_ms - board.lock().touched_ms < IDLE_MS);
        if let Some(shared) = &self.shared {
            shared.forget_idle(now_ms, IDLE_MS);
        }
    }

    // The readers --------------------------------------------------------------------------------

    /// The first `limit` places, or more, of the ranking of the room's session, or of its last one, best first, up to
    /// 10,000 places. Alone it is the same snapshot for everybody until a place changes.
    ///
    /// # Errors
    /// When the board is not at hand and the store cannot be read.
    pub async fn ranking(&self, room: &RoomId, limit: usize, now_ms: i64) -> Result<Arc<[RankingEntry]>, StoreError> {
        if let Some(picture) = self.read(room, limit, 0).await {
            return Ok(picture.ranking);
        }
        let board = self.board(room, now_ms).await?;
        let entries = board.lock().ranking();
        Ok(entries)
    }

    /// The most liked comments of the room's session, or of its last one, most liked first.
    ///
    /// # Errors
    /// When the board is not at hand and the store cannot be read.
    pub async fn hot(&self, room: &RoomId, limit: usize, now_ms: i64) -> Result<Vec<Arc<Comment>>, StoreError> {
        if let Some(picture) = self.read(room, 0, limit).await {
            return Ok(picture.hot.to_vec());
        }
        let board = self.board(room, now_ms).await?;
        let comments = board.lock().hot(limit);
        Ok(comments)
    }

    /// From the shared board; the first reader who finds none fills it. `None` when there is none to be had.
    async fn read(&self, room: &RoomId, places: usize, hot: usize) -> Option<Picture> {
        let shared = self.shared.as_ref()?;
        for _ in 0..FILLING.0 {
            if let Some(picture) = shared.read(room, places, hot).await.ok()? {
                return Some(picture);
            }
            if self.latest_session(room).await.ok()?.is_none() {
                return Some(Picture::default());
            }
            if !self.fill(shared, room).await.ok()? {
                tokio::time::sleep(FILLING.1).await;
            }
        }
        None
    }

    /// The board in memory. Without shared ones, no board means no session on: nothing is being counted, so what is stored is
    /// complete. While shared ones are away it is read from the store again and again.
    async fn board(&self, room: &RoomId, now_ms: i64) -> Result<Arc<Mutex<Board>>, StoreError> {
        let known = self.rooms.get(room).map(|board| board.clone());
        match (known, &self.shared) {
            (Some(board), None) => Ok(board),
            (Some(board), Some(_)) if now_ms - board.lock().filled_ms < READ_AGAIN_MS => Ok(board),
            (known, _) => match (self.stored(room, now_ms).await, known) {
                (Err(_), Some(board)) => Ok(board),
                (stored, _) => stored,
            },
        }
    }

    async fn stored(&self, room: &RoomId, now_ms: i64) -> Result<Arc<Mutex<Board>>, StoreError> {
        let Some(session) = self.latest_session(room).await? else {
            return Ok(Arc::new(Mutex::new(Board::of(None, now_ms))));
        };
        let mut board = self.rebuild(room, session, now_ms).await?;
        let Some(shared) = &self.shared else {
            return Ok(self.rooms.entry(room.clone()).or_insert_with(|| Arc::new(Mutex::new(board))).clone());
        };
        shared.each_kept(room, |session, change| {
            board.apply(session.filter(|_| !matches!(change.what, What::Deleted(_))), change);
        });
        let board = Arc::new(Mutex::new(board));
        self.rooms.insert(room.clone(), board.clone());
        Ok(board)
    }
}
