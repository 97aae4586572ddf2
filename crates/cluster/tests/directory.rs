//! Which nodes hold a room, with how many viewers, over real Redis: a single server, and a Cluster that loses a master.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::Viewers;
use cluster::directory::Holders;
use cluster::redis::RedisDirectory;
use model::clock::{Clock, ManualClock, SystemClock};
use model::{Metrics, RoomId};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use tokio_util::task::AbortOnDropHandle;

type Figures = Arc<Mutex<HashMap<RoomId, u64>>>;

struct Node {
    directory: Arc<RedisDirectory>,
    /// What this node has of each room, and what it was told the others have.
    own: Figures,
    others: Figures,
    _keeping: AbortOnDropHandle<()>,
}

impl Node {
    fn start(redis: &Redis, number: u16, clock: Arc<dyn Clock>) -> Self {
        let directory = Arc::new(RedisDirectory::new(redis.clone(), Arc::new(number), clock));
        let (own, others) = (Figures::default(), Figures::default());
        let (held, told) = (own.clone(), others.clone());
        let keeping = directory.clone().report(
            move || held.lock().expect("no panic").iter().map(|(room, viewers)| (room.clone(), *viewers)).collect(),
            move |room, viewers| {
                told.lock().expect("no panic").insert(room.clone(), viewers);
            },
        );
        Self { directory, own, others, _keeping: AbortOnDropHandle::new(tokio::spawn(keeping)) }
    }

    fn has(&self, room: &RoomId, viewers: u64) {
        self.own.lock().expect("no panic").insert(room.clone(), viewers);
    }

    fn remote(&self, room: &RoomId) -> Option<u64> {
        self.others.lock().expect("no panic").get(room).copied()
    }
}

async fn connect(service: &str) -> Option<Redis> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // Longer than the answers of a busy machine take, and shorter than the wait for a master that was killed.
    let address =
        testkit::service(service)?.parse::<RedisAddress>().expect("an address").patient(Duration::from_secs(3));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("test-{}-{}-{number}", std::process::id(), SystemClock.now_ms());
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let redis = Redis::open(&address, &namespace, metrics).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    Some(redis)
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("an id")
}

async fn nodes_find_each_others_viewers(service: &str) {
    let Some(redis) = connect(service).await else { return };
    let nodes: Vec<_> = (1..=3).map(|number| Node::start(&redis, number, Arc::new(SystemClock))).collect();
    let [one, two, three] = nodes.as_slice() else { unreachable!("three") };
    let (hall, attic) = (room("hall"), room("attic"));
    let holders = async |node: &Node, room: &RoomId| {
        let mut nodes = node.directory.nodes_of(room).await.expect("it answers");
        nodes.sort_unstable();
        nodes
    };
    assert!(holders(three, &hall).await.is_empty());

    one.directory.hold(&hall).await;
    assert_eq!(holders(one, &hall).await, [1], "known where it was written");
    testkit::eventually("the others to know", async || (holders(three, &hall).await == [1]).then_some(())).await;

    one.has(&hall, 40);
    two.has(&hall, 2);
    two.has(&attic, 7);
    testkit::eventually("viewers of the others", async || {
        (one.remote(&hall) == Some(2) && two.remote(&hall) == Some(40)).then_some(())
    })
    .await;
    testkit::eventually("one who holds nothing to find them when asked", async || {
        (three.directory.remote(&hall).await == 42 && three.directory.remote(&attic).await == 7).then_some(())
    })
    .await;
    assert_eq!(holders(three, &hall).await, [1, 2]);

    two.own.lock().expect("no panic").clear();
    two.directory.release(&hall).await;
    testkit::eventually("two to be gone", async || (holders(three, &hall).await == [1]).then_some(())).await;
}

#[tokio::test]
async fn nodes_find_each_other_over_a_single_server() {
    nodes_find_each_others_viewers("BARRAGE_TEST_REDIS").await;
}

#[tokio::test]
async fn a_dead_nodes_viewers_count_no_longer_than_its_lease() {
    let Some(redis) = connect("BARRAGE_TEST_REDIS").await else { return };
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let directory = |number| RedisDirectory::new(redis.clone(), Arc::new(number), clock.clone());
    let (dying, other, asking) = (directory(1), directory(2), directory(3));
    dying.hold(&room("hall")).await;
    assert_eq!(asking.nodes_of(&room("hall")).await, Ok(vec![1]));
    clock.advance(16_000);
    assert_eq!(other.hold(&room("hall")).await, 0);
    let asking = directory(4);
    assert_eq!(asking.nodes_of(&room("hall")).await, Ok(vec![2]));
}

#[tokio::test]
async fn nodes_find_each_other_over_a_cluster_also_when_it_loses_a_master() {
    nodes_find_each_others_viewers("BARRAGE_TEST_REDIS_CLUSTER").await;
    let Some(redis) = connect("BARRAGE_TEST_REDIS_CLUSTER").await else { return };
    let nodes: Vec<_> = (1..=2).map(|number| Node::start(&redis, number, Arc::new(SystemClock))).collect();
    let rooms: Vec<_> = (0..30).map(|n| room(&format!("room-{n}"))).collect();
    for room in &rooms {
        nodes[0].has(room, 5);
    }
    let killed = testkit::kill_a_redis_master("cluster");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for room in &rooms {
        while nodes[1].directory.nodes_of(room).await != Ok(vec![1]) {
            assert!(tokio::time::Instant::now() < deadline, "{room} is not found after a master was killed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    killed.bring_back();
}
