//! Why something in chat was refused, and how that is said outside.

use std::borrow::Cow;

use model::{Code, NoIds, WireError};
use state::StateError;
use store::StoreError;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// A field is out of its range.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// It does not exist, or not for this person.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// This person may not do that.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The time for a recall has passed.
    #[error("too late")]
    TooLate,
    /// More members than a group may have.
    #[error("the group is full")]
    GroupFull {
        /// How many it may have.
        members_max: u32,
    },
    /// Nothing to say.
    #[error("empty")]
    Empty,
    /// Too much to say.
    #[error("too long")]
    TooLong {
        /// How much is allowed.
        max: u32,
        /// Of what: characters or bytes.
        unit: &'static str,
    },
    /// A rate limit.
    #[error("rate limited")]
    Limited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Bans, mutes or words stand against it.
    #[error(transparent)]
    Screened(WireError),
    /// The queue before the store is full.
    #[error("overloaded")]
    Overloaded,
    /// A dependency is away.
    #[error("unavailable")]
    Unavailable,
}

impl ChatError {
    /// The recipient has blocked the sender.
    pub(crate) const BLOCKED: Self = Self::Forbidden("this person does not take messages from you");
}

impl From<ChatError> for WireError {
    fn from(error: ChatError) -> Self {
        let said = |code, message: Cow<'static, str>| Self::new(code, message);
        match error {
            ChatError::Invalid(message) => Self::invalid(message),
            ChatError::NotFound(what) => said(Code::NotFound, format!("there is no such {what}").into()),
            ChatError::Forbidden(message) => said(Code::Forbidden, message.into()),
            ChatError::TooLate => said(Code::TooLate, "the message is too old to be taken back".into()),
            ChatError::GroupFull { members_max } => {
                said(Code::GroupFull, format!("a group may have {members_max} members").into())
            }
            ChatError::Empty => said(Code::ContentEmpty, "the message is empty".into()),
            ChatError::TooLong { max, unit } => {
                said(Code::ContentTooLong, format!("a message may have {max} {unit}").into())
            }
            ChatError::Limited { retry_after_ms } => {
                said(Code::RateLimited, "you are sending too fast".into()).retry_after_ms(retry_after_ms.max(1))
            }
            ChatError::Screened(error) => error,
            ChatError::Overloaded => {
                said(Code::Overloaded, "too many messages; try again".into()).retry_after_ms(1_000)
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
