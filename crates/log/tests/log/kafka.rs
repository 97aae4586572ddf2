//! The log on a real cluster of three Kafka brokers, which some of these tests kill.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::hlc::HybridClock;
use log::kafka::{
    ExportProducer, Fallback, Group, Health, KafkaConsumer, KafkaLog, KafkaSettings, Left, Unfit, Watch, prepare,
};
use log::record::{Block, Logged};
use log::spool::{Bounds, Spool};
use log::{AppendError, Consumer, Entry, Log, Position, Record};
use model::clock::{Clock, SystemClock};
use model::{Audience, Comment, Event, EventBody, Kind, Level, Metrics, RoomId, Snowflake, Style, UserId};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message};
use serde_json::json;
use settings::Kafka;
use state::{HeatRules, HotRooms};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// All tests use the same brokers: whoever kills some has them alone.
static BROKERS: RwLock<()> = RwLock::const_new(());

/// Few, because a broker that was killed looks at all of them when it comes back.
const PARTITIONS: u16 = 3;

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}-{}", std::process::id(), SystemClock.now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn settings(brokers: &str, namespace: &str) -> KafkaSettings {
    KafkaSettings {
        kafka: Kafka { brokers: brokers.into(), partitions: PARTITIONS, retention_hours: 1, ..Kafka::default() },
        namespace: namespace.into(),
        client_id: "node-1".into(),
        delivery_timeout_ms: 5_000,
    }
}

/// A namespace of its own on the brokers, and a log there.
struct World {
    settings: KafkaSettings,
    registry: Registry,
    metrics: Arc<Metrics>,
    stamps: Arc<HybridClock>,
    log: Arc<KafkaLog>,
    watch: Arc<Watch>,
    closing: CancellationToken,
}

impl World {
    async fn start() -> Option<Self> {
        Self::spread(Arc::new(|_, _| None)).await
    }

    async fn spread(shard: log::ShardOf) -> Option<Self> {
        Self::with(false, shard).await
    }

    /// What waits for a partition becomes one message.
    async fn in_blocks() -> Option<Self> {
        Self::with(true, Arc::new(|_, _| None)).await
    }

    async fn with(blocks: bool, shard: log::ShardOf) -> Option<Self> {
        let mut settings = settings(&testkit::service("BARRAGE_TEST_KAFKA")?, &namespace());
        settings.kafka.blocks = blocks;
        prepare(&settings).await.expect("new topics");
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        let watch = Arc::new(Watch::start(&settings, metrics.clone()).expect("it starts"));
        let stamps = Arc::new(HybridClock::new(Arc::new(SystemClock), 1_u16, 0));
        let log =
            KafkaLog::open(settings.clone(), stamps.clone(), shard, watch.clone(), metrics.clone()).expect("it opens");
        Some(Self { settings, registry, metrics, stamps, log: Arc::new(log), watch, closing: CancellationToken::new() })
    }

    fn join(&self, group: Group) -> (KafkaConsumer, Left) {
        KafkaConsumer::open(&self.settings, group, self.closing.clone(), self.metrics.clone()).expect("it opens")
    }

    /// The log of another node on the same topic.
    fn other_node(&self, blocks: bool, number: u16) -> KafkaLog {
        let mut settings = self.settings.clone();
        settings.kafka.blocks = blocks;
        let stamps = Arc::new(HybridClock::new(Arc::new(SystemClock), number, 0));
        KafkaLog::open(settings, stamps, Arc::new(|_, _| None), self.watch.clone(), self.metrics.clone())
            .expect("it opens")
    }

