//! How a refusal is written: always JSON, always `{"error": {"code", "message", "retry_after_ms"?}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{Code, WireError};
use serde::Serialize;
use store::StoreError;

/// An error on its way out. Its status is the code's, but for the few that HTTP itself names.
#[derive(Debug)]
pub(crate) struct ApiError {
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
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// A body longer than this path takes.
    pub fn too_large() -> Self {
        let error = WireError::new(Code::ContentTooLong, "the body is longer than this path takes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u64>,
        }
        let WireError { code, message, retry_after_ms } = &self.error;
        let body = Body { error: Inner { code: code.as_str(), message, retry_after_ms: *retry_after_ms } };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(ms) = retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The store is away.
pub(crate) fn away(_: StoreError) -> WireError {
    WireError::unavailable()
}

/// There is nothing under this path.
pub(crate) async fn no_such_path() -> ApiError {
    WireError::not_found("there is nothing under this path").into()
}

/// As [`no_such_path`], but for a handshake on a connection that has carried HTTP: it is sent to another connection, where the
/// gateway meets it.
pub(crate) async fn nothing_here(uri: Uri) -> Response {
    if uri.path() != "/ws" {
        return no_such_path().await.into_response();
    }
    let error = WireError::invalid("a socket needs a new connection of its own, to a node that takes sockets");
    let refused = ApiError::from(error).with_status(StatusCode::MISDIRECTED_REQUEST);
    ([(header::CONNECTION, "close")], refused).into_response()
}

/// The path knows other methods.
pub(crate) async fn no_such_method() -> ApiError {
    ApiError::from(WireError::invalid("this path does not take this method"))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}
