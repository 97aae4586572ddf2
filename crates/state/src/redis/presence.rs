//! [`Presence`] on Redis.
//!
//! A node knows its own sockets. Redis knows which nodes have a socket of a user: `presence:{user}` is a hash from node to the
//! moment until which that counts. So only a user's first and last socket on a node cost a call. A node renews its lease in
//! `presence:nodes:{all}` every few seconds. After it expires, the other nodes take over its users one by one from
//! `presence:of:{node}`. What a failover or an outage lost heals by itself: nodes rewrite every entry within a minute, and an
//! entry expires after three.
//!
//! While Redis is away each node answers from its own sockets.

use std::collections::HashMap;
use std::sync::LazyLock;

use ahash::{HashSet, RandomState};
use async_trait::async_trait;
use futures::StreamExt;
use indexmap::IndexMap;
use model::UserId;
use parking_lot::Mutex;
use redis::{Pipeline, Script};
use redis_client::{CallError, Redis};
use smallvec::SmallVec;

use crate::{Presence, Result};

/// How long a node counts as alive after it renewed its lease. It renews several times in that.
pub const LEASE_MS: i64 = 20_000;
/// How long an entry counts without a rewrite.
const ENTRY_MS: i64 = 180_000;
/// Calls of `renew` within which every entry is rewritten once.
const REWRITE_CALLS: usize = 12;
/// Entries that one call of `renew` rewrites at least.
const REWRITTEN_MIN: usize = 256;
/// Users of a dead node that are taken over at once.
const TAKEN_OVER_AT_ONCE: usize = 256;
/// Concurrent calls.
const CALLS_AT_ONCE: usize = 64;
/// Users whose change did not reach Redis. For further users Redis is right within a minute after they come online, three
/// after they leave, and nobody is notified.
const UNREPORTED_MAX: usize = 100_000;
/// Users who were asked about while Redis did not answer. Further ones are right again with their next change.
const UNANSWERED_MAX: usize = 4_096;
/// Locks that keep calls about one user in order.
const LOCKS: usize = 256;

static ADD_NODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence_add_node.lua")));
static REMOVE_NODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence_remove_node.lua")));
static RENEW_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence_renew_lease.lua")));
static FORGET_NODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence_forget_node.lua")));

/// Nodes, each with a moment in Redis's milliseconds.
type Moments = HashMap<String, i64>;

/// Which users are connected to which nodes.
pub struct RedisPresence {
    redis: Redis,
    node: String,
    /// This node's sockets, which bound it.
    own: Mutex<OwnSockets>,
    locks: Vec<tokio::sync::Mutex<()>>,
    hash: RandomState,
    /// The ends of the nodes' leases, as last read.
    leases: Mutex<Moments>,
}

#[derive(Default)]
struct OwnSockets {
    sockets: IndexMap<UserId, SmallVec<[u64; 2]>, RandomState>,
    /// Users whose change may not have reached Redis.
    unreported: HashSet<UserId>,
    /// Where the next call of `renew` continues to rewrite.
    next: usize,
    /// Users of whom this node said "offline" because Redis did not answer.
    unanswered: HashSet<UserId>,
    /// Since when every renewal was in time. Only then is another node's expired lease its own fault.
    steady_since_ms: Option<i64>,
}

impl RedisPresence {
    /// Presence as this node sees it. `node` is its name; `token` is unique for this start of the process, which separates it
    /// from earlier ones.
    #[must_use]
    pub fn new(redis: Redis, node: &str, token: u64) -> Self {
        Self {
            redis,
            node: format!("{node}-{token:016x}"),
            own: Mutex::default(),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
            hash: RandomState::default(),
            leases: Mutex::default(),
        }
    }

    fn key(&self, user: &UserId) -> String {
        self.redis.key(&format!("presence:{{{user}}}"))
    }

    fn nodes_key(&self) -> String {
        self.redis.key("presence:nodes:{all}")
    }

