//! Senders that never stop by themselves, and a book of what they were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Http, Server, eventually, now_s, token};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// Senders over HTTP, and as many over sockets.
const SENDERS: usize = 6;
/// Comments a socket sends before the first is answered.
const AHEAD_MAX: usize = 8;

/// What one sender said; its text is also its `client_msg_id`.
#[derive(Default)]
pub struct Sent {
    user: String,
    /// Text → id.
    pub acknowledged: BTreeMap<String, u64>,
    /// Sent, and no answer came.
    unsure: BTreeSet<String>,
}

impl Sent {
    fn draft(&mut self, round: usize) -> Value {
        let number = self.acknowledged.len() + self.unsure.len();
        let text = format!("{} round {round} number {number}", self.user);
        self.unsure.insert(text.clone());
        json!({ "type": "comment", "room_id": "r", "content": text, "client_msg_id": text })
    }

    fn acknowledge(&mut self, text: &str, id: &Value) {
        assert!(self.unsure.remove(text), "{text:?} was acknowledged twice or never sent");
        self.acknowledged.insert(text.to_owned(), id.as_str().unwrap().parse().unwrap());
    }
}

/// Starts the senders; they end when the server does.
pub fn send_from_everywhere(server: &Server, round: usize, acknowledged: &Arc<AtomicUsize>) -> JoinSet<Sent> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let user = format!("http-{sender}");
        senders.spawn(over_http(server.user(&user), user, round, acknowledged.clone()));
        senders.spawn(over_socket(server.address().to_owned(), format!("ws-{sender}"), round, acknowledged.clone()));
    }
    senders
}

