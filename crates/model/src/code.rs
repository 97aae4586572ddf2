//! The stable error codes of the contract and the one shape in which an error leaves the server.
//!
//! Each operation has its own error type; it becomes a [`WireError`] in one exhaustive `From`.

use std::borrow::Cow;

use crate::NoIds;

/// A stable reason, the same over HTTP and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request does not parse or a field is out of range.
    InvalidRequest,
    /// No identity, or one that does not verify.
    Unauthorized,
    /// The identity may not do this.
    Forbidden,
    /// Banned from the room or the deployment.
    Banned,
    /// Muted, or cooling down after too many refusals.
    Muted,
    /// The room accepts no comments now.
    RoomClosed,
    /// It does not exist, or not for this caller.
    NotFound,
    /// This user likes this comment already.
    AlreadyLiked,
    /// Nothing is left of the content.
    ContentEmpty,
    /// More characters or bytes than allowed.
    ContentTooLong,
    /// A word on the block list.
    ContentBlocked,
    /// A rate limit; the answer says when to try again.
    RateLimited,
    /// The same text again too soon.
    DuplicateComment,
    /// Another moderator is deciding about it, or has decided.
    Claimed,
    /// This user has voted already.
    AlreadyVoted,
    /// The time for this has passed.
    TooLate,
    /// The group holds as many members as it may.
    GroupFull,
    /// The server sheds load; try again later.
    Overloaded,
    /// Something the server depends on is away. The message says when it may have been taken all the same.
    Unavailable,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Banned,
        Self::Muted,
        Self::RoomClosed,
        Self::NotFound,
        Self::AlreadyLiked,
        Self::ContentEmpty,
        Self::ContentTooLong,
        Self::ContentBlocked,
        Self::RateLimited,
        Self::DuplicateComment,
        Self::Claimed,
        Self::AlreadyVoted,
        Self::TooLate,
        Self::GroupFull,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// The code of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Banned => "banned",
            Self::Muted => "muted",
            Self::RoomClosed => "room_closed",
            Self::NotFound => "not_found",
            Self::AlreadyLiked => "already_liked",
            Self::ContentEmpty => "content_empty",
            Self::ContentTooLong => "content_too_long",
            Self::ContentBlocked => "content_blocked",
            Self::RateLimited => "rate_limited",
            Self::DuplicateComment => "duplicate_comment",
            Self::Claimed => "claimed",
            Self::AlreadyVoted => "already_voted",
            Self::TooLate => "too_late",
            Self::GroupFull => "group_full",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status that carries it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::Banned | Self::Muted | Self::RoomClosed => 403,
            Self::NotFound => 404,
            Self::AlreadyLiked
            | Self::DuplicateComment
            | Self::Claimed
            | Self::AlreadyVoted
            | Self::TooLate
            | Self::GroupFull => 409,
            Self::ContentEmpty | Self::ContentTooLong | Self::ContentBlocked => 422,
            Self::RateLimited => 429,
            Self::Overloaded | Self::Unavailable => 503,
        }
    }
}

impl utoipa::PartialSchema for Code {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        crate::schema::one_of(Self::ALL.map(Self::as_str), "A stable reason. More may come.")
    }
}

impl utoipa::ToSchema for Code {}

/// An error as the outside sees it: `{code, message, retry_after_ms?, rule?}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct WireError {
    /// The stable reason.
    pub code: Code,
    /// A sentence for people; it never carries internals.
    pub message: Cow<'static, str>,
    /// When trying again may succeed, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The rule of the room that refused, where one did.
    pub rule: Option<Cow<'static, str>>,
    /// Whether the reader should come back through a cache, by segments.
    pub prefer_segments: bool,
}

impl From<NoIds> for WireError {
    fn from(_: NoIds) -> Self {
        Self::unavailable()
    }
}

/// The value of `prefer` that sends readers to segments.
pub const PREFER_SEGMENTS: &str = "segments";

impl WireError {
    /// An error that carries no hint when to retry.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, rule: None, prefer_segments: false }
    }

    /// The same error with a hint when to retry.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same error for a reader whom segments would serve.
    #[must_use]
    pub fn prefer_segments(mut self) -> Self {
        self.prefer_segments = true;
        self
    }

    /// What `prefer` says on the wire, if anything.
    #[must_use]
    pub fn prefer(&self) -> Option<&'static str> {
        self.prefer_segments.then_some(PREFER_SEGMENTS)
    }

    /// The store or another dependency is away.
    #[must_use]
    pub fn unavailable() -> Self {
        let message = "a part of the service is away; try again: with the same client_msg_id nothing is done twice";
        Self::new(Code::Unavailable, message).retry_after_ms(1_000)
    }

    /// It may have been done or not: the answer did not come, or came too late.
    #[must_use]
    pub fn unknown_outcome() -> Self {
        let message = "the outcome is unknown: it may have been taken. A repeat with the same client_msg_id is safe";
        Self::new(Code::Unavailable, message).retry_after_ms(1_000)
    }

    /// It does not exist for this caller.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, what)
    }

    /// The request is wrong in the way the message says.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }
}
