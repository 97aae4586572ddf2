//! What every backend of this crate's ports must pass, unchanged.
//!
//! Called from tests only; a failure panics with the sentence that was broken. The suite owns time: it
//! starts at `start_ms` and goes forward day by day, so that one case leaves nothing to the next. `tag`
//! keeps two runs on one shared backend apart. Needs a runtime with several threads.

mod boards;

use std::sync::Arc;
use std::time::Duration;

use model::{RoomId, Snowflake, UserId};

pub use self::boards::boards;
use crate::gate::{Answer, CoolDown, Gate, Knock, LimitKey, QUIET_FACTOR, Scope};
use crate::gcra::{CLOCK_JITTER_MS, Rate};
use crate::presence::Presence;
use crate::reservations::{FirstAnswer, IN_FLIGHT_MS, Reservations, Reserved};

const DAY_MS: i64 = 86_400_000;
/// Admits whatever stricter rates the same key met before.
const PLENTY: Rate = Rate::per_s(1_000_000).burst(u32::MAX);
const AWAY: &str = "the backend is there";

/// The suite of [`Gate`].
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn gate(gate: Arc<dyn Gate>, tag: &str, start_ms: i64) {
    let case = |name: &str, day: i64| Case::new(&gate, tag, name, start_ms + day * DAY_MS);
    bursts_then_tells_when(case("burst", 1)).await;
    counts_a_user_over_all_rooms(case("rooms", 2)).await;
    slow_mode_is_per_user_and_room(case("slow", 3)).await;
    a_refusal_uses_nothing_up(case("nothing", 4)).await;
    the_first_that_refuses_answers(case("order", 5)).await;
    the_same_text_is_a_duplicate_for_a_while(case("text", 6)).await;
    a_duplicate_does_not_prolong_itself(case("prolong", 7)).await;
    refusals_start_a_cool_down(case("cool", 8)).await;
    cool_downs_double_and_forget(case("double", 9)).await;
    single_limits_are_apart(case("single", 40)).await;
    concurrent_knocks_are_counted_exactly(case("crowd", 41)).await;
    a_clock_that_steps_back_locks_nobody_out(case("clock", 42)).await;
}

struct Case {
    gate: Arc<dyn Gate>,
    user: UserId,
    other: UserId,
    room: RoomId,
    elsewhere: RoomId,
    now_ms: i64,
}

impl Case {
    fn new(gate: &Arc<dyn Gate>, tag: &str, name: &str, now_ms: i64) -> Self {
        let user = |who: &str| UserId::new(&format!("{tag}:{name}:{who}")).expect("a short tag");
        let room = |which: &str| RoomId::new(&format!("{tag}:{name}:{which}")).expect("a short tag");
        Self {
            gate: gate.clone(),
            user: user("ann"),
            other: user("bo"),
            room: room("hall"),
            elsewhere: room("attic"),
            now_ms,
        }
    }

    /// A knock that meets no limit.
    fn knock(&self) -> Knock<'_> {
        Knock {
            user: &self.user,
            room: &self.room,
            user_rate: PLENTY,
            slow_mode: None,
            room_rate: PLENTY,
            global_rate: PLENTY,
            text_key: 1,
            duplicate_window_ms: 0,
            now_ms: self.now_ms,
        }
    }

    async fn says(&self, knock: Knock<'_>, expected: Answer, why: &str) {
        assert_eq!(self.gate.knock(knock).await.expect(AWAY), expected, "{why}");
    }

    async fn admits(&self, knock: Knock<'_>, why: &str) {
        self.says(knock, Answer::Admitted, why).await;
    }

    async fn refuses(&self, count: u32, policy: &CoolDown, now_ms: i64) -> Option<u64> {
        let mut last = None;
        for _ in 0..count {
            assert_eq!(last, None, "a cool-down started too early");
            last = self.gate.refused(&self.user, now_ms, policy).await.expect(AWAY);
        }
        last
    }
}

const fn limited(scope: Scope, retry_after_ms: u64) -> Answer {
    Answer::Limited { scope, retry_after_ms }
}

