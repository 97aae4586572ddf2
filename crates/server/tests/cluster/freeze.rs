//! A node that freezes for longer than each of its leases, as a virtual machine that migrates or a disk that stalls, while people
//! repeat what was not answered: afterwards everything that was acknowledged is in the replay and on screens once.

mod visitors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Cluster, Http, OwnServer, Server, Viewer, kill_kafka_brokers, now_s, service, token, within};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::visitors::Visitors;
use crate::BINARY;

const ROOMS: usize = 3;
const WRITERS: usize = 18;
/// Between two comments of one writer.
const PACE: Duration = Duration::from_millis(150);
/// How long a writer waits for an answer before it repeats the comment elsewhere, as impatient clients do.
const CLIENT_PATIENCE: Duration = Duration::from_millis(1_500);
/// Longer than a reservation, a node's number, a consumer's session and an idle connection of the database hold.
const FROZEN: Duration = Duration::from_secs(35);
/// How long an acknowledgement may take while one node is frozen, on a busy machine. The freeze lasts longer.
const SLOWEST_MAX: Duration = Duration::from_secs(10);
/// How long anything may take that heals by itself.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
const LIFE: Duration = Duration::from_secs(10);

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "owner", "exp": now_s() + 3_600 }))
}

fn text(comment: &Value, field: &str) -> String {
    comment[field].as_str().unwrap_or_else(|| panic!("no {field} in {comment}")).to_owned()
}

/// Writers in some rooms, who repeat by `client_msg_id`, and a reader of each room on each gateway.
struct Crowd {
    closing: Arc<AtomicBool>,
    /// The longest that a comment took to be acknowledged, in milliseconds.
    slowest_ms: Arc<AtomicU64>,
    /// How often a writer was told that a part of the service is away.
    refused: Arc<AtomicU64>,
    writers: Vec<JoinHandle<BTreeMap<String, Acknowledged>>>,
    readers: Vec<Reader>,
    gateways: Vec<Http>,
}

/// What a writer was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    id: String,
    /// Whether it is the answer to a repeat. A node that asked Redis in vain, as on a busy machine, answers a repeat by itself;
    /// then the attempt that is kept may be the one before.
    repeated: bool,
}

struct Reader {
    room: usize,
    gateway: usize,
    /// The texts in the order in which they were shown.
    shown: Arc<Mutex<Vec<String>>>,
    omitted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Crowd {
    async fn begin(gateways: &[&Server]) -> Self {
        let (closing, slowest_ms, refused) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut readers = Vec::new();
        for room in 0..ROOMS {
            for (n, gateway) in gateways.iter().enumerate() {
                let query = format!("room_id=frost-{room}&token={}", token_of(&format!("reader-{room}-{n}")));
                let mut socket = gateway.connect(&query).await;
                socket.wait_for("room_joined").await;
                let (shown, omitted) = (Arc::default(), Arc::new(AtomicU64::new(0)));
                let task = tokio::spawn(read(socket, Arc::clone(&shown), omitted.clone(), closing.clone()));
                readers.push(Reader { room, gateway: n, shown, omitted, task });
            }
        }
        let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.url()).collect();
        let begin = |writer| {
            tokio::spawn(write(addresses.clone(), writer, closing.clone(), slowest_ms.clone(), refused.clone()))
        };
        let writers = (0..WRITERS).map(begin).collect();
        let gateways = gateways.iter().map(|gateway| gateway.admin()).collect();
        let crowd = Self { closing, slowest_ms, refused, writers, readers, gateways };
        crowd.all_are_shown_more().await;
        crowd
    }

    fn shown(&self) -> Vec<usize> {
        self.readers.iter().map(|reader| reader.shown.lock().unwrap().len()).collect()
    }

    /// Waits until every reader was shown something new.
    async fn all_are_shown_more(&self) {
        let before = self.shown();
        within(PATIENCE, "every reader to be shown more", async || {
            self.shown().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        })
        .await;
    }

