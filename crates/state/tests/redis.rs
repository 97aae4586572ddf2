//! The ports on real Redis: a single server, a master behind Sentinel, a Cluster of six.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use model::clock::{Clock, SystemClock};
use model::{Metrics, RoomId, UserId};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use redis_client::{Redis, RedisAddress};
use state::{
    HeatRules, HotRooms, MemoryRateLimiter, Rate, RateDecision, RateLimiter, RateRequest, RedisHotRooms,
    RedisLeaderboards, RedisPresence, RedisRateLimiter, RedisReservations, conformance, hot_rooms,
};
use testkit::OwnServer;

/// A connection to the server of this name, with keys of its own; `None` when it does not run.
async fn redis(name: &str) -> Option<Redis> {
    Some(connect(&testkit::service(name)?).await)
}

/// One that answers in the end: how long that takes is not what is tested.
async fn connect(address: &str) -> Redis {
    let address: RedisAddress = address.parse().expect("an address");
    open(&address.patient(testkit::PATIENCE)).await
}

async fn open(address: &RedisAddress) -> Redis {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("test-{}-{}-{number}", std::process::id(), SystemClock.now_ms());
    let redis = Redis::open(address, &namespace, metrics).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    redis
}

async fn conforms(name: &str) {
    let Some(redis) = redis(name).await else { return };
    let start_ms = SystemClock.now_ms();
    conformance::rate_limit::suite(Arc::new(RedisRateLimiter::new(redis.clone())), "redis", start_ms).await;
    conformance::idempotency::suite(Arc::new(RedisReservations::new(redis.clone())), "redis", start_ms).await;
    conformance::presence::suite(Arc::new(RedisPresence::new(redis.clone(), "node", 1)), "redis", start_ms).await;
    conformance::leaderboard::suite(Arc::new(RedisLeaderboards::new(redis.clone())), "redis", start_ms).await;
    nodes_agree_what_is_hot(&redis).await;
}

