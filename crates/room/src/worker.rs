//! The room worker: reads the log, keeps rankings and hot comments, and pushes each room's entries
//! to the gateways that hold it.
//!
//! When it lags it takes all the runs that wait at once, and important rooms go first ([`crate::order`]).
//!
//! One task per log consumer owns what it reads; the boards are its only shared state. Fed by
//! [`bus::Consumer`], heard by [`bus::Fanout`]. Never touches a socket; a slow gateway or database
//! never delays it, and boards that are shared delay the log's answers, not what viewers are sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bus::{Consumer, Delivery, Entry, Fanout, Position, Record, Weigh, Weight};
use futures::FutureExt;
use model::panics::contain;
use model::{Audience, Clock, Event, EventBody, RoomId, SnowflakeGenerator};
use state::boards::News;

use crate::boards::Boards;
use crate::order;

/// Rankings and hot comments of a room are pushed at most this often, in milliseconds.
const NEWS_MS: i64 = 500;
/// How often rooms whose news had to wait are looked at.
const BEAT: Duration = Duration::from_millis(250);
/// Runs that are worked on together when they wait, and entries with which no further one is taken along.
const RUNS_MAX: usize = 8;
const ENTRIES_MAX: usize = 4_096;
/// Idle boards are looked for once in so many beats.
const SWEEP_EVERY: u32 = 1_200;

/// One worker.
pub struct Worker {
    consumer: Box<dyn Consumer>,
    fanout: Arc<dyn Fanout>,
    boards: Arc<Boards>,
    clock: Arc<dyn Clock>,
    ids: Arc<SnowflakeGenerator>,
    weigh: Weigh,
    /// Rooms that were told news within the last [`NEWS_MS`], with the moment.
    told: HashMap<RoomId, i64>,
    /// Of these, those whose boards may have news again.
    waiting: HashSet<RoomId>,
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
        let weigh: Weigh = Arc::new(|_| Weight::default());
        Self { consumer, fanout, boards, clock, ids, weigh, told: HashMap::new(), waiting: HashSet::new(), ticks: 0 }
    }

    /// The same, with important rooms first.
    #[must_use]
    pub fn weighing(self, weigh: Weigh) -> Self {
        Self { weigh, ..self }
    }

    /// Works until the log closes. Waits on two inputs: the log, and the beat of the news.
    pub async fn run(mut self) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                delivery = self.consumer.next() => match delivery {
                    Some(delivery) => self.work(delivery).await,
                    None => break,
                },
                _ = beat.tick() => self.tell_news().await,
            }
        }
        self.fanout.flush().await;
    }

    /// Viewers are sent what happened first, readers of shared boards find it when the log is told that it is handled, and
    /// news of them come last.
    async fn work(&mut self, delivery: Box<dyn Delivery>) {
        let (runs, now_ms) = (self.with_those_that_wait(delivery), self.clock.now_ms());
        let rooms = self.push(&runs, now_ms);
        if !self.boards.are_shared() {
            return runs.into_iter().for_each(Delivery::commit);
        }
        self.boards.settle(rooms.clone(), now_ms).await;
        runs.into_iter().for_each(Delivery::commit);
        self.push_news(rooms, now_ms).await;
    }

    /// Pushes what is in these runs. Returns the rooms whose shared boards have to be settled.
    fn push(&mut self, runs: &[Box<dyn Delivery>], now_ms: i64) -> Vec<RoomId> {
        let entries = || runs.iter().flat_map(|run| run.entries());
        let mut noted = HashSet::new();
        for entry in entries() {
            if contain(|| self.boards.apply(entry, now_ms)) == Some(true) {
                noted.insert(entry.room_id.clone());
            }
        }
        for (room_id, mut entries) in order::by_room(entries(), |room_id| (self.weigh)(room_id).priority) {
            // A comment that breaks its room must not break the others', nor each start after it.
            contain(|| {
                if !self.boards.are_shared() {
                    self.add_news(&room_id, &mut entries, now_ms);
                }
                self.fanout.push(&room_id, entries);
            });
        }
        noted.into_iter().collect()
    }

    /// A run, and those behind it that are there already: this worker lags.
    fn with_those_that_wait(&mut self, first: Box<dyn Delivery>) -> Vec<Box<dyn Delivery>> {
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

    /// From boards in memory news travel with what made them, so that viewers get both in one send; soon after the
    /// last ones they wait.
    fn add_news(&mut self, room_id: &RoomId, entries: &mut Vec<Entry>, now_ms: i64) {
        if self.must_wait(room_id) {
            return;
        }
        let news = self.boards.news_here(room_id);
        if news != News::Same {
            self.told.insert(room_id.clone(), now_ms);
        }
        entries.extend(self.pictures(room_id, news, now_ms));
    }

    /// From shared boards they are taken once what made them is on its way. Whatever the answer, the room is not asked
    /// again at once.
    async fn push_news(&mut self, mut rooms: Vec<RoomId>, now_ms: i64) {
        rooms.retain(|room_id| !self.must_wait(room_id));
        if rooms.is_empty() {
            return;
        }
        for (room_id, news) in self.boards.news(rooms, NEWS_MS, now_ms).await {
            self.told.insert(room_id.clone(), now_ms);
            if news == News::Soon {
                self.waiting.insert(room_id.clone());
            }
            let pictures = self.pictures(&room_id, news, now_ms);
            if !pictures.is_empty() {
                self.fanout.push(&room_id, pictures);
            }
        }
    }

    fn must_wait(&mut self, room_id: &RoomId) -> bool {
        let wait = self.told.contains_key(room_id);
        if wait {
            self.waiting.insert(room_id.clone());
        }
        wait
    }

    fn pictures(&self, room_id: &RoomId, news: News, now_ms: i64) -> Vec<Entry> {
        let News::New { ranking, hot } = news else { return Vec::new() };
        let ranking = ranking.map(|entries| EventBody::Ranking { entries });
        let hot = hot.map(|comments| EventBody::HotComments { comments });
        ranking.into_iter().chain(hot).filter_map(|body| self.picture(room_id, body, now_ms)).collect()
    }

    /// A picture of a state has no place in the log's order. A node without a number draws none: the next one comes soon.
    fn picture(&self, room_id: &RoomId, body: EventBody, now_ms: i64) -> Option<Entry> {
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

    async fn tell_news(&mut self) {
        let now_ms = self.clock.now_ms();
        // A clock that stepped back makes nobody wait.
        self.told.retain(|_, told_ms| (0..NEWS_MS).contains(&(now_ms - *told_ms)));
        let told = &self.told;
        let rooms: Vec<_> = self.waiting.extract_if(|room_id| !told.contains_key(room_id)).collect();
        if self.boards.are_shared() {
            self.push_news(rooms, now_ms).await;
            self.boards.tend(now_ms);
        } else {
            self.add_all_news(rooms, now_ms);
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(SWEEP_EVERY) {
            self.boards.forget_idle(now_ms);
        }
    }

    fn add_all_news(&mut self, rooms: Vec<RoomId>, now_ms: i64) {
        for room_id in rooms {
            let mut entries = Vec::new();
            self.add_news(&room_id, &mut entries, now_ms);
            if !entries.is_empty() {
                self.fanout.push(&room_id, entries);
            }
        }
    }
}
