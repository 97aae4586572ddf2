//! The control channel: what concerns every node, also those that do not hold the room.
//!
//! [`ControlFanout`] publishes it, [`ControlInbox`] hears it; on a Cluster it is one sharded channel. At most once, like
//! everything here, but a node always learns that it may have missed something: batches are numbered by source, a beat
//! says once a second how far its source is, and whoever hears for the first time, or again, or finds a hole is told
//! [`ControlNews::Missed`]. When not even beats come for three seconds the node is deaf, and is told that too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::metrics::{count, count_by};
use model::{Clock, Metrics, RoomId};
use redis_client::{Address, BadAddress, Redis, Subscriber};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::counters::{Counters, Number};
use super::{CONTROL, send};
use crate::fanout::{ControlNews, Fanout};
use crate::log::Entry;
use crate::record::Batch;

/// Runs and messages that may wait; beyond it they are lost, counted, and noticed as a hole.
const WAITING_MAX: usize = 8_192;
/// Each source says so often how far it is.
const BEAT: Duration = Duration::from_secs(1);
/// Whoever hears nothing for so long is deaf: three beats of each node, its own among them.
const DEAF_AFTER: Duration = Duration::from_secs(3);

/// Publishes to every node.
pub struct ControlFanout {
    waiting: mpsc::Sender<(RoomId, Vec<Entry>)>,
    /// Runs that found the queue full and have not been numbered yet.
    skipped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl ControlFanout {
    /// Publishes as `source`, which no other node that lives may be called, and beats. Must be called within a Tokio
    /// runtime.
    #[must_use]
    pub fn new(redis: Redis, source: &str, clock: &dyn Clock, metrics: Arc<Metrics>) -> Self {
        let (waiting, runs) = mpsc::channel(WAITING_MAX);
        let given = Number { epoch: clock.now_ms().max(0).unsigned_abs(), seq: 0 };
        let skipped = Arc::new(AtomicU64::new(0));
        let publisher =
            Publisher { redis, source: source.to_owned(), given, skipped: skipped.clone(), metrics: metrics.clone() };
        Self { waiting, skipped, metrics, _task: AbortOnDropHandle::new(tokio::spawn(publisher.run(runs))) }
    }
}

impl Fanout for ControlFanout {
    /// Pushes entries of one room to every other node that lives, whatever it holds.
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let lost = entries.len() as u64;
        if self.waiting.try_send((room_id.clone(), entries)).is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            count_by(&self.metrics.fanout_lost, "reason", "full", lost);
        }
    }
}

struct Publisher {
    redis: Redis,
    source: String,
    given: Number,
    skipped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn run(mut self, mut runs: mpsc::Receiver<(RoomId, Vec<Entry>)>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (room_id, entries) = tokio::select! {
                run = runs.recv() => match run {
                    Some(run) => run,
                    None => return,
                },
                _ = beat.tick() => (RoomId::everywhere(), Vec::new()),
            };
            // A number that nobody gets to see tells the others that something was skipped.
            self.given.seq += self.skipped.swap(0, Ordering::Relaxed) + u64::from(!entries.is_empty());
            let Number { epoch, seq } = self.given;
            let batch = Batch { source: self.source.clone(), epoch, seq, room_id, entries, kept_late_since_ms: None };
            send(&self.redis, CONTROL, &batch, &self.metrics).await;
        }
    }
}

/// Hears what concerns every node. Dropping it ends that.
pub struct ControlInbox {
    _subscriber: Subscriber,
    _task: AbortOnDropHandle<()>,
}

/// Hears the news, in their order; must be quick and must not block.
pub type Hear = Arc<dyn Fn(ControlNews) + Send + Sync>;

impl ControlInbox {
    /// Hands what others than `source` publish to `here`, this node's gateway, and all that is published to `hear`. Must
    /// be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &Address,
        redis: &Redis,
        source: &str,
        here: Arc<dyn Fanout>,
        hear: Hear,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BadAddress> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let (full, missed, missed_too) = (metrics.clone(), hear.clone(), hear.clone());
        let take = move |_: &str, message: Vec<u8>| {
            if waiting.try_send(message).is_err() {
                count(&full.fanout_lost, "reason", "behind");
                missed(ControlNews::Missed);
            }
        };
        let regained = move |_: &str, _| missed_too(ControlNews::Missed);
        let subscriber = Subscriber::start(address, Arc::new(take), Arc::new(regained))?;
        subscriber.want(&redis.key(CONTROL));
        let reader = Reader { source: source.to_owned(), here, hear, metrics, heard: Counters::new() };
        Ok(Self { _subscriber: subscriber, _task: AbortOnDropHandle::new(tokio::spawn(reader.run(messages))) })
    }
}

struct Reader {
    source: String,
    here: Arc<dyn Fanout>,
    hear: Hear,
    metrics: Arc<Metrics>,
    heard: Counters<String>,
}

impl Reader {
    async fn run(mut self, mut messages: mpsc::Receiver<Vec<u8>>) {
        // Until the first message, what was told before may not have come.
        let mut deaf = None;
        loop {
            let message = match timeout(DEAF_AFTER, messages.recv()).await {
                Ok(Some(message)) => Some(message),
                Ok(None) => return,
                Err(_) => None,
            };
            if deaf != Some(message.is_none()) {
                self.turned(deaf, message.is_none());
                deaf = Some(message.is_none());
            }
            if let Some(message) = message {
                self.take(&message);
            }
        }
    }

    fn turned(&self, was_deaf: Option<bool>, deaf: bool) {
        if deaf {
            tracing::warn!("other nodes are not heard; what they change is read from the store now and then");
            (self.hear)(ControlNews::Deaf(true));
            return;
        }
        if was_deaf == Some(true) {
            tracing::info!("other nodes are heard again");
            (self.hear)(ControlNews::Deaf(false));
        }
        (self.hear)(ControlNews::Missed);
    }

    fn take(&mut self, message: &[u8]) {
        let Batch { source, epoch, seq, room_id, entries, .. } = match Batch::decode(message) {
            Ok(batch) => batch,
            Err(error) => {
                count(&self.metrics.fanout_lost, "reason", "unreadable");
                tracing::debug!(%error, "a batch of another node cannot be read");
                return;
            }
        };
        let (own, number) = (source == self.source, Number { epoch, seq });
        // One with only such entries as this node does not know looks like a beat after a hole: what they may have changed
        // is then read again.
        // There are as many sources as nodes, so nothing is ever forgotten for its age.
        let hole = if entries.is_empty() {
            self.heard.stands(&source, number, 0)
        } else {
            self.heard.came(&source, number, 0).is_some()
        };
        if hole {
            count(&self.metrics.fanout_lost, "reason", "hole");
            (self.hear)(ControlNews::Missed);
        }
        if entries.is_empty() {
            return;
        }
        if !own {
            self.here.push(&room_id, entries.clone());
        }
        (self.hear)(ControlNews::Told(entries));
    }
}
