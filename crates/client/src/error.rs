//! The one error of this crate, and the close codes that end a connection for good.

use std::time::Duration;

use serde_json::Value;

/// Why a request failed: the server's code, or one of this side's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// Stable. Of the server: `rate_limited`, `content_blocked` and so on. Of this side: `timeout`, `disconnected`, `closed`,
    /// `network`, `outbox_full`, `invalid`.
    pub code: String,
    /// For people.
    pub message: String,
    /// How long to wait before the same request may succeed.
    pub retry_after: Option<Duration>,
    /// HTTP status, when the answer came over HTTP.
    pub status: Option<u16>,
}

impl Error {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry_after: None, status: None }
    }

    /// The error of an `error` message, or of an error body. A field of another type reads as absent.
    pub(crate) fn of(fields: &Value) -> Self {
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        Self {
            code: text("code").unwrap_or_else(|| "unknown".to_owned()),
            message: text("message").unwrap_or_else(|| "the server refused".to_owned()),
            retry_after: fields["retry_after_ms"].as_u64().map(Duration::from_millis),
            status: None,
        }
    }

    /// Whether the same request may well succeed a little later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.code.as_str(), "overloaded" | "unavailable" | "timeout" | "rate_limited" | "network")
    }
}

/// Close codes of the protocol.
pub(crate) const ABNORMAL: u16 = 1006;
pub(crate) const NORMAL: u16 = 1000;
pub(crate) const RECONNECT: u16 = 1012;
pub(crate) const UNAUTHORIZED: u16 = 4001;

/// Whether connecting again by itself cannot help: unauthorized, banned, replaced by the same device, or too many bad messages.
#[must_use]
pub const fn is_fatal_close(code: u16) -> bool {
    matches!(code, UNAUTHORIZED | 4003 | 4009 | 4010)
}
