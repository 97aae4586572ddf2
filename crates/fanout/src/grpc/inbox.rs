//! A gateway's inbox: batches from the workers of other nodes.

use std::sync::Arc;

use futures::StreamExt;
use model::metrics::count;
use model::{Clock, Metrics, RoomId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::OnGap;
use crate::proto::cluster::v1::gateway_server::Gateway;
use crate::proto::cluster::v1::{PushRequest, PushResponse};
use crate::room::Fanout;
use crate::sequence::{BatchNumber, SequenceTracker, told_ms};
use log::record::Batch;

/// Receives batches, passes their entries on, and detects gaps.
pub struct GrpcInbox {
    here: Arc<dyn Fanout>,
    missed: OnGap,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// By room and pushing worker.
    heard: Mutex<SequenceTracker<(RoomId, String)>>,
}

impl GrpcInbox {
    /// Passes entries on to `here`. Calls `missed` with rooms to read again from the store.
    #[must_use]
    pub fn new(here: Arc<dyn Fanout>, missed: OnGap, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { here, missed, clock, metrics, heard: Mutex::new(SequenceTracker::new()) }
    }

    /// Forgets a room that this node no longer holds, because its numbers go on meanwhile.
    pub fn release(&self, room_id: &RoomId) {
        self.heard.lock().forget(|(room, _)| room == room_id);
    }

    fn hear(&self, push: &PushRequest) {
        if push.lost {
            self.lost(&push.source);
        }
        match Batch::decode(&push.batch) {
            Ok(batch) => self.take(batch),
            Err(_) if push.batch.is_empty() => {}
            Err(error) => {
                count(&self.metrics.fanout_lost, "reason", "unreadable");
                tracing::debug!(%error, "a batch of another node cannot be read");
            }
        }
    }

    fn take(&self, batch: Batch) {
        let Batch { source, epoch, seq, room_id, entries, .. } = batch;
        let (key, number) = ((room_id.clone(), source), BatchNumber { epoch, seq });
        let hole = self.heard.lock().observe(&key, number, told_ms(&entries, self.clock.now_ms()));
        if let Some(since_ms) = hole {
            count(&self.metrics.fanout_lost, "reason", "hole");
            (self.missed)(&room_id, since_ms);
        }
        self.here.push(&room_id, entries);
    }

    /// Reports every room of a worker as missed: its last batches may be missing, which no number shows.
    fn lost(&self, source: &str) {
        count(&self.metrics.fanout_lost, "reason", "hole");
        let rooms = self.heard.lock().used(|(_, by)| by == source);
        rooms.iter().for_each(|((room, _), since_ms)| (self.missed)(room, *since_ms));
    }
}

/// The service around an inbox.
pub(super) struct Service {
    pub(super) inbox: Arc<GrpcInbox>,
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl Gateway for Service {
    async fn push_room(&self, request: Request<Streaming<PushRequest>>) -> Result<Response<PushResponse>, Status> {
        let mut pushes = request.into_inner().take_until(self.stop.cancelled()).boxed();
        let mut from = None;
        // A stream that breaks ends like one that is over.
        while let Some(Ok(push)) = pushes.next().await {
            self.inbox.hear(&push);
            from = Some(push.source);
        }
        // Batches that its worker had taken for pushed may not have come.
        if let Some(source) = from.filter(|_| !self.stop.is_cancelled()) {
            self.inbox.lost(&source);
        }
        Ok(Response::new(PushResponse {}))
    }
}
