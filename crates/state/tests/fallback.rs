//! Memory replaces a real Redis that is killed, until Redis is back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::clock::{Clock, SystemClock};
use model::{Metrics, RoomId, Snowflake, UserId};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use state::{
    FallbackRateLimiter, FallbackReservations, FirstAnswer, MemoryRateLimiter, MemoryReservations, Rate, RateDecision,
    RateLimiter, RateRequest, RedisRateLimiter, RedisReservations, Reservations, Reserved, conformance,
};
use testkit::OwnServer;

const PLENTY: Rate = Rate::per_s(1_000_000);

/// A node of its own on some Redis.
struct Node {
    redis: Redis,
    limiter: Arc<FallbackRateLimiter>,
    reservations: Arc<FallbackReservations>,
    metrics: Arc<Metrics>,
}

async fn node(address: &str) -> Node {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Redis is hung on purpose too: then this is waited for.
    let address = address.parse::<RedisAddress>().expect("an address").patient(Duration::from_secs(1));
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("test-{}-{}-{number}", std::process::id(), SystemClock.now_ms());
    let redis = Redis::open(&address, &namespace, metrics.clone()).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    let limiter = FallbackRateLimiter::new(
        Arc::new(RedisRateLimiter::new(redis.clone())),
        MemoryRateLimiter::new(10_000),
        metrics.clone(),
    );
    let (shared, own) = (Arc::new(RedisReservations::new(redis.clone())), Arc::new(MemoryReservations::new(10_000)));
    let reservations = FallbackReservations::new(shared, own, metrics.clone());
    Node { redis, limiter: Arc::new(limiter), reservations: Arc::new(reservations), metrics }
}

