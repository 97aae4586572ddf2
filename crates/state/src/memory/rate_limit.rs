//! [`RateLimiter`] in memory.

use ahash::RandomState;
use async_trait::async_trait;
use model::{RoomId, UserId};
use parking_lot::{Mutex, MutexGuard};

use super::SHARDS;
use super::expiring_map::{Expires, ExpiringMap};
use crate::Result;
use crate::gcra::{self, CLOCK_JITTER_MS, Rate};
use crate::rate_limit::{CoolDown, LimitKey, QUIET_FACTOR, RateDecision, RateLimiter, RateRequest, Scope};

/// The default bound of each kind of key. A rate costs about 40 bytes, a user with recent texts about 200, a user's refusals up
/// to 350.
pub const KEYS_MAX: usize = 1_000_000;

/// Texts remembered for one user: more than the fastest level sends in the window.
const TEXTS_MAX: usize = 64;

/// Rates, duplicates and cool-downs of one process. The rates of rooms and deployment are exact, too.
///
/// Holds at most `keys_max` of each kind: users, pairs of user and room under slow mode, users who were refused, rooms and
/// single limits. Beyond that it forgets one that expires soon.
pub struct MemoryRateLimiter {
    hash: RandomState,
    user_shards: Vec<Mutex<UserShard>>,
    /// Rooms and single limits.
    limits: Vec<Mutex<ExpiringMap<Tat>>>,
    global: Mutex<Tat>,
}

/// The users of one shard, behind one lock, so that a user's own limits are exact.
struct UserShard {
    users: ExpiringMap<User>,
    slow_modes: ExpiringMap<Tat>,
    strikes: ExpiringMap<Strikes>,
}

/// What a key names. It is part of the hash, so that a user and a room with the same name differ.
#[derive(Hash)]
enum Kind {
    User,
    SlowMode,
    Room,
    Single(&'static str),
}

impl Default for MemoryRateLimiter {
    fn default() -> Self {
        Self::new(KEYS_MAX)
    }
}

impl MemoryRateLimiter {
    /// An empty limiter that holds at most about `keys_max` keys of each kind, at least one per shard.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        let each = keys_max.div_ceil(SHARDS);
        Self {
            hash: RandomState::new(),
            user_shards: (0..SHARDS).map(|_| Mutex::new(UserShard::new(each))).collect(),
            limits: (0..SHARDS).map(|_| Mutex::new(ExpiringMap::new(each))).collect(),
            global: Mutex::new(Tat::default()),
        }
    }

    /// How many keys it holds now, for a gauge.
    #[must_use]
    pub fn keys(&self) -> usize {
        let users = self.user_shards.iter().map(|shard| shard.lock().len()).sum::<usize>();
        users + self.limits.iter().map(|shard| shard.lock().len()).sum::<usize>()
    }

    /// Counts one against a single limit, as [`RateLimiter::allow`] does.
    ///
    /// # Errors
    /// The wait in milliseconds.
    pub fn count(&self, scope: &'static str, id: &str, rate: Rate, now_ms: i64) -> std::result::Result<(), u64> {
        let key = self.key(Kind::Single(scope), id);
        let mut limits = lock(&self.limits, key);
        limits.slot(key, now_ms).check(rate, now_ms).map(Grant::commit)
    }

    fn key(&self, kind: Kind, id: &str) -> u64 {
        self.hash.hash_one((kind, id))
    }

    fn slow_mode_key(&self, user: &UserId, room: &RoomId) -> u64 {
        self.hash.hash_one((Kind::SlowMode, user.as_str(), room.as_str()))
    }

