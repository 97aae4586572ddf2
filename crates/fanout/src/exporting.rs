//! A fan-out that also exports a room's events to programs outside the deployment.

use std::sync::Arc;

use async_trait::async_trait;
use log::{Entry, Record};
use model::{Event, RoomId};

use crate::Fanout;

/// Calls `export` with each event, then passes everything on.
pub struct ExportingFanout {
    /// Called with each event. Never blocks.
    pub export: Arc<dyn Fn(&Event) + Send + Sync>,
    /// The fan-out to the gateways.
    pub next: Arc<dyn Fanout>,
}

#[async_trait]
impl Fanout for ExportingFanout {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        for entry in &entries {
            if let Record::Event(event) = &entry.record {
                (self.export)(event);
            }
        }
        self.next.push(room_id, entries);
    }

    async fn flush(&self) {
        self.next.flush().await;
    }
}
