//! The backend of many nodes under the suite, and with several nodes on one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use model::clock::{Clock, SystemClock};
use model::{Metrics, Session, Snowflake};
use prometheus_client::registry::Registry;
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
use store::conformance::{self, comment, positioned, room, user, whole};
use store::mysql::MySqlStore;
use store::{CommentStore, MaintenanceStore, NewComment, RoomStore};

/// The server's address without a database; `None` when it does not run.
fn server() -> Option<String> {
    let url = testkit::service("BARRAGE_TEST_MYSQL")?;
    url.rsplit_once('/').map(|(server, _)| server.to_owned())
}

/// A database of its own.
async fn fresh(server: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{}_{number}", std::process::id(), SystemClock.now_ms());
    let pool = MySqlPool::connect(&format!("{server}/barrage")).await.expect("it runs");
    pool.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
    pool.close().await;
    format!("{server}/{name}")
}

/// A store in a database of its own.
fn new(server: &str) -> MySqlStore {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(async { open(&fresh(server).await).await }))
}

async fn open(url: &str) -> MySqlStore {
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    MySqlStore::open(url, SystemClock.now_ms(), metrics).await.expect("it opens")
}

/// A test for each noun, which runs the noun's suite.
macro_rules! passes_the_suites_of {
    ($($noun:ident),+) => {
        mod passes_the_suite_of {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $noun() {
                    let Some(server) = super::server() else { return };
                    store::conformance::$noun::suite(|| super::new(&server)).await.expect("no error");
                }
            )+
        }
    };
}

passes_the_suites_of!(
    archive,
    comments,
    rooms,
    scores,
    likes,
    moderation,
    events,
    chat,
    keys,
    uploads,
    documents,
    samples,
    notes,
    maintenance,
    erasure
);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_chat() {
    let Some(server) = server() else { return };
    let runtime = tokio::runtime::Handle::current();
    let nodes = async || {
        let url = fresh(&server).await;
        join_all((0..2).map(|_| open(&url))).await.into_iter().map(Arc::new).collect()
    };
    let nodes = || tokio::task::block_in_place(|| runtime.block_on(nodes()));
    conformance::chat::nodes::suite(nodes).await.expect("no error");
    conformance::chat::nodes::a_call_of_the_hook_is_made_by_one_node(&nodes()).await.expect("no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_open_at_once_find_one_schema() {
    let Some(server) = server() else { return };
    let url = fresh(&server).await;
    let nodes = join_all((0..4).map(|_| open(&url))).await;
    nodes[0].append_comments(vec![positioned(comment(Snowflake(7), "r", "u"), 3)]).await.expect("kept");
    for node in &nodes {
        assert_eq!(node.high_water().await.expect("read"), (3, Some(Snowflake(7))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_write_the_same_room_lose_and_repeat_nothing() {
    let Some(server) = server() else { return };
    let url = fresh(&server).await;
    let nodes: Vec<_> = join_all((0..3).map(|_| open(&url))).await.into_iter().map(Arc::new).collect();
    let now_ms = SystemClock.now_ms();
    let session = |n| Session {
        id: Snowflake(1_000_000 + n),
        room_id: room("r"),
        started_at_ms: now_ms,
        ended_at_ms: None,
        explicit: false,
    };
    let started = join_all(nodes.iter().zip(0u64..).map(|(node, n)| {
        let session = session(n);
        async move { node.start_session(&session).await.expect("an answer").expect("a session").id }
    }))
    .await;
    assert!(started.iter().all(|id| *id == started[0]), "one session is on, and all learn which");

    // Each comment comes from two nodes, as when a run is repeated elsewhere after a crash.
    let run = |node: u64, n: u64| -> Vec<NewComment> {
        let ids = (0..50).map(|i| (node % 3) * 10_000 + n * 50 + i + 1);
        let said = |id: u64| store::conformance::comment(Snowflake(id), "r", "u");
        ids.map(|id| NewComment {
            client_msg_id: Some(format!("m{id}").into()),
            ..positioned(model::Comment { session_id: Some(started[0]), ..said(id) }, id)
        })
        .collect()
    };
    let writers = nodes.iter().zip(0u64..).flat_map(|(node, at)| {
        [at, at + 1].map(|whose| {
            let node = node.clone();
            async move {
                for n in 0..10 {
                    node.append_comments(run(whose, n)).await.expect("kept");
                }
            }
        })
    });
    join_all(writers).await;
    assert_eq!(nodes[0].replay(whole("r", 10_000)).await.expect("read").len(), 1_500);
    assert_eq!(nodes[1].sessions(&room("r"), 1).await.expect("read")[0].comment_count, 1_500);
    assert!(nodes[2].first_answer(&user("u"), "m1").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn months_come_and_go_as_partitions() {
    let Some(server) = server() else { return };
    let url = fresh(&server).await;
    let store = open(&url).await;
    let pool = MySqlPool::connect(&url).await.expect("it runs");
    let names = async || -> Vec<String> {
        let sql = "SELECT partition_name FROM information_schema.partitions
             WHERE table_schema = DATABASE() AND table_name = 'comments' ORDER BY partition_ordinal_position";
        sqlx::query_scalar(sql).fetch_all(&pool).await.expect("names")
    };
    let before = names().await;
    assert_eq!((before.len(), before.last().map(String::as_str)), (5, Some("p_rest")));
    let half_a_year_on = SystemClock.now_ms() + 183 * 86_400_000;
    store.expire(half_a_year_on, 7, 7, 100).await.expect("expired");
    let after = names().await;
    assert_eq!((after.len(), after.last().map(String::as_str)), (5, Some("p_rest")), "{after:?}");
    assert!(after[0] > before[3], "the empty ones are gone: {before:?}, {after:?}");
}