    /// All or nothing: checks every level under its lock, and writes only when all admit. Locks in the order user, room,
    /// deployment, so no two calls deadlock.
    fn decide(&self, request: &RateRequest<'_>) -> std::result::Result<(), RateDecision> {
        let now_ms = request.now_ms;
        let user_key = self.key(Kind::User, request.user.as_str());
        let mut shard = lock(&self.user_shards, user_key);
        let UserShard { users, slow_modes, strikes } = &mut *shard;

        if let Some(retry_after_ms) = strikes.get(user_key).and_then(|strikes| strikes.mute_left_ms(now_ms)) {
            return Err(RateDecision::CoolingDown { retry_after_ms });
        }
        let User { rate, texts } = users.slot(user_key, now_ms);
        let user = rate.check(request.user_rate, now_ms).map_err(|ms| (Scope::User, ms));
        let slow_mode = request.slow_mode.map(|rate| {
            let tat = slow_modes.slot(self.slow_mode_key(request.user, request.room), now_ms);
            tat.check(rate, now_ms).map_err(|ms| (Scope::SlowMode, ms))
        });
        let (user, slow_mode) = both(user, slow_mode.transpose())?;
        let room_key = self.key(Kind::Room, request.room.as_str());
        let mut rooms = lock(&self.limits, room_key);
        let room = rooms.slot(room_key, now_ms).ask(request.room_rate, now_ms, Scope::Room)?;
        let repeat = texts.left_ms(request.text_key, now_ms).filter(|_| request.duplicate_window_ms > 0);
        let mut global = self.global.lock();
        let global = global.ask(request.global_rate, now_ms, Scope::Global)?;
        if let Some(retry_after_ms) = repeat {
            return Err(RateDecision::Duplicate { retry_after_ms });
        }

        user.commit();
        slow_mode.into_iter().for_each(Grant::commit);
        room.commit();
        global.commit();
        if request.duplicate_window_ms > 0 {
            texts.add(request.text_key, Span::starting(now_ms, request.duplicate_window_ms), now_ms);
        }
        Ok(())
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn admit(&self, request: RateRequest<'_>) -> Result<RateDecision> {
        Ok(self.decide(&request).err().unwrap_or(RateDecision::Admitted))
    }

    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>> {
        if policy.refusals == 0 {
            return Ok(None);
        }
        let key = self.key(Kind::User, user.as_str());
        Ok(lock(&self.user_shards, key).strikes.slot(key, now_ms).add(now_ms, policy))
    }

    async fn take_back(&self, user: &UserId, text_key: u64, slow_mode_in: Option<&RoomId>) -> Result<()> {
        let key = self.key(Kind::User, user.as_str());
        let mut shard = lock(&self.user_shards, key);
        if let Some(user) = shard.users.get_mut(key) {
            user.texts.0.retain(|(said, _)| *said != text_key);
        }
        if let Some(room) = slow_mode_in {
            shard.slow_modes.remove(self.slow_mode_key(user, room));
        }
        Ok(())
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        Ok(self.count(key.scope, key.id, rate, now_ms))
    }

    async fn forget(&self, key: LimitKey<'_>) -> Result<()> {
        let key = self.key(Kind::Single(key.scope), key.id);
        lock(&self.limits, key).remove(key);
        Ok(())
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        let key = self.key(Kind::User, user.as_str());
        lock(&self.user_shards, key).strikes.remove(key);
        Ok(())
    }
}

type Granted<T> = std::result::Result<T, (Scope, u64)>;

/// Both grants, or the refusal with the longer wait: after the shorter one, a user would retry in vain.
fn both<A, B>(a: Granted<A>, b: Granted<B>) -> std::result::Result<(A, B), RateDecision> {
    let refused = |(scope, retry_after_ms)| Err(RateDecision::Limited { scope, retry_after_ms });
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => refused(if b.1 > a.1 { b } else { a }),
        (Err(one), Ok(_)) | (Ok(_), Err(one)) => refused(one),
    }
}

fn lock<T>(shards: &[Mutex<T>], key: u64) -> MutexGuard<'_, T> {
    shards[key as usize % SHARDS].lock()
}

impl UserShard {
    fn new(keys_max: usize) -> Self {
        Self {
            users: ExpiringMap::new(keys_max),
            slow_modes: ExpiringMap::new(keys_max),
            strikes: ExpiringMap::new(keys_max),
        }
    }

    fn len(&self) -> usize {
        self.users.len() + self.slow_modes.len() + self.strikes.len()
    }
}

/// A user's own rate and last texts.
#[derive(Default)]
struct User {
    rate: Tat,
    texts: Texts,
}

