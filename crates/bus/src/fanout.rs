//! From a room's worker to the gateways that hold the room, and to all nodes what concerns all of them.

use std::sync::Arc;

use async_trait::async_trait;
use model::RoomId;

use crate::log::Entry;

/// At most once to every gateway that holds the room, in the order of the calls; never blocks the
/// worker. What concerns single users (a ban, an event for them) reaches the gateways that hold
/// their sockets, whether or not those hold the room.
#[async_trait]
pub trait Fanout: Send + Sync {
    /// Pushes entries of one room, oldest first.
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>);

    /// Waits until what was pushed is on its way, if it is not at once: the last thing that a worker does. Not for long.
    async fn flush(&self) {}

    /// Comments of the room that were said since `since_ms` (Unix milliseconds) were kept in the store only now, perhaps
    /// after others had looked there for what was not pushed to them: who holds the room elsewhere looks again. Where
    /// there is one node nothing is to be done.
    fn kept_late(&self, _room_id: &RoomId, _since_ms: i64) {}
}

/// How a room is treated where there is much to push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// So much is said in it that it is gathered for a moment before other nodes are sent it.
    pub hot: bool,
    /// Larger goes first (`priority` of the room's settings).
    pub priority: i32,
}

/// Weighs a room, as far as this node knows it. Called for each push, so it never waits.
pub type Weigh = Arc<dyn Fn(&RoomId) -> Weight + Send + Sync>;

/// To nobody.
impl Fanout for () {
    fn push(&self, _: &RoomId, _: Vec<Entry>) {}
}

/// Everything to this node's gateway, and to the others by two ways: what concerns every node, and the rest.
pub struct TwoWays {
    /// This node's gateway.
    pub here: Arc<dyn Fanout>,
    /// To every other node, whatever it holds.
    pub control: Arc<dyn Fanout>,
    /// To the others that hold the room.
    pub rooms: Arc<dyn Fanout>,
}

#[async_trait]
impl Fanout for TwoWays {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let (everybodys, the_rooms): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| entry.record.concerns_every_node());
        for (way, entries) in [(&self.control, everybodys), (&self.rooms, the_rooms)] {
            if !entries.is_empty() {
                way.push(room_id, entries);
            }
        }
        self.here.push(room_id, entries);
    }

    async fn flush(&self) {
        self.control.flush().await;
        self.rooms.flush().await;
    }
}

/// By what a node hears what others push for the rooms it holds.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// This node now holds the room. What is pushed for it after this returns comes here; should that not be certain
    /// within about a second it returns all the same, and says later that something may have been missed.
    async fn hold(&self, room_id: &RoomId);

    /// This node no longer holds the room. Never waits.
    fn release(&self, room_id: &RoomId);
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
