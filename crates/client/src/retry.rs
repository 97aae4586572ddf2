//! How long to wait before the next attempt to connect: full jitter under a ceiling that doubles, so that the viewers of a
//! node that restarts do not come back in the same instant.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Ceiling of the first wait.
const FIRST: Duration = Duration::from_secs(1);
/// Highest ceiling.
const LAST: Duration = Duration::from_secs(30);
/// From here on the ceiling is the highest one.
const FAILURES_MAX: u32 = 16;
/// Longest delay that a server may order.
const ORDERED_MAX: Duration = Duration::from_secs(60);

/// Given how many attempts have failed in a row (1, 2, …), how long to wait.
pub type RetryPolicy = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

/// The default policy: uniform between nothing and a ceiling that doubles from 1 s to 30 s.
#[must_use]
pub fn full_jitter() -> RetryPolicy {
    Arc::new(|failures| ceiling(failures).mul_f64(rand::random()))
}

fn ceiling(failures: u32) -> Duration {
    let ceilings = ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(LAST).with_factor(2.0);
    let nth = failures.clamp(1, FAILURES_MAX) as usize - 1;
    ceilings.without_max_times().build().nth(nth).unwrap_or(LAST)
}

/// A delay and up to half as much again.
pub(crate) fn spread(delay: Duration) -> Duration {
    delay.mul_f64(1.0 + rand::random::<f64>() / 2.0)
}

/// The delay that a draining server asks for in the reason of a close with 1012.
#[must_use]
pub fn ordered_delay(reason: &str) -> Option<Duration> {
    let is_number = !reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| reason.parse().map_or(ORDERED_MAX, Duration::from_millis).min(ORDERED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_its_bound_and_waits_stay_under_it() {
        let ceilings: Vec<u64> = [1, 2, 3, 5, 6, 7, 1_000, u32::MAX].map(|n| ceiling(n).as_secs()).into();
        assert_eq!(ceilings, [1, 2, 4, 16, 30, 30, 30, 30]);
        assert_eq!(ceiling(0), FIRST);
        let policy = full_jitter();
        let waits: Vec<Duration> = (0..200).map(|_| policy(3)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(4)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(1)), "no wait is short: {waits:?}");
    }

    #[test]
    fn a_server_orders_a_delay_in_digits_alone() {
        assert_eq!(ordered_delay("1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(ordered_delay("99999999999999999999999"), Some(ORDERED_MAX));
        for none in ["", "soon", "-1", "1.5", " 5"] {
            assert_eq!(ordered_delay(none), None, "{none}");
        }
    }
}
