//! Who is here, as several nodes see it over real Redis: a single server, and a Cluster of six that loses a master.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::clock::{Clock, SystemClock};
use model::{Metrics, UserId};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use state::redis::LEASE_MS;
use state::{Presence, RedisPresence};
use testkit::OwnServer;

async fn connect(address: &str, namespace: &str) -> Redis {
    // Longer than the answers of a busy machine take, and shorter than the wait for a master that was killed.
    open(&address.parse::<RedisAddress>().expect("an address").patient(Duration::from_secs(3)), namespace).await
}

async fn open(address: &RedisAddress, namespace: &str) -> Redis {
    let metrics = std::sync::Arc::new(Metrics::register(&mut Registry::default()));
    let redis = Redis::open(address, namespace, metrics).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    redis
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("an id")
}

async fn renew(node: &RedisPresence, now_ms: i64) -> Vec<UserId> {
    let mut changed = node.renew(now_ms).await.expect("it answers");
    changed.sort_unstable();
    changed
}

async fn online(node: &RedisPresence, users: &[UserId], now_ms: i64) -> Vec<bool> {
    node.online(users, now_ms).await.expect("it answers")
}

async fn nodes_agree_who_is_here(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let redis = connect(&address, &namespace()).await;
    let nodes: Vec<_> = (1..=3).map(|token| RedisPresence::new(redis.clone(), "node", token)).collect();
    let [one, two, three] = nodes.as_slice() else { unreachable!("three") };
    let mut now_ms = SystemClock.now_ms();
    let (ann, bo, cy) = (user("ann"), user("bo"), user("cy"));
    let all = [ann.clone(), bo.clone(), cy.clone()];
    for node in &nodes {
        assert!(renew(node, now_ms).await.is_empty());
    }

    assert_eq!(one.enter(&ann, 11, now_ms).await, Ok(true), "ann comes");
    assert_eq!(two.enter(&ann, 21, now_ms).await, Ok(false), "she is here already, elsewhere");
    assert_eq!(two.enter(&bo, 22, now_ms).await, Ok(true));
    for node in &nodes {
        assert_eq!(online(node, &all, now_ms).await, [true, true, false]);
    }
    assert_eq!(one.leave(&ann, 11, now_ms).await, Ok(false), "she is still here, elsewhere");
    assert_eq!(three.enter(&cy, 31, now_ms).await, Ok(true));
    assert_eq!(three.enter(&bo, 32, now_ms).await, Ok(false));

    // The second node stops renewing. The others go on.
    for _ in 0..6 {
        now_ms += 5_000;
        for node in [one, three] {
            let changed = renew(node, now_ms).await;
            assert!(changed.is_empty() || now_ms - LEASE_MS > 0 && changed == [ann.clone()], "{changed:?}");
        }
    }
    assert_eq!(online(one, &all, now_ms).await, [false, true, true], "bo is here by the third node");
    assert_eq!(online(three, &all, now_ms).await, [false, true, true]);

    // It was only asleep: it rewrites everything and reports its users.
    assert_eq!(renew(two, now_ms).await, [ann.clone(), bo.clone()]);
    assert_eq!(online(one, &all, now_ms).await, [true; 3]);
    assert_eq!(three.leave(&bo, 32, now_ms).await, Ok(false));
    assert_eq!(two.leave(&bo, 22, now_ms).await, Ok(true));
    assert_eq!(online(one, &all, now_ms).await, [true, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_over_a_single_server() {
    nodes_agree_who_is_here("BARRAGE_TEST_REDIS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_dead_nodes_users_each_is_told_by_one_node_once() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let redis = connect(&address, &namespace()).await;
    let mut now_ms = SystemClock.now_ms();
    let dying = RedisPresence::new(redis.clone(), "dying", 9);
    renew(&dying, now_ms).await;
    let mut users: Vec<_> = (0..1_500).map(|n| user(&format!("user-{n:04}"))).collect();
    for (user, socket) in users.iter().zip(1..) {
        assert_eq!(dying.enter(user, socket, now_ms).await, Ok(true));
    }
    let nodes: Vec<_> = (1..=4).map(|token| RedisPresence::new(redis.clone(), "node", token)).collect();
    for node in &nodes {
        renew(node, now_ms).await;
    }
    let mut told = Vec::new();
    for _ in 0..6 {
        now_ms += 5_000;
        let renewed = futures::future::join_all(nodes.iter().map(|node| node.renew(now_ms))).await;
        told.extend(renewed.into_iter().flat_map(|changed| changed.expect("it answers")));
    }
    told.sort_unstable();
    users.sort_unstable();
    assert_eq!(told, users);
}

/// A node takes sockets as soon as it listens, and others count only nodes with a lease.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_before_a_nodes_first_lease_is_named_with_it() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let redis = connect(&address, &namespace()).await;
    let (old, new) = (RedisPresence::new(redis.clone(), "node", 1), RedisPresence::new(redis, "node", 2));
    let (ann, now_ms) = (user("ann"), SystemClock.now_ms());
    renew(&old, now_ms).await;
    assert_eq!(new.enter(&ann, 1, now_ms).await, Ok(true));
    assert_eq!(online(&old, std::slice::from_ref(&ann), now_ms).await, [false], "a node without a lease may be dead");
    assert_eq!(renew(&new, now_ms).await, std::slice::from_ref(&ann), "so that watchers elsewhere are told");
    assert_eq!(online(&old, std::slice::from_ref(&ann), now_ms).await, [true]);
    assert!(renew(&new, now_ms).await.is_empty(), "once");
}

/// A node that asked in vain has told its watchers "offline".
#[tokio::test(flavor = "multi_thread")]
async fn who_was_asked_about_in_vain_is_named_once_redis_answers() {
    let Some(server) = OwnServer::start("redis") else { return };
    let address: RedisAddress = server.address().parse().expect("an address");
    let redis = open(&address, &namespace()).await;
    let (here, there) = (RedisPresence::new(redis.clone(), "node", 1), RedisPresence::new(redis, "node", 2));
    let (ann, now_ms) = (user("ann"), SystemClock.now_ms());
    renew(&here, now_ms).await;
    renew(&there, now_ms).await;
    there.enter(&ann, 1, now_ms).await.expect("it answers");

    server.hang();
    assert_eq!(online(&here, std::slice::from_ref(&ann), now_ms).await, [false]);
    server.go_on();
    testkit::eventually("ann to be named", async || {
        let named = here.renew(now_ms).await.expect("it answers");
        named.contains(&ann).then_some(())
    })
    .await;
    assert_eq!(online(&here, std::slice::from_ref(&ann), now_ms).await, [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_each_node_knows_its_own() {
    let metrics = std::sync::Arc::new(Metrics::register(&mut Registry::default()));
    let nowhere: RedisAddress = "redis://127.0.0.1:1".parse().expect("an address");
    let redis = Redis::open(&nowhere, "test", metrics).expect("an address");
    let node = RedisPresence::new(redis, "node", 1);
    let (ann, bo, now_ms) = (user("ann"), user("bo"), SystemClock.now_ms());
    assert_eq!(node.enter(&ann, 1, now_ms).await, Ok(true));
    assert_eq!(node.renew(now_ms).await, Ok(vec![]));
    assert_eq!(node.online(&[ann.clone(), bo], now_ms).await, Ok(vec![true, false]));
    assert_eq!(node.leave(&ann, 1, now_ms).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_or_went_unnoticed_is_named_once_the_others_can_see_it() {
    let Some(server) = OwnServer::start("redis") else { return };
    let address: RedisAddress = server.address().parse().expect("an address");
    let (namespace, ann, bo) = (namespace(), user("ann"), user("bo"));
    let (hasty, patient) =
        (open(&address, &namespace).await, open(&address.clone().patient(testkit::PATIENCE), &namespace).await);
    let (here, there) = (RedisPresence::new(hasty.clone(), "node", 1), RedisPresence::new(patient, "node", 2));
    let now_ms = SystemClock.now_ms();
    here.enter(&ann, 1, now_ms).await.expect("it answers");
    here.renew(now_ms).await.expect("it answers");

    server.hang();
    assert_eq!(here.enter(&bo, 2, now_ms).await, Ok(true));
    assert_eq!(here.leave(&ann, 1, now_ms).await, Ok(true));
    server.go_on();
    let mut named = Vec::new();
    testkit::eventually("both to be named", async || {
        named.extend(here.renew(now_ms).await.expect("it answers"));
        (named.contains(&ann) && named.contains(&bo)).then_some(())
    })
    .await;
    assert_eq!(there.online(&[ann, bo], now_ms).await, Ok(vec![false, true]));
    assert_eq!(here.renew(now_ms).await, Ok(vec![]), "once");
}

/// What a failover lost comes right within a round of renewing.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_over_a_cluster_also_when_it_loses_a_master() {
    nodes_agree_who_is_here("BARRAGE_TEST_REDIS_CLUSTER").await;
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS_CLUSTER") else { return };
    let redis = connect(&address, &namespace()).await;
    let (one, two) = (RedisPresence::new(redis.clone(), "node", 1), RedisPresence::new(redis, "node", 2));
    let users: Vec<_> = (0..60).map(|n| user(&format!("user-{n}"))).collect();
    for node in [&one, &two] {
        renew(node, SystemClock.now_ms()).await;
    }
    for (user, socket) in users.iter().zip(1..) {
        one.enter(user, socket, SystemClock.now_ms()).await.expect("it answers");
    }
    let killed = testkit::kill_a_redis_master("cluster");
    one.leave(&users[0], 1, SystemClock.now_ms()).await.expect("it answers, whatever Redis does");
    testkit::eventually("everybody who is here, seen from the other node", async || {
        for node in [&one, &two] {
            node.renew(SystemClock.now_ms()).await.expect("it answers");
        }
        let seen = two.online(&users, SystemClock.now_ms()).await.expect("it answers");
        (!seen[0] && seen[1..].iter().all(|here| *here)).then_some(())
    })
    .await;
    killed.bring_back();
}
