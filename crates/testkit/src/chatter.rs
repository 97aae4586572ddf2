//! Comments that go on and on, at a steady pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;

use crate::Server;
use crate::server::token_of;

/// A crowd that comments in a room so many times a second, until dropped. Each of them says something every other second,
/// so that nobody is too fast, and everybody something else.
pub struct Chatter {
    taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Chatter {
    /// Begins. The people are called `{name}-0`, `{name}-1` and so on.
    #[must_use]
    pub fn start(server: &Server, name: &str, room: &str, per_s: u32) -> Self {
        let (http, name, room) = (server.http(), name.to_owned(), room.to_owned());
        let people: Vec<_> =
            (0..2 * per_s).map(|n| http.bearing(&token_of(&format!("{name}-{n}"), "normal"))).collect();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let task = tokio::spawn(async move {
            let (mut pace, mut waiting) = (interval(Duration::from_secs(1) / per_s), JoinSet::new());
            for (n, http) in people.iter().cycle().cloned().enumerate() {
                pace.tick().await;
                let (room, counted, text) = (room.clone(), counted.clone(), format!("{name} {n}"));
                waiting.spawn(async move {
                    let taken = http.comment(&room, &text).await.status == 201;
                    counted.fetch_add(taken.into(), Ordering::Relaxed);
                });
                while waiting.try_join_next().is_some() {}
            }
        });
        Self { taken, task }
    }

    /// Comments that were accepted so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.task.abort();
    }
}
