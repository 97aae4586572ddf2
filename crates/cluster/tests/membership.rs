//! Nodes and their numbers, over real Redis and real etcd: one suite for both, and each taken away and brought back.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cluster::NodeNumber;
use cluster::etcd::Etcd;
use cluster::membership::{AcquireError, LEASE, LeaseTtl, Members, NodeInfo, NodeLease, NodeRegistry};
use model::clock::{Clock, SystemClock};
use model::{Fence, Metrics, NoIds, Roles, SnowflakeGenerator};
use prometheus_client::registry::Registry as MetricsRegistry;
use redis_client::{Redis, RedisAddress};
use testkit::OwnServer;

const SHORT: Duration = Duration::from_millis(500);
const TTL: LeaseTtl = LeaseTtl { length: SHORT, spare: Duration::ZERO };

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut MetricsRegistry::default()))
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

type Registry = Arc<dyn NodeRegistry>;

async fn on_redis(address: &str) -> Redis {
    let address = address.parse::<RedisAddress>().expect("an address").patient(testkit::PATIENCE);
    let redis = Redis::open(&address, &namespace(), metrics()).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    redis
}

fn on_etcd(address: &str) -> Registry {
    Arc::new(Etcd::open(address, None, &namespace(), metrics()).expect("an address"))
}

/// The registry of a service, in a namespace of the test's own.
async fn on(service: &str) -> Option<Registry> {
    let address = testkit::service(service)?;
    Some(if service == "BARRAGE_TEST_ETCD" { on_etcd(&address) } else { Arc::new(on_redis(&address).await) })
}

fn info(name: &str) -> NodeInfo {
    NodeInfo { address: format!("{name}:7070"), roles: Roles::ALL, version: "1".into() }
}

async fn acquire(registry: &Registry, n: u64) -> NodeLease {
    // A busy machine may be late with an answer.
    for _ in 0..30 {
        if let Ok(lease) = try_to_acquire(registry, n).await {
            return lease;
        }
    }
    panic!("no number for node {n}");
}

async fn try_to_acquire(registry: &Registry, n: u64) -> Result<NodeLease, AcquireError> {
    NodeLease::acquire(&**registry, &info(&format!("node-{n}")), n << 48 | n, LEASE).await
}

async fn numbers_are_given_once(service: &str) {
    let Some(registry) = on(service).await else { return };
    // All at once, so that they race for the same numbers.
    let taking = (0..20).map(|n| {
        let registry = registry.clone();
        tokio::spawn(async move { acquire(&registry, n).await })
    });
    let mut leases = Vec::new();
    for lease in taking.collect::<Vec<_>>() {
        leases.push(lease.await.expect("a lease"));
    }
    let numbers: HashSet<_> = leases.iter().map(NodeLease::number).collect();
    assert_eq!(numbers.len(), 20, "each node has its own");
    assert!(leases.iter().all(NodeLease::is_held));
    // A Cluster whose master has just changed may refuse once.
    let listed = testkit::eventually("an answer", async || registry.nodes().await.ok()).await;
    assert_eq!(listed.iter().map(|node| node.number).collect::<HashSet<_>>(), numbers);
    assert!(listed.iter().any(|node| node.info == info("node-7")), "with what it says of itself");

    let given_up = leases.pop().expect("twenty");
    let number = given_up.number();
    given_up.release().await.expect("an answer");
    assert!(registry.nodes().await.expect("an answer").iter().all(|node| node.number != number));
    for n in 20..40 {
        assert_ne!(acquire(&registry, n).await.number(), number, "what was given back comes last");
    }
}

async fn a_node_that_is_gone_is_gone_after_its_lease(service: &str) {
    let Some(registry) = on(service).await else { return };
    let stays = NodeLease::acquire(&*registry, &info("stays"), 1, TTL).await.expect("a number");
    let members = Members::watch(registry.clone(), SHORT / 5).await.expect("an answer");
    let goes = NodeLease::acquire(&*registry, &info("goes"), 2, TTL).await.expect("a number");
    testkit::eventually("both to be seen", async || (members.now().len() == 2).then_some(())).await;
    drop(goes);
    testkit::eventually("the lease to run out", async || (members.now().len() == 1).then_some(())).await;
    assert_eq!(members.now()[0].info, info("stays"));
    // Short as it is, a busy machine may find it run out for a moment.
    testkit::eventually("whoever lives to prolong", async || stays.is_held().then_some(())).await;
}

