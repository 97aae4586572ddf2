//! Why a request was refused, and the error the client sees. Used by every rule of this crate.

use std::borrow::Cow;

use log::AppendError;
use model::{Code, NoIds, WireError};
use moderation::Breach;
use state::{Scope, StateError};
use store::StoreError;

/// Why something a viewer sent was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is out of its range.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// An identity is needed, or it is valid no more.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// This identity may not do that here.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The room takes no comments.
    #[error("the room is closed")]
    RoomClosed,
    /// Its object does not exist, or not for this user.
    #[error("{0}")]
    NotFound(&'static str),
    /// Banned.
    #[error("banned")]
    Banned {
        /// Time left.
        retry_after_ms: u64,
        /// The moderator's reason.
        reason: Option<String>,
    },
    /// Muted by a moderator.
    #[error("muted")]
    Muted {
        /// Time left.
        retry_after_ms: u64,
        /// The moderator's reason.
        reason: Option<String>,
    },
    /// Muted after too many refusals.
    #[error("cooling down")]
    CoolingDown {
        /// Time left.
        retry_after_ms: u64,
    },
    /// Nothing is left of the content.
    #[error("empty")]
    Empty,
    /// Too many characters.
    #[error("too long")]
    TooLong {
        /// Characters allowed.
        chars_max: u32,
    },
    /// A rate limit.
    #[error("rate limited")]
    Limited {
        /// Whose limit.
        scope: Scope,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The same text again.
    #[error("duplicate")]
    Duplicate {
        /// When the text may be repeated.
        retry_after_ms: u64,
    },
    /// A blocked word.
    #[error("blocked")]
    Blocked,
    /// The room's speakers do not include this user.
    #[error("no speaker")]
    NotSpeaker,
    /// A rule of the room.
    #[error("a rule of the room: {}", .breach.rule())]
    Ruled {
        /// The rule.
        breach: Breach,
        /// When to try again, where that helps.
        retry_after_ms: Option<u64>,
    },
    /// The hook or the classifier.
    #[error("the {by} refused")]
    Screened {
        /// `hook` or `classifier`.
        by: &'static str,
        /// What it told the sender.
        reason: Option<String>,
    },
    /// The hook did not answer, and the room takes nothing without it.
    #[error("the hook is away")]
    HookAway,
    /// This user has liked it before.
    #[error("already liked")]
    AlreadyLiked,
    /// The queue before the log is full.
    #[error("overloaded")]
    Overloaded,
    /// A dependency is away; nothing was stored.
    #[error("unavailable")]
    Unavailable,
    /// A dependency gave no answer in time: it may have been taken or not.
    #[error("the outcome is unknown")]
    Unknown,
}

impl Refusal {
    /// Whether it counts towards a cool-down: refusals that a flooding client causes itself.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self {
            Self::Limited { scope, .. } => matches!(scope, Scope::User | Scope::SlowMode),
            Self::Duplicate { .. } | Self::Blocked | Self::TooLong { .. } | Self::Screened { .. } => true,
            // Who may not speak at all is no flood.
            Self::Ruled { breach, .. } => breach.code() != Code::Forbidden,
            _ => false,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidRequest,
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::Forbidden(_) | Self::NotSpeaker => Code::Forbidden,
            Self::Ruled { breach, .. } => breach.code(),
            Self::RoomClosed => Code::RoomClosed,
            Self::NotFound(_) => Code::NotFound,
            Self::Banned { .. } => Code::Banned,
            Self::Muted { .. } | Self::CoolingDown { .. } => Code::Muted,
            Self::Empty => Code::ContentEmpty,
            Self::TooLong { .. } => Code::ContentTooLong,
            Self::Limited { scope: Scope::Global, .. } | Self::Overloaded => Code::Overloaded,
            Self::Limited { .. } => Code::RateLimited,
            Self::Duplicate { .. } => Code::DuplicateComment,
            Self::Blocked | Self::Screened { .. } => Code::ContentBlocked,
            Self::AlreadyLiked => Code::AlreadyLiked,
            Self::Unavailable | Self::Unknown | Self::HookAway => Code::Unavailable,
        }
    }

    /// The rule that refused, as `error.rule` names it.
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Blocked => Some("words"),
            Self::NotSpeaker => Some("speakers"),
            Self::Limited { scope: Scope::SlowMode, .. } => Some("slow_mode_s"),
            Self::Ruled { breach, .. } => Some(breach.rule()),
            Self::Screened { by, .. } => Some(by),
            Self::HookAway => Some("hook"),
            _ => None,
        }
    }

    /// The rule, if its refusal stands in the audit trail. Rates are refused too often for that.
    #[must_use]
    pub(crate) fn audited_rule(&self) -> Option<&'static str> {
        match self {
            Self::Blocked | Self::Ruled { .. } | Self::Screened { .. } | Self::HookAway => self.rule(),
            _ => None,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        let because = |what: &'static str, reason: &Option<String>| match reason {
            Some(reason) => Cow::Owned(format!("{what}: {reason}")),
            None => Cow::Borrowed(what),
        };
        match self {
            Self::Invalid(message) => message.clone(),
            Self::Unauthorized(message) | Self::Forbidden(message) | Self::NotFound(message) => (*message).into(),
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
            Self::NotSpeaker => "you may not speak in this room now".into(),
            Self::Ruled { breach, .. } => breach.message().into(),
            Self::Screened { reason, .. } => because("the comment is not allowed here", reason),
            Self::HookAway => "the comment cannot be checked now; try again".into(),
            Self::Blocked => "the comment contains a word that is not allowed here".into(),
            Self::AlreadyLiked => "you like it already".into(),
            Self::Unavailable => WireError::unavailable().message,
            Self::Unknown => WireError::unknown_outcome().message,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Banned { retry_after_ms, .. }
            | Self::Muted { retry_after_ms, .. }
            | Self::CoolingDown { retry_after_ms }
            | Self::Limited { retry_after_ms, .. }
            | Self::Duplicate { retry_after_ms } => Some((*retry_after_ms).max(1)),
            Self::Ruled { retry_after_ms, .. } => *retry_after_ms,
            Self::Overloaded | Self::Unavailable | Self::Unknown | Self::HookAway => Some(1_000),
            _ => None,
        }
    }
}

impl From<Refusal> for WireError {
    fn from(refusal: Refusal) -> Self {
        let rule = refusal.rule().map(Cow::Borrowed);
        let retry_after_ms = refusal.retry_after_ms();
        Self { retry_after_ms, rule, ..Self::new(refusal.code(), refusal.message()) }
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
            // Only who appended a comment is told more; nothing else has a `client_msg_id`.
            AppendError::Unknown | AppendError::Repeat(_) => Self::Unknown,
        }
    }
}
