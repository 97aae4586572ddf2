//! [`Gate`] in memory.

use ahash::RandomState;
use async_trait::async_trait;
use model::UserId;
use parking_lot::{Mutex, MutexGuard};

use super::SHARDS;
use super::shelf::{Lasting, Shelf};
use crate::Result;
use crate::gate::{Answer, CoolDown, Gate, Knock, LimitKey, QUIET_FACTOR, Scope};
use crate::gcra::{self, CLOCK_JITTER_MS, Rate};

/// The default bound of each kind of key. A rate costs about 40 bytes, a user with the texts
/// of the last seconds about 200, a user's refusals up to 350.
pub const KEYS_MAX: usize = 1_000_000;

/// Texts remembered of one user: what the fastest level sends in the window, with room to spare.
const TEXTS_MAX: usize = 64;

/// Rates, duplicates and cool-downs of one process; room and deployment are exact, too.
///
/// Holds at most `keys_max` of each kind: users, pairs of user and room under slow mode, users who were
/// refused, rooms and single limits. Beyond that it forgets the stalest of a few.
pub struct MemoryGate {
    hash: RandomState,
    people: Vec<Mutex<People>>,
    /// Rooms and single limits.
    limits: Vec<Mutex<Shelf<Tat>>>,
    global: Mutex<Tat>,
}

/// What is kept of the users of one shard, behind one lock, so that a user's own limits are exact.
struct People {
    users: Shelf<User>,
    slow_modes: Shelf<Tat>,
    strikes: Shelf<Strikes>,
}

/// What a key names; hashed with it, so that a user and a room of one name differ.
#[derive(Hash)]
enum Kind {
    User,
    SlowMode,
    Room,
    Single(&'static str),
}

impl Default for MemoryGate {
    fn default() -> Self {
        Self::new(KEYS_MAX)
    }
}

impl MemoryGate {
    /// An empty gate that holds at most about `keys_max` keys of each kind (at least one per shard).
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        let each = keys_max.div_ceil(SHARDS);
        Self {
            hash: RandomState::new(),
            people: (0..SHARDS).map(|_| Mutex::new(People::new(each))).collect(),
            limits: (0..SHARDS).map(|_| Mutex::new(Shelf::new(each))).collect(),
            global: Mutex::new(Tat::default()),
        }
    }

    /// How many keys it holds now, for a gauge.
    #[must_use]
    pub fn keys(&self) -> usize {
        let people = self.people.iter().map(|shard| shard.lock().len()).sum::<usize>();
        people + self.limits.iter().map(|shard| shard.lock().len()).sum::<usize>()
    }

    fn key(&self, kind: Kind, id: &str) -> u64 {
        self.hash.hash_one((kind, id))
    }

    fn pair_key(&self, kind: Kind, knock: &Knock<'_>) -> u64 {
        self.hash.hash_one((kind, knock.user.as_str(), knock.room.as_str()))
    }

    /// All or nothing: every level is asked under its lock, and only when all agree are they written.
    /// Locks are taken in one order (user, room, deployment), so no two calls wait for each other.
    fn admit(&self, knock: &Knock<'_>) -> std::result::Result<(), Answer> {
        let now_ms = knock.now_ms;
        let user_key = self.key(Kind::User, knock.user.as_str());
        let mut people = lock(&self.people, user_key);
        let People { users, slow_modes, strikes } = &mut *people;

        if let Some(retry_after_ms) = strikes.get(user_key).and_then(|strikes| strikes.mute_left_ms(now_ms)) {
            return Err(Answer::CoolingDown { retry_after_ms });
        }
        let User { rate, texts } = users.slot(user_key, now_ms);
        let user = rate.check(knock.user_rate, now_ms).map_err(|ms| (Scope::User, ms));
        let slow_mode = knock.slow_mode.map(|rate| {
            let tat = slow_modes.slot(self.pair_key(Kind::SlowMode, knock), now_ms);
            tat.check(rate, now_ms).map_err(|ms| (Scope::SlowMode, ms))
        });
        let (user, slow_mode) = both(user, slow_mode.transpose())?;
        let room_key = self.key(Kind::Room, knock.room.as_str());
        let mut rooms = lock(&self.limits, room_key);
        let room = rooms.slot(room_key, now_ms).ask(knock.room_rate, now_ms, Scope::Room)?;
        let repeat = texts.left_ms(knock.text_key, now_ms).filter(|_| knock.duplicate_window_ms > 0);
        let mut global = self.global.lock();
        let global = global.ask(knock.global_rate, now_ms, Scope::Global)?;
        if let Some(retry_after_ms) = repeat {
            return Err(Answer::Duplicate { retry_after_ms });
        }

        user.take();
        slow_mode.into_iter().for_each(Grant::take);
        room.take();
        global.take();
        if knock.duplicate_window_ms > 0 {
            texts.add(knock.text_key, Span::starting(now_ms, knock.duplicate_window_ms), now_ms);
        }
        Ok(())
    }
}

