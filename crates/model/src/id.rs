//! Typed identifiers that cannot be mixed up, each with its parsing rule.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::schema;

/// Longest room, user, device or group id, in characters (all ASCII).
pub const ID_CHARS_MAX: usize = 64;

/// An id that breaks the rule: 1–64 characters of `A-Z a-z 0-9 _ - . : @`, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1-64 characters of A-Z a-z 0-9 _ - . : @, and neither . nor ..")]
pub struct InvalidId {
    /// Which id, as it is called on the wire.
    pub what: &'static str,
}

/// [`is_id`] as a pattern.
pub(crate) const ID_PATTERN: &str = r"^(?!\.{1,2}$)[A-Za-z0-9_.:@-]{1,64}$";
/// Ids that the generator makes in the next two centuries, written as it writes them.
const SNOWFLAKE_PATTERN: &str = "^([1-9][0-9]{0,17}|[1-8][0-9]{18})$";

/// Whether a text keeps to the rule of [`InvalidId`]. In a path, `.` and `..` would name another resource.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:@".contains(&b))
        && !matches!(text, "." | "..")
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is not 1–64 of the allowed characters.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidId { what: $what }) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                schema::text(ID_PATTERN, "1-64 characters of `A-Z a-z 0-9 _ - . : @`, and neither `.` nor `..`.")
            }
        }

        impl ToSchema for $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(D::Error::custom)
            }
        }
    };
}

text_id!(
    /// A room, unique in the deployment.
    RoomId,
    "room_id"
);
impl RoomId {
    /// The room in whose name deployment-wide things are told. Nobody can enter it.
    #[must_use]
    pub fn everywhere() -> Self {
        Self(Arc::from(":all"))
    }

    /// Whether it is [`RoomId::everywhere`].
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.as_str() == ":all"
    }
}

text_id!(
    /// A person or program, as the token's `sub` names it.
    UserId,
    "user_id"
);
text_id!(
    /// One device of a user; a second connection of the same device replaces the first.
    DeviceId,
    "device_id"
);

/// A positive 63-bit time-ordered id; a decimal string in JSON, so that no client rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snowflake(pub u64);

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Snowflake {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse::<u64>() {
            Ok(n) if (1..=i64::MAX.cast_unsigned()).contains(&n) && !text.starts_with('+') => Ok(Self(n)),
            _ => Err(InvalidId { what: "id" }),
        }
    }
}

impl PartialSchema for Snowflake {
    fn schema() -> RefOr<Schema> {
        schema::text(SNOWFLAKE_PATTERN, "A positive 63-bit number in decimal.")
    }
}

impl ToSchema for Snowflake {}

impl Serialize for Snowflake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Snowflake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("an id must be a decimal string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_the_alphabet() {
        for good in ["r", "Room-1.a:b@c_d", &"x".repeat(64), "...", ".a"] {
            assert!(RoomId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "房间", "a/b", &"x".repeat(65), "a\0", ".", ".."] {
            assert!(RoomId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn snowflakes_are_positive_63_bit_decimal_strings() {
        assert_eq!("9223372036854775807".parse(), Ok(Snowflake(i64::MAX as u64)));
        for bad in ["0", "-1", "+1", "9223372036854775808", "1.0", ""] {
            assert!(bad.parse::<Snowflake>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Snowflake(7)).expect("plain"), "\"7\"");
    }
}
