//! What other nodes publish for the rooms that this one holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use parking_lot::Mutex;
use redis_client::{Address, BadAddress, Redis, Subscriber};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::channel;
use super::counters::{Counters, Number};
use crate::fanout::{Elsewhere, Fanout};
use crate::record::Batch;

/// Messages that may wait; beyond it they are lost, counted, and noticed by their numbers.
const WAITING_MAX: usize = 8_192;
/// How long a room that is held waits to be heard.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a subscription that is late is waited for; by then the room has been read again many times.
const LATE: Duration = Duration::from_secs(600);

/// Hears that this node missed something of a room since a moment (Unix milliseconds by its own clock, 0 when it does
/// not know), and should read it again from the store. Told before what came after it is pushed; must not block.
pub type Missed = Arc<dyn Fn(&RoomId, i64) + Send + Sync>;

/// Hears rooms. Dropping it ends that.
pub struct RedisInbox {
    redis: Redis,
    subscriber: Arc<Subscriber>,
    clock: Arc<dyn Clock>,
    missed: Missed,
    heard: Arc<Mutex<Heard>>,
    _task: AbortOnDropHandle<()>,
}

/// Bounded by the rooms that are held, and by what [`Counters`] remembers.
struct Heard {
    /// The rooms held, by channel, each with the moment it was held.
    rooms: HashMap<String, (RoomId, i64)>,
    numbers: Counters<(RoomId, String)>,
}

impl RedisInbox {
    /// Hands what others than `source` publish to `here`, once rooms are held. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &Address,
        redis: Redis,
        source: &str,
        here: Arc<dyn Fanout>,
        missed: Missed,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BadAddress> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let heard = Arc::new(Mutex::new(Heard { rooms: HashMap::new(), numbers: Counters::new() }));
        let deaf = {
            let (heard, missed, clock) = (heard.clone(), missed.clone(), clock.clone());
            Arc::new(move |channel: &str, deaf: Duration| {
                let room_id = heard.lock().rooms.get(channel).map(|(room_id, _)| room_id.clone());
                let since_ms = clock.now_ms() - deaf.as_millis() as i64;
                room_id.iter().for_each(|room_id| missed(room_id, since_ms));
            })
        };
        let (full, dropped) = (metrics.clone(), deaf.clone());
        let hear = move |channel: &str, message: Vec<u8>| {
            if waiting.try_send(message).is_err() {
                count(&full.fanout_lost, "reason", "behind");
                dropped(channel, Duration::ZERO);
            }
        };
        let subscriber = Arc::new(Subscriber::start(address, Arc::new(hear), deaf)?);
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

    /// Waits on for a subscription that is late, and says then that something may have been missed.
    fn wait_on(&self, channel: String, room_id: RoomId, since_ms: i64) {
        let (subscriber, missed) = (self.subscriber.clone(), self.missed.clone());
        tokio::spawn(async move {
            if subscriber.heard(&channel, LATE).await {
                missed(&room_id, since_ms);
            }
        });
    }
}

#[async_trait]
impl Elsewhere for RedisInbox {
    async fn hold(&self, room_id: &RoomId) {
        let (channel, now_ms) = (self.redis.key(&channel(room_id)), self.clock.now_ms());
        self.heard.lock().rooms.entry(channel.clone()).or_insert_with(|| (room_id.clone(), now_ms));
        self.subscriber.want(&channel);
        if !self.subscriber.heard(&channel, PATIENCE).await {
            self.wait_on(channel, room_id.clone(), now_ms);
        }
    }

    fn release(&self, room_id: &RoomId) {
        let channel = self.redis.key(&channel(room_id));
        self.subscriber.leave(&channel);
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
    missed: Missed,
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
        if let Some(since_ms) = self.hole(&room_id, source, Number { epoch, seq }) {
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

    /// Since when something before this batch did not come: at the earliest since the room is held.
    fn hole(&self, room_id: &RoomId, source: String, number: Number) -> Option<i64> {
        let mut heard = self.heard.lock();
        let since_ms = heard.numbers.came(&(room_id.clone(), source), number, self.clock.now_ms())?;
        let held = heard.rooms.get(&self.redis.key(&channel(room_id)));
        Some(held.map_or(since_ms, |(_, held_ms)| since_ms.max(*held_ms)))
    }
}