async fn bursts_then_tells_when(case: Case) {
    let knock = Knock { user_rate: Rate::per_s(5), ..case.knock() };
    for _ in 0..5 {
        case.admits(knock, "the burst is one second's rate").await;
    }
    case.says(knock, limited(Scope::User, 200), "the burst is used up").await;
    let later = |ms| Knock { now_ms: knock.now_ms + ms, ..knock };
    case.says(later(199), limited(Scope::User, 1), "a millisecond too early").await;
    case.admits(later(200), "at the time it told").await;
    case.says(later(200), limited(Scope::User, 200), "one interval, one comment").await;
    case.admits(Knock { user: &case.other, ..knock }, "users are apart").await;
}

async fn counts_a_user_over_all_rooms(case: Case) {
    let knock = Knock { user_rate: Rate::per_s(1), ..case.knock() };
    case.admits(knock, "fresh").await;
    case.says(Knock { room: &case.elsewhere, ..knock }, limited(Scope::User, 1_000), "one user, one rate").await;
}

async fn slow_mode_is_per_user_and_room(case: Case) {
    let slow = Knock { slow_mode: Some(Rate::every_ms(30_000)), ..case.knock() };
    case.admits(slow, "fresh").await;
    case.says(slow, limited(Scope::SlowMode, 30_000), "too soon").await;
    case.admits(Knock { room: &case.elsewhere, ..slow }, "another room").await;
    case.admits(Knock { user: &case.other, ..slow }, "another user").await;
    case.admits(Knock { slow_mode: None, ..slow }, "whom the room's slow mode does not bind").await;
    case.says(Knock { now_ms: slow.now_ms + 29_999, ..slow }, limited(Scope::SlowMode, 1), "too soon").await;
    case.admits(Knock { now_ms: slow.now_ms + 30_000, ..slow }, "in time").await;
}

async fn a_refusal_uses_nothing_up(case: Case) {
    let once = Rate::every_ms(1_000);
    let knock =
        Knock { user_rate: once, slow_mode: Some(once), room_rate: once, duplicate_window_ms: 1_000, ..case.knock() };
    case.admits(Knock { user: &case.other, ..knock }, "fills the room").await;
    case.says(knock, limited(Scope::Room, 1_000), "the room is full").await;
    case.admits(Knock { room_rate: PLENTY, ..knock }, "user, slow mode and text were given back").await;

    let later = Knock { now_ms: knock.now_ms + 5_000, global_rate: once, ..knock };
    case.admits(Knock { user: &case.other, ..later }, "fills the deployment").await;
    let away = Knock { room: &case.elsewhere, ..later };
    case.says(away, limited(Scope::Global, 1_000), "the deployment is full").await;
    case.admits(Knock { global_rate: PLENTY, ..away }, "user, slow mode, room and text were given back").await;

    let again = Knock { now_ms: away.now_ms + 5_000, ..away };
    case.admits(Knock { duplicate_window_ms: 10_000, ..again }, "fresh").await;
    let repeat = Knock { now_ms: again.now_ms + 1_000, duplicate_window_ms: 10_000, ..again };
    case.says(repeat, Answer::Duplicate { retry_after_ms: 9_000 }, "the same text").await;
    case.admits(Knock { text_key: 2, ..repeat }, "all rates were given back").await;

    // What was given back is of its moment; taken a second later it would admit one too many after that.
    let full = Knock { user_rate: PLENTY, slow_mode: None, now_ms: repeat.now_ms + 60_000, ..repeat };
    case.admits(full, "fresh").await;
    let repeat = Knock { now_ms: full.now_ms + 1_000, ..full };
    case.says(repeat, Answer::Duplicate { retry_after_ms: 9_000 }, "the same text").await;
    case.admits(Knock { text_key: 3, now_ms: repeat.now_ms + 900, ..repeat }, "within the room's rate").await;
    let soon = Knock { text_key: 4, now_ms: repeat.now_ms + 1_000, ..repeat };
    case.says(soon, limited(Scope::Room, 900), "nothing was kept for later").await;
}

