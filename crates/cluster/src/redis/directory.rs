//! The directory of rooms on Redis: which nodes hold a room, and how many viewers it has on each (`room:subs:{room}`).
//!
//! A node enters itself when it begins to hold a room, reports its viewers every few seconds, and removes itself at the end.
//! An entry of a crashed node expires like a lease. Each report returns the other nodes' figures
//! ([`RedisDirectory::report`]), so a join needs no call. Answers are cached: briefly for fan-outs, longer for counters.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use model::{Clock, Fence, RoomId};
use parking_lot::Mutex;
use redis::Script;
use redis_client::{CallError, Redis};
use tokio::time::{Instant, sleep};

use crate::directory::{DirectoryUnavailable, Holders, Viewers};

/// Between two reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// For this time after an outage of Redis the directory may lack nodes: by then each has connected and reported again.
const SETTLE_TIME: Duration = REPORT_INTERVAL.saturating_mul(2);
/// How long a report is valid.
const LEASE_MS: i64 = 15_000;
/// How long a fan-out caches the nodes of a room.
pub const NODES_AGE: Duration = Duration::from_millis(100);
/// How long the viewers of a room are cached.
const VIEWERS_AGE: Duration = Duration::from_secs(5);
/// The same during an outage of Redis.
const VIEWERS_AGE_MAX: Duration = Duration::from_secs(25);
/// Rooms in the cache; a full cache is emptied.
const CACHED_MAX: usize = 20_000;
/// Reports in flight at once.
const IN_FLIGHT_MAX: usize = 64;

static REPORT_ROOM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("report_room.lua")));

/// A room's nodes, by number, with their viewers.
type RoomNodes = Arc<[(u16, u64)]>;

/// The directory of rooms.
pub struct RedisDirectory {
    redis: Redis,
    node: Arc<dyn Fence>,
    clock: Arc<dyn Clock>,
    cache: Mutex<HashMap<RoomId, (Instant, RoomNodes)>>,
    /// The current connection to Redis, and since when, if there was another before.
    connection: Mutex<(Option<u64>, Option<Instant>)>,
}

impl RedisDirectory {
    /// The directory as this node sees it, by the number that it has at the time.
    #[must_use]
    pub fn new(redis: Redis, node: Arc<dyn Fence>, clock: Arc<dyn Clock>) -> Self {
        let connection = Mutex::new((redis.connection_number(), None));
        Self { redis, node, clock, cache: Mutex::default(), connection }
    }

    /// Enters this node as a holder of the room; fan-outs know within [`NODES_AGE`]. Returns the viewers on other nodes.
    pub async fn hold(&self, room_id: &RoomId) -> u64 {
        // The client counts and logs a failure; the next report repeats it.
        self.report_room(room_id, 0).await.map_or(0, |nodes| self.others(&nodes))
    }

    /// Removes this node from the room's holders.
    pub async fn release(&self, room_id: &RoomId) {
        if let Some(node) = self.node.node() {
            let command = redis::cmd("HDEL").arg(self.key(room_id)).arg(node).to_owned();
            // An entry that stays expires.
            let _ = self.redis.command::<i64>("release_room", &command).await;
        }
    }

    /// Reports the rooms that this node holds, with their viewers here, every few seconds. Passes the viewers on other nodes
    /// to `set_viewers`. Never returns.
    pub async fn report(self: Arc<Self>, held: impl Fn() -> Vec<(RoomId, u64)>, set_viewers: impl Fn(&RoomId, u64)) {
        loop {
            let rooms = held();
            let reports: Vec<_> = rooms.iter().map(|(room_id, viewers)| self.report_room(room_id, *viewers)).collect();
            let answers: Vec<_> = futures::stream::iter(reports).buffered(IN_FLIGHT_MAX).collect().await;
            for ((room_id, _), answer) in rooms.iter().zip(answers) {
                // During an outage only this node's viewers are known.
                set_viewers(room_id, answer.map_or(0, |nodes| self.others(&nodes)));
            }
            sleep(REPORT_INTERVAL).await;
        }
    }

