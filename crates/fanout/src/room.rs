//! The port from a room's worker to the gateways that hold the room, and to all nodes for entries that concern all.

use std::sync::Arc;

use async_trait::async_trait;
use model::RoomId;

use log::Entry;

/// Delivers at most once to every gateway that holds the room, in the order of the calls; never blocks the worker. Entries for
/// single users (a ban, an event for them) reach the gateways that hold their sockets, whether or not those hold the room.
#[async_trait]
pub trait Fanout: Send + Sync {
    /// Pushes entries of one room, oldest first.
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>);

    /// Waits briefly until everything pushed is on its way. A worker calls it last.
    async fn flush(&self) {}

    /// The store took comments published since `since_ms` (Unix milliseconds) only now. Other nodes that hold the room
    /// may have read the store before that, so they read it again. Does nothing where there is one node.
    fn kept_late(&self, _room_id: &RoomId, _since_ms: i64) {}
}

/// How a room is treated when much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// The room is hot: its entries gather for a moment before they go to other nodes.
    pub hot: bool,
    /// Larger goes first (`priority` of the room's settings).
    pub priority: i32,
}

/// Returns a room's weight as far as this node knows it. Called for each push, so it never blocks.
pub type RoomPriority = Arc<dyn Fn(&RoomId) -> Weight + Send + Sync>;

/// Delivers to nobody.
impl Fanout for () {
    fn push(&self, _: &RoomId, _: Vec<Entry>) {}
}

/// Pushes everything to this node's gateway, entries that concern every node to all nodes, and the rest to the room's holders.
pub struct RoutingFanout {
    /// This node's gateway.
    pub local: Arc<dyn Fanout>,
    /// To every other node.
    pub control: Arc<dyn Fanout>,
    /// To the other nodes that hold the room.
    pub rooms: Arc<dyn Fanout>,
}

#[async_trait]
impl Fanout for RoutingFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let (for_every_node, for_holders): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| entry.record.concerns_every_node());
        for (route, entries) in [(&self.control, for_every_node), (&self.rooms, for_holders)] {
            if !entries.is_empty() {
                route.push(room_id, entries);
            }
        }
        self.local.push(room_id, entries);
    }

    fn kept_late(&self, room_id: &RoomId, since_ms: i64) {
        self.rooms.kept_late(room_id, since_ms);
    }

    async fn flush(&self) {
        self.control.flush().await;
        self.rooms.flush().await;
    }
}

/// How a node subscribes to what others push for the rooms it holds.
#[async_trait]
pub trait RoomSubscriptions: Send + Sync {
    /// This node now holds the room and receives everything pushed after this returns. If that is not certain within about a
    /// second it returns anyway, and reports later that something may have been missed.
    async fn hold(&self, room_id: &RoomId);

    /// This node no longer holds the room. Never blocks.
    fn release(&self, room_id: &RoomId);
}

/// Called when this node missed something of a room since a moment (Unix milliseconds by its own clock, 0 when unknown), so that
/// the room must be read again from the store. Called before anything later is pushed; must not block.
pub type OnGap = Arc<dyn Fn(&RoomId, i64) + Send + Sync>;

/// A message of the control channel, besides the entries for the gateway.
#[derive(Debug)]
pub enum ControlMessage {
    /// A node, perhaps this one, appended entries that concern every node
    /// ([`log::Record::concerns_every_node`]).
    Changed(Vec<Entry>),
    /// Something may be missing: copies of what others change must be read again.
    GapDetected,
    /// The channel was lost (`true`) or is back (`false`; then [`ControlMessage::GapDetected`] follows).
    Disconnected(bool),
}
