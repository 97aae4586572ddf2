//! What other nodes publish for the rooms that this one holds.

use std::sync::Arc;

use model::metrics::count;
use model::{Metrics, RoomId};
use parking_lot::Mutex;
use redis_client::{Address, BadAddress, Redis, Subscriber};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::channel;
use super::counters::{Counters, Number};
use crate::fanout::Fanout;
use crate::record::Batch;

/// Messages that may wait; beyond it they are lost, counted, and noticed by their numbers.
const WAITING_MAX: usize = 8_192;

/// Hears that this node missed something of a room, and should read it again from the store.
pub type Missed = Arc<dyn Fn(&RoomId) + Send + Sync>;

/// Hears rooms. Dropping it ends that.
pub struct RedisInbox {
    redis: Redis,
    subscriber: Subscriber,
    heard: Arc<Mutex<Counters<(RoomId, String)>>>,
    _task: AbortOnDropHandle<()>,
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
        metrics: Arc<Metrics>,
    ) -> Result<Self, BadAddress> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let full = metrics.clone();
        let hear = move |_: &str, message: Vec<u8>| {
            if waiting.try_send(message).is_err() {
                count(&full.fanout_lost, "reason", "behind");
            }
        };
        let subscriber = Subscriber::start(address, Arc::new(hear), Arc::new(|_, _| {}))?;
        let heard = Arc::new(Mutex::new(Counters::new()));
        let reader = Reader { source: source.to_owned(), here, missed, metrics, heard: heard.clone() };
        let task = AbortOnDropHandle::new(tokio::spawn(reader.run(messages)));
        Ok(Self { redis, subscriber, heard, _task: task })
    }

    /// This node now holds the room: it hears what others publish for it.
    pub fn hold(&self, room_id: &RoomId) {
        self.subscriber.want(&self.redis.key(&channel(room_id)));
    }

    /// This node no longer holds the room.
    pub fn release(&self, room_id: &RoomId) {
        self.subscriber.leave(&self.redis.key(&channel(room_id)));
        // Held again, its numbers will have gone on.
        self.heard.lock().forget(|(room, _)| room == room_id);
    }
}

struct Reader {
    source: String,
    here: Arc<dyn Fanout>,
    missed: Missed,
    metrics: Arc<Metrics>,
    heard: Arc<Mutex<Counters<(RoomId, String)>>>,
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
        let Batch { source, epoch, seq, room_id, entries } = batch;
        let hole = self.heard.lock().came(&(room_id.clone(), source), Number { epoch, seq });
        if hole {
            count(&self.metrics.fanout_lost, "reason", "hole");
            (self.missed)(&room_id);
        }
        self.here.push(&room_id, entries);
    }
}