async fn numbers_run_out(service: &str) {
    let Some(registry) = on(service).await else { return };
    let (mut leases, mut late) = (Vec::new(), 0);
    for n in 0.. {
        match try_to_acquire(&registry, n).await {
            Ok(lease) => leases.push(lease),
            Err(AcquireError::Exhausted) => break,
            // Perhaps one is held for it all the same.
            Err(_) => late += 1,
        }
    }
    assert!((1024 - late..=1024).contains(&leases.len()), "{} were given, {late} answers were late", leases.len());
    let back = leases.swap_remove(500);
    let number = back.number();
    back.release().await.expect("an answer");
    assert_eq!(acquire(&registry, 9_999).await.number(), number, "the only one that is free");
}

macro_rules! on_each {
    ($($test:ident => $redis:ident, $etcd:ident);+ $(;)?) => {$(
        #[tokio::test]
        async fn $redis() {
            $test("BARRAGE_TEST_REDIS").await;
        }

        #[tokio::test]
        async fn $etcd() {
            $test("BARRAGE_TEST_ETCD").await;
        }
    )+};
}

on_each! {
    numbers_are_given_once => redis_gives_each_number_once, etcd_gives_each_number_once;
    a_node_that_is_gone_is_gone_after_its_lease => redis_forgets_the_dead, etcd_forgets_the_dead;
    numbers_run_out => redis_runs_out_of_numbers, etcd_runs_out_of_numbers;
}

#[tokio::test]
async fn a_cluster_gives_each_number_once() {
    numbers_are_given_once("BARRAGE_TEST_REDIS_CLUSTER").await;
}

async fn without_it_a_number_is_used_no_longer_than_leased_and_kept_if_nobody_has_it(
    registry: Registry,
    server: &OwnServer,
) {
    let taken = async || NodeLease::acquire(&*registry, &info("ann"), 1, TTL).await.ok();
    let lease = testkit::eventually("a number", taken).await;
    let members = Members::watch(registry.clone(), SHORT / 5).await.expect("an answer");
    // Short as it is, a busy machine may find it run out for a moment.
    testkit::eventually("it to be held", async || lease.is_held().then_some(())).await;

    server.kill();
    testkit::eventually("the lease to run out", async || (!lease.is_held()).then_some(())).await;
    assert!(!lease.is_lost(), "it may still come back");
    assert_eq!(members.now().len(), 1, "while nobody says otherwise the nodes are those of before");
    server.restart();
    testkit::eventually("it to be held again", async || lease.is_held().then_some(())).await;
    assert_eq!(registry.nodes().await.expect("an answer")[0].number, lease.number());
}

#[tokio::test]
async fn redis_goes_and_comes_back() {
    let Some(server) = OwnServer::start("redis") else { return };
    let registry = Arc::new(on_redis(&server.address()).await);
    without_it_a_number_is_used_no_longer_than_leased_and_kept_if_nobody_has_it(registry, &server).await;
}

#[tokio::test]
async fn etcd_goes_and_comes_back() {
    let Some(server) = OwnServer::start("etcd") else { return };
    let registry = on_etcd(&server.address());
    without_it_a_number_is_used_no_longer_than_leased_and_kept_if_nobody_has_it(registry, &server).await;
}

/// A node that slept longer than its lease finds its number with another one, and goes on with a new one.
async fn a_number_that_another_has_is_lost(registry: Registry, give_away: impl AsyncFn(u16)) {
    let starts = AtomicU64::new(1);
    let take = move || {
        let (registry, start) = (registry.clone(), starts.fetch_add(1, Ordering::Relaxed));
        async move { NodeLease::acquire(&*registry, &info("ann"), start, TTL).await }
    };
    let number = Arc::new(NodeNumber::new(take().await.expect("a number")));
    let ids = SnowflakeGenerator::new(Arc::new(SystemClock), number.clone(), None);
    let before = ids.next().expect("a number");
    let first = number.node().expect("a number");
    let kept = tokio::spawn({
        let number = number.clone();
        async move { number.replace_when_lost(take).await }
    });

    give_away(first).await;
    testkit::eventually("another number", async || number.node().filter(|now| *now != first)).await;
    assert!(ids.next().expect("a number") > before);
    let lease = number.withdraw().expect("it is held");
    assert!(lease.is_held());
    assert_eq!(ids.next(), Err(NoIds), "what was left is not used");
    kept.await.expect("it ends when the number is left");
}

