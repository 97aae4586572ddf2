//! May this comment enter? And what else people may do to a room: likes, sessions, moderation.
//!
//! [`Ingest`] holds the rules' state and is shared by the gateway (sockets) and the API (HTTP), which hand comments
//! to an [`Admission`]: this process, or another node. The order of a comment's checks is in [`admit`]; [`rooms`] knows
//! settings and sessions, [`bans`] who may not speak, [`filter`] the word lists, [`tokens`] who somebody is, [`elsewhere`]
//! what other nodes changed, [`heat`] counts. Knows no socket, no HTTP, no SQL and no broker: it speaks to the ports of `state`, `store` and `bus`.

pub mod admission;
pub mod admit;
pub mod bans;
pub mod elsewhere;
pub mod events;
pub mod filter;
pub mod heat;
pub mod here;
pub mod likes;
pub mod moderation;
pub mod refusal;
pub mod rooms;
mod screen;
pub mod tokens;
mod young;

use std::sync::Arc;

pub use bus::Submission;

use bus::Log;
use model::{Clock, Comment, Metrics, SnowflakeGenerator};
use state::{CoolDown, Gate, Reservations};
use store::{ReviewStatus, Store};

pub use admission::Admission;
pub use admit::Admitted;
pub use bans::Bans;
pub use elsewhere::Elsewhere;
pub use events::Awaited;
pub use filter::WordFilter;
pub use heat::CountingLog;
pub use moderation::Moderator;
pub use refusal::Refusal;
pub use rooms::Rooms;
pub use tokens::{KeyFiles, TokenError, Tokens};

/// The deployment's limits; a room may have its own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Characters of a comment.
    pub comment_chars_max: u32,
    /// Comments a second of a normal user.
    pub normal_per_s: u32,
    /// Comments a second of a VIP.
    pub vip_per_s: u32,
    /// Comments a second of an owner, moderator or admin.
    pub owner_per_s: u32,
    /// Comments a second a room takes.
    pub room_per_s: u32,
    /// Comments a second the deployment takes.
    pub global_per_s: u32,
    /// Likes a second of one user.
    pub likes_per_s: u32,
    /// The same text from the same user within this is a duplicate, in milliseconds.
    pub duplicate_window_ms: u64,
    /// When refusals turn into a mute.
    pub cool_down: CoolDown,
    /// People one comment may mention.
    pub mentions_max: usize,
}

/// Hears of comments that are held for review, and of what was decided about them; must not block.
pub type TellReview = Arc<dyn Fn(&Comment, ReviewStatus) + Send + Sync>;

/// The rules with their state.
pub struct Ingest {
    /// The rooms' settings and sessions.
    pub rooms: Rooms,
    /// Who may not speak or enter.
    pub bans: Bans,
    /// For whom events may be kept.
    pub awaited: Awaited,
    /// The word lists.
    pub filter: WordFilter,
    /// Limits of the deployment.
    pub limits: Limits,
    /// Rates and repetitions.
    pub gate: Arc<dyn Gate>,
    /// First answers to `client_msg_id`s.
    pub reservations: Arc<dyn Reservations>,
    /// What lasts.
    pub store: Arc<dyn Store>,
    /// Where accepted comments and everything else that happens in rooms goes.
    pub log: Arc<dyn Log>,
    /// Hears of reviews.
    pub tell_review: TellReview,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}
