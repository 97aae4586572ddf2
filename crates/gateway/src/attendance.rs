//! Tells chat who comes and goes, in the order in which it happened.
//!
//! One task. The shards note comings and goings without waiting; told by tasks of their own, a going could overtake
//! its coming and leave somebody here for ever. What waits is bounded by the sockets there are: one coming
//! and one going each.

use std::sync::Arc;

use chat::Chat;
use tokio::sync::mpsc;

use crate::conn::Session;

/// What happened to a socket.
pub(crate) enum Attendance {
    /// Somebody is on it.
    Came(Arc<Session>),
    /// They are on it no more.
    Went(Arc<Session>),
}

/// Where shards note it.
pub(crate) type Attendants = mpsc::UnboundedSender<Attendance>;

/// Tells until the last shard has ended.
pub(crate) async fn attend(chat: Arc<Chat>, mut noted: mpsc::UnboundedReceiver<Attendance>) {
    while let Some(noted) = noted.recv().await {
        match noted {
            Attendance::Came(session) => chat.connected(&session.identity, session.socket).await,
            Attendance::Went(session) => chat.disconnected(&session.identity, session.socket).await,
        }
    }
    chat.store_sightings().await;
}
