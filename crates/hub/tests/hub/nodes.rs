//! Two nodes that hold one room over one store, with three sources of comments, whatever is lost or late between them:
//! readers who move between the nodes skip nothing, viewers who stay see everything once.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fanout::{Fanout, RoomSubscriptions};
use hub::{Hub, HubSettings, Opener, Tap, TapMessage};
use log::hlc::HybridClock;
use log::{Entry, Position, Record};
use model::{
    Audience, Clock, Comment, Event, EventBody, Kind, Level, ManualClock, Metrics, RoomId, Snowflake,
    SnowflakeGenerator, Style, UserId,
};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use protocol::message::JoinRoom;
use settings::Rooms;
use store::sqlite::SqliteStore;
use store::{CommentStore, NewComment, Store};

const REREAD_MS: u64 = 5_000;
/// What is committed, delivered or noticed late is so by less than this each, in milliseconds.
const LATE_MS: i64 = 1_500;
const NODES: usize = 3;
const HUBS: usize = 2;

fn hall() -> RoomId {
    RoomId::new("hall").expect("an id")
}

fn settings() -> HubSettings {
    HubSettings {
        rooms: Rooms { window_ms_max: 20, viewer_per_s_max: 1_000_000, ..Rooms::default() },
        reread_ms: REREAD_MS,
        ..HubSettings::default()
    }
}

fn open_store(directory: &Path) -> Arc<SqliteStore> {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    Arc::new(SqliteStore::open(&directory.join("store"), metrics).expect("a store"))
}

fn hub(store: Arc<dyn Store>, clock: Arc<dyn Clock>, node: u16) -> Arc<Hub> {
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), node, None));
    Hub::new(store, clock, ids, Arc::new(Metrics::register(&mut Registry::default())), settings())
}

/// A comment of a moderator, whose comments are never merged.
fn comment(id: u64, node: usize, at_ms: i64) -> Arc<Comment> {
    Arc::new(Comment {
        id: Snowflake(id),
        room_id: hall(),
        session_id: None,
        user_id: UserId::new(&format!("sender-{node}")).expect("an id"),
        username: "sender".into(),
        level: Level::Moderator,
        content: format!("comment {id}").into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: at_ms,
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    })
}

fn entry(comment: Arc<Comment>, offset: u64) -> Entry {
    let record = Record::Comment { comment, client_msg_id: None, keep: true };
    Entry { room_id: hall(), position: Position { epoch: 1, offset }, record }
}

fn kept(entry: &Entry) -> NewComment {
    let Record::Comment { comment, .. } = &entry.record else { panic!("only comments are said") };
    NewComment { comment: comment.clone(), position: entry.position.offset, client_msg_id: None }
}

/// Waits without turning the clock.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(tokio::time::Instant::now() < patience, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A source of comments; the first two have a hub.
struct Node {
    clock: Arc<ManualClock>,
    stamps: HybridClock,
    /// Said and not committed yet, with the moment.
    committing: VecDeque<(i64, Entry)>,
}

/// What one source has pushed to one hub and has not arrived.
#[derive(Default)]
struct Line {
    batches: VecDeque<(i64, Vec<Entry>)>,
    heard_ms: i64,
    /// Since when something is lost that nobody noticed.
    lost_ms: Option<i64>,
}

struct Reader {
    user: Option<UserId>,
    hub: usize,
    since: Snowflake,
    got: Vec<u64>,
}

struct Viewer {
    tap: Tap,
    seen: Vec<u64>,
}

impl Viewer {
    fn look(&mut self) {
        while let Ok(message) = self.tap.messages.try_recv() {
            let TapMessage::Comments(batch) = message else { continue };
            assert_eq!(batch.omitted, 0, "nobody is over budget");
            self.seen.extend(batch.items().map(|item| item.comment.id.0));
        }
    }
}

struct World {
    store: Arc<SqliteStore>,
    nodes: Vec<Node>,
    hubs: Vec<Arc<Hub>>,
    lines: Vec<Vec<Line>>,
    readers: Vec<Reader>,
    viewers: Vec<Viewer>,
    said: Vec<(u64, usize)>,
}

