//! What the benchmarks share: rules with a log that only counts, people, and texts that are like no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::{AccessChanges, Bans, Ingest, KeyFiles, PendingEventUsers, Rooms, Screening, Tokens, WordFilter};
use log::{Log, Position, Submission};
use model::{Identity, Level, Metrics, SnowflakeGenerator, SystemClock, UserId};
use prometheus_client::registry::Registry;
use protocol::message::CommentDraft;
use state::{MemoryRateLimiter, MemoryReservations};
use store::WordList;
use store::sqlite::SqliteStore;

struct CountingLog(AtomicU64);

impl Log for CountingLog {
    fn submit(&self, run: Vec<Submission>) {
        for Submission { done, .. } in run {
            done(Ok(Position { epoch: 1, offset: self.0.fetch_add(1, Ordering::Relaxed) + 1 }));
        }
    }
}

/// The rules, with 50,000 words, in a fresh database.
pub fn ingest(dir: &std::path::Path, screening: Screening) -> Ingest {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&dir.join("bench.sqlite"), metrics.clone()).expect("a database"));
    let log = Arc::new(CountingLog(AtomicU64::new(0)));
    let clock = Arc::new(SystemClock);
    let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), 0, None));
    let rules = settings::Rooms { held_max: 1_000, ..Default::default() };
    let words = (0..50_000u32)
        .map(|n| (WordList::Mask, format!("禁{}词{n}", char::from_u32(0x4E00 + n % 20_000).unwrap_or('一'))));
    let many = 1_000_000;
    Ingest {
        rooms: Rooms::new(store.clone(), log.clone(), ids.clone(), clock.clone(), rules),
        access_changes: AccessChanges::default(),
        tokens: Arc::new(Tokens::new(None, KeyFiles::default()).expect("no files")),
        bans: Bans::default(),
        delays: Default::default(),
        people: Default::default(),
        screening,
        raids: ingest::Raids::new().0,
        interactions: Default::default(),
        webhooks: ingest::Webhooks::idle(store.clone(), ids.clone(), clock.clone(), metrics.clone()),
        webhooks_allow_private: false,
        erasure_requested: Default::default(),
        pending_event_users: PendingEventUsers::default(),
        filter: WordFilter::new(words.collect()).expect("usable words"),
        limits: settings::Limits {
            normal_per_s: many,
            vip_per_s: many,
            owner_per_s: many,
            room_per_s: many,
            global_per_s: many,
            likes_per_s: many,
            ..Default::default()
        },
        anonymous_read: false,
        rate_limiter: Arc::new(MemoryRateLimiter::default()),
        reservations: Arc::new(MemoryReservations::default()),
        review_listener: Arc::new(|_, _| {}),
        store,
        log,
        ids,
        clock,
        metrics,
    }
}

/// Somebody whom nothing is known of.
pub fn somebody(n: usize) -> Identity {
    let user_id = UserId::new(&format!("user-{n}")).expect("an id");
    Identity {
        username: user_id.as_str().into(),
        user_id,
        level: Level::Normal,
        rooms: None,
        expires_at_ms: None,
        issued_at_ms: 0,
        standing: None,
    }
}

/// Texts of 20 letters by chance.
pub fn texts(count: usize) -> Vec<String> {
    let mut chance = 7_u64;
    let mut letter = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_u32(0x4E00 + (chance >> 40) as u32 % 20_000).unwrap_or('一')
    };
    (0..count).map(|_| (0..20).map(|_| letter()).collect()).collect()
}

/// A comment to be said live.
pub fn draft(content: &str) -> CommentDraft {
    CommentDraft {
        room_id: None,
        content: content.to_owned(),
        client_msg_id: None,
        style: None,
        mentions: Vec::new(),
        session_id: None,
        offset_ms: None,
        address: None,
    }
}
