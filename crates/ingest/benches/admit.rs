//! One comment's way in, end to end without I/O: every rule on, 50,000 words, a log that only counts.
//!
//! `cargo bench -p ingest`

// criterion's macros make public functions without documentation.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bus::{Log, Position, Submission};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::rooms::RoomRules;
use ingest::{Awaited, Bans, Ingest, Limits, Rooms, WordFilter};
use model::{Identity, Level, Metrics, RoomId, SnowflakeGenerator, SystemClock, UserId};
use prometheus_client::registry::Registry;
use protocol::message::CommentDraft;
use state::{CoolDown, MemoryGate, MemoryReservations};
use store::WordList;
use store::sqlite::SqliteStore;

const USERS: usize = 10_000;
/// Has no factor in common with the users, so that nobody repeats a text for a long time.
const TEXTS: usize = 10_007;

struct CountingLog(AtomicU64);

impl Log for CountingLog {
    fn submit(&self, run: Vec<Submission>) {
        for Submission { done, .. } in run {
            done(Ok(Position { epoch: 1, offset: self.0.fetch_add(1, Ordering::Relaxed) + 1 }));
        }
    }
}

fn ingest(dir: &std::path::Path) -> Ingest {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&dir.join("bench.sqlite"), metrics.clone()).expect("a database"));
    let log = Arc::new(CountingLog(AtomicU64::new(0)));
    let clock = Arc::new(SystemClock);
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 0, None));
    let rules = RoomRules { unopened: true, silence_ms: 1_800_000, session_ms_max: 86_400_000, rooms_max: 1_000 };
    let words = (0..50_000u32)
        .map(|n| (WordList::Mask, format!("禁{}词{n}", char::from_u32(0x4E00 + n % 20_000).unwrap_or('一'))));
    let many = 1_000_000;
    Ingest {
        rooms: Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), rules),
        bans: Bans::default(),
        awaited: Awaited::default(),
        filter: WordFilter::new(words.collect()).expect("usable words"),
        limits: Limits {
            comment_chars_max: 200,
            normal_per_s: many,
            vip_per_s: many,
            owner_per_s: many,
            room_per_s: many,
            global_per_s: many,
            likes_per_s: many,
            duplicate_window_ms: 5_000,
            cool_down: CoolDown::default(),
            mentions_max: 20,
        },
        gate: Arc::new(MemoryGate::default()),
        reservations: Arc::new(MemoryReservations::default()),
        tell_review: Arc::new(|_, _| {}),
        store,
        log,
        ids,
        clock,
        metrics,
    }
}

fn somebody(n: usize) -> Identity {
    let user_id = UserId::new(&format!("user-{n}")).expect("an id");
    Identity {
        username: user_id.as_str().into(),
        user_id,
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
    }
}

fn admit(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ingest = runtime.block_on(async { ingest(dir.path()) });
    let room = RoomId::new("bench").expect("an id");
    let people: Vec<_> = (0..USERS).map(somebody).collect();
    let texts: Vec<_> = (0..TEXTS).map(|n| format!("这个直播间真的太好看了 hello {n} 哈哈哈前排")).collect();
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("admit one comment", |b| {
        b.iter(|| {
            n += 1;
            let content = texts[n % TEXTS].clone();
            let draft = CommentDraft {
                room_id: None,
                content,
                client_msg_id: None,
                style: None,
                mentions: Vec::new(),
                session_id: None,
                offset_ms: None,
            };
            runtime.block_on(ingest.admit(&people[n % USERS], &room, draft)).expect("admitted")
        });
    });
    group.finish();
}

criterion_group!(benches, admit);
criterion_main!(benches);