impl World {
    async fn new(directory: &Path, skews_ms: [i64; NODES]) -> Self {
        let store = open_store(directory);
        let node = |(number, skew_ms): (u16, i64)| {
            let clock = Arc::new(ManualClock::at(1_800_000_000_000 + skew_ms));
            let stamps = HybridClock::new(clock.clone(), number, 0);
            Node { clock, stamps, committing: VecDeque::new() }
        };
        let nodes: Vec<_> = (0..).zip(skews_ms).map(node).collect();
        let hubs: Vec<_> =
            (0u16..).zip(&nodes[..HUBS]).map(|(n, node)| hub(store.clone(), node.clock.clone(), n)).collect();
        let mut viewers = Vec::new();
        for hub in &hubs {
            let options = JoinRoom {
                room_id: hall(),
                since_id: None,
                history: None,
                history_s: None,
                max_per_s: None,
                only_user_ids: None,
            };
            viewers
                .push(Viewer { tap: hub.tap(&options, &Opener::default()).await.expect("it joins"), seen: Vec::new() });
        }
        let reader = |n: usize| Reader {
            user: (n > 0).then(|| UserId::new(&format!("reader-{n}")).expect("an id")),
            hub: n % HUBS,
            since: Snowflake(0),
            got: Vec::new(),
        };
        let lines =
            (0..NODES).map(|_| (0..HUBS).map(|_| Line { heard_ms: 1_800_000_000_000, ..Line::default() }).collect());
        Self {
            store,
            lines: lines.collect(),
            readers: (0..3).map(reader).collect(),
            nodes,
            hubs,
            viewers,
            said: vec![],
        }
    }

    fn now_ms(&self) -> i64 {
        self.nodes[0].clock.now_ms()
    }

    fn say(&mut self, node: usize, count: u64) {
        for _ in 0..count {
            let (id, now_ms) = (self.said.len() as u64 + 1, self.now_ms());
            let source = &mut self.nodes[node];
            let stamp = source.stamps.next().expect("a number");
            source.committing.push_back((now_ms, entry(comment(id, node, source.clock.now_ms()), stamp)));
            self.said.push((id, node));
        }
    }

    /// The log of a node makes what was said durable, then gives it to its own hub, and to the others by their lines.
    async fn commit(&mut self, node: usize) {
        let run: Vec<_> = self.nodes[node].committing.drain(..).map(|(_, entry)| entry).collect();
        if run.is_empty() {
            return;
        }
        self.store.append_comments(run.iter().map(kept).collect()).await.expect("kept");
        let now_ms = self.now_ms();
        for hub in 0..HUBS {
            if hub == node {
                self.hubs[hub].push(&hall(), run.clone());
            } else {
                self.lines[node][hub].batches.push_back((now_ms, run.clone()));
            }
        }
    }

    fn deliver(&mut self, node: usize, hub: usize) {
        let now_ms = self.now_ms();
        let Some((_, entries)) = self.lines[node][hub].batches.pop_front() else { return };
        self.notice(node, hub);
        self.lines[node][hub].heard_ms = now_ms;
        self.hubs[hub].remote_fanout().push(&hall(), entries);
    }

    fn lose(&mut self, node: usize, hub: usize) {
        let now_ms = self.now_ms();
        let line = &mut self.lines[node][hub];
        if line.batches.pop_front().is_some() {
            line.lost_ms.get_or_insert(now_ms);
        }
    }

    fn notice(&mut self, node: usize, hub: usize) {
        let line = &mut self.lines[node][hub];
        if line.lost_ms.take().is_some() {
            self.hubs[hub].mark_incomplete(&hall(), line.heard_ms);
        }
    }

