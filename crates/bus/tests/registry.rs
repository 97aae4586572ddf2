//! Nodes and their numbers, over real Redis.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bus::NodeNumber;
use bus::redis::registry::{LEASE, NodeLease, nodes};
use model::clock::{Clock, SystemClock};
use model::{Metrics, NoIds, SnowflakeGenerator};
use prometheus_client::registry::Registry;
use redis_client::{Address, Redis};

const SHORT: Duration = Duration::from_millis(500);

async fn connect(address: &str) -> Redis {
    let address: Address = address.parse().expect("an address");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let namespace = format!("test-{}-{}", std::process::id(), SystemClock.now_ms());
    let redis = Redis::open(&address, &namespace, metrics).expect("an address");
    redis.ready(Duration::from_secs(10)).await.expect("it runs");
    redis
}

async fn numbers_are_given_once(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let redis = connect(&address).await;
    let take = async |n: u64| {
        NodeLease::take(redis.clone(), &format!("node-{n}"), n << 48 | n, LEASE).await.expect("a number")
    };
    let mut leases = Vec::new();
    for n in 0..20 {
        leases.push(take(n).await);
    }
    let numbers: HashSet<_> = leases.iter().map(NodeLease::number).collect();
    assert_eq!(numbers.len(), 20, "each node has its own");
    assert!(leases.iter().all(NodeLease::is_held));
    let listed = nodes(&redis).await.expect("an answer");
    assert_eq!(listed.iter().map(|node| node.number).collect::<HashSet<_>>(), numbers);
    assert!(listed.iter().any(|node| node.name == "node-7"));

    let given_up = leases.pop().expect("twenty");
    let number = given_up.number();
    given_up.give_up().await.expect("an answer");
    assert!(nodes(&redis).await.expect("an answer").iter().all(|node| node.number != number));
    for n in 20..40 {
        assert_ne!(take(n).await.number(), number, "what was given back comes last");
    }
}

#[tokio::test]
async fn a_single_server_gives_each_number_once() {
    numbers_are_given_once("BARRAGE_TEST_REDIS").await;
}

#[tokio::test]
async fn a_cluster_gives_each_number_once() {
    numbers_are_given_once("BARRAGE_TEST_REDIS_CLUSTER").await;
}

#[tokio::test]
async fn a_node_that_is_gone_is_gone_after_its_lease() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let redis = connect(&address).await;
    let stays = NodeLease::take(redis.clone(), "stays", 1, SHORT).await.expect("a number");
    drop(NodeLease::take(redis.clone(), "goes", 2, SHORT).await.expect("a number"));
    testkit::eventually("the lease to run out", async || {
        let listed = nodes(&redis).await.expect("an answer");
        (listed.len() == 1).then(|| assert_eq!(listed[0].name, "stays"))
    })
    .await;
    assert!(stays.is_held(), "whoever lives prolongs");
}

/// A server of this test's own, which is killed; it keeps nothing.
struct Server(Child);

impl Server {
    fn start(directory: &Path, port: u16) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        Self(command.current_dir(directory).stdout(Stdio::null()).spawn().expect("redis-server is installed"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("ours");
        self.0.wait().expect("ours");
    }
}

#[tokio::test]
async fn without_redis_a_number_is_used_no_longer_than_leased_and_kept_if_nobody_has_it() {
    if testkit::service("BARRAGE_TEST_REDIS").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.expect("a free port").port();
    let server = Server::start(directory.path(), port);
    let redis = connect(&format!("redis://127.0.0.1:{port}")).await;
    let lease = NodeLease::take(redis.clone(), "ann", 1, SHORT).await.expect("a number");

    drop(server);
    testkit::eventually("the lease to run out", async || (!lease.is_held()).then_some(())).await;
    let _server = Server::start(directory.path(), port);
    testkit::eventually("it to be held again", async || lease.is_held().then_some(())).await;
    assert_eq!(nodes(&redis).await.expect("an answer")[0].number, lease.number());
}

#[tokio::test]
async fn a_node_whose_number_was_given_away_goes_on_with_another() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let redis = connect(&address).await;
    let starts = Arc::new(AtomicU64::new(1));
    let take = {
        let (redis, starts) = (redis.clone(), starts.clone());
        async move || NodeLease::take(redis.clone(), "ann", starts.fetch_add(1, Ordering::Relaxed), SHORT).await
    };
    let number = Arc::new(NodeNumber::new(take().await.expect("a number")));
    let ids = SnowflakeGenerator::new(Arc::new(SystemClock), number.clone(), None);
    let before = ids.next().expect("a number");
    let first = model::Fence::node(&*number).expect("a number");
    let kept = tokio::spawn({
        let number = number.clone();
        async move { number.keep(take).await }
    });

    // As a failover that lost the lease would have it: somebody else holds the number.
    let mut theft = redis::cmd("HSET");
    theft.arg(redis.key("nodes:{all}:holders")).arg(first).arg("another:bo");
    redis.command::<i64>("test", &theft).await.expect("an answer");
    testkit::eventually("another number", async || model::Fence::node(&*number).filter(|now| *now != first)).await;
    assert!(ids.next().expect("a number") > before);

    let lease = number.leave().expect("it is held");
    assert!(lease.is_held());
    assert_eq!(ids.next(), Err(NoIds), "what was left is not used");
    kept.await.expect("it ends when the number is left");
}