async fn over_http(http: Http, user: String, round: usize, acknowledged: Arc<AtomicUsize>) -> Sent {
    let mut sent = Sent { user, ..Sent::default() };
    loop {
        let draft = sent.draft(round);
        let Ok(answer) = http.request(Method::POST, "rooms/r/comments").json(&draft).send().await else { return sent };
        if answer.status() != 201 {
            return sent;
        }
        let Ok(body) = answer.json::<Value>().await else { return sent };
        sent.acknowledge(draft["content"].as_str().unwrap(), &body["id"]);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn over_socket(address: String, user: String, round: usize, acknowledged: Arc<AtomicUsize>) -> Sent {
    let token = token(&json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 600 }));
    let mut sent = Sent { user, ..Sent::default() };
    let connected = connect_async(format!("ws://{address}/ws?max_per_s=0&room_id=r&token={token}")).await;
    // The server may be killed before the last of them is connected.
    let Ok((socket, _)) = connected else { return sent };
    let (mut out, mut incoming) = socket.split();
    loop {
        while sent.unsure.len() < AHEAD_MAX {
            let draft = sent.draft(round);
            if out.send(Message::text(draft.to_string())).await.is_err() {
                return sent;
            }
        }
        let Some(Ok(message)) = incoming.next().await else { return sent };
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "comment_ack" {
            sent.acknowledge(message["client_msg_id"].as_str().unwrap(), &message["id"]);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Everything that was promised to anybody.
#[derive(Default)]
pub struct Ledger {
    /// Text → id.
    promised: BTreeMap<String, u64>,
    /// What to say again: user → texts.
    again: BTreeMap<String, BTreeSet<String>>,
}

impl Ledger {
    /// Enters what senders were promised, and what they do not know.
    pub fn add(&mut self, sent: Vec<Sent>) {
        for mut sent in sent {
            let again = self.again.entry(sent.user).or_default();
            again.extend(sent.acknowledged.keys().cloned());
            again.append(&mut sent.unsure);
            self.promised.append(&mut sent.acknowledged);
        }
    }

    /// Says everything again that was said since the last time: what was acknowledged must get its first id,
    /// and what was not gets one now.
    pub async fn retry_all(&mut self, server: &Server) {
        for (user, texts) in std::mem::take(&mut self.again) {
            let http = server.user(&user);
            for text in texts {
                let draft = json!({ "content": text, "client_msg_id": text });
                let answer = http.post("rooms/r/comments", draft).await.expect(201);
                let id: u64 = answer["id"].as_str().unwrap().parse().unwrap();
                assert_eq!(*self.promised.entry(text.clone()).or_insert(id), id, "{text}");
            }
        }
    }

    /// The kept comments are the promised ones, each once.
    pub fn is_what_was_kept(&self, kept: &[Value]) {
        let mut found = BTreeMap::new();
        for comment in kept {
            let (text, id) = (comment["content"].as_str().unwrap().to_owned(), id_of(comment));
            assert_eq!(found.insert(text, id), None, "kept twice: {comment}");
        }
        let lost: Vec<_> = self.promised.keys().filter(|text| !found.contains_key(*text)).collect();
        assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), self.promised.len());
        assert_eq!(found, self.promised);
    }
}

fn id_of(comment: &Value) -> u64 {
    comment["id"].as_str().unwrap().parse().unwrap()
}

/// All that a room keeps, by its sessions' replays.
pub async fn replayed(server: &Server, room: &str) -> Vec<Value> {
    let http = server.user("auditor");
    let sessions = http.get(&format!("rooms/{room}/sessions")).await.expect(200);
    let mut all = Vec::new();
    for session in sessions["sessions"].as_array().unwrap() {
        let base = format!("rooms/{room}/replay?limit=1000&session_id={}", session["session_id"].as_str().unwrap());
        let mut cursor = String::new();
        loop {
            let mut page = http.get(&format!("{base}&cursor={cursor}")).await.expect(200);
            all.append(page["comments"].as_array_mut().unwrap());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
    }
    all
}

/// A reader who keeps passing `latest_id`, whatever happens to the server.
pub struct Reader {
    read: Arc<Mutex<Vec<u64>>>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Reads from the server at the newest of `urls`.
    pub fn start(urls: watch::Receiver<String>) -> Self {
        let read = Arc::<Mutex<Vec<u64>>>::default();
        let task = tokio::spawn(read_on(urls, read.clone()));
        Self { read, task }
    }

    /// Waits until everything promised has been read, and nothing came twice.
    pub async fn has_read(self, ledger: &Ledger) {
        let missing = || {
            let read: BTreeSet<u64> = self.read.lock().unwrap().iter().copied().collect();
            ledger
                .promised
                .iter()
                .filter(|(_, id)| !read.contains(id))
                .map(|(text, _)| text.clone())
                .collect::<Vec<_>>()
        };
        eventually("the reader", async || (self.read.lock().unwrap().len() >= ledger.promised.len()).then_some(()))
            .await;
        assert_eq!(missing(), Vec::<String>::new(), "skipped by a reader who passed latest_id");
        assert_eq!(self.read.lock().unwrap().len(), ledger.promised.len(), "some came twice");
        self.task.abort();
    }
}

async fn read_on(mut urls: watch::Receiver<String>, read: Arc<Mutex<Vec<u64>>>) {
    let token = token(&json!({ "sub": "reader", "iat": now_s() - 5, "exp": now_s() + 600 }));
    let mut latest = "0".to_owned();
    loop {
        let http = Http::new(&urls.borrow_and_update().clone(), Some(&token));
        while let Some(page) = page(&http, &latest).await {
            page["latest_id"].as_str().unwrap().clone_into(&mut latest);
            read.lock().unwrap().extend(page["comments"].as_array().unwrap().iter().map(id_of));
        }
        // The server is away: try again when there is another, or a moment later.
        let _ = timeout(Duration::from_millis(50), urls.changed()).await;
    }
}

async fn page(http: &Http, since_id: &str) -> Option<Value> {
    let path = format!("rooms/r/comments?limit=500&wait_s=5&since_id={since_id}");
    let answer = http.request(Method::GET, &path).send().await.ok()?;
    if answer.status() == 200 { answer.json().await.ok() } else { None }
}