    /// Time passes, in which nothing is later than promised.
    async fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 250 {
            self.caught_up().await;
            self.nodes.iter().for_each(|node| node.clock.advance(250));
            let before_ms = self.now_ms() - LATE_MS;
            for node in 0..NODES {
                if self.nodes[node].committing.front().is_some_and(|(at_ms, _)| *at_ms < before_ms) {
                    self.commit(node).await;
                }
                for hub in 0..HUBS {
                    while self.lines[node][hub].batches.front().is_some_and(|(at_ms, _)| *at_ms < before_ms) {
                        self.deliver(node, hub);
                    }
                    if self.lines[node][hub].lost_ms.is_some_and(|at_ms| at_ms < before_ms) {
                        self.notice(node, hub);
                    }
                }
            }
        }
    }

    async fn caught_up(&self) {
        for hub in &self.hubs {
            let room = hub.hold(&hall(), &Opener::default()).await.expect("held");
            until("the room to catch up", || !room.is_behind()).await;
        }
    }

    /// Whether there was something new.
    async fn poll(&mut self, reader: usize, limit: usize) -> bool {
        let Reader { user, hub, since, got } = &mut self.readers[reader];
        let room = self.hubs[*hub].hold(&hall(), &Opener::default()).await.expect("held");
        let mut poll = self.hubs[*hub].poll(&room, Some(since.0), user.clone(), None).await.expect("a poll");
        let page = poll.page(limit).await.expect("a page");
        got.extend(page.comments.iter().map(|comment| comment.id.0));
        *since = page.latest_id;
        page.has_new
    }

    async fn settle(&mut self) {
        for node in 0..NODES {
            self.commit(node).await;
            for hub in 0..HUBS {
                while !self.lines[node][hub].batches.is_empty() {
                    self.deliver(node, hub);
                }
                self.notice(node, hub);
            }
        }
        self.caught_up().await;
        for reader in 0..self.readers.len() {
            let mut pages = 0;
            while self.poll(reader, 50).await {
                pages += 1;
                assert!(pages < 1_000, "pages that lead nowhere");
            }
        }
        let (said, viewers) = (self.said.len(), &mut self.viewers);
        let clocks: Vec<_> = self.nodes.iter().map(|node| node.clock.clone()).collect();
        until("viewers to see all", || {
            clocks.iter().for_each(|clock| clock.advance(1));
            viewers.iter_mut().for_each(Viewer::look);
            viewers.iter().all(|viewer| viewer.seen.len() >= said)
        })
        .await;
    }

    /// Nothing is missing, and each sender's comments came in their order.
    fn check(&self, who: &str, got: &[u64]) {
        let mut known = HashSet::new();
        let first: Vec<_> = got.iter().copied().filter(|id| known.insert(*id)).collect();
        for node in 0..NODES {
            let of_node = |id: &&u64| self.said.iter().any(|(said, by)| said == *id && *by == node);
            let expected: Vec<_> = self.said.iter().filter(|(_, by)| *by == node).map(|(id, _)| *id).collect();
            let of: Vec<_> = first.iter().filter(of_node).copied().collect();
            assert_eq!(of, expected, "{who}: what node {node} said");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Say { node: usize, count: u64 },
    Commit { node: usize },
    Deliver { node: usize, hub: usize },
    Lose { node: usize, hub: usize },
    Poll { reader: usize, limit: usize },
    Move { reader: usize },
    Pass { ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (node, hub, reader) = (0..NODES, 0..HUBS, 0usize..3);
    let step = prop_oneof![
        8 => (node.clone(), 1u64..4).prop_map(|(node, count)| Step::Say { node, count }),
        1 => (node.clone(), 100u64..300).prop_map(|(node, count)| Step::Say { node, count }),
        8 => node.clone().prop_map(|node| Step::Commit { node }),
        8 => (node.clone(), hub.clone()).prop_map(|(node, hub)| Step::Deliver { node, hub }),
        2 => (node, hub).prop_map(|(node, hub)| Step::Lose { node, hub }),
        6 => (reader.clone(), 1usize..30).prop_map(|(reader, limit)| Step::Poll { reader, limit }),
        2 => reader.prop_map(|reader| Step::Move { reader }),
        3 => (1i64..8).prop_map(|quarters| Step::Pass { ms: quarters * 250 }),
        1 => Just(Step::Pass { ms: 12_000 }),
    ];
    prop::collection::vec(step, 1..120)
}

async fn run(steps: Vec<Step>, skews_ms: [i64; NODES]) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = World::new(directory.path(), skews_ms).await;
    for step in steps {
        match step {
            Step::Say { node, count } => world.say(node, count),
            Step::Commit { node } => world.commit(node).await,
            Step::Deliver { node, hub } => world.deliver(node, hub),
            Step::Lose { node, hub } => world.lose(node, hub),
            Step::Poll { reader, limit } => {
                world.poll(reader, limit).await;
            }
            Step::Move { reader } => world.readers[reader].hub = (world.readers[reader].hub + 1) % HUBS,
            Step::Pass { ms } => world.pass(ms).await,
        }
        world.viewers.iter_mut().for_each(Viewer::look);
    }
    world.settle().await;
    for reader in &world.readers {
        world.check("a reader", &reader.got);
    }
    for viewer in &world.viewers {
        assert_eq!(viewer.seen.iter().collect::<HashSet<_>>().len(), viewer.seen.len(), "a viewer saw a repeat");
        world.check("a viewer", &viewer.seen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_skipped_whatever_is_late_or_lost(
        steps in steps(),
        skews_ms in [-500i64..500, -500i64..500, -500i64..500],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(run(steps, skews_ms));
    }
}

/// A world of one hub, in which entries are pushed by hand.
struct Single {
    store: Arc<SqliteStore>,
    clock: Arc<ManualClock>,
    stamps: HybridClock,
    hub: Arc<Hub>,
    _directory: tempfile::TempDir,
}

impl Single {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open_store(directory.path());
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let stamps = HybridClock::new(clock.clone(), 7, 0);
        Self { hub: hub(store.clone(), clock.clone(), 0), store, clock, stamps, _directory: directory }
    }

    /// Another node keeps a comment.
    async fn keep(&self, id: u64) -> Entry {
        self.clock.advance(1);
        let entry = entry(comment(id, 0, self.clock.now_ms()), self.stamps.next().expect("a number"));
        self.store.append_comments(vec![kept(&entry)]).await.expect("kept");
        entry
    }

    async fn say(&self, id: u64) {
        let entry = self.keep(id).await;
        self.hub.push(&hall(), vec![entry]);
    }

    /// Ids, the next cursor, and whether it is news.
    async fn poll(&self, since: u64, reader: Option<&str>) -> (Vec<u64>, u64, bool) {
        let room = self.hub.hold(&hall(), &Opener::default()).await.expect("held");
        let reader = reader.map(|name| UserId::new(name).expect("an id"));
        let page =
            self.hub.poll(&room, Some(since), reader, None).await.expect("a poll").page(100).await.expect("a page");
        (page.comments.iter().map(|comment| comment.id.0).collect(), page.latest_id.0, page.has_new)
    }
}

#[tokio::test]
async fn who_stays_is_given_no_repeats_and_who_comes_is_given_five_seconds_again() {
    let world = Single::new();
    world.poll(0, None).await;
    world.say(1).await;
    world.clock.advance(6_000);
    world.say(2).await;
    world.say(3).await;
    assert_eq!(world.poll(3, Some("ann")).await, (vec![2], 3, false), "a cursor that nobody gave her here");
    assert_eq!(world.poll(3, Some("ann")).await, (vec![2], 3, false), "nobody answered her for that alone");
    world.say(4).await;
    assert_eq!(world.poll(3, Some("ann")).await, (vec![2, 4], 4, true));
    assert_eq!(world.poll(4, Some("ann")).await, (vec![], 4, false));
    world.say(5).await;
    assert_eq!(world.poll(4, Some("ann")).await, (vec![5], 5, true));
    assert_eq!(world.poll(5, None).await, (vec![2, 3, 4], 5, false), "nobody known is somebody new each time");
    assert_eq!(world.poll(4, Some("ann")).await, (vec![2, 3, 5], 5, true), "an answer that she did not get");
    world.clock.advance(60_000);
    assert_eq!(world.poll(5, Some("ann")).await, (vec![], 5, false));
}

/// Other nodes, one of which keeps a comment at the last moment at which it is not pushed here.
struct Late {
    world: Arc<Single>,
    held: AtomicU64,
}

#[async_trait]
impl RoomSubscriptions for Late {
    async fn hold(&self, room_id: &RoomId) {
        assert_eq!(*room_id, hall());
        self.held.fetch_add(1, Ordering::SeqCst);
        self.world.keep(2).await;
    }

    fn release(&self, _: &RoomId) {
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn other_nodes_are_heard_before_the_store_is_read() {
    let world = Arc::new(Single::new());
    world.keep(1).await;
    let elsewhere = Arc::new(Late { world: world.clone(), held: AtomicU64::new(0) });
    world.hub.register_subscriptions(elsewhere.clone());
    assert_eq!(world.poll(0, None).await.0, [1, 2]);
    assert_eq!(elsewhere.held.load(Ordering::SeqCst), 1);
    assert_eq!(world.poll(0, None).await.0, [1, 2], "once for as long as it is held");
    assert_eq!(elsewhere.held.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_deleted_unheard_goes_and_does_not_come_back() {
    let world = Single::new();
    world.poll(0, None).await;
    world.say(1).await;
    let unheard = world.keep(2).await;
    world.store.delete_comments(&[Snowflake(1)]).await.expect("deleted");
    let options: JoinRoom = serde_json::from_value(serde_json::json!({ "room_id": "hall" })).expect("wishes");
    let mut tap = world.hub.tap(&options, &Opener::default()).await.expect("it joins");
    world.hub.mark_incomplete(&hall(), 0);
    until("the room to catch up", || !tap.room.is_behind()).await;
    let (mut deleted, mut seen) = (Vec::new(), Vec::new());
    while deleted.is_empty() || seen.is_empty() {
        world.clock.advance(1);
        match tap.messages.recv().await.expect("it is open") {
            TapMessage::Comments(batch) => seen.extend(batch.last_id()),
            TapMessage::Event(frame) => match &frame.event.body {
                EventBody::CommentsDeleted { comment_ids } => deleted.extend(comment_ids.clone()),
                other => panic!("{other:?}"),
            },
        }
    }
    assert_eq!((deleted, seen), (vec![Snowflake(1)], vec![Snowflake(2)]));

    // The second goes too, its deletion heard while the store is read again.
    world.store.delete_comments(&[Snowflake(2)]).await.expect("deleted");
    world.hub.mark_incomplete(&hall(), 0);
    let body = EventBody::CommentsDeleted { comment_ids: vec![Snowflake(2)] };
    let event = Event {
        id: Snowflake(90),
        room_id: hall(),
        audience: Audience::Everyone,
        critical_for: Audience::Nobody,
        at_ms: 0,
        body,
    };
    let record = Record::Event(Arc::new(event));
    world
        .hub
        .remote_fanout()
        .push(&hall(), vec![unheard, Entry { room_id: hall(), position: Position::default(), record }]);
    until("the room to catch up", || !tap.room.is_behind()).await;
    assert_eq!(world.poll(0, None).await, (vec![], 0, false));
}

#[tokio::test]
async fn a_gap_that_shows_late_is_closed_although_a_later_one_was_closed_before() {
    let world = Single::new();
    world.poll(0, None).await;
    let options: JoinRoom = serde_json::from_value(serde_json::json!({ "room_id": "hall" })).expect("wishes");
    let mut tap = world.hub.tap(&options, &Opener::default()).await.expect("it joins");
    world.clock.advance(60_000);
    let lost_ms = world.clock.now_ms();
    // Its push is lost with a node that freezes: nobody knows yet.
    world.keep(1).await;
    world.clock.advance(20_000);
    world.hub.mark_incomplete(&hall(), world.clock.now_ms());
    until("the room to catch up", || !tap.room.is_behind()).await;
    world.clock.advance(20_000);
    world.hub.mark_incomplete(&hall(), lost_ms);
    until("the room to catch up", || !tap.room.is_behind()).await;
    world.clock.advance(100);
    let shown = tokio::time::timeout(std::time::Duration::from_secs(10), tap.messages.recv()).await;
    let Some(TapMessage::Comments(batch)) = shown.expect("it is shown") else { panic!("a batch of comments") };
    assert_eq!(batch.last_id(), Some(Snowflake(1)));
}

/// The same comment under another id, as two nodes bring it when one of them was frozen.
fn attempt(world: &Single, id: u64, client_msg_id: &str) -> Entry {
    let comment = comment(id, 0, world.clock.now_ms());
    let record = Record::Comment { comment, client_msg_id: Some(client_msg_id.into()), keep: true };
    let position = Position { epoch: 1, offset: world.stamps.next().expect("a number") };
    Entry { room_id: hall(), position, record }
}

async fn keep_attempt(world: &Single, entry: &Entry) {
    let Record::Comment { comment, client_msg_id, .. } = &entry.record else { panic!("only comments are said") };
    let new =
        NewComment { comment: comment.clone(), position: entry.position.offset, client_msg_id: client_msg_id.clone() };
    world.store.append_comments(vec![new]).await.expect("kept");
}

#[tokio::test]
async fn a_comment_that_two_nodes_bring_is_shown_once_whichever_of_them_the_store_kept() {
    let world = Single::new();
    world.poll(0, None).await;
    let (first, second) = (attempt(&world, 1, "a"), attempt(&world, 2, "a"));
    world.hub.push(&hall(), vec![first]);
    world.hub.remote_fanout().push(&hall(), vec![second.clone(), attempt(&world, 3, "b")]);
    assert_eq!(world.poll(0, None).await.0, [1, 3]);

    // The store knows the other one, and the room is read again.
    keep_attempt(&world, &second).await;
    keep_attempt(&world, &attempt(&world, 4, "c")).await;
    world.hub.mark_incomplete(&hall(), 0);
    let room = world.hub.hold(&hall(), &Opener::default()).await.expect("held");
    until("the room to catch up", || !room.is_behind()).await;
    assert_eq!(world.poll(0, None).await.0, [1, 3, 4]);
    assert_eq!(world.poll(2, None).await.1, 4, "a cursor may point to the one that is not shown");
}

#[tokio::test]
async fn what_the_store_had_before_the_room_was_held_is_not_shown_again_under_another_id() {
    let world = Single::new();
    keep_attempt(&world, &attempt(&world, 1, "a")).await;
    world.poll(0, None).await;
    world.hub.push(&hall(), vec![attempt(&world, 2, "a"), attempt(&world, 3, "b")]);
    assert_eq!(world.poll(0, None).await.0, [1, 3]);
}

#[tokio::test]
async fn an_event_that_a_frozen_worker_tells_again_is_told_once() {
    let world = Single::new();
    let options: JoinRoom = serde_json::from_value(serde_json::json!({ "room_id": "hall" })).expect("wishes");
    let mut tap = world.hub.tap(&options, &Opener::default()).await.expect("it joins");
    let announce = |id| {
        let event = Event {
            id: Snowflake(id),
            room_id: hall(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: 0,
            body: EventBody::Announcement { content: "be kind".into() },
        };
        let position = Position { epoch: 1, offset: world.stamps.next().expect("a number") };
        Entry { room_id: hall(), position, record: Record::Event(Arc::new(event)) }
    };
    world.hub.push(&hall(), vec![announce(1)]);
    world.hub.remote_fanout().push(&hall(), vec![announce(1), announce(2)]);
    let mut told = Vec::new();
    while told.len() < 2 {
        if let TapMessage::Event(frame) = tap.messages.recv().await.expect("it is open") {
            told.push(frame.event.id.0);
        }
    }
    assert_eq!(told, [1, 2]);
}

#[tokio::test]
async fn while_nothing_is_heard_rooms_are_read_again_and_again() {
    let world = Single::new();
    world.poll(0, None).await;
    world.hub.set_disconnected(true);
    for id in 1..=3 {
        world.keep(id).await;
        testkit::eventually("it to be found", async || world.poll(0, None).await.0.contains(&id).then_some(())).await;
    }
    world.hub.set_disconnected(false);
    assert_eq!(world.poll(0, None).await.0, [1, 2, 3]);
}
