//! Why a comment was not taken, and how that is said outside.

use std::borrow::Cow;

use bus::AppendError;
use model::{Code, NoIds, WireError};
use state::{Scope, StateError};
use store::StoreError;

/// Why something a viewer sent was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is out of its range.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// This identity may not do that here.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The room takes no comments.
    #[error("the room is closed")]
    RoomClosed,
    /// What it is about does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// Banned.
    #[error("banned")]
    Banned {
        /// Time left.
        retry_after_ms: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Muted by a moderator.
    #[error("muted")]
    Muted {
        /// Time left.
        retry_after_ms: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Muted for having been refused too often.
    #[error("cooling down")]
    CoolingDown {
        /// Time left.
        retry_after_ms: u64,
    },
    /// Nothing to say.
    #[error("empty")]
    Empty,
    /// Too many characters.
    #[error("too long")]
    TooLong {
        /// How many are allowed.
        chars_max: u32,
    },
    /// A rate limit.
    #[error("rate limited")]
    Limited {
        /// Whose.
        scope: Scope,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The same text again.
    #[error("duplicate")]
    Duplicate {
        /// When it is no duplicate any more.
        retry_after_ms: u64,
    },
    /// A blocked word.
    #[error("blocked")]
    Blocked,
    /// This user likes it already.
    #[error("already liked")]
    AlreadyLiked,
    /// The queue before the log is full.
    #[error("overloaded")]
    Overloaded,
    /// A dependency is away.
    #[error("unavailable")]
    Unavailable,
}

impl Refusal {
    /// Whether it counts towards a cool-down: what a flooding client can help.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self {
            Self::Limited { scope, .. } => matches!(scope, Scope::User | Scope::SlowMode),
            Self::Duplicate { .. } | Self::Blocked | Self::TooLong { .. } => true,
            _ => false,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidRequest,
            Self::Forbidden(_) => Code::Forbidden,
            Self::RoomClosed => Code::RoomClosed,
            Self::NotFound(_) => Code::NotFound,
            Self::Banned { .. } => Code::Banned,
            Self::Muted { .. } | Self::CoolingDown { .. } => Code::Muted,
            Self::Empty => Code::ContentEmpty,
            Self::TooLong { .. } => Code::ContentTooLong,
            Self::Limited { scope: Scope::Global, .. } | Self::Overloaded => Code::Overloaded,
            Self::Limited { .. } => Code::RateLimited,
            Self::Duplicate { .. } => Code::DuplicateComment,
            Self::Blocked => Code::ContentBlocked,
            Self::AlreadyLiked => Code::AlreadyLiked,
            Self::Unavailable => Code::Unavailable,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        let because = |what: &'static str, reason: &Option<String>| match reason {
            Some(reason) => Cow::Owned(format!("{what}: {reason}")),
            None => Cow::Borrowed(what),
        };
        match self {
            Self::Invalid(message) => message.clone(),
            Self::Forbidden(message) | Self::NotFound(message) => (*message).into(),
            Self::RoomClosed => "the room takes no comments now".into(),
            Self::Banned { reason, .. } => because("you are banned", reason),
            Self::Muted { reason, .. } => because("you are muted", reason),
            Self::CoolingDown { .. } => "too many refused comments; wait a moment".into(),
            Self::Empty => "the comment is empty".into(),
            Self::TooLong { chars_max } => format!("a comment may have {chars_max} characters").into(),
            Self::Limited { scope: Scope::User, .. } => "you are sending too fast".into(),
            Self::Limited { scope: Scope::SlowMode, .. } => "the room is in slow mode".into(),
            Self::Limited { scope: Scope::Room, .. } => "too many comments in this room".into(),
            Self::Limited { scope: Scope::Global, .. } | Self::Overloaded => "too many comments; try again".into(),
            Self::Duplicate { .. } => "you said that a moment ago".into(),
            Self::Blocked => "the comment has a word that is not allowed here".into(),
            Self::AlreadyLiked => "you like it already".into(),
            Self::Unavailable => "a part of the service is away; nothing was changed".into(),
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Banned { retry_after_ms, .. }
            | Self::Muted { retry_after_ms, .. }
            | Self::CoolingDown { retry_after_ms }
            | Self::Limited { retry_after_ms, .. }
            | Self::Duplicate { retry_after_ms } => Some((*retry_after_ms).max(1)),
            Self::Overloaded | Self::Unavailable => Some(1_000),
            _ => None,
        }
    }
}

impl From<Refusal> for WireError {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.message(), retry_after_ms: refusal.retry_after_ms() }
    }
}

impl From<StoreError> for Refusal {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

impl From<StateError> for Refusal {
    fn from(_: StateError) -> Self {
        Self::Unavailable
    }
}

impl From<NoIds> for Refusal {
    fn from(_: NoIds) -> Self {
        Self::Unavailable
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::Overloaded,
            AppendError::Away => Self::Unavailable,
        }
    }
}
