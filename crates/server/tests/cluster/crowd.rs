//! People who talk and watch in one room of several nodes while something happens to those.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Cluster, Http, Server, Viewer, eventually, now_s, token};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between two comments of one sender: all of them say no more in the 5 s of an absence than one history holds.
const PACE: Duration = Duration::from_millis(250);
/// Before it is tried again, when a node did not take what it was given.
const NEXT: Duration = Duration::from_millis(50);
/// Every request is answered by then, whatever is away.
const ANSWERED: Duration = Duration::from_secs(30);

/// Of comments.
pub type Ids = BTreeSet<String>;

/// How somebody comments.
#[derive(Clone, Copy)]
pub enum By {
    /// Over HTTP, each comment until it is acknowledged, with a `client_msg_id`.
    Http,
    /// The same over sockets.
    Socket,
    /// Over HTTP, without: what is refused is given up.
    HttpOnce,
}

/// The people of a room.
pub struct Crowd {
    hall: Arc<Hall>,
    senders: Vec<JoinHandle<Vec<String>>>,
    watchers: Vec<JoinHandle<Ids>>,
    said: watch::Sender<Option<Ids>>,
}

/// What they share: where nodes are (or were), how many watch, and when to stop.
struct Hall {
    addresses: Mutex<Vec<String>>,
    /// Whether they go to another node after each thing they did.
    roams: bool,
    watching: AtomicUsize,
    acknowledged: AtomicUsize,
    closing: AtomicBool,
}

impl Hall {
    fn address(&self, turn: usize) -> String {
        let addresses = self.addresses.lock().unwrap();
        addresses[turn % addresses.len()].clone()
    }

    fn url(&self, turn: usize) -> String {
        format!("http://{}", self.address(turn))
    }

    fn step(&self) -> usize {
        usize::from(self.roams)
    }

    fn is_open(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }
}

impl Crowd {
    /// Nobody yet. Those who roam go from node to node; the others stay where they are.
    pub fn new(nodes: &Cluster, roams: bool) -> Self {
        let addresses = nodes.nodes.iter().map(|node| node.address().to_owned()).collect();
        let hall = Hall {
            addresses: Mutex::new(addresses),
            roams,
            watching: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        };
        Self { hall: Arc::new(hall), senders: Vec::new(), watchers: Vec::new(), said: watch::channel(None).0 }
    }

    /// One more who talks, beginning on this node.
    pub fn talks(&mut self, node: usize, by: By) {
        let (hall, user) = (self.hall.clone(), format!("talker-{}", self.senders.len()));
        self.senders.push(match by {
            By::Http => tokio::spawn(talks_by_http(hall, user, node, true)),
            By::HttpOnce => tokio::spawn(talks_by_http(hall, user, node, false)),
            By::Socket => tokio::spawn(talks_by_socket(hall, user, node)),
        });
    }

    /// One more who watches, beginning on this node.
    pub fn watches(&mut self, node: usize) {
        let (hall, user) = (self.hall.clone(), format!("watcher-{}", self.watchers.len()));
        self.watchers.push(tokio::spawn(watches(hall, user, node, self.said.subscribe())));
    }

    /// Waits until everybody who watches has a socket.
    pub async fn all_watch(&self) {
        let all = || self.hall.watching.load(Ordering::Relaxed) == self.watchers.len();
        eventually("everybody to watch", async || all().then_some(())).await;
    }

    /// Waits until so many more comments are acknowledged.
    pub async fn goes_on(&self, more: usize) {
        let acknowledged = || self.hall.acknowledged.load(Ordering::Relaxed);
        let enough = acknowledged() + more;
        eventually("more comments to be acknowledged", async || (acknowledged() >= enough).then_some(())).await;
    }

    /// A node has come back at another address.
    pub fn moved(&self, node: usize, server: &Server) {
        server.address().clone_into(&mut self.hall.addresses.lock().unwrap()[node]);
    }

    /// Everybody stops talking, has seen what was acknowledged, and leaves; returns that. No two comments have one id.
    pub async fn leaves(self) -> Ids {
        self.hall.closing.store(true, Ordering::Relaxed);
        let acknowledged: Vec<String> = join_all(self.senders).await.into_iter().flat_map(Result::unwrap).collect();
        let said: Ids = acknowledged.iter().cloned().collect();
        assert_eq!(said.len(), acknowledged.len(), "two comments have one id");
        self.said.send_replace(Some(said.clone()));
        for shown in join_all(self.watchers).await {
            assert_eq!(shown.unwrap(), said, "seen, and acknowledged");
        }
        said
    }
}