async fn the_first_that_refuses_answers(case: Case) {
    let [user, slow, room, global] = [10_000, 20_000, 30_000, 40_000].map(Rate::every_ms);
    let all = Knock {
        user_rate: user,
        slow_mode: Some(slow),
        room_rate: room,
        global_rate: global,
        duplicate_window_ms: 50_000,
        ..case.knock()
    };
    case.admits(all, "fresh").await;
    case.says(all, limited(Scope::SlowMode, 20_000), "of the user's own two the longer wait").await;
    case.says(Knock { slow_mode: None, ..all }, limited(Scope::User, 10_000), "user first").await;
    let all = Knock { user_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::SlowMode, 10_000), "then slow mode").await;
    let all = Knock { slow_mode: None, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::Room, 10_000), "then the room").await;
    let all = Knock { room_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::Global, 10_000), "then the deployment").await;
    let all = Knock { global_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, Answer::Duplicate { retry_after_ms: 10_000 }, "then the text").await;
    let policy = CoolDown { refusals: 1, ..CoolDown::default() };
    case.refuses(1, &policy, all.now_ms).await;
    let all = Knock { user_rate: user, ..all };
    case.says(all, Answer::CoolingDown { retry_after_ms: 10_000 }, "a cool-down before all").await;
}

async fn the_same_text_is_a_duplicate_for_a_while(case: Case) {
    let knock = Knock { duplicate_window_ms: 5_000, ..case.knock() };
    let later = |ms| Knock { now_ms: knock.now_ms + ms, ..knock };
    case.admits(knock, "fresh").await;
    case.admits(Knock { text_key: 2, ..later(1_000) }, "another text").await;
    case.says(later(2_000), Answer::Duplicate { retry_after_ms: 3_000 }, "also after another text").await;
    let elsewhere = Knock { room: &case.elsewhere, ..later(2_000) };
    case.says(elsewhere, Answer::Duplicate { retry_after_ms: 3_000 }, "in another room too").await;
    case.admits(Knock { user: &case.other, ..later(2_000) }, "another user").await;
    case.admits(Knock { duplicate_window_ms: 0, ..later(2_000) }, "when it is off").await;
    case.says(later(4_999), Answer::Duplicate { retry_after_ms: 1 }, "a millisecond too early").await;
    case.admits(later(5_000), "when the window ends").await;
    case.gate.unsay(&case.user, knock.text_key).await.expect(AWAY);
    case.admits(later(5_001), "when it could not be kept").await;
    case.gate.unsay(&case.other, 99).await.expect(AWAY);
}

async fn a_duplicate_does_not_prolong_itself(case: Case) {
    let knock = Knock { duplicate_window_ms: 5_000, ..case.knock() };
    case.admits(knock, "fresh").await;
    for ms in [1_000, 3_000, 4_000] {
        let left = Answer::Duplicate { retry_after_ms: 5_000 - ms };
        case.says(Knock { now_ms: knock.now_ms.saturating_add_unsigned(ms), ..knock }, left, "measured from the first")
            .await;
    }
    case.admits(Knock { now_ms: knock.now_ms + 5_000, ..knock }, "when the window ends").await;
}

async fn refusals_start_a_cool_down(case: Case) {
    let policy = CoolDown::default();
    let now_ms = case.now_ms;
    for n in 0..30 {
        let spread = case.gate.refused(&case.user, now_ms + n * 1_112, &policy).await.expect(AWAY);
        assert_eq!(spread, None, "nine in any ten seconds are not ten");
    }
    let now_ms = now_ms + 60_000;
    assert_eq!(case.refuses(9, &policy, now_ms).await, None, "nine are not enough");
    let at = Knock { now_ms: now_ms + 9_999, ..case.knock() };
    case.admits(at, "nine do not mute").await;
    assert_eq!(case.refuses(1, &policy, at.now_ms).await, Some(10_000), "the tenth within ten seconds mutes");
    case.says(at, Answer::CoolingDown { retry_after_ms: 10_000 }, "muted in every room").await;
    case.admits(Knock { user: &case.other, ..at }, "others are not").await;
    for _ in 0..20 {
        assert_eq!(case.refuses(1, &policy, at.now_ms + 9_999).await, None, "what comes meanwhile does not count");
    }
    case.says(Knock { now_ms: at.now_ms + 9_999, ..at }, Answer::CoolingDown { retry_after_ms: 1 }, "to its end").await;
    case.admits(Knock { now_ms: at.now_ms + 10_000, ..at }, "and not longer").await;
    assert_eq!(case.refuses(9, &policy, at.now_ms + 10_000).await, None, "counting starts anew");
    let off = CoolDown { refusals: 0, ..policy };
    for _ in 0..20 {
        assert_eq!(case.refuses(1, &off, at.now_ms + 10_000).await, None, "zero is off");
    }
}