/// Three nodes, two of which are spoken on, neither so much that the room were hot by it alone. Time goes by in beats.
async fn nodes_agree_what_is_hot(redis: &Redis) {
    let rules = HeatRules { hot_per_s: 100, shards: 8 };
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let node = |name: &str| HotRooms::shared(rules, Arc::new(RedisHotRooms::new(redis.clone(), name)), metrics.clone());
    let (nodes, hall, lobby) = (["a", "b", "c"].map(node), id::<RoomId>("hall"), id::<RoomId>("lobby"));
    let mut now_ms = SystemClock.now_ms();
    let mut beat = async |said: [u32; 2]| {
        now_ms += 1_000;
        for (node, said) in nodes.iter().zip(said.into_iter().chain([0])) {
            (0..said).for_each(|_| node.count(&hall));
            (0..5).for_each(|_| node.count(&lobby));
            node.beat(hot_rooms::BEAT, now_ms).await;
        }
        nodes.iter().map(|node| node.is_hot(&hall)).collect::<Vec<_>>()
    };
    for _ in 0..8 {
        beat([60, 60]).await;
    }
    assert_eq!(beat([60, 60]).await, [true; 3], "also where nothing is said");
    assert!(nodes.iter().all(|node| !node.is_hot(&lobby)));
    // Where it is said does not matter, nor that it is a little less.
    for said in [[0, 60]; 12] {
        assert_eq!(beat(said).await, [true; 3]);
    }
    for _ in 0..16 {
        beat([20, 20]).await;
    }
    assert_eq!(beat([20, 20]).await, [false; 3], "cooled, and the mark has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_single_server_conforms() {
    conforms("BARRAGE_TEST_REDIS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_master_conforms() {
    conforms("BARRAGE_TEST_REDIS_SENTINEL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_conforms() {
    conforms("BARRAGE_TEST_REDIS_CLUSTER").await;
}

const PLENTY: Rate = Rate::per_s(1_000_000);

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("an id")
}

/// A request that meets no limit.
fn request<'a>(user: &'a UserId, room: &'a RoomId, now_ms: i64) -> RateRequest<'a> {
    RateRequest {
        user,
        room,
        user_rate: PLENTY,
        slow_mode: None,
        room_rate: PLENTY,
        global_rate: PLENTY,
        text_key: 1,
        duplicate_window_ms: 0,
        now_ms,
    }
}

#[tokio::test]
async fn ten_nodes_share_a_rooms_rate_within_a_tenth() {
    let Some(redis) = redis("BARRAGE_TEST_REDIS").await else { return };
    let nodes: Vec<_> = (0..10).map(|_| RedisRateLimiter::new(redis.clone())).collect();
    let (user, room, now_ms) = (id("ann"), id("hall"), SystemClock.now_ms());
    let mut admitted = 0;
    for n in 0..1_500 {
        let request = RateRequest { room_rate: Rate::per_s(1_000), ..request(&user, &room, now_ms) };
        admitted += usize::from(nodes[n * 7 % 10].admit(request).await == Ok(RateDecision::Admitted));
    }
    assert!((900..=1_000).contains(&admitted), "{admitted} of a burst of 1000");
}

/// One request as drawn: user, room, text, milliseconds since the last.
type Draw = (usize, usize, u64, i64);

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    prop::collection::vec((0..2usize, 0..2usize, 0..3u64, prop_oneof![Just(0i64), 1i64..400]), 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_on_redis_answers_as_memory_does() {
    if testkit::service("BARRAGE_TEST_REDIS").is_none() {
        return;
    }
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(20));
    let compared = tokio::task::block_in_place(|| runner.run(&draws(), |draws| runtime.block_on(compare(draws))));
    compared.expect("the same answers");
}

async fn compare(draws: Vec<Draw>) -> Result<(), TestCaseError> {
    let redis = redis("BARRAGE_TEST_REDIS").await.expect("it runs");
    let (memory, limiter) = (MemoryRateLimiter::default(), RedisRateLimiter::new(redis));
    let (users, rooms) = ([id("ann"), id("bo")], [id("hall"), id("attic")]);
    let mut now_ms = SystemClock.now_ms();
    for (user, room, text_key, gap_ms) in draws {
        now_ms += gap_ms;
        let request = RateRequest {
            user_rate: Rate::per_s(4),
            slow_mode: (room == 0).then(|| Rate::every_ms(500)),
            room_rate: Rate::per_s(5),
            global_rate: Rate::per_s(8),
            text_key,
            duplicate_window_ms: 700,
            ..request(&users[user], &rooms[room], now_ms)
        };
        prop_assert_eq!(limiter.admit(request).await, memory.admit(request).await);
    }
    Ok(())
}

#[tokio::test]
async fn without_redis_a_call_fails_at_once_and_with_it_again_it_is_answered() {
    let Some(server) = OwnServer::start("redis") else { return };
    let redis = open(&server.address().parse().expect("an address")).await;
    let limiter = RedisRateLimiter::new(redis.clone());
    let (user, room) = (id("ann"), id("hall"));
    let ask = async || limiter.admit(request(&user, &room, SystemClock.now_ms())).await;
    assert_eq!(ask().await, Ok(RateDecision::Admitted));

    server.kill();
    for _ in 0..100 {
        let asked = Instant::now();
        assert!(ask().await.is_err(), "nobody is there");
        assert!(asked.elapsed() < Duration::from_secs(2), "a caller waits for a timeout at most");
    }
    server.restart();
    redis.ready(testkit::PATIENCE).await.expect("it is back");
    assert_eq!(ask().await, Ok(RateDecision::Admitted), "and what was kept there is forgotten");

    server.hang();
    testkit::eventually("no answer from a server that is there", async || ask().await.err()).await;
    server.go_on();
    testkit::eventually("an answer", async || ask().await.ok()).await;
}
