//! The server's clock as seen from here. Each round trip bounds the difference between the two clocks by its own duration; of
//! the last eight the shortest is believed. It counts on a monotonic clock, so that setting the computer's time changes nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SAMPLES: usize = 8;

/// The server's clock.
#[derive(Debug, Clone)]
pub struct ServerClock {
    start: Instant,
    /// Server time at `start` in milliseconds, and the round trip that it comes from.
    samples: VecDeque<(f64, f64)>,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), samples: VecDeque::new() }
    }

    /// One round trip: the answer carried the server's time.
    pub(crate) fn observe(&mut self, sent: Instant, received: Instant, server_ms: i64) {
        let ms = |at: Instant| at.saturating_duration_since(self.start).as_secs_f64() * 1_000.0;
        let (sent_ms, received_ms) = (ms(sent), ms(received));
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((server_ms as f64 - f64::midpoint(sent_ms, received_ms), received_ms - sent_ms));
    }

    fn best(&self) -> Option<(f64, f64)> {
        self.samples.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Server time in Unix milliseconds; before the first sample this computer's own.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match self.best() {
            Some((offset_ms, _)) => (offset_ms + self.start.elapsed().as_secs_f64() * 1_000.0) as i64,
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64),
        }
    }

    /// How wrong [`ServerClock::now_ms`] may be; nothing before the first sample.
    #[must_use]
    pub fn error(&self) -> Option<Duration> {
        self.best().map(|(_, round_trip_ms)| Duration::from_secs_f64(round_trip_ms.max(0.0) / 2_000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_is_believed() {
        let mut clock = ServerClock::new();
        assert_eq!(clock.error(), None);
        let at = |ms: u64| clock.start + Duration::from_millis(ms);
        let (slow, fast) = ([at(0), at(4_000)], [at(100), at(110)]);
        clock.observe(slow[0], slow[1], 500_000);
        clock.observe(fast[0], fast[1], 1_000_105);
        assert_eq!(clock.error(), Some(Duration::from_millis(5)));
        assert!((1_000_000..1_005_000).contains(&clock.now_ms()), "{}", clock.now_ms());
    }
}
