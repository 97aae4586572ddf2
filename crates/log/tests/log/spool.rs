//! The spool under its real enemies: a database that is killed and hangs, and a node that is killed at any moment.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::local::Journal;
use log::spool::{Bounds, Sink, Spool, SpoolingJournal};
use log::{AppendError, Entry, Position, Record};
use model::clock::{Clock, SystemClock};
use model::{Metrics, Session, Snowflake, SnowflakeGenerator};
use prometheus_client::registry::Registry;
use store::conformance::{comment, room, user};
use store::mysql::MySqlStore;
use store::{CommentStore, MaintenanceStore, NewComment, RoomStore, Store};
use testkit::OwnServer;

const PLENTY: Bounds = Bounds { rows_max: 1_000_000, bytes_max: 1 << 30 };
const ROOMS: [&str; 2] = ["hall", "attic"];

fn session_of(in_room: &str) -> Snowflake {
    Snowflake(if in_room == ROOMS[0] { 7 } else { 8 })
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

fn open(path: &Path, bounds: Bounds) -> Spool {
    Spool::open(path, bounds, metrics()).expect("a spool")
}

/// A kept comment whose place is its id.
fn entry(id: Snowflake, in_room: &str) -> Entry {
    let comment = model::Comment { session_id: Some(session_of(in_room)), ..comment(id, in_room, "ann") };
    let client_msg_id = Some(id.to_string().into_boxed_str());
    let record = Record::Comment { comment: Arc::new(comment), client_msg_id, keep: true };
    Entry { room_id: room(in_room), position: Position { epoch: 1, offset: id.0 }, record }
}

fn entries(ids: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    ids.into_iter().map(|id| entry(Snowflake(id), "hall")).collect()
}

async fn waiting(spool: &Spool) -> Vec<(i64, u64, bool)> {
    let oldest = spool.oldest(100).await.expect("read");
    let seen = oldest.into_iter().map(|spooled| {
        let logged = spooled.logged.expect("ours");
        (spooled.row, logged.entry.position.offset, logged.delivered)
    });
    seen.collect()
}

#[tokio::test]
async fn what_was_put_is_there_after_a_restart_in_its_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool.sqlite");
    let spool = open(&path, PLENTY);
    spool.put(&entries([5, 3]), true).await.expect("kept");
    spool.put(&entries([4]), false).await.expect("kept");
    let depth = spool.depth();
    drop(spool);

    let spool = open(&path, PLENTY);
    assert_eq!((spool.depth(), depth.rows), (depth, 3));
    let all = waiting(&spool).await;
    assert_eq!(
        all.iter().map(|(_, id, delivered)| (*id, *delivered)).collect::<Vec<_>>(),
        [(5, true), (3, true), (4, false)]
    );
    spool.remove(vec![all[0].0]).await.expect("removed");
    spool.put_aside(all[1].0).await.expect("put aside");
    assert_eq!(waiting(&spool).await.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [4]);
    assert_eq!((spool.depth().rows, spool.depth().aside), (1, 1));
    drop(spool);

    let spool = open(&path, PLENTY);
    assert_eq!((spool.depth().rows, spool.depth().aside), (2, 0), "what was put aside is tried again");
}

#[tokio::test]
async fn a_full_spool_takes_nothing_and_what_is_removed_makes_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(&folder.path().join("spool.sqlite"), Bounds { rows_max: 3, ..PLENTY });
    spool.put(&entries([1, 2]), true).await.expect("kept");
    assert_eq!(spool.put(&entries([3, 4]), true).await, Err(AppendError::Full), "all or nothing");
    assert_eq!(spool.depth().rows, 2);
    let rows = waiting(&spool).await.into_iter().map(|(row, ..)| row).collect();
    spool.remove(rows).await.expect("removed");
    assert_eq!(spool.depth(), log::spool::Depth::default());
    spool.put(&entries([3, 4]), true).await.expect("kept");

    let small = open(&folder.path().join("small.sqlite"), Bounds { bytes_max: 100, ..PLENTY });
    small.put(&entries([1]), true).await.expect("kept");
    assert_eq!(small.put(&entries([2]), true).await, Err(AppendError::Full));
}

/// What the server's wiring puts behind the spool: the comments to be kept go to the store.
struct Kept(Arc<MySqlStore>);

#[async_trait]
impl Journal for Kept {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<model::Repeat>, AppendError> {
        let kept = entries.iter().filter_map(|entry| match &entry.record {
            Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
                comment: comment.clone(),
                position: entry.position.offset,
                client_msg_id: client_msg_id.clone(),
            }),
            _ => None,
        });
        self.0.append_comments(kept.collect()).await.map_err(|_| AppendError::Away)
    }
}

#[async_trait]
impl Sink for Kept {
    async fn is_there(&self) -> bool {
        self.0.probe().await.is_ok()
    }

    fn keeps(&self, entry: &Entry) -> bool {
        matches!(entry.record, Record::Comment { keep: true, .. })
    }
}