#[tokio::test]
async fn redis_says_that_a_number_is_lost() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let redis = on_redis(&address).await;
    a_number_that_another_has_is_lost(Arc::new(redis.clone()), async |number| {
        let mut command = redis::cmd("HSET");
        command.arg(redis.key("nodes:{all}:holders")).arg(number).arg("0bad:bo");
        redis.command::<i64>("test", &command).await.expect("an answer");
    })
    .await;
}

#[tokio::test]
async fn etcd_says_that_a_number_is_lost() {
    let Some(address) = testkit::service("BARRAGE_TEST_ETCD") else { return };
    let namespace = namespace();
    let registry = Arc::new(Etcd::open(&address, None, &namespace, metrics()).expect("an address"));
    a_number_that_another_has_is_lost(registry, async |number| {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &address, "put"]);
        let put = etcdctl.args([format!("{namespace}/numbers/{number:04}"), "0bad:bo".into()]).output();
        assert!(put.expect("etcdctl is installed").status.success());
    })
    .await;
}

#[tokio::test]
async fn of_several_endpoints_one_that_answers_is_enough() {
    let Some(address) = testkit::service("BARRAGE_TEST_ETCD") else { return };
    let registry = on_etcd(&format!("http://127.0.0.1:1,{address}"));
    assert_eq!(acquire(&registry, 1).await.number(), 2, "the one after where it began");
    for wrong in ["", "127.0.0.1:2379", "https://127.0.0.1:2379", "http://a b"] {
        assert!(Etcd::open(wrong, None, "x", metrics()).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn while_redis_is_away_a_number_is_used_and_given_to_nobody_for_the_spare_time() {
    let Some(server) = OwnServer::start("redis") else { return };
    let redis = on_redis(&server.address()).await;
    let registry: Registry = Arc::new(redis.clone());
    let spared = LeaseTtl { spare: Duration::from_secs(60), ..TTL };
    let lease = NodeLease::acquire(&*registry, &info("ann"), 1, spared).await.expect("a number");
    let gone = NodeLease::acquire(&*registry, &info("bo"), 2, spared).await.expect("a number");
    let number = gone.number();
    drop(gone);
    let alive = async || registry.nodes().await.expect("an answer").len();
    testkit::eventually("the dead one to be gone", async || (alive().await == 1).then_some(())).await;
    let mut back = redis::cmd("SET");
    back.arg(redis.key("nodes:{all}:last")).arg((number + 1023) % 1024);
    redis.command::<()>("test", &back).await.expect("an answer");
    let next = NodeLease::acquire(&*registry, &info("cy"), 3, spared).await.expect("a number");
    assert_eq!(next.number(), (number + 1) % 1024, "the number of the dead one is spared");

    server.kill();
    tokio::time::sleep(2 * SHORT).await;
    assert!(lease.is_held(), "longer than the lease itself");
}

#[tokio::test]
async fn while_etcd_is_away_a_number_is_used_and_given_to_nobody_for_the_spare_time() {
    let Some(server) = OwnServer::start("etcd") else { return };
    let address = server.address();
    let registry = Arc::new(Etcd::open(&address, None, "spare", metrics()).expect("an address"));
    testkit::eventually("etcd", async || registry.nodes().await.ok()).await;
    let spared = LeaseTtl { spare: Duration::from_secs(60), ..TTL };
    let lease = NodeLease::acquire(&*registry, &info("ann"), 1, spared).await.expect("a number");
    let gone = NodeLease::acquire(&*registry, &info("bo"), 2, spared).await.expect("a number");
    let number = gone.number();
    drop(gone);
    let alive = async || registry.nodes().await.expect("an answer").len();
    testkit::eventually("the dead one to be gone", async || (alive().await == 1).then_some(())).await;
    let mut etcdctl = Command::new("etcdctl");
    etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &address, "put", "spare/last-number"]);
    let put = etcdctl.arg((number - 1).to_string()).output().expect("etcdctl is installed");
    assert!(put.status.success());
    let next = NodeLease::acquire(&*registry, &info("cy"), 3, spared).await.expect("a number");
    assert_eq!(next.number(), number + 1, "the number of the dead one is spared");

    server.kill();
    tokio::time::sleep(2 * SHORT).await;
    assert!(lease.is_held() && next.is_held(), "longer than the lease itself");
    assert!(registry.nodes().await.is_err());
}
