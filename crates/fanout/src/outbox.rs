//! The queue of entries for other nodes: by room, important rooms first, hot rooms gathered.
//!
//! A worker adds runs and never waits; the publishing task takes portions that are due. A hot room's runs gather for up to
//! [`GATHER`], so that other nodes get few large batches; other rooms' runs are due at once. When the network is slow, important
//! rooms go first. When too much waits, the least important room's entries are dropped, and its next portion reveals the gap.
//! Each room keeps its order. The fan-outs of `redis` and `grpc` use it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::metrics::count_by;
use model::{Metrics, RoomId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::room::{RoomPriority, Weight};
use log::Entry;

/// How long a hot room's entries gather.
pub(crate) const GATHER: Duration = Duration::from_millis(20);
/// Entries of one portion; a hot room that has as many is due at once.
pub(crate) const PORTION_MAX: usize = 500;
/// How long an ending node waits for what is left.
const FLUSH: Duration = Duration::from_millis(300);
/// Entries of all rooms that may wait.
const WAITING_MAX: usize = 65_536;
/// Portions taken together.
const TOGETHER_MAX: usize = 256;
/// Rooms with nothing left but a gap to reveal; further ones reveal it with their next batch.
const LOST_MAX: usize = 10_000;

/// Entries of one room to push.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) room_id: RoomId,
    /// Oldest first; empty when all of them were dropped.
    pub(crate) entries: Vec<Entry>,
    /// Entries before these were dropped.
    pub(crate) lost: bool,
}

/// Both ends, shared by the worker and the publishing task.
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Nothing waits and nothing is being published.
    settled: Notify,
    weigh: OnceLock<RoomPriority>,
    metrics: Arc<Metrics>,
}

impl Outbox {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let (changed, settled) = (Notify::new(), Notify::new());
        Arc::new(Self { waiting: Mutex::default(), changed, settled, weigh: OnceLock::new(), metrics })
    }

    /// Sets the rooms' priorities; until then all rooms are equal.
    pub(crate) fn weigh_by(&self, weigh: RoomPriority) {
        let _ = self.weigh.set(weigh);
    }

    /// Adds a run of one room.
    pub(crate) fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let weight = self.weigh.get().map_or_else(Weight::default, |weigh| weigh(room_id));
        let added = self.waiting.lock().add(room_id, entries, weight, Instant::now());
        if added.lost > 0 {
            count_by(&self.metrics.fanout_lost, "reason", "full", added.lost as u64);
        }
        if added.joined {
            self.metrics.gathered_runs.inc();
        }
        self.changed.notify_one();
    }

    /// Waits until something is due and takes it. What was taken before counts as published. Dropping the future loses
    /// nothing.
    pub(crate) async fn next(&self) -> Vec<Portion> {
        loop {
            let due = {
                let mut waiting = self.waiting.lock();
                let portions = waiting.take(Instant::now());
                waiting.publishing = !portions.is_empty();
                if waiting.publishing {
                    return portions;
                }
                waiting.next_due()
            };
            if due.is_none() {
                self.settled.notify_waiters();
            }
            match due {
                Some(due) => tokio::select! { () = sleep_until(due) => {}, () = self.changed.notified() => {} },
                None => self.changed.notified().await,
            }
        }
    }

    /// Waits until everything is published, without gathering any longer.
    pub(crate) async fn flush(&self) {
        let all = async {
            loop {
                let settled = self.settled.notified();
                if self.waiting.lock().hasten(Instant::now()) {
                    return;
                }
                self.changed.notify_one();
                settled.await;
            }
        };
        if timeout(FLUSH, all).await.is_err() {
            tracing::warn!("other nodes were not sent everything before the end; they find it in the store");
        }
    }
}

/// The waiting entries and their due times. Never reads a clock.
#[derive(Default)]
struct Waiting {
    rooms: HashMap<RoomId, Slot>,
    /// Entries of all rooms.
    entries: usize,
    /// Rooms added so far, which orders equal priorities.
    came: u64,
    /// The portions taken last are not published yet.
    publishing: bool,
}

struct Slot {
    entries: Vec<Entry>,
    weight: Weight,
    due: Instant,
    turn: u64,
    lost: bool,
}

/// The outcome of adding a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Added {
    /// Entries dropped, of any room.
    lost: usize,
    /// It joined entries of a hot room that already wait.
    joined: bool,
}

