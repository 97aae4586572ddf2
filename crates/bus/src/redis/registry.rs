//! Who lives, and with which number.
//!
//! A node holds its number (of Snowflake ids) by a lease that a task prolongs. Two clocks keep two nodes from using
//! one number: Redis gives it to nobody else before the lease is over by its clock, and the node stops using
//! it before that by its own monotonic one, counted from before it asked. Should a failover lose a lease, numbers go
//! round: the lost one is the last to be given again. A node that finds its number given to another never uses it
//! again and has to take a new one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use model::snowflake::NODE_MAX;
use redis::Script;
use redis_client::{Failure, Redis};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::number::Lease;

/// How long a lease lasts that nobody prolongs.
pub const LEASE: Duration = Duration::from_secs(15);
/// A lease is prolonged so many times in its length.
const BEATS: u32 = 5;
/// The share of a lease that its holder does not use: clocks run differently fast.
const MARGIN: u32 = 10;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take_number.lua")));
static KEEP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("keep_number.lua")));
static GIVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_number.lua")));
static LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("list_nodes.lua")));

/// Why a node has no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoNumber {
    /// Redis gave no answer.
    #[error("no node number: {0}")]
    Redis(#[from] Failure),
    /// All are held.
    #[error("no node number: all {} are held", u32::from(NODE_MAX) + 1)]
    AllHeld,
}

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
}

/// The lease of a node's number. Dropping it lets it run out; [`NodeLease::give_up`] ends it at once.
pub struct NodeLease {
    held: Arc<Held>,
    _task: AbortOnDropHandle<()>,
}

struct Held {
    redis: Redis,
    number: u16,
    token: String,
    name: String,
    length: Duration,
    /// The moments below are milliseconds since this one.
    start: Instant,
    until_ms: AtomicU64,
    /// Somebody else has the number.
    lost: AtomicBool,
}

impl NodeLease {
    /// Takes a number that nobody holds, for a node of this name. `token` is a secret of this start of the process, by
    /// which it is told from an earlier one; `length` is [`LEASE`] but in tests. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`NoNumber`].
    pub async fn take(redis: Redis, name: &str, token: u64, length: Duration) -> Result<Self, NoNumber> {
        let (asked, token) = (Instant::now(), format!("{token:016x}"));
        let mut script = keys(&TAKE, &redis);
        script.key(redis.key("nodes:{all}:last")).arg(&token).arg(name).arg(length.as_millis() as u64);
        // Where nothing is known numbers may have been lost with it, so nodes that begin anew begin anywhere.
        script.arg(NODE_MAX).arg(u16::from_str_radix(&token[..4], 16).unwrap_or(0));
        let number: Option<u16> = redis.script("take_number", &script).await?;
        let held = Arc::new(Held {
            redis,
            number: number.ok_or(NoNumber::AllHeld)?,
            token,
            name: name.to_owned(),
            length,
            start: asked,
            until_ms: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        });
        held.prolong(asked);
        let task = AbortOnDropHandle::new(tokio::spawn(keep(held.clone())));
        Ok(Self { held, _task: task })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.held.number
    }

    /// Whether the number may be used now, by this node's own monotonic clock. It may become true again while Redis was
    /// away, never after somebody else had the number.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let now_ms = self.held.start.elapsed().as_millis() as u64;
        !self.is_lost() && now_ms < self.held.until_ms.load(Ordering::Acquire)
    }

    /// Whether somebody else has the number, so that this node needs another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.held.lost.load(Ordering::Acquire)
    }

    /// Gives the number back.
    ///
    /// # Errors
    /// When Redis gave no answer; the lease then runs out.
    pub async fn give_up(self) -> Result<(), Failure> {
        let held = &self.held;
        held.lost.store(true, Ordering::Release);
        let mut script = keys(&GIVE, &held.redis);
        script.arg(&held.token).arg(&held.name).arg(held.number);
        held.redis.script("give_number", &script).await
    }
}

impl Lease for NodeLease {
    fn number(&self) -> u16 {
        Self::number(self)
    }

    fn is_held(&self) -> bool {
        Self::is_held(self)
    }

    fn is_lost(&self) -> bool {
        Self::is_lost(self)
    }
}

impl Held {
    /// The lease lasts from when it was asked for.
    fn prolong(&self, asked: Instant) {
        let until = asked.duration_since(self.start) + self.length - self.length / MARGIN;
        self.until_ms.store(until.as_millis() as u64, Ordering::Release);
    }

    async fn ask(&self) -> Result<bool, Failure> {
        let mut script = keys(&KEEP, &self.redis);
        script.arg(&self.token).arg(&self.name).arg(self.length.as_millis() as u64).arg(self.number);
        self.redis.script("keep_number", &script).await
    }
}

/// Prolongs the lease until somebody else has the number.
async fn keep(held: Arc<Held>) {
    loop {
        sleep(held.length / BEATS).await;
        let asked = Instant::now();
        match held.ask().await {
            Ok(true) => held.prolong(asked),
            Ok(false) => {
                tracing::error!(number = held.number, "this node's number was given to another node");
                held.lost.store(true, Ordering::Release);
                return;
            }
            // The client has counted and logged why. Tried again at the next beat.
            Err(_) => {}
        }
    }
}

/// The nodes that live, by number.
///
/// # Errors
/// When Redis gave no answer.
pub async fn nodes(redis: &Redis) -> Result<Vec<Node>, Failure> {
    let answer: Vec<(u16, String)> = redis.script("list_nodes", &keys(&LIST, redis)).await?;
    let node = |(number, holder): (u16, String)| {
        let name = holder.split_once(':').map_or("", |(_, name)| name);
        Node { number, name: name.to_owned() }
    };
    let mut nodes: Vec<_> = answer.into_iter().map(node).collect();
    nodes.sort_by_key(|node| node.number);
    Ok(nodes)
}

/// All in one slot.
fn keys<'a>(script: &'a Script, redis: &Redis) -> redis::ScriptInvocation<'a> {
    let mut call = script.key(redis.key("nodes:{all}:leases"));
    call.key(redis.key("nodes:{all}:holders"));
    call
}
