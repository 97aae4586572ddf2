//! [`Fanout`] on Redis: this node's gateway first, then the channel of the room, or the control channel.

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

use super::counters::Counters;
use super::{ControlFanout, channel, send};
use crate::fanout::{Fanout, Weigh};
use crate::log::Entry;
use crate::outbox::{Outbox, Portion};
use crate::record::Batch;

/// Rooms of which something was lost are told so, by a batch that is empty, so often until it is taken.
const CONFESSION: Duration = Duration::from_millis(500);
/// So many rooms; those beyond it show the hole with their next batch.
const CONFESSIONS_MAX: usize = 10_000;
/// So many at a time.
const CONFESSED_TOGETHER: usize = 256;

/// Rooms of which something was kept late that wait to be published; beyond it whoever holds them is not told.
const LATE_MAX: usize = 10_000;

/// Pushes to the gateways of all nodes.
pub struct RedisFanout {
    here: Arc<dyn Fanout>,
    control: Arc<ControlFanout>,
    outbox: Arc<Outbox>,
    late: mpsc::Sender<(RoomId, i64)>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl RedisFanout {
    /// Pushes to `here`, to other nodes as `source`, which no other node that lives may be called, and what concerns every
    /// node through `control`. Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(
        redis: Redis,
        source: &str,
        here: Arc<dyn Fanout>,
        control: Arc<ControlFanout>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let outbox = Outbox::new(metrics.clone());
        let (late, kept_late) = mpsc::channel(LATE_MAX);
        let publisher = Publisher {
            redis,
            source: source.to_owned(),
            clock,
            metrics: metrics.clone(),
            counters: Counters::new(),
            lost: HashMap::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(outbox.clone(), kept_late)));
        Self { here, control, outbox, late, metrics, _task: task }
    }

    /// The same, with hot rooms gathered and important ones first.
    #[must_use]
    pub fn weighing(self, weigh: Weigh) -> Self {
        self.outbox.weigh_by(weigh);
        self
    }
}

#[async_trait]
impl Fanout for RedisFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let (everybodys, the_rooms): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| entry.record.concerns_every_node());
        if !everybodys.is_empty() {
            self.control.push(room_id, everybodys);
        }
        if !the_rooms.is_empty() {
            self.outbox.push(room_id, the_rooms);
        }
        self.here.push(room_id, entries);
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
    counters: Counters<RoomId>,
    /// Rooms of which the others do not know yet that something is missing; or was kept late, and since when it was said.
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
                () = sleep(CONFESSION), if !self.lost.is_empty() => self.confessions(),
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
        if self.lost.len() < CONFESSIONS_MAX || self.lost.contains_key(&room_id) {
            let since_ms = self.lost.entry(room_id).or_default();
            *since_ms = since_ms.iter().copied().chain(kept_late_since_ms).min();
        }
    }

    fn confessions(&self) -> Vec<Portion> {
        self.lost.keys().take(CONFESSED_TOGETHER).map(nothing).collect()
    }

    /// What was dropped before is given a number that nobody will see.
    fn batch(&mut self, Portion { room_id, entries, lost }: Portion) -> Batch {
        let now_ms = self.clock.now_ms();
        if lost {
            self.counters.next(&room_id, now_ms);
        }
        let number = self.counters.next(&room_id, now_ms);
        let kept_late_since_ms = self.lost.get(&room_id).copied().flatten();
        let source = self.source.clone();
        Batch { source, epoch: number.epoch, seq: number.seq, room_id, entries, kept_late_since_ms }
    }
}

/// A batch without entries, for what it says besides.
fn nothing(room_id: &RoomId) -> Portion {
    Portion { room_id: room_id.clone(), entries: Vec::new(), lost: false }
}
