//! Takes what purged people said off this node's screens: from rings and pending batches, kept or not, and what arrives late.
//!
//! A worker tells every node of a purge. The hub then deletes the person's comments in the rooms that it holds, as if their ids
//! had been named. It remembers the purge for a while: a comment that was made before and arrives after it is not shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Change, Entry, Record};
use model::{Comment, RoomId, Snowflake, UserId};
use parking_lot::Mutex;

use crate::hub::Hub;
use crate::room::{Room, RoomInner};

/// How long a purge is remembered, in milliseconds: as long as a deletion.
const REMEMBERED_MS: i64 = 600_000;
/// Purges remembered at once; beyond it the oldest is forgotten.
const REMEMBERED_MAX: usize = 1_024;

struct Purge {
    user: UserId,
    /// `None` is everywhere.
    room: Option<RoomId>,
    before_ms: i64,
    noted_ms: i64,
}

impl Purge {
    fn covers(&self, comment: &Comment) -> bool {
        self.user == comment.user_id
            && comment.created_at_ms < self.before_ms
            && self.room.as_ref().is_none_or(|room| *room == comment.room_id)
    }
}

/// The purges of the last minutes.
#[derive(Default)]
pub(crate) struct Purges {
    recent: Mutex<Vec<Purge>>,
    any: AtomicBool,
}

impl Purges {
    fn note(&self, purge: Purge) {
        let mut recent = self.recent.lock();
        recent.retain(|known| (0..REMEMBERED_MS).contains(&(purge.noted_ms - known.noted_ms)));
        if recent.len() >= REMEMBERED_MAX {
            recent.remove(0);
        }
        recent.push(purge);
        self.any.store(true, Ordering::Release);
    }

    /// Whether the comment was purged before it arrived.
    pub fn cover(&self, comment: &Comment) -> bool {
        self.any.load(Ordering::Acquire) && self.recent.lock().iter().any(|purge| purge.covers(comment))
    }
}

impl Hub {
    /// Applies the purges among these entries of a room.
    pub(crate) fn apply_purges(&self, room_id: &RoomId, entries: &[Entry]) {
        for entry in entries {
            let Record::Changed(Change::Purged { user_id, before_ms }) = &entry.record else { continue };
            let room = Some(room_id.clone()).filter(|room| !room.is_everywhere());
            let noted_ms = self.context.clock.now_ms();
            let held: Vec<_> = match &room {
                Some(room) => self.rooms.get(room).map(|slot| slot.room.clone()).into_iter().collect(),
                None => self.rooms.iter().map(|slot| slot.room.clone()).collect(),
            };
            // Noted first, so that nothing of it arrives behind the deletion.
            self.context.purges.note(Purge { user: user_id.clone(), room, before_ms: *before_ms, noted_ms });
            held.iter().for_each(|room| room.purge(user_id, *before_ms));
        }
    }
}

impl Room {
    /// Deletes what a user said before a moment.
    fn purge(self: &Arc<Self>, user: &UserId, before_ms: i64) {
        let mut inner = self.inner.lock();
        let ids = shown_of(&inner, user, before_ms);
        if !ids.is_empty() {
            self.apply_row(&mut inner, None, ids);
        }
    }
}

fn shown_of(inner: &RoomInner, user: &UserId, before_ms: i64) -> Vec<Snowflake> {
    let few = inner.shadows.seen_by(Some(user), false).chain(inner.early.seen_by(Some(user), false));
    let shadows = few.map(|(_, comment)| comment);
    let pending = inner.pending_comments();
    let all = inner.ring.comments().chain(shadows).chain(pending);
    let theirs = all.filter(|comment| comment.user_id == *user && comment.created_at_ms < before_ms);
    let mut ids: Vec<_> = theirs.map(|comment| comment.id).collect();
    ids.sort();
    ids.dedup();
    ids
}
