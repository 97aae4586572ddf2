//! One comment's way in, end to end without I/O: 50,000 words, a log that only counts; without and with a room's rules.
//!
//! `cargo bench -p ingest --bench admit`

// criterion's macros make public functions without documentation.
#![allow(missing_docs)]

mod world;

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::moderation::Standing;
use model::room::RoomPatch;
use model::{Identity, RoomId};
use serde_json::{Value, json};
use world::{draft, ingest, somebody, texts};

const USERS: usize = 10_000;
/// Has no factor in common with the users, so that nobody repeats a text for a long time.
const TEXTS: usize = 10_007;

fn admit(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ingest = runtime.block_on(async { ingest(dir.path(), Default::default()) });
    let room = RoomId::new("bench").expect("an id");
    let people: Vec<_> = (0..USERS).map(somebody).collect();
    let texts: Vec<_> = (0..TEXTS).map(|n| format!("这个直播间真的太好看了 hello {n} 哈哈哈前排")).collect();
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("admit one comment", |b| {
        b.iter(|| {
            n += 1;
            let draft = draft(&texts[n % TEXTS]);
            runtime.block_on(ingest.admit(&people[n % USERS], &room, draft)).expect("admitted")
        });
    });
    group.finish();
}

/// People whom every rule lets speak.
fn regulars(count: usize) -> Vec<Identity> {
    let (followed_at_ms, created_at_ms, roles) = (Some(0), Some(0), Default::default());
    let standing = Arc::new(Standing { followed_at_ms, created_at_ms, verified: true, roles });
    (0..count).map(somebody).map(|who| Identity { standing: Some(standing.clone()), ..who }).collect()
}

/// The same comments in a room without rules and in one with many, said by people whom the rules let speak. What asks the store
/// (first comments, accounts without a claim) is not among them.
fn admit_under_rules(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ingest = runtime.block_on(async { ingest(dir.path(), Default::default()) });
    let (people, texts) = (regulars(USERS), texts(TEXTS));
    let rules = json!({
        "links": ["example.com"], "blocked_terms": ["hat*", "微信"], "similar": 0.8, "capitals": 0.7, "verified_only": true,
        "followers_only_s": 60, "account_age_s": 60, "level_slow_s": { "vip": 5 },
        "thresholds": { "spam": { "verdict": "hold", "score": 0.7 } },
    });
    let alone = |key: &str| json!({ key: rules[key] });
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    for (name, moderation) in
        [("off", Value::Null), ("links", alone("links")), ("similar", alone("similar")), ("rules", rules.clone())]
    {
        let room = RoomId::new(name).expect("an id");
        if moderation != Value::Null {
            let patch: RoomPatch = serde_json::from_value(json!({ "moderation": moderation })).expect("settings");
            runtime.block_on(ingest.rooms.configure(&room, patch)).expect("configured");
        }
        group.bench_function(format!("admit, {name}"), |b| {
            b.iter(|| {
                n += 1;
                let draft = draft(&texts[n % TEXTS]);
                runtime.block_on(ingest.admit(&people[n % USERS], &room, draft)).expect("admitted")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, admit, admit_under_rules);
criterion_main!(benches);
