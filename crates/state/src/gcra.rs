//! The generic cell rate algorithm (ITU-T I.371, annex A): the pure rule behind every limit.
//!
//! A key's state is one number, its *theoretical arrival time* (TAT): the moment until which the rate is used up. Each admission
//! advances it by one interval; it may run ahead of the clock by at most the burst. Nothing here reads a clock or stores
//! anything.

/// The TAT of a key that was never seen.
pub const NEVER: i64 = i64::MIN;

/// How far two readings of one clock may differ without counting as a step: threads read it at one moment and are served at
/// another.
pub const CLOCK_JITTER_MS: i64 = 100;

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// How often something may happen: one per interval in the long run, and `burst` at once after a rest.
///
/// Intervals are whole nanoseconds, rounded up: never more than the rate, and at a million a second at most 0.1 % less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_ns: i64,
    window_ns: i64,
}

impl Rate {
    /// `n` a second, and a burst of one second's worth. Zero counts as one: a rate closes nothing.
    #[must_use]
    pub const fn per_s(n: u32) -> Self {
        let n = if n == 0 { 1 } else { n };
        Self::new(NS_PER_S.div_ceil(n as u64).cast_signed(), n)
    }

    /// One every `ms` milliseconds and no burst: slow mode. Zero counts as one.
    #[must_use]
    pub const fn every_ms(ms: u32) -> Self {
        let ms = if ms == 0 { 1 } else { ms };
        Self::new(ms as i64 * NS_PER_MS, 1)
    }

    /// `n` in a time of `ms` milliseconds, all of them at once if need be. Zero counts as one.
    #[must_use]
    pub const fn per(n: u32, ms: u32) -> Self {
        let n = if n == 0 { 1 } else { n };
        let interval_ns = (ms as u64 * NS_PER_MS.cast_unsigned()).div_ceil(n as u64);
        Self::new(if interval_ns == 0 { 1 } else { interval_ns.cast_signed() }, n)
    }

    /// The same rate with another burst: how many are admitted at once after a rest. Zero counts as one.
    #[must_use]
    pub const fn burst(self, n: u32) -> Self {
        Self::new(self.interval_ns, if n == 0 { 1 } else { n })
    }

    /// Nanoseconds between two, in the long run.
    pub(crate) const fn interval_ns(self) -> i64 {
        self.interval_ns
    }

    /// How many are admitted at once after a rest.
    pub(crate) fn bursts(self) -> u32 {
        u32::try_from(self.window_ns / self.interval_ns).unwrap_or(u32::MAX)
    }

    const fn new(interval_ns: i64, burst: u32) -> Self {
        Self { interval_ns, window_ns: interval_ns.saturating_mul(burst as i64) }
    }
}

/// The rate does not admit it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// After this many milliseconds it is admitted if nothing else was meanwhile; a millisecond earlier it is not.
    pub retry_after_ms: u64,
    /// The TAT to store. It differs from the given one only after the clock stepped back.
    pub tat_ns: i64,
}

/// Whether a key that stands at `tat_ns` (Unix nanoseconds, or [`NEVER`]) admits one more at `now_ms`
/// (Unix milliseconds); `Ok` is the TAT to keep.
///
/// A TAT further ahead than the burst means that the clock stepped back, or that the key now has a smaller rate. It then counts
/// as "the burst is just used up". So neither locks a key out for longer than its burst plus [`CLOCK_JITTER_MS`].
///
/// # Errors
/// [`Refused`] says when to try again.
pub fn check(tat_ns: i64, now_ms: i64, rate: Rate) -> Result<i64, Refused> {
    let now_ns = now_ms.saturating_mul(NS_PER_MS);
    let full_ns = now_ns.saturating_add(rate.window_ns);
    let stepped = tat_ns > full_ns.saturating_add(CLOCK_JITTER_MS * NS_PER_MS);
    let tat_ns = if stepped { full_ns } else { tat_ns };
    let next_ns = tat_ns.max(now_ns).saturating_add(rate.interval_ns);
    if next_ns <= full_ns {
        return Ok(next_ns);
    }
    let wait_ns = next_ns.abs_diff(full_ns);
    Err(Refused { retry_after_ms: wait_ns.div_ceil(NS_PER_MS.cast_unsigned()), tat_ns })
}

