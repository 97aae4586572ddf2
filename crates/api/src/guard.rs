//! The layers around every handler: which hosts and origins are served, how long an answer may take, and the headers
//! that make browsers careful.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use model::panics::contained;
use model::{Code, Metrics, WireError};

use crate::cacheable::is_shared_path;
use crate::error::ApiError;
use crate::origins::{Origins, host};
use crate::uploads::is_upload;

/// Longer than the longest poll and the slowest body together.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
/// The largest piece of a body that a connection is handed at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Refuses requests without exactly one Host (RFC 9112, section 3.2), and those of pages that may not call, before
/// anything is done for them.
pub(crate) async fn known_site(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        return ApiError::from(WireError::invalid("a request needs exactly one Host header")).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    let host = host(request.uri(), request.headers().get(header::HOST));
    let is_shared = request.method().is_safe() && is_shared_path(request.uri().path());
    if origins.allows(origin, host) || (is_shared && origins.allows_any_page(host)) {
        return next.run(request).await;
    }
    let error = WireError::new(Code::Forbidden, "this origin or host may not call; see the list of allowed origins");
    ApiError::from(error).into_response()
}

/// Gives up on a request that hangs. Uploads have their own limit, on silence.
pub(crate) async fn answer_in_time(request: Request, next: Next) -> Response {
    if is_upload(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(WireError::unavailable()).into_response(),
    }
}

/// Runs a change to its end even if the client hangs up halfway: a change is several steps, and none of them may be
/// left undone.
pub(crate) async fn finish_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let done = tokio::spawn(contained(next.run(request))).await;
    done.ok().flatten().unwrap_or_else(|| ApiError::from(WireError::unavailable()).into_response())
}

/// What every request passes, in one layer because each costs a few allocations: it is counted and timed by the route's
/// pattern, and its answer gets careful headers and comes in pieces.
pub(crate) async fn surround(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let fresh = ["/api/v1/", "/s/"].iter().any(|root| request.uri().path().starts_with(root));
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let status = format!("{}xx", response.status().as_u16() / 100);
    let labels = [("route", route), ("method", method)];
    metrics.http_time.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    let [route, method] = labels;
    metrics.http_requests.get_or_create(&[route, method, ("status", status)]).inc();
    add_safe_headers(&mut response, fresh);
    in_pieces(response)
}

/// Keeps browsers from guessing content types, and from storing answers of the API.
fn add_safe_headers(response: &mut Response, fresh: bool) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    if fresh {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Hands large bodies on in pieces, so that a reader who takes nothing makes the connection buffer one of them.
fn in_pieces(response: Response) -> Response {
    if response.body().size_hint().exact().is_some_and(|length| length <= PIECE_BYTES as u64) {
        return response;
    }
    response.map(|body| Body::new(Pieces { body, rest: Bytes::new() }))
}

/// A body whose frames are cut into pieces.
struct Pieces {
    body: Body,
    /// What is left of the current frame.
    rest: Bytes,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
