//! One emoji: what a reaction to a message may be.
//!
//! Called by `protocol`, which parses it, and by `chat`. It is never free text: only what Unicode lists as an emoji of
//! its own (UTS #51, "recommended for general interchange") is one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::schema;

/// An emoji in its fully qualified form, so that two ways to write one are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Emoji(&'static str);

/// The text is no emoji.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("emoji must be one emoji")]
pub struct NoEmoji;

impl Emoji {
    /// The text of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for Emoji {
    type Err = NoEmoji;
    fn from_str(text: &str) -> Result<Self, NoEmoji> {
        emojis::get(text).map(|emoji| Self(emoji.as_str())).ok_or(NoEmoji)
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialSchema for Emoji {
    fn schema() -> RefOr<Schema> {
        schema::text(
            "^[\u{1f600}-\u{1f64f}]$",
            "One emoji of Unicode, also one of several code points; the pattern shows some of them.",
        )
    }
}

impl ToSchema for Emoji {}

impl Serialize for Emoji {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Emoji {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_emoji_is_one() {
        for text in ["👍", "👍🏽", "❤️", "🏳️‍🌈", "👨‍👩‍👧", "🇨🇳", "#️⃣"] {
            assert_eq!(text.parse::<Emoji>().map(Emoji::as_str), Ok(text));
        }
        for text in ["", "a", "1", "👍👍", "👍 ", "ok", "你", "<b>", ":thumbsup:", "\u{200d}", "🇨"] {
            assert_eq!(text.parse::<Emoji>(), Err(NoEmoji), "{text}");
        }
    }

    #[test]
    fn two_ways_to_write_one_are_one() {
        assert_eq!("❤".parse::<Emoji>(), "❤\u{fe0f}".parse());
    }
}