/// The first millisecond at which this TAT means no more than [`NEVER`].
pub(crate) const fn forgotten_at_ms(tat_ns: i64) -> i64 {
    tat_ns.div_euclid(NS_PER_MS).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    /// Asks once at each time; the times at which it was admitted.
    fn admitted(rate: Rate, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut tat = NEVER;
        let mut ask = |now: i64| match check(tat, now, rate) {
            Ok(next) => {
                tat = next;
                true
            }
            Err(refused) => {
                tat = refused.tat_ns;
                false
            }
        };
        times.into_iter().filter(|&now| ask(now)).collect()
    }

    fn any_rate() -> impl Strategy<Value = (Rate, u32)> {
        prop_oneof![
            (1u32..5_000).prop_map(|n| (Rate::per_s(n), n)),
            (1u32..100_000).prop_map(|ms| (Rate::every_ms(ms), 1)),
            ((1u32..1_000), (1u32..200)).prop_map(|(n, burst)| (Rate::per_s(n).burst(burst), burst)),
        ]
    }

    /// Times that never go back, with many askings in one millisecond.
    fn rising_times() -> impl Strategy<Value = Vec<i64>> {
        let gap = prop_oneof![4 => Just(0i64), 4 => 1i64..20, 1 => 1i64..5_000];
        prop::collection::vec(gap, 1..150).prop_map(|gaps| {
            let step = |now: &mut i64, gap| {
                *now += gap;
                Some(*now)
            };
            gaps.into_iter().scan(NOW, step).collect()
        })
    }

    proptest! {
        #[test]
        fn no_interval_holds_more_than_the_burst_and_its_share((rate, burst) in any_rate(), times in rising_times()) {
            let admitted = admitted(rate, times);
            for (i, from) in admitted.iter().enumerate() {
                for (j, to) in admitted.iter().enumerate().skip(i) {
                    let share = (to - from) * NS_PER_MS / rate.interval_ns;
                    prop_assert!((j - i + 1) as i64 <= i64::from(burst) + share);
                }
            }
        }

        #[test]
        fn retry_after_is_honest((rate, _) in any_rate(), times in rising_times()) {
            let mut tat = NEVER;
            for now in times {
                match check(tat, now, rate) {
                    Ok(next) => tat = next,
                    Err(Refused { retry_after_ms, .. }) => {
                        let then = now + retry_after_ms.cast_signed();
                        prop_assert!(check(tat, then - 1, rate).is_err());
                        prop_assert!(check(tat, then, rate).is_ok());
                    }
                }
            }
        }

        #[test]
        fn a_rest_gives_the_whole_burst_back((rate, burst) in any_rate(), times in rising_times()) {
            let rested = times.last().copied().unwrap_or(NOW) + forgotten_at_ms(rate.window_ns);
            let after = times.into_iter().chain(std::iter::repeat_n(rested, burst as usize));
            let count = admitted(rate, after).into_iter().filter(|&at| at == rested).count();
            prop_assert_eq!(count, burst as usize);
        }

        #[test]
        fn a_clock_that_steps_back_locks_nobody_out(
            (rate, _) in any_rate(), times in rising_times(), back_ms in 0i64..10_000_000, first_ms in 0i64..50,
        ) {
            let mut tat = NEVER;
            for &now in &times {
                tat = check(tat, now, rate).unwrap_or_else(|refused| refused.tat_ns);
            }
            let stepped = times.last().copied().unwrap_or(NOW) - back_ms + first_ms;
            let window_ms = rate.window_ns.div_euclid(NS_PER_MS) + 1 + CLOCK_JITTER_MS;
            let Err(refused) = check(tat, stepped, rate) else { return Ok(()) };
            prop_assert!(refused.retry_after_ms.cast_signed() <= window_ms);
            let then = stepped + refused.retry_after_ms.cast_signed();
            prop_assert!(check(refused.tat_ns, then, rate).is_ok());
        }

        #[test]
        fn no_number_overflows(tat: i64, now: i64, n: u32, burst: u32) {
            for rate in [Rate::per_s(n), Rate::every_ms(n), Rate::per_s(n).burst(burst), Rate::every_ms(n).burst(burst)] {
                let _ = check(tat, now, rate);
            }
            let _ = forgotten_at_ms(tat);
        }
    }

    #[test]
    fn threads_that_read_the_clock_a_moment_apart_gain_nothing() {
        let rate = Rate::per_s(1_000);
        let times = (0..10_000).map(|i| NOW + i64::from(i % 2 == 0));
        assert_eq!(admitted(rate, times).len(), 1_000);
    }

    #[test]
    fn the_long_run_keeps_to_the_rate() {
        for n in [1, 3, 7, 1_000, 300_000, 1_000_000] {
            let asked = (0..1_000).flat_map(|ms| std::iter::repeat_n(NOW + ms, n as usize / 500 + 1));
            let count = admitted(Rate::per_s(n).burst(1 + n / 1_000), asked).len();
            let most = n as usize + n as usize / 1_000 + 1;
            assert!(count <= most && count >= n as usize * 999 / 1_000, "{n}/s: {count}");
        }
    }
}
