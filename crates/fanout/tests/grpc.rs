//! Roles that speak to each other over gRPC on loopback: a worker and its gateways, a gateway and the ingest nodes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster::directory::MemoryHolders;
use cluster::membership::{Members, Node, NodeInfo};
use fanout::grpc::{FanoutParts, GrpcFanout, GrpcInbox, IngestNodes, PeerServices, Secret, serve};
use fanout::proto::cluster::v1::PushRequest;
use fanout::proto::cluster::v1::gateway_client::GatewayClient;
use fanout::{AdmitComments, Fanout, RoutingFanout};
use log::{Entry, Position, Record};
use model::clock::SystemClock;
use model::{Admitted, Code, CommentStatus, Identity, Level, Metrics, RoomId, Snowflake, UserId, WireError};
use prometheus_client::registry::Registry;
use protocol::message::CommentDraft;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SECRET: &[u8] = b"between nodes";
/// Where the worker listens, if somebody asked.
const HERE: &str = "127.0.0.1:9";

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("an id")
}

fn node(number: u16, address: &str, roles: &str) -> Node {
    let roles = roles.parse().expect("roles");
    Node { number, info: NodeInfo { address: address.into(), roles, version: String::new() } }
}

/// Writes down what it is given.
#[derive(Default)]
struct Heard(Mutex<Vec<(RoomId, u64)>>);

impl Fanout for Heard {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        let offsets = entries.iter().map(|entry| (room_id.clone(), entry.position.offset));
        self.0.lock().expect("no panic").extend(offsets);
    }
}

impl Heard {
    fn of(&self, room: &RoomId) -> Vec<u64> {
        let all = self.0.lock().expect("no panic");
        all.iter().filter(|(heard, _)| heard == room).map(|(_, offset)| *offset).collect()
    }

    fn nothing(&self) -> bool {
        self.0.lock().expect("no panic").is_empty()
    }
}

/// A gateway; its server can be ended and started again on the same port, as after a cut.
struct Gateway {
    heard: Arc<Heard>,
    missed: Arc<Mutex<HashSet<RoomId>>>,
    inbox: Arc<GrpcInbox>,
    address: String,
    server: Option<Server>,
}

/// A server with a runtime of its own: when that is dropped its connections break, as when a process is killed.
struct Server(Option<Runtime>);

impl Server {
    async fn start(address: &str, stations: PeerServices) -> (Self, String) {
        // Started again, it may have to wait until the one before has let go of it.
        let bound = async || std::net::TcpListener::bind(address).ok();
        let listener = testkit::eventually("the port", bound).await;
        let address = listener.local_addr().expect("an address").to_string();
        listener.set_nonblocking(true).expect("a socket");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.spawn(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            serve(listener, Secret::new(SECRET), stations, CancellationToken::new()).await
        });
        (Self(Some(runtime)), address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.take().expect("until now").shutdown_background();
    }
}

impl Gateway {
    async fn start() -> Self {
        let (heard, missed) = (Arc::new(Heard::default()), Arc::new(Mutex::new(HashSet::new())));
        let noted = missed.clone();
        let miss = move |room: &RoomId, _| {
            noted.lock().expect("no panic").insert(room.clone());
        };
        let inbox = Arc::new(GrpcInbox::new(heard.clone(), Arc::new(miss), Arc::new(SystemClock), metrics()));
        let mut gateway = Self { heard, missed, inbox, address: "127.0.0.1:0".into(), server: None };
        gateway.open().await;
        gateway
    }

    async fn open(&mut self) {
        let stations = PeerServices { gateway: Some(self.inbox.clone()), ingest: None };
        let (server, address) = Server::start(&self.address, stations).await;
        (self.server, self.address) = (Some(server), address);
    }

    fn has_missed(&self, room: &RoomId) -> bool {
        self.missed.lock().expect("no panic").contains(room)
    }
}

struct Worker {
    here: Arc<Heard>,
    holders: Arc<MemoryHolders>,
    metrics: Arc<Metrics>,
    fanout: RoutingFanout,
    _nodes: watch::Sender<Arc<[Node]>>,
}

impl Worker {
    fn start(mut nodes: Vec<Node>, secret: &[u8]) -> Self {
        nodes.push(node(0, HERE, "gateway,worker"));
        let (here, holders, metrics) = (Arc::new(Heard::default()), Arc::new(MemoryHolders::default()), metrics());
        let (tell, told) = watch::channel(nodes.into());
        let rooms: Arc<dyn Fanout> = Arc::new(GrpcFanout::start(FanoutParts {
            me: HERE.into(),
            source: "test-0".into(),
            holders: holders.clone(),
            members: Members::published(told),
            security: Secret::new(secret).into(),
            clock: Arc::new(SystemClock),
            metrics: metrics.clone(),
        }));
        let fanout = RoutingFanout { local: here.clone(), control: rooms.clone(), rooms };
        Self { here, holders, metrics, fanout, _nodes: tell }
    }