impl Expires for User {
    fn until_ms(&self) -> i64 {
        self.rate.until_ms().max(self.texts.until_ms())
    }
}

/// A user's texts of the last seconds, by the text's key, oldest first. A short list beside the rate: both are read together and
/// expire together.
#[derive(Default)]
struct Texts(Vec<(u64, Span)>);

impl Texts {
    fn left_ms(&self, key: u64, now_ms: i64) -> Option<u64> {
        self.0.iter().filter(|(said, _)| *said == key).find_map(|(_, span)| span.left_ms(now_ms))
    }

    /// Remembers one more, and forgets the oldest of [`TEXTS_MAX`].
    fn add(&mut self, key: u64, span: Span, now_ms: i64) {
        self.0.retain(|(_, span)| span.left_ms(now_ms).is_some());
        if self.0.len() >= TEXTS_MAX {
            self.0.remove(0);
        }
        self.0.push((key, span));
    }
}

impl Expires for Texts {
    fn until_ms(&self) -> i64 {
        self.0.iter().map(|(_, span)| span.until_ms).max().unwrap_or(i64::MIN)
    }
}

/// A theoretical arrival time.
struct Tat(i64);

/// Permission to advance a TAT, not yet used.
struct Grant<'a> {
    tat: &'a mut Tat,
    next_ns: i64,
}

impl Default for Tat {
    fn default() -> Self {
        Self(gcra::NEVER)
    }
}

impl Expires for Tat {
    fn until_ms(&self) -> i64 {
        gcra::forgotten_at_ms(self.0)
    }
}

impl Tat {
    fn check(&mut self, rate: Rate, now_ms: i64) -> std::result::Result<Grant<'_>, u64> {
        match gcra::check(self.0, now_ms, rate) {
            Ok(next_ns) => Ok(Grant { tat: self, next_ns }),
            Err(refused) => {
                self.0 = refused.tat_ns;
                Err(refused.retry_after_ms)
            }
        }
    }

    fn ask(&mut self, rate: Rate, now_ms: i64, scope: Scope) -> std::result::Result<Grant<'_>, RateDecision> {
        self.check(rate, now_ms).map_err(|retry_after_ms| RateDecision::Limited { scope, retry_after_ms })
    }
}

impl Grant<'_> {
    fn commit(self) {
        self.tat.0 = self.next_ns;
    }
}

/// A span of time. A clock that steps back before its start ends it, rather than make it longer.
#[derive(Clone, Copy)]
struct Span {
    from_ms: i64,
    until_ms: i64,
}

impl Span {
    fn starting(now_ms: i64, length_ms: u64) -> Self {
        Self { from_ms: now_ms, until_ms: now_ms.saturating_add_unsigned(length_ms) }
    }

    fn length_ms(self) -> u64 {
        self.until_ms.abs_diff(self.from_ms)
    }

    fn left_ms(self, now_ms: i64) -> Option<u64> {
        let within = self.from_ms.saturating_sub(CLOCK_JITTER_MS) <= now_ms && now_ms < self.until_ms;
        within.then(|| self.until_ms.abs_diff(now_ms))
    }

    /// The span with its end moved by `more_ms`.
    fn extended(self, more_ms: u64) -> Self {
        Self { until_ms: self.until_ms.saturating_add_unsigned(more_ms), ..self }
    }
}

/// A user's refusals, and the cool-downs they led to.
#[derive(Default)]
struct Strikes {
    /// Refusals that still count; at most as many as start a cool-down.
    counted: Vec<Span>,
    /// The last cool-down.
    mute: Option<Span>,
}

impl Expires for Strikes {
    fn until_ms(&self) -> i64 {
        let counted = self.counted.iter().map(|strike| strike.until_ms).max().unwrap_or(i64::MIN);
        counted.max(self.mute.map_or(i64::MIN, |mute| doubling(mute).until_ms))
    }
}

/// The span from a cool-down's start in which another one doubles.
fn doubling(mute: Span) -> Span {
    mute.extended(mute.length_ms().saturating_mul(QUIET_FACTOR))
}

impl Strikes {
    fn mute_left_ms(&self, now_ms: i64) -> Option<u64> {
        self.mute.and_then(|mute| mute.left_ms(now_ms))
    }