impl Waiting {
    fn add(&mut self, room_id: &RoomId, entries: Vec<Entry>, weight: Weight, now: Instant) -> Added {
        let mut added = Added { lost: self.make_room(entries.len(), weight.priority), joined: false };
        let fits = self.entries + entries.len() <= WAITING_MAX;
        if !self.rooms.contains_key(room_id) {
            if !fits && self.rooms.len() >= WAITING_MAX + LOST_MAX {
                added.lost += entries.len();
                return added;
            }
            self.came += 1;
            let due = if weight.hot { now + GATHER } else { now };
            let slot = Slot { entries: Vec::new(), weight, due, turn: self.came, lost: false };
            self.rooms.insert(room_id.clone(), slot);
        }
        let Some(slot) = self.rooms.get_mut(room_id) else { return added };
        if !fits {
            slot.lost = true;
            added.lost += entries.len();
            return added;
        }
        added.joined = weight.hot && !slot.entries.is_empty();
        self.entries += entries.len();
        slot.entries.extend(entries);
        slot.weight = weight;
        if !weight.hot || slot.entries.len() >= PORTION_MAX {
            slot.due = slot.due.min(now);
        }
        added
    }

    /// Drops entries of less important rooms until so many entries fit or none is left. Returns how many it dropped.
    fn make_room(&mut self, entries: usize, priority: i32) -> usize {
        let mut dropped = 0;
        while self.entries + entries > WAITING_MAX {
            let waiting = self.rooms.values_mut().filter(|slot| !slot.entries.is_empty());
            let least = waiting.min_by_key(|slot| slot.weight.priority).filter(|slot| slot.weight.priority < priority);
            let Some(least) = least else { break };
            self.entries -= least.entries.len();
            dropped += least.entries.len();
            least.entries.clear();
            least.lost = true;
        }
        dropped
    }

    /// The portions due by now, important rooms first, then in order of arrival.
    fn take(&mut self, now: Instant) -> Vec<Portion> {
        let due = self.rooms.iter().filter(|(_, slot)| slot.due <= now);
        let mut due: Vec<_> =
            due.map(|(room, slot)| (Reverse(slot.weight.priority), slot.turn, room.clone())).collect();
        due.sort_unstable();
        due.truncate(TOGETHER_MAX);
        due.into_iter().filter_map(|(.., room_id)| self.portion(room_id)).collect()
    }

    fn portion(&mut self, room_id: RoomId) -> Option<Portion> {
        let mut slot = self.rooms.remove(&room_id)?;
        let rest = slot.entries.split_off(slot.entries.len().min(PORTION_MAX));
        self.entries -= slot.entries.len();
        let portion = Portion { room_id: room_id.clone(), entries: slot.entries, lost: slot.lost };
        if !rest.is_empty() {
            // Behind those that have waited as long.
            self.came += 1;
            self.rooms.insert(room_id, Slot { entries: rest, turn: self.came, lost: false, ..slot });
        }
        Some(portion)
    }

    /// Makes everything due. Returns whether nothing is left.
    fn hasten(&mut self, now: Instant) -> bool {
        self.rooms.values_mut().for_each(|slot| slot.due = slot.due.min(now));
        self.rooms.is_empty() && !self.publishing
    }

    fn next_due(&self) -> Option<Instant> {
        self.rooms.values().map(|slot| slot.due).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use log::Position;
    use log::conformance::marked;

    fn room(n: usize) -> RoomId {
        RoomId::new(&format!("room-{n}")).expect("an id")
    }

    fn run(room_id: &RoomId, offsets: std::ops::Range<u64>) -> Vec<Entry> {
        let entry = |offset| Entry {
            room_id: room_id.clone(),
            position: Position { epoch: 1, offset },
            record: marked("something"),
        };
        offsets.map(entry).collect()
    }

    fn offsets(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.position.offset).collect()
    }

    /// What is done to an outbox, in milliseconds since the last.
    #[derive(Debug, Clone)]
    enum Step {
        Add { room: usize, entries: u64, hot: bool },
        Take,
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let add =
            (0..6usize, 1..300u64, any::<bool>()).prop_map(|(room, entries, hot)| Step::Add { room, entries, hot });
        prop::collection::vec((0..30u64, prop_oneof![3 => add, 1 => Just(Step::Take)]), 1..120)
    }

