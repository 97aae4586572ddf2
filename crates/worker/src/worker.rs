//! The room worker: reads the log, keeps rankings and hot comments, and pushes each room's entries
//! to the gateways that hold it.
//!
//! When it lags it works on all waiting runs at once, and important rooms go first ([`crate::order`]). Of two comments with the
//! same `client_msg_id` it counts and pushes the one that stands first in its log.
//!
//! One task per log consumer owns what it reads; the leaderboards are its only shared state. Fed by
//! [`log::Consumer`]; pushes to [`fanout::Fanout`]. Never touches a socket. A slow gateway or database never delays it;
//! shared leaderboards delay the log's commits, not what viewers are sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanout::{Fanout, RoomPriority, Weight};
use futures::FutureExt;
use log::first::FirstSeen;
use log::{Change, Consumer, Delivery, Entry, Position, Record};
use model::metrics::count;
use model::panics::contain;
use model::trace::{Span, Value};
use model::{Audience, Clock, Event, EventBody, Metrics, RoomId, SnowflakeGenerator};
use state::leaderboard::LeaderboardUpdate;

use crate::leaderboards::Leaderboards;
use crate::order;

/// Rankings and hot comments of a room are pushed at most this often, in milliseconds.
const UPDATE_INTERVAL_MS: i64 = 500;
/// How often rooms whose update had to wait are checked.
const BEAT: Duration = Duration::from_millis(250);
/// Waiting runs worked on together, and the number of entries from which no further run is added.
const RUNS_MAX: usize = 8;
const ENTRIES_MAX: usize = 4_096;
/// `client_msg_id`s remembered: two minutes at 2,000 comments a second, longer than a node is frozen and comes back.
const FIRST_SEEN_MAX: usize = 262_144;
/// Beats between two searches for idle leaderboards.
const SWEEP_EVERY: u32 = 1_200;

/// One worker.
pub struct Worker {
    consumer: Box<dyn Consumer>,
    fanout: Arc<dyn Fanout>,
    leaderboards: Arc<Leaderboards>,
    clock: Arc<dyn Clock>,
    ids: Arc<SnowflakeGenerator>,
    weigh: RoomPriority,
    seen: FirstSeen,
    metrics: Option<Arc<Metrics>>,
    /// Rooms that got an update within the last [`UPDATE_INTERVAL_MS`], with the moment.
    updated: HashMap<RoomId, i64>,
    /// Of these, the rooms whose leaderboards may have changed again.
    waiting: HashSet<RoomId>,
    ticks: u32,
}

impl Worker {
    /// A worker that reads `consumer`. Its leaderboards must be warm.
    #[must_use]
    pub fn new(
        consumer: Box<dyn Consumer>,
        fanout: Arc<dyn Fanout>,
        leaderboards: Arc<Leaderboards>,
        clock: Arc<dyn Clock>,
        ids: Arc<SnowflakeGenerator>,
    ) -> Self {
        let weigh: RoomPriority = Arc::new(|_| Weight::default());
        Self {
            consumer,
            fanout,
            leaderboards,
            clock,
            ids,
            weigh,
            seen: FirstSeen::new(FIRST_SEEN_MAX),
            metrics: None,
            updated: HashMap::new(),
            waiting: HashSet::new(),
            ticks: 0,
        }
    }

    /// The same, with what it drops counted.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The same, with important rooms first.
    #[must_use]
    pub fn with_priority(self, weigh: RoomPriority) -> Self {
        Self { weigh, ..self }
    }

