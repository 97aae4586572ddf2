//! When a room's pending comments are emitted.
//!
//! Owned by a held [room](crate::Room), one per room. It says *when*; the room waits and emits. Never reads a clock and never
//! holds a comment.
//!
//! A batch costs every socket of the room one send, whatever its size. So waiting for more comments makes a busy room
//! cheap, and only delays a quiet one. The window therefore opens with the first comment and closes one *width* after the
//! previous batch: a quiet room's comment finds that time already past.

/// Comments that close a window early: a batch of this size gains little by growing.
pub const BATCH_MAX: usize = 100;
/// The longest a window may be set to, in milliseconds.
pub const WINDOW_MS_MAX: u32 = 100;

/// The narrowest window of a room that is not quiet.
const BUSY_MS_MIN: f64 = 10.0;
/// The widest window while the machine has time to spare.
const BUSY_MS_MAX: f64 = 40.0;
/// Comments a second at which an idle machine uses the widest of these: 40 comments to a batch.
const BUSY_RATE: f64 = 1_000.0;
/// The share of a core above which the window grows to its maximum. It grows long before the core is full, so that the
/// time it saves is still there for viewers who join.
const LOAD_HIGH: f64 = 0.2;
/// The share at which the window has reached its maximum.
const LOAD_FULL: f64 = 0.4;
/// Over how long the rate of comments is averaged.
const RATE_MS: f64 = 1_000.0;

/// The state of one room's window: what is pending, when the last batch went, how busy the room is.
#[derive(Debug, Clone)]
pub struct Window {
    window_ms_max: u32,
    pending: usize,
    /// When the oldest pending comment came.
    opened_ms: i64,
    emitted_ms: Option<i64>,
    /// Comments a second, an exponentially weighted average as of `rated_ms`.
    rate: f64,
    rated_ms: i64,
}

impl Window {
    /// A window of a room that has been quiet. `window_ms_max` above [`WINDOW_MS_MAX`] counts as that.
    #[must_use]
    pub fn new(window_ms_max: u32) -> Self {
        let window_ms_max = window_ms_max.min(WINDOW_MS_MAX);
        Self { window_ms_max, pending: 0, opened_ms: 0, emitted_ms: None, rate: 0.0, rated_ms: 0 }
    }

    /// Changes the longest wait, also for what is pending.
    pub fn set_window_ms_max(&mut self, window_ms_max: u32) {
        self.window_ms_max = window_ms_max.min(WINDOW_MS_MAX);
    }

    /// Notes that comments arrived and are pending.
    pub fn arrived(&mut self, now_ms: i64, comments: usize) {
        if comments == 0 {
            return;
        }
        if self.pending == 0 {
            self.opened_ms = now_ms;
        }
        self.pending += comments;
        self.rate = self.rate_at(now_ms) + comments as f64 * 1_000.0 / RATE_MS;
        self.rated_ms = now_ms;
    }

    /// Notes that everything pending was emitted.
    pub fn emitted(&mut self, now_ms: i64) {
        self.pending = 0;
        self.emitted_ms = Some(now_ms);
    }

    /// When the pending comments must be emitted: `None` without any, `now_ms` for at once, and never later than
    /// `window_ms_max` after the oldest of them arrived.
    ///
    /// `load` is the busiest gateway core's, 0 to 1 (not a number counts as 0). Ask again whenever comments have arrived:
    /// they may close the window.
    #[must_use]
    pub fn next_deadline_ms(&self, now_ms: i64, load: f64) -> Option<i64> {
        if self.pending == 0 {
            return None;
        }
        // A clock that stepped back makes the past unknown; then nothing is made to wait for it.
        let stepped_back = now_ms < self.opened_ms;
        if self.pending >= BATCH_MAX || stepped_back {
            return Some(now_ms);
        }
        let width_ms = self.width_ms(now_ms, load);
        let latest_ms = self.opened_ms.saturating_add(width_ms);
        let closes_ms = self.emitted_ms.map_or(self.opened_ms, |emitted_ms| emitted_ms.saturating_add(width_ms));
        Some(closes_ms.min(latest_ms).max(now_ms))
    }

    /// When the last batch went.
    #[must_use]
    pub fn emitted_ms(&self) -> Option<i64> {
        self.emitted_ms
    }

    /// Comments pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// How far apart two batches are: 10–40 ms by the room's rate or the machine's load, whichever says more, and
    /// beyond a high load up to the maximum, which also caps it.
    fn width_ms(&self, now_ms: i64, load: f64) -> i64 {
        let load = if load.is_nan() { 0.0 } else { load };
        let max_ms = f64::from(self.window_ms_max);
        let busy = (self.rate_at(now_ms) / BUSY_RATE).max(load / LOAD_HIGH);
        let full = (load - LOAD_HIGH) / (LOAD_FULL - LOAD_HIGH);
        let width_ms = lerp(BUSY_MS_MIN, BUSY_MS_MAX, busy);
        let width_ms = lerp(width_ms, max_ms.max(width_ms), full);
        width_ms.min(max_ms) as i64
    }

