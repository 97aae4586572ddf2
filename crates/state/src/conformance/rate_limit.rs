//! The suite of [`RateLimiter`].
//!
//! The suite owns time: it starts at `start_ms` and goes forward day by day, so that one case leaves nothing to the next.

use std::sync::Arc;

use model::{RoomId, UserId};

use super::AWAY;
use crate::gcra::{CLOCK_JITTER_MS, Rate};
use crate::rate_limit::{CoolDown, LimitKey, QUIET_FACTOR, RateDecision, RateLimiter, RateRequest, Scope};

const DAY_MS: i64 = 86_400_000;
/// Admits whatever stricter rates the same key met before.
const PLENTY: Rate = Rate::per_s(1_000_000).burst(u32::MAX);

/// Runs every case.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn suite(limiter: Arc<dyn RateLimiter>, tag: &str, start_ms: i64) {
    let case = |name: &str, day: i64| Case::new(&limiter, tag, name, start_ms + day * DAY_MS);
    bursts_then_says_when_to_retry(case("burst", 1)).await;
    counts_a_user_over_all_rooms(case("rooms", 2)).await;
    slow_mode_is_per_user_and_room(case("slow", 3)).await;
    a_refusal_uses_nothing_up(case("nothing", 4)).await;
    the_first_that_refuses_answers(case("order", 5)).await;
    the_same_text_is_a_duplicate_for_a_while(case("text", 6)).await;
    a_duplicate_does_not_prolong_itself(case("prolong", 7)).await;
    refusals_start_a_cool_down(case("cool", 8)).await;
    cool_downs_double_and_forget(case("double", 9)).await;
    single_limits_are_apart(case("single", 40)).await;
    concurrent_requests_are_counted_exactly(case("crowd", 41)).await;
    a_clock_that_steps_back_locks_nobody_out(case("clock", 42)).await;
    what_is_taken_back_leaves_the_rates_alone(case("back", 43)).await;
}

struct Case {
    limiter: Arc<dyn RateLimiter>,
    user: UserId,
    other: UserId,
    room: RoomId,
    elsewhere: RoomId,
    now_ms: i64,
}

impl Case {
    fn new(limiter: &Arc<dyn RateLimiter>, tag: &str, name: &str, now_ms: i64) -> Self {
        let user = |who: &str| UserId::new(&format!("{tag}:{name}:{who}")).expect("a short tag");
        let room = |which: &str| RoomId::new(&format!("{tag}:{name}:{which}")).expect("a short tag");
        Self {
            limiter: limiter.clone(),
            user: user("ann"),
            other: user("bo"),
            room: room("hall"),
            elsewhere: room("attic"),
            now_ms,
        }
    }