    /// Appends all at once, room by room, so that they wait together.
    async fn say_all(&self, rooms: &[RoomId], each: usize) {
        let words = (0..each).flat_map(|n| rooms.iter().map(move |room| (room, n)));
        let appends = words.map(|(room, n)| self.log.append(room.clone(), marked(&n.to_string())));
        let answers = futures::future::join_all(appends).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    async fn say(&self, room: &RoomId, mark: &str) -> Result<Position, AppendError> {
        self.log.append(room.clone(), marked(mark)).await
    }

    fn metric(&self, name: &str) -> Vec<i64> {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics");
        let values = text.lines().filter(|line| line.starts_with(name));
        values.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number")).collect()
    }
}

fn marked(mark: &str) -> Record {
    let user_id = UserId::new("somebody").expect("an id");
    Record::Banned { user_id, room_id: None, until_ms: 0, reason: Some(mark.to_owned()) }
}

fn comment(room: &RoomId, n: u64) -> Record {
    let comment = Comment {
        id: Snowflake(n),
        room_id: room.clone(),
        session_id: None,
        user_id: UserId::new("somebody").expect("an id"),
        username: "somebody".into(),
        level: Level::Normal,
        content: n.to_string().into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: Box::default(),
        created_at_ms: 0,
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    };
    Record::Comment { comment: Arc::new(comment), client_msg_id: None, keep: true }
}

fn mark(entry: &Entry) -> &str {
    match &entry.record {
        Record::Banned { reason: Some(mark), .. } => mark,
        Record::Comment { comment, .. } => &comment.content,
        other => panic!("not a record of these tests: {other:?}"),
    }
}

fn rooms(count: usize) -> Vec<RoomId> {
    (0..count).map(|n| RoomId::new(&format!("room-{n}")).expect("an id")).collect()
}

/// What was read, room by room, in the order of reading.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<BTreeMap<RoomId, Vec<String>>>>);

impl Read {
    fn note(&self, room: &RoomId, mark: &str) {
        self.0.lock().expect("no panic").entry(room.clone()).or_default().push(mark.to_owned());
    }

    fn of(&self, room: &RoomId) -> Vec<String> {
        self.0.lock().expect("no panic").get(room).cloned().unwrap_or_default()
    }

    fn rooms(&self) -> HashSet<RoomId> {
        self.0.lock().expect("no panic").keys().cloned().collect()
    }

