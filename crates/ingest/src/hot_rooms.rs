//! Where comments meet the rate of their room ([`state::hot_rooms`]): counted as they are appended, spread over shards once
//! the room is hot; and the priority of a room as workers see it.
//!
//! The server wraps the log with it and gives it to what pushes. A task here updates the rates every second.

use std::sync::{Arc, Weak};
use std::time::Instant;

use fanout::{RoomPriority, Weight};
use log::{Log, Record, ShardOf, Submission};
use model::{Clock, RoomId};
use state::hot_rooms::{BEAT, HotRooms};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

use crate::Ingest;

/// A log that counts the comments that go to it.
pub struct CountingLog {
    log: Arc<dyn Log>,
    hot_rooms: Arc<HotRooms>,
}

impl CountingLog {
    /// Around the log that everything is appended to.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, hot_rooms: Arc<HotRooms>) -> Self {
        Self { log, hot_rooms }
    }
}

impl Log for CountingLog {
    fn submit(&self, run: Vec<Submission>) {
        for submission in &run {
            if matches!(submission.record, Record::Comment { .. }) {
                self.hot_rooms.count(&submission.room_id);
            }
        }
        self.log.submit(run);
    }
}

/// Spreads a hot room over the partitions of a log: what concerns one user's comments stays in one shard, everything else in
/// the room's own partition.
#[must_use]
pub fn sharding(hot_rooms: Arc<HotRooms>) -> ShardOf {
    Arc::new(move |room: &RoomId, record: &Record| match record {
        Record::Comment { comment, .. } | Record::Early(comment) | Record::Liked { comment, .. } => {
            hot_rooms.shard(room, &comment.user_id)
        }
        _ => None,
    })
}

/// The priority of rooms, for workers and their fan-out. A room whose settings this node does not know has an ordinary one
/// until they are read, in the background. Must be called within a Tokio runtime.
#[must_use]
pub fn priority(hot_rooms: Arc<HotRooms>, ingest: &Arc<Ingest>) -> RoomPriority {
    let (ingest, runtime) = (Arc::downgrade(ingest), Handle::current());
    Arc::new(move |room| {
        let hot = hot_rooms.is_hot(room);
        let Some(ingest) = ingest.upgrade() else { return Weight { hot, priority: 0 } };
        let (priority, outdated) = ingest.rooms.priority(room);
        if outdated {
            let room = room.clone();
            // The store counts and logs a failure.
            runtime.spawn(async move { drop(ingest.rooms.info(&room).await) });
        }
        Weight { hot, priority }
    })
}

/// Updates the rates every second, until nobody uses them.
pub async fn update_every_second(hot_rooms: Weak<HotRooms>, clock: Arc<dyn Clock>) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        beat.tick().await;
        let Some(hot_rooms) = hot_rooms.upgrade() else { return };
        let since = last.elapsed();
        last = Instant::now();
        hot_rooms.beat(since, clock.now_ms()).await;
    }
}