#[async_trait]
impl Gate for MemoryGate {
    async fn knock(&self, knock: Knock<'_>) -> Result<Answer> {
        Ok(self.admit(&knock).err().unwrap_or(Answer::Admitted))
    }

    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>> {
        if policy.refusals == 0 {
            return Ok(None);
        }
        let key = self.key(Kind::User, user.as_str());
        Ok(lock(&self.people, key).strikes.slot(key, now_ms).add(now_ms, policy))
    }

    async fn unsay(&self, user: &UserId, text_key: u64) -> Result<()> {
        let key = self.key(Kind::User, user.as_str());
        if let Some(user) = lock(&self.people, key).users.get_mut(key) {
            user.texts.0.retain(|(said, _)| *said != text_key);
        }
        Ok(())
    }

    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>> {
        let key = self.key(Kind::Single(key.scope), key.id);
        let mut limits = lock(&self.limits, key);
        Ok(limits.slot(key, now_ms).check(rate, now_ms).map(Grant::take))
    }

    async fn reset_user(&self, user: &UserId) -> Result<()> {
        let key = self.key(Kind::User, user.as_str());
        lock(&self.people, key).strikes.remove(key);
        Ok(())
    }
}

type Asked<T> = std::result::Result<T, (Scope, u64)>;

/// Both grants, or the refusal with the longer wait: told the shorter one, a user would come back in vain.
fn both<A, B>(a: Asked<A>, b: Asked<B>) -> std::result::Result<(A, B), Answer> {
    let refused = |(scope, retry_after_ms)| Err(Answer::Limited { scope, retry_after_ms });
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => refused(if b.1 > a.1 { b } else { a }),
        (Err(one), Ok(_)) | (Ok(_), Err(one)) => refused(one),
    }
}

fn lock<T>(shards: &[Mutex<T>], key: u64) -> MutexGuard<'_, T> {
    shards[key as usize % SHARDS].lock()
}

impl People {
    fn new(keys_max: usize) -> Self {
        Self { users: Shelf::new(keys_max), slow_modes: Shelf::new(keys_max), strikes: Shelf::new(keys_max) }
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

impl Lasting for User {
    fn until_ms(&self) -> i64 {
        self.rate.until_ms().max(self.texts.until_ms())
    }
}

/// What a user said in the last seconds, by the text's key, oldest first. A short list beside the
/// rate rather than a table of its own: it is read in the same breath, and goes with its user.
#[derive(Default)]
struct Texts(Vec<(u64, Span)>);

impl Texts {
    fn left_ms(&self, key: u64, now_ms: i64) -> Option<u64> {
        self.0.iter().filter(|(said, _)| *said == key).find_map(|(_, span)| span.left_ms(now_ms))
    }

    /// Remembers one more; the oldest goes when there are [`TEXTS_MAX`].
    fn add(&mut self, key: u64, span: Span, now_ms: i64) {
        self.0.retain(|(_, span)| span.left_ms(now_ms).is_some());
        if self.0.len() >= TEXTS_MAX {
            self.0.remove(0);
        }
        self.0.push((key, span));
    }
}

impl Lasting for Texts {
    fn until_ms(&self) -> i64 {
        self.0.iter().map(|(_, span)| span.until_ms).max().unwrap_or(i64::MIN)
    }
}

/// A theoretical arrival time.
struct Tat(i64);

/// Leave to move a TAT on, not yet made use of.
struct Grant<'a> {
    tat: &'a mut Tat,
    next_ns: i64,
}

impl Default for Tat {
    fn default() -> Self {
        Self(gcra::NEVER)
    }
}

impl Lasting for Tat {
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