    /// A request that meets no limit.
    fn request(&self) -> RateRequest<'_> {
        RateRequest {
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

    async fn says(&self, request: RateRequest<'_>, expected: RateDecision, why: &str) {
        assert_eq!(self.limiter.admit(request).await.expect(AWAY), expected, "{why}");
    }

    async fn admits(&self, request: RateRequest<'_>, why: &str) {
        self.says(request, RateDecision::Admitted, why).await;
    }

    async fn refuses(&self, count: u32, policy: &CoolDown, now_ms: i64) -> Option<u64> {
        let mut last = None;
        for _ in 0..count {
            assert_eq!(last, None, "a cool-down started too early");
            last = self.limiter.refused(&self.user, now_ms, policy).await.expect(AWAY);
        }
        last
    }
}

const fn limited(scope: Scope, retry_after_ms: u64) -> RateDecision {
    RateDecision::Limited { scope, retry_after_ms }
}

async fn bursts_then_says_when_to_retry(case: Case) {
    let request = RateRequest { user_rate: Rate::per_s(5), ..case.request() };
    for _ in 0..5 {
        case.admits(request, "the burst is one second's rate").await;
    }
    case.says(request, limited(Scope::User, 200), "the burst is used up").await;
    let later = |ms| RateRequest { now_ms: request.now_ms + ms, ..request };
    case.says(later(199), limited(Scope::User, 1), "a millisecond too early").await;
    case.admits(later(200), "at the time it told").await;
    case.says(later(200), limited(Scope::User, 200), "one interval, one comment").await;
    case.admits(RateRequest { user: &case.other, ..request }, "users are apart").await;
}

async fn counts_a_user_over_all_rooms(case: Case) {
    let request = RateRequest { user_rate: Rate::per_s(1), ..case.request() };
    case.admits(request, "fresh").await;
    case.says(RateRequest { room: &case.elsewhere, ..request }, limited(Scope::User, 1_000), "one user, one rate")
        .await;
}

async fn slow_mode_is_per_user_and_room(case: Case) {
    let slow = RateRequest { slow_mode: Some(Rate::every_ms(30_000)), ..case.request() };
    case.admits(slow, "fresh").await;
    case.says(slow, limited(Scope::SlowMode, 30_000), "too soon").await;
    case.admits(RateRequest { room: &case.elsewhere, ..slow }, "another room").await;
    case.admits(RateRequest { user: &case.other, ..slow }, "another user").await;
    case.admits(RateRequest { slow_mode: None, ..slow }, "whom the room's slow mode does not bind").await;
    case.says(RateRequest { now_ms: slow.now_ms + 29_999, ..slow }, limited(Scope::SlowMode, 1), "too soon").await;
    case.admits(RateRequest { now_ms: slow.now_ms + 30_000, ..slow }, "in time").await;
}

async fn a_refusal_uses_nothing_up(case: Case) {
    let once = Rate::every_ms(1_000);
    let request = RateRequest {
        user_rate: once,
        slow_mode: Some(once),
        room_rate: once,
        duplicate_window_ms: 1_000,
        ..case.request()
    };
    case.admits(RateRequest { user: &case.other, ..request }, "fills the room").await;
    case.says(request, limited(Scope::Room, 1_000), "the room is full").await;
    case.admits(RateRequest { room_rate: PLENTY, ..request }, "user, slow mode and text were given back").await;

    let later = RateRequest { now_ms: request.now_ms + 5_000, global_rate: once, ..request };
    case.admits(RateRequest { user: &case.other, ..later }, "fills the deployment").await;
    let away = RateRequest { room: &case.elsewhere, ..later };
    case.says(away, limited(Scope::Global, 1_000), "the deployment is full").await;
    case.admits(RateRequest { global_rate: PLENTY, ..away }, "user, slow mode, room and text were given back").await;

    let again = RateRequest { now_ms: away.now_ms + 5_000, ..away };
    case.admits(RateRequest { duplicate_window_ms: 10_000, ..again }, "fresh").await;
    let repeat = RateRequest { now_ms: again.now_ms + 1_000, duplicate_window_ms: 10_000, ..again };
    case.says(repeat, RateDecision::Duplicate { retry_after_ms: 9_000 }, "the same text").await;
    case.admits(RateRequest { text_key: 2, ..repeat }, "all rates were given back").await;

    // What was given back is of its moment; taken a second later it would admit one too many after that.
    let full = RateRequest { user_rate: PLENTY, slow_mode: None, now_ms: repeat.now_ms + 60_000, ..repeat };
    case.admits(full, "fresh").await;
    let repeat = RateRequest { now_ms: full.now_ms + 1_000, ..full };
    case.says(repeat, RateDecision::Duplicate { retry_after_ms: 9_000 }, "the same text").await;
    case.admits(RateRequest { text_key: 3, now_ms: repeat.now_ms + 900, ..repeat }, "within the room's rate").await;
    let soon = RateRequest { text_key: 4, now_ms: repeat.now_ms + 1_000, ..repeat };
    case.says(soon, limited(Scope::Room, 900), "nothing was kept for later").await;
}

async fn the_first_that_refuses_answers(case: Case) {
    let [user, slow, room, global] = [10_000, 20_000, 30_000, 40_000].map(Rate::every_ms);
    let all = RateRequest {
        user_rate: user,
        slow_mode: Some(slow),
        room_rate: room,
        global_rate: global,
        duplicate_window_ms: 50_000,
        ..case.request()
    };
    case.admits(all, "fresh").await;
    case.says(all, limited(Scope::SlowMode, 20_000), "of the user's own two the longer wait").await;
    case.says(RateRequest { slow_mode: None, ..all }, limited(Scope::User, 10_000), "user first").await;
    let all = RateRequest { user_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::SlowMode, 10_000), "then slow mode").await;
    let all = RateRequest { slow_mode: None, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::Room, 10_000), "then the room").await;
    let all = RateRequest { room_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, limited(Scope::Global, 10_000), "then the deployment").await;
    let all = RateRequest { global_rate: PLENTY, now_ms: all.now_ms + 10_000, ..all };
    case.says(all, RateDecision::Duplicate { retry_after_ms: 10_000 }, "then the text").await;
    let policy = CoolDown { refusals: 1, ..CoolDown::default() };
    case.refuses(1, &policy, all.now_ms).await;
    let all = RateRequest { user_rate: user, ..all };
    case.says(all, RateDecision::CoolingDown { retry_after_ms: 10_000 }, "a cool-down before all").await;
}

