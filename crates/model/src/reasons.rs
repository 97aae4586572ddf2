//! Why something is away, told in the log once for as long as it lasts.

/// Reasons told at most; more of them would be noise.
const REASONS_MAX: usize = 4;

/// The reasons that have been told. What is tried again every second may fail each time, and for another reason than at
/// first: a server that is started again with a wrong certificate.
#[derive(Debug, Default)]
pub struct Reasons(Vec<String>);

impl Reasons {
    /// Whether this reason is to be told now: each once, and not more than a few. Numbers make no other reason: that a
    /// certificate has expired is told with the time by which it has.
    pub fn is_news(&mut self, reason: &str) -> bool {
        let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
        let news = self.0.len() < REASONS_MAX && !self.0.contains(&reason);
        if news {
            self.0.push(reason);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_and_no_more_than_a_few() {
        let mut told = Reasons::default();
        let mut news = |reason: &str| told.is_news(reason);
        assert_eq!(["refused", "refused", "unknown issuer", "refused"].map(&mut news), [true, false, true, false]);
        assert_eq!(["expired, it is 10:59", "expired, it is 11:00"].map(&mut news), [true, false]);
        assert_eq!(["a", "b", "c"].map(&mut news), [true, false, false]);
    }
}
