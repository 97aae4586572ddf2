//! Which rooms are hot: so much is said in them that they are spread over partitions and gathered before they are pushed.
//!
//! A room is hot by the comments of all nodes together, so all treat it alike. Each node counts what it appends and adds it
//! up with the others' once a second ([`HotRooms::beat`]); whoever finds the room hot marks it, and every node goes by the
//! marks. While the shared state is away, and in a process that is alone, a node goes by its own count. Asked for each
//! comment ([`HotRooms::is_hot`]), so that takes no lock. Starts no task and reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ahash::{HashSet, RandomState};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use dashmap::DashMap;
use model::{Metrics, OrderingKey, RoomId, UserId};

use crate::Result;
use crate::fallback::FallbackSwitch;

/// How often [`HotRooms::beat`] is to be called.
pub const BEAT: Duration = Duration::from_secs(1);
/// Beats over which a rate is averaged.
const RATE_BEATS: usize = 3;
/// After so many beats above the threshold a room is hot.
const HOT_BEATS: u8 = 3;
/// After so many beats below half of it, it no longer is.
const COOL_BEATS: u8 = 10;
/// Rooms that are counted at once; one that finds no place is not counted in this beat.
const ROOMS_MAX: usize = 100_000;
/// A node that contributes less than this share of the threshold does not tell: quiet rooms cost nothing, and a
/// hundred nodes are needed to keep a room's heat from everybody.
const UNTOLD_SHARE: u32 = 100;

/// What makes a room hot, and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct HeatRules {
    /// Comments a second, on all nodes together, from which on a room is hot; at least 1.
    pub hot_per_s: u32,
    /// Into how many shards a hot room is spread: 1, 2, 4, 8 or 16.
    pub shards: u16,
}

/// One room's temperature. Two thresholds and two patiences, so that a room near one of them does not go back and forth.
#[derive(Debug, Clone, Default)]
pub struct RateTracker {
    /// The last beats' rates, the newest first.
    rates: [u32; RATE_BEATS],
    /// Beats in a row that spoke for a change.
    beats: u8,
    hot: bool,
}

impl RateTracker {
    /// So many comments a second were said since the last beat. Returns whether the room is hot.
    pub fn beat(&mut self, per_s: u32, hot_per_s: u32) -> bool {
        self.rates.rotate_right(1);
        self.rates[0] = per_s;
        let rate = self.rate();
        let (turns, patience) =
            if self.hot { (rate < hot_per_s.div_ceil(2), COOL_BEATS) } else { (rate >= hot_per_s, HOT_BEATS) };
        self.beats = if turns { self.beats + 1 } else { 0 };
        if self.beats >= patience {
            *self = Self { rates: self.rates, beats: 0, hot: !self.hot };
        }
        self.hot
    }

    /// Comments a second, averaged.
    #[must_use]
    pub fn rate(&self) -> u32 {
        let sum: u64 = self.rates.iter().map(|rate| u64::from(*rate)).sum();
        (sum / RATE_BEATS as u64) as u32
    }

    /// Whether there is nothing to remember.
    fn is_at_rest(&self) -> bool {
        !self.hot && self.rates == [0; RATE_BEATS]
    }
}

/// Comments a second, by room.
pub type RoomRates = HashMap<RoomId, u32, RandomState>;

/// Where the nodes of a deployment add up their rates and mark the rooms that they find hot.
#[async_trait]
pub trait SharedHotRooms: Send + Sync {
    /// Reports this node's rates and returns those of all nodes together.
    ///
    /// # Errors
    /// When the shared state does not answer for one of the rooms; the others are not waited for.
    async fn rates(&self, own: &RoomRates, now_ms: i64) -> Result<RoomRates>;

    /// Marks rooms that this node finds hot and returns every room that is marked.
    ///
    /// # Errors
    /// When the shared state does not answer.
    async fn mark(&self, hot: &HashSet<RoomId>, now_ms: i64) -> Result<HashSet<RoomId>>;
}

/// The rooms' temperatures as this node knows them.
pub struct HotRooms {
    rules: HeatRules,
    /// Comments since the last beat.
    counts: DashMap<RoomId, AtomicU32, RandomState>,
    /// Of rooms that somebody told of lately; held by the one who beats.
    known: tokio::sync::Mutex<HashMap<RoomId, RateTracker, RandomState>>,
    hot: ArcSwap<HashSet<RoomId>>,
    shared: Option<(Arc<dyn SharedHotRooms>, FallbackSwitch)>,
    metrics: Arc<Metrics>,
}

