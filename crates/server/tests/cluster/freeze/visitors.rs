//! What people do beside commenting, each thing repeated until it is answered: gifts, likes and messages; and a web service that
//! is told of a room's comments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use testkit::{Http, Server, within};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{CLIENT_PATIENCE, LOOK, PATIENCE, text, token_of};

/// Between two things that one visitor does.
const PACE: Duration = Duration::from_millis(300);
/// The room where gifts are given and one comment is liked.
const ROOM: &str = "stall";

/// Comments of a writer until every node has learnt of a new subscription, which takes seconds.
const UNKNOWN_FOR: usize = 30;

/// They visit until [`Visitors::end`].
pub struct Visitors {
    closing: Arc<AtomicBool>,
    /// The comment that is liked.
    liked: String,
    gifts: JoinHandle<usize>,
    likes: JoinHandle<usize>,
    messages: JoinHandle<Vec<String>>,
    told: Told,
}

/// The `webhook-id`s under which a service was told of each text.
type Told = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

impl Visitors {
    /// One who gives gifts, one who likes under another name each time, one who writes to a friend; and a service that is told
    /// of the comments of `told_room`. They take one gateway after the other.
    pub async fn begin(gateways: &[&Server], told_room: &str) -> Self {
        // A node that has just started may not have found Kafka yet.
        let owner = gateways[0].user("owner");
        let liked = within(PATIENCE, "the first comment", async || {
            let answer = owner.comment(ROOM, "like me").await;
            (answer.status == 201).then(|| text(&answer.body, "id"))
        });
        let liked = liked.await;
        let told = Told::default();
        let hook = json!({ "url": listen(told.clone()).await, "kinds": ["comment"], "room_ids": [told_room] });
        gateways[0].admin().post("admin/webhooks", hook).await.is(201);
        let closing = Arc::new(AtomicBool::new(false));
        let gifts = tokio::spawn(give(gateways.iter().map(|gateway| gateway.admin()).collect(), closing.clone()));
        let nobody = gateways.iter().map(|gateway| gateway.http()).collect();
        let likes = tokio::spawn(like(nobody, format!("comments/{liked}/like"), closing.clone()));
        let pens = gateways.iter().map(|gateway| gateway.user("pen")).collect();
        let messages = tokio::spawn(send(pens, closing.clone()));
        Self { closing, liked, gifts, likes, messages, told }
    }

    /// Ends it: each gift scored once, each like counted once, each message is there once, and of each of the `said` texts the
    /// service was told under one `webhook-id`.
    pub async fn end(self, node: &Server, said: &BTreeSet<String>) {
        self.closing.store(true, Ordering::Relaxed);
        let (gifts, likes, messages) =
            (self.gifts.await.unwrap(), self.likes.await.unwrap(), self.messages.await.unwrap());
        assert!(gifts > 30 && likes > 30 && messages.len() > 30, "{gifts} gifts, {likes} likes, {}", messages.len());

        let score = within(PATIENCE, "all gifts to be scored", async || {
            let ranking = node.user("dee").get(&format!("rooms/{ROOM}/ranking")).await.expect(200);
            let giver =
                ranking["entries"].as_array().unwrap().iter().find(|entry| entry["user_id"] == "giver")?.clone();
            giver["score"].as_u64().filter(|score| *score >= gifts as u64)
        });
        assert_eq!(score.await, gifts as u64, "the score of so many gifts");

        let liked = within(PATIENCE, "all likes to be counted", async || {
            let replay = node.user("dee").get(&format!("rooms/{ROOM}/replay")).await.expect(200);
            let comment =
                replay["comments"].as_array().unwrap().iter().find(|comment| comment["id"] == self.liked)?.clone();
            comment["like_count"].as_u64().filter(|count| *count >= likes as u64)
        });
        assert_eq!(liked.await, likes as u64, "the likes of so many");

        let received = received(&node.user("pal")).await;
        assert_eq!(received, messages, "received and sent");

        let untold = || untold(&self.told.lock().unwrap(), said);
        let all_told =
            within(3 * PATIENCE, "the service to be told of all", async || untold().is_empty().then_some(()));
        if timeout(2 * PATIENCE, all_told).await.is_err() {
            panic!("of {} the service was never told of {:?}", said.len(), untold());
        }
        for (content, ids) in &*self.told.lock().unwrap() {
            assert_eq!(ids.len(), 1, "{content}: {ids:?}");
        }
        eprintln!("FIGURE {gifts} gifts, {likes} likes, {} messages, {} calls, each once", messages.len(), said.len());
    }
}

