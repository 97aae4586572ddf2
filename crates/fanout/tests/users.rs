//! Nodes that tell each other's sockets of one user what happens, over real Redis: a single server, a master behind
//! Sentinel, a Cluster of six.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanout::redis::RedisUserFanout;
use fanout::{Notice, RemoteChanges, Sockets, UserFanout};
use model::chat::{ConversationId, Message, MsgType, Recipient};
use model::clock::{Clock, SystemClock};
use model::{Metrics, Snowflake, SnowflakeGenerator, UserId};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use testkit::OwnServer;

/// The sockets of a node: what each user was delivered.
#[derive(Default)]
struct LocalUserFanout(Mutex<Vec<(UserId, Sockets, String)>>);

impl UserFanout for LocalUserFanout {
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice) {
        let what = match notice {
            Notice::Message(message) => message.content.to_string(),
            other => format!("{other:?}"),
        };
        let delivered = users.iter().map(|user| (user.clone(), sockets.clone(), what.clone()));
        self.0.lock().expect("no panic").extend(delivered);
    }
}

impl LocalUserFanout {
    fn delivered(&self, user: &UserId) -> Vec<String> {
        let all = self.0.lock().expect("no panic");
        all.iter().filter(|(delivered, ..)| delivered == user).map(|(_, _, what)| what.clone()).collect()
    }
}

struct Node {
    batch: Arc<LocalUserFanout>,
    fanout: Arc<RedisUserFanout>,
    ids: SnowflakeGenerator,
    changes: Arc<Mutex<Vec<RemoteChanges>>>,
    _reader: tokio_util::task::AbortOnDropHandle<()>,
}

/// How long nodes wait for Redis, which is slow where much else is done, and is killed.
const ANSWERS: Duration = Duration::from_secs(3);

impl Node {
    async fn start(address: &str, namespace: &str, number: u16) -> Self {
        let address = address.parse::<RedisAddress>().expect("an address").patient(ANSWERS);
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let redis = Redis::open(&address, namespace, metrics.clone()).expect("an address");
        redis.ready(testkit::PATIENCE).await.expect("it runs");
        let (batch, clock) = (Arc::new(LocalUserFanout::default()), Arc::new(SystemClock));
        let name = format!("node-{number}");
        let fanout = RedisUserFanout::start(&address, redis, &name, batch.clone(), clock.clone(), metrics);
        let fanout = Arc::new(fanout.expect("it starts"));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (noted, from) = (changes.clone(), fanout.clone());
        let reader = tokio::spawn(async move {
            loop {
                let changes = from.changes().await;
                noted.lock().expect("no panic").push(changes);
            }
        });
        let reader = tokio_util::task::AbortOnDropHandle::new(reader);
        Self { batch, fanout, ids: SnowflakeGenerator::new(clock, number, None), changes, _reader: reader }
    }

    /// A user connects here.
    async fn connect(&self, user: &UserId) {
        self.fanout.hold(user);
        self.fanout.heard(user).await;
    }

    fn say(&self, users: &[UserId], content: &str) {
        self.fanout.notify(users.into(), Sockets::All, self.message(content));
    }

    fn message(&self, content: &str) -> Notice {
        let id = self.ids.next();
        Notice::Message(Arc::new(Message {
            id: id.expect("a number"),
            position: 1,
            client_msg_id: "c".into(),
            conversation_id: ConversationId(Snowflake(7)),
            from_user: user("ann"),
            from_name: "Ann".into(),
            to: Recipient::User(user("bo")),
            content: content.into(),
            msg_type: MsgType::Text,
            created_at_ms: SystemClock.now_ms(),
            reply_to: None,
            edited_at_ms: None,
            reactions: Box::default(),
            recalled: None,
        }))
    }

    fn missed(&self, user: &UserId) -> Option<i64> {
        let changes = self.changes.lock().expect("no panic");
        changes
            .iter()
            .flat_map(|changes| &changes.missed)
            .filter(|(missed, _)| missed == user)
            .map(|(_, since)| *since)
            .min()
    }

