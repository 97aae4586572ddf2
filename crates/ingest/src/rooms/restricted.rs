//! Which rooms not everybody may enter, so that the others can be entered while the store is away.
//!
//! Owned by [`super::Rooms`]; knows settings alone, never who asks.

use std::collections::HashSet;

use model::{RoomId, RoomSettings};
use parking_lot::RwLock;

/// The rooms that not everybody may enter.
#[derive(Default)]
pub(super) struct RestrictedRooms {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    rooms: HashSet<RoomId>,
    /// There are no others.
    complete: bool,
}

impl RestrictedRooms {
    /// From here on every restricted room is noted: none is missing.
    pub fn set_complete(&self) {
        self.known.write().complete = true;
    }

    /// There may be restricted rooms that were not noted.
    pub fn set_incomplete(&self) {
        self.known.write().complete = false;
    }

    /// Notes a room's settings; remembers at most `most` restricted rooms.
    pub fn note(&self, room: &RoomId, settings: &RoomSettings, most: usize) {
        let mut known = self.known.write();
        if is_open(settings) {
            known.rooms.remove(room);
        } else if known.rooms.len() < most {
            known.rooms.insert(room.clone());
        } else {
            known.complete = false;
        }
    }

    /// Whether the room is known to be open to all.
    pub fn is_known_open(&self, room: &RoomId) -> bool {
        let known = self.known.read();
        known.complete && !known.rooms.contains(room)
    }
}

/// Whether everybody may enter.
pub(super) fn is_open(settings: &RoomSettings) -> bool {
    !settings.private && settings.enabled
}
