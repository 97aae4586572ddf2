//! Rankings and hot comments of several nodes over one real Redis: each node has its own log and its own worker, all have
//! one store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fanout::Fanout;
use log::hlc::HybridClock;
use log::local::{Journal, PositionSource};
use log::{AppendError, Entry, Log, Record};
use model::clock::{Clock, SystemClock};
use model::event::Counted;
use model::{
    Audience, Comment, Event, EventBody, Gift, Kind, Level, ManualClock, Metrics, RoomId, Session, Snowflake,
    SnowflakeGenerator, Style, UserId,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use redis_client::{Redis, RedisAddress};
use state::RedisLeaderboards;
use store::sqlite::SqliteStore;
use store::{NewComment, Store};
use testkit::{OwnServer, eventually};
use worker::Worker;
use worker::leaderboards::Leaderboards;

/// One store and one room for all nodes of a test.
struct World {
    store: Arc<dyn Store>,
    room: RoomId,
    likes: AtomicU64,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&directory.path().join("db"), metrics()).expect("a store");
        let room = "hall".parse().expect("an id");
        Arc::new(Self { store: Arc::new(store), room, likes: AtomicU64::new(0), _directory: directory })
    }

    /// What the ranking must show, from what is kept, by user.
    async fn kept(&self, session: Snowflake) -> BTreeMap<UserId, u64> {
        let scores = self.store.scores(session).await.expect("the store");
        scores.users.into_iter().map(|score| (score.user_id, score.score)).collect()
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

/// Commits comments to the store, as the server does.
struct StoreJournal(Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
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

/// What a node pushed to viewers.
#[derive(Default)]
struct Pushed(Mutex<Vec<EventBody>>);

impl Fanout for Pushed {
    fn push(&self, _: &RoomId, entries: Vec<Entry>) {
        let events = entries.into_iter().filter_map(|entry| match entry.record {
            Record::Event(event) => Some(event.body.clone()),
            _ => None,
        });
        self.0.lock().extend(events);
    }
}

struct Node {
    world: Arc<World>,
    log: Arc<dyn Log>,
    leaderboards: Arc<Leaderboards>,
    pushed: Arc<Pushed>,
    ids: Arc<SnowflakeGenerator>,
}

impl Node {
    fn shared(world: &Arc<World>, number: u16, redis: &Redis) -> Self {
        let leaderboards = Leaderboards::shared(world.store.clone(), Arc::new(RedisLeaderboards::new(redis.clone())));
        let stamps = HybridClock::new(Arc::new(SystemClock), number, 0);
        Self::start(world, number, leaderboards, PositionSource::Stamped(Arc::new(stamps)))
    }

    fn alone(world: &Arc<World>) -> Self {
        let places = PositionSource::Counted(log::Position { epoch: 1, offset: 0 });
        Self::start(world, 1, Leaderboards::new(world.store.clone()), places)
    }

    fn start(world: &Arc<World>, number: u16, leaderboards: Leaderboards, places: PositionSource) -> Self {
        let clock = Arc::new(SystemClock);
        let (leaderboards, pushed) = (Arc::new(leaderboards), Arc::new(Pushed::default()));
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), number, None));
        let (log, consumer) = log::local::open(Arc::new(StoreJournal(world.store.clone())), places, metrics());
        let worker = Worker::new(Box::new(consumer), pushed.clone(), leaderboards.clone(), clock, ids.clone());
        tokio::spawn(worker.run());
        Self { world: world.clone(), log: Arc::new(log), leaderboards, pushed, ids }
    }

    fn id(&self) -> Snowflake {
        self.ids.next().expect("a number")
    }

    async fn append(&self, record: Record) {
        self.log.append(self.world.room.clone(), record).await.expect("the log is there");
    }

    async fn open(&self) -> Snowflake {
        self.open_as(self.id()).await
    }

    /// Opens a session that is no longer young.
    async fn open_long_ago(&self) -> Snowflake {
        let clock = Arc::new(ManualClock::at(SystemClock.now_ms() - 60_000));
        self.open_as(SnowflakeGenerator::new(clock, 9, None).next().expect("a number")).await
    }

    async fn open_as(&self, id: Snowflake) -> Snowflake {
        let (room_id, started_at_ms) = (self.world.room.clone(), SystemClock.now_ms());
        let session = Session { id, room_id, started_at_ms, ended_at_ms: None, explicit: true };
        self.world.store.end_session(&self.world.room, None, started_at_ms, false).await.expect("the store");
        let session = self.world.store.start_session(&session).await.expect("the store").expect("it is open");
        self.append(Record::SessionStarted(Arc::new(session.clone()))).await;
        session.id
    }

    fn comment(&self, session: Snowflake, by: &str) -> Comment {
        Comment {
            id: self.id(),
            room_id: self.world.room.clone(),
            session_id: Some(session),
            user_id: by.parse().expect("an id"),
            username: by.to_uppercase().into(),
            level: Level::Normal,
            content: "hello".into(),
            style: Style::default(),
            kind: Kind::Comment,
            mentions: Box::default(),
            created_at_ms: SystemClock.now_ms(),
            offset_ms: 0,
            like_count: 0,
            shadow: false,
        }
    }

    async fn say(&self, session: Snowflake, by: &str) -> Snowflake {
        let comment = Arc::new(self.comment(session, by));
        let id = comment.id;
        self.append(Record::Comment { comment, client_msg_id: None, keep: true }).await;
        id
    }

    async fn give(&self, session: Snowflake, by: &str, value: u64) {
        let user_id: UserId = by.parse().expect("an id");
        let given = self.world.store.add_gift(session, &user_id, by, value).await.expect("the store");
        let counted = Some(Counted { session_id: session, given });
        let gift = Gift {
            gift: "rocket".into(),
            user_id,
            username: by.to_uppercase(),
            count: 1,
            value,
            play_at: None,
            counted,
        };
        self.event(EventBody::Gift(gift)).await;
    }

    async fn event(&self, body: EventBody) {
        let (id, room_id, at_ms) = (self.id(), self.world.room.clone(), SystemClock.now_ms());
        let (audience, critical_for) = (Audience::Everyone, Audience::Nobody);
        self.append(Record::Event(Arc::new(Event { id, room_id, audience, critical_for, at_ms, body }))).await;
    }

    /// One more user likes it, or one takes a like back.
    async fn like(&self, id: Snowflake, taken_back: bool) {
        let store = &self.world.store;
        let number = self.world.likes.fetch_add(1, Ordering::SeqCst);
        let fan = |number: u64| -> UserId { format!("fan-{number}").parse().expect("an id") };
        let count = if taken_back {
            let fans = (0..number).rev().map(fan);
            let mut count = None;
            for fan in fans {
                if let (left, true) = store.unlike(id, &fan).await.expect("the store") {
                    count = Some(left);
                    break;
                }
            }
            count
        } else {
            store.like(id, &fan(number), 0).await.expect("the store")
        };
        let (Some(like_count), Some(comment)) = (count, store.comment(id).await.expect("the store")) else { return };
        let comment = Arc::new(Comment { like_count, ..(*comment).clone() });
        self.append(Record::Liked { comment, taken_back }).await;
    }

    async fn delete(&self, id: Snowflake) {
        self.world.store.delete_comments(&[id]).await.expect("the store");
        self.event(EventBody::CommentsDeleted { comment_ids: vec![id] }).await;
    }

    async fn ranking(&self) -> Vec<(String, String, u64)> {
        let now_ms = SystemClock.now_ms();
        let entries = self.leaderboards.ranking(&self.world.room, 10_000, now_ms).await.expect("a ranking");
        let entry = |entry: &model::RankingEntry| (entry.user_id.to_string(), entry.username.to_string(), entry.score);
        entries.iter().map(entry).collect()
    }

    async fn scores(&self) -> Vec<(String, u64)> {
        self.ranking().await.into_iter().map(|(user, _, score)| (user, score)).collect()
    }

    async fn hot(&self) -> Vec<(Snowflake, u64)> {
        let comments = self.leaderboards.hot(&self.world.room, 100, SystemClock.now_ms()).await.expect("hot comments");
        comments.iter().map(|comment| (comment.id, comment.like_count)).collect()
    }

    /// Whether viewers were shown this ranking, by users.
    fn showed(&self, users: &[&str]) -> Option<()> {
        let shown = |body: &EventBody| match body {
            EventBody::Ranking { entries } => {
                entries.iter().map(|entry| entry.user_id.as_str()).eq(users.iter().copied())
            }
            _ => false,
        };
        self.pushed.0.lock().last().is_some_and(shown).then_some(())
    }
}