async fn cool_downs_double_and_forget(case: Case) {
    let policy = CoolDown { refusals: 3, within_ms: 1_000, mute_ms: 10_000, mute_ms_max: 35_000 };
    let mut now_ms = case.now_ms;
    for expected in [10_000, 20_000, 35_000, 35_000] {
        assert_eq!(case.refuses(3, &policy, now_ms).await, Some(expected), "each twice the last, to the maximum");
        now_ms = now_ms.saturating_add_unsigned(expected);
    }
    now_ms = now_ms.saturating_add_unsigned(QUIET_FACTOR * 35_000 - 1);
    assert_eq!(case.refuses(3, &policy, now_ms).await, Some(35_000), "not yet quiet for long enough");
    now_ms = now_ms.saturating_add_unsigned((QUIET_FACTOR + 1) * 35_000);
    assert_eq!(case.refuses(3, &policy, now_ms).await, Some(10_000), "quiet for long enough");
    assert_eq!(case.refuses(3, &policy, now_ms + 10_000).await, Some(20_000), "and doubling again");

    case.gate.reset_user(&case.user).await.expect(AWAY);
    let at = Knock { now_ms: now_ms + 10_000, ..case.knock() };
    case.admits(at, "lifted").await;
    assert_eq!(case.refuses(3, &policy, at.now_ms).await, Some(10_000), "a lifted cool-down is forgotten whole");
}

async fn single_limits_are_apart(case: Case) {
    let rate = Rate::per_s(20).burst(100);
    let ask = async |scope, id, ms| {
        let key = LimitKey { scope, id };
        case.gate.allow(key, rate, case.now_ms + ms).await.expect(AWAY)
    };
    let id = case.user.as_str();
    for _ in 0..100 {
        assert_eq!(ask("chat", id, 0).await, Ok(()), "the burst given");
    }
    assert_eq!(ask("chat", id, 0).await, Err(50), "one interval to wait");
    assert_eq!(ask("chat", id, 49).await, Err(1), "a millisecond too early");
    assert_eq!(ask("chat", id, 50).await, Ok(()), "at the time it told");
    assert_eq!(ask("like", id, 50).await, Ok(()), "another scope");
    assert_eq!(ask("chat", case.other.as_str(), 50).await, Ok(()), "another id");
    case.admits(Knock { now_ms: case.now_ms + 50, ..case.knock() }, "comments have their own").await;
}

async fn concurrent_knocks_are_counted_exactly(case: Case) {
    let case = Arc::new(case);
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(crowd(case.clone()))).collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("no panic");
    }
    assert_eq!(admitted, 37, "a user's burst is exact under concurrency");
}

/// How many of ten knocks were admitted.
async fn crowd(case: Arc<Case>) -> usize {
    let mut admitted = 0;
    for _ in 0..10 {
        let knock = Knock { user_rate: Rate::per_s(37), ..case.knock() };
        admitted += usize::from(case.gate.knock(knock).await.expect(AWAY) == Answer::Admitted);
        tokio::task::yield_now().await;
    }
    admitted
}

async fn a_clock_that_steps_back_locks_nobody_out(case: Case) {
    let rate = Rate::per_s(2);
    let knock = Knock { user_rate: rate, duplicate_window_ms: 5_000, ..case.knock() };
    case.admits(knock, "fresh").await;
    case.refuses(1, &CoolDown { refusals: 1, ..CoolDown::default() }, knock.now_ms).await;
    let hour_ago = knock.now_ms - 3_600_000;
    let mut waited_ms = 0;
    while let Answer::Limited { retry_after_ms, .. }
    | Answer::CoolingDown { retry_after_ms }
    | Answer::Duplicate { retry_after_ms } =
        case.gate.knock(Knock { now_ms: hour_ago + waited_ms, ..knock }).await.expect(AWAY)
    {
        waited_ms += retry_after_ms.cast_signed();
        assert!(waited_ms <= 1_000 + 4 * CLOCK_JITTER_MS, "locked out for {waited_ms} ms");
    }
}

