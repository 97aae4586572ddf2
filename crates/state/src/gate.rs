//! The port that decides by rate and repetition whether a comment may enter.
//!
//! Called by `ingest` after the cheap checks and before the words, and by the edges for single limits.
//! Owns the counters and the cool-downs; never looks at text, rooms' settings or who somebody is: the
//! caller brings the rates that hold for this user in this room.

use async_trait::async_trait;
use model::{RoomId, UserId};

use crate::{Rate, Result};

/// A comment at the door.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// Who sends it.
    pub user: &'a UserId,
    /// Where to.
    pub room: &'a RoomId,
    /// What this user may send in all rooms together.
    pub user_rate: Rate,
    /// The room's slow mode, counted per user and room.
    pub slow_mode: Option<Rate>,
    /// What the room takes from everybody.
    pub room_rate: Rate,
    /// What the deployment takes.
    pub global_rate: Rate,
    /// A hash of the text, the same in every process of the deployment.
    pub text_key: u64,
    /// How long the same text from the same user, in whatever room, is a duplicate, in milliseconds; 0 is
    /// off. A backend may remember a bounded number of texts of one user, at least 64.
    pub duplicate_window_ms: u64,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// What the door said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It may enter, and is counted.
    Admitted,
    /// The user was refused too often and has to wait.
    CoolingDown {
        /// Until the end of the cool-down.
        retry_after_ms: u64,
    },
    /// A rate is used up.
    Limited {
        /// Whose rate.
        scope: Scope,
        /// When it admits again if nothing else comes.
        retry_after_ms: u64,
    },
    /// The same text again.
    Duplicate {
        /// When the text is no longer a duplicate.
        retry_after_ms: u64,
    },
}

/// Whose rate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One user's.
    User,
    /// One user's in one room.
    SlowMode,
    /// One room's.
    Room,
    /// The deployment's.
    Global,
}

/// When refusals turn into a mute. The defaults are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoolDown {
    /// This many refusals start one; 0 turns cool-downs off.
    pub refusals: u32,
    /// How long a refusal counts.
    pub within_ms: u64,
    /// How long the first one lasts; each further one lasts twice as long as the one before.
    pub mute_ms: u64,
    /// How long one lasts at most.
    pub mute_ms_max: u64,
}

/// After this many times the last cool-down's length without another, the doubling starts anew.
pub const QUIET_FACTOR: u64 = 10;

impl Default for CoolDown {
    fn default() -> Self {
        Self { refusals: 10, within_ms: 10_000, mute_ms: 10_000, mute_ms_max: 600_000 }
    }
}

/// A limit of its own: likes of a user, handshakes from an address, chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey<'a> {
    /// What is limited.
    pub scope: &'static str,
    /// Whose limit it is.
    pub id: &'a str,
}

/// Rates, duplicates and cool-downs. Every method is one atomic step, and one round trip to a backend
/// that is away from this process.
///
/// A user's own rate, slow mode, duplicates and cool-downs are exact however many calls come at once; a
/// backend shared by many nodes may keep the room's and the deployment's rate within 10 %. All of it may
/// be lost with the backend, which then admits as if nobody had come before.
///
/// When a backend holds as many keys as it may, it forgets the one that matters for the shortest time
/// rather than refuse a user: a full backend is lenient.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Asks for one comment. The first that says no answers, in this order: cool-down, user, slow mode,
    /// room, deployment, duplicate; of user and slow mode, the one with the longer wait. Only [`Answer::Admitted`] uses anything up: a comment refused by the
    /// room leaves the user's rate untouched.
    async fn knock(&self, knock: Knock<'_>) -> Result<Answer>;

    /// Counts a refusal, whoever refused; `Some` is the length in milliseconds of the cool-down that this
    /// refusal started. Refusals during a cool-down do not count, so that it ends. The next cool-down is
    /// twice as long unless the user was quiet for [`QUIET_FACTOR`] times the last one's length.
    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>>;

    /// Forgets that the user said this text: it was admitted, and could not be kept. The rates stay used up.
    async fn unsay(&self, user: &UserId, text_key: u64) -> Result<()>;

    /// Asks for one of something else; the inner `Err` is the wait in milliseconds.
    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>>;

    /// Forgets a user's refusals, cool-down and doubling: a moderator lifts it.
    async fn reset_user(&self, user: &UserId) -> Result<()>;
}
