//! Doors for programs that were written for other servers: players, Pusher, Twitch chat (IRC), goim.
//!
//! A folder is a door: a codec that is pure, and a session over it. Doors use the public faces of `ingest`, `hub`,
//! `api` and `fanout` alone, and nothing imports them but `server`. Every rule holds for them as for sockets, because they ask the same
//! functions. A door that is off has no route, no listener and no task.

#![forbid(unsafe_code)]

mod edge;
mod feed;
mod goim;
mod identity;
mod irc;
mod link;
mod players;
mod pusher;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use api::{App, Services};
use axum::Router;
use fanout::ChannelFanout;
use rustls::ServerConfig;
use state::Addresses;
use tokio_util::task::TaskTracker;

pub use crate::edge::ConnectionPermit;
use crate::edge::Edge;
pub use crate::pusher::PusherKeys;

/// Which doors are open, and what holds for all of them.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// Whether players are served.
    pub players: bool,
    /// The Pusher door.
    pub pusher: Option<PusherKeys>,
    /// Whether the IRC door is open.
    pub irc: bool,
    /// Whether the goim door is open.
    pub goim: bool,
    /// The program's version.
    pub version: &'static str,
    /// What holds for everybody.
    pub limits: settings::Limits,
    /// What holds for sockets, and for a door's connections alike.
    pub sockets: settings::Sockets,
}

/// The open doors.
pub struct Doors(Arc<Edge>);

impl Doors {
    /// Doors that nothing has gone through yet. `channels` lead to the doors of other nodes.
    #[must_use]
    pub fn new(
        app: Arc<Services>,
        addresses: Arc<Addresses>,
        channels: Arc<dyn ChannelFanout>,
        settings: DoorSettings,
    ) -> Self {
        Self(Arc::new(Edge { app, addresses, channels, settings, tasks: TaskTracker::new() }))
    }

    /// Adds the doors' routes to those of the API. Must be called within a Tokio runtime.
    pub fn attach(&self, mut routes: Router<App>) -> Router<App> {
        let settings = &self.0.settings;
        if settings.players {
            routes = routes.merge(players::router());
        }
        if let Some(keys) = &settings.pusher {
            routes = routes.merge(pusher::router(&self.0, keys.clone()));
        }
        if settings.goim {
            routes = routes.merge(goim::router(&self.0));
        }
        if settings.irc {
            routes = irc::attach(routes, &self.0);
        }
        routes
    }

    /// Accepts connections of the IRC door, over TLS where `tls` says how. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the listener.
    pub fn listen_irc(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let listener = listening(listener)?;
        self.0.tasks.spawn(self.0.clone().accept("irc", listener, tls, irc::run));
        Ok(())
    }

    /// Accepts connections of the goim door, over TLS where `tls` says how. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the listener.
    pub fn listen_goim(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let listener = listening(listener)?;
        self.0.tasks.spawn(self.0.clone().accept("goim", listener, tls, goim::run));
        Ok(())
    }

    /// Waits until every session has ended. They end by themselves when the server drains.
    pub async fn drain(self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

fn listening(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