impl Node {
    fn memory_decides(&self, port: &'static str) -> bool {
        self.metrics.by_memory.get_or_create(&vec![("port", port)]).get() == 1
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("an id")
}

fn request<'a>(user: &'a UserId, room: &'a RoomId) -> RateRequest<'a> {
    RateRequest {
        user,
        room,
        user_rate: PLENTY,
        slow_mode: None,
        room_rate: PLENTY,
        global_rate: PLENTY,
        text_key: 1,
        duplicate_window_ms: 0,
        now_ms: SystemClock.now_ms(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_redis_there_it_conforms() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let node = node(&address).await;
    let start_ms = SystemClock.now_ms();
    conformance::rate_limit::suite(node.limiter.clone(), "fallback", start_ms).await;
    conformance::idempotency::suite(node.reservations.clone(), "fallback", start_ms).await;
    assert!(!node.memory_decides("gate") && !node.memory_decides("reservations"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_limits_hold_on_this_node_and_with_it_again_everywhere() {
    let Some(server) = OwnServer::start("redis") else { return };
    let node = node(&server.address()).await;
    let (user, room) = (id("ann"), id("hall"));
    let five = |request| RateRequest { user_rate: Rate::per_s(1).burst(5), ..request };
    assert_eq!(node.limiter.admit(five(request(&user, &room))).await, Ok(RateDecision::Admitted));

    server.kill();
    let mut admitted = 0;
    for _ in 0..10 {
        let one = RateRequest { now_ms: 1_700_000_000_000, ..five(request(&user, &room)) };
        admitted += usize::from(node.limiter.admit(one).await.expect("an answer") == RateDecision::Admitted);
    }
    assert_eq!(admitted, 5, "a burst, as this node's memory counts");
    assert!(node.memory_decides("gate"));

    server.restart();
    node.redis.ready(testkit::PATIENCE).await.expect("it is back");
    assert_eq!(node.limiter.admit(request(&user, &room)).await, Ok(RateDecision::Admitted));
    assert!(!node.memory_decides("gate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_redis_could_not_be_asked_about_the_store_must_be() {
    let Some(server) = OwnServer::start("redis") else { return };
    let node = node(&server.address()).await;
    let (ann, now_ms) = (id::<UserId>("ann"), SystemClock.now_ms());
    let reserve = async |key: &str, id| node.reservations.reserve(&ann, key, Snowflake(id), now_ms).await;
    let answer = FirstAnswer { id: Snowflake(1), pending_review: false, created_at_ms: now_ms };
    assert_eq!(reserve("a", 1).await, Ok(Reserved::NewEverywhere));
    server.kill();
    node.reservations.finish(&ann, "a", answer).await.expect("memory takes it");
    assert_eq!(reserve("a", 2).await, Ok(Reserved::Known(answer)), "what began with Redis ends without it");
    assert_eq!(reserve("b", 3).await, Ok(Reserved::New));
    server.restart();
    node.redis.ready(testkit::PATIENCE).await.expect("it is back");
    assert_eq!(reserve("b", 4).await, Ok(Reserved::InFlight(Snowflake(3))), "what began without Redis goes on with it");
    assert_eq!(reserve("a", 5).await, Ok(Reserved::Known(answer)));
    assert_eq!(reserve("c", 6).await, Ok(Reserved::NewEverywhere));
}

/// One who sends its comments once each from several places at once, over and over.
async fn send(
    node: Arc<Node>,
    sender: usize,
    stop: Arc<AtomicBool>,
    ids: Arc<AtomicU64>,
) -> HashMap<String, Snowflake> {
    let user: UserId = id(&format!("u{sender}"));
    let room = id("hall");
    let mut answers = HashMap::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{sender}-{n}");
        node.limiter.admit(request(&user, &room)).await.expect("somebody decides");
        let tries = (0..3).map(|_| once(&node, &user, &key, &ids));
        let given = futures::future::join_all(tries).await;
        let new = given.iter().filter(|(new, _)| *new).count();
        assert_eq!(new, 1, "{key}: one goes on, whatever happens to Redis");
        assert!(given.iter().all(|(_, id)| *id == given[0].1), "{key}: all get the first answer: {given:?}");
        answers.insert(key, given[0].1);
    }
    answers
}

/// Whether it was the first, and the answer.
async fn once(node: &Node, user: &UserId, key: &str, ids: &AtomicU64) -> (bool, Snowflake) {
    let id = Snowflake(ids.fetch_add(1, Ordering::Relaxed));
    let now_ms = SystemClock.now_ms();
    match node.reservations.reserve(user, key, id, now_ms).await.expect("somebody decides") {
        Reserved::New | Reserved::NewEverywhere => {
            tokio::task::yield_now().await;
            let answer = FirstAnswer { id, pending_review: false, created_at_ms: now_ms };
            node.reservations.finish(user, key, answer).await.expect("somebody takes it");
            (true, id)
        }
        Reserved::Known(first) => (false, first.id),
        Reserved::InFlight(_) => {
            let first = node.reservations.wait(user, key, Duration::from_secs(5)).await.expect("somebody answers");
            (false, first.expect("the first one finishes").id)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_comment_goes_on_once_while_redis_goes_and_comes() {
    let Some(server) = OwnServer::start("redis") else { return };
    let node = Arc::new(node(&server.address()).await);
    let (stop, ids) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let senders: Vec<_> =
        (0..8).map(|sender| tokio::spawn(send(node.clone(), sender, stop.clone(), ids.clone()))).collect();
    for _ in 0..3 {
        server.kill();
        testkit::eventually("memory to decide", async || node.memory_decides("reservations").then_some(())).await;
        server.restart();
        testkit::eventually("redis to decide", async || (!node.memory_decides("reservations")).then_some(())).await;
    }
    server.hang();
    testkit::eventually("memory to decide", async || node.memory_decides("reservations").then_some(())).await;
    server.go_on();
    testkit::eventually("redis to decide", async || (!node.memory_decides("reservations")).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.expect("every promise held").len();
    }
    assert!(sent > 100, "only {sent} were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_node_gave_up_and_redis_heard_late_holds_nobody_back() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let node = node(&address).await;
    let shared = RedisReservations::new(node.redis.clone());
    let (user, now_ms) = (id("ann"), SystemClock.now_ms());
    let made_by = |node: u64, number: u64| Snowflake(node << 12 | number);
    assert_eq!(shared.reserve(&user, "ours", made_by(3, 1), now_ms).await, Ok(Reserved::NewEverywhere));
    assert_eq!(shared.reserve(&user, "theirs", made_by(4, 1), now_ms).await, Ok(Reserved::NewEverywhere));
    // The store may have the answer of the lost attempt, so it must be asked.
    assert_eq!(node.reservations.reserve(&user, "ours", made_by(3, 2), now_ms).await, Ok(Reserved::New));
    assert_eq!(
        node.reservations.reserve(&user, "theirs", made_by(3, 3), now_ms).await,
        Ok(Reserved::InFlight(made_by(4, 1)))
    );
    // And it is ours as before.
    let late = shared.reserve(&user, "ours", made_by(5, 1), now_ms).await;
    assert_eq!(late, Ok(Reserved::InFlight(made_by(3, 2))));
}
