//! The boards that several nodes share, from the side of one of them: the worker notes what happened, applies it before the
//! log is told that it is handled, and tends in the background to what could not be applied.
//!
//! Owns the sides of the rooms ([`crate::side`]). Used by [`crate::boards`] alone, which has the store and what is
//! shown while the shared boards are away. A room whose board is away or must be filled first costs the worker nothing
//! more until that is done.

use std::sync::Arc;

use bus::{Entry, Record};
use dashmap::DashMap;
use futures::stream::{self, StreamExt};
use model::snowflake::made_at_ms;
use model::{Comment, Lane, RoomId, Snowflake};
use parking_lot::Mutex;
use state::StateError;
use state::boards::{Applied, Boards, Change, Claim, Likes, News, Picture, Run, Snapshot, What};

use crate::board::{PUSHED, each_change};
use crate::side::{KEEP_MS, Next, Side};

/// Rooms whose boards are asked at once.
pub(crate) const TOGETHER: usize = 32;
/// A session younger than this has all that happened in it in the nodes' sides. Below [`KEEP_MS`] by more than clocks differ.
const YOUNG_MS: i64 = 3_000;
/// Between two questions whether the board still has what was applied.
const CHECK_MS: i64 = KEEP_MS / 2;
/// Attempts to apply a run: one, one after the board had lost something, and one more in case it was replaced meanwhile.
const TRIES: usize = 3;
/// After a like was taken back its comment is read again, because likes that were counted at the same moment on
/// other nodes may have overtaken it. Milliseconds.
const READ_AGAIN_MS: i64 = 1_000;
/// Comments that wait to be read again; beyond it their count may be off by one until their next like.
const READ_AGAIN_MAX: usize = 4_096;

/// What is left to do for a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// Its board must be filled.
    Fill,
}

pub(crate) struct Shared {
    boards: Arc<dyn Boards>,
    sides: DashMap<RoomId, Arc<Mutex<Side>>, ahash::RandomState>,
    read_again: Mutex<Vec<(i64, RoomId, Snowflake)>>,
}

impl Shared {
    pub(crate) fn new(boards: Arc<dyn Boards>) -> Self {
        Self { boards, sides: DashMap::default(), read_again: Mutex::default() }
    }

    fn side(&self, room: &RoomId) -> Arc<Mutex<Side>> {
        if let Some(side) = self.sides.get(room) {
            return side.clone();
        }
        self.sides.entry(room.clone()).or_default().clone()
    }

