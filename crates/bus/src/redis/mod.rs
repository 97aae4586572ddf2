//! From each node's worker to the gateways of all nodes that hold the room, over Redis pub/sub.
//!
//! [`RedisFanout`] hands a room's entries to this node's own gateway directly, so that delivery inside a node needs
//! no Redis, and publishes them for the others on the room's channel; [`RedisInbox`] hears the channels of rooms that
//! this node holds. At most once: what is published while Redis is away, or faster than it takes, is lost to the
//! other nodes. Batches are numbered by source and room, so an inbox notices a hole and says which room missed
//! something; whoever owns the room reads it again from the store.
//!
//! [`registry`] is what [`crate::registry`] asks of Redis.

pub(crate) mod counters;
mod directory;
mod inbox;
mod publish;
pub(crate) mod registry;
pub mod users;

pub use directory::RedisDirectory;
pub use inbox::{Missed, RedisInbox};
pub use publish::RedisFanout;
pub use users::RedisUserFanout;

use model::RoomId;
use redis_client::Redis;

/// The channel of a room: on a Cluster a shard's, by the room.
fn channel(redis: &Redis, room_id: &RoomId) -> String {
    redis.key(&format!("room:{{{room_id}}}"))
}
