//! Which nodes hold a room, and how many viewers it has on each: `room:subs:{room}`.
//!
//! A node writes itself in when it begins to hold a room, out when it no longer does, and every few seconds anew with
//! its viewers; what a crash leaves behind counts no longer than a lease. Writing brings the others' figures back, so that
//! joins ask nobody: whoever holds a room is told ([`RedisDirectory::keep`]). Answers are cached, briefly for those who
//! push, longer for those who count.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use model::{Clock, Fence, RoomId};
use parking_lot::Mutex;
use redis::Script;
use redis_client::{Failure, Redis};
use tokio::time::{Instant, sleep};

use crate::directory::{DirectoryAway, Holders, Viewers};

/// Between two reports.
pub const REPORT: Duration = Duration::from_secs(5);
/// So long after Redis was away it is not relied on to name all nodes: by then each has connected and reported again.
const SETTLED: Duration = REPORT.saturating_mul(2);
/// How long a report counts.
const LEASE_MS: i64 = 15_000;
/// How long the nodes of a room are remembered by whoever pushes to them.
pub const NODES_AGE: Duration = Duration::from_millis(100);
/// How long viewers are remembered, and how long when Redis is away.
const VIEWERS_AGE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(25));
/// Rooms whose nodes are remembered; beyond it all are asked for anew.
const REMEMBERED_MAX: usize = 20_000;
/// Reports under way at once.
const AT_ONCE: usize = 64;

static REPORT_ROOM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("report_room.lua")));

/// A room's nodes, by number, with their viewers.
type Nodes = Arc<[(u16, u64)]>;

/// The directory of rooms.
pub struct RedisDirectory {
    redis: Redis,
    node: Arc<dyn Fence>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<RoomId, (Instant, Nodes)>>,
    /// The connection to Redis, and since when, if there was another before.
    met: Mutex<(Option<u64>, Option<Instant>)>,
}

impl RedisDirectory {
    /// The directory as this node sees it, by the number that it has at the time.
    #[must_use]
    pub fn new(redis: Redis, node: Arc<dyn Fence>, clock: Arc<dyn Clock>) -> Self {
        let met = Mutex::new((redis.life(), None));
        Self { redis, node, clock, known: Mutex::default(), met }
    }

    /// This node holds the room from here on: whoever pushes for it knows within a moment. Returns the viewers on other
    /// nodes.
    pub async fn hold(&self, room_id: &RoomId) -> u64 {
        // The client has counted and logged a failure; the next report says it again.
        self.report(room_id, 0).await.map_or(0, |nodes| self.others(&nodes))
    }

    /// This node no longer holds the room.
    pub async fn release(&self, room_id: &RoomId) {
        if let Some(node) = self.node.node() {
            let command = redis::cmd("HDEL").arg(self.key(room_id)).arg(node).to_owned();
            // What is not erased counts no longer than its lease.
            let _ = self.redis.command::<i64>("release_room", &command).await;
        }
    }

    /// Reports what this node holds, rooms with their viewers here, every few seconds, and tells of each how many it has on
    /// other nodes. Never returns.
    pub async fn keep(self: Arc<Self>, held: impl Fn() -> Vec<(RoomId, u64)>, told: impl Fn(&RoomId, u64)) {
        loop {
            let rooms = held();
            let reports: Vec<_> = rooms.iter().map(|(room_id, viewers)| self.report(room_id, *viewers)).collect();
            let answers: Vec<_> = futures::stream::iter(reports).buffered(AT_ONCE).collect().await;
            for ((room_id, _), answer) in rooms.iter().zip(answers) {
                // While Redis is away only this node's viewers are known.
                told(room_id, answer.map_or(0, |nodes| self.others(&nodes)));
            }
            sleep(REPORT).await;
        }
    }

    fn key(&self, room_id: &RoomId) -> String {
        self.redis.key(&format!("room:subs:{{{room_id}}}"))
    }

    fn now_ms(&self) -> i64 {
        self.redis.at_ms(self.clock.now_ms())
    }

    async fn report(&self, room_id: &RoomId, viewers: u64) -> Result<Nodes, Failure> {
        let Some(node) = self.node.node() else { return self.look(room_id, VIEWERS_AGE.0).await };
        let now_ms = self.now_ms();
        let mut script = REPORT_ROOM.key(self.key(room_id));
        script.arg(now_ms).arg(node).arg(now_ms + LEASE_MS).arg(viewers).arg(LEASE_MS);
        let entries: HashMap<u16, String> = self.redis.script("report_room", &script).await?;
        Ok(self.remember(room_id, entries))
    }

    async fn look(&self, room_id: &RoomId, age: Duration) -> Result<Nodes, Failure> {
        if let Some(nodes) = self.remembered(room_id, age) {
            return Ok(nodes);
        }
        let command = redis::cmd("HGETALL").arg(self.key(room_id)).to_owned();
        let entries: HashMap<u16, String> = self.redis.command("room_nodes", &command).await?;
        Ok(self.remember(room_id, entries))
    }

    fn remembered(&self, room_id: &RoomId, age: Duration) -> Option<Nodes> {
        let known = self.known.lock();
        known.get(room_id).filter(|(at, _)| at.elapsed() < age).map(|(_, nodes)| nodes.clone())
    }

    fn remember(&self, room_id: &RoomId, entries: HashMap<u16, String>) -> Nodes {
        let now_ms = self.now_ms();
        let living = |(node, entry): (u16, String)| Some((node, viewers(&entry, now_ms)?));
        let nodes: Nodes = entries.into_iter().filter_map(living).collect();
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX && !known.contains_key(room_id) {
            known.clear();
        }
        known.insert(room_id.clone(), (Instant::now(), nodes.clone()));
        nodes
    }

    /// Whether all nodes have written themselves in, as far as they live.
    fn is_settled(&self) -> bool {
        let (life, mut met) = (self.redis.life(), self.met.lock());
        if life != met.0 {
            *met = (life, Some(Instant::now()));
        }
        met.1.is_none_or(|since| since.elapsed() >= SETTLED)
    }

    fn others(&self, nodes: &[(u16, u64)]) -> u64 {
        let own = self.node.node();
        nodes.iter().filter(|(node, _)| Some(*node) != own).map(|(_, viewers)| viewers).sum()
    }
}

/// The viewers of `until viewers`, when that still counts.
fn viewers(entry: &str, now_ms: i64) -> Option<u64> {
    let (until, viewers) = entry.split_once(' ')?;
    let counts = until.parse::<i64>().ok()? > now_ms;
    if counts { viewers.parse().ok() } else { None }
}

#[async_trait]
impl Holders for RedisDirectory {
    /// As of a tenth of a second ago at most; no answer while Redis is away and some seconds after it was.
    async fn nodes_of(&self, room_id: &RoomId) -> Result<Vec<u16>, DirectoryAway> {
        if !self.is_settled() {
            return Err(DirectoryAway);
        }
        // The client has counted and logged why.
        let nodes = self.look(room_id, NODES_AGE).await.map_err(|_| DirectoryAway)?;
        Ok(nodes.iter().map(|(node, _)| *node).collect())
    }
}

#[async_trait]
impl Viewers for RedisDirectory {
    async fn elsewhere(&self, room_id: &RoomId) -> u64 {
        match self.look(room_id, VIEWERS_AGE.0).await {
            Ok(nodes) => self.others(&nodes),
            Err(_) => self.remembered(room_id, VIEWERS_AGE.1).map_or(0, |nodes| self.others(&nodes)),
        }
    }
}
