//! The spool in the data directory, and the log of a node's own that falls back to it.

use std::sync::Arc;

use anyhow::Context;
use api::SpoolDepth;
use log::PositionSource;
use log::hlc::HybridClock;
use log::local;
use log::spool::{Bounds, Spool, SpoolingJournal};
use model::{Comment, Metrics};
use parking_lot::Mutex;
use state::{FirstAnswer, MemoryReservations, Reservations};
use store::Store;

use super::Logs;
use crate::config::Config;
use crate::roles::persist::StoreJournal;

/// Opens `spool.sqlite` in the data directory.
pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Spool> {
    super::make_data_directory(config)?;
    let path = config.server.data.join("spool.sqlite");
    let bounds = Bounds { rows_max: config.store.spool_records_max, bytes_max: config.store.spool_bytes_max };
    Spool::open(&path, bounds, metrics.clone()).with_context(|| format!("cannot use {}", path.display()))
}

pub(super) fn depth(spool: &Spool) -> SpoolDepth {
    let log::spool::Depth { rows, bytes, aside } = spool.depth();
    SpoolDepth { records: rows, bytes, aside }
}

/// Remembers what an earlier run acknowledged and the store does not have yet: a retry gets the same answer.
pub(super) async fn remember_answers(spool: &Spool, answers: &MemoryReservations) -> anyhow::Result<()> {
    let acknowledged = Mutex::new(Vec::new());
    let note = |comment: &Comment, key: &str| {
        let answer = FirstAnswer { id: comment.id, pending_review: false, created_at_ms: comment.created_at_ms };
        acknowledged.lock().push((comment.user_id.clone(), key.to_owned(), answer));
    };
    spool.answered(note).await.context("cannot read the spool")?;
    for (user, key, answer) in acknowledged.into_inner() {
        answers.settle(&user, &key, answer).await?;
    }
    Ok(())
}

/// A log of this node's own: kept in the store, and on this node's disk during an outage of the store.
pub(super) fn spooling_logs(
    store: Arc<dyn Store>,
    spool: &Spool,
    hlc: Arc<HybridClock>,
    metrics: &Arc<Metrics>,
) -> (Logs, Arc<SpoolingJournal>) {
    let journal = SpoolingJournal::new(Arc::new(StoreJournal::new(store)), spool.clone());
    let journal = Arc::new(journal);
    let draining = journal.clone();
    tokio::spawn(async move { draining.drain().await });
    let (log, own) = local::open(journal.clone(), PositionSource::Stamped(hlc), metrics.clone());
    (Logs { log: Arc::new(log), own, shared: None }, journal)
}