async fn connect(address: &str) -> Redis {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("leaderboards-{}-{}-{number}", std::process::id(), SystemClock.now_ms());
    // Redis is hung on purpose too: then this is waited for.
    let address = address.parse::<RedisAddress>().expect("an address").patient(Duration::from_secs(1));
    let redis = Redis::open(&address, &namespace, metrics()).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    redis
}

async fn forget_everything(redis: &Redis) {
    redis.command::<()>("flush", &redis::cmd("FLUSHALL")).await.expect("it runs");
}

fn pairs<const N: usize>(pairs: [(&str, u64); N]) -> Vec<(String, u64)> {
    pairs.map(|(user, score)| (user.to_owned(), score)).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_acknowledged_every_node_shows() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let (world, redis) = (World::new(), connect(&address).await);
    let [a, b] = [1, 2].map(|number| Node::shared(&world, number, &redis));
    assert_eq!(a.ranking().await, [], "no session was ever on");
    let session = a.open().await;
    assert_eq!(b.ranking().await, []);

    let first = b.say(session, "bo").await;
    assert_eq!(a.scores().await, pairs([("bo", 1)]), "the first of a session, on the other node");
    let second = a.say(session, "ann").await;
    a.say(session, "ann").await;
    assert_eq!(b.scores().await, pairs([("ann", 2), ("bo", 1)]));
    b.give(session, "cy", 5).await;
    a.give(session, "cy", 5).await;
    for node in [&a, &b] {
        assert_eq!(node.scores().await, pairs([("cy", 10), ("ann", 2), ("bo", 1)]));
    }

    a.like(first, false).await;
    b.like(second, false).await;
    b.like(second, false).await;
    assert_eq!(a.hot().await, [(second, 2), (first, 1)]);
    a.like(second, true).await;
    // Two nodes' ids of one millisecond are in no order that is known here.
    let (older, younger) = (first.min(second), first.max(second));
    assert_eq!(b.hot().await, [(older, 1), (younger, 1)], "ties by the older");
    a.delete(first).await;
    assert_eq!(b.hot().await, [(second, 1)]);

    let later = b.open().await;
    assert_eq!(a.ranking().await, []);
    a.say(session, "ann").await;
    a.say(later, "cy").await;
    assert_eq!(b.scores().await, pairs([("cy", 1)]), "only the session that is on");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_shown_what_all_nodes_counted() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let (world, redis) = (World::new(), connect(&address).await);
    let [a, b] = [1, 2].map(|number| Node::shared(&world, number, &redis));
    let session = a.open().await;
    a.say(session, "ann").await;
    eventually("the head", async || a.showed(&["ann"])).await;
    b.say(session, "bo").await;
    eventually("the whole head from the node that changed it", async || b.showed(&["ann", "bo"])).await;
    b.say(session, "bo").await;
    b.say(session, "cy").await;
    eventually("the last one, however soon it came", async || b.showed(&["bo", "ann", "cy"])).await;
    a.say(session, "bo").await;
    b.say(session, "dan").await;
    let whole = ["bo", "ann", "cy", "dan"];
    eventually("one node shows it for all", async || a.showed(&whole).or(b.showed(&whole))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likes_that_are_counted_at_once_on_two_nodes_come_right() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let (world, redis) = (World::new(), connect(&address).await);
    let nodes = [1, 2].map(|number| Arc::new(Node::shared(&world, number, &redis)));
    let session = nodes[0].open().await;
    let liked = nodes[0].say(session, "ann").await;
    let fans = |taken_back: fn(usize) -> bool| {
        let likes = (0..40).map(|n| {
            let node = nodes[n % 2].clone();
            tokio::spawn(async move { node.like(liked, taken_back(n)).await })
        });
        futures::future::join_all(likes.collect::<Vec<_>>())
    };
    fans(|_| false).await;
    assert_eq!(nodes[1].hot().await, [(liked, 40)], "at once while they rise");
    fans(|n| n % 3 == 0).await;
    let count = world.store.comment(liked).await.expect("the store").expect("it is kept").like_count;
    eventually("the store's count", async || (nodes[0].hot().await == [(liked, count)]).then_some(())).await;
}

/// Lets users speak on all nodes until told to end.
fn speak(nodes: &[Arc<Node>], session: Snowflake) -> (Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let (left, nodes) = (Arc::new(AtomicU64::new(u64::MAX)), nodes.to_vec());
    let until = left.clone();
    let speaking = tokio::spawn(async move {
        let speakers = (0..12).map(|n| {
            let (node, until) = (nodes[n % nodes.len()].clone(), until.clone());
            tokio::spawn(async move {
                for round in 0_u64.. {
                    if round >= until.load(Ordering::Relaxed) {
                        return;
                    }
                    node.say(session, &format!("user-{}", n % 7)).await;
                    if round % 10 == 0 {
                        node.give(session, &format!("giver-{}", n % 3), 2).await;
                    }
                }
            })
        });
        futures::future::join_all(speakers.collect::<Vec<_>>()).await;
    });
    (left, speaking)
}

async fn end(speaking: (Arc<AtomicU64>, tokio::task::JoinHandle<()>)) {
    speaking.0.store(0, Ordering::Relaxed);
    speaking.1.await.expect("no panic");
}

/// Waits until a node shows exactly what is kept.
async fn comes_right(node: &Node, session: Snowflake) {
    eventually("every comment counted once", async || {
        let shown: BTreeMap<_, _> =
            node.scores().await.into_iter().map(|(user, score)| (user.parse().expect("an id"), score)).collect();
        (shown == node.world.kept(session).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_everything_under_load_ends_with_every_comment_counted_once() {
    let Some(own) = OwnServer::start("redis") else { return };
    forgets(&own, true).await;
    forgets(&own, false).await;
}

async fn forgets(own: &OwnServer, young: bool) {
    let (world, redis) = (World::new(), connect(&own.address()).await);
    let nodes = [1, 2, 3].map(|number| Arc::new(Node::shared(&world, number, &redis)));
    let session = if young { nodes[0].open().await } else { nodes[0].open_long_ago().await };
    let speaking = speak(&nodes, session);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await; // Some load between two losses.
        forget_everything(&redis).await;
    }
    end(speaking).await;
    comes_right(&nodes[2], session).await;
    comes_right(&nodes[0], session).await;
    let before = nodes[0].scores().await;
    forget_everything(&redis).await;
    assert_eq!(nodes[1].scores().await.len(), before.len(), "the first reader fills it");
    comes_right(&nodes[1], session).await;
    nodes[2].say(session, "user-0").await;
    comes_right(&nodes[1], session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_each_node_shows_what_is_kept_and_counts_on() {
    let Some(own) = OwnServer::start("redis") else { return };
    let (world, redis) = (World::new(), connect(&own.address()).await);
    let nodes = [1, 2].map(|number| Arc::new(Node::shared(&world, number, &redis)));
    let session = nodes[0].open().await;
    nodes[0].say(session, "ann").await;
    nodes[1].say(session, "bo").await;

    own.kill();
    nodes[0].say(session, "ann").await;
    assert_eq!(nodes[0].scores().await, pairs([("ann", 2), ("bo", 1)]), "from the store");
    nodes[0].say(session, "bo").await;
    nodes[0].say(session, "bo").await;
    assert_eq!(nodes[0].scores().await, pairs([("bo", 3), ("ann", 2)]), "and from its own log");
    eventually("a ranking for viewers", async || nodes[0].showed(&["bo", "ann"])).await;
    let speaking = speak(&nodes, session);
    tokio::time::sleep(Duration::from_millis(500)).await; // Some load without it.

    own.restart();
    redis.ready(testkit::PATIENCE).await.expect("it is back");
    tokio::time::sleep(Duration::from_millis(500)).await; // And with it again.
    end(speaking).await;
    for node in &nodes {
        comes_right(node, session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_that_hung_did_late_counts_once() {
    let Some(own) = OwnServer::start("redis") else { return };
    let (world, redis) = (World::new(), connect(&own.address()).await);
    let nodes = [1, 2].map(|number| Arc::new(Node::shared(&world, number, &redis)));
    let session = nodes[0].open().await;
    let speaking = speak(&nodes, session);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await; // Some load between two silences.
        own.hang();
        nodes[1].say(session, "ann").await;
        own.go_on();
        redis.ready(testkit::PATIENCE).await.expect("it is back");
    }
    end(speaking).await;
    for node in &nodes {
        comes_right(node, session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_kept_and_did_not_count_is_found_when_one_starts() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let (world, redis) = (World::new(), connect(&address).await);
    let a = Node::shared(&world, 1, &redis);
    let session = a.open().await;
    a.say(session, "ann").await;
    // As a node leaves it that dies between its commit and its worker.
    let comment = Arc::new(a.comment(session, "bo"));
    // A millisecond later than what was said: two nodes' stamps of one are in no order that is known here.
    let position = HybridClock::new(Arc::new(SystemClock), 2, 0).next().expect("a number") + (1 << 20);
    world.store.append_comments(vec![NewComment { comment, position, client_msg_id: None }]).await.expect("the store");
    assert_eq!(a.scores().await, pairs([("ann", 1)]));

    let b = Node::shared(&world, 2, &redis);
    b.leaderboards.warm(SystemClock.now_ms()).await.expect("the store");
    eventually("the lost one", async || (a.scores().await == pairs([("ann", 1), ("bo", 1)])).then_some(())).await;
}

/// A step as drawn: what, which user or comment, how much.
type Draw = (u8, usize, u64);

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    prop::collection::vec((0..8u8, 0..5usize, 0..4u64), 40)
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_boards_show_what_boards_in_memory_show() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(15));
    let compare = |draws| runtime.block_on(compare(&address, draws));
    tokio::task::block_in_place(|| runner.run(&draws(), compare)).expect("the same leaderboards");
}

async fn compare(address: &str, draws: Vec<Draw>) -> Result<(), TestCaseError> {
    let redis = connect(address).await;
    let (alone, shared) = (World::new(), World::new());
    let nodes = [Node::alone(&alone), Node::shared(&shared, 7, &redis)];
    let mut shown = Vec::new();
    for node in &nodes {
        let mut session = node.open().await;
        let mut said = Vec::new();
        let mut seen = Vec::new();
        for &(what, n, much) in &draws {
            let user = format!("user-{n}");
            match (what, said.get(n)) {
                (0..=2, _) => said.push(node.say(session, &user).await),
                (3, _) => node.give(session, &user, much).await,
                (4, Some(&id)) => node.like(id, false).await,
                (5, Some(&id)) => node.like(id, true).await,
                (6, Some(&id)) if much == 0 => node.delete(id).await,
                (7, _) if much == 0 => session = node.open().await,
                _ => {}
            }
            let hot = node.hot().await.into_iter().map(|(id, likes)| (said.iter().position(|it| *it == id), likes));
            seen.push((node.ranking().await, hot.collect::<Vec<_>>()));
        }
        shown.push(seen);
    }
    prop_assert_eq!(&shown[0], &shown[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_counted_once_for_all_readers_and_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Arc::new(SqliteStore::open(&directory.path().join("db"), metrics()).expect("a store"));
    let (room, now_ms): (RoomId, i64) = ("hall".parse().expect("an id"), SystemClock.now_ms());
    let started_at_ms = now_ms - 10_000_000;
    let session = Session { id: Snowflake(1), room_id: room.clone(), started_at_ms, ended_at_ms: None, explicit: true };
    let said = |n: u64| NewComment {
        comment: Arc::new(Comment {
            id: Snowflake(100 + n),
            room_id: "hall".parse().expect("an id"),
            session_id: Some(Snowflake(1)),
            user_id: format!("u{}", n * n % 70).parse().expect("an id"),
            username: format!("U{}", n * n % 70).into(),
            level: Level::Normal,
            content: "hello".into(),
            style: Style::default(),
            kind: Kind::Comment,
            mentions: Box::default(),
            created_at_ms: started_at_ms,
            offset_ms: n.cast_signed(),
            like_count: 0,
            shadow: false,
        }),
        position: n,
        client_msg_id: None,
    };
    {
        use store::{CommentStore as _, RoomStore as _};
        store.start_session(&session).await.expect("the store");
        store.append_comments((1..=5_000).map(said).collect()).await.expect("the store");
        store.end_session(&room, None, now_ms - 7_200_000, false).await.expect("the store");
    }
    let ranking = async || {
        let leaderboards = Leaderboards::new(store.clone());
        store.take_read_steps();
        let ranking = leaderboards.ranking(&room, 100, now_ms).await.expect("the store");
        (ranking, store.take_read_steps())
    };
    let (first, counted) = ranking().await;
    let (second, kept) = ranking().await;
    assert_eq!(first, second);
    assert!(kept * 10 < counted, "{counted} steps the first time, {kept} the second");
    let leader = first.first().expect("somebody").user_id.clone();
    store::CommentStore::purge_user(&*store, &leader, None, 10_000, None).await.expect("the store");
    let (third, _) = ranking().await;
    assert_eq!(third.len() + 1, first.len());
    assert!(third.iter().all(|entry| entry.user_id != leader), "a purge reaches what was kept");
}
