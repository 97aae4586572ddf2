//! The goim door: packets with a 16-byte header, over TCP and WebSocket, for native apps and existing clients.
//!
//! [`codec`] is packets as bytes, [`message`] a comment as their readers expect it, [`session`] one connection. Read only.

mod codec;
mod message;
mod session;

use std::sync::Arc;

use api::App;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use protocol::ws::Opcode;

use crate::edge::Edge;
pub(crate) use session::run;

/// `/sub`, and `/` under it as some clients write it.
pub(crate) fn router(edge: &Arc<Edge>) -> Router<App> {
    let edge = edge.clone();
    let handler =
        get(move |request: Request| async move { edge.upgrade("goim", (Opcode::Binary, None), request, run) });
    Router::new().route("/sub", handler)
}
