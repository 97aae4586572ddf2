//! Rankings and hot comments of the rooms worked here: the room worker writes, the API reads.
//!
//! A board belongs to one live session and stays readable until the next one starts. What it shows
//! can be rebuilt from the store (comments, gifts, likes), which is what happens after a restart.

use std::sync::Arc;

use bus::Record;
use dashmap::DashMap;
use model::{Comment, EventBody, RankingEntry, RoomId, Session, Snowflake};
use parking_lot::Mutex;
use store::{Store, StoreError};

use crate::hot::HotComments;
use crate::ranking::{PLACES_MAX, Ranking};

/// Hot comments a board keeps in order.
const HOT_SHOWN: usize = 100;
/// Places of the ranking that are pushed to viewers; the whole ranking is read over HTTP.
const RANKING_PUSHED: usize = 10;
/// Hot comments that are pushed to viewers.
const HOT_PUSHED: usize = 10;
/// A board nobody touched for so long is forgotten; it can be rebuilt.
const IDLE_MS: i64 = 3_600_000;
/// Rooms read from the store when the server starts.
const WARM_ROOMS: usize = 100_000;

struct Board {
    session: Option<Snowflake>,
    ranking: Ranking,
    hot: HotComments,
    /// The head of the ranking and the version of the hot comments that viewers know.
    pushed: (Arc<[RankingEntry]>, u64),
    /// The session is on: gifts count.
    on: bool,
    touched_ms: i64,
}

impl Board {
    fn of(session: Option<Snowflake>, now_ms: i64) -> Self {
        let hot = HotComments::new(HOT_SHOWN);
        let pushed = (Arc::from([]), hot.version());
        Self { session, ranking: Ranking::new(), hot, pushed, on: false, touched_ms: now_ms }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Comment { comment, .. } if comment.session_id == self.session => {
                self.ranking.add(&comment.user_id, &comment.username, 1);
            }
            Record::Event(event) => match &event.body {
                EventBody::Gift(gift) if self.on => self.ranking.add(&gift.user_id, &gift.username, gift.value),
                EventBody::CommentsDeleted { comment_ids } => {
                    comment_ids.iter().for_each(|id| self.hot.removed(*id));
                }
                _ => {}
            },
            Record::Liked { comment } if comment.session_id == self.session => self.hot.liked(comment.clone()),
            Record::SessionEnded(_) => self.on = false,
            _ => {}
        }
    }

    /// What changed since it was last asked for.
    fn news(&mut self) -> Vec<EventBody> {
        let (ranking, hot) = (self.ranking.snapshot(RANKING_PUSHED), self.hot.version());
        let mut news = Vec::new();
        if ranking != self.pushed.0 {
            news.push(EventBody::Ranking { entries: ranking.clone() });
        }
        if hot != self.pushed.1 {
            news.push(EventBody::HotComments { comments: self.hot.top(HOT_PUSHED).into() });
        }
        self.pushed = (ranking, hot);
        news
    }
}

/// The boards of this process.
pub struct Boards {
    rooms: DashMap<RoomId, Arc<Mutex<Board>>, ahash::RandomState>,
    store: Arc<dyn Store>,
}

impl Boards {
    /// Boards over a store, none loaded yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { rooms: DashMap::default(), store }
    }

    /// Rebuilds the boards of all sessions that are on; called before the worker starts, so that
    /// nothing is counted twice.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn warm(&self, now_ms: i64) -> Result<(), StoreError> {
        for row in self.store.rooms(WARM_ROOMS).await? {
            if let Some(session) = row.session {
                let mut board = self.rebuild(&row.room_id, session.id, now_ms).await?;
                board.on = true;
                self.rooms.insert(row.room_id, Arc::new(Mutex::new(board)));
            }
        }
        Ok(())
    }

    async fn rebuild(&self, room: &RoomId, session: Snowflake, now_ms: i64) -> Result<Board, StoreError> {
        let mut board = Board::of(Some(session), now_ms);
        for (user_id, username, score) in self.store.scores(session).await? {
            board.ranking.add(&user_id, &username, score);
        }
        for comment in self.store.most_liked(room, Some(session), board.hot.capacity()).await? {
            board.hot.liked(comment);
        }
        board.pushed = (board.ranking.snapshot(RANKING_PUSHED), board.hot.version());
        Ok(board)
    }

    /// A session starts: its board is empty.
    pub(crate) fn start(&self, session: &Session, now_ms: i64) {
        let board = Board { on: true, ..Board::of(Some(session.id), now_ms) };
        self.rooms.insert(session.room_id.clone(), Arc::new(Mutex::new(board)));
    }

    /// Applies one record of a room.
    pub(crate) fn apply(&self, room: &RoomId, record: &Record, now_ms: i64) {
        let board = match self.rooms.get(room) {
            Some(board) => board.clone(),
            None => return,
        };
        let mut board = board.lock();
        board.touched_ms = now_ms;
        board.apply(record);
    }

    /// What is to be pushed to a room's viewers now.
    pub(crate) fn news(&self, room: &RoomId) -> Vec<EventBody> {
        self.rooms.get(room).map(|board| board.clone()).map_or_else(Vec::new, |board| board.lock().news())
    }

    /// Forgets boards that nobody touched for an hour.
    pub(crate) fn forget_idle(&self, now_ms: i64) {
        self.rooms.retain(|_, board| now_ms - board.lock().touched_ms < IDLE_MS);
    }

    /// The ranking of the room's session, or of its last one, best first, up to 10,000 places; the
    /// same snapshot for everybody until a place changes.
    ///
    /// # Errors
    /// When the board is not in memory and the store cannot be read.
    pub async fn ranking(&self, room: &RoomId, now_ms: i64) -> Result<Arc<[RankingEntry]>, StoreError> {
        let board = self.board(room, now_ms).await?;
        let entries = board.lock().ranking.snapshot(PLACES_MAX);
        Ok(entries)
    }

    /// The most liked comments of the room's session, or of its last one, most liked first.
    ///
    /// # Errors
    /// When the board is not in memory and the store cannot be read.
    pub async fn hot(&self, room: &RoomId, limit: usize, now_ms: i64) -> Result<Vec<Arc<Comment>>, StoreError> {
        let board = self.board(room, now_ms).await?;
        let comments = board.lock().hot.top(limit);
        Ok(comments)
    }

    async fn board(&self, room: &RoomId, now_ms: i64) -> Result<Arc<Mutex<Board>>, StoreError> {
        if let Some(board) = self.rooms.get(room) {
            return Ok(board.clone());
        }
        // No board means no session on: nothing is being counted, so what is stored is complete.
        let board = match self.store.sessions(room, 1).await?.first() {
            Some(row) => self.rebuild(room, row.session.id, now_ms).await?,
            None => return Ok(Arc::new(Mutex::new(Board::of(None, now_ms)))),
        };
        Ok(self.rooms.entry(room.clone()).or_insert_with(|| Arc::new(Mutex::new(board))).clone())
    }
}
