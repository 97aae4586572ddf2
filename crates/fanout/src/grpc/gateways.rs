//! A worker's streams to the gateways: one for each live node with viewers.
//!
//! Each has a queue and a task of its own, so a gateway that is slow or away delays neither the worker nor the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use model::Metrics;
use model::metrics::count;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{PeerSecurity, RECONNECT, Spoken, connect, log_failure};
use crate::proto::cluster::v1::PushRequest;
use crate::proto::cluster::v1::gateway_client::GatewayClient;
use cluster::membership::Node;

/// Batches that may wait for one gateway. Further ones are dropped and counted, and the gateway learns of the gap.
const WAITING_MAX: usize = 1_024;
/// Batches that may wait for the connection's task, which sends those of all rooms that wait as one frame.
const TOGETHER_MAX: usize = 64;

/// The streams by node number.
pub(super) struct Gateways {
    me: String,
    /// This node's number, once it is a member.
    number: Option<u16>,
    source: String,
    security: PeerSecurity,
    metrics: Arc<Metrics>,
    links: HashMap<u16, Link>,
}

struct Link {
    address: String,
    queue: mpsc::Sender<Bytes>,
    /// A batch was dropped since the last one sent.
    lost: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Gateways {
    /// No streams yet. `me` is this node's address, which needs no stream.
    pub(super) fn new(me: String, source: String, security: PeerSecurity, metrics: Arc<Metrics>) -> Self {
        Self { me, number: None, source, security, metrics, links: HashMap::new() }
    }

    /// Replaces the set of live nodes.
    pub(super) fn are(&mut self, nodes: &[Node]) {
        self.number = nodes.iter().find(|node| node.info.address == self.me).map(|node| node.number);
        let wanted: HashMap<u16, &str> = nodes
            .iter()
            .filter(|node| {
                node.info.address != self.me && node.info.roles.has_viewers() && !node.info.address.is_empty()
            })
            .map(|node| (node.number, node.info.address.as_str()))
            .collect();
        self.links.retain(|number, link| wanted.get(number) == Some(&link.address.as_str()));
        for (number, address) in wanted {
            if !self.links.contains_key(&number) {
                self.links.insert(number, self.open(address));
            }
        }
    }

    fn open(&self, address: &str) -> Link {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let stream = Stream {
            address: address.to_owned(),
            source: self.source.clone(),
            security: self.security.clone(),
            lost: lost.clone(),
            metrics: self.metrics.clone(),
            waiting,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(stream.run()));
        Link { address: address.to_owned(), queue, lost, _task: task }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u16> {
        self.links.keys().copied().collect()
    }

    /// Puts a batch into a gateway's queue; `false` when the node is not known as live.
    pub(super) fn push(&self, number: u16, batch: Bytes) -> bool {
        let Some(link) = self.links.get(&number) else { return Some(number) == self.number };
        match link.queue.try_send(batch) {
            Ok(()) => {
                self.metrics.pushes.inc();
            }
            Err(_) => {
                link.lost.store(true, Ordering::Release);
                count(&self.metrics.fanout_lost, "reason", "full");
            }
        }
        true
    }
}

/// The task of one stream.
struct Stream {
    address: String,
    source: String,
    security: PeerSecurity,
    lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    waiting: mpsc::Receiver<Bytes>,
}

impl Stream {
    /// Connects and pushes, again and again, until the link is dropped.
    async fn run(mut self) {
        let mut pauses = RECONNECT.build();
        loop {
            match connect(&self.address, &self.security).await {
                Ok(gateway) => {
                    let ended = self.push(gateway).await;
                    let address = &self.address;
                    tracing::info!(address, ended = %ended.message(), "the stream to a gateway ended");
                    // TLS 1.3 says only now that it refuses this node's certificate.
                    log_failure(address, &ended);
                    self.lost.store(true, Ordering::Release);
                    pauses = RECONNECT.build();
                }
                Err(error) => log_failure(&self.address, &error),
            }
            self.drop_what_comes(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Pushes until the stream ends. Returns why it ended.
    async fn push(&mut self, gateway: Spoken) -> Status {
        let (to, pushes) = mpsc::channel(TOGETHER_MAX);
        let mut gateway = GatewayClient::new(gateway);
        // Answered when the gateway ends it.
        let call = gateway.push_room(ReceiverStream::new(pushes));
        let pump = async {
            if self.lost.load(Ordering::Acquire) && to.send(self.request(Bytes::new())).await.is_err() {
                return;
            }
            while let Some(batch) = self.waiting.recv().await {
                if to.send(self.request(batch)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            ended = call => ended.err().unwrap_or_else(|| Status::ok("the gateway ended it")),
            () = pump => Status::ok("nobody reads it"),
        }
    }

    fn request(&self, batch: Bytes) -> PushRequest {
        PushRequest { batch, lost: self.lost.swap(false, Ordering::AcqRel), source: self.source.clone() }
    }

    /// Drops batches that arrive while there is no stream: they would be old by the time there is one.
    async fn drop_what_comes(&mut self, pause: Duration) {
        let mut dropped = 0;
        let drain = async {
            while self.waiting.recv().await.is_some() {
                dropped += 1;
                count(&self.metrics.fanout_lost, "reason", "away");
            }
            // The link is gone, and this task with it.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = drain => {}
            () = sleep(pause) => {}
        }
        if dropped > 0 {
            self.lost.store(true, Ordering::Release);
        }
    }
}
