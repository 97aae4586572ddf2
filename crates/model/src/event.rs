//! What a room is told besides comments. Critical events are repeated until acknowledged.

use serde::{Deserialize, Serialize};

use crate::{Comment, RoomId, RoomState, Snowflake, Speakers, UserId};
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
    /// Comments that leave every screen, history and replay, but may come back. Told as a deletion.
    CommentsHidden {
        /// Their ids.
        comment_ids: Vec<Snowflake>,
    },
    /// Comments that were hidden are shown again, in their old places.
    CommentsRestored {
        /// Each with its position.
        comments: Vec<(u64, Arc<Comment>)>,
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
        /// Who may speak.
        #[serde(default)]
        speakers: Speakers,
        /// Seconds between two comments of one normal or VIP user; 0 is off.
        #[serde(default)]
        slow_mode_s: u32,
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
        /// The comment that it is about, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment_id: Option<Snowflake>,
        /// Why it was decided so: a reason of the deployment's list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A comment stands at the top of the room, or no comment any more.
    Pin {
        /// The comment.
        comment: Option<Arc<Comment>>,
        /// Its end, Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// A poll is open, has more votes, or is closed.
    Poll(Poll),
    /// A question was asked, upvoted or answered.
    Question(Question),
    /// Somebody gives the same gift again and again.
    Combo {
        /// Who.
        user_id: UserId,
        /// What.
        gift: String,
        /// How many so far.
        count: u64,
        /// When it ends unless another one comes, Unix milliseconds.
        until_ms: i64,
    },
}

/// A poll as viewers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Poll {
    /// Its id.
    pub poll_id: Snowflake,
    /// What is asked.
    pub question: String,
    /// What can be answered.
    pub options: Vec<PollOption>,
    /// Whether votes are taken.
    pub state: PollState,
    /// Its end, Unix milliseconds.
    pub ends_at_ms: i64,
}

/// One answer of a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PollOption {
    /// The answer.
    pub text: String,
    /// How many chose it.
    pub votes: u64,
}

/// Whether a poll takes votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PollState {
    /// It does.
    Open,
    /// Its numbers are final.
    Closed,
}

/// A question to the house, as viewers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Question {
    /// Its id.
    pub question_id: Snowflake,
    /// Who asks.
    pub user_id: UserId,
    /// The shown name.
    pub username: String,
    /// What.
    pub content: String,
    /// How many want to know it too.
    pub upvotes: u64,
    /// Whether it was answered.
    pub state: QuestionState,
}

/// Whether a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuestionState {
    /// Not yet.
    Open,
    /// It was.
    Answered,
}

impl EventBody {
    /// The `kind` on the wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Announcement { .. } => "announcement",
            Self::Gift(_) => "gift",
            Self::CommentsDeleted { .. } | Self::CommentsHidden { .. } => "comment_deleted",
            Self::CommentsRestored { .. } => "comments_restored",
            Self::UserMuted { .. } => "user_muted",
            Self::RoomState { .. } => "room_state",
            Self::Ranking { .. } => "ranking",
            Self::HotComments { .. } => "hot_comments",
            Self::Follow { .. } => "follow",
            Self::Notice { .. } => "notice",
            Self::Pin { .. } => "pin",
            Self::Poll(_) => "poll",
            Self::Question(_) => "question",
            Self::Combo { .. } => "combo",
        }
    }
}

/// A gift from a viewer to the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Gift {
    /// Its name, such as `rocket`.
    #[schema(min_length = 1, max_length = 200)]
    pub gift: String,
    /// Who gives.
    pub user_id: UserId,
    /// The giver's shown name.
    #[schema(min_length = 1, max_length = 32)]
    pub username: String,
    /// How many.
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    pub count: u32,
    /// What it adds to the giver's score.
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_u64)]
    pub value: u64,
    /// When every screen plays it.
    pub play_at: Option<PlayAt>,
    /// What it counts for, once somebody has counted it; not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
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

impl utoipa::PartialSchema for PlayAt {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(i64::MIN))
            .maximum(Some(i64::MAX))
            .description(Some("Unix milliseconds."));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339."));
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl utoipa::ToSchema for PlayAt {}

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RankingEntry {
    /// 1 is best; equal scores are ordered by who reached them first.
    pub rank: u32,
    /// Who.
    pub user_id: UserId,
    /// The shown name when the score last changed.
    #[schema(value_type = String)]
    pub username: Arc<str>,
    /// Comments accepted in this session plus the value of gifts.
    pub score: u64,
}