/// The suite of [`Presence`], as one process sees it.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn presence(presence: Arc<dyn Presence>, tag: &str, now_ms: i64) {
    let user = |who: &str| UserId::new(&format!("{tag}:here:{who}")).expect("a short tag");
    let (ann, bo, cy) = (user("ann"), user("bo"), user("cy"));
    let here = async |expected: [bool; 3], why: &str| {
        let asked = [ann.clone(), bo.clone(), cy.clone()];
        assert_eq!(presence.online(&asked, now_ms).await.expect(AWAY), expected, "{why}");
    };
    here([false; 3], "nobody is here who never came").await;
    assert!(!presence.leave(&ann, 1, now_ms).await.expect(AWAY), "who was not here does not go");
    assert!(presence.enter(&ann, 1, now_ms).await.expect(AWAY), "the first socket is a coming");
    assert!(!presence.enter(&ann, 2, now_ms).await.expect(AWAY), "the second is none");
    presence.enter(&ann, 2, now_ms).await.expect(AWAY);
    assert!(presence.enter(&cy, 3, now_ms).await.expect(AWAY));
    here([true, false, true], "in the order that was asked for").await;
    assert!(presence.renew(now_ms).await.expect(AWAY).is_empty(), "of those who are here nobody went");
    assert!(!presence.leave(&ann, 1, now_ms).await.expect(AWAY), "one of two sockets is no going");
    assert!(presence.leave(&ann, 2, now_ms).await.expect(AWAY), "the last one is");
    assert!(!presence.leave(&ann, 2, now_ms).await.expect(AWAY), "once");
    here([false, false, true], "who left").await;
    assert!(presence.enter(&ann, 4, now_ms).await.expect(AWAY), "and comes again");
    a_crowd_of_sockets(presence, bo, now_ms).await;
}

/// Sockets of one user that come and go at once are one coming and one going.
async fn a_crowd_of_sockets(presence: Arc<dyn Presence>, user: UserId, now_ms: i64) {
    for came in [true, false] {
        let sockets = (0..50u64).map(|socket| {
            let (presence, user) = (presence.clone(), user.clone());
            tokio::spawn(async move {
                match came {
                    true => presence.enter(&user, socket, now_ms).await.expect(AWAY),
                    false => presence.leave(&user, socket, now_ms).await.expect(AWAY),
                }
            })
        });
        let mut changes = 0;
        for socket in sockets.collect::<Vec<_>>() {
            changes += usize::from(socket.await.expect("no panic"));
        }
        assert_eq!(changes, 1, "one of a crowd is the first, one the last");
        assert_eq!(presence.online(std::slice::from_ref(&user), now_ms).await, Ok(vec![came]));
    }
}

/// The suite of [`Reservations`].
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn reservations(port: Arc<dyn Reservations>, tag: &str, now_ms: i64) {
    let user = |name: &str| UserId::new(&format!("{tag}:{name}")).expect("a short tag");
    let of = |name: &str| Sender { port: port.clone(), user: user(name), now_ms };
    a_retry_gets_the_first_answer(of("retry"), of("other")).await;
    a_released_key_starts_fresh(of("release")).await;
    an_abandoned_key_runs_out(of("abandon")).await;
    the_first_answer_stands(of("first")).await;
    who_waits_is_answered(of("wait")).await;
    who_waits_in_vain_is_told(of("vain")).await;
    one_of_a_crowd_is_new(of("crowd")).await;
}

#[derive(Clone)]
struct Sender {
    port: Arc<dyn Reservations>,
    user: UserId,
    now_ms: i64,
}

const KEY: &str = "00000000-0000-4000-8000-000000000000 弹幕";

impl Sender {
    async fn reserve(&self, id: u64) -> Reserved {
        self.reserve_at(id, self.now_ms).await
    }