/// Waits until the room's replay is what was said, each comment once.
pub async fn keeps(node: &Server, said: &Ids) {
    let kept = eventually("all of it in the replay", async || {
        let kept = replay(&node.user("reader")).await;
        (kept.len() >= said.len()).then_some(kept)
    })
    .await;
    assert_eq!((kept.len(), kept.into_iter().collect::<Ids>()), (said.len(), said.clone()));
}

/// The ids of a room's replay.
async fn replay(http: &Http) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("rooms/hall/replay?cursor={cursor}")).await.expect(200);
        ids.extend(page["comments"].as_array().unwrap().iter().map(id));
        let Some(next) = page["next_cursor"].as_str() else { return ids };
        next.clone_into(&mut cursor);
    }
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "owner", "exp": now_s() + 86_400 }))
}

/// The id of a comment, or of its acknowledgement.
pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id in {answer}")).to_owned()
}

async fn talks_by_http(hall: Arc<Hall>, user: String, mut turn: usize, keyed: bool) -> Vec<String> {
    let (token, mut acknowledged, mut number) = (token_of(&user), Vec::new(), 0);
    let mut http = Http::new(&hall.url(turn), Some(&token));
    while hall.is_open() {
        let mut comment = json!({ "content": format!("{user} says {number}") });
        if keyed {
            comment["client_msg_id"] = json!(format!("{user}-{number}"));
        }
        let request = http.request("POST".parse().unwrap(), "rooms/hall/comments").json(&comment);
        let taken = match timeout(ANSWERED, request.send()).await.expect("an answer") {
            Ok(answer) if answer.status() == 201 => {
                acknowledged.push(id(&answer.json().await.unwrap()));
                hall.acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok(answer) if answer.status() != 503 => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
            _ => false,
        };
        number += usize::from(taken || !keyed);
        sleep(if taken { PACE } else { NEXT }).await;
        if hall.roams {
            turn += hall.step();
            http = Http::new(&hall.url(turn), Some(&token));
        }
    }
    acknowledged
}

async fn talks_by_socket(hall: Arc<Hall>, user: String, mut turn: usize) -> Vec<String> {
    let (query, mut acknowledged) = (format!("token={}", token_of(&user)), Vec::new());
    while hall.is_open() {
        turn += hall.step();
        let Ok(mut socket) = Viewer::open(&hall.address(turn), &query, &[]).await else {
            sleep(NEXT).await;
            continue;
        };
        while hall.is_open() {
            let number = acknowledged.len();
            let comment = json!({
                "type": "comment",
                "room_id": "hall",
                "content": format!("{user} says {number}"),
                "client_msg_id": format!("{user}-{number}"),
            });
            match socket.attempt(comment).await {
                Some(answer) if answer["type"] == "comment_ack" => {
                    acknowledged.push(id(&answer));
                    hall.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Some(answer) => assert_eq!(answer["code"], "unavailable", "{answer}"),
                None => break,
            }
            sleep(PACE).await;
        }
    }
    acknowledged
}

/// Watches until all that was said is shown; comes back, to another node if it roams, when it is told to.
async fn watches(hall: Arc<Hall>, user: String, mut turn: usize, mut said: watch::Receiver<Option<Ids>>) -> Ids {
    let (mut shown, mut since) = (Ids::new(), "0".to_owned());
    loop {
        let query = format!("room_id=hall&history=100&since_id={since}&token={}", token_of(&user));
        let Ok(mut socket) = Viewer::open(&hall.address(turn), &query, &[]).await else {
            sleep(NEXT).await;
            turn += hall.step();
            continue;
        };
        hall.watching.fetch_add(1, Ordering::Relaxed);
        let mut given = Ids::new();
        while !socket.is_closed() {
            for message in socket.take(&["room_joined", "comments"]) {
                assert_eq!(message["omitted"].as_u64().unwrap_or(0), 0, "{message}");
                let part = if message["type"] == "comments" { "comments" } else { "history" };
                let comments = &message[part];
                for comment in comments.as_array().unwrap() {
                    since = id(comment);
                    assert!(given.insert(since.clone()), "{since} is given twice to {user}, now as one of the {part}");
                    shown.insert(since.clone());
                }
            }
            if said.borrow_and_update().as_ref().is_some_and(|said| said.is_subset(&shown)) {
                return shown;
            }
            tokio::select! {
                () = socket.hear("another comment") => {}
                _ = said.changed() => {}
            }
        }
        hall.watching.fetch_sub(1, Ordering::Relaxed);
        let (code, delay_ms) = socket.wait_close().await;
        assert_eq!(code, 1012, "{delay_ms}");
        sleep(Duration::from_millis(delay_ms.parse().unwrap())).await;
        turn += hall.step();
    }
}
