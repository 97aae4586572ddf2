//! How many read a room on other nodes.

use async_trait::async_trait;
use model::RoomId;

/// Knows the viewers of rooms on other nodes. Asked for rooms that this node does not hold; of those it holds it is
/// told.
#[async_trait]
pub trait Viewers: Send + Sync {
    /// Sockets and event streams that read the room on other nodes, as of at most 30 s ago; 0 when nobody can say.
    async fn elsewhere(&self, room_id: &RoomId) -> u64;
}
