//! A comment (danmaku): what a viewer said in a room, and how it wants to fly.

use serde::{Deserialize, Serialize};

use crate::{RoomId, Snowflake, UserId};

/// A person's standing; it sets limits and the order in which comments are chosen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everyone.
    #[default]
    Normal,
    /// A paying or honoured viewer.
    Vip,
    /// The room's owner.
    Owner,
    /// May moderate the rooms of its token.
    Moderator,
    /// May do everything.
    Admin,
}

impl Level {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Vip => "vip",
            Self::Owner => "owner",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

/// How a comment moves over the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CommentMode)]
pub enum Mode {
    /// Flies from right to left.
    #[default]
    Scroll,
    /// Stands at the top.
    Top,
    /// Stands at the bottom.
    Bottom,
}

/// The size of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CommentSize)]
pub enum Size {
    /// Smaller than usual.
    Small,
    /// The usual size.
    #[default]
    Normal,
    /// Larger than usual.
    Large,
}

/// How a comment looks. The colour is 24-bit RGB, `#RRGGBB` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Style {
    /// Movement.
    pub mode: Mode,
    /// Colour as 0xRRGGBB.
    #[serde(with = "color")]
    #[schema(value_type = String, pattern = "^#[0-9A-Fa-f]{6}$", default = "#FFFFFF")]
    pub color: u32,
    /// Size of the letters.
    pub size: Size,
}

impl Default for Style {
    fn default() -> Self {
        Self { mode: Mode::Scroll, color: 0xFF_FF_FF, size: Size::Normal }
    }
}

mod color {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(rgb: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("#{rgb:06X}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.strip_prefix('#')
            .filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| D::Error::custom("color must be #RRGGBB"))
    }
}

/// What sort of comment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CommentKind)]
pub enum Kind {
    /// Typed by a viewer.
    #[default]
    Comment,
    /// Brought in from a file of recorded comments.
    Imported,
    /// Said about a recording, at a place in it; live viewers are not shown it.
    Recorded,
}

/// What became of a comment that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommentStatus {
    /// Durable and on its way to the viewers.
    Accepted,
    /// Held until a moderator decides.
    PendingReview,
}

/// The answer to a comment that the rules admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Its id.
    pub id: Snowflake,
    /// Published, or held for a moderator.
    pub status: CommentStatus,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// A comment as it is stored, replayed and shown. The serde form is for other nodes, not the wire's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Unique in the deployment.
    pub id: Snowflake,
    /// Where it was said.
    pub room_id: RoomId,
    /// The live session or recording it belongs to; none in a room that keeps no sessions.
    pub session_id: Option<Snowflake>,
    /// Who said it.
    pub user_id: UserId,
    /// The name shown beside it, 1–32 characters.
    pub username: Box<str>,
    /// The sender's standing when it was said.
    pub level: Level,
    /// The text after masking.
    pub content: Box<str>,
    /// How it looks.
    pub style: Style,
    /// What sort of comment.
    pub kind: Kind,
    /// People it addresses.
    pub mentions: Box<[UserId]>,
    /// Unix milliseconds on the ingest's clock.
    pub created_at_ms: i64,
    /// Milliseconds since the live session's start.
    pub offset_ms: i64,
    /// Likes at the moment it was read.
    pub like_count: u64,
    /// Only its sender and the room's moderators see it; for others it does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// The first answer given to a user's `client_msg_id`; a retry gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The id given to the comment.
    pub id: Snowflake,
    /// Whether it was held for review.
    pub pending_review: bool,
    /// When it was created, Unix milliseconds.
    pub created_at_ms: i64,
}

/// A comment that nobody keeps or shows, because its sender's own id for it had its answer before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// The later comment.
    pub id: Snowflake,
    /// What the earlier one was answered.
    pub first: FirstAnswer,
}

impl From<FirstAnswer> for Admitted {
    fn from(first: FirstAnswer) -> Self {
        let status = if first.pending_review { CommentStatus::PendingReview } else { CommentStatus::Accepted };
        Self { id: first.id, status, created_at_ms: first.created_at_ms }
    }
}

impl From<Admitted> for FirstAnswer {
    fn from(admitted: Admitted) -> Self {
        let pending_review = admitted.status == CommentStatus::PendingReview;
        Self { id: admitted.id, pending_review, created_at_ms: admitted.created_at_ms }
    }
}