async fn store(url: &str) -> Arc<MySqlStore> {
    Arc::new(MySqlStore::open(url, SystemClock.now_ms(), metrics()).await.expect("it opens"))
}

fn journal(store: &Arc<MySqlStore>, spool: &Spool) -> Arc<SpoolingJournal> {
    Arc::new(SpoolingJournal::new(Arc::new(Kept(store.clone())), spool.clone()))
}

async fn start_session(store: &dyn Store) {
    for name in ROOMS {
        let (id, room_id) = (session_of(name), room(name));
        let session = Session { id, room_id, started_at_ms: 1, ended_at_ms: None, explicit: true };
        store.start_session(&session).await.expect("started");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_or_is_gone_delays_no_acknowledgement_for_long() {
    let Some(server) = OwnServer::start("mysql") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (store, spool) = (store(&server.address()).await, open(&folder.path().join("spool.sqlite"), PLENTY));
    start_session(&*store).await;
    let journal = journal(&store, &spool);
    let drained = tokio::spawn({
        let journal = journal.clone();
        async move { journal.drain().await }
    });
    let ids = SnowflakeGenerator::new(Arc::new(SystemClock), 1, None);
    let mut acknowledged = Vec::new();
    let mut commit = async |n: usize| {
        for _ in 0..n {
            let id = ids.next().expect("a number");
            let run = [entry(id, "hall")];
            tokio::time::timeout(Duration::from_secs(9), journal.commit(&run)).await.expect("in time").expect("kept");
            acknowledged.push(id);
        }
    };
    commit(10).await;
    // A database that is merely slow is helped out by the spool too.
    testkit::eventually("nothing to be in the spool", async || (!journal.is_spooling()).then_some(())).await;
    server.hang();
    commit(10).await;
    assert_eq!(spool.depth().rows, 10);
    testkit::eventually("the database to be found away", async || {
        store.first_answer(&user("ann"), "nothing").await.err().filter(|error| error.0.ends_with("away"))
    })
    .await;
    server.go_on();
    testkit::eventually("the spool to be empty", async || (!journal.is_spooling()).then_some(())).await;
    commit(10).await;
    server.kill();
    commit(10).await;
    server.restart();
    testkit::eventually("the spool to be empty", async || (!journal.is_spooling()).then_some(())).await;
    commit(10).await;
    assert_eq!(spool.depth().rows, 0);
    assert_eq!(all(&*store, "hall").await, acknowledged, "each once, in order");
    drained.abort();
}

/// A sink in front of which the node stops for longer than any lease, in the middle of its first run.
struct BehindAFreeze(std::sync::atomic::AtomicBool);

#[async_trait]
impl Journal for BehindAFreeze {
    async fn commit(&self, _: &[Entry]) -> Result<Vec<model::Repeat>, AppendError> {
        if !self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tokio::time::advance(Duration::from_secs(35)).await;
        }
        Ok(Vec::new())
    }
}

#[async_trait]
impl Sink for BehindAFreeze {
    async fn is_there(&self) -> bool {
        true
    }

    fn keeps(&self, _: &Entry) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_after_a_freeze_is_announced_as_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(&folder.path().join("spool.sqlite"), PLENTY);
    let journal = SpoolingJournal::new(Arc::new(BehindAFreeze(Default::default())), spool.clone());
    journal.commit(&[entry(Snowflake(1), "hall")]).await.expect("committed");
    let late = tokio::time::timeout(Duration::from_secs(1), journal.late()).await.expect("announced");
    assert_eq!(late.keys().collect::<Vec<_>>(), [&room("hall")]);
    journal.commit(&[entry(Snowflake(2), "hall")]).await.expect("committed");
    tokio::time::timeout(Duration::from_secs(1), journal.late()).await.expect_err("in time, so nothing to announce");
    assert_eq!(spool.depth().rows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_database_refuses_holds_nobody_up() {
    let Some(server) = OwnServer::start("mysql") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (store, spool) = (store(&server.address()).await, open(&folder.path().join("spool.sqlite"), PLENTY));
    start_session(&*store).await;
    let mut run = entries([11, 12, 13]);
    if let Record::Comment { client_msg_id, .. } = &mut run[1].record {
        *client_msg_id = Some("longer than any that ingest lets in".repeat(10).into());
    }
    let journal = journal(&store, &spool);
    journal.commit(&run).await.expect("the spool takes it");
    let drained = tokio::spawn(async move { journal.drain().await });
    testkit::eventually("the others to be handed over", async || (spool.depth().rows == 0).then_some(())).await;
    assert_eq!(all(&*store, "hall").await, [Snowflake(11), Snowflake(13)]);
    assert_eq!(spool.depth().aside, 1, "for people to look at");
    drained.abort();
}

/// Ids of a room's comments, in their order.
async fn all(store: &dyn Store, in_room: &str) -> Vec<Snowflake> {
    let positioned = store.comments_after(&room(in_room), 0, 1_000_000).await.expect("read");
    positioned.iter().map(|positioned| positioned.comment.id).collect()
}

/// A node in a process of its own: the test below, started once more.
struct Node {
    process: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(url: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["spool::a_node", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command
            .env("SPOOL_TEST_URL", url)
            .env("SPOOL_TEST_FOLDER", folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut process = command.spawn().expect("it starts");
        let says = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, says }
    }

    /// Reads on until so many runs more are acknowledged; notes their ids.
    fn acknowledges(&mut self, runs: usize, acknowledged: &mut BTreeSet<u64>) {
        self.hears(runs, "ack", |ids| acknowledged.extend(ids.split(' ').filter_map(|id| id.parse::<u64>().ok())));
    }

    fn hears(&mut self, mut count: usize, what: &str, mut each: impl FnMut(&str)) {
        while count > 0 {
            let line = self.says.next().expect("it lives").expect("text");
            if let Some(rest) = line.trim().split_once(what).map(|(_, rest)| rest) {
                each(rest);
                count -= 1;
            }
        }
    }

    /// What it acknowledged up to its end counts.
    fn kill(mut self, acknowledged: &mut BTreeSet<u64>) {
        self.process.kill().expect("ours");
        self.process.wait().expect("ours");
        for line in self.says.map_while(Result::ok) {
            // The last line may be torn, and is then no acknowledgement.
            if let Some(ids) = line.split_once("ack").and_then(|(_, ids)| ids.strip_suffix(" .")) {
                acknowledged.extend(ids.split(' ').filter_map(|id| id.parse::<u64>().ok()));
            }
        }
    }
}

#[test]
#[ignore = "a process of the test below"]
fn a_node() {
    let Ok(url) = std::env::var("SPOOL_TEST_URL") else { return };
    let path = PathBuf::from(std::env::var("SPOOL_TEST_FOLDER").expect("a folder")).join("spool.sqlite");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let spool = open(&path, PLENTY);
        // One that was killed a moment ago may still be busy with what it left behind.
        let opened = async || match MySqlStore::open(&url, SystemClock.now_ms(), metrics()).await {
            Ok(store) => Some(Arc::new(store)),
            Err(error) => {
                eprintln!("{error}");
                None
            }
        };
        let store = testkit::eventually("the database to be opened", opened).await;
        let journal = journal(&store, &spool);
        let draining = journal.clone();
        tokio::spawn(async move { draining.drain().await });
        let ids = SnowflakeGenerator::new(Arc::new(SystemClock), 1, None);
        println!("up {}", spool.depth().rows);
        for n in 0.. {
            let run: Vec<_> = (0..5).map(|m| entry(ids.next().expect("a number"), ROOMS[(n + m) % 2])).collect();
            journal.commit(&run).await.expect("kept");
            let ids: Vec<_> = run.iter().map(|entry| entry.position.offset.to_string()).collect();
            println!("ack {} .", ids.join(" "));
            if !journal.is_spooling() {
                println!("drained");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_the_store_once_whoever_is_killed_when() {
    let Some(server) = OwnServer::start("mysql") else { return };
    let (folder, url) = (tempfile::tempdir().expect("a folder"), server.address());
    start_session(&*store(&url).await).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        let mut node = Node::start(&url, folder.path());
        node.acknowledges(20, &mut acknowledged);
        server.kill();
        node.acknowledges(100, &mut acknowledged);
        if round % 2 == 0 {
            // While it spools; then again while it drains.
            node.kill(&mut acknowledged);
            server.restart();
            let mut again = Node::start(&url, folder.path());
            again.acknowledges(1 + 2 * round, &mut acknowledged);
            again.kill(&mut acknowledged);
        } else {
            // While it drains, as soon as the database is back.
            server.restart();
            node.acknowledges(30 * round, &mut acknowledged);
            node.kill(&mut acknowledged);
        }
    }
    let mut last = Node::start(&url, folder.path());
    last.hears(1, "drained", |_| {});
    last.kill(&mut acknowledged);

    let store = store(&url).await;
    let mut kept = BTreeSet::new();
    for name in ROOMS {
        let ids = all(&*store, name).await;
        assert!(ids.is_sorted(), "{name}: the order of the places");
        let sessions = store.sessions(&room(name), 1).await.expect("read");
        assert_eq!(sessions[0].comment_count, ids.len() as u64, "{name}: each counted once");
        kept.extend(ids.iter().map(|id| id.0));
    }
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {} of {}", lost.len(), acknowledged.len());
    assert!(acknowledged.len() > 6 * 600, "only {} were acknowledged", acknowledged.len());
    let newest = acknowledged.last().expect("many").to_string();
    let answer = store.first_answer(&user("ann"), &newest).await.expect("read").expect("a retry gets its answer");
    assert_eq!(answer.id.to_string(), newest);
}