    /// Takes in what happened; says whether it concerns the board at all.
    pub(crate) fn note(&self, entry: &Entry, now_ms: i64) -> bool {
        let mut noted = false;
        if let Record::SessionStarted(session) = &entry.record {
            self.side(&entry.room_id).lock().begin(Some(session.id));
            noted = true;
        }
        each_change(entry, Lane::of, |session, change| {
            if let What::Liked(comment, Likes::Fewer) = &change.what {
                self.read_again_later(&entry.room_id, comment.id, now_ms);
            }
            let side = self.side(&entry.room_id);
            let mut side = side.lock();
            side.touched_ms = now_ms;
            side.note(session, change, now_ms);
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
        let (session, place) = (comment.session_id, 0);
        let change = Change { lane: Lane::ONLY, place, what: What::Liked(comment, Likes::Read) };
        self.side(room).lock().note(session, change, now_ms);
    }

    /// Leaves a room to the tending task.
    pub(crate) fn fail(&self, room: &RoomId) {
        self.side(room).lock().failing = true;
    }

    /// Whether the worker should leave the room to the tending task.
    pub(crate) fn is_failing(&self, room: &RoomId) -> bool {
        self.sides.get(room).is_some_and(|side| side.lock().failing)
    }

    /// Applies what these rooms have fresh, all at once; true when all went well.
    pub(crate) async fn settle(&self, rooms: Vec<RoomId>, now_ms: i64) -> bool {
        let rooms = rooms.into_iter().filter(|room| !self.is_failing(room));
        let settled = stream::iter(rooms.map(async |room| match self.apply(&room, now_ms).await {
            Ok(Left::Nothing) => true,
            Ok(Left::Fill) | Err(_) => {
                self.fail(&room);
                false
            }
        }));
        settled.buffer_unordered(TOGETHER).fold(true, async |all, one| all && one).await
    }

    /// Applies what a room has fresh.
    pub(crate) async fn apply(&self, room: &RoomId, now_ms: i64) -> Result<Left, StateError> {
        let side = self.side(room);
        let mut tries = TRIES;
        while tries > 0 {
            let next = side.lock().next();
            if next.changes.is_empty() && next.session.is_none() {
                return Ok(Left::Nothing);
            }
            match self.boards.apply(room, run(&next, now_ms)).await? {
                Applied::Done => {
                    if !side.lock().done(&next) {
                        return Ok(Left::Nothing);
                    }
                }
                Applied::Past => {
                    side.lock().drop_all();
                    return Ok(Left::Nothing);
                }
                Applied::Behind => {
                    side.lock().again();
                    tries -= 1;
                }
                Applied::Missing | Applied::Lost => {
                    side.lock().again();
                    return Ok(Left::Fill);
                }
            }
        }
        Ok(Left::Nothing)
    }

    /// Asks whether the board still has what was applied; if so, lets go of what is old.
    async fn check(&self, room: &RoomId, side: &Mutex<Side>, now_ms: i64) -> Result<Left, StateError> {
        let (session, checks) = {
            let side = side.lock();
            (side.session(), side.checks())
        };
        let run = Run { session, young: false, checks: &checks, changes: &[], now_ms };
        match self.boards.apply(room, run).await? {
            Applied::Done | Applied::Past => {
                side.lock().checked(now_ms);
                Ok(Left::Nothing)
            }
            Applied::Behind => {
                side.lock().again();
                self.apply(room, now_ms).await
            }
            Applied::Missing | Applied::Lost => {
                side.lock().again();
                Ok(Left::Fill)
            }
        }
    }

    /// Rooms with something to apply that failed before, or to look after.
    pub(crate) fn to_tend(&self, now_ms: i64) -> Vec<RoomId> {
        let due = |side: &Side| side.failing || (!side.is_at_rest() && now_ms - side.checked_ms >= CHECK_MS);
        self.sides.iter().filter(|side| due(&side.lock())).map(|side| side.key().clone()).collect()
    }

    /// Applies or checks. A room stays failing until this says that nothing is left.
    pub(crate) async fn tend(&self, room: &RoomId, now_ms: i64) -> Result<Left, StateError> {
        let side = self.side(room);
        let failing = side.lock().failing;
        let left = if failing { self.apply(room, now_ms).await } else { self.check(room, &side, now_ms).await };
        side.lock().failing = !matches!(left, Ok(Left::Nothing));
        left
    }

    /// Whether a board lacks something of what the store had counted a while ago.
    pub(crate) async fn lacks(&self, room: &RoomId, snapshot: &Snapshot, now_ms: i64) -> Result<bool, StateError> {
        let check = |&(lane, place): &(Lane, u64)| state::boards::Check { lane, forgotten: place, applied: 0 };
        let checks: Vec<_> = snapshot.seen.iter().map(check).collect();
        let run = Run { session: Some(snapshot.session), young: false, checks: &checks, changes: &[], now_ms };
        Ok(self.boards.apply(room, run).await? == Applied::Lost)
    }

    /// The right to fill a room's board from what the store has from now on.
    pub(crate) async fn claim(&self, room: &RoomId) -> Result<Option<Claim>, StateError> {
        let claim = self.boards.claim(room).await?;
        if claim.is_some() {
            self.side(room).lock().trust_the_store();
        }
        Ok(claim)
    }

    pub(crate) async fn fill(&self, room: &RoomId, claim: Claim, snapshot: Snapshot) -> Result<bool, StateError> {
        self.boards.fill(room, claim, snapshot).await
    }

    pub(crate) async fn read(&self, room: &RoomId, places: usize, hot: usize) -> Result<Option<Picture>, StateError> {
        self.boards.read(room, places, hot).await
    }

    /// What no node has shown yet; `None` when the board cannot be asked.
    pub(crate) async fn news(&self, room: &RoomId, pause_ms: i64, now_ms: i64) -> Option<News> {
        if self.is_failing(room) {
            return None;
        }
        self.boards.news(room, PUSHED, pause_ms, now_ms).await.ok()
    }

    /// What this node has not let go of yet.
    pub(crate) fn each_kept(&self, room: &RoomId, mut to: impl FnMut(Option<Snowflake>, &Change)) {
        if let Some(side) = self.sides.get(room).map(|side| side.clone()) {
            side.lock().kept().for_each(|(session, change)| to(session, change));
        }
    }

    pub(crate) fn forget_idle(&self, now_ms: i64, idle_ms: i64) {
        self.sides.retain(|_, side| {
            let side = side.lock();
            !side.is_at_rest() || now_ms - side.touched_ms < idle_ms
        });
    }
}

fn run(next: &Next, now_ms: i64) -> Run<'_> {
    let young = next.whole && next.session.is_some_and(|session| now_ms - made_at_ms(session) < YOUNG_MS);
    Run { session: next.session, young, checks: &next.checks, changes: &next.changes, now_ms }
}
