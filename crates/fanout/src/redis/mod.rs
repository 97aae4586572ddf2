//! From each node's worker to the gateways of all nodes that hold the room, over Redis pub/sub.
//!
//! [`RedisFanout`] passes a room's entries to this node's gateway directly, so that delivery inside a node needs no Redis, and
//! publishes them for other nodes on the room's channel. [`RedisInbox`] subscribes to the channels of rooms that this node holds.
//! Entries that concern every node go on a channel that all subscribe to ([`control`]). At most once: what is published while
//! Redis is away, or faster than it accepts, is lost to the other nodes. Batches are numbered by source and room, so an inbox
//! detects a gap and reports the room, which the hub then reads again from the store.

mod channels;
pub mod control;
mod inbox;
mod publish;
pub mod users;

pub use channels::RedisChannelFanout;
pub use control::{ControlFanout, ControlInbox};
pub use inbox::RedisInbox;
pub use publish::RedisFanout;
pub use users::RedisUserFanout;

use model::metrics::count_by;
use model::{Metrics, RoomId};
use redis_client::Redis;

use log::record::Batch;

/// The control channel.
const CONTROL: &str = "control";

/// A room's channel; on a Cluster, sharded by the room.
fn channel(room_id: &RoomId) -> String {
    format!("room:{{{room_id}}}")
}

/// Publishes a batch. Returns whether Redis accepted it.
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
