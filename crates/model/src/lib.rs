//! The types that all crates share: ids, comments, rooms, events, codes, metrics, the clock.
//!
//! Used by every other crate. Nothing here does I/O but [`stderr`]. Only [`clock::SystemClock`] and [`clock::SteadyClock`] read a clock.

pub mod chat;
pub mod clock;
pub mod code;
pub mod comment;
pub mod emoji;
pub mod event;
pub mod id;
pub mod identity;
pub mod metrics;
pub mod moderation;
pub mod panics;
pub mod recent;
mod reported_reasons;
pub mod reports;
pub mod roles;
pub mod room;
pub mod schema;
mod score;
pub mod snowflake;
pub mod stderr;
pub mod trace;

pub use chat::{ConversationId, GroupId, Message, MsgStatus, MsgType, Recipient};
pub use clock::{Clock, ManualClock, SystemClock, rfc3339_ms};
pub use code::{Code, WireError};
pub use comment::{Admitted, Comment, CommentStatus, FirstAnswer, Kind, Level, Mode, Repeat, Size, Style};
pub use emoji::Emoji;
pub use event::{
    Audience, Counted, Event, EventBody, Gift, PlayAt, Poll, PollOption, PollState, Question, QuestionState,
    RankingEntry,
};
pub use id::{DeviceId, InvalidId, RoomId, Snowflake, UserId};
pub use identity::Identity;
pub use metrics::Metrics;
pub use reported_reasons::ReportedReasons;
pub use roles::{Role, Roles};
pub use room::{RoomLimits, RoomSettings, RoomState, Session, Speakers};
pub use score::{OrderingKey, Score};
pub use snowflake::{Fence, NoIds, SnowflakeGenerator};
