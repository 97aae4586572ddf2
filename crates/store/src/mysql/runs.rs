//! Statements over many rows, in few shapes.
//!
//! Every statement is kept prepared on its connection and none is ever closed: closing one is a message without an answer, and
//! because sqlx 0.9 leaves Nagle's algorithm on (transact-rs/sqlx#4335) the next statement would wait 40 ms for the server's
//! delayed acknowledgement of it (RFC 896, RFC 1122 §4.2.3.2). So a statement over many rows has one of a few sizes.

/// Sizes of a run, largest first. 64 of the longest contents stay below the 16 MiB that a server takes by default.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// Cuts into runs of these sizes, in order.
pub(super) fn runs<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= all.len())?;
        let (run, rest) = all.split_at(size);
        all = rest;
        Some(run)
    })
}

/// A list of which a statement needs all at once: its last element is repeated until it has one of few lengths.
pub(super) fn padded<T: Clone>(list: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list: Vec<_> = list.into_iter().collect();
    if let Some(last) = list.last().cloned() {
        let length = (0..).map(|power| 4_usize.saturating_pow(power)).find(|length| *length >= list.len());
        list.resize(length.unwrap_or(list.len()), last);
    }
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_have_few_sizes_and_leave_nothing_out(all in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            prop_assert_eq!(runs(&all).collect::<Vec<_>>().concat(), all.clone());
            prop_assert!(runs(&all).all(|run| SIZES.contains(&run.len())));
            prop_assert!(runs(&all).count() <= all.len() / 64 + 9);
        }

        #[test]
        fn padding_adds_nothing_new(all in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            let mut longer = padded(all.clone());
            prop_assert!(longer.is_empty() || longer.len().is_power_of_two() && longer.len() < 4 * all.len().max(1));
            longer.dedup();
            let mut all = all;
            all.dedup();
            prop_assert_eq!(longer, all);
        }
    }
}
