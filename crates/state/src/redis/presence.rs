//! [`Presence`] on Redis.
//!
//! A node knows its own sockets; Redis knows which nodes have one of a user: `presence:{user}`, a hash of nodes with the
//! moment until which that counts. So only the first and the last socket of a user on a node cost a call. A node that
//! lives says so every few seconds in `presence:nodes:{all}`; when it no longer does, the others take its users one by
//! one out of `presence:of:{node}`, each of them one of them alone. What a failover or an outage lost comes right by
//! itself, since every entry is written again within a minute and forgotten after three.
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
use redis_client::{Failure, Redis};
use smallvec::SmallVec;

use crate::{Presence, Result};

/// How long a node counts as living after it said so; it is to say so several times in that.
pub const LEASE_MS: i64 = 20_000;
/// How long an entry counts that is not written again.
const ENTRY_MS: i64 = 180_000;
/// Calls of `renew` in which every entry is written once.
const ROUND: usize = 12;
/// Entries written by one call of `renew` at least.
const SOME: usize = 256;
/// Users of a dead node that are taken together.
const TAKEN: usize = 256;
/// Calls under way at once.
const AT_ONCE: usize = 64;
/// Users whose coming or going Redis was not told; of further ones it is right within a minute of coming, three of going, and
/// nobody is told so.
const UNTOLD_MAX: usize = 100_000;
/// Locks that keep the calls about one user in order.
const LOCKS: usize = 256;

static ENTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("enter_presence.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("leave_presence.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat_presence.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("forget_presence.lua")));

/// Nodes, each with a moment in Redis's milliseconds.
type Moments = HashMap<String, i64>;

/// Who is connected to which nodes.
pub struct RedisPresence {
    redis: Redis,
    node: String,
    /// This node's sockets; as many as there are, so it needs no bound of its own.
    own: Mutex<Own>,
    locks: Vec<tokio::sync::Mutex<()>>,
    hash: RandomState,
    /// The ends of the nodes' leases, as last heard.
    leases: Mutex<Moments>,
}

#[derive(Default)]
struct Own {
    sockets: IndexMap<UserId, SmallVec<[u64; 2]>, RandomState>,
    /// Whose coming or going Redis was not told, as far as is known.
    untold: HashSet<UserId>,
    /// Where the next call of `renew` goes on writing.
    next: usize,
    /// Since when every beat was heard in time, so that others' silence is theirs.
    steady_since_ms: Option<i64>,
    /// It has been heard at all.
    has_beaten: bool,
}

impl RedisPresence {
    /// Presence as this node sees it. `node` is its name, `token` a secret of this start of the process, by which it is
    /// told from an earlier one.
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

    /// Held while a user's sockets are counted and Redis is told: two calls never overtake each other.
    async fn in_order(&self, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        self.locks[self.hash.hash_one(user) as usize % LOCKS].lock().await
    }

    fn is_here(&self, user: &UserId) -> bool {
        self.own.lock().sockets.contains_key(user)
    }

    /// Writes that this node has a socket of the user; who else had one before.
    async fn write(&self, user: &UserId, now_ms: i64) -> std::result::Result<Moments, Failure> {
        let mut script = ENTER.key(self.key(user));
        script.arg(&self.node).arg(self.redis.at_ms(now_ms) + ENTRY_MS).arg(ENTRY_MS);
        self.redis.script("presence_enter", &script).await
    }

    /// Writes that `node` has no socket of the user; who else has one.
    async fn erase(&self, user: &UserId, node: &str) -> std::result::Result<Moments, Failure> {
        let mut script = LEAVE.key(self.key(user));
        script.arg(node);
        self.redis.script("presence_leave", &script).await
    }

    /// Notes in which set others find this node's users, should it die.
    async fn note(&self, command: &str, users: &[UserId]) -> std::result::Result<(), Failure> {
        let mut call = redis::cmd(command);
        call.arg(self.users_key(&self.node));
        for user in users {
            call.arg(user.as_str());
        }
        self.redis.command("presence_note", &call).await
    }

