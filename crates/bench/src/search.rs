//! The highest rate that holds. Doubles until one does not, then halves the gap. Pure but for the probe.

/// A probe's verdict on a rate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, because of this.
    Fails(String),
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Found {
    /// The highest rate that held; 0 when none did.
    pub highest: f64,
    /// Every rate tried, in order.
    pub tried: Vec<(f64, Verdict)>,
}

/// How close the answer is to the lowest rate that failed.
const PRECISION: f64 = 0.05;
/// A search that goes down ends here, in comments a second.
const LOWEST: f64 = 0.1;
/// Probes at most: enough to go up a hundred-thousandfold and to halve the last gap.
const PROBES_MAX: usize = 24;

/// Searches upward from `start`, or downward when that fails already.
///
/// # Errors
/// The probe's.
pub fn highest<E>(start: f64, mut probe: impl FnMut(f64) -> Result<Verdict, E>) -> Result<Found, E> {
    let (mut low, mut high, mut rate) = (0.0, f64::INFINITY, start);
    let mut tried = Vec::new();
    while tried.len() < PROBES_MAX && high > LOWEST && high - low > PRECISION * low.min(high) {
        let verdict = probe(rate)?;
        match verdict {
            Verdict::Holds => low = rate,
            Verdict::Fails(_) => high = rate,
        }
        tried.push((rate, verdict));
        rate = next(low, high);
    }
    Ok(Found { highest: low, tried })
}

fn next(low: f64, high: f64) -> f64 {
    if high.is_infinite() {
        low * 2.0
    } else if low == 0.0 {
        high / 4.0
    } else {
        low.midpoint(high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(start: f64, limit: f64) -> Found {
        let probe = |rate| Ok::<_, ()>(if rate <= limit { Verdict::Holds } else { Verdict::Fails("p99".into()) });
        highest(start, probe).unwrap()
    }

    proptest! {
        #[test]
        fn the_limit_is_found(start in 1.0..1_000.0_f64, limit in 1.0..100_000.0_f64) {
            let found = search(start, limit);
            prop_assert!(found.highest <= limit);
            prop_assert!(found.highest >= limit * (1.0 - 1.1 * PRECISION), "{} of {limit}", found.highest);
            prop_assert!(found.tried.len() <= PROBES_MAX);
        }
    }

    #[test]
    fn a_server_that_holds_nothing_ends_the_search() {
        let found = search(100.0, -1.0);
        assert_eq!(found.highest, 0.0);
        assert!(found.tried.len() < PROBES_MAX);
    }
}