    /// The longest wait for an acknowledgement since the last call.
    fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest_ms.swap(0, Ordering::Relaxed))
    }

    /// Ends it: each comment that was acknowledged is in the replay once, where `exactly` under the id of its acknowledgement
    /// unless it was repeated, and no reader was shown one twice, missed one that was not counted, nor was told of more than it
    /// missed. Returns the texts of the first room.
    async fn end(mut self, reader: &Server, exactly: bool) -> BTreeSet<String> {
        self.closing.store(true, Ordering::Relaxed);
        let mut rooms = vec![BTreeMap::new(); ROOMS];
        for (writer, said) in join_all(std::mem::take(&mut self.writers)).await.into_iter().enumerate() {
            rooms[writer % ROOMS].extend(said.unwrap());
        }
        let said: usize = rooms.iter().map(BTreeMap::len).sum();
        assert!(said > 500, "only {said} were said");
        for (room, said) in rooms.iter().enumerate() {
            let kept = within(PATIENCE, "all that was said to be in the replay", async || {
                let kept = replay(reader, &format!("frost-{room}")).await;
                let texts: BTreeSet<_> = kept.iter().map(|(content, _)| content).collect();
                said.keys().all(|content| texts.contains(content)).then_some(kept)
            })
            .await;
            let (once, ids): (BTreeMap<_, _>, Vec<_>) =
                (kept.iter().cloned().collect(), kept.iter().map(|(_, id)| id).collect());
            assert_eq!(
                ids.len(),
                once.len(),
                "frost-{room}: kept twice: {:?}",
                twice(kept.iter().map(|(text, _)| text))
            );
            assert!(once.keys().eq(said.keys()), "frost-{room}: what was kept is what was acknowledged");
            let other: Vec<_> =
                said.iter().filter(|(content, said)| !said.repeated && once[*content] != said.id).collect();
            assert!(
                !exactly || other.is_empty(),
                "frost-{room}: kept under another id than was acknowledged: {other:?}"
            );
        }
        for reader in &self.readers {
            let said = &rooms[reader.room];
            let is_shown_all = async || {
                let (shown, omitted) = (reader.shown.lock().unwrap().len(), reader.omitted.load(Ordering::Relaxed));
                (shown as u64 + omitted >= said.len() as u64).then_some(())
            };
            if timeout(PATIENCE, within(2 * PATIENCE, "every reader to be shown all", is_shown_all)).await.is_err() {
                let shown: BTreeSet<_> = reader.shown.lock().unwrap().iter().cloned().collect();
                let missed: Vec<_> = said.iter().filter(|(content, _)| !shown.contains(*content)).collect();
                let (given, omitted) = (shown.len(), reader.omitted.load(Ordering::Relaxed));
                let metrics = self.gateways[reader.gateway].get("/metrics").await.text;
                let lost: Vec<_> = metrics.lines().filter(|line| line.starts_with("barrage_fanout_lost")).collect();
                panic!(
                    "frost-{}, gateway {}: {given} shown and {omitted} counted of {}; the node says {lost:?}; not shown: {missed:?}",
                    reader.room,
                    reader.gateway,
                    said.len()
                );
            }
            let shown = reader.shown.lock().unwrap();
            assert_eq!(twice(shown.iter()), Vec::<String>::new(), "frost-{}: shown twice", reader.room);
            assert!(
                shown.iter().all(|content| said.contains_key(content)),
                "frost-{}: never acknowledged",
                reader.room
            );
            let (omitted, missed) = (reader.omitted.load(Ordering::Relaxed), said.len() - shown.len());
            assert_eq!(
                omitted, missed as u64,
                "frost-{}, gateway {}: told of, and missed",
                reader.room, reader.gateway
            );
            reader.task.abort();
        }
        eprintln!("FIGURE {said} acknowledged, each once in the replay and on {} screens", self.readers.len());
        rooms.swap_remove(0).into_keys().collect()
    }
}

fn twice<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| !seen.insert(*text)).cloned().collect()
}

/// The texts and ids of a room's replay.
async fn replay(node: &Server, room: &str) -> Vec<(String, String)> {
    let (mut kept, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.user("dee").get(&format!("rooms/{room}/replay?limit=1000{cursor}")).await.expect(200);
        let comments = page["comments"].as_array().unwrap();
        kept.extend(comments.iter().map(|comment| (text(comment, "content"), text(comment, "id"))));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return kept,
        }
    }
}

/// Comments, each until it is acknowledged, at one gateway after the other; what each was answered, by text.
async fn write(
    addresses: Vec<String>,
    writer: usize,
    closing: Arc<AtomicBool>,
    slowest_ms: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
) -> BTreeMap<String, Acknowledged> {
    let (token, room, mut said, mut turn) =
        (token_of(&format!("writer-{writer}")), writer % ROOMS, BTreeMap::new(), writer);
    let gateways: Vec<_> = addresses.iter().map(|address| Http::new(address, Some(&token))).collect();
    while !closing.load(Ordering::Relaxed) {
        let (content, begun) = (format!("writer {writer} comment {}", said.len()), Instant::now());
        let comment = json!({ "content": content, "client_msg_id": said.len().to_string() });
        let first = turn;
        loop {
            assert!(begun.elapsed() < PATIENCE, "{content} is not acknowledged");
            let gateway = &gateways[turn % gateways.len()];
            let request =
                gateway.request("POST".parse().unwrap(), &format!("rooms/frost-{room}/comments")).json(&comment);
            match timeout(CLIENT_PATIENCE, request.send()).await {
                Ok(Ok(answer)) if answer.status() == 201 => {
                    let id = text(&answer.json().await.unwrap(), "id");
                    said.insert(content, Acknowledged { id, repeated: turn != first });
                    break;
                }
                // What the attempt before used up cannot be given back while Redis is away; it expires.
                Ok(Ok(answer)) if answer.status() == 409 => {
                    let refused: Value = answer.json().await.unwrap();
                    let wait_ms = refused["error"]["retry_after_ms"].as_u64().unwrap_or_else(|| panic!("{refused}"));
                    sleep(Duration::from_millis(wait_ms)).await;
                }
                Ok(Ok(answer)) if answer.status() != 503 => {
                    panic!("{content}: {}: {}", answer.status(), answer.text().await.unwrap());
                }
                Ok(_) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    sleep(LOOK).await;
                }
                Err(_) => {}
            }
            turn += 1;
        }
        slowest_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        sleep(PACE).await;
    }
    said
}

