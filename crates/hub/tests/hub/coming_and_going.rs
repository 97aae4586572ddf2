//! Readers who join, leave and come back while comments arrive, are deleted and leave in batches: each comment is given
//! once, or counted in `omitted`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fanout::Fanout;
use hub::batch::{Batch, ConnRef, Credit, ShardInbox, ShardMessage};
use hub::{Hub, HubSettings, JoinRequest, Opener, Room, StreamId, Tap, TapMessage};
use log::{Entry, Position, Record};
use model::{
    Audience, Comment, Event, EventBody, Kind, Level, ManualClock, Metrics, RoomId, Snowflake, SnowflakeGenerator,
    Style, UserId,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use protocol::message::JoinRoom;
use settings::Rooms;
use store::sqlite::SqliteStore;

const READERS: u32 = 4;
const START_MS: i64 = 1_000_000;

fn hall() -> RoomId {
    RoomId::new("hall").expect("an id")
}

/// What a reader has been given and told, over all its visits.
#[derive(Default)]
struct Account {
    given: BTreeMap<u64, u32>,
    omitted: u64,
    /// The last comment it was given: where it comes back.
    last: Option<Snowflake>,
    /// How many comments had been published when it first came.
    since: usize,
}

impl Account {
    fn give(&mut self, comment: &Comment) {
        *self.given.entry(comment.id.0).or_default() += 1;
        self.last = Some(comment.id);
    }
}

struct Member {
    room: Arc<Room>,
    stream: StreamId,
    credit: Credit,
}

/// What a gateway's shard does with the hub's messages, without sockets.
#[derive(Default)]
struct Shard(Mutex<(HashMap<u32, Member>, HashMap<u32, Account>)>);

impl ShardInbox for Shard {
    fn send(&self, message: ShardMessage) -> bool {
        let (members, accounts) = &mut *self.0.lock();
        match message {
            ShardMessage::Joined(joined) => {
                let index = joined.conn.index;
                let account = accounts.entry(index).or_default();
                joined.history.iter().for_each(|comment| account.give(comment));
                account.omitted += joined.omitted;
                let mut credit = joined.credit;
                if let Some(before) = members.get(&index) {
                    credit.first_arrival = credit.first_arrival.max(before.credit.first_arrival);
                }
                members.insert(index, Member { room: joined.room, stream: joined.stream, credit });
            }
            ShardMessage::Batch(batch) => {
                members
                    .iter_mut()
                    .for_each(|(index, member)| deliver(&batch, member, accounts.entry(*index).or_default()));
            }
            _ => {}
        }
        true
    }

    fn load(&self) -> f32 {
        0.9 // The widest windows.
    }
}

fn deliver(batch: &Batch, member: &mut Member, account: &mut Account) {
    let Some(share) = batch.streams.iter().find(|share| share.stream == member.stream) else { return };
    let (given, omitted) = match member.credit.share(&batch.items, share, &[]) {
        Some(own) => (own.given, own.omitted),
        None => (share.kept.clone(), share.omitted),
    };
    given.iter().for_each(|i| account.give(&batch.items[*i as usize].comment));
    account.omitted += omitted;
}

/// A comment of its own text, or one of a few texts, which are merged.
fn said(id: u64, echo: bool) -> Entry {
    let content = if echo { format!("echo {}", id % 2) } else { format!("comment {id} {}", id * 7_919) };
    let comment = Comment {
        id: Snowflake(id),
        room_id: hall(),
        session_id: None,
        user_id: UserId::new("sender").expect("an id"),
        username: "sender".into(),
        level: if echo { Level::Normal } else { Level::Moderator },
        content: content.into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: START_MS,
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    };
    let record = Record::Comment { comment: Arc::new(comment), client_msg_id: None, keep: false };
    Entry { room_id: hall(), position: Position { epoch: 1, offset: id }, record }
}

fn deleted(id: u64, offset: u64) -> Entry {
    let event = Event {
        id: Snowflake(1_000_000 + offset),
        room_id: hall(),
        audience: Audience::Everyone,
        critical_for: Audience::Nobody,
        at_ms: 0,
        body: EventBody::CommentsDeleted { comment_ids: vec![Snowflake(id)] },
    };
    Entry { room_id: hall(), position: Position { epoch: 1, offset }, record: Record::Event(Arc::new(event)) }
}

struct World {
    hub: Arc<Hub>,
    shard: Arc<Shard>,
    clock: Arc<ManualClock>,
    taps: HashMap<u32, (Tap, Account)>,
    published: Vec<u64>,
    deleted: BTreeSet<u64>,
    next: u64,
    _directory: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let store = Arc::new(SqliteStore::open(&directory.path().join("store"), metrics.clone()).expect("a store"));
        let clock = Arc::new(ManualClock::at(START_MS));
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 1, None));
        let settings = HubSettings {
            rooms: Rooms { window_ms_max: 100, viewer_per_s_max: 1_000_000, ..Rooms::default() },
            ..HubSettings::default()
        };
        let hub = Hub::new(store, clock.clone(), ids, metrics, settings);
        let shard = Arc::new(Shard::default());
        hub.register_shards(vec![shard.clone()]);
        let (taps, published, deleted) = Default::default();
        Self { hub, shard, clock, taps, published, deleted, next: 1, _directory: directory }
    }

    fn publish(&mut self, n: u64, echo: bool) {
        let entries = (self.next..self.next + n).map(|id| said(id, echo)).collect();
        self.published.extend(self.next..self.next + n);
        self.next += n;
        self.hub.push(&hall(), entries);
    }

    fn delete(&mut self, back: u64) {
        let Some(&id) = self.published.iter().rev().nth(back as usize) else { return };
        self.deleted.insert(id);
        self.hub.push(&hall(), vec![deleted(id, self.next)]);
        self.next += 1;
    }

    /// Joins, or joins again when it is a member; from where it was, or without a cursor the first time.
    async fn join(&self, index: u32, max_per_s: Option<u32>, history: u32) {
        let (previous, since_id) = {
            let (members, accounts) = &mut *self.shard.0.lock();
            let account = accounts.entry(index).or_insert_with(|| Account {
                since: self.published.len(),
                last: Some(Snowflake(self.published.last().copied().unwrap_or(0))),
                ..Account::default()
            });
            (members.get(&index).map(|member| member.stream), account.last)
        };
        let options = JoinRoom { since_id, history: Some(history), max_per_s, ..JoinRoom::plain(hall()) };
        let conn = ConnRef { shard: 0, index, generation: 0 };
        self.hub
            .join(JoinRequest { conn, user: None, address: None, moderates: false, options, reference: None, previous })
            .await
            .expect("joined");
    }

    fn leave(&self, index: u32) {
        let member = self.shard.0.lock().0.remove(&index);
        if let Some(member) = member {
            member.room.leave(member.stream, 0);
        }
    }

    /// Opens an event stream, or opens it anew.
    async fn tap(&mut self, index: u32) {
        let account = self.close_tap(index).unwrap_or_else(|| Account {
            since: self.published.len(),
            last: Some(Snowflake(self.published.last().copied().unwrap_or(0))),
            ..Account::default()
        });
        let options = JoinRoom { since_id: account.last, history: Some(20), ..JoinRoom::plain(hall()) };
        let mut tap = self.hub.tap(&options, &Opener::default()).await.expect("open");
        let mut account = account;
        tap.history.drain(..).for_each(|comment| account.give(&comment));
        account.omitted += tap.omitted;
        self.taps.insert(index, (tap, account));
    }

    /// Ends an event stream after what it has been sent.
    fn close_tap(&mut self, index: u32) -> Option<Account> {
        let (mut tap, mut account) = self.taps.remove(&index)?;
        while let Ok(message) = tap.messages.try_recv() {
            if let TapMessage::Comments(batch) = message {
                batch.items().for_each(|item| account.give(&item.comment));
                account.omitted += batch.omitted;
            }
        }
        Some(account)
    }

    async fn wait(&self, ms: i64) {
        self.clock.advance(ms);
        tokio::time::advance(Duration::from_millis(ms.unsigned_abs())).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// `exact`: nothing was merged or sampled, so nothing may be counted that was also given.
    fn check(&self, who: &str, account: &Account, exact: bool) {
        let published: BTreeSet<u64> = self.published[account.since..].iter().copied().collect();
        for (id, times) in &account.given {
            assert_eq!(*times, 1, "{who} was given {id} more than once");
            assert!(published.contains(id), "{who} was given {id}, published before");
        }
        let given = account.given.len() as u64;
        let never =
            published.iter().filter(|id| self.deleted.contains(id) && !account.given.contains_key(id)).count() as u64;
        let (told, all) = (given + account.omitted, published.len() as u64);
        assert!(told + never >= all, "{who}: {given} given, {} omitted, {never} deleted, of {all}", account.omitted);
        assert!(!exact || told <= all, "{who}: {given} given, {} omitted, of {all}", account.omitted);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(u64),
    Delete(u64),
    Join(u32, u32),
    Leave(u32),
    Tap(u32),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..8u64).prop_map(Step::Publish),
        1 => (0..6u64).prop_map(Step::Delete),
        4 => (0..READERS, prop_oneof![Just(1), Just(3), Just(100)]).prop_map(|(index, history)| Step::Join(index, history)),
        3 => (0..READERS).prop_map(Step::Leave),
        1 => (0..READERS).prop_map(Step::Tap),
        5 => (0..60i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

async fn play(steps: Vec<Step>, echo: bool, max_per_s: Option<u32>) {
    let mut world = World::start();
    // What passes a room that nobody holds is in the store; these comments are not kept.
    world.hub.hold(&hall(), &Opener::default()).await.expect("held");
    for step in steps {
        match step {
            Step::Publish(n) => world.publish(n, echo),
            Step::Delete(back) => world.delete(back),
            Step::Join(index, history) => world.join(index, max_per_s, history).await,
            Step::Leave(index) => world.leave(index),
            Step::Tap(index) => world.tap(index).await,
            Step::Wait(ms) => world.wait(ms).await,
        }
    }
    world.wait(120).await;
    world.wait(600).await;
    // Who is away comes back once more.
    let away: Vec<u32> = {
        let (members, accounts) = &*world.shard.0.lock();
        accounts.keys().copied().filter(|index| !members.contains_key(index)).collect()
    };
    for index in away {
        world.join(index, max_per_s, 100).await;
    }
    let exact = !echo && max_per_s.is_none();
    for (index, account) in &world.shard.0.lock().1 {
        world.check(&format!("socket {index}"), account, exact);
    }
    for index in 0..READERS {
        if let Some(account) = world.close_tap(index) {
            world.check(&format!("event stream {index}"), &account, exact);
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_comment_is_given_once_or_counted(steps in steps(), echo: bool, sampled: bool) {
        run(play(steps, echo, sampled.then_some(5)));
    }
}

#[test]
fn the_only_reader_that_comes_back_within_a_window_misses_nothing() {
    let steps = [
        Step::Join(0, 50),
        Step::Publish(1),
        Step::Publish(4),
        Step::Leave(0),
        Step::Publish(4),
        Step::Join(0, 100),
        Step::Publish(2),
        Step::Wait(200),
    ];
    run(play(steps.to_vec(), false, None));
}

#[test]
fn a_join_s_history_has_what_was_just_published() {
    run(async {
        let mut world = World::start();
        world.join(0, None, 0).await;
        world.publish(1, false);
        world.publish(5, false);
        world.join(1, None, 50).await;
        // It came after them, and asked for what was before.
        let options = JoinRoom { history: Some(50), ..JoinRoom::plain(hall()) };
        let tap = world.hub.tap(&options, &Opener::default()).await.expect("open");
        assert_eq!(tap.history.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    });
}

/// Two viewers of different groups in a flood that leaves in batches of two or three.
#[test]
fn reader_groups_are_given_different_comments_over_time() {
    run(async {
        for groups in [2u16, 4] {
            let mut world = World::start();
            let settings = model::RoomSettings { reader_groups: groups, ..model::RoomSettings::default() };
            let settings = Record::Settings(Arc::new(settings));
            world.hub.hold(&hall(), &Opener::default()).await.expect("held");
            world.hub.push(&hall(), vec![Entry { room_id: hall(), position: Position::default(), record: settings }]);
            for index in 0..u32::from(groups) {
                world.join(index, Some(20), 0).await;
            }
            for _ in 0..160 {
                world.publish(3, false);
                world.wait(6).await;
            }
            for _ in 0..20 {
                world.wait(6).await;
            }
            let accounts = &world.shard.0.lock().1;
            let given: Vec<BTreeSet<u64>> = accounts.values().map(|it| it.given.keys().copied().collect()).collect();
            for (n, one) in given.iter().enumerate() {
                assert!((40..=50).contains(&one.len()), "a reader was given {}", one.len());
                for other in &given[n + 1..] {
                    let shared = one.intersection(other).count();
                    assert!(shared <= 4, "{shared} of {} and {} are the same", one.len(), other.len());
                }
            }
        }
    });
}
