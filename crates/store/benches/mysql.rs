//! Chat on the backend of many nodes: what a commit of messages costs, one node alone and two at once, which wait for
//! each other; read marks; what a device asks when it comes back. Needs `scripts/services up mysql`, whose server
//! syncs every commit.

#![allow(missing_docs)] // What the macros make has none.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use model::chat::{ConversationId, MsgType, Recipient};
use model::clock::{Clock, SystemClock};
use model::{Metrics, Snowflake, UserId};
use prometheus_client::registry::Registry;
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
use store::chat::{ChatStore, NewMessage, SyncQuery};
use store::mysql::MySqlStore;
use tokio::runtime::Runtime;

/// People who write to each other.
const PEOPLE: u64 = 1_000;

fn person(n: u64) -> UserId {
    UserId::new(&format!("user-{}", n % PEOPLE)).expect("an id")
}

/// One of 1,000 people writes to the next.
fn said(n: u64) -> NewMessage {
    NewMessage {
        id: Snowflake(n << 22),
        conversation_id: ConversationId(Snowflake((n << 22) + 1)),
        client_msg_id: format!("{n:032x}").into(),
        from_user: person(n),
        from_name: "somebody".into(),
        to: Recipient::User(person(n + 1)),
        content: "晚上一起看直播吗 shall we watch it together tonight".into(),
        msg_type: MsgType::Text,
        created_at_ms: SystemClock.now_ms(),
        outbox: false,
        reply_to: None,
        uploads: Vec::new(),
    }
}

/// Two nodes on a database of their own.
async fn nodes(url: &str) -> Vec<MySqlStore> {
    let name = format!("bench_{}", SystemClock.now_ms());
    let pool = MySqlPool::connect(url).await.expect("it runs");
    pool.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
    let (server, _) = url.rsplit_once('/').expect("an address");
    let url = format!("{server}/{name}");
    let metrics = || Arc::new(Metrics::register(&mut Registry::default()));
    join_all((0..2).map(|_| MySqlStore::open(&url, SystemClock.now_ms(), metrics())))
        .await
        .into_iter()
        .map(|store| store.expect("it opens"))
        .collect()
}

fn benches(criterion: &mut Criterion) {
    let Some(url) = testkit::service("BARRAGE_TEST_MYSQL") else { return };
    let runtime = Runtime::new().expect("a runtime");
    let nodes = runtime.block_on(nodes(&url));
    let next = AtomicU64::new(1);
    let run = |length: u64| {
        let first = next.fetch_add(length, Ordering::Relaxed);
        (first..first + length).map(said).collect::<Vec<_>>()
    };
    // All conversations are there before.
    runtime.block_on(nodes[0].append_messages(run(PEOPLE))).expect("kept");

    let mut group = criterion.benchmark_group("chat on mysql");
    group.sample_size(20);
    for writers in [1, 2] {
        for length in [1, 16, 512] {
            group.throughput(Throughput::Elements(length * writers as u64));
            group.bench_function(format!("runs of {length}, {writers} at once"), |bencher| {
                let append = |runs: Vec<Vec<NewMessage>>| {
                    let appends = nodes.iter().zip(runs).map(|(node, run)| node.append_messages(run));
                    runtime.block_on(join_all(appends)).into_iter().for_each(|kept| drop(kept.expect("kept")));
                };
                bencher.iter_batched(|| (0..writers).map(|_| run(length)).collect(), append, BatchSize::PerIteration);
            });
        }
    }
    group.throughput(Throughput::Elements(16));
    group.bench_function("read marks, 8 at each of 2 nodes", |bencher| {
        let sent = || {
            let run = run(16);
            let marks: Vec<_> = run.iter().map(|new| (person(new.id.0 / (1 << 22) + 1), new.id)).collect();
            runtime.block_on(nodes[0].append_messages(run)).expect("kept");
            marks
        };
        let mark = |marks: Vec<(UserId, Snowflake)>| {
            let marked = nodes.iter().cycle().zip(&marks).map(|(node, (user, id))| node.mark_read(user, *id, 0));
            runtime.block_on(join_all(marked)).into_iter().for_each(|marked| drop(marked.expect("kept")));
        };
        bencher.iter_batched(sent, mark, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(1));
    let whole = SyncQuery { user: person(7), since: None, since_change: Some(0), not_before_ms: 0, limit: 1_000_000 };
    let newest = runtime.block_on(nodes[0].sync(whole.clone())).expect("read");
    let first = SyncQuery { since_change: Some(newest.latest_change), limit: 100, ..whole };
    let nothing = SyncQuery { since: newest.latest_id, ..first.clone() };
    for (name, query) in [("nothing new", nothing), ("a page of 100", first)] {
        group.bench_function(format!("sync: {name}"), |bencher| {
            bencher.iter(|| black_box(runtime.block_on(nodes[0].sync(query.clone())).expect("read")));
        });
    }
    group.finish();
}

criterion_group!(mysql, benches);
criterion_main!(mysql);
