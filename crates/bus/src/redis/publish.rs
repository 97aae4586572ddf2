//! [`Fanout`] on Redis: this node's gateway first, then the channel of the room, or the control channel.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::metrics::count_by;
use model::{Clock, Metrics, RoomId};
use parking_lot::Mutex;
use redis_client::Redis;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::counters::Counters;
use super::{ControlFanout, channel, send};
use crate::fanout::Fanout;
use crate::log::Entry;
use crate::record::Batch;

/// Runs that may wait to be published; beyond it they are lost to the other nodes, and counted.
const WAITING_MAX: usize = 8_192;
/// Runs that are published together.
const TOGETHER_MAX: usize = 256;
/// Rooms of which something was lost are told so, by a batch that is empty, so often until it is taken.
const CONFESSION: Duration = Duration::from_millis(500);
/// So many rooms; those beyond it show the hole with their next batch.
const CONFESSIONS_MAX: usize = 10_000;

/// Pushes to the gateways of all nodes.
pub struct RedisFanout {
    here: Arc<dyn Fanout>,
    control: Arc<ControlFanout>,
    waiting: mpsc::Sender<(RoomId, Vec<Entry>)>,
    /// Rooms of which a run found the queue full, so that it has no number that could be missing.
    dropped: Arc<Mutex<HashSet<RoomId>>>,
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
        let (waiting, runs) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(Mutex::new(HashSet::new()));
        let publisher = Publisher {
            redis,
            dropped: dropped.clone(),
            source: source.to_owned(),
            clock,
            metrics: metrics.clone(),
            counters: Counters::new(),
            lost: HashSet::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(runs)));
        Self { here, control, waiting, dropped, metrics, _task: task }
    }

    fn drop_run(&self, room_id: &RoomId, entries: u64) {
        count_by(&self.metrics.fanout_lost, "reason", "full", entries);
        let mut dropped = self.dropped.lock();
        if dropped.len() < CONFESSIONS_MAX {
            dropped.insert(room_id.clone());
        }
    }
}

impl Fanout for RedisFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let (everybodys, the_rooms): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| entry.record.concerns_every_node());
        if !everybodys.is_empty() {
            self.control.push(room_id, everybodys);
        }
        let lost = the_rooms.len() as u64;
        if lost > 0 && self.waiting.try_send((room_id.clone(), the_rooms)).is_err() {
            self.drop_run(room_id, lost);
        }
        self.here.push(room_id, entries);
    }
}

struct Publisher {
    redis: Redis,
    source: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    counters: Counters<RoomId>,
    dropped: Arc<Mutex<HashSet<RoomId>>>,
    /// Rooms of which the others do not know yet that something is missing.
    lost: HashSet<RoomId>,
}

impl Publisher {
    async fn run(mut self, mut runs: mpsc::Receiver<(RoomId, Vec<Entry>)>) {
        let mut gathered = Vec::with_capacity(TOGETHER_MAX);
        loop {
            tokio::select! {
                biased;
                received = runs.recv_many(&mut gathered, TOGETHER_MAX) => if received == 0 { return },
                () = sleep(CONFESSION), if !self.lost.is_empty() => {
                    gathered.extend(self.lost.iter().take(TOGETHER_MAX).map(|room_id| (room_id.clone(), Vec::new())));
                }
            }
            self.leave_holes();
            let batches = self.batches(gathered.drain(..));
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

    /// What had no number is given one that nobody will see.
    fn leave_holes(&mut self) {
        let dropped = std::mem::take(&mut *self.dropped.lock());
        for room_id in dropped {
            self.counters.next(&room_id, self.clock.now_ms());
            self.lost.insert(room_id);
        }
    }

    /// One batch for each room of the runs.
    fn batches(&mut self, runs: impl Iterator<Item = (RoomId, Vec<Entry>)>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for (room_id, mut entries) in runs {
            match batches.iter_mut().find(|batch| batch.room_id == room_id) {
                Some(batch) => batch.entries.append(&mut entries),
                None => {
                    let number = self.counters.next(&room_id, self.clock.now_ms());
                    let source = self.source.clone();
                    batches.push(Batch { source, epoch: number.epoch, seq: number.seq, room_id, entries });
                }
            }
        }
        batches
    }
}
