//! [`UserFanout`] over Redis pub/sub.
//!
//! A user's notice goes to this node's sockets at once and to the channel `user:{id}`. A node subscribes to it while it has a
//! socket or a waiting poll of the user, and a little longer. Presence changes go to one channel that all nodes subscribe to:
//! they are short, and far more users are watched than change. Delivery is at most once, but no loss goes unnoticed while both
//! ends live: `publish` announces what it could not publish, `redis_client::Subscriber` reports interrupted channels, and
//! [`UserFanout::changes`] names the users who missed something, so that chat reads the store.

mod delivered_set;
mod inbox;
mod pending;
mod publish;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::chat::Message;
use model::metrics::count;
use model::{Clock, Metrics, UserId};
use parking_lot::Mutex;
use redis_client::{InvalidRedisAddress, Redis, RedisAddress, Subscriber};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::user::{Notice, RemoteChanges, RereadWindow, Sockets, UserFanout};
use delivered_set::DeliveredSet;
use pending::Pending;
use publish::{Outgoing, Publisher};

/// Notices that may wait to be published. Further ones are lost, which is announced to every node.
const WAITING_MAX: usize = 8_192;
/// How long a user's channel stays subscribed after the last socket: users come back, and polls follow each other.
const LINGER: Duration = Duration::from_secs(30);
/// How long a sync waits for the subscription.
const HEARD_PATIENCE: Duration = Duration::from_secs(1);
/// Interval of leaving idle channels and checking whether Redis is available.
const SWEEP: Duration = Duration::from_secs(1);
/// Longest normal time between storing a message and receiving its notice.
const DISORDER_MS: i64 = 5_000;
/// How long after an outage devices may still present a cursor that they took during it.
const AFTER_OUTAGE_MS: i64 = 120_000;

/// Chat's fan-out to all nodes.
pub struct RedisUserFanout {
    shared: Arc<Shared>,
    subscriber: Arc<Subscriber>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// State shared by the handle and its tasks.
struct Shared {
    redis: Redis,
    source: String,
    /// This node's own fan-out.
    here: Arc<dyn UserFanout>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    held: Mutex<HashMap<UserId, Held>>,
    outgoing: mpsc::Sender<Outgoing>,
    delivered: Mutex<DeliveredSet>,
    pending: Pending,
    outage: Mutex<Option<Outage>>,
}

/// Sockets and polls of a user on this node.
struct Held {
    count: usize,
    idle_since: Option<Instant>,
}

/// Intervals in which nodes did not receive each other's messages, Unix milliseconds.
#[derive(Clone, Copy)]
struct Outage {
    since_ms: i64,
    seen_ms: i64,
}

impl RedisUserFanout {
    /// Notifies `here`, this node's own fan-out, and other nodes as `source`, a name that no other live node has. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &RedisAddress,
        redis: Redis,
        source: &str,
        here: Arc<dyn UserFanout>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidRedisAddress> {
        let (outgoing, waiting) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            redis,
            source: source.to_owned(),
            here,
            clock,
            metrics,
            held: Mutex::default(),
            outgoing,
            delivered: Mutex::default(),
            pending: Pending::default(),
            outage: Mutex::default(),
        });
        let (subscriber, reader) = inbox::start(address, &shared)?;
        let subscriber = Arc::new(subscriber);
        let publisher = tokio::spawn(Publisher::new(shared.clone()).run(waiting));
        let sweeper = tokio::spawn(sweep(shared.clone(), subscriber.clone()));
        let tasks = [reader, publisher, sweeper].map(AbortOnDropHandle::new);
        Ok(Self { shared, subscriber, _tasks: tasks })
    }
}

impl Shared {
    /// A user's channel; on a Cluster, sharded by the user.
    fn channel(&self, user: &UserId) -> String {
        self.redis.key(&format!("user:{{{user}}}"))
    }

