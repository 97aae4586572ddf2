//! Query parameters that several operations share, each with its range in one place.
//!
//! A parameter parses itself and describes itself in the reference. Out of range upwards means the largest value, so
//! that a client may always ask for more than it gets; a page of nothing is refused.

use std::borrow::Cow;
use std::time::Duration;

use model::{Snowflake, UserId, WireError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Longest poll, in seconds.
const WAIT_S_MAX: u64 = 30;

/// The entries of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<const DEFAULT: usize, const MAX: usize>(usize);

impl<const DEFAULT: usize, const MAX: usize> Limit<DEFAULT, MAX> {
    pub fn get(self) -> usize {
        self.0
    }
}

impl<const DEFAULT: usize, const MAX: usize> Default for Limit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: usize, const MAX: usize> Deserialize<'de> for Limit<DEFAULT, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match whole_number(deserializer)? {
            Some(0) | None => Err(D::Error::custom("limit must be a whole number from 1")),
            Some(n) => Ok(Self(usize::try_from(n).map_or(MAX, |n| n.min(MAX)))),
        }
    }
}

impl<const DEFAULT: usize, const MAX: usize> PartialSchema for Limit<DEFAULT, MAX> {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).default(Some(DEFAULT.into()));
        schema.description(Some(format!("The most entries to answer with. More than {MAX} means {MAX}."))).into()
    }
}

impl<const DEFAULT: usize, const MAX: usize> ToSchema for Limit<DEFAULT, MAX> {}

/// A moment in a query: RFC 3339, or Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeParam(pub i64);

impl<'de> Deserialize<'de> for TimeParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let parsed = text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
        parsed.map(Self).ok_or_else(|| D::Error::custom("a time must be RFC 3339 or Unix milliseconds"))
    }
}

/// How long a poll waits for something new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WaitS(u64);

impl WaitS {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for WaitS {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = whole_number(deserializer)?;
        seconds.map(|n| Self(n.min(WAIT_S_MAX))).ok_or_else(|| D::Error::custom("wait_s must be a whole number from 0"))
    }
}

impl PartialSchema for WaitS {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).default(Some(0.into()));
        let description = format!(
            "Seconds to wait for something new before answering with an empty list. More than {WAIT_S_MAX} means {WAIT_S_MAX}."
        );
        schema.description(Some(description)).into()
    }
}

impl ToSchema for WaitS {}

/// Where a reader stands: the id of the last entry it has, or 0 for the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SinceId(pub Snowflake);

impl<'de> Deserialize<'de> for SinceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let parsed = protocol::message::parse_cursor(&text).map(Self);
        parsed.ok_or_else(|| D::Error::custom("a cursor must be an id that an answer named, or 0"))
    }
}

impl PartialSchema for SinceId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^(0|[1-9][0-9]{0,17}|[1-8][0-9]{18})$"))
            .description(Some("An id that an answer named, or 0 for the beginning."))
            .into()
    }
}

impl ToSchema for SinceId {}

/// `only_user_ids` of a query: ids separated by commas. The hub says how many there may be.
pub(crate) fn only_users(list: &str) -> Result<Vec<UserId>, WireError> {
    let users: Result<_, _> = list.split(',').map(str::parse).collect();
    users.map_err(|error| WireError::invalid(format!("only_user_ids: {error}")))
}

/// Digits alone; a number beyond 64 bits is the largest.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Ok(digits.then(|| text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_cut_to_its_range_and_zero_is_refused() {
        let limit = |text: &str| serde_json::from_value::<Limit<10, 100>>(text.into()).map(Limit::get);
        for (text, limit_of) in [("1", 1), ("100", 100), ("101", 100), ("99999999999999999999999", 100)] {
            assert_eq!(limit(text).expect(text), limit_of);
        }
        for text in ["0", "-1", "+1", "1.5", "many", ""] {
            assert!(limit(text).expect_err(text).to_string().contains("from 1"), "{text}");
        }
        assert_eq!(Limit::<10, 100>::default().get(), 10);
    }

    #[test]
    fn a_poll_waits_half_a_minute_at_most() {
        let wait = |text: &str| serde_json::from_value::<WaitS>(text.into()).map(WaitS::duration);
        for (text, seconds) in [("0", 0), ("30", 30), ("60", 30)] {
            assert_eq!(wait(text).expect(text), Duration::from_secs(seconds));
        }
        assert!(wait("-1").is_err());
    }
}
