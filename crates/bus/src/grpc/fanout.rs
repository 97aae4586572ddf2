//! [`Fanout`] over gRPC: this node's own gateway first, then the nodes that hold the room, and no others.

use std::sync::Arc;

use bytes::Bytes;
use model::metrics::count_by;
use model::{Clock, Metrics, RoomId};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Secret;
use super::gateways::Gateways;
use crate::directory::Holders;
use crate::fanout::Fanout;
use crate::log::Entry;
use crate::record::Batch;
use crate::redis::counters::Counters;
use crate::registry::Members;

/// Runs that may wait to be pushed; beyond it they are lost to the other nodes, and counted.
const WAITING_MAX: usize = 8_192;
/// Runs that are pushed together.
const TOGETHER_MAX: usize = 256;
/// Entries of one batch.
pub(super) const ENTRIES_MAX: usize = 500;

/// What a fan-out needs.
pub struct FanoutParts {
    /// Where this node listens, as on its card: it needs no stream to itself. Its number may change.
    pub me: String,
    /// What this node's batches are called by, from its start to its end: no other node may ever be called so.
    pub source: String,
    /// This node's own gateway.
    pub here: Arc<dyn Fanout>,
    /// Which nodes hold a room.
    pub holders: Arc<dyn Holders>,
    /// Which nodes live.
    pub members: Members,
    /// What the nodes know of each other.
    pub secret: Secret,
    /// Where epochs come from.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Pushes to the gateways that hold a room. While the directory of rooms is away that is every node with viewers.
pub struct GrpcFanout {
    here: Arc<dyn Fanout>,
    waiting: mpsc::Sender<(RoomId, Vec<Entry>)>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl GrpcFanout {
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(parts: FanoutParts) -> Self {
        let FanoutParts { me, source, here, holders, members, secret, clock, metrics } = parts;
        let (waiting, runs) = mpsc::channel(WAITING_MAX);
        let gateways = Gateways::new(me, source.clone(), secret, metrics.clone());
        let numbers = Counters::new();
        let publisher = Publisher { source, holders, members, clock, gateways, numbers, metrics: metrics.clone() };
        Self { here, waiting, metrics, _task: AbortOnDropHandle::new(tokio::spawn(publisher.run(runs))) }
    }
}

impl Fanout for GrpcFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let lost = entries.len() as u64;
        if self.waiting.try_send((room_id.clone(), entries.clone())).is_err() {
            count_by(&self.metrics.fanout_lost, "reason", "full", lost);
        }
        self.here.push(room_id, entries);
    }
}

struct Publisher {
    source: String,
    holders: Arc<dyn Holders>,
    members: Members,
    clock: Arc<dyn Clock>,
    gateways: Gateways,
    numbers: Counters<RoomId>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn run(mut self, mut runs: mpsc::Receiver<(RoomId, Vec<Entry>)>) {
        let mut changes = self.members.changes();
        self.gateways.are(&self.members.now());
        let mut gathered = Vec::with_capacity(TOGETHER_MAX);
        loop {
            tokio::select! {
                // Streams are opened before there is something to push.
                Ok(()) = changes.changed() => self.gateways.are(&self.members.now()),
                runs = runs.recv_many(&mut gathered, TOGETHER_MAX) => match runs {
                    0 => return,
                    _ => self.push(gathered.drain(..)).await,
                },
            }
        }
    }

    async fn push(&mut self, runs: impl Iterator<Item = (RoomId, Vec<Entry>)>) {
        let rooms = by_room(runs);
        let nodes = rooms.iter().map(|(room_id, _)| self.holders.nodes_of(room_id));
        let nodes = futures::future::join_all(nodes).await;
        for ((room_id, entries), nodes) in rooms.into_iter().zip(nodes) {
            let nodes = nodes.unwrap_or_else(|_| self.gateways.all());
            for batch in self.batches(&room_id, entries) {
                self.push_to(&nodes, &batch);
            }
        }
    }

    /// Numbered and encoded once, for however many gateways.
    fn batches(&mut self, room_id: &RoomId, mut entries: Vec<Entry>) -> Vec<Bytes> {
        let mut batches = Vec::with_capacity(1);
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(ENTRIES_MAX));
            let number = self.numbers.next(room_id, self.clock.now_ms());
            let (source, room_id) = (self.source.clone(), room_id.clone());
            let batch = Batch { source, epoch: number.epoch, seq: number.seq, room_id, entries };
            batches.push(batch.encode().into());
            entries = rest;
        }
        batches
    }

    fn push_to(&self, nodes: &[u16], batch: &Bytes) {
        for number in nodes {
            if !self.gateways.push(*number, batch.clone()) {
                // It has just come, or it has just gone. Its next batch tells it that it missed this one.
                count_by(&self.metrics.fanout_lost, "reason", "away", 1);
                self.members.look_again();
            }
        }
    }
}

/// The entries of each room, in their order.
fn by_room(runs: impl Iterator<Item = (RoomId, Vec<Entry>)>) -> Vec<(RoomId, Vec<Entry>)> {
    let mut rooms: Vec<(RoomId, Vec<Entry>)> = Vec::new();
    for (room_id, mut entries) in runs {
        match rooms.iter_mut().find(|(room, _)| *room == room_id) {
            Some((_, gathered)) => gathered.append(&mut entries),
            None => rooms.push((room_id, entries)),
        }
    }
    rooms
}
