//! Who has a role in which room, for lists that name no room.
//!
//! Owned by [`super::Rooms`]; follows the settings that this node reads or hears of. Decides nothing: rights are asked of each
//! room.

use std::collections::BTreeSet;

use dashmap::DashMap;
use model::{RoomId, RoomSettings, UserId};

/// Rooms by user.
#[derive(Default)]
pub(super) struct RoleIndex(DashMap<UserId, BTreeSet<RoomId>, ahash::RandomState>);

impl RoleIndex {
    /// Notes a room's roles; `before` are those that were in force here.
    pub fn note(&self, room: &RoomId, before: Option<&RoomSettings>, settings: &RoomSettings) {
        let gone = before.into_iter().flat_map(|before| before.roles.keys());
        for user in gone.filter(|user| !settings.roles.contains_key(*user)) {
            self.0.remove_if_mut(user, |_, rooms| {
                rooms.remove(room);
                rooms.is_empty()
            });
        }
        for user in settings.roles.keys() {
            self.0.entry(user.clone()).or_default().insert(room.clone());
        }
    }

    pub fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        self.0.get(user).map_or_else(Vec::new, |rooms| rooms.iter().cloned().collect())
    }
}
