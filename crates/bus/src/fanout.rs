//! From a room's worker to the gateways that hold the room.

use model::RoomId;

use crate::log::Entry;

/// At most once to every gateway that holds the room, in the order of the calls; never blocks the
/// worker. What concerns single users (a ban, an event for them) reaches the gateways that hold
/// their sockets, whether or not those hold the room.
pub trait Fanout: Send + Sync {
    /// Pushes entries of one room, oldest first.
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>);
}
