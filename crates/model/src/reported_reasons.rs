//! Remembers which reasons of an outage were logged, so that each is logged once.
//!
//! Owned by whatever retries: a reconnect every second may fail each time, and later for another reason, such as a server
//! that restarts with a wrong certificate. Logs nothing itself.

/// Reasons reported at most; more of them would be noise.
const REASONS_MAX: usize = 4;

/// The reasons reported during one outage.
#[derive(Debug, Default)]
pub struct ReportedReasons(Vec<String>);

impl ReportedReasons {
    /// Adds a reason; returns whether it is new and should be logged. Digits make no new reason: a message about an
    /// expired certificate contains the time.
    pub fn insert(&mut self, reason: &str) -> bool {
        let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
        let is_new = self.0.len() < REASONS_MAX && !self.0.contains(&reason);
        if is_new {
            self.0.push(reason);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_new_once_and_no_more_than_a_few_are() {
        let mut reported = ReportedReasons::default();
        let mut is_new = |reason: &str| reported.insert(reason);
        assert_eq!(["refused", "refused", "unknown issuer", "refused"].map(&mut is_new), [true, false, true, false]);
        assert_eq!(["expired, it is 10:59", "expired, it is 11:00"].map(&mut is_new), [true, false]);
        assert_eq!(["a", "b", "c"].map(&mut is_new), [true, false, false]);
    }
}