    fn ask(&mut self, rate: Rate, now_ms: i64, scope: Scope) -> std::result::Result<Grant<'_>, Answer> {
        self.check(rate, now_ms).map_err(|retry_after_ms| Answer::Limited { scope, retry_after_ms })
    }
}

impl Grant<'_> {
    fn take(self) {
        self.tat.0 = self.next_ns;
    }
}

/// A stretch of time. A clock that steps back before its start ends it, rather than make it longer.
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

    /// Its end, put off by `more_ms`.
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

impl Lasting for Strikes {
    fn until_ms(&self) -> i64 {
        let counted = self.counted.iter().map(|strike| strike.until_ms).max().unwrap_or(i64::MIN);
        counted.max(self.mute.map_or(i64::MIN, |mute| doubling(mute).until_ms))
    }
}

/// The time from a cool-down's start in which another one doubles it.
fn doubling(mute: Span) -> Span {
    mute.extended(mute.length_ms().saturating_mul(QUIET_FACTOR))
}

impl Strikes {
    fn mute_left_ms(&self, now_ms: i64) -> Option<u64> {
        self.mute.and_then(|mute| mute.left_ms(now_ms))
    }

    /// Counts one; the length of the cool-down that it starts.
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

    /// One knock as drawn: user, room, text, milliseconds since the last.
    type Draw = (usize, usize, u64, i64);

    fn draws() -> impl Strategy<Value = Vec<Draw>> {
        prop::collection::vec((0..3usize, 0..2usize, 0..4u64, prop_oneof![Just(0i64), 1i64..400]), 1..200)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms() {
        conformance::gate(Arc::new(MemoryGate::default()), "memory", NOW).await;
    }

    proptest! {
        #[test]
        fn what_was_refused_leaves_no_trace(draws in draws()) {
            let (users, rooms) = (users(), rooms());
            let (all, only_admitted) = (MemoryGate::default(), MemoryGate::default());
            let mut now_ms = NOW;
            for (user, room, text_key, gap_ms) in draws {
                now_ms += gap_ms;
                let knock = Knock {
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
                if all.admit(&knock).is_ok() {
                    prop_assert_eq!(only_admitted.admit(&knock), Ok(()));
                }
            }
            for user in &users {
                for room in &rooms {
                    let knock = |now_ms| Knock {
                        user, room, now_ms,
                        user_rate: Rate::per_s(3),
                        slow_mode: None,
                        room_rate: Rate::per_s(4),
                        global_rate: Rate::per_s(6),
                        text_key: 0,
                        duplicate_window_ms: 700,
                    };
                    prop_assert_eq!(all.admit(&knock(now_ms)), only_admitted.admit(&knock(now_ms)));
                }
            }
        }

        #[test]
        fn a_small_gate_stays_small_and_never_refuses_a_newcomer(names in prop::collection::vec("[a-z]{8}", 1..400)) {
            let gate = MemoryGate::new(SHARDS);
            let rooms = rooms();
            for name in names {
                let user = UserId::new(&name).expect("letters");
                let knock = Knock {
                    user: &user,
                    room: &rooms[0],
                    user_rate: Rate::per_s(1_000_000),
                    slow_mode: None,
                    room_rate: Rate::per_s(1_000_000),
                    global_rate: Rate::per_s(1_000_000),
                    text_key: gate.hash.hash_one(&name),
                    duplicate_window_ms: 0,
                    now_ms: NOW,
                };
                prop_assert_eq!(gate.admit(&knock), Ok(()));
            }
            prop_assert!(gate.keys() <= 4 * SHARDS);
        }
    }
}
