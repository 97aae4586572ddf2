//! Receives what other nodes publish for the rooms that this node holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use parking_lot::Mutex;
use redis_client::{InvalidRedisAddress, Redis, RedisAddress, Subscriber};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::channel;
use crate::room::{Fanout, OnGap, RoomSubscriptions};
use crate::sequence::{BatchNumber, SequenceTracker, told_ms};
use log::record::Batch;

/// Messages that may wait. Further ones are dropped and counted, and show as a gap.
const WAITING_MAX: usize = 8_192;
/// How long holding a room waits for its subscription.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a late subscription is awaited; by then the room was read again many times.
const LATE: Duration = Duration::from_secs(600);

/// Receives rooms' batches until dropped.
pub struct RedisInbox {
    redis: Redis,
    subscriber: Arc<Subscriber>,
    clock: Arc<dyn Clock>,
    missed: OnGap,
    heard: Arc<Mutex<Heard>>,
    _task: AbortOnDropHandle<()>,
}

/// Bounded by the rooms held and by what [`SequenceTracker`] remembers.
struct Heard {
    /// The rooms held, by channel, each with the moment it was held.
    rooms: HashMap<String, (RoomId, i64)>,
    numbers: SequenceTracker<(RoomId, String)>,
}

impl RedisInbox {
    /// Passes other sources' batches to `here`, once rooms are held. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &RedisAddress,
        redis: Redis,
        source: &str,
        here: Arc<dyn Fanout>,
        missed: OnGap,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidRedisAddress> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let heard = Arc::new(Mutex::new(Heard { rooms: HashMap::new(), numbers: SequenceTracker::new() }));
        let on_gap = {
            let (heard, missed, clock) = (heard.clone(), missed.clone(), clock.clone());
            Arc::new(move |channel: &str, silent: Duration| {
                let room_id = heard.lock().rooms.get(channel).map(|(room_id, _)| room_id.clone());
                let since_ms = clock.now_ms() - silent.as_millis() as i64;
                room_id.iter().for_each(|room_id| missed(room_id, since_ms));
            })
        };
        let (full, dropped) = (metrics.clone(), on_gap.clone());
        let hear = move |channel: &str, message: Vec<u8>| {
            if waiting.try_send(message).is_err() {
                count(&full.fanout_lost, "reason", "behind");
                dropped(channel, Duration::ZERO);
            }
        };
        let subscriber = Arc::new(Subscriber::start(address, Arc::new(hear), on_gap)?);
        let reader = Reader {
            source: source.to_owned(),
            redis: redis.clone(),
            here,
            missed: missed.clone(),
            clock: clock.clone(),
            metrics,
            heard: heard.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(reader.run(messages)));
        Ok(Self { redis, subscriber, clock, missed, heard, _task: task })
    }

    /// Waits for a late subscription, then reports that something may have been missed.
    fn wait_on(&self, channel: String, room_id: RoomId, since_ms: i64) {
        let (subscriber, missed) = (self.subscriber.clone(), self.missed.clone());
        tokio::spawn(async move {
            if subscriber.subscribed(&channel, LATE).await {
                missed(&room_id, since_ms);
            }
        });
    }
}

#[async_trait]
impl RoomSubscriptions for RedisInbox {
    async fn hold(&self, room_id: &RoomId) {
        let (channel, now_ms) = (self.redis.key(&channel(room_id)), self.clock.now_ms());
        self.heard.lock().rooms.entry(channel.clone()).or_insert_with(|| (room_id.clone(), now_ms));
        self.subscriber.subscribe(&channel);
        if !self.subscriber.subscribed(&channel, PATIENCE).await {
            self.wait_on(channel, room_id.clone(), now_ms);
        }
    }

    fn release(&self, room_id: &RoomId) {
        let channel = self.redis.key(&channel(room_id));
        self.subscriber.unsubscribe(&channel);
        let mut heard = self.heard.lock();
        heard.rooms.remove(&channel);
        // Held again, its numbers will have gone on.
        heard.numbers.forget(|(room, _)| room == room_id);
    }
}

struct Reader {
    source: String,
    redis: Redis,
    here: Arc<dyn Fanout>,
    missed: OnGap,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    heard: Arc<Mutex<Heard>>,
}

impl Reader {
    async fn run(self, mut messages: mpsc::Receiver<Vec<u8>>) {
        while let Some(message) = messages.recv().await {
            match Batch::decode(&message) {
                Ok(batch) if batch.source == self.source => {}
                Ok(batch) => self.take(batch),
                Err(error) => {
                    count(&self.metrics.fanout_lost, "reason", "unreadable");
                    tracing::debug!(%error, "a batch of another node cannot be read");
                }
            }
        }
    }

    fn take(&self, batch: Batch) {
        let Batch { source, epoch, seq, room_id, entries, kept_late_since_ms } = batch;
        let told_ms = told_ms(&entries, self.clock.now_ms());
        if let Some(since_ms) = self.hole(&room_id, source, BatchNumber { epoch, seq }, told_ms) {
            count(&self.metrics.fanout_lost, "reason", "hole");
            (self.missed)(&room_id, since_ms);
        }
        if let Some(since_ms) = kept_late_since_ms {
            self.here.kept_late(&room_id, since_ms);
        }
        if !entries.is_empty() {
            self.here.push(&room_id, entries);
        }
    }

    /// The moment since which something before this batch is missing: at the earliest when the room was first held.
    fn hole(&self, room_id: &RoomId, source: String, number: BatchNumber, told_ms: Option<i64>) -> Option<i64> {
        let mut heard = self.heard.lock();
        let since_ms = heard.numbers.observe(&(room_id.clone(), source), number, told_ms)?;
        let held = heard.rooms.get(&self.redis.key(&channel(room_id)));
        Some(held.map_or(since_ms, |(_, held_ms)| since_ms.max(*held_ms)))
    }
}