    /// Whether any of these nodes lives, but for this one.
    async fn others_live(&self, entries: &Moments, now_ms: i64) -> bool {
        let now_ms = self.redis.at_ms(now_ms);
        let fresh = |(node, until): &(&String, &i64)| **until > now_ms && **node != self.node;
        let nodes: Vec<_> = entries.iter().filter(fresh).map(|(node, _)| node).collect();
        let known_to_live =
            |leases: &Moments| nodes.iter().any(|node| leases.get(*node).is_some_and(|end| *end > now_ms));
        if nodes.is_empty() {
            return false;
        }
        if known_to_live(&self.leases.lock()) {
            return true;
        }
        // One that came since the last beat, or one that is dead.
        let all = redis::cmd("ZRANGE").arg(self.nodes_key()).arg(0).arg(-1).arg("WITHSCORES").to_owned();
        match self.redis.command::<Vec<(String, f64)>>("presence_nodes", &all).await {
            Ok(all) => known_to_live(&self.hear(all)),
            Err(_) => false,
        }
    }

    fn hear(&self, all: Vec<(String, f64)>) -> Moments {
        let all: Moments = all.into_iter().map(|(node, end)| (node, end as i64)).collect();
        self.leases.lock().clone_from(&all);
        all
    }

    /// Who is on which node, user by user.
    async fn look(&self, users: &[UserId]) -> std::result::Result<Vec<Moments>, Failure> {
        if self.redis.is_cluster() {
            let calls: Vec<_> = users.iter().map(|user| self.look_at(user.clone())).collect();
            let found: Vec<_> = futures::stream::iter(calls).buffered(AT_ONCE).collect().await;
            return found.into_iter().collect();
        }
        let mut pipeline = Pipeline::with_capacity(users.len());
        for user in users {
            pipeline.cmd("HGETALL").arg(self.key(user));
        }
        self.redis.pipeline("presence", &pipeline).await
    }

    async fn look_at(&self, user: UserId) -> std::result::Result<Moments, Failure> {
        self.redis.command("presence", redis::cmd("HGETALL").arg(self.key(&user))).await
    }

    /// Says that this node lives; the end of its lease before, and those of all.
    async fn beat(&self, now_ms: i64) -> std::result::Result<(i64, Moments), Failure> {
        let mut script = BEAT.key(self.nodes_key());
        script.arg(&self.node).arg(self.redis.at_ms(now_ms) + LEASE_MS);
        let (before, all): (f64, Vec<(String, f64)>) = self.redis.script("presence_beat", &script).await?;
        Ok((before as i64, self.hear(all)))
    }

