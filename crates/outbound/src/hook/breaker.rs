//! The circuit breaker of the hook: after several failures in a row nothing is asked for a while, then one probe.
//!
//! Time is passed in. Owned by [`super::Hook`].

/// The longest pause between probes, in milliseconds.
const PROBE_MS_MAX: i64 = 10_000;

/// The longest pause that a service may ask for, in milliseconds.
const REST_MS_MAX: i64 = 60_000;

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Ask.
    Closed,
    /// Ask once; whether that answers decides.
    Probe,
    /// Do not ask.
    Open,
}

#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    probe_ms: i64,
    failures: u32,
    /// The pause in force, and its end; `None` while closed.
    open: Option<(i64, i64)>,
    probing: bool,
}

impl Breaker {
    pub fn new(failures_max: u32, probe_ms: i64) -> Self {
        Self { failures_max, probe_ms, failures: 0, open: None, probing: false }
    }

    pub fn pass(&mut self, now_ms: i64) -> Pass {
        match self.open {
            None => Pass::Closed,
            // A clock that stepped back by hours must not keep it open for hours.
            Some((pause_ms, until_ms)) if !self.probing && (now_ms >= until_ms || now_ms + pause_ms < until_ms) => {
                self.probing = true;
                Pass::Probe
            }
            Some(_) => Pass::Open,
        }
    }

    pub fn answered(&mut self) {
        (self.failures, self.open, self.probing) = (0, None, false);
    }

    pub fn failed(&mut self, now_ms: i64) {
        self.failures += 1;
        self.open = match self.open {
            Some((pause_ms, _)) if self.probing => {
                let pause_ms = (pause_ms * 2).min(PROBE_MS_MAX);
                Some((pause_ms, now_ms + pause_ms))
            }
            None if self.failures >= self.failures_max => Some((self.probe_ms, now_ms + self.probe_ms)),
            open => open,
        };
        self.probing = false;
    }

    /// The service asked for a pause of this length. Asked for too long a one, it is probed before.
    pub fn rest(&mut self, pause_ms: i64, now_ms: i64) {
        let pause_ms = pause_ms.clamp(1, REST_MS_MAX);
        (self.open, self.probing) = (Some((pause_ms, now_ms + pause_ms)), false);
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_probes_with_doubling_pauses_and_closes() {
        let mut breaker = Breaker::new(3, 1_000);
        for now_ms in [0, 1] {
            breaker.failed(now_ms);
            assert_eq!(breaker.pass(now_ms), Pass::Closed);
        }
        breaker.failed(2);
        assert_eq!(
            (breaker.pass(500), breaker.pass(1_002), breaker.pass(1_003)),
            (Pass::Open, Pass::Probe, Pass::Open)
        );
        breaker.failed(1_010);
        assert_eq!((breaker.pass(3_009), breaker.pass(3_010)), (Pass::Open, Pass::Probe));
        for now_ms in [10_000, 30_000, 60_000] {
            breaker.failed(now_ms);
            breaker.pass(now_ms + 10_000);
        }
        assert_eq!(breaker.open.map(|(pause_ms, _)| pause_ms), Some(PROBE_MS_MAX));
        breaker.answered();
        assert_eq!((breaker.pass(70_001), breaker.is_open()), (Pass::Closed, false));
        breaker.failed(70_002);
        assert_eq!(breaker.pass(70_003), Pass::Closed, "failures are counted anew");
    }

    #[test]
    fn a_service_that_asks_for_a_pause_gets_it() {
        let mut breaker = Breaker::new(5, 1_000);
        breaker.rest(3_000, 100);
        assert_eq!((breaker.pass(3_099), breaker.pass(3_100)), (Pass::Open, Pass::Probe));
        breaker.answered();
        breaker.rest(i64::MAX, 0);
        assert_eq!(breaker.pass(REST_MS_MAX), Pass::Probe);
    }

    #[test]
    fn a_clock_that_steps_back_keeps_nothing_open() {
        let mut breaker = Breaker::new(1, 1_000);
        breaker.failed(1_000_000);
        assert_eq!(breaker.pass(1_000), Pass::Probe);
    }
}