async fn read(mut socket: Viewer, shown: Arc<Mutex<Vec<String>>>, omitted: Arc<AtomicU64>, closing: Arc<AtomicBool>) {
    let mut shown_life = Instant::now();
    loop {
        if shown_life.elapsed() > LIFE {
            shown_life = Instant::now();
            socket.send(json!({ "type": "heartbeat" })).await;
        }
        for message in socket.take(&["comments"]) {
            omitted.fetch_add(message["omitted"].as_u64().unwrap_or(0), Ordering::Relaxed);
            let comments = message["comments"].as_array().unwrap();
            shown.lock().unwrap().extend(comments.iter().map(|comment| text(comment, "content")));
        }
        assert!(!socket.is_closed() || closing.load(Ordering::Relaxed), "a reader lost its gateway");
        sleep(LOOK).await;
    }
}

/// Stops the process, and lets it go on where it stood.
async fn freeze(node: &Server, length: Duration) {
    node.signal(libc::SIGSTOP);
    sleep(length).await;
    node.signal(libc::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_doubles_nothing_where_each_has_a_log_of_its_own() {
    let (Some(redis), Some(mysql)) = (service("BARRAGE_TEST_REDIS"), service("BARRAGE_TEST_MYSQL")) else { return };
    let nodes = Cluster::start(BINARY, 3, &redis, &mysql, "[webhooks]\nallow_private = true").await;
    let gateways = [&nodes[0], &nodes[1], &nodes[2]];
    let (visitors, crowd) = (Visitors::begin(&gateways, "frost-0").await, Crowd::begin(&gateways).await);
    for node in [0, 1] {
        freeze(&nodes[node], FROZEN).await;
        crowd.all_are_shown_more().await;
        let slowest = crowd.slowest();
        eprintln!("FIGURE node {node} frozen: the slowest acknowledgement took {:.1} s", slowest.as_secs_f64());
        assert!(slowest < SLOWEST_MAX, "{slowest:?}");
    }
    let said = crowd.end(&nodes[2], true).await;
    visitors.end(&nodes[2], &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_doubles_nothing_whatever_its_role() {
    let _brokers = crate::kafka::BROKERS.read().await;
    let roles = ["gateway,api", "gateway,api", "ingest", "ingest", "worker", "worker", "persist", "persist"];
    let may_be_told = [("BARRAGE__WEBHOOKS__ALLOW_PRIVATE", "true")];
    let Some(nodes) = Cluster::kafka_with(BINARY, &roles, &may_be_told).await else { return };
    let gateways = [&nodes[0], &nodes[1]];
    let (visitors, crowd) = (Visitors::begin(&gateways, "frost-0").await, Crowd::begin(&gateways).await);
    for (node, role) in [(2, "ingest"), (3, "ingest"), (4, "worker"), (6, "persist"), (1, "gateway")] {
        crowd.slowest();
        freeze(&nodes[node], FROZEN).await;
        crowd.all_are_shown_more().await;
        let slowest = crowd.slowest();
        eprintln!("FIGURE {role} frozen: the slowest acknowledgement took {:.1} s", slowest.as_secs_f64());
        assert!(slowest < SLOWEST_MAX, "{role}: {slowest:?}");
    }
    // A gateway repeats by itself what a node does not answer in time.
    let said = crowd.end(&nodes[0], false).await;
    visitors.end(&nodes[0], &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_and_later_without_redis_nothing_is_shown_twice_and_each_is_answered_soon() {
    let _alone = crate::kafka::BROKERS.write().await;
    let (Some(redis), Some(mysql)) = (OwnServer::start("redis"), service("BARRAGE_TEST_MYSQL")) else { return };
    let roles = ["gateway,api", "gateway,api", "ingest", "ingest", "worker,persist", "worker,persist"];
    let Some(nodes) = Cluster::kafka_over(&redis.address(), &mysql, BINARY, &roles, &[]).await else { return };
    let crowd = Crowd::begin(&[&nodes[0], &nodes[1]]).await;
    let brokers = kill_kafka_brokers(&[1, 2, 3]);
    sleep(Duration::from_secs(10)).await;
    brokers.bring_back();
    crowd.all_are_shown_more().await;
    sleep(Duration::from_secs(15)).await;
    redis.kill();
    sleep(Duration::from_secs(8)).await;
    crowd.slowest();
    crowd.refused.store(0, Ordering::Relaxed);
    redis.restart();
    sleep(Duration::from_secs(10)).await;
    let slowest = crowd.slowest();
    let refused = crowd.refused.swap(0, Ordering::Relaxed);
    eprintln!(
        "FIGURE Redis is back: the slowest acknowledgement took {:.1} s, {refused} refused",
        slowest.as_secs_f64()
    );
    assert!(slowest < Duration::from_secs(4) && refused < 10, "{slowest:?}, {refused} refused");
    // While the log and the reservations are away, the attempt that is answered may not be the one that is kept.
    crowd.end(&nodes[0], false).await;
}