    fn rate_at(&self, now_ms: i64) -> f64 {
        let passed_ms = now_ms.saturating_sub(self.rated_ms).max(0);
        self.rate * (-(passed_ms as f64) / RATE_MS).exp()
    }
}

/// From `a` to `b` as `t` goes from 0 to 1; beyond these it stays.
fn lerp(a: f64, b: f64, t: f64) -> f64 {
    a + (b - a) * t.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Plays arrivals (milliseconds since the one before, comments) against a worker that is always on time.
    /// Returns the longest wait, the batches, and the largest batch.
    fn play(window_ms_max: u32, load: f64, arrivals: impl IntoIterator<Item = (i64, usize)>) -> (i64, usize, usize) {
        let mut window = Window::new(window_ms_max);
        let (mut now_ms, mut waiting_since) = (1_000_000, None);
        let (mut longest_ms, mut batches, mut largest) = (0, 0, 0);
        let mut run_until = |window: &mut Window, waiting_since: &mut Option<i64>, until_ms: i64, mut now_ms: i64| {
            while let Some(deadline_ms) = window.next_deadline_ms(now_ms, load) {
                if deadline_ms > until_ms {
                    break;
                }
                now_ms = deadline_ms;
                longest_ms = longest_ms.max(now_ms - waiting_since.take().expect("something waits"));
                batches += 1;
                largest = largest.max(window.pending());
                window.emitted(now_ms);
            }
        };
        for (gap_ms, comments) in arrivals {
            run_until(&mut window, &mut waiting_since, now_ms + gap_ms - 1, now_ms);
            now_ms += gap_ms;
            window.arrived(now_ms, comments);
            waiting_since.get_or_insert(now_ms);
        }
        run_until(&mut window, &mut waiting_since, i64::MAX, now_ms);
        (longest_ms, batches, largest)
    }

    fn steady(per_s: i64, seconds: i64) -> impl Iterator<Item = (i64, usize)> {
        (0..per_s * seconds).map(move |_| (1_000 / per_s, 1))
    }

    proptest! {
        #[test]
        fn no_comment_waits_longer_than_the_maximum(
            window_ms_max in 0..=100u32,
            load in 0.0..1.2f64,
            arrivals in prop::collection::vec((0..60i64, 1..30usize), 1..200),
        ) {
            let comments: usize = arrivals.iter().map(|arrival| arrival.1).sum();
            let (longest_ms, batches, _) = play(window_ms_max, load, arrivals);
            prop_assert!(longest_ms <= i64::from(window_ms_max));
            prop_assert!(batches >= 1 && batches <= comments);
        }

        #[test]
        fn a_clock_that_steps_never_makes_a_comment_wait(
            window_ms_max in 0..=100u32,
            steps in prop::collection::vec((-100_000..100_000i64, any::<bool>()), 1..50),
        ) {
            let mut window = Window::new(window_ms_max);
            let mut now_ms = 0;
            for (step_ms, emit) in steps {
                now_ms += step_ms;
                window.arrived(now_ms, 1);
                let deadline_ms = window.next_deadline_ms(now_ms, 0.9).expect("something is pending");
                prop_assert!((now_ms..=now_ms + i64::from(window_ms_max)).contains(&deadline_ms));
                if emit {
                    window.emitted(now_ms);
                }
            }
        }
    }

    #[test]
    fn a_quiet_room_never_waits() {
        for load in [0.0, 0.5, 1.0, f64::NAN] {
            assert_eq!(play(50, load, steady(1, 60)), (0, 60, 1));
        }
        assert_eq!(play(50, 0.0, steady(10, 10)).0, 0);
    }

    #[test]
    fn a_busy_room_shares_its_batches() {
        let (longest_ms, batches, _) = play(50, 0.0, steady(1_000, 10));
        assert!((30..=40).contains(&longest_ms), "{longest_ms}");
        assert!((240..=360).contains(&batches), "{batches}");
        let (longest_ms, ..) = play(50, 0.0, steady(200, 10));
        assert!((10..=20).contains(&longest_ms), "{longest_ms}");
    }

    #[test]
    fn a_loaded_machine_uses_the_whole_window() {
        // A comment every 2 ms: the first of each batch comes 1 or 2 ms after the batch before.
        assert_eq!([5, 50, 100].map(|window_ms_max| play(window_ms_max, 1.0, steady(500, 10)).0), [4, 48, 98]);
        assert!(play(100, LOAD_HIGH, steady(500, 10)).0 <= 40);
        assert_eq!(play(0, 1.0, steady(500, 1)), (0, 500, 1));
    }

    #[test]
    fn a_full_batch_goes_early() {
        let (_, batches, largest) = play(100, 1.0, (0..1_000).map(|_| (1, 10)));
        assert_eq!((batches, largest), (101, BATCH_MAX));
    }

    #[test]
    fn a_new_maximum_holds_at_once() {
        let mut window = Window::new(100);
        window.emitted(0);
        window.arrived(1, 1);
        assert_eq!(window.next_deadline_ms(1, 1.0), Some(100));
        window.set_window_ms_max(20);
        assert_eq!(window.next_deadline_ms(1, 1.0), Some(20));
        window.emitted(20);
        assert_eq!(window.next_deadline_ms(20, 1.0), None);
    }
}
