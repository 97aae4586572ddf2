//! The directory of rooms: which nodes hold a room, and how many viewers it has on them.
//!
//! A fan-out asks where a worker's batches have to go; the hub asks how many people read a room on other nodes. The directory
//! decides nothing: a room is wherever a viewer joins it.

use std::collections::HashMap;

use async_trait::async_trait;
use model::RoomId;
use parking_lot::RwLock;

/// The directory gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the directory of rooms is away")]
pub struct DirectoryUnavailable;

/// The nodes that hold a room for viewers.
#[async_trait]
pub trait Holders: Send + Sync {
    /// Their numbers, in any order, at most a second old. A node that is missing in the answer though it holds the room
    /// notices a gap with the next batch.
    ///
    /// # Errors
    /// [`DirectoryUnavailable`]: the caller then sends to all nodes.
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryUnavailable>;
}

/// How many people read a room on other nodes, for rooms that this node does not hold. For those it holds the directory
/// reports the number.
#[async_trait]
pub trait Viewers: Send + Sync {
    /// Sockets and event streams that read the room on other nodes, at most 30 s old; 0 when it is unknown.
    async fn remote(&self, room_id: &RoomId) -> u64;
}

/// A directory in memory, for tests; it can be made unavailable.
#[derive(Default)]
pub struct MemoryHolders(RwLock<Option<HashMap<RoomId, Vec<u16>>>>);

impl MemoryHolders {
    /// Sets the nodes that hold the room.
    pub fn set(&self, room_id: &RoomId, nodes: &[u16]) {
        self.0.write().get_or_insert_default().insert(room_id.clone(), nodes.to_vec());
    }

    /// Forgets everything, and gives no answer until something is set again.
    pub fn make_unavailable(&self) {
        *self.0.write() = None;
    }
}

#[async_trait]
impl Holders for MemoryHolders {
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryUnavailable> {
        let rooms = self.0.read();
        let rooms = rooms.as_ref().ok_or(DirectoryUnavailable)?;
        Ok(rooms.get(room_id).cloned().unwrap_or_default())
    }
}
