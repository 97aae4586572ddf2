//! The nouns of Barrage: ids, comments, rooms, events, limits, codes, metrics, the clock.
//!
//! Every other crate speaks in these types. Nothing here does I/O, and nothing here reads the
//! wall clock except [`clock::SystemClock`], which is passed in from outside.

pub mod chat;
pub mod clock;
pub mod code;
pub mod comment;
pub mod event;
pub mod id;
pub mod identity;
pub mod metrics;
pub mod panics;
pub mod reasons;
pub mod roles;
pub mod room;
pub mod score;
pub mod snowflake;

pub use chat::{ConversationId, GroupId, Message, MsgStatus, MsgType, Recipient};
pub use clock::{Clock, ManualClock, SystemClock, rfc3339_ms};
pub use code::{Code, WireError};
pub use comment::{Comment, CommentStatus, Kind, Level, Mode, Size, Style};
pub use event::{Audience, Counted, Event, EventBody, Gift, PlayAt, RankingEntry};
pub use id::{DeviceId, InvalidId, RoomId, Snowflake, UserId};
pub use identity::Identity;
pub use metrics::Metrics;
pub use reasons::Reasons;
pub use roles::{Role, Roles};
pub use room::{RoomLimits, RoomSettings, RoomState, Session, Speakers};
pub use score::{Lane, Score};
pub use snowflake::{Fence, NoIds, SnowflakeGenerator};