    fn presence_changed(&self, user: &UserId) -> bool {
        self.changes.lock().expect("no panic").iter().any(|changes| changes.presence_changed.contains(user))
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("an id")
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn delivered(node: &Node, user: &UserId, what: &str) {
    testkit::eventually(&format!("{user} to be delivered {what}"), async || {
        node.batch.delivered(user).iter().any(|delivered| delivered == what).then_some(())
    })
    .await;
}

async fn a_user_hears_on_every_node(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let first = Node::start(&address, &namespace, 1).await;
    let second = Node::start(&address, &namespace, 2).await;
    let (ann, bo, cy) = (user("ann"), user("bo"), user("cy"));
    first.connect(&ann).await;
    second.connect(&bo).await;
    second.connect(&ann).await;

    // From the moment that `heard` returns nothing is missed.
    for n in 0..300 {
        first.say(&[ann.clone(), bo.clone(), cy.clone()], &n.to_string());
    }
    delivered(&second, &bo, "299").await;
    delivered(&second, &ann, "299").await;
    let all: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(second.batch.delivered(&bo), all, "each once, in order");
    assert_eq!(second.batch.delivered(&ann), all);
    assert_eq!(first.batch.delivered(&ann), all, "its own sockets hear it once");
    assert!(second.batch.delivered(&cy).is_empty(), "whoever is not here costs nothing here");

    first.fanout.notify([bo.clone()].into(), Sockets::Only([4, 5].into()), first.message("for two sockets"));
    delivered(&second, &bo, "for two sockets").await;
    let last = second.batch.0.lock().expect("no panic").last().cloned();
    assert_eq!(last, Some((bo.clone(), Sockets::Only([4, 5].into()), "for two sockets".to_owned())));

    let again = second.message("read again");
    for _ in 0..2 {
        second.fanout.remind(&bo, again.clone());
    }
    let reminded = second.batch.delivered(&bo).iter().filter(|delivered| *delivered == "read again").count();
    assert_eq!(reminded, 1, "what was delivered is not delivered again");

    first.fanout.notify_presence(&ann);
    testkit::eventually("the other node to look at ann", async || second.presence_changed(&ann).then_some(())).await;
    assert!(!first.presence_changed(&ann), "a node looks by itself");
}

#[tokio::test]
async fn a_user_hears_on_every_node_of_a_single_server() {
    a_user_hears_on_every_node("BARRAGE_TEST_REDIS").await;
}

#[tokio::test]
async fn a_user_hears_over_sentinel_also_when_the_master_is_killed() {
    a_user_hears_on_every_node("BARRAGE_TEST_REDIS_SENTINEL").await;
    a_killed_master_is_noticed("BARRAGE_TEST_REDIS_SENTINEL", "sentinel").await;
}

#[tokio::test]
async fn a_user_hears_over_a_cluster_also_when_it_loses_a_master() {
    a_user_hears_on_every_node("BARRAGE_TEST_REDIS_CLUSTER").await;
    a_killed_master_is_noticed("BARRAGE_TEST_REDIS_CLUSTER", "cluster").await;
}

/// The number of the last one that a user was delivered.
fn newest(node: &Node, user: &UserId) -> usize {
    node.batch.delivered(user).iter().filter_map(|delivered| delivered.parse().ok()).max().unwrap_or(0)
}

/// Whoever did not hear everything while a master was gone is named, and everybody hears again.
async fn a_killed_master_is_noticed(service: &str, servers: &'static str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let first = Node::start(&address, &namespace, 1).await;
    let second = Node::start(&address, &namespace, 2).await;
    let users: Vec<UserId> = (0..40).map(|n| user(&format!("user-{n}"))).collect();
    for user in &users {
        second.connect(user).await;
    }
    let killed = testkit::kill_a_redis_master(servers);
    let before_ms = SystemClock.now_ms();
    let (mut said, deadline) = (0usize, tokio::time::Instant::now() + Duration::from_secs(60));
    // Everything that is said from the kill on is either delivered or named as missed.
    loop {
        said += 1;
        users.iter().for_each(|user| first.say(std::slice::from_ref(user), &said.to_string()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        if said > 20 && users.iter().all(|user| newest(&second, user) > said - 10) {
            break;
        }
        let behind = users.iter().filter(|user| newest(&second, user) + 10 <= said).count();
        assert!(
            tokio::time::Instant::now() < deadline,
            "{behind} of 40 stay deaf after a master was killed, {said} said"
        );
    }
    for user in &users {
        let delivered = second.batch.delivered(user);
        if (1..=newest(&second, user)).any(|n| !delivered.contains(&n.to_string())) {
            let missed = testkit::eventually("the loss to be named", async || second.missed(user)).await;
            assert!(
                missed <= before_ms,
                "{user} missed {} and is read from {missed}",
                newest(&second, user) - delivered.len()
            );
        }
    }
    killed.bring_back();
}

#[tokio::test]
async fn after_an_outage_everybody_who_may_have_missed_something_is_named() {
    let Some(server) = OwnServer::start("redis") else { return };
    let (address, namespace) = (server.address(), namespace());
    let first = Node::start(&address, &namespace, 1).await;
    let second = Node::start(&address, &namespace, 2).await;
    let (ann, bo) = (user("ann"), user("bo"));
    first.connect(&ann).await;
    second.connect(&bo).await;
    first.say(std::slice::from_ref(&bo), "before");
    delivered(&second, &bo, "before").await;
    let calm = second.fanout.reread_window(1_000_000).expect("there are other nodes");
    assert_eq!((calm.since_ms, calm.outage), (995_000, false));

    server.kill();
    let gone_ms = SystemClock.now_ms();
    first.say(&[ann.clone(), bo.clone()], "meanwhile");
    assert_eq!(first.batch.delivered(&ann), ["meanwhile"], "inside a node it goes on");
    let patience = tokio::time::Instant::now();
    second.connect(&user("cy")).await;
    assert!(patience.elapsed() < Duration::from_secs(5), "nobody waits long for Redis");

    server.restart();
    for (node, user) in [(&first, &ann), (&second, &bo)] {
        let since_ms = testkit::eventually("who was deaf to be named", async || node.missed(user)).await;
        assert!(since_ms <= gone_ms);
        assert!(
            node.fanout
                .reread_window(SystemClock.now_ms())
                .is_some_and(|reread_window| reread_window.outage && reread_window.since_ms <= gone_ms)
        );
    }
    // What the first node cannot publish yet is named like the rest.
    testkit::eventually("bo to hear again", async || {
        first.say(std::slice::from_ref(&bo), "after");
        second.batch.delivered(&bo).contains(&"after".to_owned()).then_some(())
    })
    .await;
}
