//! The Pusher door: the Channels protocol (5 to 7) over rooms, for programs that were written for Pusher.
//!
//! [`name`] says what a channel means, [`signature`] whether somebody holds the secret, [`codec`] is messages as JSON,
//! [`channels`] who subscribes to what on this node, [`session`] one connection, [`http`] what back ends call.

mod channels;
mod codec;
mod http;
mod name;
mod session;
mod signature;

use std::sync::Arc;

use api::App;
use axum::Router;
use axum::extract::{Path, Request};
use axum::routing::{get, post};
use protocol::ws::Opcode;

use self::channels::Channels;
use crate::edge::Edge;

/// The app that clients and back ends know this server as.
#[derive(Debug, Clone)]
pub struct PusherKeys {
    /// In the paths of the HTTP API.
    pub app_id: String,
    /// In the path of the socket; public.
    pub key: String,
    /// Signs subscriptions and calls.
    pub secret: String,
}

/// What the door's sessions and calls share.
struct Door {
    edge: Arc<Edge>,
    keys: PusherKeys,
    channels: Channels,
}

/// `/app/{key}` and `/apps/{app_id}/…`. Must be called within a Tokio runtime.
pub(crate) fn router(edge: &Arc<Edge>, keys: PusherKeys) -> Router<App> {
    let channels = Channels::new(edge.channels.clone());
    let door = Arc::new(Door { edge: edge.clone(), keys, channels });
    let hearing = door.clone();
    edge.tasks.spawn(async move {
        tokio::select! { () = hearing.edge.draining() => {}, () = hearing.channels.hear_nodes() => {} }
    });
    let socket = {
        let door = door.clone();
        get(move |Path(key): Path<String>, request: Request| async move {
            let asked = session::Asked::new(key, request.uri().query());
            let edge = door.edge.clone();
            edge.upgrade("pusher", (Opcode::Text, None), request, move |_, incoming, outbox| {
                session::run(door, asked, incoming, outbox)
            })
        })
    };
    let calls = Router::new()
        .route("/apps/{app_id}/events", post(http::events))
        .route("/apps/{app_id}/batch_events", post(http::batch_events))
        .route("/apps/{app_id}/channels", get(http::list))
        .route("/apps/{app_id}/channels/{channel}", get(http::channel))
        .route("/apps/{app_id}/channels/{channel}/users", get(http::users))
        .with_state(door);
    Router::new().route("/app/{key}", socket).merge(calls)
}
