//! Comments that go on and on, at a steady pace.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;

use crate::server::token_of;
use crate::{Http, Server};

/// A crowd that comments in a room so many times a second, until ended or dropped. Each of them says something every other
/// second, so that nobody is too fast, and everybody something else.
pub struct LoadUser {
    ending: watch::Sender<()>,
    task: JoinHandle<u64>,
}

impl LoadUser {
    /// Begins. The people are called `{name}-0`, `{name}-1` and so on.
    #[must_use]
    pub fn start(server: &Server, name: &str, room: &str, per_s: u32) -> Self {
        let (http, room) = (server.http(), room.to_owned());
        let people = (0..2 * per_s).map(|n| http.bearing(&token_of(&format!("{name}-{n}"), "normal")));
        let (people, pace) = (people.collect(), Duration::from_secs(1) / per_s);
        let (ending, ended) = watch::channel(());
        Self { ending, task: tokio::spawn(chat(people, room, pace, ended)) }
    }

    /// Nobody says any more; waits for the answers. Returns how many comments were accepted.
    pub async fn end(self) -> u64 {
        drop(self.ending);
        self.task.await.unwrap()
    }
}

/// Until the other end of `ended` is gone.
async fn chat(people: Vec<Http>, room: String, pace: Duration, mut ended: watch::Receiver<()>) -> u64 {
    let (mut pace, mut answers, mut taken) = (interval(pace), JoinSet::new(), 0);
    for (n, person) in people.iter().cycle().enumerate() {
        tokio::select! {
            _ = ended.changed() => break,
            _ = pace.tick() => {}
        }
        let (person, room) = (person.clone(), room.clone());
        answers.spawn(async move { u64::from(person.comment(&room, &format!("comment {n}")).await.status == 201) });
        while let Some(answer) = answers.try_join_next() {
            taken += answer.unwrap();
        }
    }
    taken + answers.join_all().await.into_iter().sum::<u64>()
}