async fn the_same_text_is_a_duplicate_for_a_while(case: Case) {
    let request = RateRequest { duplicate_window_ms: 5_000, ..case.request() };
    let later = |ms| RateRequest { now_ms: request.now_ms + ms, ..request };
    case.admits(request, "fresh").await;
    case.admits(RateRequest { text_key: 2, ..later(1_000) }, "another text").await;
    case.says(later(2_000), RateDecision::Duplicate { retry_after_ms: 3_000 }, "also after another text").await;
    let elsewhere = RateRequest { room: &case.elsewhere, ..later(2_000) };
    case.says(elsewhere, RateDecision::Duplicate { retry_after_ms: 3_000 }, "in another room too").await;
    case.admits(RateRequest { user: &case.other, ..later(2_000) }, "another user").await;
    case.admits(RateRequest { duplicate_window_ms: 0, ..later(2_000) }, "when it is off").await;
    case.says(later(4_999), RateDecision::Duplicate { retry_after_ms: 1 }, "a millisecond too early").await;
    case.admits(later(5_000), "when the window ends").await;
    case.limiter.take_back(&case.user, request.text_key, None).await.expect(AWAY);
    case.admits(later(5_001), "when it was refused later").await;
    case.limiter.take_back(&case.other, 99, Some(&case.elsewhere)).await.expect(AWAY);
}

async fn what_is_taken_back_leaves_the_rates_alone(case: Case) {
    let slow_mode = Some(Rate::every_ms(30_000));
    let first = RateRequest { slow_mode, user_rate: Rate::per_s(1), ..case.request() };
    case.admits(first, "fresh").await;
    case.limiter.take_back(&case.user, first.text_key, Some(&case.room)).await.expect(AWAY);
    case.says(first, limited(Scope::User, 1_000), "the rate stays used up").await;
    let again = RateRequest { now_ms: first.now_ms + 1_000, ..first };
    case.admits(again, "slow mode does not").await;
    case.limiter.take_back(&case.user, first.text_key, Some(&case.elsewhere)).await.expect(AWAY);
    case.limiter.take_back(&case.user, first.text_key, None).await.expect(AWAY);
    let later = RateRequest { now_ms: again.now_ms + 1_000, ..first };
    case.says(later, limited(Scope::SlowMode, 29_000), "only where it was counted").await;
}

async fn a_duplicate_does_not_prolong_itself(case: Case) {
    let request = RateRequest { duplicate_window_ms: 5_000, ..case.request() };
    case.admits(request, "fresh").await;
    for ms in [1_000, 3_000, 4_000] {
        let left = RateDecision::Duplicate { retry_after_ms: 5_000 - ms };
        case.says(
            RateRequest { now_ms: request.now_ms.saturating_add_unsigned(ms), ..request },
            left,
            "measured from the first",
        )
        .await;
    }
    case.admits(RateRequest { now_ms: request.now_ms + 5_000, ..request }, "when the window ends").await;
}