    fn users_key(&self, node: &str) -> String {
        self.redis.key(&format!("presence:of:{{{node}}}"))
    }

    /// Locked while a user's sockets are counted and Redis is updated: no call overtakes another.
    async fn in_order(&self, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        self.locks[self.hash.hash_one(user) as usize % LOCKS].lock().await
    }

    fn is_here(&self, user: &UserId) -> bool {
        self.own.lock().sockets.contains_key(user)
    }

    /// Writes that this node has a socket of the user. Returns the nodes that had one before.
    async fn write(&self, user: &UserId, now_ms: i64) -> std::result::Result<Moments, CallError> {
        let mut script = ADD_NODE.key(self.key(user));
        script.arg(&self.node).arg(self.redis.at_ms(now_ms) + ENTRY_MS).arg(ENTRY_MS);
        self.redis.script("presence_enter", &script).await
    }

    /// Writes that `node` has no socket of the user. Returns the nodes that have one.
    async fn erase(&self, user: &UserId, node: &str) -> std::result::Result<Moments, CallError> {
        let mut script = REMOVE_NODE.key(self.key(user));
        script.arg(node);
        self.redis.script("presence_leave", &script).await
    }

    /// Updates the set from which others take over this node's users.
    async fn update_own_set(&self, command: &str, users: &[UserId]) -> std::result::Result<(), CallError> {
        let mut call = redis::cmd(command);
        call.arg(self.users_key(&self.node));
        for user in users {
            call.arg(user.as_str());
        }
        self.redis.command("presence_note", &call).await
    }

    /// Whether any of these nodes is alive, this one excepted.
    async fn others_live(&self, entries: &Moments, now_ms: i64) -> std::result::Result<bool, CallError> {
        let now_ms = self.redis.at_ms(now_ms);
        let fresh = |(node, until): &(&String, &i64)| **until > now_ms && **node != self.node;
        let nodes: Vec<_> = entries.iter().filter(fresh).map(|(node, _)| node).collect();
        let known_to_live =
            |leases: &Moments| nodes.iter().any(|node| leases.get(*node).is_some_and(|end| *end > now_ms));
        if nodes.is_empty() {
            return Ok(false);
        }
        if known_to_live(&self.leases.lock()) {
            return Ok(true);
        }
        // A node that started since the last renewal, or a dead one.
        let all = redis::cmd("ZRANGE").arg(self.nodes_key()).arg(0).arg(-1).arg("WITHSCORES").to_owned();
        let all = self.redis.command::<Vec<(String, f64)>>("presence_nodes", &all).await?;
        Ok(known_to_live(&self.store_leases(all)))
    }

    fn store_leases(&self, all: Vec<(String, f64)>) -> Moments {
        let all: Moments = all.into_iter().map(|(node, end)| (node, end as i64)).collect();
        self.leases.lock().clone_from(&all);
        all
    }

    /// The nodes of each user.
    async fn nodes_of(&self, users: &[UserId]) -> std::result::Result<Vec<Moments>, CallError> {
        if self.redis.is_cluster() {
            let calls: Vec<_> = users.iter().map(|user| self.nodes_of_one(user.clone())).collect();
            let found: Vec<_> = futures::stream::iter(calls).buffered(CALLS_AT_ONCE).collect().await;
            return found.into_iter().collect();
        }
        let mut pipeline = Pipeline::with_capacity(users.len());
        for user in users {
            pipeline.cmd("HGETALL").arg(self.key(user));
        }
        self.redis.pipeline("presence", &pipeline).await
    }

    async fn nodes_of_one(&self, user: UserId) -> std::result::Result<Moments, CallError> {
        self.redis.command("presence", redis::cmd("HGETALL").arg(self.key(&user))).await
    }