/// What the service was not told of, from the moment when every node surely knows it.
fn untold(told: &BTreeMap<String, BTreeSet<String>>, said: &BTreeSet<String>) -> Vec<String> {
    let is_later = |content: &str| {
        let (_, number) = content.rsplit_once(' ').unwrap();
        number.parse::<usize>().unwrap() >= UNKNOWN_FOR
    };
    said.iter().filter(|content| is_later(content) && !told.contains_key(*content)).cloned().collect()
}

/// The address of a service that writes down what it is told.
async fn listen(told: Told) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let note = async move |headers: HeaderMap, axum::Json(call): axum::Json<Value>| {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        told.lock().unwrap().entry(text(&call["data"], "content")).or_default().insert(id);
        StatusCode::NO_CONTENT
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/in", post(note))).await.unwrap() });
    url
}

async fn give(admins: Vec<Http>, closing: Arc<AtomicBool>) -> usize {
    let (mut gifts, mut turn) = (0, 0);
    while !closing.load(Ordering::Relaxed) {
        let gift = json!({ "gift": "rose", "user_id": "giver", "username": "Giver", "count": 1, "value": 1,
            "client_msg_id": format!("gift {gifts}") });
        until_taken(&admins, &mut turn, &format!("admin/rooms/{ROOM}/gifts"), &gift, "").await;
        gifts += 1;
    }
    gifts
}

async fn like(nobody: Vec<Http>, path: String, closing: Arc<AtomicBool>) -> usize {
    let (mut fans, mut turn) = (0, 0);
    while !closing.load(Ordering::Relaxed) {
        let token = token_of(&format!("fan-{fans}"));
        let gateways: Vec<_> = nobody.iter().map(|gateway| gateway.bearing(&token)).collect();
        // The attempt before may have been taken and not answered.
        until_taken(&gateways, &mut turn, &path, &Value::Null, "already_liked").await;
        fans += 1;
    }
    fans
}

async fn send(gateways: Vec<Http>, closing: Arc<AtomicBool>) -> Vec<String> {
    let (mut sent, mut turn) = (Vec::new(), 0);
    while !closing.load(Ordering::Relaxed) {
        let content = format!("message {}", sent.len());
        let message = json!({ "client_msg_id": content, "to_user": "pal", "content": content, "msg_type": "text" });
        until_taken(&gateways, &mut turn, "messages", &message, "").await;
        sent.push(content);
    }
    sent
}

/// Posts it to one gateway after the other until one takes it, or refuses it with this code.
async fn until_taken(gateways: &[Http], turn: &mut usize, path: &str, body: &Value, taken_code: &str) {
    let taken = timeout(PATIENCE, async {
        loop {
            let request = gateways[*turn % gateways.len()].request("POST".parse().unwrap(), path).json(body);
            *turn += 1;
            match timeout(CLIENT_PATIENCE, request.send()).await {
                Ok(Ok(answer)) if answer.status().is_success() => break,
                Ok(Ok(answer)) => {
                    let (status, refused) = (answer.status(), answer.json::<Value>().await.unwrap());
                    match refused["error"]["code"].as_str() {
                        Some(code) if code == taken_code => break,
                        Some("unavailable") => sleep(LOOK).await,
                        _ => {
                            let wait_ms = refused["error"]["retry_after_ms"].as_u64();
                            let wait_ms = wait_ms.unwrap_or_else(|| panic!("{path}: {status}: {refused}"));
                            sleep(Duration::from_millis(wait_ms)).await;
                        }
                    }
                }
                Ok(Err(_)) => sleep(LOOK).await,
                Err(_) => {}
            }
        }
    });
    assert!(taken.await.is_ok(), "{path} is not taken: {body}");
    sleep(PACE).await;
}

/// The contents of a user's messages, oldest first.
async fn received(user: &Http) -> Vec<String> {
    let (mut contents, mut since) = (Vec::new(), "0".to_owned());
    loop {
        let page = user.get(&format!("messages?since_id={since}&limit=100")).await.expect(200);
        let messages = page["messages"].as_array().unwrap();
        if messages.is_empty() {
            return contents;
        }
        contents.extend(messages.iter().map(|message| text(message, "content")));
        since = text(&page, "latest_id");
    }
}