    proptest! {
        #[test]
        fn every_room_keeps_its_order_and_nothing_waits_longer_than_it_may(steps in steps()) {
            let mut waiting = Waiting::default();
            let (mut now, mut given, mut got) = (Instant::now(), [0; 6], vec![Vec::new(); 6]);
            let mut since: [Option<Instant>; 6] = [None; 6];
            for (pause_ms, step) in steps {
                now += Duration::from_millis(pause_ms);
                match step {
                    Step::Add { room: n, entries, hot } => {
                        let weight = Weight { hot, priority: n as i32 % 3 };
                        let run = run(&room(n), given[n]..given[n] + entries);
                        prop_assert_eq!(waiting.add(&room(n), run, weight, now).lost, 0);
                        given[n] += entries;
                        since[n].get_or_insert(now);
                    }
                    Step::Take => {
                        let mut before = None;
                        for portion in waiting.take(now) {
                            let n = (0..6).find(|n| room(*n) == portion.room_id).expect("one of these");
                            prop_assert!(before.is_none_or(|before| before >= n % 3), "important rooms first");
                            before = Some(n % 3);
                            prop_assert!(portion.entries.len() <= PORTION_MAX && !portion.lost);
                            got[n].extend(offsets(&portion.entries));
                            since[n] = None;
                        }
                        prop_assert!(since.iter().flatten().all(|since| *since + GATHER > now), "what is due was taken");
                    }
                }
            }
            while let Some(due) = waiting.next_due() {
                for portion in waiting.take(due) {
                    let n = (0..6).find(|n| room(*n) == portion.room_id).expect("one of these");
                    got[n].extend(offsets(&portion.entries));
                }
            }
            for (given, got) in given.into_iter().zip(got) {
                prop_assert_eq!(got, (0..given).collect::<Vec<_>>());
            }
            prop_assert_eq!(waiting.entries, 0);
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn when_it_is_full_the_least_important_go_and_each_room_says_so(
            runs in prop::collection::vec((0..40usize, 1..4_000u64), 1..120),
        ) {
            let (mut waiting, now) = (Waiting::default(), Instant::now());
            let (mut given, mut lost) = (0, 0);
            for (n, entries) in runs {
                let weight = Weight { hot: false, priority: n as i32 % 5 };
                lost += waiting.add(&room(n), run(&room(n), 0..entries), weight, now).lost;
                given += entries as usize;
                prop_assert!(waiting.entries <= WAITING_MAX);
                prop_assert_eq!(waiting.entries + lost, given);
            }
            prop_assert_eq!(lost > 0, waiting.rooms.values().any(|slot| slot.lost));
        }
    }

    #[test]
    fn an_important_room_finds_place_where_there_is_none() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let (low, high, other) = (room(1), room(2), room(3));
        let weight = |priority| Weight { hot: false, priority };
        assert_eq!(waiting.add(&low, run(&low, 0..WAITING_MAX as u64), weight(0), now).lost, 0);
        assert_eq!(waiting.add(&other, run(&other, 0..1), weight(0), now).lost, 1, "nobody makes way for its like");
        assert_eq!(waiting.add(&high, run(&high, 0..1), weight(1), now).lost, WAITING_MAX);
        assert_eq!(waiting.add(&low, run(&low, 7..8), weight(0), now).lost, 0);
        let taken: Vec<_> = waiting.take(now).into_iter().map(|p| (p.room_id, offsets(&p.entries), p.lost)).collect();
        assert_eq!(taken, [(high, vec![0], false), (low, vec![7], true), (other, vec![], true)]);
    }

    #[tokio::test]
    async fn a_hot_room_s_runs_go_together_and_others_at_once() {
        let metrics = Arc::new(Metrics::register(&mut Default::default()));
        let outbox = Outbox::new(metrics.clone());
        outbox.weigh_by(Arc::new(|id| Weight { hot: *id == room(1), priority: 0 }));
        let begun = Instant::now();
        outbox.push(&room(1), run(&room(1), 0..2));
        outbox.push(&room(2), run(&room(2), 0..1));
        outbox.push(&room(1), run(&room(1), 2..5));
        let mut portions = outbox.next().await;
        while portions.len() < 2 {
            portions.extend(outbox.next().await);
        }
        assert!(begun.elapsed() >= GATHER, "{:?}", begun.elapsed());
        let taken: Vec<_> = portions.iter().map(|portion| (&portion.room_id, offsets(&portion.entries))).collect();
        assert!(taken.contains(&(&room(1), vec![0, 1, 2, 3, 4])) && taken.contains(&(&room(2), vec![0])), "{taken:?}");
        assert_eq!(metrics.gathered_runs.get(), 1);
    }

    #[tokio::test]
    async fn what_is_flushed_is_published_when_that_returns() {
        let outbox = Outbox::new(Arc::new(Metrics::register(&mut Default::default())));
        outbox.weigh_by(Arc::new(|_| Weight { hot: true, priority: 0 }));
        let (from, published) = (outbox.clone(), Arc::new(Mutex::new(0)));
        let noted = published.clone();
        tokio::spawn(async move {
            loop {
                let portions = from.next().await;
                tokio::task::yield_now().await;
                *noted.lock() += portions.iter().map(|portion| portion.entries.len()).sum::<usize>();
            }
        });
        outbox.flush().await;
        for n in 0..3 {
            outbox.push(&room(n), run(&room(n), 0..1_000));
        }
        outbox.flush().await;
        assert_eq!(*published.lock(), 3_000);
    }

    #[test]
    fn only_a_hot_room_waits_and_not_once_it_is_full_or_has_cooled() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let (hot, cool) = (Weight { hot: true, priority: 0 }, Weight::default());
        let mut add = |n, entries, weight| {
            waiting.add(&room(n), run(&room(n), 0..entries), weight, now);
            waiting.take(now).len()
        };
        assert_eq!(add(1, 2, hot), 0);
        assert_eq!(add(2, 1, cool), 1);
        assert_eq!(add(1, PORTION_MAX as u64 - 2, hot), 1);
        assert_eq!(add(3, 1, hot), 0);
        assert_eq!(add(3, 1, cool), 1);
    }
}