    /// Counts one. Returns the length of the cool-down that it starts.
    fn add(&mut self, now_ms: i64, policy: &CoolDown) -> Option<u64> {
        if self.mute_left_ms(now_ms).is_some() {
            return None;
        }
        self.counted.retain(|strike| strike.left_ms(now_ms).is_some());
        self.counted.push(Span::starting(now_ms, policy.within_ms));
        if self.counted.len() < policy.refusals as usize {
            return None;
        }
        self.counted.clear();
        let last = self.mute.filter(|&mute| doubling(mute).left_ms(now_ms).is_some());
        let mute_ms = last.map_or(policy.mute_ms, |mute| mute.length_ms().saturating_mul(2)).min(policy.mute_ms_max);
        self.mute = Some(Span::starting(now_ms, mute_ms));
        Some(mute_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::RoomId;
    use proptest::prelude::*;

    use super::*;
    use crate::conformance;

    const NOW: i64 = 1_700_000_000_000;

    fn users() -> Vec<UserId> {
        ["ann", "bo", "cy"].iter().filter_map(|name| UserId::new(name).ok()).collect()
    }

    fn rooms() -> Vec<RoomId> {
        ["hall", "attic"].iter().filter_map(|name| RoomId::new(name).ok()).collect()
    }

    /// One request as drawn: user, room, text, milliseconds since the last.
    type Draw = (usize, usize, u64, i64);

    fn draws() -> impl Strategy<Value = Vec<Draw>> {
        prop::collection::vec((0..3usize, 0..2usize, 0..4u64, prop_oneof![Just(0i64), 1i64..400]), 1..200)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms() {
        conformance::rate_limit::suite(Arc::new(MemoryRateLimiter::default()), "memory", NOW).await;
    }

    proptest! {
        #[test]
        fn what_was_refused_leaves_no_trace(draws in draws()) {
            let (users, rooms) = (users(), rooms());
            let (all, only_admitted) = (MemoryRateLimiter::default(), MemoryRateLimiter::default());
            let mut now_ms = NOW;
            for (user, room, text_key, gap_ms) in draws {
                now_ms += gap_ms;
                let request = RateRequest {
                    user: &users[user],
                    room: &rooms[room],
                    user_rate: Rate::per_s(3),
                    slow_mode: (room == 0).then(|| Rate::every_ms(500)),
                    room_rate: Rate::per_s(4),
                    global_rate: Rate::per_s(6),
                    text_key,
                    duplicate_window_ms: 700,
                    now_ms,
                };
                if all.decide(&request).is_ok() {
                    prop_assert_eq!(only_admitted.decide(&request), Ok(()));
                }
            }
            for user in &users {
                for room in &rooms {
                    let request = |now_ms| RateRequest {
                        user, room, now_ms,
                        user_rate: Rate::per_s(3),
                        slow_mode: None,
                        room_rate: Rate::per_s(4),
                        global_rate: Rate::per_s(6),
                        text_key: 0,
                        duplicate_window_ms: 700,
                    };
                    prop_assert_eq!(all.decide(&request(now_ms)), only_admitted.decide(&request(now_ms)));
                }
            }
        }

        #[test]
        fn a_small_limiter_stays_small_and_never_refuses_a_new_user(names in prop::collection::vec("[a-z]{8}", 1..400)) {
            let limiter = MemoryRateLimiter::new(SHARDS);
            let rooms = rooms();
            for name in names {
                let user = UserId::new(&name).expect("letters");
                let request = RateRequest {
                    user: &user,
                    room: &rooms[0],
                    user_rate: Rate::per_s(1_000_000),
                    slow_mode: None,
                    room_rate: Rate::per_s(1_000_000),
                    global_rate: Rate::per_s(1_000_000),
                    text_key: limiter.hash.hash_one(&name),
                    duplicate_window_ms: 0,
                    now_ms: NOW,
                };
                prop_assert_eq!(limiter.decide(&request), Ok(()));
            }
            prop_assert!(limiter.keys() <= 4 * SHARDS);
        }
    }
}
