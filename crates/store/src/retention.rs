//! Retention times, and how ids tell their age; for every backend alike.
//!
//! An id carries the time when it was made. So a recording brought in today is young, whatever dates it carries.

use model::snowflake::EPOCH_MS;

const DAY_MS: i64 = 86_400_000;
/// How long an event waits for its acknowledgement.
pub(crate) const EVENT_DAYS: u32 = 7;
/// Bits of a Snowflake below its milliseconds.
const TIME_SHIFT: u32 = 22;

/// The smallest id made at `ms`.
pub(crate) fn first_id_of(ms: i64) -> i64 {
    ms.saturating_sub(EPOCH_MS).max(0) << TIME_SHIFT
}

pub(crate) fn days_before(now_ms: i64, days: u32) -> i64 {
    now_ms.saturating_sub(i64::from(days) * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Snowflake;
    use model::snowflake::made_at_ms;

    #[test]
    fn ids_differ_at_the_millisecond() {
        let ms = EPOCH_MS + 123_456_789;
        let first = first_id_of(ms).cast_unsigned();
        assert_eq!(made_at_ms(Snowflake(first)), ms);
        assert_eq!(made_at_ms(Snowflake(first - 1)), ms - 1);
        assert_eq!(first_id_of(0), 0);
    }
}
