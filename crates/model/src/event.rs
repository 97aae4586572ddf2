//! What a room is told besides comments. Critical events are repeated until acknowledged.

use serde::{Deserialize, Serialize};

use crate::{Comment, RoomId, RoomState, Snowflake, UserId};
use std::sync::Arc;

/// Whom an event, or its being critical, concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// Every viewer of the room.
    Everyone,
    /// These users, wherever they are connected; at most a handful.
    Users(Vec<UserId>),
}

impl Audience {
    /// Whether a viewer with this identity belongs to it.
    #[must_use]
    pub fn includes(&self, user: Option<&UserId>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everyone => true,
            Self::Users(users) => user.is_some_and(|user| users.contains(user)),
        }
    }
}

/// One event of a room. The serde form is the store's, not the wire's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique in the deployment; receipts name it.
    pub id: Snowflake,
    /// The room it belongs to.
    pub room_id: RoomId,
    /// Who is shown it.
    pub audience: Audience,
    /// For whom it is critical: repeated after 2, 4, 8, 16 and 32 s until acknowledged.
    pub critical_for: Audience,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// What happened.
    pub body: EventBody,
}

/// What happened, with the fields shown beside `kind` on the wire. Rankings and hot comments are
/// passing pictures of a state kept elsewhere, so they are never stored, only handed from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventBody {
    /// Words of the house.
    Announcement {
        /// The text.
        content: String,
    },
    /// A gift, which every screen plays at `play_at_ms`.
    Gift(Gift),
    /// Comments that are to leave every screen, history and replay.
    CommentsDeleted {
        /// Their ids.
        comment_ids: Vec<Snowflake>,
    },
    /// Somebody may not write, or not enter, until a time.
    UserMuted {
        /// Who.
        user_id: UserId,
        /// Until when, Unix milliseconds.
        until_ms: i64,
        /// Why, if somebody said.
        reason: Option<String>,
    },
    /// The room's state changed.
    RoomState {
        /// The new state.
        state: RoomState,
        /// Whether comments are taken.
        accepts_comments: bool,
        /// The session that is on.
        session_id: Option<Snowflake>,
    },
    /// The ranking's head.
    Ranking {
        /// Best first.
        entries: Arc<[RankingEntry]>,
    },
    /// The most liked comments.
    HotComments {
        /// Most liked first.
        comments: Arc<[Arc<Comment>]>,
    },
    /// Somebody follows the room's owner.
    Follow {
        /// Who.
        user_id: UserId,
        /// The shown name.
        username: String,
    },
    /// Something viewers should know, such as too many comments.
    Notice {
        /// Stable name, such as `too_many_comments`.
        code: String,
        /// For people.
        message: String,
    },
}

impl EventBody {
    /// The `kind` on the wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Announcement { .. } => "announcement",
            Self::Gift(_) => "gift",
            Self::CommentsDeleted { .. } => "comment_deleted",
            Self::UserMuted { .. } => "user_muted",
            Self::RoomState { .. } => "room_state",
            Self::Ranking { .. } => "ranking",
            Self::HotComments { .. } => "hot_comments",
            Self::Follow { .. } => "follow",
            Self::Notice { .. } => "notice",
        }
    }
}

/// A gift from a viewer to the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gift {
    /// Its name, such as `rocket`.
    pub gift: String,
    /// Who gives.
    pub user_id: UserId,
    /// The giver's shown name.
    pub username: String,
    /// How many.
    pub count: u32,
    /// What it adds to the giver's score.
    pub value: u64,
    /// When every screen plays it.
    pub play_at: Option<PlayAt>,
    /// What it counts for, once somebody has counted it; not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// What a gift brought its giver to. A sum rather than a step, so that it may be told twice and in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The session that was on.
    pub session_id: Snowflake,
    /// All that the giver gave in it, this gift included.
    pub given: u64,
}

/// A moment of server time, written as its sender wrote it: Unix milliseconds or RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlayAtText", into = "PlayAtText")]
pub struct PlayAt {
    ms: i64,
    text: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum PlayAtText {
    Ms(i64),
    Text(String),
}

impl PlayAt {
    /// Unix milliseconds.
    #[must_use]
    pub fn ms(&self) -> i64 {
        self.ms
    }
}

impl TryFrom<PlayAtText> for PlayAt {
    type Error = &'static str;
    fn try_from(value: PlayAtText) -> Result<Self, Self::Error> {
        match value {
            PlayAtText::Ms(ms) => Ok(Self { ms, text: None }),
            PlayAtText::Text(text) => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Ok(Self { ms: time.as_millisecond(), text: Some(text) }),
                Err(_) => Err("play_at must be Unix milliseconds or an RFC 3339 time"),
            },
        }
    }
}

impl From<PlayAt> for PlayAtText {
    fn from(value: PlayAt) -> Self {
        value.text.map_or(Self::Ms(value.ms), Self::Text)
    }
}

/// One line of a room's ranking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankingEntry {
    /// 1 is best; equal scores are ordered by who reached them first.
    pub rank: u32,
    /// Who.
    pub user_id: UserId,
    /// The shown name when the score last changed.
    pub username: Arc<str>,
    /// Comments accepted in this session plus the value of gifts.
    pub score: u64,
}
