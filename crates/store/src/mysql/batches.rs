//! Statements over many rows, in few shapes.
//!
//! Every statement stays prepared on its connection; none is ever closed. Closing one is a message without an answer, and sqlx
//! 0.9 leaves Nagle's algorithm on (transact-rs/sqlx#4335): the next statement would wait 40 ms for the server's delayed
//! acknowledgement (RFC 896, RFC 1122 §4.2.3.2). So a statement over many rows has one of a few sizes.

/// Sizes of a batch, largest first. 64 of the longest contents stay below the 16 MiB that a server takes by default.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// The largest size of batches whose bytes are not counted.
const UNCOUNTED_MAX: usize = 64;
/// Bytes of a larger one.
const BYTES_MAX: usize = 4 << 20;

/// Splits into batches of these sizes, in order.
pub(super) fn batches<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    batches_within(all, |_| BYTES_MAX)
}

/// The same, larger ones too where they have few bytes.
pub(super) fn batches_within<T>(mut all: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let fits = |size| size <= UNCOUNTED_MAX || all.iter().take(size).map(&bytes).sum::<usize>() <= BYTES_MAX;
        let size = SIZES.into_iter().find(|size| *size <= all.len() && fits(*size))?;
        let (batch, rest) = all.split_at(size);
        all = rest;
        Some(batch)
    })
}

/// A list that one statement needs as a whole: repeats its last element until it has one of a few lengths.
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
        fn batches_have_few_sizes_and_leave_nothing_out(all in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            prop_assert_eq!(batches(&all).collect::<Vec<_>>().concat(), all.clone());
            prop_assert!(batches(&all).all(|batch| SIZES.contains(&batch.len())));
            prop_assert!(batches(&all).all(|batch| batch.len() <= UNCOUNTED_MAX));
            prop_assert!(batches(&all).count() <= all.len() / 64 + 9);
        }

        #[test]
        fn large_batches_have_few_bytes(all in proptest::collection::vec(1..2 * BYTES_MAX / 256, 0..1_000)) {
            prop_assert_eq!(batches_within(&all, |bytes| *bytes).collect::<Vec<_>>().concat(), all.clone());
            let fits = |batch: &[usize]| batch.len() <= UNCOUNTED_MAX || batch.iter().sum::<usize>() <= BYTES_MAX;
            prop_assert!(batches_within(&all, |bytes| *bytes).all(fits));
            prop_assert!(batches_within(&all, |_| 1).count() <= all.len() / 256 + 12);
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
