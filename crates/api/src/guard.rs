//! What happens around every request: who may ask at all, how long it may take, and headers that
//! keep browsers careful.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::panics::contained;
use model::{Code, WireError};

use crate::error::ApiError;
use crate::origins::{Origins, host};
use crate::uploads::is_incoming;

/// Longer than the longest poll and the slowest body together.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);

/// Refuses requests of pages that may not call, before anything is done for them.
pub(crate) async fn known_site(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if origins.allows(origin, host(request.uri(), request.headers().get(header::HOST))) {
        return next.run(request).await;
    }
    let error = WireError::new(Code::Forbidden, "this origin or host may not call; see the list of allowed origins");
    ApiError::from(error).into_response()
}

/// Gives up on a request that hangs. Uploads have a limit of their own, on silence.
pub(crate) async fn answer_in_time(request: Request, next: Next) -> Response {
    if is_incoming(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(WireError::unavailable()).into_response(),
    }
}

/// Lets what changes something run to its end even if the client hangs up halfway: a change is
/// several steps, and none of them may be left undone.
pub(crate) async fn finish_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let done = tokio::spawn(contained(next.run(request))).await;
    done.ok().flatten().unwrap_or_else(|| ApiError::from(WireError::unavailable()).into_response())
}

/// Nothing is to be guessed about what we send, and answers of the API are news, not documents.
pub(crate) async fn safe_headers(request: Request, next: Next) -> Response {
    let fresh = request.uri().path().starts_with("/api/v1/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    if fresh {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}
