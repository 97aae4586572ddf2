//! Why chat refused a request, and the error the client sees.

use std::borrow::Cow;

use model::{Code, NoIds, WireError};
use state::StateError;
use store::StoreError;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// A field is out of its range.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// It does not exist, or not for this user.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// This user may not do that.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The time to recall or edit has passed, or the message was recalled.
    #[error("{0}")]
    TooLate(&'static str),
    /// More members than a group may have.
    #[error("the group is full")]
    GroupFull {
        /// Members allowed.
        members_max: u32,
    },
    /// Nothing is left of the content.
    #[error("empty")]
    Empty,
    /// The content is too long.
    #[error("too long")]
    TooLong {
        /// The limit.
        max: u32,
        /// Its unit: characters or bytes.
        unit: &'static str,
    },
    /// A rate limit.
    #[error("rate limited")]
    Limited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Refused for a ban, a mute or a word list.
    #[error(transparent)]
    Filtered(WireError),
    /// The queue before the store is full.
    #[error("overloaded")]
    Overloaded,
    /// A dependency is away.
    #[error("unavailable")]
    Unavailable,
}

impl ChatError {
    /// A message that was taken back.
    pub(crate) const RECALLED: Self = Self::TooLate("the message was recalled");
    /// The recipient has blocked the sender.
    pub(crate) const BLOCKED: Self = Self::Forbidden("this person does not take messages from you");
}

impl From<ChatError> for WireError {
    fn from(error: ChatError) -> Self {
        let error_with = |code, message: Cow<'static, str>| Self::new(code, message);
        match error {
            ChatError::Invalid(message) => Self::invalid(message),
            ChatError::NotFound(what) => error_with(Code::NotFound, format!("there is no such {what}").into()),
            ChatError::Forbidden(message) => error_with(Code::Forbidden, message.into()),
            ChatError::TooLate(message) => error_with(Code::TooLate, message.into()),
            ChatError::GroupFull { members_max } => {
                error_with(Code::GroupFull, format!("a group may have {members_max} members").into())
            }
            ChatError::Empty => error_with(Code::ContentEmpty, "the message is empty".into()),
            ChatError::TooLong { max, unit } => {
                error_with(Code::ContentTooLong, format!("a message may have {max} {unit}").into())
            }
            ChatError::Limited { retry_after_ms } => {
                error_with(Code::RateLimited, "you are sending too fast".into()).retry_after_ms(retry_after_ms.max(1))
            }
            ChatError::Filtered(error) => error,
            ChatError::Overloaded => {
                error_with(Code::Overloaded, "too many messages; try again".into()).retry_after_ms(1_000)
            }
            ChatError::Unavailable => Self::unavailable(),
        }
    }
}

impl From<StoreError> for ChatError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

impl From<NoIds> for ChatError {
    fn from(_: NoIds) -> Self {
        Self::Unavailable
    }
}

impl From<StateError> for ChatError {
    fn from(_: StateError) -> Self {
        Self::Unavailable
    }
}
