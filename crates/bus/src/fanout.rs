//! From a room's worker to the gateways that hold the room, and to all nodes what concerns all of them.

use model::RoomId;

use crate::log::Entry;

/// At most once to every gateway that holds the room, in the order of the calls; never blocks the
/// worker. What concerns single users (a ban, an event for them) reaches the gateways that hold
/// their sockets, whether or not those hold the room.
pub trait Fanout: Send + Sync {
    /// Pushes entries of one room, oldest first.
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>);
}

/// What a node hears on the control channel, besides what its gateway is given.
#[derive(Debug)]
pub enum ControlNews {
    /// Some node, perhaps this one, appended entries that concern every node
    /// ([`crate::Record::concerns_every_node`]).
    Told(Vec<Entry>),
    /// Something may not have come: whatever is kept of what others change has to be read again.
    Missed,
    /// From now on nothing is heard (`true`), or it is again (`false`; [`ControlNews::Missed`] comes too).
    Deaf(bool),
}
