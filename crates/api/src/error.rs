//! The one shape of a refusal: `{"error": {"code", "message", "retry_after_ms"?, "rule"?}}`, and its statuses in the reference.
//!
//! Every handler returns [`ApiError`]; each operation names the sets below that it can answer with. Never decides
//! whether something is refused.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{Code, WireError};
use serde::Serialize;
use store::StoreError;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response as ResponseDoc, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// An error on its way out. Its status is the code's, but for the few that HTTP itself names.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    error: WireError,
}

/// What a handler returns.
pub(crate) type Answer = Result<Response, ApiError>;

impl<E: Into<WireError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

impl ApiError {
    /// The same error under another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The error without its status.
    #[must_use]
    pub fn into_wire(self) -> WireError {
        self.error
    }

    /// A body that is longer than this path takes.
    pub(crate) fn too_large() -> Self {
        let error = WireError::new(Code::ContentTooLong, "the body is longer than this path takes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    }
}

/// A refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ErrorFields)]
struct ErrorFields<'a> {
    #[schema(value_type = Code)]
    code: &'static str,
    /// For people.
    message: &'a str,
    /// When trying again may help, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// The rule that refused: a key of the room's `moderation`, or `words`, `speakers`, `slow_mode_s`, `hook`,
    /// `classifier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rule: Option<&'a str>,
    /// `segments` where live segments would serve this reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    prefer: Option<&'a str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let WireError { code, message, retry_after_ms, rule, .. } = &self.error;
        let (code, retry_after_ms, rule) = (code.as_str(), *retry_after_ms, rule.as_deref());
        let error = ErrorFields { code, message, retry_after_ms, rule, prefer: self.error.prefer() };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        let headers = response.headers_mut();
        if let Some(ms) = self.error.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Turns a store's failure into `unavailable`.
pub(crate) fn unavailable(_: StoreError) -> WireError {
    WireError::unavailable()
}

/// Refuses a path that does not exist.
pub(crate) async fn no_such_path() -> ApiError {
    WireError::not_found("there is nothing under this path").into()
}

/// Answers every path without a route. A WebSocket handshake on a connection that has carried HTTP is sent to a new
/// connection, where the gateway meets it.
pub(crate) async fn fallback(uri: Uri) -> Response {
    if uri.path() != "/ws" {
        return no_such_path().await.into_response();
    }
    let error = WireError::invalid("a socket needs a new connection of its own, to a node that takes sockets");
    let refused = ApiError::from(error).with_status(StatusCode::MISDIRECTED_REQUEST);
    ([(header::CONNECTION, "close")], refused).into_response()
}

/// Refuses a method that a path does not take.
pub(crate) async fn no_such_method() -> ApiError {
    ApiError::from(WireError::invalid("this path does not take this method"))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// A set of refusals for `responses(…)` of an operation.
macro_rules! refusals {
    ($(#[$doc:meta])* $name:ident { $($status:literal: $description:literal),+ $(,)? }) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
                BTreeMap::from([$((stringify!($status).to_owned(), refusal($status, $description))),+])
            }
        }
    };
}

fn refusal(status: u16, description: &str) -> RefOr<ResponseDoc> {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    let mut response = ResponseBuilder::new().description(description).content("application/json", body);
    if matches!(status, 429 | 503) {
        let seconds = HeaderBuilder::new().schema(Some(u64::schema())).description(Some("Seconds.")).build();
        response = response.header("Retry-After", seconds);
    }
    response.into()
}

refusals!(
    /// What every operation can answer.
    Refused {
        400: "`invalid_request`: the request does not parse, a field is out of range, or the Host header is missing or doubled.",
        401: "`unauthorized`: a valid token is needed.",
        403: "`forbidden`, `banned`, `muted` or `room_closed`: the caller may not do this, or its origin may not call.",
        429: "`rate_limited`: too many requests of this user or address; `retry_after_ms` says when to try again.",
        503: "`overloaded` or `unavailable`: try again later.",
    }
);
refusals!(
    /// What an operation on something named can answer.
    Unknown { 404: "`not_found`: it does not exist, or not for this caller." }
);
refusals!(
    /// What an operation can answer that has been done already, or cannot be done any more.
    Conflict { 409: "`already_liked`, `duplicate_comment`, `too_late`, `group_full`, `claimed` or `already_voted`: something else came first." }
);
refusals!(
    /// What an operation that reads a body can answer.
    BodyRefused {
        408: "`invalid_request`: the body came too slowly.",
        413: "`content_too_long`: the body is longer than this path takes.",
    }
);
refusals!(
    /// What an operation that publishes a text can answer.
    TextRefused { 422: "`content_empty`, `content_too_long` or `content_blocked`: the text cannot be published." }
);
refusals!(
    /// What an operation with a rate limit can answer.
    RateLimited { 429: "`rate_limited`: too many of these; `retry_after_ms` says when to try again." }
);
