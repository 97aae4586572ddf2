//! What nodes tell each other of hot rooms, on Redis.
//!
//! `room:rate:{room}`: a hash of nodes, each with its comments a second and until when that counts. `room:hot:{all}`: the
//! marks, a sorted set of hot rooms by the moment until which they count, so a mark ends by itself. Small, since few rooms
//! are hot, and read by every node once a second.

use std::sync::LazyLock;

use ahash::HashSet;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use model::RoomId;
use redis::Script;
use redis_client::{CallError, Redis};

use crate::Result;
use crate::hot_rooms::{RoomRates, SharedHotRooms};

/// How long what a node says of a room's rate counts.
const RATE_MS: i64 = 2_500;
/// How long a mark counts.
const MARK_MS: i64 = 3_500;
/// Calls under way at once.
const AT_ONCE: usize = 64;

static RATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heat_rate.lua")));
static MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heat_mark.lua")));

/// The rates and marks of a deployment, as one node tells and hears them.
pub struct RedisHotRooms {
    redis: Redis,
    node: String,
}

impl RedisHotRooms {
    /// `node` is this node's name, which no other has.
    #[must_use]
    pub fn new(redis: Redis, node: &str) -> Self {
        Self { redis, node: node.to_owned() }
    }

    async fn rate(&self, room: RoomId, per_s: u32, now_ms: i64) -> std::result::Result<(RoomId, u32), CallError> {
        let mut script = RATE.key(self.redis.key(&format!("room:rate:{{{room}}}")));
        script.arg(now_ms).arg(&self.node).arg(now_ms + RATE_MS).arg(per_s).arg(RATE_MS);
        let sum: u64 = self.redis.script("room_rate", &script).await?;
        Ok((room, u32::try_from(sum).unwrap_or(u32::MAX)))
    }
}

#[async_trait]
impl SharedHotRooms for RedisHotRooms {
    async fn rates(&self, own: &RoomRates, now_ms: i64) -> Result<RoomRates> {
        let now_ms = self.redis.at_ms(now_ms);
        let calls: Vec<_> = own.iter().map(|(room, per_s)| self.rate(room.clone(), *per_s, now_ms)).collect();
        Ok(futures::stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await?)
    }

    async fn mark(&self, hot: &HashSet<RoomId>, now_ms: i64) -> Result<HashSet<RoomId>> {
        let now_ms = self.redis.at_ms(now_ms);
        let mut script = MARK.key(self.redis.key("room:hot:{all}"));
        script.arg(now_ms).arg(now_ms + MARK_MS);
        for room in hot {
            script.arg(room.as_str());
        }
        let marked: Vec<String> = self.redis.script("room_hot", &script).await?;
        // Only nodes write there; what is no room's name is nobody's.
        Ok(marked.iter().filter_map(|room| RoomId::new(room).ok()).collect())
    }
}