    async fn reserve_at(&self, id: u64, now_ms: i64) -> Reserved {
        self.reserve_key(KEY, id, now_ms).await
    }

    /// Whom a backend has asked is its own affair.
    async fn reserve_key(&self, key: &str, id: u64, now_ms: i64) -> Reserved {
        match self.port.reserve(&self.user, key, Snowflake(id), now_ms).await.expect(AWAY) {
            Reserved::NewEverywhere => Reserved::New,
            reserved => reserved,
        }
    }

    async fn finish(&self, id: u64) -> FirstAnswer {
        let answer =
            FirstAnswer { id: Snowflake(id), pending_review: id.is_multiple_of(2), created_at_ms: self.now_ms };
        self.port.finish(&self.user, KEY, answer).await.expect(AWAY);
        answer
    }

    async fn release(&self, id: u64) {
        self.port.release(&self.user, KEY, Snowflake(id)).await.expect(AWAY);
    }

    async fn wait(&self, ms: u64) -> Option<FirstAnswer> {
        self.port.wait(&self.user, KEY, Duration::from_millis(ms)).await.expect(AWAY)
    }
}

async fn a_retry_gets_the_first_answer(sender: Sender, other: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve(2).await, Reserved::InFlight(Snowflake(1)));
    let answer = sender.finish(1).await;
    assert_eq!(sender.reserve(3).await, Reserved::Known(answer));
    assert_eq!(other.reserve(4).await, Reserved::New, "each user's keys are apart");
    assert_eq!(sender.reserve_key("other", 5, sender.now_ms).await, Reserved::New);
    let late = sender.reserve_at(6, sender.now_ms + 10 * IN_FLIGHT_MS).await;
    assert_eq!(late, Reserved::Known(answer), "an answer outlives the reservation");
}

async fn a_released_key_starts_fresh(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    sender.release(2).await;
    assert_eq!(sender.reserve(2).await, Reserved::InFlight(Snowflake(1)), "only its owner releases it");
    sender.release(1).await;
    assert_eq!(sender.reserve(2).await, Reserved::New);
    let answer = sender.finish(2).await;
    sender.release(2).await;
    assert_eq!(sender.reserve(3).await, Reserved::Known(answer), "an answer is not released");
}

async fn an_abandoned_key_runs_out(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve_at(2, sender.now_ms + IN_FLIGHT_MS - 1).await, Reserved::InFlight(Snowflake(1)));
    assert_eq!(sender.reserve_at(3, sender.now_ms + IN_FLIGHT_MS).await, Reserved::New);
    assert_eq!(sender.reserve_at(4, sender.now_ms + IN_FLIGHT_MS).await, Reserved::InFlight(Snowflake(3)));
}

async fn the_first_answer_stands(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.reserve_at(2, sender.now_ms + IN_FLIGHT_MS).await, Reserved::New);
    let first = sender.finish(1).await;
    sender.finish(2).await;
    assert_eq!(sender.reserve(3).await, Reserved::Known(first));
}

async fn who_waits_is_answered(sender: Sender) {
    assert_eq!(sender.reserve(1).await, Reserved::New);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.wait(20_000).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let answer = sender.finish(1).await;
    for waiter in waiting {
        assert_eq!(waiter.await.expect("no panic"), Some(answer));
    }
    assert_eq!(sender.wait(20_000).await, Some(answer), "who comes late is answered at once");
}

async fn who_waits_in_vain_is_told(sender: Sender) {
    assert_eq!(sender.wait(20_000).await, None, "nothing is in flight");
    assert_eq!(sender.reserve(1).await, Reserved::New);
    assert_eq!(sender.wait(5).await, None, "no answer in time");
    let (answer, ()) = tokio::join!(sender.wait(20_000), sender.release(1));
    assert_eq!(answer, None, "released");
}

async fn one_of_a_crowd_is_new(sender: Sender) {
    let crowd: Vec<_> = (1..=64)
        .map(|id| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.reserve(id).await })
        })
        .collect();
    let mut new = 0;
    for one in crowd {
        new += usize::from(one.await.expect("no panic") == Reserved::New);
    }
    assert_eq!(new, 1, "exactly one goes on");
}