    /// Works until the log closes. Waits on two inputs: the log and the beat of leaderboard updates.
    pub async fn run(mut self) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                delivery = self.consumer.next() => match delivery {
                    Some(delivery) => self.work(delivery).await,
                    None => break,
                },
                _ = beat.tick() => self.push_waiting_updates().await,
            }
        }
        self.fanout.flush().await;
    }

    /// Pushes to viewers first, then applies the shared leaderboards and commits, then pushes their updates.
    async fn work(&mut self, delivery: Box<dyn Delivery>) {
        let (runs, now_ms) = (self.with_queued(delivery), self.clock.now_ms());
        let begun = SystemTime::now();
        let rooms = self.push(&runs, now_ms);
        self.trace(&runs, begun);
        if !self.leaderboards.are_shared() {
            return runs.into_iter().for_each(Delivery::commit);
        }
        self.leaderboards.apply_pending(rooms.clone(), now_ms).await;
        let is_purge = |entry: &&Entry| matches!(entry.record, Record::Changed(Change::Purged { .. }));
        let purged = runs.iter().flat_map(|run| run.entries()).filter(is_purge);
        self.leaderboards.refill(purged.map(|entry| entry.room_id.clone()).collect(), now_ms);
        runs.into_iter().for_each(Delivery::commit);
        self.push_updates(rooms, now_ms).await;
    }

    /// Notes that the comments of these runs that are followed are on their way to the gateways.
    fn trace(&self, runs: &[Box<dyn Delivery>], begun: SystemTime) {
        let Some(tracer) = self.metrics.as_ref().map(|metrics| &metrics.tracer).filter(|tracer| tracer.is_on()) else {
            return;
        };
        let ended = SystemTime::now().max(begun);
        for entry in runs.iter().flat_map(|run| run.entries()) {
            let Record::Comment { comment, .. } = &entry.record else { continue };
            let Some(trace) = tracer.trace(comment.id) else { continue };
            let attributes = vec![
                ("barrage.room_id", Value::Text(entry.room_id.to_string())),
                ("barrage.log_position", Value::Number(entry.position.offset.cast_signed())),
            ];
            let (id, parent) = (rand::random::<u64>().max(1), Some(trace.first_span()));
            tracer.note(Span { name: "fan_out", trace, id, parent, begun, ended, attributes });
        }
    }

    /// Pushes these runs. Returns the rooms whose shared leaderboards have changes to apply.
    fn push(&mut self, runs: &[Box<dyn Delivery>], now_ms: i64) -> Vec<RoomId> {
        let entries: Vec<_> = runs.iter().flat_map(|run| run.entries()).filter(|entry| self.is_first(entry)).collect();
        let mut noted = HashSet::new();
        for entry in &entries {
            if contain(|| self.leaderboards.apply(entry, now_ms)) == Some(true) {
                noted.insert(entry.room_id.clone());
            }
        }
        for (room_id, mut entries) in order::by_room(entries, |room_id| (self.weigh)(room_id).priority) {
            // A comment that breaks its room must neither break other rooms nor every later start.
            contain(|| {
                if !self.leaderboards.are_shared() {
                    self.add_update(&room_id, &mut entries, now_ms);
                }
                self.fanout.push(&room_id, entries);
            });
        }
        noted.into_iter().collect()
    }

    /// Whether no comment of its sender with the same `client_msg_id` came before.
    fn is_first(&mut self, entry: &Entry) -> bool {
        let Record::Comment { comment, client_msg_id, .. } = &entry.record else { return true };
        let is_first = self.seen.is_first(comment, client_msg_id.as_deref());
        if !is_first && let Some(metrics) = &self.metrics {
            count(&metrics.repeats, "part", "worker");
        }
        is_first
    }

    /// A run and those already queued behind it: this worker lags.
    fn with_queued(&mut self, first: Box<dyn Delivery>) -> Vec<Box<dyn Delivery>> {
        let mut entries = first.entries().len();
        let mut runs = vec![first];
        while runs.len() < RUNS_MAX
            && entries < ENTRIES_MAX
            && let Some(Some(next)) = self.consumer.next().now_or_never()
        {
            entries += next.entries().len();
            runs.push(next);
        }
        runs
    }

    /// Adds the update of a leaderboard in memory to the entries that made it, so that viewers get both in one send. Within
    /// [`UPDATE_INTERVAL_MS`] of the last one it waits.
    fn add_update(&mut self, room_id: &RoomId, entries: &mut Vec<Entry>, now_ms: i64) {
        if self.must_wait(room_id) {
            return;
        }
        let update = self.leaderboards.local_update(room_id);
        if update != LeaderboardUpdate::Unchanged {
            self.updated.insert(room_id.clone(), now_ms);
        }
        entries.extend(self.snapshots(room_id, update, now_ms));
    }

    /// Pushes the updates of shared leaderboards once their causes are on the way. Whatever the answer, the room is not asked
    /// again at once.
    async fn push_updates(&mut self, mut rooms: Vec<RoomId>, now_ms: i64) {
        rooms.retain(|room_id| !self.must_wait(room_id));
        if rooms.is_empty() {
            return;
        }
        for (room_id, update) in self.leaderboards.next_update(rooms, UPDATE_INTERVAL_MS, now_ms).await {
            self.updated.insert(room_id.clone(), now_ms);
            if update == LeaderboardUpdate::TooSoon {
                self.waiting.insert(room_id.clone());
            }
            let snapshots = self.snapshots(&room_id, update, now_ms);
            if !snapshots.is_empty() {
                self.fanout.push(&room_id, snapshots);
            }
        }
    }

    fn must_wait(&mut self, room_id: &RoomId) -> bool {
        let wait = self.updated.contains_key(room_id);
        if wait {
            self.waiting.insert(room_id.clone());
        }
        wait
    }

    fn snapshots(&self, room_id: &RoomId, update: LeaderboardUpdate, now_ms: i64) -> Vec<Entry> {
        let LeaderboardUpdate::Changed { ranking, hot } = update else { return Vec::new() };
        let ranking = ranking.map(|entries| EventBody::Ranking { entries });
        let hot = hot.map(|comments| EventBody::HotComments { comments });
        ranking.into_iter().chain(hot).filter_map(|body| self.snapshot(room_id, body, now_ms)).collect()
    }

    /// A snapshot has no position in the log's order. A node without a number makes none: the next one comes soon.
    fn snapshot(&self, room_id: &RoomId, body: EventBody, now_ms: i64) -> Option<Entry> {
        let event = Event {
            id: self.ids.next().ok()?,
            room_id: room_id.clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: now_ms,
            body,
        };
        let record = Record::Event(Arc::new(event));
        Some(Entry { room_id: room_id.clone(), position: Position::default(), record })
    }

    async fn push_waiting_updates(&mut self) {
        let now_ms = self.clock.now_ms();
        // A clock that stepped back makes nobody wait.
        self.updated.retain(|_, updated_ms| (0..UPDATE_INTERVAL_MS).contains(&(now_ms - *updated_ms)));
        let updated = &self.updated;
        let rooms: Vec<_> = self.waiting.extract_if(|room_id| !updated.contains_key(room_id)).collect();
        if self.leaderboards.are_shared() {
            self.push_updates(rooms, now_ms).await;
            self.leaderboards.repair(now_ms);
        } else {
            self.push_local_updates(rooms, now_ms);
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(SWEEP_EVERY) {
            self.leaderboards.forget_idle(now_ms);
        }
    }

    fn push_local_updates(&mut self, rooms: Vec<RoomId>, now_ms: i64) {
        for room_id in rooms {
            let mut entries = Vec::new();
            self.add_update(&room_id, &mut entries, now_ms);
            if !entries.is_empty() {
                self.fanout.push(&room_id, entries);
            }
        }
    }
}
