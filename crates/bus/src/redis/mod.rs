//! From each node's worker to the gateways of all nodes that hold the room, over Redis pub/sub.
//!
//! [`RedisFanout`] hands a room's entries to this node's own gateway directly, so that delivery inside a node needs
//! no Redis, and publishes them for the others on the room's channel; [`RedisInbox`] hears the channels of rooms that
//! this node holds. What concerns every node goes on a channel that all of them hear instead ([`control`]). At most
//! once: what is published while Redis is away, or faster than it takes, is lost to the other nodes. Batches are
//! numbered by source and room, so an inbox notices a hole and says which room missed something; whoever owns the room
//! reads it again from the store.
//!
//! [`registry`] is what [`crate::registry`] asks of Redis.

pub mod control;
pub(crate) mod counters;
mod directory;
mod inbox;
mod publish;
pub(crate) mod registry;
pub mod users;

pub use control::{ControlFanout, ControlInbox};
pub use directory::{NODES_AGE, RedisDirectory};
pub use inbox::{Missed, RedisInbox};
pub use publish::RedisFanout;
pub use users::RedisUserFanout;

use model::metrics::count_by;
use model::{Metrics, RoomId};
use redis_client::Redis;

use crate::record::Batch;

/// The control channel.
const CONTROL: &str = "control";

/// The channel of a room: on a Cluster a shard's, by the room.
fn channel(room_id: &RoomId) -> String {
    format!("room:{{{room_id}}}")
}

/// Publishes a batch; whether Redis took it.
async fn send(redis: &Redis, channel: &str, batch: &Batch, metrics: &Metrics) -> bool {
    let mut command = redis::cmd(if redis.is_cluster() { "SPUBLISH" } else { "PUBLISH" });
    command.arg(redis.key(channel)).arg(batch.encode());
    // The client has counted and logged why; the number that is missing tells the other nodes.
    let taken = redis.command::<i64>("publish", &command).await.is_ok();
    if !taken {
        count_by(&metrics.fanout_lost, "reason", "away", batch.entries.len() as u64);
    }
    taken
}
