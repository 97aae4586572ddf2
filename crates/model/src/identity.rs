//! A verified identity: from a token, or from the query of a development server.
//!
//! Made by the gateway and the API, and passed to every rule.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::moderation::{RoomRole, Standing};
use crate::{Level, RoomId, RoomSettings, UserId};

/// Longest displayed name, in characters.
pub const USERNAME_CHARS_MAX: usize = 32;

/// A verified identity. Holding one is the proof that verification happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The token's `sub`.
    pub user_id: UserId,
    /// The token's `name`, or the user id when it has none.
    pub username: Arc<str>,
    /// The token's `level`.
    pub level: Level,
    /// The rooms this identity is valid for; `None` means all.
    pub rooms: Option<Arc<[RoomId]>>,
    /// When the identity expires, Unix milliseconds; `None` means never.
    pub expires_at_ms: Option<i64>,
    /// When the token was issued, Unix milliseconds; 0 when it does not say.
    pub issued_at_ms: i64,
    /// What else the token says; `None` when it is no more than this.
    pub standing: Option<Arc<Standing>>,
}

impl Identity {
    /// Whether the token's allow-list admits this room.
    #[must_use]
    pub fn may_enter(&self, room: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(room))
    }

    /// Whether this identity may moderate a room owned by `owner`: an admin, the owner, or a moderator whose token names
    /// the room. A token that names other rooms lets nobody.
    #[must_use]
    pub fn may_moderate(&self, room: &RoomId, owner: Option<&UserId>) -> bool {
        let moderates = match self.level {
            Level::Admin => true,
            _ if owner == Some(&self.user_id) => true,
            Level::Moderator => self.rooms.is_some(),
            _ => false,
        };
        moderates && self.may_enter(room)
    }

    /// The role in a room: what the token or the room's settings give, the higher of both.
    #[must_use]
    pub fn role(&self, room: &RoomId, settings: &RoomSettings) -> Option<RoomRole> {
        if !self.may_enter(room) {
            return None;
        }
        let by_level = self.may_moderate(room, settings.owner_id.as_ref()).then_some(RoomRole::Moderator);
        let by_token = self.standing.as_ref().and_then(|standing| standing.roles.get(room).copied());
        by_level.max(by_token).max(settings.roles.get(&self.user_id).copied())
    }

    /// Whether this is one of those whom the room's rules do not bind: owner, moderators, helpers and admins.
    #[must_use]
    pub fn is_staff(&self, room: &RoomId, settings: &RoomSettings) -> bool {
        self.role(room, settings) >= Some(RoomRole::Helper)
    }
}