impl HotRooms {
    /// The heat of a process that is alone.
    #[must_use]
    pub fn alone(rules: HeatRules, metrics: Arc<Metrics>) -> Self {
        Self {
            rules,
            counts: DashMap::default(),
            known: tokio::sync::Mutex::default(),
            hot: ArcSwap::default(),
            shared: None,
            metrics,
        }
    }

    /// The heat of one of several nodes.
    #[must_use]
    pub fn shared(rules: HeatRules, shared: Arc<dyn SharedHotRooms>, metrics: Arc<Metrics>) -> Self {
        let decides = FallbackSwitch::new("heat", metrics.clone());
        Self { shared: Some((shared, decides)), ..Self::alone(rules, metrics) }
    }

    /// A comment enters this room here.
    pub fn count(&self, room: &RoomId) {
        if let Some(count) = self.counts.get(room) {
            count.fetch_add(1, Ordering::Relaxed);
        } else if self.counts.len() < ROOMS_MAX {
            self.counts.entry(room.clone()).or_default().fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the room is hot, as of a second ago.
    #[must_use]
    pub fn is_hot(&self, room: &RoomId) -> bool {
        let hot = self.hot.load();
        !hot.is_empty() && hot.contains(room)
    }

    /// The shard of a hot room that a user's comments belong to, the same on every node; `None` while it is not hot.
    #[must_use]
    pub fn shard(&self, room: &RoomId, user: &UserId) -> Option<u16> {
        self.is_hot(room).then(|| OrderingKey::bucket(user) % self.rules.shards.max(1))
    }

    /// Looks at what was counted in the time since the last beat, and at what the others say. Never fails: while the
    /// shared state is away this node's count decides, which a gauge says.
    pub async fn beat(&self, since: Duration, now_ms: i64) {
        let mut known = self.known.lock().await;
        let mut own = self.take_counts(since);
        for room in known.keys() {
            own.entry(room.clone()).or_insert(0);
        }
        let hot = match &self.shared {
            Some((shared, decides)) => {
                let rates = shared.rates(&own, now_ms).await;
                let hot = self.step(&mut known, rates.as_ref().unwrap_or(&own));
                let marked = match rates {
                    Ok(_) => shared.mark(&hot, now_ms).await,
                    Err(away) => Err(away),
                };
                decides.answer(marked).unwrap_or(hot)
            }
            None => self.step(&mut known, &own),
        };
        self.tell(hot, &known);
    }

    /// What was counted here of rooms that matter, in comments a second.
    fn take_counts(&self, since: Duration) -> RoomRates {
        let seconds = since.as_secs_f64().max(0.001);
        let least = (self.rules.hot_per_s / UNTOLD_SHARE).max(1);
        let mut own = HashMap::default();
        self.counts.retain(|room, count| {
            let count = std::mem::take(count.get_mut());
            let per_s = (f64::from(count) / seconds).round() as u32;
            if per_s >= least {
                own.insert(room.clone(), per_s);
            }
            count > 0
        });
        own
    }

    /// The rooms that are hot after these rates, in comments a second.
    fn step(&self, known: &mut HashMap<RoomId, RateTracker, RandomState>, rates: &RoomRates) -> HashSet<RoomId> {
        let mut hot = HashSet::default();
        for (room, per_s) in rates {
            if known.entry(room.clone()).or_default().beat(*per_s, self.rules.hot_per_s) {
                hot.insert(room.clone());
            }
        }
        known.retain(|_, room| !room.is_at_rest());
        hot
    }

    /// From now on these are hot.
    fn tell(&self, hot: HashSet<RoomId>, known: &HashMap<RoomId, RateTracker, RandomState>) {
        let before = self.hot.load_full();
        if *before == hot {
            return;
        }
        // Not known where others found it hot.
        let per_s = |room| known.get(room).map(RateTracker::rate);
        for room in hot.difference(&before) {
            tracing::info!(room = room.as_str(), per_s = per_s(room), "a room is hot");
        }
        for room in before.difference(&hot) {
            tracing::info!(room = room.as_str(), per_s = per_s(room), "a hot room has cooled");
        }
        self.metrics.hot_rooms.set(hot.len().cast_signed() as i64);
        self.hot.store(Arc::new(hot));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    use super::*;

    const HOT: u32 = 500;

    fn play(rates: &[u32]) -> Vec<bool> {
        let mut room = RateTracker::default();
        rates.iter().map(|rate| room.beat(*rate, HOT)).collect()
    }

    proptest! {
        #[test]
        fn below_the_threshold_no_room_becomes_hot(rates in prop::collection::vec(0..HOT, 0..60)) {
            prop_assert!(play(&rates).iter().all(|hot| !hot));
        }

        #[test]
        fn above_half_of_it_a_hot_room_stays_hot(rates in prop::collection::vec(HOT / 2..10 * HOT, 0..60)) {
            let mut room = RateTracker { rates: [HOT; RATE_BEATS], beats: 0, hot: true };
            prop_assert!(rates.iter().all(|rate| room.beat(*rate, HOT)));
        }

        #[test]
        fn it_turns_once_in_its_patience_at_most(rates in prop::collection::vec(0..3 * HOT, 0..200)) {
            let told = play(&rates);
            let turns: Vec<_> = (1..told.len()).filter(|at| told[*at] != told[*at - 1]).collect();
            for pair in turns.windows(2) {
                let patience = if told[pair[1]] { HOT_BEATS } else { COOL_BEATS };
                prop_assert!(pair[1] - pair[0] >= usize::from(patience));
            }
        }

        #[test]
        fn whatever_it_was_silence_cools_it(rates in prop::collection::vec(0..u32::MAX, 0..40)) {
            let mut room = RateTracker::default();
            for rate in rates {
                room.beat(rate, HOT);
            }
            let silent = RATE_BEATS + usize::from(COOL_BEATS);
            prop_assert!(!(0..silent).map(|_| room.beat(0, HOT)).last().expect("some beats"));
            prop_assert!(room.is_at_rest());
        }
    }

    #[test]
    fn a_room_heats_up_in_seconds_and_one_burst_is_none() {
        assert_eq!(play(&[600, 600, 600, 600]), [false; 4]);
        assert!(play(&[600; 5])[4]);
        assert_eq!(play(&[0, 1_400, 0, 0, 0, 0]), [false; 6]);
    }

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().expect("an id")
    }

    fn heat() -> HotRooms {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        HotRooms::alone(HeatRules { hot_per_s: 100, shards: 8 }, metrics)
    }

    #[tokio::test]
    async fn a_process_that_is_alone_goes_by_its_own_count() {
        let (heat, hall, lobby) = (heat(), id("hall"), id("lobby"));
        for _ in 0..6 {
            (0..60).for_each(|_| heat.count(&hall));
            (0..20).for_each(|_| heat.count(&lobby));
            heat.beat(BEAT / 2, 0).await;
        }
        assert!(heat.is_hot(&hall) && !heat.is_hot(&lobby), "120 and 40 a second");
        assert_eq!(heat.metrics.hot_rooms.get(), 1);
        for _ in 0..usize::from(COOL_BEATS) + RATE_BEATS {
            heat.beat(BEAT, 0).await;
        }
        assert!(!heat.is_hot(&hall));
        assert_eq!(heat.metrics.hot_rooms.get(), 0);
        assert!(heat.counts.is_empty() && heat.known.lock().await.is_empty(), "nothing is remembered of quiet rooms");
    }

    #[tokio::test]
    async fn a_hot_room_s_users_are_spread_and_each_stays_in_one_shard() {
        let (heat, hall) = (heat(), id("hall"));
        let users: Vec<UserId> = (0..400).map(|n| id(&format!("user-{n}"))).collect();
        assert_eq!(heat.shard(&hall, &users[0]), None);
        for _ in 0..6 {
            (0..200).for_each(|_| heat.count(&hall));
            heat.beat(BEAT, 0).await;
        }
        let shards: Vec<_> = users.iter().map(|user| heat.shard(&hall, user).expect("it is hot")).collect();
        for (user, shard) in users.iter().zip(&shards) {
            assert_eq!(heat.shard(&hall, user), Some(*shard));
            assert_eq!(*shard, OrderingKey::bucket(user) % 8, "a lane of the boards lies in one shard");
        }
        let used: std::collections::BTreeSet<_> = shards.into_iter().collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }
}
