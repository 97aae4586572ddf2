//! Chat on two nodes over one store and real Redis: everybody is told wherever they are, nothing falls between a sync
//! and what is pushed after it, watchers see people of other nodes, and what an outage of Redis swallowed comes after it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat::{Attachments, Chat, ChatPorts, LocalUserFanout, MessageDraft, OutboundNotice, ShardSink, SyncRequest};
use fanout::Notice;
use fanout::redis::RedisUserFanout;
use model::chat::{ConversationId, MsgType, Recipient};
use model::clock::{Clock, SystemClock};
use model::{Identity, Level, Metrics, Snowflake, SnowflakeGenerator, UserId};
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use state::{MemoryRateLimiter, RedisPresence};
use store::chat::{ChatStore, NewMessage};
use store::sqlite::SqliteStore;
use testkit::OwnServer;

struct NoUploads;

#[async_trait]
impl Attachments for NoUploads {
    async fn usable(&self, _: &UserId, _: &str, _: MsgType) -> chat::Result<bool> {
        Ok(false)
    }
}

/// The sockets of a node: what they were told.
#[derive(Default)]
struct Sockets(Mutex<Vec<Arc<OutboundNotice>>>);

impl ShardSink for Sockets {
    fn deliver(&self, notice: Arc<OutboundNotice>) {
        self.0.lock().expect("no panic").push(notice);
    }
}

struct Node {
    chat: Arc<Chat>,
    sockets: Arc<Sockets>,
}

/// How long nodes wait for Redis, which is slow where much else is done, and is killed.
const ANSWERS: Duration = Duration::from_secs(3);

impl Node {
    async fn start(address: &str, namespace: &str, number: u16, store: &Arc<SqliteStore>) -> Self {
        let address = address.parse::<RedisAddress>().expect("an address").patient(ANSWERS);
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let redis = Redis::open(&address, namespace, metrics.clone()).expect("an address");
        redis.ready(testkit::PATIENCE).await.expect("it runs");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (post, sockets) = (Arc::new(LocalUserFanout::new()), Arc::new(Sockets::default()));
        post.set_shards(vec![sockets.clone()]);
        let name = format!("node-{number}");
        let fanout =
            RedisUserFanout::start(&address, redis.clone(), &name, post.clone(), clock.clone(), metrics.clone());
        let chat = Chat::start(ChatPorts {
            settings: Default::default(),
            hook: Default::default(),
            store: store.clone(),
            rate_limiter: Arc::new(MemoryRateLimiter::new(10_000)),
            presence: Arc::new(RedisPresence::new(redis, &name, 1)),
            fanout: Arc::new(fanout.expect("it starts")),
            local_fanout: post,
            message_filter: Arc::new(|_, text, _| Ok(text.to_owned())),
            message_screen: None,
            attachments: Arc::new(NoUploads),
            ids: Arc::new(SnowflakeGenerator::new(clock.clone(), number, None)),
            clock,
            metrics,
        });
        Self { chat, sockets }
    }

    async fn send(&self, from: &str, to: &str, content: &str) -> Snowflake {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let draft = MessageDraft {
            client_msg_id: NUMBER.fetch_add(1, Ordering::Relaxed).to_string(),
            to: Recipient::User(user(to)),
            content: content.to_owned(),
            msg_type: MsgType::Text,
            reply_to: None,
            uploads: Vec::new(),
        };
        self.chat.send(&who(from), draft, None).await.expect("it is stored").message.id
    }

    /// The messages after a place, as a device asks for them.
    async fn sync(&self, name: &str, since_id: Option<Snowflake>) -> Vec<String> {
        let request = SyncRequest { since_id, ..SyncRequest::default() };
        let page = self.chat.sync(&who(name), request).await.expect("it answers").page;
        page.messages.iter().map(|seen| seen.message.content.to_string()).collect()
    }

    /// The messages that somebody's sockets here were told, in order.
    fn told(&self, name: &str) -> Vec<String> {
        let told = self.sockets.0.lock().expect("no panic");
        let for_them = told.iter().filter(|told| told.users.contains(&user(name)));
        let content = for_them.filter_map(|told| match &told.notice {
            Notice::Message(message) => Some(message.content.to_string()),
            _ => None,
        });
        content.collect()
    }