    /// Reads until the log ends.
    async fn fill(self, mut consumer: impl Consumer) {
        while let Some(delivery) = consumer.next().await {
            delivery.entries().iter().for_each(|entry| self.note(&entry.room_id, mark(entry)));
            delivery.commit();
        }
    }
}

/// The first time of each, in their order.
fn without_repeats(marks: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    marks.into_iter().filter(|mark| seen.insert(mark.clone())).collect()
}

async fn until_read(read: &[&Read], room: &RoomId, last: &str) {
    let found = async || read.iter().any(|read| read.of(room).iter().any(|mark| mark == last)).then_some(());
    until(&format!("{last} of {room}"), found).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let (consumer, left) = world.join(Group::Delivery);
    log::conformance::log(world.log.clone(), Box::new(consumer)).await;
    left.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_in_blocks() {
    let _here = BROKERS.read().await;
    let Some(world) = World::in_blocks().await else { return };
    let (consumer, left) = world.join(Group::Delivery);
    log::conformance::log(world.log.clone(), Box::new(consumer)).await;
    left.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_is_few_messages_and_each_room_keeps_its_order() {
    let _here = BROKERS.read().await;
    let Some(world) = World::in_blocks().await else { return };
    let rooms = rooms(20);
    let (delivered, kept) = (Read::default(), Read::default());
    tokio::spawn(delivered.clone().fill(world.join(Group::Delivery).0));
    tokio::spawn(kept.clone().fill(world.join(Group::Persist).0));
    world.say_all(&rooms, 100).await;
    let everything: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for room in &rooms {
        until_read(&[&delivered], room, "99").await;
        until_read(&[&kept], room, "99").await;
        assert_eq!((delivered.of(room), kept.of(room)), (everything.clone(), everything.clone()), "{room}");
    }
    let messages = world.metric("barrage_kafka_messages_total")[0];
    println!("2000 records in {messages} messages");
    assert!(messages <= 400, "{messages} messages");
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_writes_blocks_and_one_that_does_not_share_each_room_s_order() {
    let _here = BROKERS.read().await;
    let Some(world) = World::in_blocks().await else { return };
    let older = world.other_node(false, 2);
    let (rooms, read) = (rooms(6), Read::default());
    tokio::spawn(read.clone().fill(world.join(Group::Delivery).0));
    // What one node was answered, the other continues, so the order of one room is that of all its records.
    for n in 0..40 {
        let log: &dyn Log = if n % 2 == 0 { &*world.log } else { &older };
        let appends = rooms.iter().map(|room| log.append(room.clone(), marked(&n.to_string())));
        assert!(futures::future::join_all(appends).await.iter().all(Result::is_ok));
    }
    for room in &rooms {
        until_read(&[&read], room, "39").await;
        assert_eq!(read.of(room), (0..40).map(|n| n.to_string()).collect::<Vec<_>>(), "{room}");
    }
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_its_reader_did_not_finish_is_read_again_as_a_whole() {
    let _here = BROKERS.read().await;
    let Some(world) = World::in_blocks().await else { return };
    let room = &rooms(1)[0];
    world.say_all(std::slice::from_ref(room), 500).await;
    let (mut dying, left) = world.join(Group::Delivery);
    let mut half = 0;
    while half < 250 {
        half += dying.next().await.expect("an open log goes on").entries().len();
    }
    // It handled them, and committed none.
    drop(dying);
    left.wait().await;
    let read = Read::default();
    tokio::spawn(read.clone().fill(world.join(Group::Delivery).0));
    until_read(&[&read], room, "499").await;
    assert_eq!(read.of(room), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_of_a_block_is_counted_and_the_rest_delivered() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let room = &rooms(1)[0];
    let bytes = |mark: &str| {
        let entry = Entry { room_id: room.clone(), position: Position { epoch: 1, offset: 7 }, record: marked(mark) };
        Logged { entry, delivered: false }.encode().expect("it has bytes")
    };
    let mut block = Block::default();
    [&bytes("before")[..], b"\xff\xff\xff", &bytes("after")].into_iter().for_each(|record| block.push(record));
    let producer: BaseProducer =
        BaseProducer::from_config(ClientConfig::new().set("bootstrap.servers", &world.settings.kafka.brokers))
            .expect("it opens");
    let topic = format!("{}.room_chat", world.settings.namespace);
    for message in [block.bytes(), b"of another program", &bytes("last")] {
        producer.send(BaseRecord::<(), _>::to(&topic).partition(0).payload(message)).expect("it is queued");
    }
    producer.flush(Duration::from_secs(30)).expect("it is written");
    for group in [Group::Delivery, Group::Persist] {
        let read = Read::default();
        tokio::spawn(read.clone().fill(world.join(group).0));
        until_read(&[&read], room, "last").await;
        assert_eq!(read.of(room), ["before", "after", "last"]);
    }
    assert_eq!(world.metric("barrage_kafka_errors_total{operation=\"decode\"}"), [4], "two, for each group");
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_topic_that_would_lose_something_is_refused_by_name() {
    let _here = BROKERS.read().await;
    let Some(brokers) = testkit::service("BARRAGE_TEST_KAFKA") else { return };
    let wanted = settings(&brokers, &namespace());
    let mut weaker = wanted.clone();
    weaker.kafka.min_insync = 1;
    prepare(&weaker).await.expect("a new topic");
    let unfit = prepare(&wanted).await.expect_err("its records may be on one broker only");
    let weak = Unfit::Weak {
        topic: format!("{}.room_chat", wanted.namespace),
        setting: "min.insync.replicas",
        found: 1,
        wanted: 2,
    };
    assert_eq!(unfit, weak);
    let mut nobody = wanted;
    nobody.kafka.brokers = "127.0.0.1:1".into();
    assert!(matches!(prepare(&nobody).await, Err(Unfit::Away(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_viewers_were_given_otherwise_is_kept_and_not_delivered_again() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let room = &rooms(1)[0];
    let (delivered, kept) = (Read::default(), Read::default());
    let (consumer, _) = world.join(Group::Delivery);
    tokio::spawn(delivered.clone().fill(consumer));
    let (consumer, _) = world.join(Group::Persist);
    tokio::spawn(kept.clone().fill(consumer));

    let position = Position { epoch: 1, offset: 77 };
    let (sender, answer) = tokio::sync::oneshot::channel();
    let done = |result| {
        sender.send(result).expect("the test listens");
        None
    };
    let entry = Entry { room_id: room.clone(), position, record: marked("from the spool") };
    world.log.submit_delivered(vec![(entry, Box::new(done))]);
    assert_eq!(answer.await, Ok(Ok(position)), "it keeps its place");
    world.say(room, "now").await.expect("it is taken");
    until_read(&[&delivered], room, "now").await;
    until_read(&[&kept], room, "now").await;
    assert_eq!(delivered.of(room), ["now"]);
    assert_eq!(kept.of(room), ["from the spool", "now"]);
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_the_rooms_and_a_third_takes_its_share_by_itself() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    a_third_member_takes_its_share(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_move_take_their_blocks_with_them() {
    let _here = BROKERS.read().await;
    let Some(world) = World::in_blocks().await else { return };
    a_third_member_takes_its_share(world).await;
}

async fn a_third_member_takes_its_share(world: World) {
    let rooms = rooms(40);
    let read: Vec<Read> = (0..3).map(|_| Read::default()).collect();
    let all: Vec<&Read> = read.iter().collect();
    let join = |n: usize| {
        let (consumer, left) = world.join(Group::Delivery);
        tokio::spawn(read[n].clone().fill(consumer));
        left
    };
    let mut left = vec![join(0), join(1)];
    let mut said = 0;
    let mut beat = async || {
        said += 1;
        let mark = said.to_string();
        let appends = rooms.iter().map(|room| world.say(room, &mark));
        assert!(futures::future::join_all(appends).await.iter().all(Result::is_ok), "they are taken");
    };
    while read[..2].iter().any(|read| read.rooms().is_empty()) {
        beat().await;
    }
    left.push(join(2));
    while read[2].rooms().is_empty() {
        beat().await;
    }
    beat().await;
    for room in &rooms {
        until_read(&all, room, &said.to_string()).await;
        let everything: Vec<_> = (1..=said).map(|n| n.to_string()).collect();
        let heard: HashSet<_> = read.iter().flat_map(|read| read.of(room)).collect();
        assert_eq!(heard, everything.iter().cloned().collect(), "{room}: nothing is skipped when it moves");
        for member in &read {
            let order: Vec<u32> = member.of(room).iter().map(|mark| mark.parse().expect("a number")).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "{room}: {order:?}");
        }
    }
    world.closing.cancel();
    for left in left {
        left.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_is_stuck_keeps_its_place_and_then_reads_everything_once() {
    const RECORDS: u64 = 30_000;
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let room = &rooms(1)[0];
    let (mut consumer, left) = world.join(Group::Persist);
    let appends = (0..RECORDS).map(|n| world.log.append(room.clone(), marked(&n.to_string())));
    for answer in futures::future::join_all(appends).await {
        answer.expect("it is taken");
    }
    until("the lag to be seen", async || {
        let lag = world.metric("barrage_kafka_lag_records{group=\"persist\"");
        (lag.iter().sum::<i64>() == RECORDS.cast_signed()).then_some(())
    })
    .await;
    let mut next = 0;
    while next < RECORDS {
        let delivery = consumer.next().await.expect("an open log goes on");
        for entry in delivery.entries() {
            assert_eq!(mark(entry), next.to_string(), "each once, in order");
            next += 1;
        }
        delivery.commit();
    }
    until("nothing to be left", async || {
        world.metric("barrage_kafka_lag_records").iter().all(|lag| *lag == 0).then_some(())
    })
    .await;
    drop(consumer);
    left.wait().await;
    assert!(world.metric("barrage_kafka_lag_records").is_empty(), "who holds nothing measures nothing");

    let (mut consumer, _) = world.join(Group::Persist);
    world.say(room, "after").await.expect("it is taken");
    let delivery = consumer.next().await.expect("an open log goes on");
    assert_eq!(delivery.entries().iter().map(mark).collect::<Vec<_>>(), ["after"], "the rest had been committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_room_is_spread_by_user_and_each_user_keeps_their_order() {
    let _here = BROKERS.read().await;
    let shard = |_: &RoomId, record: &Record| match record {
        Record::Banned { reason: Some(mark), .. } => mark.split('/').next().and_then(|user| user.parse::<u16>().ok()),
        _ => None,
    };
    let Some(world) = World::spread(Arc::new(shard)).await else { return };
    let room = &rooms(1)[0];
    let read = Read::default();
    let (consumer, _) = world.join(Group::Delivery);
    tokio::spawn(read.clone().fill(consumer));
    let appends = (0..200).flat_map(|n| (0..8).map(move |user| format!("{user}/{n}")));
    let appends: Vec<_> = appends.map(|mark| world.log.append(room.clone(), marked(&mark))).collect();
    assert!(futures::future::join_all(appends).await.iter().all(Result::is_ok));
    until("all of it", async || (read.of(room).len() == 1_600).then_some(())).await;
    for user in 0..8 {
        let own: Vec<_> = read.of(room).into_iter().filter(|mark| mark.starts_with(&format!("{user}/"))).collect();
        assert_eq!(own, (0..200).map(|n| format!("{user}/{n}")).collect::<Vec<_>>());
    }
    let partitions: HashSet<i32> = raw(&world.settings, "room_chat", 1_600).into_iter().map(|(_, _, at)| at).collect();
    assert!(partitions.len() > 1, "one room in several partitions: {partitions:?}");
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_becomes_hot_is_spread_and_gathered_again_when_it_cools_and_nothing_is_lost() {
    const USERS: u64 = 32;
    let _here = BROKERS.read().await;
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let heat = Arc::new(HotRooms::alone(HeatRules { hot_per_s: 100, shards: 8 }, metrics));
    let spread = heat.clone();
    let shard = move |room: &RoomId, record: &Record| match record {
        Record::Comment { comment, .. } => spread.shard(room, &comment.user_id),
        _ => None,
    };
    let Some(world) = World::spread(Arc::new(shard)).await else { return };
    let room = &rooms(1)[0];
    let read = Read::default();
    let (consumer, _) = world.join(Group::Delivery);
    tokio::spawn(read.clone().fill(consumer));
    // Everybody says so much at once, and what was said before is read before the next thing is said.
    let mut said = 0;
    let mut speak = async |each: u64| {
        let words = (said..said + each).flat_map(|n| (0..USERS).map(move |user| (user, n)));
        let appends: Vec<_> = words.map(|(user, n)| world.log.append(room.clone(), said_by(room, user, n))).collect();
        assert!(futures::future::join_all(appends).await.iter().all(Result::is_ok));
        said += each;
        until("all of it", async || (read.of(room).len() as u64 == said * USERS).then_some(())).await;
    };
    let beat = async |comments| {
        for _ in 0..comments {
            heat.count(room);
        }
        heat.beat(state::hot_rooms::BEAT, 0).await;
    };
    speak(4).await;
    while !heat.is_hot(room) {
        beat(200).await;
    }
    speak(20).await;
    while heat.is_hot(room) {
        beat(0).await;
    }
    speak(4).await;

    for user in 0..USERS {
        let own: Vec<_> = read.of(room).into_iter().filter(|mark| mark.starts_with(&format!("{user}/"))).collect();
        assert_eq!(own, (0..28).map(|n| format!("{user}/{n}")).collect::<Vec<_>>(), "each once, in order");
    }
    let topic = raw(&world.settings, "room_chat", 28 * USERS as usize);
    let by_key = |key: &str| topic.iter().filter(|(found, ..)| found == key).count();
    assert_eq!(by_key(room.as_str()), 8 * USERS as usize, "while it was not hot");
    let shards = (0..8).map(|shard| by_key(&format!("{room}#{shard}"))).collect::<Vec<_>>();
    assert_eq!(shards.iter().sum::<usize>(), 20 * USERS as usize, "while it was");
    assert!(shards.iter().all(|count| *count > 0), "{shards:?}");
    let partitions: HashSet<i32> = topic.iter().filter(|(key, ..)| key.contains('#')).map(|(.., at)| *at).collect();
    assert!(partitions.len() > 1, "{partitions:?}");
    world.closing.cancel();
}

fn said_by(room: &RoomId, user: u64, n: u64) -> Record {
    let Record::Comment { comment, client_msg_id, keep } = comment(room, user << 32 | n) else { unreachable!() };
    let user_id = UserId::new(&format!("user-{user}")).expect("an id");
    let content = format!("{user}/{n}").into();
    Record::Comment { comment: Arc::new(Comment { user_id, content, ..(*comment).clone() }), client_msg_id, keep }
}

/// Keys, values and partitions of a topic, read as any other program would.
fn raw(settings: &KafkaSettings, topic: &str, count: usize) -> Vec<(String, String, i32)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.kafka.brokers).set("auto.offset.reset", "earliest");
    config.set("group.id", format!("{}.somebody-else", settings.namespace));
    let consumer = BaseConsumer::from_config(&config).expect("it opens");
    consumer.subscribe(&[&format!("{}.{topic}", settings.namespace)]).expect("a topic");
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    let polled = || (Instant::now() < deadline).then(|| consumer.poll(Duration::from_millis(100)));
    let message = || std::iter::from_fn(polled).flatten().find_map(Result::ok).expect("another message");
    let read = |_| {
        let message = message();
        (text(message.key()), text(message.payload()), message.partition())
    };
    (0..count).map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_consumers_hear_json_under_the_room_and_the_user() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let outside = ExportProducer::open(world.settings.clone(), world.metrics.clone()).expect("it opens");
    let Record::Comment { comment, .. } = comment(&rooms(1)[0], 5) else { unreachable!() };
    outside.review(&comment, "pending");
    let user_id = UserId::new("ann").expect("an id");
    let body = EventBody::UserMuted { user_id: user_id.clone(), until_ms: 9, reason: None };
    let audience = Audience::Users(vec![user_id.clone()]);
    let (critical_for, room_id) = (audience.clone(), comment.room_id.clone());
    outside.notify(Some(&user_id), &Event { id: Snowflake(7), room_id, audience, critical_for, at_ms: 8, body });

    let (key, value, _) = raw(&world.settings, "comment_review", 1).remove(0);
    let told = json!({
        "id": "5", "room_id": "room-0", "user_id": "somebody", "username": "somebody", "content": "5",
        "created_at_ms": 0, "status": "pending",
    });
    assert_eq!((key.as_str(), serde_json::from_str(&value).ok()), ("room-0", Some(told)));
    let (key, value, _) = raw(&world.settings, "notifications", 1).remove(0);
    let told = json!({
        "user_id": "ann", "event_id": "7", "room_id": "room-0", "at_ms": 8, "kind": "user_muted",
        "body": {"user_id": "ann", "until_ms": 9, "reason": null},
    });
    assert_eq!((key.as_str(), serde_json::from_str(&value).ok()), ("ann", Some(told)));
}

/// Another process that reads, and writes down what it is about to commit.
struct Process(Child);

impl Process {
    fn start(namespace: &str, read: &Read) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "kafka::a_consumer_process", "--ignored", "--nocapture"]);
        let mut child = command.env("READER_OF", namespace).stdout(Stdio::piped()).spawn().expect("it starts");
        let (read, lines) = (read.clone(), BufReader::new(child.stdout.take().expect("a pipe")));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // On a machine of one core the test's name stands before the first.
                let read_there = line.split_once("read ").and_then(|(_, line)| line.split_once(' '));
                if let Some((room, mark)) = read_there {
                    read.note(&RoomId::new(room).expect("an id"), mark);
                }
            }
        });
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("ours");
        self.0.wait().expect("ours");
    }
}

#[tokio::test]
#[ignore = "a process of the test below"]
async fn a_consumer_process() {
    let Ok(namespace) = std::env::var("READER_OF") else { return };
    let brokers = testkit::service("BARRAGE_TEST_KAFKA").expect("it runs");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let (mut consumer, _left) =
        KafkaConsumer::open(&settings(&brokers, &namespace), Group::Delivery, CancellationToken::new(), metrics)
            .expect("it opens");
    while let Some(delivery) = consumer.next().await {
        let mut out = std::io::stdout().lock();
        for entry in delivery.entries() {
            writeln!(out, "read {} {}", entry.room_id, mark(entry)).expect("the test listens");
        }
        out.flush().expect("the test listens");
        drop(out);
        delivery.commit();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_process_is_killed_its_partitions_move_and_nothing_is_skipped() {
    let _here = BROKERS.read().await;
    let Some(world) = World::start().await else { return };
    let rooms = rooms(20);
    let (killed, survivor) = (Read::default(), Read::default());
    let process = Process::start(&world.settings.namespace, &killed);
    let (consumer, _) = world.join(Group::Delivery);
    tokio::spawn(survivor.clone().fill(consumer));
    let mut said = 0;
    let mut beat = async || {
        said += 1;
        for room in &rooms {
            world.say(room, &said.to_string()).await.expect("it is taken");
        }
    };
    while killed.rooms().is_empty() || survivor.rooms().is_empty() {
        beat().await;
    }
    let moving = killed.rooms();
    process.kill();
    for _ in 0..20 {
        beat().await;
    }
    let dead = Instant::now();
    for room in &rooms {
        until_read(&[&survivor], room, &said.to_string()).await;
    }
    println!("the partitions of the dead moved within {:?}", dead.elapsed());
    assert!(!moving.is_empty());
    for room in &rooms {
        let mut both = killed.of(room);
        both.extend(survivor.of(room));
        let numbers: HashSet<u32> = both.iter().map(|mark| mark.parse().expect("a number")).collect();
        assert_eq!(numbers.len(), said as usize, "{room}: some were skipped");
        let order: Vec<u32> = survivor.of(room).iter().map(|mark| mark.parse().expect("a number")).collect();
        assert!(order.is_sorted_by(|a, b| a < b), "{room}: {order:?}");
    }
    world.closing.cancel();
}

/// As `testkit::eventually`, for what takes as long as Kafka needs to notice a death, three brokers on one small machine.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Appends numbered records to a room until told to end, each until it is taken; returns how many.
async fn write(world: Arc<World>, room: RoomId, end: CancellationToken) -> (u32, u32) {
    let (mut taken, mut refused) = (0, 0);
    while !end.is_cancelled() {
        match world.say(&room, &(taken + 1).to_string()).await {
            Ok(_) => taken += 1,
            Err(_) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    (taken, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_load_costs_a_delay_and_no_record() {
    let _alone = BROKERS.write().await;
    let Some(world) = World::in_blocks().await else { return };
    let (world, rooms, read) = (Arc::new(world), rooms(12), Read::default());
    let (consumer, _) = world.join(Group::Delivery);
    tokio::spawn(read.clone().fill(consumer));
    let end = CancellationToken::new();
    let writers: HashMap<_, _> =
        rooms.iter().map(|room| (room, tokio::spawn(write(world.clone(), room.clone(), end.clone())))).collect();
    for room in &rooms {
        until_read(&[&read], room, "50").await;
    }
    let killed = testkit::kill_kafka_brokers(&[2]);
    let since = Instant::now();
    let before: Vec<usize> = rooms.iter().map(|room| read.of(room).len()).collect();
    for (room, before) in rooms.iter().zip(before) {
        until(&format!("{room} to go on"), async || (read.of(room).len() > before + 200).then_some(())).await;
    }
    println!("every room went on within {:?}", since.elapsed());
    end.cancel();
    for (room, writer) in writers {
        let (taken, refused) = writer.await.expect("a writer ends");
        until_read(&[&read], room, &taken.to_string()).await;
        let order: Vec<u32> = without_repeats(read.of(room)).iter().map(|mark| mark.parse().expect("ours")).collect();
        // What was refused may be there all the same, as the last one.
        assert_eq!(order[..taken as usize], (1..=taken).collect::<Vec<_>>(), "{room}, {refused} refused");
        println!("{room}: {taken} taken, {refused} refused");
    }
    killed.bring_back();
    until("Kafka to be well", async || (world.watch.health() == Health::Well).then_some(())).await;
    world.closing.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_brokers_appends_fail_in_time_or_go_to_the_spool_and_nobody_sees_them_twice() {
    let _alone = BROKERS.write().await;
    let Some(world) = World::in_blocks().await else { return };
    let room = &rooms(1)[0];
    let (given, kept, here) = (Read::default(), Read::default(), Read::default());
    tokio::spawn(given.clone().fill(world.join(Group::Delivery).0));
    tokio::spawn(kept.clone().fill(world.join(Group::Persist).0));
    let file = tempfile::tempdir().expect("a directory");
    let bounds = Bounds { rows_max: 1_000, bytes_max: 1_000_000 };
    let spool = Spool::open(&file.path().join("spool.sqlite"), bounds, world.metrics.clone()).expect("a file");
    let (log, consumer) = Fallback::open(world.log.clone(), spool, world.stamps.clone(), world.metrics.clone());
    tokio::spawn(here.clone().fill(consumer));
    let say = async |n| log.append(room.clone(), comment(room, n)).await.expect("it is taken");
    say(1).await;
    until_read(&[&given], room, "1").await;

    let killed = testkit::kill_kafka_brokers(&[1, 2, 3]);
    let asked = Instant::now();
    assert_eq!(world.say(room, "lost").await, Err(AppendError::Away));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    say(2).await;
    until("it to be known", async || world.log.is_away().then_some(())).await;
    let asked = Instant::now();
    assert_eq!(world.say(room, "refused").await, Err(AppendError::Away));
    for n in 3..=5 {
        say(n).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "what has no chance is not waited for");
    assert_eq!(here.of(room), ["2", "3", "4", "5"], "delivered from this node");
    assert!(log.is_spooling());

    killed.bring_back();
    until("the spool to be empty", async || (!log.is_spooling()).then_some(())).await;
    say(6).await;
    until_read(&[&given], room, "6").await;
    until_read(&[&kept], room, "6").await;
    let said = |read: &Read| without_repeats(read.of(room).into_iter().filter(|mark| mark != "lost").collect());
    assert_eq!(said(&given), ["1", "6"], "from Kafka");
    assert_eq!(said(&kept), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(here.of(room), ["2", "3", "4", "5"]);
    world.closing.cancel();
}
