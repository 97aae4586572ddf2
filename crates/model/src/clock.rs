//! Time as a parameter: rules take `now_ms`, tasks take a [`Clock`], tests advance a [`ManualClock`].

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time in Unix milliseconds. It may step backwards; code that needs an order keeps its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;
}

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// The system's time when this process first asked, plus the time that has passed since. It never steps, and all
/// instances in a process agree.
#[derive(Debug, Default, Clone, Copy)]
pub struct SteadyClock;

impl Clock for SteadyClock {
    fn now_ms(&self) -> i64 {
        static BEGUN: LazyLock<(i64, Instant)> = LazyLock::new(|| (SystemClock.now_ms(), Instant::now()));
        let (begun_ms, begun) = *BEGUN;
        begun_ms.saturating_add(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is advanced, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock standing at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Advances the clock by `delta_ms`, which may be negative.
    pub fn advance(&self, delta_ms: i64) {
        self.0.fetch_add(delta_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// RFC 3339 in UTC with milliseconds, as every `created_at` on the wire: `2026-01-31T08:00:00.123Z`.
///
/// Times outside the years that RFC 3339 can write are clamped to its ends.
#[must_use]
pub fn rfc3339_ms(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(rfc3339_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_ms(1_696_118_400_007), "2023-10-01T00:00:00.007Z");
    }

    #[test]
    fn impossible_times_are_clamped_not_fatal() {
        assert!(rfc3339_ms(i64::MAX).starts_with("9999-"));
        assert!(rfc3339_ms(i64::MIN).ends_with('Z'));
    }
}
