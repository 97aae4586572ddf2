//! [`Fanout`] on Redis: this node's gateway first, then the channel of the room, or the control channel.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Clock, Metrics, RoomId};
use redis_client::Redis;
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

/// Pushes to the gateways of all nodes.
pub struct RedisFanout {
    here: Arc<dyn Fanout>,
    control: Arc<ControlFanout>,
    outbox: Arc<Outbox>,
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
        let publisher = Publisher {
            redis,
            source: source.to_owned(),
            clock,
            metrics,
            counters: Counters::new(),
            lost: HashSet::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(outbox.clone())));
        Self { here, control, outbox, _task: task }
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
}

struct Publisher {
    redis: Redis,
    source: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    counters: Counters<RoomId>,
    /// Rooms of which the others do not know yet that something is missing.
    lost: HashSet<RoomId>,
}

impl Publisher {
    async fn run(mut self, outbox: Arc<Outbox>) {
        loop {
            let portions = tokio::select! {
                biased;
                portions = outbox.next() => portions,
                () = sleep(CONFESSION), if !self.lost.is_empty() => self.confessions(),
            };
            let batches: Vec<_> = portions.into_iter().map(|portion| self.batch(portion)).collect();
            // Started in this order on one connection, so a room's batches arrive in it.
            let publish = async |batch: &Batch| send(&self.redis, &channel(&batch.room_id), batch, &self.metrics).await;
            let taken = futures::future::join_all(batches.iter().map(publish)).await;
            for (batch, taken) in batches.into_iter().zip(taken) {
                if taken {
                    self.lost.remove(&batch.room_id);
                } else if self.lost.len() < CONFESSIONS_MAX {
                    self.lost.insert(batch.room_id);
                }
            }
        }
    }

    fn confessions(&self) -> Vec<Portion> {
        let nothing = |room_id: &RoomId| Portion { room_id: room_id.clone(), entries: Vec::new(), lost: false };
        self.lost.iter().take(CONFESSED_TOGETHER).map(nothing).collect()
    }

    /// What was dropped before is given a number that nobody will see.
    fn batch(&mut self, Portion { room_id, entries, lost }: Portion) -> Batch {
        let now_ms = self.clock.now_ms();
        if lost {
            self.counters.next(&room_id, now_ms);
        }
        let number = self.counters.next(&room_id, now_ms);
        Batch { source: self.source.clone(), epoch: number.epoch, seq: number.seq, room_id, entries }
    }
}
