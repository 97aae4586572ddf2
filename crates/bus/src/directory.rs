//! Which nodes hold a room, where a worker's batches have to go, and how many read it there.

use std::collections::HashMap;

use async_trait::async_trait;
use model::RoomId;
use parking_lot::RwLock;

/// The directory gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the directory of rooms is away")]
pub struct DirectoryAway;

/// The nodes that hold a room for viewers.
#[async_trait]
pub trait Holders: Send + Sync {
    /// Their numbers, in no certain order, as they were within the last second. A node that is missing in the answer
    /// though it holds the room learns from the next batch's number that it has missed something.
    ///
    /// # Errors
    /// [`DirectoryAway`]: whoever asks does without, and speaks to all nodes.
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryAway>;
}

/// How many read a room on other nodes. Asked for rooms that this node does not hold; of those it holds it is told.
#[async_trait]
pub trait Viewers: Send + Sync {
    /// Sockets and event streams that read the room on other nodes, as of at most 30 s ago; 0 when nobody can say.
    async fn elsewhere(&self, room_id: &RoomId) -> u64;
}

/// A directory in this process's memory, for tests; it can be told to be away.
#[derive(Default)]
pub struct MemoryHolders(RwLock<Option<HashMap<RoomId, Vec<u16>>>>);

impl MemoryHolders {
    /// From now on these nodes hold the room.
    pub fn set(&self, room_id: &RoomId, nodes: &[u16]) {
        self.0.write().get_or_insert_default().insert(room_id.clone(), nodes.to_vec());
    }

    /// Forgets everything, and gives no answer until something is set again.
    pub fn go_away(&self) {
        *self.0.write() = None;
    }
}

#[async_trait]
impl Holders for MemoryHolders {
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryAway> {
        let rooms = self.0.read();
        let rooms = rooms.as_ref().ok_or(DirectoryAway)?;
        Ok(rooms.get(room_id).cloned().unwrap_or_default())
    }
}
