//! Where comments meet the heat of their room ([`state::heat`]): counted as they are appended, spread once it is hot; and
//! what workers are told of a room's weight.
//!
//! Wired around the log and into what pushes; nothing else in ingest knows of it. The task here gives the heat its beat.

use std::sync::{Arc, Weak};
use std::time::Instant;

use bus::kafka::Shard;
use bus::{Log, Record, Submission, Weigh, Weight};
use model::{Clock, RoomId};
use state::heat::{BEAT, Heat};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

use crate::Ingest;

/// A log that counts the comments that go to it.
pub struct CountingLog {
    log: Arc<dyn Log>,
    heat: Arc<Heat>,
}

impl CountingLog {
    /// Around the log that everything is appended to.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, heat: Arc<Heat>) -> Self {
        Self { log, heat }
    }
}

impl Log for CountingLog {
    fn submit(&self, run: Vec<Submission>) {
        for submission in &run {
            if matches!(submission.record, Record::Comment { .. }) {
                self.heat.count(&submission.room_id);
            }
        }
        self.log.submit(run);
    }
}

/// How a log with partitions spreads hot rooms: what concerns one user's comments stays in one shard, everything else in
/// the room's own partition.
#[must_use]
pub fn shard(heat: Arc<Heat>) -> Shard {
    Arc::new(move |room: &RoomId, record: &Record| match record {
        Record::Comment { comment, .. } | Record::Liked { comment, .. } => heat.shard(room, &comment.user_id),
        _ => None,
    })
}

/// What a worker and its fan-out are to know of rooms. A room whose settings this node does not know counts as an ordinary
/// one until they are read, in the background. Must be called within a Tokio runtime.
#[must_use]
pub fn weigh(heat: Arc<Heat>, ingest: &Arc<Ingest>) -> Weigh {
    let (ingest, runtime) = (Arc::downgrade(ingest), Handle::current());
    Arc::new(move |room| {
        let hot = heat.is_hot(room);
        let Some(ingest) = ingest.upgrade() else { return Weight { hot, priority: 0 } };
        let (priority, outdated) = ingest.rooms.priority(room);
        if outdated {
            let room = room.clone();
            // The store has logged and counted why, if it cannot be read.
            runtime.spawn(async move { drop(ingest.rooms.info(&room).await) });
        }
        Weight { hot, priority }
    })
}

/// Gives the heat its beat, until it is gone.
pub async fn keep(heat: Weak<Heat>, clock: Arc<dyn Clock>) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        beat.tick().await;
        let Some(heat) = heat.upgrade() else { return };
        let since = last.elapsed();
        last = Instant::now();
        heat.beat(since, clock.now_ms()).await;
    }
}