    fn push(&self, room: &RoomId, offset: u64) {
        let user_id = UserId::new("somebody").expect("an id");
        let record = Record::Revoked { user_id, before_ms: 0 };
        let position = Position { epoch: 1, offset };
        self.fanout.push(room, vec![Entry { room_id: room.clone(), position, record }]);
    }

    /// Pushes one entry, and goes on when these gateways have it: so it is one batch.
    async fn push_and_wait(&self, room: &RoomId, offset: u64, gateways: &[&Gateway]) {
        self.push(room, offset);
        testkit::eventually("the entry to be heard", async || {
            gateways.iter().all(|gateway| gateway.heard.of(room).contains(&offset)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_batch_goes_to_the_gateways_that_hold_its_room_and_to_no_other() {
    let gateways = [Gateway::start().await, Gateway::start().await, Gateway::start().await];
    let [ann, bo, cy] = &gateways;
    let nodes = (1..).zip(&gateways).map(|(number, gateway)| node(number, &gateway.address, "gateway")).collect();
    let worker = Worker::start(nodes, SECRET);
    let (hall, attic, cellar) = (room("hall"), room("attic"), room("cellar"));
    worker.holders.set(&hall, &[0, 1]);
    worker.holders.set(&attic, &[1, 2]);

    for offset in 1..=50 {
        worker.push_and_wait(&hall, offset, &[ann]).await;
        worker.push_and_wait(&attic, offset, &[ann, bo]).await;
        worker.push(&cellar, offset);
    }
    assert_eq!(worker.metrics.pushes.get(), 50 + 2 * 50, "one call for each batch and gateway that holds its room");
    let all: Vec<u64> = (1..=50).collect();
    assert_eq!(ann.heard.of(&hall), all, "each once, in order");
    assert_eq!(bo.heard.of(&attic), all);
    assert!(bo.heard.of(&hall).is_empty());
    assert!(cy.heard.nothing(), "whoever holds no room hears nothing");
    assert!([&hall, &attic, &cellar].iter().all(|room| worker.here.of(room) == all), "its own gateway has everything");
    assert!(!ann.has_missed(&hall) && !bo.has_missed(&attic));

    worker.holders.set(&hall, &[1, 3]);
    worker.push_and_wait(&hall, 51, &[ann, cy]).await;
    assert_eq!(cy.heard.of(&hall), [51]);
    assert!(cy.has_missed(&hall), "who comes later is told that there was something before");
}

#[tokio::test]
async fn without_the_directory_every_node_with_viewers_is_pushed_to() {
    let gateways = [Gateway::start().await, Gateway::start().await, Gateway::start().await];
    let [ann, bo, cy] = &gateways;
    let nodes = vec![
        node(1, &ann.address, "gateway"),
        node(2, &bo.address, "api,ingest"),
        node(3, &cy.address, "ingest,worker,persist"),
    ];
    let worker = Worker::start(nodes, SECRET);
    worker.holders.make_unavailable();
    worker.push_and_wait(&room("hall"), 1, &[ann, bo]).await;
    worker.holders.set(&room("hall"), &[1]);
    worker.push_and_wait(&room("hall"), 2, &[ann]).await;
    assert_eq!(worker.metrics.pushes.get(), 3);
    assert_eq!(bo.heard.of(&room("hall")), [1]);
    assert!(cy.heard.nothing(), "where no viewer can be nothing is pushed");
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_hears_again_and_knows_what_it_may_have_missed() {
    let mut ann = Gateway::start().await;
    let worker = Worker::start(vec![node(1, &ann.address, "gateway")], SECRET);
    let (busy, silent) = (room("busy"), room("silent"));
    worker.holders.set(&busy, &[1]);
    worker.holders.set(&silent, &[1]);
    worker.push_and_wait(&busy, 1, &[&ann]).await;
    worker.push_and_wait(&silent, 1, &[&ann]).await;
    assert!(!ann.has_missed(&silent));

    ann.server = None;
    worker.push(&silent, 2);
    testkit::eventually("a batch to be lost", async || {
        worker.push(&busy, 2);
        let lost = worker.metrics.fanout_lost.get_or_create(&vec![("reason", "away")]).get();
        (lost > 0).then_some(())
    })
    .await;
    ann.open().await;
    testkit::eventually("to be heard again", async || {
        worker.push(&busy, 3);
        ann.heard.of(&busy).contains(&3).then_some(())
    })
    .await;
    testkit::eventually("both rooms to be read again", async || {
        (ann.has_missed(&busy) && ann.has_missed(&silent)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_takes_nothing_delays_nobody() {
    let ann = Gateway::start().await;
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let deaf_address = deaf.local_addr().expect("an address").to_string();
    let worker = Worker::start(vec![node(1, &ann.address, "gateway"), node(2, &deaf_address, "gateway")], SECRET);
    for n in 0..100 {
        worker.holders.set(&room(&format!("room-{n}")), &[1, 2]);
    }
    worker.push_and_wait(&room("room-0"), 0, &[&ann]).await;
    for offset in 1..=100 {
        for n in 0..100 {
            worker.push(&room(&format!("room-{n}")), offset);
        }
        let heard = async || ann.heard.of(&room("room-99")).contains(&offset).then_some(());
        testkit::eventually("the others to hear", heard).await;
    }
    let lost = worker.metrics.fanout_lost.get_or_create(&vec![("reason", "full")]).get();
    assert!(lost > 1_000, "what the deaf one did not take is counted: {lost}");
    for n in 1..100 {
        assert_eq!(ann.heard.of(&room(&format!("room-{n}"))), (1..=100).collect::<Vec<_>>());
    }
    drop(deaf);
}

#[tokio::test]
async fn only_nodes_that_know_the_secret_are_heard() {
    let ann = Gateway::start().await;
    let mut stranger = GatewayClient::connect(format!("http://{}", ann.address)).await.expect("a connection");
    let refused = stranger.push_room(futures::stream::iter([PushRequest::default()])).await;
    assert_eq!(refused.expect_err("a refusal").code(), tonic::Code::Unauthenticated);

    let worker = Worker::start(vec![node(1, &ann.address, "gateway")], b"another secret");
    worker.holders.set(&room("hall"), &[1]);
    testkit::eventually("batches to be lost", async || {
        worker.push(&room("hall"), 1);
        let lost = worker.metrics.fanout_lost.get_or_create(&vec![("reason", "away")]).get();
        (lost > 0).then_some(())
    })
    .await;
    assert!(ann.heard.nothing());
}

/// Decides nothing: says which node it is and, in the time of the answer, what it was asked. Can be told to fall silent.
struct Echo {
    number: u64,
    silent: AtomicBool,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl AdmitComments for Echo {
    async fn admit(&self, _: &Identity, _: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError> {
        let content = draft.content;
        self.asked.lock().expect("no panic").push(content.clone());
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        let created_at_ms = content.parse().unwrap_or(0);
        Ok(Admitted { id: Snowflake(self.number), status: CommentStatus::Accepted, created_at_ms })
    }
}

struct IngestNode {
    echo: Arc<Echo>,
    address: String,
    server: Option<Server>,
}

impl IngestNode {
    async fn start(number: u64) -> Self {
        let echo = Arc::new(Echo { number, silent: AtomicBool::new(false), asked: Mutex::default() });
        let stations = PeerServices { gateway: None, ingest: Some(echo.clone()) };
        let (server, address) = Server::start("127.0.0.1:0", stations).await;
        Self { echo, address, server: Some(server) }
    }
}

fn user(n: u32) -> Identity {
    Identity {
        user_id: UserId::new(&format!("user-{n}")).expect("an id"),
        username: "somebody".into(),
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}

async fn admit(
    nodes: &IngestNodes,
    who: &Identity,
    content: &str,
    client_msg_id: Option<&str>,
) -> Result<Admitted, WireError> {
    let draft = CommentDraft {
        room_id: None,
        content: content.into(),
        client_msg_id: client_msg_id.map(Into::into),
        style: None,
        mentions: Vec::new(),
        session_id: None,
        offset_ms: None,
        address: None,
    };
    nodes.admit(who, &room("hall"), draft).await
}

/// The number of the node that answered, and what it was asked.
fn echoed(answer: Result<Admitted, WireError>) -> (u64, i64) {
    let Admitted { id, created_at_ms, .. } = answer.expect("an answer");
    (id.0, created_at_ms)
}

async fn two_nodes() -> (IngestNode, IngestNode, Arc<IngestNodes>, watch::Sender<Arc<[Node]>>) {
    let (ann, bo) = (IngestNode::start(1).await, IngestNode::start(2).await);
    let listed = [node(1, &ann.address, "ingest"), node(2, &bo.address, "gateway,ingest"), node(3, "x:1", "worker")];
    let (tell, told) = watch::channel(Arc::from(listed));
    let nodes = Arc::new(IngestNodes::start(&Members::published(told), Secret::new(SECRET), metrics()));
    testkit::eventually("both nodes", async || {
        let mut answers = HashSet::new();
        for n in 0..40 {
            answers.extend(admit(&nodes, &user(n), "0", None).await.map(|answer| answer.id.0));
        }
        (answers.len() == 2).then_some(())
    })
    .await;
    (ann, bo, nodes, tell)
}

#[tokio::test]
async fn each_comment_gets_its_own_answer_and_each_user_one_node() {
    let (_ann, _bo, nodes, _tell) = two_nodes().await;
    let asking = (0..2_000).map(|n| {
        let nodes = nodes.clone();
        tokio::spawn(async move { echoed(admit(&nodes, &user(n % 40), &n.to_string(), None).await) })
    });
    let mut homes = HashSet::new();
    for (n, answer) in asking.collect::<Vec<_>>().into_iter().enumerate() {
        let (number, asked) = answer.await.expect("an answer");
        assert_eq!(asked, n as i64);
        homes.insert((n % 40, number));
    }
    assert_eq!(homes.len(), 40, "a user's comments are decided about in one place");
}

#[tokio::test]
async fn when_a_node_is_killed_only_comments_that_are_recognised_are_sent_again() {
    let (mut ann, _bo, nodes, _tell) = two_nodes().await;
    let mut anns = None;
    for n in 0..40 {
        if echoed(admit(&nodes, &user(n), "0", None).await).0 == 1 {
            anns = Some(user(n));
        }
    }
    let anns = anns.expect("half of them");
    ann.echo.silent.store(true, Ordering::SeqCst);
    let ask = |content: &'static str, client_msg_id: Option<&'static str>| {
        let (nodes, anns) = (nodes.clone(), anns.clone());
        tokio::spawn(async move { admit(&nodes, &anns, content, client_msg_id).await })
    };
    let (recognised, plain) = (ask("7", Some("a-1")), ask("8", None));
    testkit::eventually("both to be asked", async || {
        let asked = ann.echo.asked.lock().expect("no panic");
        ["7", "8"].iter().all(|content| asked.iter().any(|asked| asked == content)).then_some(())
    })
    .await;

    ann.server = None;
    assert_eq!(echoed(recognised.await.expect("no panic")), (2, 7), "the other node decides");
    let lost = plain.await.expect("no panic").expect_err("sent again it might come twice");
    assert_eq!((lost.code, lost.message.contains("unknown")), (Code::Unavailable, true), "{lost:?}");
    assert_eq!(echoed(admit(&nodes, &anns, "9", None).await), (2, 9), "what was not sent can be sent elsewhere");
}

/// Who is served by the first node.
async fn user_of_ann(nodes: &IngestNodes) -> Identity {
    for n in 0..40 {
        if echoed(admit(nodes, &user(n), "0", None).await).0 == 1 {
            return user(n);
        }
    }
    panic!("half of them are ann's");
}

#[tokio::test]
async fn a_node_that_is_slow_holds_no_comment_that_another_can_take() {
    let (ann, _bo, nodes, _tell) = two_nodes().await;
    let anns = user_of_ann(&nodes).await;
    ann.echo.silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(echoed(admit(&nodes, &anns, "7", Some("a-1")).await), (2, 7), "the other node decides");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    ann.echo.silent.store(false, Ordering::SeqCst);
    testkit::eventually("the node that answers to be asked again", async || {
        (echoed(admit(&nodes, &anns, "9", Some("a-2")).await).0 == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_any_node_nothing_is_sent() {
    let (tell, told) = watch::channel(Arc::from([node(1, "127.0.0.1:1", "ingest")]));
    let nodes = IngestNodes::start(&Members::published(told), Secret::new(SECRET), metrics());
    assert_eq!(admit(&nodes, &user(1), "1", None).await, Err(WireError::unavailable()));
    assert!(!nodes.are_there());
    let ann = IngestNode::start(4).await;
    tell.send(Arc::from([node(4, &ann.address, "ingest")])).expect("somebody listens");
    testkit::eventually("the node that came", async || nodes.are_there().then_some(())).await;
    assert_eq!(echoed(admit(&nodes, &user(1), "1", None).await), (4, 1));
}