    /// Renews this node's lease. Returns its previous end, and the ends of all leases.
    async fn renew_lease(&self, now_ms: i64) -> std::result::Result<(i64, Moments), CallError> {
        let mut script = RENEW_LEASE.key(self.nodes_key());
        script.arg(&self.node).arg(self.redis.at_ms(now_ms) + LEASE_MS);
        let (before, all): (f64, Vec<(String, f64)>) = self.redis.script("presence_beat", &script).await?;
        Ok((before as i64, self.store_leases(all)))
    }

    /// Rewrites some entries, or all of them when Redis may have lost them, and reports what did not reach Redis. Returns the
    /// users of those reports.
    async fn rewrite(&self, everything: bool, now_ms: i64) -> Vec<UserId> {
        let (users, unreported) = self.own.lock().next_to_rewrite(everything);
        // The next round rewrites what fails now.
        for some in users.chunks(TAKEN_OVER_AT_ONCE) {
            let _ = self.update_own_set("SADD", some).await;
        }
        let calls: Vec<_> = users.into_iter().map(|user| self.refresh(user, now_ms)).collect();
        futures::stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).for_each(async |()| {}).await;
        let calls: Vec<_> = unreported.into_iter().map(|user| self.report_late(user, now_ms)).collect();
        futures::stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).filter_map(async |told| told).collect().await
    }

    async fn refresh(&self, user: UserId, now_ms: i64) {
        let _ordered = self.in_order(&user).await;
        if self.is_here(&user) {
            let _ = self.write(&user, now_ms).await;
        }
    }

    /// Writes to Redis whether the user is here. Returns the user if that succeeded.
    async fn report_late(&self, user: UserId, now_ms: i64) -> Option<UserId> {
        let _ordered = self.in_order(&user).await;
        let command = if self.is_here(&user) {
            self.write(&user, now_ms).await.ok()?;
            "SADD"
        } else {
            self.erase(&user, &self.node).await.ok()?;
            "SREM"
        };
        self.own.lock().unreported.remove(&user);
        let _ = self.update_own_set(command, std::slice::from_ref(&user)).await;
        Some(user)
    }

    /// Takes over the users of a dead node. Returns those who are on no other node.
    async fn take_over(&self, node: &str, now_ms: i64) -> std::result::Result<Vec<UserId>, CallError> {
        let mut gone = Vec::new();
        loop {
            let mut pop = redis::cmd("SPOP");
            pop.arg(self.users_key(node)).arg(TAKEN_OVER_AT_ONCE);
            let users: Vec<String> = self.redis.command("presence_take", &pop).await?;
            if users.is_empty() {
                let mut script = FORGET_NODE.key(self.nodes_key());
                script.arg(node).arg(self.redis.at_ms(now_ms));
                self.redis.script::<()>("presence_forget", &script).await?;
                return Ok(gone);
            }
            for user in users.iter().filter_map(|name| UserId::new(name).ok()) {
                // If another dead node has the user, its take-over reports the user.
                let now_ms = self.redis.at_ms(now_ms);
                let elsewhere =
                    self.erase(&user, node).await.is_ok_and(|others| others.values().any(|end| *end > now_ms));
                if !elsewhere && !self.is_here(&user) {
                    gone.push(user);
                }
            }
        }
    }
}

impl OwnSockets {
    /// Notes that a user's change may not have reached Redis.
    fn mark_unreported(&mut self, user: &UserId) {
        if self.unreported.len() < UNREPORTED_MAX {
            self.unreported.insert(user.clone());
        }
    }

    /// Notes that this node does not know where these users are.
    fn mark_unanswered(&mut self, users: impl IntoIterator<Item = UserId>) {
        let free = UNANSWERED_MAX.saturating_sub(self.unanswered.len());
        self.unanswered.extend(users.into_iter().take(free));
    }

