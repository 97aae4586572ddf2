//! Two nodes that hold one room over one store and a real Redis, also when that is killed and comes back.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanout::redis::{ControlFanout, RedisFanout, RedisInbox};
use fanout::{Fanout, RoutingFanout};
use hub::{Hub, HubSettings, Opener, Tap, TapMessage};
use log::hlc::HybridClock;
use log::{Entry, Position, Record};
use model::clock::SystemClock;
use model::{Clock, Comment, Kind, Level, Metrics, RoomId, Snowflake, SnowflakeGenerator, Style, UserId};
use prometheus_client::registry::Registry;
use protocol::message::JoinRoom;
use redis_client::{Redis, RedisAddress};
use settings::Rooms;
use store::sqlite::SqliteStore;
use store::{CommentStore, NewComment};
use testkit::OwnServer;

fn hall() -> RoomId {
    RoomId::new("hall").expect("an id")
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

struct Node {
    name: &'static str,
    store: Arc<SqliteStore>,
    hub: Arc<Hub>,
    fanout: RoutingFanout,
    stamps: HybridClock,
    viewer: Tap,
    seen: Vec<u64>,
}

impl Node {
    async fn start(address: &str, namespace: &str, name: &'static str, number: u16, store: &Arc<SqliteStore>) -> Self {
        let address = address.parse::<RedisAddress>().expect("an address").patient(Duration::from_secs(3));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let redis = Redis::open(&address, namespace, metrics()).expect("an address");
        redis.ready(testkit::PATIENCE).await.expect("it runs");
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), number, None));
        let settings = HubSettings {
            rooms: Rooms { window_ms_max: 20, viewer_per_s_max: 1_000_000, ..Rooms::default() },
            reread_ms: 5_000,
            ..HubSettings::default()
        };
        let hub = Hub::new(store.clone(), clock.clone(), ids, metrics(), settings);
        let behind = Arc::downgrade(&hub);
        let missed = move |room: &RoomId, since_ms| {
            if let Some(hub) = behind.upgrade() {
                hub.mark_incomplete(room, since_ms);
            }
        };
        let (inlet, missed) = (hub.remote_fanout(), Arc::new(missed));
        let inbox = RedisInbox::start(&address, redis.clone(), name, inlet, missed, clock.clone(), metrics());
        hub.register_subscriptions(Arc::new(inbox.expect("it starts")));
        let fanout = RoutingFanout {
            local: hub.clone(),
            control: Arc::new(ControlFanout::new(redis.clone(), name, &*clock, metrics())),
            rooms: Arc::new(RedisFanout::new(redis, name, clock.clone(), metrics())),
        };
        let options: JoinRoom = serde_json::from_value(serde_json::json!({ "room_id": "hall" })).expect("wishes");
        let viewer = hub.tap(&options, &Opener::default()).await.expect("it joins");
        let stamps = HybridClock::new(clock, number, 0);
        Self { name, store: store.clone(), hub, fanout, stamps, viewer, seen: Vec::new() }
    }

    async fn say(&self, id: u64) {
        let comment = Arc::new(Comment {
            id: Snowflake(id),
            room_id: hall(),
            session_id: None,
            user_id: UserId::new(self.name).expect("an id"),
            username: self.name.into(),
            level: Level::Moderator,
            content: format!("comment {id}").into(),
            style: Style::default(),
            kind: Kind::Comment,
            mentions: [].into(),
            created_at_ms: SystemClock.now_ms(),
            offset_ms: 0,
            like_count: 0,
            shadow: false,
        });
        let offset = self.stamps.next().expect("a number");
        let kept = NewComment { comment: comment.clone(), position: offset, client_msg_id: None };
        self.store.append_comments(vec![kept]).await.expect("kept");
        let record = Record::Comment { comment, client_msg_id: None, keep: true };
        let position = Position { epoch: 1, offset };
        self.fanout.push(&hall(), vec![Entry { room_id: hall(), position, record }]);
    }

    /// Waits until the viewer has been shown as many as were said.
    async fn see(&mut self, said: usize) {
        while self.seen.len() < said {
            let message = tokio::time::timeout(Duration::from_secs(30), self.viewer.messages.recv()).await;
            let Some(TapMessage::Comments(batch)) = message.expect("a message in time") else { continue };
            self.seen.extend(batch.items().map(|item| item.comment.id.0));
        }
    }

    /// Each of `1..=said` once; the odd ones, which one node said, in their order, and the even ones in theirs.
    fn check(&self, said: u64) {
        assert_eq!(self.seen.iter().collect::<HashSet<_>>().len(), self.seen.len(), "{}: a repeat", self.name);
        for rest in [0, 1] {
            let of_one: Vec<_> = self.seen.iter().copied().filter(|id| id % 2 == rest).collect();
            assert_eq!(of_one, (1..=said).filter(|id| id % 2 == rest).collect::<Vec<_>>(), "{}", self.name);
        }
    }

    async fn poll(&self, since: Snowflake) -> Vec<u64> {
        let room = self.hub.hold(&hall(), &Opener::default()).await.expect("held");
        let page =
            self.hub.poll(&room, Some(since.0), None, None).await.expect("a poll").page(500).await.expect("a page");
        page.comments.iter().map(|comment| comment.id.0).collect()
    }
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("hub-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn two(address: &str, directory: &Path) -> [Node; 2] {
    let (namespace, store) = (namespace(), SqliteStore::open(&directory.join("store"), metrics()));
    let store = Arc::new(store.expect("a store"));
    [Node::start(address, &namespace, "ann", 1, &store).await, Node::start(address, &namespace, "bo", 2, &store).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_held_by_two_nodes_is_one_room() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let [mut ann, mut bo] = two(&address, directory.path()).await;
    for id in (1..=200).step_by(2) {
        ann.say(id).await;
        bo.say(id + 1).await;
    }
    for node in [&mut ann, &mut bo] {
        node.see(200).await;
        node.check(200);
    }
    let again: HashSet<_> = bo.poll(Snowflake(199)).await.into_iter().collect();
    assert!(again.contains(&200) && again.contains(&198), "who comes from another node is given some again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_redis_was_away_is_shown_everywhere_once_it_is_back() {
    let Some(server) = OwnServer::start("redis") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let [mut ann, mut bo] = two(&server.address(), directory.path()).await;
    ann.say(1).await;
    bo.say(2).await;
    ann.see(2).await;
    bo.see(2).await;

    server.kill();
    for id in (3..=40).step_by(2) {
        ann.say(id).await;
        bo.say(id + 1).await;
    }
    ann.see(2 + 19).await;
    assert!(ann.seen.contains(&39) && !ann.seen.contains(&40), "inside a node delivery goes on");
    server.restart();
    for node in [&mut ann, &mut bo] {
        node.see(40).await;
        node.check(40);
    }
    // Nobody says anything more, and still nothing is missing; then all goes on as before.
    bo.say(42).await;
    ann.say(41).await;
    for node in [&mut ann, &mut bo] {
        node.see(42).await;
        node.check(42);
    }
}
