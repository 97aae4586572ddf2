//! People on many nodes: [`UserFanout`] over Redis pub/sub.
//!
//! What happens to a user is told to this node's sockets at once and published on the channel `user:{id}`, which every
//! node hears while it has a socket or a waiting poll of the user, and a little longer. Who came or went is published on
//! one channel that all nodes hear: it is a name, and far more people are watched than come and go. At most once; but
//! a loss never goes unnoticed while both ends live. What could not be published is said as soon as it can be
//! (`publish`), channels that were deaf are known (`redis_client::Subscriber`), and whoever missed something is named by
//! [`UserFanout::news`], so that it is read from the store.

mod inbox;
mod pending;
mod publish;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::chat::Message;
use model::metrics::count;
use model::{Clock, Metrics, UserId};
use parking_lot::Mutex;
use redis_client::{Address, BadAddress, Redis, Subscriber};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::notice::{News, Notice, Sockets, Unsure, UserFanout};
use pending::Pending;
use publish::{Outgoing, Publisher};
use told::Told;

/// Notices that may wait to be published; beyond it they are lost, and everybody is told so.
const WAITING_MAX: usize = 8_192;
/// How long somebody's channel is heard after the last socket: they come back, and polls follow each other.
const LINGER: Duration = Duration::from_secs(30);
/// How long a sync waits for the subscription.
const HEARD_PATIENCE: Duration = Duration::from_secs(1);
/// Between looking for channels to leave, and whether Redis is there.
const SWEEP: Duration = Duration::from_secs(1);
/// Between storing and hearing, at most, while all is well.
const DISORDER_MS: i64 = 5_000;
/// How long after an outage devices may still come with a place that they took during it.
const AFTER_OUTAGE_MS: i64 = 120_000;

/// Chat's fan-out to all nodes.
pub struct RedisUserFanout {
    shared: Arc<Shared>,
    subscriber: Arc<Subscriber>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// What the handle and its tasks share.
struct Shared {
    redis: Redis,
    source: String,
    /// This node's own post.
    here: Arc<dyn UserFanout>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    held: Mutex<HashMap<UserId, Held>>,
    outgoing: mpsc::Sender<Outgoing>,
    told: Mutex<Told>,
    pending: Pending,
    outage: Mutex<Option<Outage>>,
}

/// Sockets and polls of a user here.
struct Held {
    count: usize,
    idle_since: Option<Instant>,
}

/// When nodes did not hear each other, Unix milliseconds.
#[derive(Clone, Copy)]
struct Outage {
    since_ms: i64,
    seen_ms: i64,
}

impl RedisUserFanout {
    /// Tells `here`, this node's post, and other nodes as `source`, which no other node that lives may be called.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &Address,
        redis: Redis,
        source: &str,
        here: Arc<dyn UserFanout>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BadAddress> {
        let (outgoing, waiting) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            redis,
            source: source.to_owned(),
            here,
            clock,
            metrics,
            held: Mutex::default(),
            outgoing,
            told: Mutex::default(),
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
    /// A user's channel: on a Cluster a shard's, by the user.
    fn channel(&self, user: &UserId) -> String {
        self.redis.key(&format!("user:{{{user}}}"))
    }

    /// The channel that every node hears.
    fn everybodys(&self) -> String {
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

    /// Everybody here may have missed something since then.
    fn all_missed(&self, since_ms: i64) {
        self.deaf_since(since_ms);
        let held: Vec<UserId> = self.held.lock().keys().cloned().collect();
        held.into_iter().for_each(|user| self.pending.missed(user, since_ms));
        self.pending.stirred_all();
    }

    fn deaf_since(&self, since_ms: i64) {
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
            self.shared.told.lock().everybody(message.id);
        }
        self.shared.here.notify(users.clone(), sockets.clone(), notice.clone());
        self.shared.publish(Outgoing::Notice { users, sockets, notice });
    }

    fn tell_again(&self, users: Arc<[UserId]>, sockets: Sockets, message: Arc<Message>) {
        let strangers: Vec<_> = {
            let mut told = self.shared.told.lock();
            let strangers = users.iter().filter(|user| told.first(message.id, user)).cloned().collect();
            if !told.everybody(message.id) {
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
            self.subscriber.want(&self.shared.channel(user));
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
            self.subscriber.heard(&self.shared.channel(user), HEARD_PATIENCE).await;
        }
    }

    fn remind(&self, user: &UserId, notice: Notice) {
        self.shared.tell_once(user, Sockets::All, notice);
    }

    fn stir(&self, user: &UserId) {
        self.shared.publish(Outgoing::Stir(user.clone()));
    }

    async fn news(&self) -> News {
        self.shared.pending.news().await
    }

    fn unsure(&self, made_ms: i64) -> Option<Unsure> {
        let outage = *self.shared.outage.lock();
        let recent = outage.filter(|outage| self.shared.now_ms() - outage.seen_ms < AFTER_OUTAGE_MS);
        let usual_ms = made_ms - DISORDER_MS;
        let since_ms = recent.map_or(usual_ms, |outage| usual_ms.min(outage.since_ms));
        Some(Unsure { since_ms, outage: recent.is_some() })
    }
}

/// Leaves the channels of those who have been gone for a while, and notes when Redis is away.
async fn sweep(shared: Arc<Shared>, subscriber: Arc<Subscriber>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if !shared.redis.is_connected() {
            shared.deaf_since(shared.now_ms() - DISORDER_MS);
        }
        shared.held.lock().retain(|user, held| {
            let keep = held.idle_since.is_none_or(|since| since.elapsed() < LINGER);
            if !keep {
                subscriber.leave(&shared.channel(user));
            }
            keep
        });
    }
}
