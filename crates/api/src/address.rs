//! The address of a request's client, and its share of connections and requests.
//!
//! A layer around every handler; [`of`] tells handlers the address. Behind a proxy one connection carries requests of many
//! clients, so each request counts as a connection of its client until its answer is sent: that is as long as an event
//! stream or a long poll lives. A client that connects itself was counted when it did.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use model::{Code, WireError};
use state::addresses::UNREADABLE;
use state::{ForwardedHeaders, Permit};

use crate::App;
use crate::error::ApiError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How long a client waits whose address has too many connections.
const FULL_RETRY_MS: u64 = 10_000;

#[derive(Debug, Clone, Copy)]
struct ClientAddress(IpAddr);

/// The client's address, for handlers.
pub(crate) fn of(extensions: &Extensions) -> IpAddr {
    extensions.get::<ClientAddress>().map_or(UNREADABLE, |ClientAddress(address)| *address)
}

/// Counts the request against its client's address.
pub(crate) async fn count(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(UNREADABLE, |ConnectInfo(peer)| peer.ip());
    let (x_forwarded_for, forwarded) =
        (joined(request.headers(), &X_FORWARDED_FOR), joined(request.headers(), &header::FORWARDED));
    let headers = ForwardedHeaders { x_forwarded_for: x_forwarded_for.as_deref(), forwarded: forwarded.as_deref() };
    let client = app.addresses.client(peer, headers);
    if let Err(retry_after_ms) = app.addresses.count_request(client, app.clock.now_ms()) {
        return refused("too many requests from this address", retry_after_ms);
    }
    let permit = if client == peer.to_canonical() { Ok(None) } else { app.addresses.connect(client) };
    let Ok(permit) = permit else { return refused("too many connections from this address", FULL_RETRY_MS) };
    request.extensions_mut().insert(ClientAddress(client));
    let response = next.run(request).await;
    match permit {
        Some(permit) => response.map(|body| Body::new(Counted { body, _permit: permit })),
        None => response,
    }
}

fn refused(message: &'static str, retry_after_ms: u64) -> Response {
    ApiError::from(WireError::new(Code::RateLimited, message).retry_after_ms(retry_after_ms)).into_response()
}

/// All lines of a header as one list (RFC 9110, section 5.3). What is not text stays, as something that cannot be read.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// A body that counts as a connection of its client until it is sent or dropped.
struct Counted {
    body: Body,
    _permit: Permit,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
