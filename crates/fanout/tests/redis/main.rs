//! Two nodes that share rooms over real Redis: a single server, a master behind Sentinel, a Cluster of six.

mod channels;
mod control;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanout::redis::{ControlFanout, ControlInbox, RedisFanout, RedisInbox};
use fanout::{ControlMessage, Fanout, RoomSubscriptions, RoutingFanout};
use log::{Entry, Position, Record};
use model::clock::{Clock, SystemClock};
use model::{Audience, Event, EventBody, Metrics, RoomId, Snowflake};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use testkit::OwnServer;

/// A gateway that writes down what it is given.
#[derive(Default)]
struct Gateway(Mutex<Vec<(RoomId, u64)>>);

impl Fanout for Gateway {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let offsets = entries.iter().map(|entry| (room_id.clone(), entry.position.offset));
        self.0.lock().expect("no panic").extend(offsets);
    }
}

impl Gateway {
    fn heard(&self, room: &RoomId) -> Vec<u64> {
        let all = self.0.lock().expect("no panic");
        all.iter().filter(|(heard, _)| heard == room).map(|(_, offset)| *offset).collect()
    }
}

struct Node {
    gateway: Arc<Gateway>,
    missed: Arc<Mutex<Vec<RoomId>>>,
    fanout: RoutingFanout,
    inbox: RedisInbox,
    /// What came on the control channel.
    news: Arc<Mutex<Vec<ControlMessage>>>,
    _control: ControlInbox,
}

/// How long nodes wait for Redis, which is slow where much else is done, and is killed.
const ANSWERS: Duration = Duration::from_secs(3);

impl Node {
    async fn start(address: &str, namespace: &str, name: &str) -> Self {
        let address = address.parse::<RedisAddress>().expect("an address").patient(ANSWERS);
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let redis = Redis::open(&address, namespace, metrics.clone()).expect("an address");
        redis.ready(testkit::PATIENCE).await.expect("it runs");
        let (gateway, missed) = (Arc::new(Gateway::default()), Arc::new(Mutex::new(Vec::new())));
        let noted = missed.clone();
        let miss = move |room: &RoomId, _| noted.lock().expect("no panic").push(room.clone());
        let (miss, clock) = (Arc::new(miss), Arc::new(SystemClock));
        let inbox = RedisInbox::start(&address, redis.clone(), name, gateway.clone(), miss, clock, metrics.clone());
        let inbox = inbox.expect("it starts");
        let news = Arc::new(Mutex::new(Vec::new()));
        let heard = news.clone();
        let hear = Arc::new(move |new| heard.lock().expect("no panic").push(new));
        let control = ControlInbox::start(&address, &redis, name, gateway.clone(), hear, metrics.clone());
        let fanout = RoutingFanout {
            local: gateway.clone(),
            control: Arc::new(ControlFanout::new(redis.clone(), name, &SystemClock, metrics.clone())),
            rooms: Arc::new(RedisFanout::new(redis, name, Arc::new(SystemClock), metrics)),
        };
        Self { gateway, missed, fanout, inbox, news, _control: control.expect("it starts") }
    }

    fn push(&self, room: &RoomId, offset: u64) {
        let event = Event {
            id: Snowflake(1),
            room_id: room.clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: 0,
            body: EventBody::Announcement { content: "for the room".into() },
        };
        self.push_record(room, offset, Record::Event(Arc::new(event)));
    }

    fn push_record(&self, room: &RoomId, offset: u64, record: Record) {
        let position = Position { epoch: 1, offset };
        self.fanout.push(room, vec![Entry { room_id: room.clone(), position, record }]);
    }

    async fn hold(&self, rooms: &[RoomId]) {
        futures::future::join_all(rooms.iter().map(|room| self.inbox.hold(room))).await;
    }