    /// The channel that every node subscribes to.
    fn shared_channel(&self) -> String {
        self.redis.key("users:{all}")
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn publish(&self, outgoing: Outgoing) {
        if let Err(error) = self.outgoing.try_send(outgoing) {
            count(&self.metrics.fanout_lost, "reason", "full");
            self.pending.owe(error.into_inner().lost(self.now_ms()));
        }
    }

    /// Every user on this node may have missed something since then.
    fn all_missed(&self, since_ms: i64) {
        self.disconnected_since(since_ms);
        let held: Vec<UserId> = self.held.lock().keys().cloned().collect();
        held.into_iter().for_each(|user| self.pending.missed(user, since_ms));
        self.pending.all_presence_changed();
    }

    fn disconnected_since(&self, since_ms: i64) {
        let now_ms = self.now_ms();
        let mut outage = self.outage.lock();
        let before = outage.filter(|outage| now_ms - outage.seen_ms < AFTER_OUTAGE_MS);
        let since_ms = before.map_or(since_ms, |before| before.since_ms.min(since_ms));
        *outage = Some(Outage { since_ms, seen_ms: now_ms });
    }
}

#[async_trait]
impl UserFanout for RedisUserFanout {
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice) {
        if let Notice::Message(message) = &notice {
            self.shared.delivered.lock().everybody(message.id);
        }
        self.shared.here.notify(users.clone(), sockets.clone(), notice.clone());
        self.shared.publish(Outgoing::Notice { users, sockets, notice });
    }

    fn tell_again(&self, users: Arc<[UserId]>, sockets: Sockets, message: Arc<Message>) {
        let strangers: Vec<_> = {
            let mut delivered = self.shared.delivered.lock();
            let strangers = users.iter().filter(|user| delivered.first(message.id, user)).cloned().collect();
            if !delivered.everybody(message.id) {
                return;
            }
            strangers
        };
        let notice = Notice::Message(message);
        self.shared.here.notify(strangers.into(), sockets.clone(), notice.clone());
        self.shared.publish(Outgoing::Notice { users, sockets, notice });
    }

    fn tell_others(&self, user: &UserId, notice: Notice) {
        self.shared.publish(Outgoing::Notice { users: Arc::new([user.clone()]), sockets: Sockets::All, notice });
    }

    fn hold(&self, user: &UserId) {
        let mut held = self.shared.held.lock();
        let entry = held.entry(user.clone()).or_insert_with(|| {
            self.subscriber.subscribe(&self.shared.channel(user));
            Held { count: 0, idle_since: None }
        });
        entry.count += 1;
        entry.idle_since = None;
    }

    fn release(&self, user: &UserId) {
        if let Some(entry) = self.shared.held.lock().get_mut(user) {
            entry.count = entry.count.saturating_sub(1);
            if entry.count == 0 {
                entry.idle_since = Some(Instant::now());
            }
        }
    }

    async fn heard(&self, user: &UserId) {
        if self.shared.redis.is_connected() {
            self.subscriber.subscribed(&self.shared.channel(user), HEARD_PATIENCE).await;
        }
    }

    fn remind(&self, user: &UserId, notice: Notice) {
        self.shared.notify_once(user, Sockets::All, notice);
    }

    fn notify_presence(&self, user: &UserId) {
        self.shared.publish(Outgoing::PresenceChanged(user.clone()));
    }

    async fn changes(&self) -> RemoteChanges {
        self.shared.pending.changes().await
    }

    fn reread_window(&self, made_ms: i64) -> Option<RereadWindow> {
        let outage = *self.shared.outage.lock();
        let recent = outage.filter(|outage| self.shared.now_ms() - outage.seen_ms < AFTER_OUTAGE_MS);
        let usual_ms = made_ms - DISORDER_MS;
        let since_ms = recent.map_or(usual_ms, |outage| usual_ms.min(outage.since_ms));
        Some(RereadWindow { since_ms, outage: recent.is_some() })
    }
}

/// Leaves the channels of users who left a while ago, and records outages of Redis.
async fn sweep(shared: Arc<Shared>, subscriber: Arc<Subscriber>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !shared.redis.is_connected() {
            shared.disconnected_since(shared.now_ms() - DISORDER_MS);
        }
        shared.held.lock().retain(|user, held| {
            let keep = held.idle_since.is_none_or(|since| since.elapsed() < LINGER);
            if !keep {
                subscriber.unsubscribe(&shared.channel(user));
            }
            keep
        });
    }
}
