//! The control channel: entries that concern every node, also those that do not hold the room.
//!
//! [`ControlFanout`] publishes, [`ControlInbox`] receives; on a Cluster it is one sharded channel. Delivery is at most once, but a
//! node always learns that it may have missed something. Batches are numbered by source, and a beat reports each source's last
//! number once a second. A node that subscribes, subscribes again or finds a gap gets [`ControlMessage::GapDetected`]. A node
//! that receives no beat for three seconds is disconnected, and gets that message too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::metrics::{count, count_by};
use model::{Clock, Metrics, RoomId};
use redis_client::{InvalidRedisAddress, Redis, RedisAddress, Subscriber};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{CONTROL, send};
use crate::room::{ControlMessage, Fanout};
use crate::sequence::{BatchNumber, SequenceTracker};
use log::Entry;
use log::record::Batch;

/// Runs and messages that may wait. Further ones are dropped and counted, and show as a gap.
const WAITING_MAX: usize = 8_192;
/// Interval of a source's beats.
const BEAT: Duration = Duration::from_secs(1);
/// Silence after which a node is disconnected: three beats of each node, its own among them.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Publishes to every node.
pub struct ControlFanout {
    waiting: mpsc::Sender<(RoomId, Vec<Entry>)>,
    /// Runs dropped because the queue was full, whose numbers were not skipped yet.
    skipped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl ControlFanout {
    /// Publishes and beats as `source`, a name that no other live node has. Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(redis: Redis, source: &str, clock: &dyn Clock, metrics: Arc<Metrics>) -> Self {
        let (waiting, runs) = mpsc::channel(WAITING_MAX);
        let given = BatchNumber { epoch: clock.now_ms().max(0).unsigned_abs(), seq: 0 };
        let skipped = Arc::new(AtomicU64::new(0));
        let publisher =
            Publisher { redis, source: source.to_owned(), given, skipped: skipped.clone(), metrics: metrics.clone() };
        Self { waiting, skipped, metrics, _task: AbortOnDropHandle::new(tokio::spawn(publisher.run(runs))) }
    }
}

impl Fanout for ControlFanout {
    /// Pushes entries of one room to every other live node, whether or not it holds the room.
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
    given: BatchNumber,
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
            let BatchNumber { epoch, seq } = self.given;
            let batch = Batch { source: self.source.clone(), epoch, seq, room_id, entries, kept_late_since_ms: None };
            send(&self.redis, CONTROL, &batch, &self.metrics).await;
        }
    }
}

/// Receives entries that concern every node, until dropped.
pub struct ControlInbox {
    _subscriber: Subscriber,
    _task: AbortOnDropHandle<()>,
}

/// Receives the messages in order; must be quick and must not block.
pub type ControlHandler = Arc<dyn Fn(ControlMessage) + Send + Sync>;

impl ControlInbox {
    /// Passes other sources' entries to `gateway`, this node's gateway, and all messages to `handler`. Must be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &RedisAddress,
        redis: &Redis,
        source: &str,
        gateway: Arc<dyn Fanout>,
        handler: ControlHandler,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidRedisAddress> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let (full, missed, missed_too) = (metrics.clone(), handler.clone(), handler.clone());
        let take = move |_: &str, message: Vec<u8>| {
            if waiting.try_send(message).is_err() {
                count(&full.fanout_lost, "reason", "behind");
                missed(ControlMessage::GapDetected);
            }
        };
        let regained = move |_: &str, _| missed_too(ControlMessage::GapDetected);
        let subscriber = Subscriber::start(address, Arc::new(take), Arc::new(regained))?;
        subscriber.subscribe(&redis.key(CONTROL));
        let reader = Reader { source: source.to_owned(), gateway, handler, metrics, received: SequenceTracker::new() };
        Ok(Self { _subscriber: subscriber, _task: AbortOnDropHandle::new(tokio::spawn(reader.run(messages))) })
    }
}

struct Reader {
    source: String,
    gateway: Arc<dyn Fanout>,
    handler: ControlHandler,
    metrics: Arc<Metrics>,
    received: SequenceTracker<String>,
}

impl Reader {
    async fn run(mut self, mut messages: mpsc::Receiver<Vec<u8>>) {
        // Until the first message, what was told before may not have come.
        let mut disconnected = None;
        loop {
            let message = match timeout(SILENCE_MAX, messages.recv()).await {
                Ok(Some(message)) => Some(message),
                Ok(None) => return,
                Err(_) => None,
            };
            if disconnected != Some(message.is_none()) {
                self.set_disconnected(disconnected, message.is_none());
                disconnected = Some(message.is_none());
            }
            if let Some(message) = message {
                self.on_message(&message);
            }
        }
    }

    fn set_disconnected(&self, was_disconnected: Option<bool>, disconnected: bool) {
        if disconnected {
            tracing::warn!("no messages from other nodes: their changes are read from the store periodically");
            (self.handler)(ControlMessage::Disconnected(true));
            return;
        }
        if was_disconnected == Some(true) {
            tracing::info!("messages from other nodes arrive again");
            (self.handler)(ControlMessage::Disconnected(false));
        }
        (self.handler)(ControlMessage::GapDetected);
    }

    fn on_message(&mut self, message: &[u8]) {
        let Batch { source, epoch, seq, room_id, entries, .. } = match Batch::decode(message) {
            Ok(batch) => batch,
            Err(error) => {
                count(&self.metrics.fanout_lost, "reason", "unreadable");
                tracing::debug!(%error, "a batch of another node cannot be read");
                return;
            }
        };
        let (own, number) = (source == self.source, BatchNumber { epoch, seq });
        // One with only such entries as this node does not know looks like a beat after a gap: what they may have changed
        // is then read again.
        // There are as many sources as nodes, so nothing is ever forgotten for its age.
        let gap = if entries.is_empty() {
            self.received.observe_last(&source, number, 0)
        } else {
            self.received.observe(&source, number, Some(0)).is_some()
        };
        if gap {
            count(&self.metrics.fanout_lost, "reason", "hole");
            (self.handler)(ControlMessage::GapDetected);
        }
        if entries.is_empty() {
            return;
        }
        if !own {
            self.gateway.push(&room_id, entries.clone());
        }
        (self.handler)(ControlMessage::Changed(entries));
    }
}
