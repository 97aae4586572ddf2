//! Why something is away, told in the log once for as long as it lasts.

/// Reasons told at most; more of them would be noise.
const REASONS_MAX: usize = 4;

/// The reasons that have been told. What is tried again every second may fail each time, and for another reason than at
/// first: a server that is started again with a wrong certificate.
#[derive(Debug, Default)]
pub struct Reasons(Vec<String>);

impl Reasons {
    /// Whether this reason is to be told now: each once, and not more than a few.
    pub fn is_news(&mut self, reason: &str) -> bool {
        let news = self.0.len() < REASONS_MAX && self.0.iter().all(|told| told != reason);
        if news {
            self.0.push(reason.to_owned());
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
        assert_eq!(["a", "b", "c", "d"].map(&mut news), [true, true, false, false]);
    }
}
