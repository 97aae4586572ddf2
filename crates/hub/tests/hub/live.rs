//! Live segments over a long time: the hour they are kept, the bytes they may take, a clock that steps, a room that nobody
//! asks for. Time is advanced by hand.

use std::sync::Arc;
use std::time::Duration;

use fanout::Fanout;
use hub::{Hub, HubSettings, Opener};
use log::{Entry, Position, Record};
use model::{Code, Comment, ManualClock, Metrics, RoomId, SnowflakeGenerator};
use prometheus_client::registry::Registry;
use settings::Rooms;
use store::sqlite::SqliteStore;
use testkit::comments::comment;

const START_MS: i64 = 1_800_000_000_000;
const START: u64 = 1_800_000_000;

struct World {
    hub: Arc<Hub>,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    next: u64,
    _directory: tempfile::TempDir,
}

impl World {
    fn start(live_bytes_max: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let store = Arc::new(SqliteStore::open(&directory.path().join("store"), metrics.clone()).expect("a store"));
        let clock = Arc::new(ManualClock::at(START_MS));
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
        let settings = HubSettings {
            rooms: Rooms { window_ms_max: 0, live_bytes_max, ..Rooms::default() },
            ..HubSettings::default()
        };
        let hub = Hub::new(store, clock.clone(), ids, metrics.clone(), settings);
        Self { hub, clock, metrics, next: 1, _directory: directory }
    }

    fn say(&mut self, room: &RoomId) -> u64 {
        let id = self.next;
        self.next += 1;
        let said = Comment {
            room_id: room.clone(),
            created_at_ms: model::Clock::now_ms(&*self.clock),
            content: format!("comment {id}").into(),
            ..comment(id)
        };
        let record = Record::Comment { comment: Arc::new(said), client_msg_id: None, keep: false };
        let position = Position { epoch: 1, offset: id };
        self.hub.push(room, vec![Entry { room_id: room.clone(), position, record }]);
        id
    }

    async fn wait(&self, ms: i64) {
        self.clock.advance(ms);
        tokio::time::advance(Duration::from_millis(ms.max(0).unsigned_abs())).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    async fn under_way(&self, room: &RoomId) -> u64 {
        self.hub.live_now(room, &Opener::default()).await.expect("it is recorded").seq
    }

    /// The ids in a sealed segment, or why there is none.
    async fn segment(&self, room: &RoomId, seq: u64) -> Result<Vec<u64>, Code> {
        let segment = self.hub.live_segment(room, seq, &Opener::default()).await.map_err(|error| error.code)?;
        assert_eq!(segment.seq, seq);
        Ok(segment.comments.iter().map(|(comment, _)| comment.id.0).collect())
    }
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("an id")
}

#[tokio::test(start_paused = true)]
async fn segments_are_kept_for_an_hour() {
    let (mut world, hall) = (World::start(1 << 26), room("hall"));
    assert_eq!(world.under_way(&hall).await, START);
    let first = world.say(&hall);
    world.wait(1_000).await;
    assert_eq!(world.segment(&hall, START).await, Ok(vec![first]));
    for _ in 0..7 {
        world.wait(500_000).await;
        assert_eq!(world.segment(&hall, START).await, Ok(vec![first]));
    }
    assert_eq!(world.segment(&hall, START + 3_000).await, Ok(vec![]));
    world.wait(100_000).await;
    assert_eq!(world.segment(&hall, START).await, Err(Code::NotFound));
    assert_eq!(world.segment(&hall, START + 10).await, Ok(vec![]));
    assert_eq!(world.metrics.segments_bytes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_held_until_its_end_and_a_comment_that_waits_joins_it() {
    let (mut world, hall) = (World::start(1 << 26), room("hall"));
    assert_eq!(world.under_way(&hall).await, START);
    let (hub, asked) = (world.hub.clone(), hall.clone());
    let held = tokio::spawn(async move { hub.live_segment(&asked, START + 1, &Opener::default()).await });
    world.wait(1_500).await;
    let said = world.say(&hall);
    assert!(!held.is_finished());
    world.wait(500).await;
    let segment = held.await.expect("no panic").expect("a segment");
    assert_eq!(segment.comments.iter().map(|(comment, _)| comment.id.0).collect::<Vec<_>>(), [said]);
    assert_eq!(world.segment(&hall, START + 4).await, Err(Code::NotFound), "later than the next");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_takes_too_much_loses_its_oldest_segments_and_a_quiet_one_none() {
    let (mut world, hall, attic) = (World::start(1 << 20), room("hall"), room("attic"));
    world.under_way(&hall).await;
    world.under_way(&attic).await;
    let quiet = world.say(&attic);
    for _ in 0..30 {
        for _ in 0..150 {
            world.say(&hall);
        }
        world.wait(1_000).await;
        world.under_way(&hall).await;
        world.under_way(&attic).await;
    }
    assert!(world.metrics.segments_dropped.get() > 0);
    assert!(world.metrics.segments_bytes.get() <= 1 << 20, "{}", world.metrics.segments_bytes.get());
    assert_eq!(world.segment(&hall, START).await, Err(Code::NotFound));
    assert_eq!(world.segment(&hall, START + 29).await.map(|ids| ids.len()), Ok(150));
    assert_eq!(world.segment(&attic, START).await, Ok(vec![quiet]));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_begins_anew_and_one_that_jumps_leaves_empty_segments() {
    let (mut world, hall) = (World::start(1 << 26), room("hall"));
    world.under_way(&hall).await;
    let said = world.say(&hall);
    world.wait(60_000).await;
    assert_eq!(world.segment(&hall, START).await, Ok(vec![said]));
    assert_eq!(world.segment(&hall, START + 30).await, Ok(vec![]));
    world.clock.advance(-30_000);
    assert_eq!(world.under_way(&hall).await, START + 30);
    assert_eq!(world.segment(&hall, START).await, Err(Code::NotFound));
    let later = world.say(&hall);
    world.wait(1_000).await;
    assert_eq!(world.segment(&hall, START + 30).await, Ok(vec![later]));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_asks_for_is_recorded_no_longer() {
    let (mut world, hall) = (World::start(1 << 26), room("hall"));
    world.under_way(&hall).await;
    world.say(&hall);
    world.wait(1_000).await;
    world.under_way(&hall).await;
    assert!(world.metrics.segments_bytes.get() > 0);
    for _ in 0..70 {
        world.wait(10_000).await;
    }
    assert_eq!((world.metrics.segments_bytes.get(), world.metrics.rooms_held.get()), (0, 0));
    assert_eq!(world.under_way(&hall).await, START + 701);
    assert_eq!(world.segment(&hall, START).await, Err(Code::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_number_of_another_age_loads_no_room() {
    let world = World::start(1 << 26);
    for seq in [0, START - 3_700, START + 2, 4_102_444_800, u64::MAX] {
        assert_eq!(world.segment(&room("hall"), seq).await, Err(Code::NotFound), "{seq}");
    }
    assert_eq!(world.metrics.rooms_held.get(), 0);
}