    /// Writes some entries again, all of them when Redis may have lost them, and what it was not told: about whom that was.
    async fn write_again(&self, everything: bool, now_ms: i64) -> Vec<UserId> {
        let (users, untold) = self.own.lock().some(everything);
        // What fails now is written in the next round.
        for some in users.chunks(TAKEN) {
            let _ = self.note("SADD", some).await;
        }
        let calls: Vec<_> = users.into_iter().map(|user| self.refresh(user, now_ms)).collect();
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
        let calls: Vec<_> = untold.into_iter().map(|user| self.tell_late(user, now_ms)).collect();
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).filter_map(async |told| told).collect().await
    }

    async fn refresh(&self, user: UserId, now_ms: i64) {
        let _ordered = self.in_order(&user).await;
        if self.is_here(&user) {
            let _ = self.write(&user, now_ms).await;
        }
    }

    /// Tells Redis whether the user is here, whatever it knows; the user, if it heard that.
    async fn tell_late(&self, user: UserId, now_ms: i64) -> Option<UserId> {
        let _ordered = self.in_order(&user).await;
        let command = if self.is_here(&user) {
            self.write(&user, now_ms).await.ok()?;
            "SADD"
        } else {
            self.erase(&user, &self.node).await.ok()?;
            "SREM"
        };
        self.own.lock().untold.remove(&user);
        let _ = self.note(command, std::slice::from_ref(&user)).await;
        Some(user)
    }

    /// Takes the users of a node that is dead, and says which of them are nowhere else.
    async fn take_over(&self, node: &str, now_ms: i64) -> std::result::Result<Vec<UserId>, Failure> {
        let mut gone = Vec::new();
        loop {
            let mut pop = redis::cmd("SPOP");
            pop.arg(self.users_key(node)).arg(TAKEN);
            let users: Vec<String> = self.redis.command("presence_take", &pop).await?;
            if users.is_empty() {
                let mut script = FORGET.key(self.nodes_key());
                script.arg(node).arg(self.redis.at_ms(now_ms));
                self.redis.script::<()>("presence_forget", &script).await?;
                return Ok(gone);
            }
            for user in users.iter().filter_map(|name| UserId::new(name).ok()) {
                // Another dead node that has them tells of their going when it is taken over.
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

impl Own {
    /// Notes that Redis may not know of a user's coming or going.
    fn owe(&mut self, user: &UserId) {
        if self.untold.len() < UNTOLD_MAX {
            self.untold.insert(user.clone());
        }
    }

    /// The next entries to write again, and of whom Redis is to be told.
    fn some(&mut self, everything: bool) -> (Vec<UserId>, Vec<UserId>) {
        let all = self.sockets.len();
        let most = if everything { all } else { all.div_ceil(ROUND).max(SOME) };
        let from = if self.next < all { self.next } else { 0 };
        let users: Vec<UserId> = self.sockets.keys().skip(from).take(most).cloned().collect();
        self.next = from + users.len();
        (users, self.untold.iter().cloned().collect())
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
        let (_, before) = tokio::join!(self.note("SADD", std::slice::from_ref(user)), self.write(user, now_ms));
        match before {
            Ok(before) => Ok(!self.others_live(&before, now_ms).await),
            Err(_) => {
                self.own.lock().owe(user);
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
        let (_, others) = tokio::join!(self.note("SREM", std::slice::from_ref(user)), self.erase(user, &self.node));
        match others {
            Ok(others) => Ok(!self.others_live(&others, now_ms).await),
            Err(_) => {
                self.own.lock().owe(user);
                Ok(true)
            }
        }
    }

    async fn renew(&self, now_ms: i64) -> Result<Vec<UserId>> {
        let Ok((before_ms, leases)) = self.beat(now_ms).await else {
            self.own.lock().steady_since_ms = None;
            return Ok(Vec::new());
        };
        let redis_ms = self.redis.at_ms(now_ms);
        let (steady_since_ms, was_silent) = {
            let mut own = self.own.lock();
            let was_silent = std::mem::replace(&mut own.has_beaten, true) && before_ms <= redis_ms;
            let heard = own.steady_since_ms.filter(|_| before_ms > redis_ms);
            own.steady_since_ms = Some(heard.unwrap_or(redis_ms));
            (heard, was_silent)
        };
        // Whoever looked meanwhile may have seen them as they were before.
        let mut changed = self.write_again(steady_since_ms.is_none(), now_ms).await;
        let Some(since_ms) = steady_since_ms else {
            // Others may have said of this node's users that they are gone.
            if was_silent {
                changed.extend(self.own.lock().sockets.keys().cloned());
            }
            return Ok(changed);
        };
        // Where nobody was heard for a while nobody may be dead.
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
        if !elsewhere.is_empty()
            && let Ok(found) = self.look(&elsewhere).await
        {
            for (user, entries) in elsewhere.into_iter().zip(found) {
                if self.others_live(&entries, now_ms).await {
                    online.insert(user);
                }
            }
        }
        Ok(users.iter().map(|user| self.is_here(user) || online.contains(user)).collect())
    }
}
