//! Which room showed a comment that is not stored: for who deletes one by its id.
//!
//! Owned by the hub, fed by its rooms. Bounded: the oldest are forgotten, long after they left the rings.

use std::collections::VecDeque;

use ahash::AHashMap;
use model::{RoomId, Snowflake};
use parking_lot::Mutex;

/// Comments remembered.
const REMEMBERED_MAX: usize = 65_536;

/// The rooms of comments that are not stored.
#[derive(Default)]
pub(crate) struct Unstored(Mutex<Known>);

#[derive(Default)]
struct Known {
    rooms: AHashMap<Snowflake, RoomId>,
    order: VecDeque<Snowflake>,
}

impl Unstored {
    pub fn note(&self, id: Snowflake, room: &RoomId) {
        let mut known = self.0.lock();
        if known.rooms.insert(id, room.clone()).is_none() {
            known.order.push_back(id);
        }
        if known.order.len() > REMEMBERED_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.rooms.remove(&oldest);
        }
    }

    pub fn room_of(&self, id: Snowflake) -> Option<RoomId> {
        self.0.lock().rooms.get(&id).cloned()
    }
}
