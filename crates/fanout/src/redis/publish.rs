//! [`Fanout`] on Redis: publishes a room's entries on the room's channel, for the other nodes that hold it.
//!
//! The room worker pushes; the server composes it with this node's own gateway and the control channel
//! ([`crate::RoutingFanout`]). A batch that Redis did not accept leaves a gap in the numbers; an empty batch reveals the gap
//! once Redis is back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use redis_client::Redis;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{channel, send};
use crate::outbox::{Outbox, Portion};
use crate::room::{Fanout, RoomPriority};
use crate::sequence::SequenceTracker;
use log::Entry;
use log::record::Batch;

/// Pause between empty batches that reveal a gap to a room's holders, until Redis accepts one.
const GAP_NOTICE_INTERVAL: Duration = Duration::from_millis(500);
/// Rooms that may need such a batch; further ones reveal the gap with their next batch.
const OWED_ROOMS_MAX: usize = 10_000;
/// Notices sent together.
const NOTICES_TOGETHER: usize = 256;

/// Rooms that wait to announce a late write to the store; further ones are only counted.
const LATE_MAX: usize = 10_000;

/// Pushes to the gateways of all nodes.
pub struct RedisFanout {
    outbox: Arc<Outbox>,
    late: mpsc::Sender<(RoomId, i64)>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl RedisFanout {
    /// Publishes as `source`, a name that no other living node has. Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(redis: Redis, source: &str, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let outbox = Outbox::new(metrics.clone());
        let (late, kept_late) = mpsc::channel(LATE_MAX);
        let publisher = Publisher {
            redis,
            source: source.to_owned(),
            clock,
            metrics: metrics.clone(),
            numbers: SequenceTracker::new(),
            lost: HashMap::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(outbox.clone(), kept_late)));
        Self { outbox, late, metrics, _task: task }
    }

    /// Gathers hot rooms and sends important ones first.
    #[must_use]
    pub fn with_priority(self, weigh: RoomPriority) -> Self {
        self.outbox.weigh_by(weigh);
        self
    }
}

#[async_trait]
impl Fanout for RedisFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        self.outbox.push(room_id, entries);
    }

    async fn flush(&self) {
        self.outbox.flush().await;
    }

    fn kept_late(&self, room_id: &RoomId, since_ms: i64) {
        if self.late.try_send((room_id.clone(), since_ms)).is_err() {
            count(&self.metrics.fanout_lost, "reason", "full");
        }
    }
}

struct Publisher {
    redis: Redis,
    source: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    numbers: SequenceTracker<RoomId>,
    /// Rooms whose holders do not know of a gap yet, each with the start of what was stored late.
    lost: HashMap<RoomId, Option<i64>>,
}

impl Publisher {
    async fn run(mut self, outbox: Arc<Outbox>, mut late: mpsc::Receiver<(RoomId, i64)>) {
        loop {
            let portions = tokio::select! {
                biased;
                portions = outbox.next() => portions,
                Some((room_id, since_ms)) = late.recv() => {
                    self.owe(room_id.clone(), Some(since_ms));
                    vec![nothing(&room_id)]
                }
                () = sleep(GAP_NOTICE_INTERVAL), if !self.lost.is_empty() => self.gap_notices(),
            };
            let batches: Vec<_> = portions.into_iter().map(|portion| self.batch(portion)).collect();
            // Started in this order on one connection, so a room's batches arrive in it.
            let publish = async |batch: &Batch| send(&self.redis, &channel(&batch.room_id), batch, &self.metrics).await;
            let taken = futures::future::join_all(batches.iter().map(publish)).await;
            for (batch, taken) in batches.into_iter().zip(taken) {
                if taken {
                    self.lost.remove(&batch.room_id);
                } else {
                    self.owe(batch.room_id, batch.kept_late_since_ms);
                }
            }
        }
    }

    fn owe(&mut self, room_id: RoomId, kept_late_since_ms: Option<i64>) {
        if self.lost.len() < OWED_ROOMS_MAX || self.lost.contains_key(&room_id) {
            let since_ms = self.lost.entry(room_id).or_default();
            *since_ms = since_ms.iter().copied().chain(kept_late_since_ms).min();
        }
    }

    fn gap_notices(&self) -> Vec<Portion> {
        self.lost.keys().take(NOTICES_TOGETHER).map(nothing).collect()
    }

    fn batch(&mut self, portion: Portion) -> Batch {
        let kept_late_since_ms = self.lost.get(&portion.room_id).copied().flatten();
        self.numbers.batch(&self.source, portion, kept_late_since_ms, self.clock.now_ms())
    }
}

/// A batch without entries, for its number and notice.
fn nothing(room_id: &RoomId) -> Portion {
    Portion { room_id: room_id.clone(), entries: Vec::new(), lost: false }
}
