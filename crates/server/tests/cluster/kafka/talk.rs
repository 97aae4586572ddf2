//! People who talk in several rooms while something fails, and people who watch them on every gateway.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Http, Server, Viewer, now_s, token};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::alike::replay;

/// Enough that each of two workers has some.
const ROOMS: usize = 6;
/// Between two comments in a room.
const PACE: Duration = Duration::from_millis(200);
/// How long anything may take that heals by itself.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(20);
/// How often who only watches shows that it lives.
const LIFE: Duration = Duration::from_secs(10);

/// One conversation in each room.
pub struct Talk {
    closing: Arc<AtomicBool>,
    /// By room: how many comments were acknowledged.
    said: Vec<Arc<AtomicUsize>>,
    speakers: Vec<JoinHandle<Vec<String>>>,
    watchers: Vec<Watcher>,
}

struct Watcher {
    room: usize,
    /// What was pushed, in its order: the number of the comment in its room, by its id.
    seen: Arc<Mutex<Vec<(String, usize)>>>,
    task: JoinHandle<()>,
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "owner", "exp": now_s() + 3_600 }))
}

impl Talk {
    /// A speaker in each room, and a watcher of each room on each of the gateways.
    pub async fn begin(gateways: &[&Server]) -> Self {
        let (closing, mut watchers) = (Arc::new(AtomicBool::new(false)), Vec::new());
        for room in 0..ROOMS {
            for (n, gateway) in gateways.iter().enumerate() {
                let query = format!("room_id=hall-{room}&token={}", token_of(&format!("watcher-{room}-{n}")));
                let mut socket = gateway.connect(&query).await;
                socket.wait_for("room_joined").await;
                let seen = Arc::default();
                let task = tokio::spawn(watch(socket, Arc::clone(&seen), closing.clone()));
                watchers.push(Watcher { room, seen, task });
            }
        }
        let said: Vec<_> = (0..ROOMS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.url()).collect();
        let speakers = said
            .iter()
            .enumerate()
            .map(|(room, said)| tokio::spawn(speak(addresses.clone(), room, said.clone(), closing.clone())));
        let talk = Self { speakers: speakers.collect(), closing, said, watchers };
        talk.is_heard().await;
        talk
    }

    /// Waits until every watcher has been shown something that was said from now on; how long that took.
    pub async fn is_heard(&self) -> Duration {
        let (begun, said) = (Instant::now(), self.said());
        let heard = |watcher: &Watcher| watcher.newest() > said[watcher.room];
        self.all("something new", heard).await;
        begun.elapsed()
    }

    fn said(&self) -> Vec<usize> {
        self.said.iter().map(|said| said.load(Ordering::Relaxed)).collect()
    }

    async fn all(&self, what: &str, has: impl Fn(&Watcher) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(without) = self.watchers.iter().find(|watcher| !has(watcher)) {
            let seen = without.seen.lock().unwrap().len();
            assert!(Instant::now() < deadline, "hall-{} waits in vain for {what}; has seen {seen}", without.room);
            sleep(LOOK).await;
        }
    }

    /// Ends it: everything that was acknowledged was shown to each watcher once, and is in the replay once. The orders in
    /// which the watchers were shown it, as numbers of comments.
    pub async fn end(mut self, reader: &Server) -> Vec<Vec<usize>> {
        self.closing.store(true, Ordering::Relaxed);
        let speakers = join_all(std::mem::take(&mut self.speakers)).await;
        let said: Vec<BTreeSet<String>> = speakers.into_iter().map(|ids| ids.unwrap().into_iter().collect()).collect();
        self.all("all of it", |watcher| said[watcher.room].is_subset(&watcher.ids())).await;
        for watcher in &self.watchers {
            let seen = watcher.seen.lock().unwrap();
            assert_eq!(seen.len(), said[watcher.room].len(), "hall-{}: shown twice, or unsaid: {seen:?}", watcher.room);
            watcher.task.abort();
        }
        for (room, said) in said.iter().enumerate() {
            let kept = replay(reader, &format!("hall-{room}"), said.len()).await;
            let kept: Vec<_> = kept.as_array().unwrap().iter().map(id).collect();
            assert_eq!((kept.len(), kept.into_iter().collect::<BTreeSet<_>>()), (said.len(), said.clone()));
        }
        let numbers = |watcher: &Watcher| watcher.seen.lock().unwrap().iter().map(|(_, number)| *number).collect();
        self.watchers.iter().map(numbers).collect()
    }
}

impl Watcher {
    fn newest(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|(_, number)| *number).max().unwrap_or(0)
    }

    fn ids(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

fn id(comment: &Value) -> String {
    comment["id"].as_str().unwrap_or_else(|| panic!("no id in {comment}")).to_owned()
}

/// Comments, each until it is acknowledged, wherever that works; their ids.
async fn speak(addresses: Vec<String>, room: usize, said: Arc<AtomicUsize>, closing: Arc<AtomicBool>) -> Vec<String> {
    let (token, mut ids, mut turn) = (token_of(&format!("speaker-{room}")), Vec::new(), room);
    while !closing.load(Ordering::Relaxed) {
        let number = ids.len() + 1;
        let comment = json!({ "content": format!("comment {number}"), "client_msg_id": format!("c-{number}") });
        let http = Http::new(&addresses[turn % addresses.len()], Some(&token));
        let request = http.request("POST".parse().unwrap(), &format!("rooms/hall-{room}/comments")).json(&comment);
        match timeout(PATIENCE, request.send()).await.expect("an answer") {
            Ok(answer) if answer.status() == 201 => {
                ids.push(id(&answer.json().await.unwrap()));
                said.store(number, Ordering::Relaxed);
                sleep(PACE).await;
            }
            Ok(answer) if answer.status() != 503 => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
            _ => {
                turn += 1;
                sleep(LOOK).await;
            }
        }
    }
    ids
}

async fn watch(mut socket: Viewer, seen: Arc<Mutex<Vec<(String, usize)>>>, closing: Arc<AtomicBool>) {
    let mut shown_life = Instant::now();
    loop {
        if shown_life.elapsed() > LIFE {
            shown_life = Instant::now();
            socket.send(json!({ "type": "heartbeat" })).await;
        }
        for message in socket.take(&["comments"]) {
            assert_eq!(message["omitted"].as_u64().unwrap_or(0), 0, "{message}");
            for comment in message["comments"].as_array().unwrap() {
                let number = comment["content"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
                seen.lock().unwrap().push((id(comment), number));
            }
        }
        assert!(!socket.is_closed() || closing.load(Ordering::Relaxed), "a watcher lost its gateway");
        sleep(LOOK).await;
    }
}
