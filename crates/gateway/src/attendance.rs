//! Tells chat who comes and goes, each socket's coming before its going.
//!
//! The shards note without waiting; one task tells. Told by tasks of their own, a going could overtake its coming and
//! leave somebody here for ever. What waits is bounded by the sockets there are: a going that finds its coming
//! still untold takes it away.

use std::sync::Arc;

use ahash::HashMap;
use chat::Chat;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::conn::Session;

/// Notes told at once, of different sockets: each may ask other machines.
const AT_ONCE: usize = 64;

/// What is to be told.
#[derive(Default)]
pub(crate) struct Attendance {
    noted: Mutex<Noted>,
    changed: Notify,
}

#[derive(Default)]
struct Noted {
    /// By the sockets' numbers.
    sockets: HashMap<u64, Note>,
    /// Nobody notes any more.
    over: bool,
}

enum Note {
    Came(Arc<Session>),
    Went(Arc<Session>),
}

impl Note {
    async fn tell(self, chat: &Chat) {
        match self {
            Self::Came(session) => chat.connected(&session.identity, session.socket).await,
            Self::Went(session) => chat.disconnected(&session.identity, session.socket).await,
        }
    }
}

impl Attendance {
    /// Somebody is on a socket who was not before.
    pub fn came(&self, session: Arc<Session>) {
        self.noted.lock().sockets.insert(session.socket, Note::Came(session));
        self.changed.notify_one();
    }

    /// They are on it no more.
    pub fn went(&self, session: Arc<Session>) {
        let mut noted = self.noted.lock();
        if noted.sockets.remove(&session.socket).is_none() {
            noted.sockets.insert(session.socket, Note::Went(session));
        }
        self.changed.notify_one();
    }

    /// The shards are gone: what is noted is told, then the task ends.
    pub fn close(&self) {
        self.noted.lock().over = true;
        self.changed.notify_one();
    }

    /// Tells until it is closed.
    pub async fn tell(self: Arc<Self>, chat: Arc<Chat>) {
        loop {
            let (notes, over) = self.take();
            if notes.is_empty() {
                if over {
                    break;
                }
                self.changed.notified().await;
            }
            let telling = futures::stream::iter(notes.into_values());
            telling.for_each_concurrent(AT_ONCE, async |note| note.tell(&chat).await).await;
        }
        chat.store_sightings().await;
    }

    fn take(&self) -> (HashMap<u64, Note>, bool) {
        let mut noted = self.noted.lock();
        (std::mem::take(&mut noted.sockets), noted.over)
    }
}