    fn key(&self, room_id: &RoomId) -> String {
        self.redis.key(&format!("room:subs:{{{room_id}}}"))
    }

    fn now_ms(&self) -> i64 {
        self.redis.at_ms(self.clock.now_ms())
    }

    async fn report_room(&self, room_id: &RoomId, viewers: u64) -> Result<RoomNodes, CallError> {
        let Some(node) = self.node.node() else { return self.lookup(room_id, VIEWERS_AGE).await };
        let now_ms = self.now_ms();
        let mut script = REPORT_ROOM.key(self.key(room_id));
        script.arg(now_ms).arg(node).arg(now_ms + LEASE_MS).arg(viewers).arg(LEASE_MS);
        let entries: HashMap<u16, String> = self.redis.script("report_room", &script).await?;
        Ok(self.cache_nodes(room_id, entries))
    }

    async fn lookup(&self, room_id: &RoomId, age: Duration) -> Result<RoomNodes, CallError> {
        if let Some(nodes) = self.cached(room_id, age) {
            return Ok(nodes);
        }
        let command = redis::cmd("HGETALL").arg(self.key(room_id)).to_owned();
        let entries: HashMap<u16, String> = self.redis.command("room_nodes", &command).await?;
        Ok(self.cache_nodes(room_id, entries))
    }

    fn cached(&self, room_id: &RoomId, age: Duration) -> Option<RoomNodes> {
        let cache = self.cache.lock();
        cache.get(room_id).filter(|(at, _)| at.elapsed() < age).map(|(_, nodes)| nodes.clone())
    }

    fn cache_nodes(&self, room_id: &RoomId, entries: HashMap<u16, String>) -> RoomNodes {
        let now_ms = self.now_ms();
        let living = |(node, entry): (u16, String)| Some((node, viewers(&entry, now_ms)?));
        let nodes: RoomNodes = entries.into_iter().filter_map(living).collect();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED_MAX && !cache.contains_key(room_id) {
            cache.clear();
        }
        cache.insert(room_id.clone(), (Instant::now(), nodes.clone()));
        nodes
    }

    /// Whether all living nodes have had time to enter themselves.
    fn is_settled(&self) -> bool {
        let (number, mut connection) = (self.redis.connection_number(), self.connection.lock());
        if number != connection.0 {
            *connection = (number, Some(Instant::now()));
        }
        connection.1.is_none_or(|since| since.elapsed() >= SETTLE_TIME)
    }

    fn others(&self, nodes: &[(u16, u64)]) -> u64 {
        let own = self.node.node();
        nodes.iter().filter(|(node, _)| Some(*node) != own).map(|(_, viewers)| viewers).sum()
    }
}

/// Parses `until viewers`; `None` when it has expired.
fn viewers(entry: &str, now_ms: i64) -> Option<u64> {
    let (until, viewers) = entry.split_once(' ')?;
    let is_valid = until.parse::<i64>().ok()? > now_ms;
    if is_valid { viewers.parse().ok() } else { None }
}

#[async_trait]
impl Holders for RedisDirectory {
    /// At most a tenth of a second old. No answer during an outage of Redis, and some seconds after it.
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryUnavailable> {
        if !self.is_settled() {
            return Err(DirectoryUnavailable);
        }
        // The client counts and logs a failure.
        let nodes = self.lookup(room_id, NODES_AGE).await.map_err(|_| DirectoryUnavailable)?;
        Ok(nodes.iter().map(|(node, _)| *node).collect())
    }
}

#[async_trait]
impl Viewers for RedisDirectory {
    async fn remote(&self, room_id: &RoomId) -> u64 {
        match self.lookup(room_id, VIEWERS_AGE).await {
            Ok(nodes) => self.others(&nodes),
            Err(_) => self.cached(room_id, VIEWERS_AGE_MAX).map_or(0, |nodes| self.others(&nodes)),
        }
    }
}
