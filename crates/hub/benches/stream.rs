//! What one stream does with one batch of a hundred comments, and what the ring does with one.

#![allow(missing_docs)] // What criterion's macros make.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hub::budget::Budget;
use hub::merge::{MergeInput, merge};
use hub::ring::Ring;
use hub::select::{Candidate, Class, belongs, counts, salt, select};
use model::{Comment, Kind, Level, RoomId, Snowflake, Style, UserId};
use worker::hot::HotComments;

const BATCH: u64 = 100;

fn comment(id: u64, level: Level) -> Arc<Comment> {
    Arc::new(Comment {
        id: Snowflake(id),
        room_id: RoomId::new("room").expect("an id"),
        session_id: None,
        user_id: UserId::new("user").expect("an id"),
        username: "user".into(),
        level,
        content: "哈哈哈哈".into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: 0,
        offset_ms: 0,
        like_count: id % 50,
        shadow: false,
    })
}

/// A third say something that others say too; three in forty are above normal.
fn batch() -> Vec<MergeInput> {
    let said = |id: u64| {
        let level = match id % 40 {
            0 => Level::Owner,
            1 => Level::Moderator,
            2 => Level::Vip,
            _ => Level::Normal,
        };
        let key = if id.is_multiple_of(3) { id % 7 } else { id * 1_000_003 };
        MergeInput { comment: comment(id, level), key: Some(key), arrival: id }
    };
    (1..=BATCH).map(said).collect()
}

fn stream(c: &mut Criterion) {
    let batch = batch();
    let candidates = || {
        let candidate =
            |comment: &Arc<Comment>| Candidate { class: Class::of(comment.level), own: belongs(comment.id, 1, 4) };
        merge(&batch).kept.iter().map(|kept| candidate(&kept.comment)).collect::<Vec<_>>()
    };
    let kept = candidates();
    let allowed = Budget::new(20, 0).spend(0, counts(&kept));
    let mut group = c.benchmark_group("stream, batch of 100");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("merge", |b| b.iter(|| black_box(merge(&batch))));
    group.bench_function("select 20", |b| {
        let mut sequence = 0;
        b.iter(|| {
            sequence += 1;
            black_box(select(&kept, allowed, salt(sequence, 1, 4)))
        });
    });
    group.bench_function("merge, take from the budget, select", |b| {
        let (mut budget, mut now_ms) = (Budget::new(200, 0), 0);
        b.iter(|| {
            now_ms += 50;
            let kept = candidates();
            let allowed = budget.spend(now_ms, counts(&kept));
            black_box(select(&kept, allowed, salt(now_ms.unsigned_abs(), 1, 4)))
        });
    });
    group.finish();
}

fn room(c: &mut Criterion) {
    let mut group = c.benchmark_group("room");
    group.bench_function("ring: push into a full ring of 500", |b| {
        let mut ring = Ring::new(500, 0);
        let mut id = 0;
        b.iter_batched(
            || {
                id += 1;
                comment(id, Level::Normal)
            },
            |comment| ring.push(comment.id.0, comment),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("ring: the newest 50 for a join", |b| {
        let mut ring = Ring::new(500, 0);
        (1..=500).for_each(|id| assert!(ring.push(id, comment(id, Level::Normal))));
        b.iter(|| black_box(ring.newest(50)));
    });
    group.bench_function("hot comments: a like, 100 shown", |b| {
        let mut hot = HotComments::new(100);
        let comments: Vec<_> = (1..5_000).map(|id| comment(id, Level::Normal)).collect();
        let mut next = comments.iter().cycle();
        b.iter(|| hot.liked(next.next().expect("a cycle").clone()));
    });
    group.finish();
}

criterion_group!(benches, stream, room);
criterion_main!(benches);