    /// What socket `socket` was told last of somebody's presence.
    fn seen(&self, socket: u64, name: &str) -> Option<bool> {
        let told = self.sockets.0.lock().expect("no panic");
        let newest = told.iter().rev().filter(|told| told.sockets.include(socket));
        let mut online = newest.filter_map(|told| match &told.notice {
            Notice::Presence { user: of, online, .. } if *of == user(name) => Some(*online),
            _ => None,
        });
        online.next()
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("an id")
}

fn who(name: &str) -> Identity {
    Identity {
        user_id: user(name),
        username: name.into(),
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn store(directory: &Path) -> Arc<SqliteStore> {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    Arc::new(SqliteStore::open(&directory.join("barrage.db"), metrics).expect("nobody else's"))
}

async fn told(node: &Node, name: &str, what: &[&str]) {
    testkit::eventually(&format!("{name} to be told {what:?}"), async || (node.told(name) == what).then_some(())).await;
}

async fn two_nodes_are_one(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (store, namespace) = (store(directory.path()), namespace());
    let east = Node::start(&address, &namespace, 1, &store).await;
    let west = Node::start(&address, &namespace, 2, &store).await;
    east.chat.connected(&who("ann"), 11).await;

    // ann watches bob before he is here.
    let shown = east.chat.watch(&who("ann"), 11, vec![user("bob")]).await.expect("she may");
    assert!(!shown[0].online);
    west.chat.connected(&who("bob"), 21).await;
    testkit::eventually("ann to see bob come", async || (east.seen(11, "bob") == Some(true)).then_some(())).await;

    // Whatever is sent once bob's sync is answered, he is told of.
    assert_eq!(west.sync("bob", Some(Snowflake(0))).await, Vec::<String>::new());
    let first = east.send("ann", "bob", "one").await;
    told(&west, "bob", &["one"]).await;
    let second = west.send("bob", "ann", "two").await;
    told(&east, "ann", &["one", "two"]).await;
    assert_eq!(west.told("bob"), ["one", "two"], "nobody hears twice of what they sent or were told");

    // A place from a push may have something of another node before it; one from a page has not.
    assert_eq!(west.sync("bob", Some(second)).await, ["one"], "what came from elsewhere, once more");
    assert_eq!(west.sync("bob", Some(second)).await, Vec::<String>::new(), "the place is from a page now");
    assert_eq!(west.sync("bob", Some(first)).await, ["two"]);

    west.chat.disconnected(&who("bob"), 21).await;
    testkit::eventually("ann to see bob go", async || (east.seen(11, "bob") == Some(false)).then_some(())).await;

    // A poll on one node hears of what is sent on the other.
    let request = SyncRequest { since_id: Some(second), ..SyncRequest::default() };
    let polling = {
        let chat = west.chat.clone();
        tokio::spawn(async move { chat.poll(&who("bob"), request, Duration::from_secs(20)).await })
    };
    east.send("ann", "bob", "three").await;
    let polled = polling.await.expect("no panic").expect("it answers").page.messages;
    assert_eq!(polled.last().map(|seen| &*seen.message.content), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_are_one_over_a_single_server() {
    two_nodes_are_one("BARRAGE_TEST_REDIS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_are_one_over_a_cluster() {
    two_nodes_are_one("BARRAGE_TEST_REDIS_CLUSTER").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outage_swallowed_comes_after_it_once() {
    let Some(server) = OwnServer::start("redis") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (address, namespace, store) = (server.address(), namespace(), store(directory.path()));
    let east = Node::start(&address, &namespace, 1, &store).await;
    let west = Node::start(&address, &namespace, 2, &store).await;
    west.chat.connected(&who("bob"), 21).await;
    assert_eq!(west.sync("bob", None).await, Vec::<String>::new());
    east.send("ann", "bob", "before").await;
    told(&west, "bob", &["before"]).await;

    server.kill();
    east.send("ann", "bob", "far").await;
    let near = west.send("cat", "bob", "near").await;
    told(&west, "bob", &["before", "near"]).await;
    // A device that comes back during the outage with the place it took from a push.
    testkit::eventually("the outage to be known", async || {
        (west.sync("bob", Some(near)).await == ["before", "far"]).then_some(())
    })
    .await;

    server.restart();
    told(&west, "bob", &["before", "near", "far"]).await;
    east.send("ann", "bob", "after").await;
    testkit::eventually("bob to hear again", async || west.told("bob").contains(&"after".to_owned()).then_some(()))
        .await;
    assert_eq!(west.told("bob"), ["before", "near", "far", "after"], "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_tells_those_whom_a_node_that_ended_did_not() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (store, namespace) = (store(directory.path()), namespace());
    let east = Node::start(&address, &namespace, 1, &store).await;
    let west = Node::start(&address, &namespace, 2, &store).await;
    west.chat.connected(&who("bob"), 21).await;
    west.sync("bob", None).await;
    // All that is left of a node that ended between storing a message and telling of it.
    let now_ms = SystemClock.now_ms();
    let message = NewMessage {
        id: Snowflake(7),
        conversation_id: ConversationId(Snowflake(8)),
        client_msg_id: "c-1".into(),
        from_user: user("ann"),
        from_name: "ann".into(),
        to: Recipient::User(user("bob")),
        content: "did you hear?".into(),
        msg_type: MsgType::Text,
        created_at_ms: now_ms,
        outbox: false,
        reply_to: None,
        uploads: Vec::new(),
    };
    store.append_messages(vec![message]).await.expect("it is stored");
    let again = || MessageDraft {
        client_msg_id: "c-1".into(),
        to: Recipient::User(user("bob")),
        content: "did you hear?".into(),
        msg_type: MsgType::Text,
        reply_to: None,
        uploads: Vec::new(),
    };

    let sent = east.chat.send(&who("ann"), again(), None).await.expect("it is answered");
    assert!(sent.repeated && sent.message.id == Snowflake(7));
    told(&west, "bob", &["did you hear?"]).await;
    east.chat.send(&who("ann"), again(), None).await.expect("it is answered");
    west.chat.send(&who("ann"), again(), None).await.expect("it is answered");
    east.send("ann", "bob", "and now?").await;
    told(&west, "bob", &["did you hear?", "and now?"]).await;
    assert_eq!(east.told("ann"), ["did you hear?", "and now?"], "each once");
}
