//! Who may enter a room and who may speak in it, as far as the room's settings and their token say; bans are another matter
//! ([`crate::bans`]).
//!
//! Beside the rules stands what is remembered of which rooms are not open to all, so that the others can be entered
//! while the store is away.

use std::collections::HashSet;

use model::{Identity, Level, RoomId, RoomSettings, Speakers};
use parking_lot::RwLock;

use super::RoomInfo;
use crate::Refusal;

/// The rooms that not everybody may enter.
#[derive(Default)]
pub(super) struct Guarded {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    rooms: HashSet<RoomId>,
    /// There are no others.
    complete: bool,
}

impl Guarded {
    /// All of them are about to be noted.
    pub fn begin(&self) {
        self.known.write().complete = true;
    }

    /// There may be others.
    pub fn doubt(&self) {
        self.known.write().complete = false;
    }

    /// A room has these settings; of guarded rooms at most so many are remembered.
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

    /// Whether the room is known not to be guarded.
    pub fn leave_open(&self, room: &RoomId) -> bool {
        let known = self.known.read();
        known.complete && !known.rooms.contains(room)
    }
}

/// Whether everybody may enter.
pub(super) fn is_open(settings: &RoomSettings) -> bool {
    !settings.private && settings.enabled
}

/// Whether somebody may read a room, as far as its settings and their token say.
///
/// # Errors
/// [`Refusal::RoomClosed`] for a disabled room, [`Refusal::Forbidden`] for one they may not enter.
pub fn may_enter(settings: &RoomSettings, who: Option<&Identity>, room: &RoomId) -> Result<(), Refusal> {
    if room.is_everywhere() {
        return Err(Refusal::Forbidden("the name is reserved"));
    }
    let owner = settings.owner_id.as_ref();
    if who.is_some_and(|who| who.level == Level::Admin || owner == Some(&who.user_id)) {
        return Ok(());
    }
    if !settings.enabled {
        return Err(Refusal::RoomClosed);
    }
    let named = who.is_some_and(|who| who.rooms.is_some() && who.may_enter(room));
    match who {
        Some(who) if !who.may_enter(room) => Err(Refusal::Forbidden("your token is not good for this room")),
        _ if settings.private && !named => Err(Refusal::Forbidden("the room is private")),
        _ => Ok(()),
    }
}

/// Whether somebody may speak in a room they may enter.
pub(crate) fn may_speak(info: &RoomInfo, who: &Identity, room: &RoomId) -> Result<(), Refusal> {
    let owner = info.settings.owner_id.as_ref();
    let master = who.level == Level::Admin || owner == Some(&who.user_id);
    let moderator = who.may_moderate(room, owner);
    let may = match info.settings.speakers {
        Speakers::Everyone => true,
        Speakers::Vip => who.level >= Level::Vip || moderator,
        Speakers::Moderators => moderator,
        Speakers::Nobody => master,
    };
    if may { Ok(()) } else { Err(Refusal::Forbidden("you may not speak in this room now")) }
}