async fn refusals_start_a_cool_down(case: Case) {
    let policy = CoolDown::default();
    let now_ms = case.now_ms;
    for n in 0..30 {
        let spread = case.limiter.refused(&case.user, now_ms + n * 1_112, &policy).await.expect(AWAY);
        assert_eq!(spread, None, "nine in any ten seconds are not ten");
    }
    let now_ms = now_ms + 60_000;
    assert_eq!(case.refuses(9, &policy, now_ms).await, None, "nine are not enough");
    let at = RateRequest { now_ms: now_ms + 9_999, ..case.request() };
    case.admits(at, "nine do not mute").await;
    assert_eq!(case.refuses(1, &policy, at.now_ms).await, Some(10_000), "the tenth within ten seconds mutes");
    case.says(at, RateDecision::CoolingDown { retry_after_ms: 10_000 }, "muted in every room").await;
    case.admits(RateRequest { user: &case.other, ..at }, "others are not").await;
    for _ in 0..20 {
        assert_eq!(case.refuses(1, &policy, at.now_ms + 9_999).await, None, "what comes meanwhile does not count");
    }
    case.says(
        RateRequest { now_ms: at.now_ms + 9_999, ..at },
        RateDecision::CoolingDown { retry_after_ms: 1 },
        "to its end",
    )
    .await;
    case.admits(RateRequest { now_ms: at.now_ms + 10_000, ..at }, "and not longer").await;
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

    case.limiter.reset_user(&case.user).await.expect(AWAY);
    let at = RateRequest { now_ms: now_ms + 10_000, ..case.request() };
    case.admits(at, "lifted").await;
    assert_eq!(case.refuses(3, &policy, at.now_ms).await, Some(10_000), "a lifted cool-down is forgotten whole");
}

async fn single_limits_are_apart(case: Case) {
    let rate = Rate::per_s(20).burst(100);
    let ask = async |scope, id, ms| {
        let key = LimitKey { scope, id };
        case.limiter.allow(key, rate, case.now_ms + ms).await.expect(AWAY)
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
    assert_eq!(ask("chat", id, 50).await, Err(50), "used up again");
    case.limiter.forget(LimitKey { scope: "chat", id }).await.expect(AWAY);
    assert_eq!(ask("chat", id, 50).await, Ok(()), "forgotten");
    case.admits(RateRequest { now_ms: case.now_ms + 50, ..case.request() }, "comments have their own").await;
}

async fn concurrent_requests_are_counted_exactly(case: Case) {
    let case = Arc::new(case);
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(crowd(case.clone()))).collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("no panic");
    }
    assert_eq!(admitted, 37, "a user's burst is exact under concurrency");
}

/// How many of ten requests were admitted.
async fn crowd(case: Arc<Case>) -> usize {
    let mut admitted = 0;
    for _ in 0..10 {
        let request = RateRequest { user_rate: Rate::per_s(37), ..case.request() };
        admitted += usize::from(case.limiter.admit(request).await.expect(AWAY) == RateDecision::Admitted);
        tokio::task::yield_now().await;
    }
    admitted
}

async fn a_clock_that_steps_back_locks_nobody_out(case: Case) {
    let rate = Rate::per_s(2);
    let request = RateRequest { user_rate: rate, duplicate_window_ms: 5_000, ..case.request() };
    case.admits(request, "fresh").await;
    case.refuses(1, &CoolDown { refusals: 1, ..CoolDown::default() }, request.now_ms).await;
    let hour_ago = request.now_ms - 3_600_000;
    let mut waited_ms = 0;
    while let RateDecision::Limited { retry_after_ms, .. }
    | RateDecision::CoolingDown { retry_after_ms }
    | RateDecision::Duplicate { retry_after_ms } =
        case.limiter.admit(RateRequest { now_ms: hour_ago + waited_ms, ..request }).await.expect(AWAY)
    {
        waited_ms += retry_after_ms.cast_signed();
        assert!(waited_ms <= 1_000 + 4 * CLOCK_JITTER_MS, "locked out for {waited_ms} ms");
    }
}
