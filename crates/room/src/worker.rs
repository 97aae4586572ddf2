//! The room worker: reads the log, keeps rankings and hot comments, and pushes each room's entries
//! to the gateways that hold it.
//!
//! One task per log consumer owns what it reads; the boards are its only shared state. Fed by
//! [`bus::Consumer`], heard by [`bus::Fanout`]. Never touches a socket; a slow gateway or database
//! never delays it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bus::{Consumer, Delivery, Entry, Fanout, Position, Record};
use model::{Audience, Clock, Event, RoomId, SnowflakeGenerator};

use crate::boards::Boards;

/// Rankings and hot comments are pushed at most this often.
const NEWS_MS: u64 = 500;
/// Idle boards are looked for once in so many pushes of news.
const SWEEP_EVERY: u32 = 600;

/// One worker.
pub struct Worker {
    consumer: Box<dyn Consumer>,
    fanout: Arc<dyn Fanout>,
    boards: Arc<Boards>,
    clock: Arc<dyn Clock>,
    ids: Arc<SnowflakeGenerator>,
    /// Rooms whose boards may have news.
    touched: HashSet<RoomId>,
    ticks: u32,
}

impl Worker {
    /// A worker that reads `consumer`. Its boards must be warm.
    #[must_use]
    pub fn new(
        consumer: Box<dyn Consumer>,
        fanout: Arc<dyn Fanout>,
        boards: Arc<Boards>,
        clock: Arc<dyn Clock>,
        ids: Arc<SnowflakeGenerator>,
    ) -> Self {
        Self { consumer, fanout, boards, clock, ids, touched: HashSet::new(), ticks: 0 }
    }

    /// Works until the log closes. Waits on two inputs: the log, and the beat of the news.
    pub async fn run(mut self) {
        let mut beat = tokio::time::interval(Duration::from_millis(NEWS_MS));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                delivery = self.consumer.next() => match delivery {
                    Some(delivery) => self.work(delivery),
                    None => return,
                },
                _ = beat.tick() => self.tell_news(),
            }
        }
    }

    fn work(&mut self, delivery: Box<dyn Delivery>) {
        let now_ms = self.clock.now_ms();
        let mut by_room: HashMap<RoomId, Vec<Entry>> = HashMap::new();
        for entry in delivery.entries() {
            self.apply(entry, now_ms);
            by_room.entry(entry.room_id.clone()).or_default().push(entry.clone());
        }
        for (room_id, entries) in by_room {
            self.fanout.push(&room_id, entries);
        }
        delivery.commit();
    }

    fn apply(&mut self, entry: &Entry, now_ms: i64) {
        if let Record::SessionStarted(session) = &entry.record {
            self.boards.start(session, now_ms);
        }
        self.boards.apply(&entry.room_id, &entry.record, now_ms);
        if !self.touched.contains(&entry.room_id) {
            self.touched.insert(entry.room_id.clone());
        }
    }

    fn tell_news(&mut self) {
        let now_ms = self.clock.now_ms();
        for room_id in std::mem::take(&mut self.touched) {
            let events = self.boards.news(&room_id).into_iter().map(|body| {
                let event = Event {
                    id: self.ids.next(),
                    room_id: room_id.clone(),
                    audience: Audience::Everyone,
                    critical_for: Audience::Nobody,
                    at_ms: now_ms,
                    body,
                };
                // Pictures of a state have no place in the log's order.
                let position = Position::default();
                Entry { room_id: room_id.clone(), position, record: Record::Event(Arc::new(event)) }
            });
            let events: Vec<_> = events.collect();
            if !events.is_empty() {
                self.fanout.push(&room_id, events);
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(SWEEP_EVERY) {
            self.boards.forget_idle(now_ms);
        }
    }
}
