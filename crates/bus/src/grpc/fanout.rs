//! [`Fanout`] over gRPC: this node's own gateway first, then the nodes that hold the room, and no others.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use tokio_util::task::AbortOnDropHandle;

use super::Secret;
use super::gateways::Gateways;
use crate::directory::Holders;
use crate::fanout::{Fanout, Weigh};
use crate::log::Entry;
use crate::outbox::{Outbox, Portion};
use crate::record::Batch;
use crate::redis::counters::Counters;
use crate::registry::Members;

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
    outbox: Arc<Outbox>,
    _task: AbortOnDropHandle<()>,
}

impl GrpcFanout {
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(parts: FanoutParts) -> Self {
        let FanoutParts { me, source, here, holders, members, secret, clock, metrics } = parts;
        let outbox = Outbox::new(metrics.clone());
        let gateways = Gateways::new(me, source.clone(), secret, metrics.clone());
        let numbers = Counters::new();
        let publisher = Publisher { source, holders, members, clock, gateways, numbers, metrics };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(outbox.clone())));
        Self { here, outbox, _task: task }
    }

    /// The same, with hot rooms gathered and important ones first.
    #[must_use]
    pub fn weighing(self, weigh: Weigh) -> Self {
        self.outbox.weigh_by(weigh);
        self
    }
}

#[async_trait]
impl Fanout for GrpcFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        self.outbox.push(room_id, entries.clone());
        self.here.push(room_id, entries);
    }

    async fn flush(&self) {
        self.outbox.flush().await;
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
    async fn run(mut self, outbox: Arc<Outbox>) {
        let mut changes = self.members.changes();
        self.gateways.are(&self.members.now());
        loop {
            tokio::select! {
                // Streams are opened before there is something to push.
                Ok(()) = changes.changed() => self.gateways.are(&self.members.now()),
                portions = outbox.next() => self.push(portions).await,
            }
        }
    }

    async fn push(&mut self, portions: Vec<Portion>) {
        let nodes = portions.iter().map(|portion| self.holders.nodes_of(&portion.room_id));
        let nodes = futures::future::join_all(nodes).await;
        for (portion, nodes) in portions.into_iter().zip(nodes) {
            let nodes = nodes.unwrap_or_else(|_| self.gateways.all());
            let batch = self.batch(portion);
            self.push_to(&nodes, &batch);
        }
    }

    /// Numbered and encoded once, for however many gateways. What was dropped before is given a number that nobody will
    /// see.
    fn batch(&mut self, Portion { room_id, entries, lost }: Portion) -> Bytes {
        let now_ms = self.clock.now_ms();
        if lost {
            self.numbers.next(&room_id, now_ms);
        }
        let number = self.numbers.next(&room_id, now_ms);
        let source = self.source.clone();
        Batch { source, epoch: number.epoch, seq: number.seq, room_id, entries, kept_late_since_ms: None }
            .encode()
            .into()
    }

    fn push_to(&self, nodes: &[u16], batch: &Bytes) {
        for number in nodes {
            if !self.gateways.push(*number, batch.clone()) {
                // It has just come, or it has just gone. Its next batch tells it that it missed this one.
                count(&self.metrics.fanout_lost, "reason", "away");
                self.members.look_again();
            }
        }
    }
}
