//! The port that decides by rate and repetition whether a comment may enter.
//!
//! Called by `ingest` after the cheap checks and before the word filter, and by the edges for single limits. Owns the counters
//! and the cool-downs. Never reads text, rooms' settings or roles: the caller passes the rates of this user in this room.

use async_trait::async_trait;
use model::{RoomId, UserId};

use crate::{Rate, Result};

/// A comment that asks to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct RateRequest<'a> {
    /// The sender.
    pub user: &'a UserId,
    /// The room.
    pub room: &'a RoomId,
    /// What this user may send in all rooms together.
    pub user_rate: Rate,
    /// The room's slow mode, counted per user and room.
    pub slow_mode: Option<Rate>,
    /// What the room admits from all users.
    pub room_rate: Rate,
    /// What the deployment admits.
    pub global_rate: Rate,
    /// A hash of the text, the same in every process of the deployment.
    pub text_key: u64,
    /// How long the same text of one user counts as a duplicate, in any room, in milliseconds; 0 turns this off. A
    /// backend remembers a bounded number of texts of one user, at least 64.
    pub duplicate_window_ms: u64,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// Whether a comment is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateDecision {
    /// It is admitted and counted.
    Admitted,
    /// The user was refused too often and must wait.
    CoolingDown {
        /// Until the end of the cool-down.
        retry_after_ms: u64,
    },
    /// A rate is used up.
    Limited {
        /// The rate.
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

/// Which rate is used up.
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

/// When refusals start a cool-down. The defaults are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoolDown {
    /// This many refusals start a cool-down; 0 turns cool-downs off.
    pub refusals: u32,
    /// How long a refusal counts.
    pub within_ms: u64,
    /// How long the first cool-down lasts. Each further one lasts twice as long.
    pub mute_ms: u64,
    /// The longest cool-down.
    pub mute_ms_max: u64,
}

/// The doubling starts anew after this many times the last cool-down's length without another.
pub const QUIET_FACTOR: u64 = 10;

impl Default for CoolDown {
    fn default() -> Self {
        Self { refusals: 10, within_ms: 10_000, mute_ms: 10_000, mute_ms_max: 600_000 }
    }
}

/// A limit of its own: a user's likes, handshakes from an address, chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey<'a> {
    /// What is limited.
    pub scope: &'static str,
    /// The user or address.
    pub id: &'a str,
}

/// Rates, duplicates and cool-downs. Every method is one atomic step, and one round trip to a remote backend.
///
/// A user's own rate, slow mode, duplicates and cool-downs are exact under concurrency. A shared backend may keep the
/// room's and the deployment's rate within 10 %. A backend that loses its state admits as if nobody had written before.
///
/// A full backend forgets the key that matters for the shortest time rather than refuse a user.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Decides about one comment. The first that refuses answers, in this order: cool-down, user, slow mode, room,
    /// deployment, duplicate. Of user and slow mode, the longer wait answers. Only [`RateDecision::Admitted`] uses
    /// anything up: a comment refused by the room leaves the user's rate untouched.
    async fn admit(&self, request: RateRequest<'_>) -> Result<RateDecision>;

    /// Counts a refusal, also by other rules. Returns the length in milliseconds of the cool-down that it starts. Refusals
    /// during a cool-down do not count, so that it ends. The next cool-down is twice as long, unless the user was quiet
    /// for [`QUIET_FACTOR`] times the last one's length.
    async fn refused(&self, user: &UserId, now_ms: i64, policy: &CoolDown) -> Result<Option<u64>>;

    /// Takes back an admitted comment that was refused later: the user did not say this text, nor anything in the room under
    /// slow mode, if it counted. The rates stay used up.
    async fn take_back(&self, user: &UserId, text_key: u64, slow_mode_in: Option<&RoomId>) -> Result<()>;

    /// Counts one against a single limit. The inner `Err` is the wait in milliseconds.
    async fn allow(&self, key: LimitKey<'_>, rate: Rate, now_ms: i64) -> Result<std::result::Result<(), u64>>;

    /// Forgets all that was counted against a single limit.
    async fn forget(&self, key: LimitKey<'_>) -> Result<()>;

    /// Forgets a user's refusals, cool-down and doubling, when a moderator lifts it.
    async fn reset_user(&self, user: &UserId) -> Result<()>;
}
