//! [`Fanout`] over gRPC, to the other nodes that hold the room and to no others.
//!
//! The room worker pushes; the server composes it with this node's own gateway ([`crate::RoutingFanout`]). One task
//! numbers, encodes and sends. It never waits for a gateway.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use tokio_util::task::AbortOnDropHandle;

use super::PeerSecurity;
use super::gateways::Gateways;
use crate::outbox::{Outbox, Portion};
use crate::room::{Fanout, RoomPriority};
use crate::sequence::SequenceTracker;
use cluster::directory::Holders;
use cluster::membership::Members;
use log::Entry;

/// Parts of a fan-out.
pub struct FanoutParts {
    /// This node's address, as in its node info: it needs no stream to itself. Its number may change.
    pub me: String,
    /// The source name of this node's batches, unique to this run of this node.
    pub source: String,
    /// Which nodes hold a room.
    pub holders: Arc<dyn Holders>,
    /// The live nodes.
    pub members: Members,
    /// How nodes know each other.
    pub security: PeerSecurity,
    /// Source of epochs.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Pushes to the gateways that hold a room; to every node with viewers while the directory is away.
pub struct GrpcFanout {
    outbox: Arc<Outbox>,
    _task: AbortOnDropHandle<()>,
}

impl GrpcFanout {
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(parts: FanoutParts) -> Self {
        let FanoutParts { me, source, holders, members, security, clock, metrics } = parts;
        let outbox = Outbox::new(metrics.clone());
        let gateways = Gateways::new(me, source.clone(), security, metrics.clone());
        let numbers = SequenceTracker::new();
        let publisher = Publisher { source, holders, members, clock, gateways, numbers, metrics };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(outbox.clone())));
        Self { outbox, _task: task }
    }

    /// Gathers hot rooms and sends important ones first.
    #[must_use]
    pub fn with_priority(self, weigh: RoomPriority) -> Self {
        self.outbox.weigh_by(weigh);
        self
    }
}

#[async_trait]
impl Fanout for GrpcFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        self.outbox.push(room_id, entries);
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
    numbers: SequenceTracker<RoomId>,
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

    /// Numbers and encodes a batch once, for all gateways.
    fn batch(&mut self, portion: Portion) -> Bytes {
        self.numbers.batch(&self.source, portion, None, self.clock.now_ms()).encode().into()
    }

    fn push_to(&self, nodes: &[u16], batch: &Bytes) {
        for number in nodes {
            if !self.gateways.push(*number, batch.clone()) {
                // It has just come, or it has just gone. Its next batch tells it that it missed this one.
                count(&self.metrics.fanout_lost, "reason", "away");
                self.members.request_refresh();
            }
        }
    }
}