    /// The next entries to rewrite, and the users to report.
    fn next_to_rewrite(&mut self, everything: bool) -> (Vec<UserId>, Vec<UserId>) {
        let all = self.sockets.len();
        let most = if everything { all } else { all.div_ceil(REWRITE_CALLS).max(REWRITTEN_MIN) };
        let from = if self.next < all { self.next } else { 0 };
        let users: Vec<UserId> = self.sockets.keys().skip(from).take(most).cloned().collect();
        self.next = from + users.len();
        (users, self.unreported.iter().cloned().collect())
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn enter(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool> {
        let _ordered = self.in_order(user).await;
        {
            let mut own = self.own.lock();
            let sockets = own.sockets.entry(user.clone()).or_default();
            if !sockets.contains(&socket) {
                sockets.push(socket);
            }
            if sockets.len() > 1 {
                return Ok(false);
            }
        }
        let (_, before) =
            tokio::join!(self.update_own_set("SADD", std::slice::from_ref(user)), self.write(user, now_ms));
        match before {
            Ok(before) => Ok(!self.others_live(&before, now_ms).await.unwrap_or(false)),
            Err(_) => {
                self.own.lock().mark_unreported(user);
                Ok(true)
            }
        }
    }

    async fn leave(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool> {
        let _ordered = self.in_order(user).await;
        {
            let mut own = self.own.lock();
            let Some(sockets) = own.sockets.get_mut(user) else { return Ok(false) };
            sockets.retain(|open| *open != socket);
            if !sockets.is_empty() {
                return Ok(false);
            }
            own.sockets.swap_remove(user);
        }
        let (_, others) =
            tokio::join!(self.update_own_set("SREM", std::slice::from_ref(user)), self.erase(user, &self.node));
        match others {
            Ok(others) => Ok(!self.others_live(&others, now_ms).await.unwrap_or(false)),
            Err(_) => {
                self.own.lock().mark_unreported(user);
                Ok(true)
            }
        }
    }

    async fn renew(&self, now_ms: i64) -> Result<Vec<UserId>> {
        let Ok((before_ms, leases)) = self.renew_lease(now_ms).await else {
            self.own.lock().steady_since_ms = None;
            return Ok(Vec::new());
        };
        let redis_ms = self.redis.at_ms(now_ms);
        let (steady_since_ms, unanswered) = {
            let mut own = self.own.lock();
            let heard = own.steady_since_ms.filter(|_| before_ms > redis_ms);
            own.steady_since_ms = Some(heard.unwrap_or(redis_ms));
            (heard, std::mem::take(&mut own.unanswered))
        };
        // Others may have read the old state meanwhile.
        let mut changed = self.rewrite(steady_since_ms.is_none(), now_ms).await;
        changed.extend(unanswered);
        let Some(since_ms) = steady_since_ms else {
            // Without a lease, also before the first, this node's users were offline to others.
            if before_ms <= redis_ms {
                changed.extend(self.own.lock().sockets.keys().cloned());
            }
            return Ok(changed);
        };
        // After an outage of Redis, expired leases prove nothing.
        if redis_ms - since_ms < LEASE_MS {
            return Ok(changed);
        }
        for node in leases.into_iter().filter(|(_, end)| *end <= redis_ms).map(|(node, _)| node) {
            changed.append(&mut self.take_over(&node, now_ms).await.unwrap_or_default());
        }
        Ok(changed)
    }

    async fn online(&self, users: &[UserId], now_ms: i64) -> Result<Vec<bool>> {
        let elsewhere: Vec<UserId> = users.iter().filter(|user| !self.is_here(user)).cloned().collect();
        let mut online: HashSet<UserId> = HashSet::default();
        if !elsewhere.is_empty() {
            match self.nodes_of(&elsewhere).await {
                Ok(found) => {
                    for (user, entries) in elsewhere.into_iter().zip(found) {
                        match self.others_live(&entries, now_ms).await {
                            Ok(true) => drop(online.insert(user)),
                            Ok(false) => {}
                            Err(_) => self.own.lock().mark_unanswered([user]),
                        }
                    }
                }
                Err(_) => self.own.lock().mark_unanswered(elsewhere),
            }
        }
        Ok(users.iter().map(|user| self.is_here(user) || online.contains(user)).collect())
    }
}