    fn misses(&self) -> usize {
        self.missed.lock().expect("no panic").len()
    }
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn rooms(count: usize) -> Vec<RoomId> {
    (0..count).map(|n| RoomId::new(&format!("room-{n}")).expect("an id")).collect()
}

/// Pushes beats to each room until the other node hears them all: then its subscriptions are there.
async fn until_heard(from: &Node, to: &Node, rooms: &[RoomId]) {
    testkit::eventually("every room to be heard", async || {
        for room in rooms {
            from.push(room, 0);
        }
        rooms.iter().all(|room| !to.gateway.heard(room).is_empty()).then_some(())
    })
    .await;
}

async fn two_nodes_share_rooms(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let (ann, bo) = (Node::start(&address, &namespace, "ann").await, Node::start(&address, &namespace, "bo").await);
    let rooms = rooms(12);
    let (held, only_anns) = rooms.split_at(10);
    bo.hold(held).await;
    ann.hold(&rooms).await;

    for offset in 1..=200 {
        rooms.iter().for_each(|room| ann.push(room, offset));
    }
    let numbered = |heard: Vec<u64>| heard.into_iter().filter(|offset| *offset > 0).collect::<Vec<_>>();
    let all: Vec<u64> = (1..=200).collect();
    for room in held {
        testkit::eventually("the last entry", async || bo.gateway.heard(room).contains(&200).then_some(())).await;
        assert_eq!(numbered(bo.gateway.heard(room)), all, "each once, in order");
    }
    for room in only_anns {
        assert!(bo.gateway.heard(room).is_empty(), "what nobody here reads does not come here");
        assert_eq!(numbered(ann.gateway.heard(room)), all, "its own gateway has it at once");
    }
    for room in held {
        assert_eq!(numbered(ann.gateway.heard(room)), all, "and does not hear itself");
    }

    let left = &held[0];
    bo.inbox.release(left);
    let before = bo.misses();
    until_silent(&ann, &bo, left).await;
    bo.inbox.hold(left).await;
    testkit::eventually("to be told of what was missed meanwhile", async || {
        ann.push(left, 400);
        (bo.misses() > before).then_some(())
    })
    .await;
}

/// Pushes until the other node no longer hears it.
async fn until_silent(from: &Node, to: &Node, room: &RoomId) {
    let mut beats = 0;
    testkit::eventually("silence", async || {
        beats += 1;
        let before = to.gateway.heard(room).len();
        from.push(room, 300);
        tokio::time::sleep(Duration::from_millis(50)).await;
        (to.gateway.heard(room).len() == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nodes_share_rooms_over_a_single_server() {
    two_nodes_share_rooms("BARRAGE_TEST_REDIS").await;
}

#[tokio::test]
async fn when_redis_was_away_nodes_hear_each_other_again_and_know_what_they_missed() {
    let Some(server) = OwnServer::start("redis") else { return };
    let (address, namespace) = (server.address(), namespace());
    let (ann, bo) = (Node::start(&address, &namespace, "ann").await, Node::start(&address, &namespace, "bo").await);
    let rooms = rooms(3);
    bo.hold(&rooms).await;
    until_heard(&ann, &bo, &rooms).await;
    let before = bo.misses();

    server.kill();
    rooms.iter().for_each(|room| ann.push(room, 1));
    assert_eq!(ann.gateway.heard(&rooms[0]).last(), Some(&1), "inside a node delivery goes on");
    server.restart();
    for room in &rooms {
        testkit::eventually("the room again", async || {
            ann.push(room, 2);
            bo.gateway.heard(room).contains(&2).then_some(())
        })
        .await;
    }
    assert!(bo.misses() >= before + 3, "each room was told to be read again");
}

/// Killed and brought back in the test that also shares rooms, since all tests use the same servers.
async fn rooms_are_heard_again_after_a_master_is_killed(service: &str, servers: &'static str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let (ann, bo) = (Node::start(&address, &namespace, "ann").await, Node::start(&address, &namespace, "bo").await);
    let rooms = rooms(24);
    bo.hold(&rooms).await;
    until_heard(&ann, &bo, &rooms).await;

    let killed = testkit::kill_a_redis_master(servers);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for (room, offset) in rooms.iter().zip(1_000..) {
        while !bo.gateway.heard(room).contains(&offset) {
            assert!(tokio::time::Instant::now() < deadline, "{room} stays deaf after its master was killed");
            ann.push(room, offset);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    killed.bring_back();
}

#[tokio::test]
async fn nodes_share_rooms_over_a_cluster_also_when_it_loses_a_master() {
    two_nodes_share_rooms("BARRAGE_TEST_REDIS_CLUSTER").await;
    rooms_are_heard_again_after_a_master_is_killed("BARRAGE_TEST_REDIS_CLUSTER", "cluster").await;
}

#[tokio::test]
async fn nodes_share_rooms_over_sentinel_also_when_the_master_is_killed() {
    two_nodes_share_rooms("BARRAGE_TEST_REDIS_SENTINEL").await;
    rooms_are_heard_again_after_a_master_is_killed("BARRAGE_TEST_REDIS_SENTINEL", "sentinel").await;
}
