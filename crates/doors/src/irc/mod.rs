//! The IRC door: Twitch's dialect, over TCP and WebSocket.
//!
//! [`codec`] is lines as bytes, [`render`] what happens in a room as lines, [`session`] one connection, [`room`] one room
//! that it has joined, [`moderate`] what moderators type.

mod codec;
mod moderate;
mod render;
mod room;
mod session;

use std::sync::Arc;

use api::App;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use protocol::ws::Opcode;

use crate::edge::{Edge, asks_for_upgrade, offers};
pub(crate) use session::run;

/// The door's paths. A client that takes `host:port/irc` for a host appends its own port to it.
const PATHS: [&str; 3] = ["/irc", "/irc:80", "/irc:443"];

/// Adds the door's paths, and `/` for clients that ask for the sub-protocol `irc`.
pub(crate) fn attach(routes: Router<App>, edge: &Arc<Edge>) -> Router<App> {
    let door = edge.clone();
    let handler = get(move |request: Request| async move { upgrade(&door, request) });
    let routes = PATHS.into_iter().fold(routes, |routes, path| routes.route(path, handler.clone()));
    routes.layer(from_fn_with_state(edge.clone(), at_root))
}

async fn at_root(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let is_ours =
        request.uri().path() == "/" && asks_for_upgrade(request.headers()) && offers(request.headers(), "irc");
    if is_ours { upgrade(&edge, request) } else { next.run(request).await }
}

fn upgrade(edge: &Arc<Edge>, request: Request) -> Response {
    let protocol = offers(request.headers(), "irc").then_some("irc");
    edge.upgrade("irc", (Opcode::Text, protocol), request, session::run_messages)
}
