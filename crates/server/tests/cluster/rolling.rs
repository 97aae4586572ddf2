//! Every node is restarted in turn while people talk: what was acknowledged is kept once and seen by all.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Http, Viewer, eventually, now_s, token};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cluster;
use crate::trouble::stands;

const NODES: usize = 3;
const WATCHERS: usize = 6;
/// Between two comments of one sender: all of them say no more in the 5 s of an absence than one history holds.
const PACE: Duration = Duration::from_millis(250);
/// Before the next address is tried, when one did not take what it was given.
const NEXT: Duration = Duration::from_millis(50);

type Ids = BTreeSet<String>;

/// What all clients share: where nodes are (or were), how many watch, and when to stop.
struct Hall {
    addresses: Mutex<Vec<String>>,
    watching: AtomicUsize,
    closing: AtomicBool,
}

impl Hall {
    fn address(&self, turn: usize) -> String {
        self.addresses.lock().unwrap()[turn % NODES].clone()
    }
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "owner", "exp": now_s() + 3_600 }))
}

fn comment(user: &str, number: usize) -> Value {
    json!({ "room_id": "hall", "content": format!("{user} says {number}"), "client_msg_id": format!("{user}-{number}") })
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id in {answer}")).to_owned()
}

/// Comments over HTTP, each one until it is acknowledged, wherever that works.
async fn sends_by_http(hall: Arc<Hall>, user: String, mut turn: usize) -> Vec<String> {
    let (token, mut acknowledged) = (token_of(&user), Vec::new());
    while !hall.closing.load(Ordering::Relaxed) {
        let http = Http::new(&format!("http://{}", hall.address(turn)), Some(&token));
        let request = http.request("POST".parse().unwrap(), "rooms/hall/comments");
        match request.json(&comment(&user, acknowledged.len())).send().await {
            Ok(answer) if answer.status() == 201 => {
                acknowledged.push(id(&answer.json().await.unwrap()));
                sleep(PACE).await;
            }
            Ok(answer) if answer.status() != 503 => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
            _ => sleep(NEXT).await,
        }
        turn += 1;
    }
    acknowledged
}

/// The same over sockets that it opens elsewhere when one ends.
async fn sends_by_socket(hall: Arc<Hall>, user: String, mut turn: usize) -> Vec<String> {
    let (query, mut acknowledged) = (format!("token={}", token_of(&user)), Vec::new());
    while !hall.closing.load(Ordering::Relaxed) {
        turn += 1;
        let Ok(mut socket) = Viewer::open(&hall.address(turn), &query, &[]).await else {
            sleep(NEXT).await;
            continue;
        };
        while !hall.closing.load(Ordering::Relaxed) {
            let mut message = comment(&user, acknowledged.len());
            message["type"] = json!("comment");
            match socket.attempt(message).await {
                Some(answer) if answer["type"] == "comment_ack" => acknowledged.push(id(&answer)),
                Some(answer) => assert_eq!(answer["code"], "unavailable", "{answer}"),
                None => break,
            }
            sleep(PACE).await;
        }
    }
    acknowledged
}

/// Watches until it has shown all that is named in the end; comes back to another node when it is told to.
async fn watches(hall: Arc<Hall>, user: String, mut turn: usize, mut all: watch::Receiver<Option<Ids>>) -> Ids {
    let (mut shown, mut since) = (Ids::new(), "0".to_owned());
    loop {
        let query = format!("room_id=hall&history=100&since_id={since}&token={}", token_of(&user));
        let Ok(mut socket) = Viewer::open(&hall.address(turn), &query, &[]).await else {
            sleep(NEXT).await;
            turn += 1;
            continue;
        };
        hall.watching.fetch_add(1, Ordering::Relaxed);
        let mut pushed = Ids::new();
        while !socket.is_closed() {
            for message in socket.take(&["room_joined", "comments"]) {
                assert_eq!(message["omitted"].as_u64().unwrap_or(0), 0, "{message}");
                let live = message["type"] == "comments";
                let comments = if live { &message["comments"] } else { &message["history"] };
                for comment in comments.as_array().unwrap() {
                    since = id(comment);
                    assert!(!live || pushed.insert(since.clone()), "{since} is pushed twice to {user}");
                    shown.insert(since.clone());
                }
            }
            if all.borrow_and_update().as_ref().is_some_and(|all| all.is_subset(&shown)) {
                return shown;
            }
            tokio::select! {
                () = socket.hear("another comment") => {}
                _ = all.changed() => {}
            }
        }
        hall.watching.fetch_sub(1, Ordering::Relaxed);
        let (code, delay_ms) = socket.wait_close().await;
        assert_eq!(code, 1012, "{delay_ms}");
        sleep(Duration::from_millis(delay_ms.parse().unwrap())).await;
        turn += 1;
    }
}

async fn replay(http: &Http) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("rooms/hall/replay?cursor={cursor}")).await.expect(200);
        ids.extend(page["comments"].as_array().unwrap().iter().map(id));
        let Some(next) = page["next_cursor"].as_str() else { return ids };
        next.clone_into(&mut cursor);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_shows_nothing_twice() {
    let Some(mut nodes) = cluster(NODES).await else { return };
    let hall = Arc::new(Hall {
        addresses: Mutex::new(nodes.nodes.iter().map(|node| node.address().to_owned()).collect()),
        watching: AtomicUsize::new(0),
        closing: AtomicBool::new(false),
    });
    let (tell, all) = watch::channel(None);
    let watchers: Vec<_> =
        (0..WATCHERS).map(|n| tokio::spawn(watches(hall.clone(), format!("watcher-{n}"), n, all.clone()))).collect();
    let mut senders = Vec::new();
    for n in 0..2 {
        senders.push(tokio::spawn(sends_by_http(hall.clone(), format!("http-{n}"), n)));
        senders.push(tokio::spawn(sends_by_socket(hall.clone(), format!("socket-{n}"), n)));
    }

    for node in 0..NODES {
        eventually("everybody to be back", async || (hall.watching.load(Ordering::Relaxed) == WATCHERS).then_some(()))
            .await;
        let ended = nodes[node].terminate().await;
        assert!(ended.status.success() && ended.took < Duration::from_secs(10), "{ended:?}");
        nodes[node].restart().await;
        nodes[node].address().clone_into(&mut hall.addresses.lock().unwrap()[node]);
        stands(&nodes[node], "ready").await;
    }

    hall.closing.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> = join_all(senders).await.into_iter().flat_map(Result::unwrap).collect();
    let said: Ids = acknowledged.iter().cloned().collect();
    assert_eq!(said.len(), acknowledged.len(), "two comments have one id");
    tell.send(Some(said.clone())).unwrap();
    for shown in join_all(watchers).await {
        assert_eq!(shown.unwrap(), said);
    }
    let kept = eventually("all of it in the replay", async || {
        let kept = replay(&nodes[0].user("reader")).await;
        (kept.len() >= said.len()).then_some(kept)
    })
    .await;
    assert_eq!((kept.len(), kept.into_iter().collect::<Ids>()), (said.len(), said));
}
