//! A room whose last batch is still being written: its next comments wait and leave together, instead of queuing one by one
//! in the shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanout::Fanout;
use hub::batch::{Batch, ConnRef, ShardInbox, ShardMessage};
use hub::{Hub, HubSettings, JoinRequest};
use log::{Entry, Position, Record};
use model::{
    Audience, Comment, Event, EventBody, Kind, Level, Metrics, RoomId, Snowflake, SnowflakeGenerator, Style,
    SystemClock, UserId,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use protocol::message::JoinRoom;
use settings::Rooms;
use store::sqlite::SqliteStore;

/// Batches that the hub sent and no socket has yet.
#[derive(Default)]
struct Queue(Mutex<Vec<Arc<Batch>>>);

impl ShardInbox for Queue {
    fn send(&self, message: ShardMessage) -> bool {
        if let ShardMessage::Batch(batch) = message {
            self.0.lock().push(batch);
        }
        true
    }

    fn load(&self) -> f32 {
        0.0
    }
}

impl Queue {
    /// The comments of each batch.
    fn batches(&self) -> Vec<Vec<u64>> {
        let ids = |batch: &Arc<Batch>| batch.items.iter().map(|item| item.comment.id.0).collect();
        self.0.lock().iter().map(ids).collect()
    }

    /// The shard has written all of them.
    fn deliver(&self) {
        self.0.lock().clear();
    }

    async fn wait_for_batch(&self) -> Vec<Vec<u64>> {
        let patience = Instant::now() + Duration::from_secs(20);
        while self.0.lock().is_empty() {
            assert!(Instant::now() < patience, "no batch was sent");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.batches()
    }
}

fn room() -> RoomId {
    RoomId::new("hall").expect("an id")
}

fn said(id: u64) -> Entry {
    let comment = Comment {
        id: Snowflake(id),
        room_id: room(),
        session_id: None,
        user_id: UserId::new("sender").expect("an id"),
        username: "sender".into(),
        level: Level::Moderator,
        content: format!("comment {id}").into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: 0,
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    };
    let record = Record::Comment { comment: Arc::new(comment), client_msg_id: None, keep: false };
    Entry { room_id: room(), position: Position { epoch: 1, offset: id }, record }
}

fn deleted(id: u64, offset: u64) -> Entry {
    let event = Event {
        id: Snowflake(1_000_000 + id),
        room_id: room(),
        audience: Audience::Everyone,
        critical_for: Audience::Nobody,
        at_ms: 0,
        body: EventBody::CommentsDeleted { comment_ids: vec![Snowflake(id)] },
    };
    Entry { room_id: room(), position: Position { epoch: 1, offset }, record: Record::Event(Arc::new(event)) }
}

/// A hub whose windows are closed at once, so that nothing waits but for the batch in flight; and the shard of its one viewer.
async fn hub(directory: &std::path::Path) -> (Arc<Hub>, Arc<Queue>) {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&directory.join("store"), metrics.clone()).expect("a store"));
    let clock = Arc::new(SystemClock);
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
    let settings = HubSettings {
        rooms: Rooms { window_ms_max: 0, viewer_per_s_max: 1_000_000, ..Rooms::default() },
        reread_ms: 5_000,
        ..HubSettings::default()
    };
    let (hub, queue) = (Hub::new(store, clock, ids, metrics, settings), Arc::new(Queue::default()));
    hub.register_shards(vec![queue.clone()]);
    let request = JoinRequest {
        conn: ConnRef { shard: 0, index: 0, generation: 0 },
        user: None,
        address: None,
        moderates: false,
        options: JoinRoom::plain(room()),
        reference: None,
        previous: None,
    };
    hub.join(request).await.expect("joined");
    (hub, queue)
}

#[tokio::test]
async fn comments_during_a_delivery_leave_together_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hub, queue) = hub(directory.path()).await;
    hub.push(&room(), vec![said(1)]);
    assert_eq!(queue.batches(), [[1]], "nothing is in flight");
    hub.push(&room(), vec![said(2)]);
    hub.push(&room(), vec![said(3)]);
    assert_eq!(queue.batches(), [[1]]);
    queue.deliver();
    assert_eq!(queue.wait_for_batch().await, [[2, 3]]);
}

#[tokio::test]
async fn an_event_waits_for_nothing_and_takes_along_what_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hub, queue) = hub(directory.path()).await;
    hub.push(&room(), vec![said(1)]);
    hub.push(&room(), vec![said(2)]);
    hub.push(&room(), vec![deleted(1, 3)]);
    assert_eq!(queue.batches(), [[1], [2]]);
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hub, queue) = hub(directory.path()).await;
    hub.push(&room(), vec![said(1)]);
    for id in 2..=101 {
        hub.push(&room(), vec![said(id)]);
    }
    assert_eq!(queue.batches(), [vec![1], (2..=101).collect()]);
}

#[tokio::test]
async fn a_shard_that_never_gets_through_holds_nothing_up_for_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hub, queue) = hub(directory.path()).await;
    hub.push(&room(), vec![said(1)]);
    let stuck = queue.0.lock().pop();
    hub.push(&room(), vec![said(2)]);
    assert_eq!(queue.wait_for_batch().await, [[2]]);
    drop(stuck);
}
