//! Who somebody is, after a token or a development identity has been verified.

use std::sync::Arc;

use crate::{Level, RoomId, UserId};

/// Longest shown name, in characters.
pub const USERNAME_CHARS_MAX: usize = 32;

/// A verified identity. Holding one is the proof that verification happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`.
    pub user_id: UserId,
    /// The token's `name`, or the user id when it has none.
    pub username: Arc<str>,
    /// The token's `level`.
    pub level: Level,
    /// The rooms this identity may enter; `None` means all.
    pub rooms: Option<Arc<[RoomId]>>,
    /// When the identity ends, Unix milliseconds; `None` means never.
    pub expires_at_ms: Option<i64>,
    /// When the token was issued, Unix milliseconds; 0 when it does not say.
    pub issued_at_ms: i64,
}

impl Identity {
    /// Whether the token's allow-list admits this room.
    #[must_use]
    pub fn may_enter(&self, room: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(room))
    }

    /// Whether this identity may moderate a room owned by `owner`: level admin, the owner itself,
    /// or a moderator whose token names the room.
    #[must_use]
    pub fn may_moderate(&self, room: &RoomId, owner: Option<&UserId>) -> bool {
        match self.level {
            Level::Admin => true,
            _ if owner == Some(&self.user_id) => true,
            Level::Moderator => self.rooms.as_ref().is_some_and(|rooms| rooms.contains(room)),
            _ => false,
        }
    }
}
