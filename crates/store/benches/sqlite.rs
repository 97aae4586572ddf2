//! Durable commits: long runs from one task, and single comments from many at once, which share
//! commits. Every append waits for its fsync; the file is on the disk of the temporary directory.

#![allow(missing_docs)] // What the macros make has none.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use model::{Comment, Metrics, RoomId, Snowflake, UserId};
use prometheus_client::registry::Registry;
use store::conformance::comment;
use store::sqlite::SqliteStore;
use store::{CommentStore, NewComment};

/// A live room: ids and positions rise, 10,000 viewers talk in turn, one in two clients names its
/// comments.
fn said(n: u64) -> NewComment {
    let comment = Comment {
        user_id: UserId::new(&format!("user-{}", n * 7919 % 10_000)).expect("an id"),
        session_id: Some(Snowflake(1)),
        offset_ms: (n / 10).cast_signed(),
        content: "主播今天唱得真好听 hello from the crowd".into(),
        ..comment(Snowflake(n << 12), "room", "u")
    };
    let client_msg_id = n.is_multiple_of(2).then(|| format!("{n:032x}").into());
    NewComment { comment: Arc::new(comment), position: n, client_msg_id }
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = SqliteStore::open(&directory.path().join("barrage.db"), metrics).expect("new");
    let next = AtomicU64::new(1);
    let run = |length: u64| {
        let first = next.fetch_add(length, Ordering::Relaxed);
        (first..first + length).map(said).collect::<Vec<_>>()
    };

    let mut group = criterion.benchmark_group("append");
    for length in [1, 100, 1_000, 2_000] {
        group.throughput(Throughput::Elements(length));
        group.bench_function(format!("runs of {length}"), |bencher| {
            let append = |run| runtime.block_on(store.append_comments(run)).expect("kept");
            bencher.iter_batched(|| run(length), append, BatchSize::PerIteration);
        });
    }
    for tasks in [16, 256, 4_096] {
        group.throughput(Throughput::Elements(tasks));
        group.bench_function(format!("single comments from {tasks} tasks"), |bencher| {
            let append = |runs: Vec<Vec<NewComment>>| {
                let appends = join_all(runs.into_iter().map(|run| store.append_comments(run)));
                runtime.block_on(appends).into_iter().for_each(|kept| drop(kept.expect("kept")));
            };
            bencher.iter_batched(|| (0..tasks).map(|_| run(1)).collect(), append, BatchSize::PerIteration);
        });
    }
    group.finish();

    let room = RoomId::new("room").expect("an id");
    criterion.bench_function("the latest 50", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(store.latest_comments(&room, 50)).expect("read")));
    });
}

criterion_group!(sqlite, benches);
criterion_main!(sqlite);
