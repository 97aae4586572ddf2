//! The embedded backend under the suite, under chance, and under `kill -9`.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use model::{Comment, Metrics, Snowflake};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use store::conformance::{self, comment, positioned, room, whole};
use store::sqlite::{OpenError, SqliteStore};
use store::{CommentStore, LikeStore, MaintenanceStore, ModerationStore, ReplayQuery, Review, ReviewStatus, RoomScope};
use tempfile::TempDir;

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Arc::new(Metrics::register(&mut Registry::default())))
}

/// Opens fresh stores in one directory.
fn fresh_in(directory: &TempDir) -> impl Fn() -> SqliteStore {
    let number = AtomicU64::new(0);
    move || {
        let name = format!("{}.db", number.fetch_add(1, Ordering::Relaxed));
        open(&directory.path().join(name)).expect("a fresh store")
    }
}

/// A test for each noun, which runs the noun's suite.
macro_rules! passes_the_suites_of {
    ($($noun:ident),+) => {
        mod passes_the_suite_of {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $noun() {
                    let directory = tempfile::tempdir().expect("a directory");
                    store::conformance::$noun::suite(super::fresh_in(&directory)).await.expect("no error");
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
async fn the_parts_of_one_process_share_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let fresh = fresh_in(&directory);
    let shared = || {
        let store = Arc::new(fresh());
        vec![store.clone(), store]
    };
    conformance::chat::nodes::suite(shared).await.expect("no error");
}

/// 50 moderators with one room's queue of `QUEUE` comments (2,000; by hand 100,000): each comment is decided once, and a page
/// costs no more the longer the queue is.
#[tokio::test(flavor = "multi_thread")]
async fn many_moderators_share_a_long_queue() {
    const MODERATORS: usize = 50;
    let queue = std::env::var("QUEUE").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000_u64);
    let directory = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(&directory.path().join("queue.db")).expect("new"));
    let held = |n: u64| {
        let store = store.clone();
        async move { store.hold(&Review::pending(Arc::new(comment(Snowflake(n), "r", "u")), true), None).await }
    };
    for first in (1..=queue).step_by(1_000) {
        let some = (first..(first + 1_000).min(queue + 1)).map(held);
        join_all(some).await.into_iter().for_each(|held| assert!(held.expect("held").is_none()));
    }
    let decided = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (most, begun) = (queue.min(2_000) as usize, std::time::Instant::now());
    let moderator = |n: usize| {
        let (store, decided) = (store.clone(), decided.clone());
        async move {
            let (mut slowest, by) = (std::time::Duration::ZERO, format!("mo{n}"));
            while decided.lock().expect("sound").len() < most {
                let (of, asked) = (RoomScope::Listed(vec![room("r")]), std::time::Instant::now());
                let page = store.reviews(Some(ReviewStatus::Pending), &of, None, 100).await.expect("a page");
                slowest = slowest.max(asked.elapsed());
                if page.is_empty() {
                    break;
                }
                let free = page.iter().filter(|review| review.claimed_at(1).is_none());
                for id in free.skip(n % 20).step_by(5).map(|review| review.comment.id) {
                    if store.claim(id, &by, 1, 100).await.expect("an answer").is_some() {
                        let review = store.decide(id, ReviewStatus::Rejected, &by, 2).await.expect("an answer");
                        assert!(review.is_some(), "who has claimed it decides");
                        decided.lock().expect("sound").push(id);
                    }
                }
                tokio::task::yield_now().await;
            }
            slowest
        }
    };
    let slowest = join_all((0..MODERATORS).map(|n| tokio::spawn(moderator(n)))).await;
    let slowest = slowest.into_iter().map(|one| one.expect("no panic")).max();
    let decided = decided.lock().expect("sound").clone();
    println!("{queue} held, {} decided in {:?}, slowest page {slowest:?}", decided.len(), begun.elapsed());
    assert_eq!(decided.iter().collect::<HashSet<_>>().len(), decided.len(), "none twice");
    assert!(decided.len() >= most, "{} of {most}", decided.len());
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("barrage.db");
    let store = open(&path).expect("new");
    store.append_comments(vec![positioned(comment(Snowflake(7), "r", "u"), 3)]).await.expect("kept");
    store.like(Snowflake(7), &store::conformance::user("fan"), 1).await.expect("liked");
    drop(store);
    let store = open(&path).expect("again");
    assert_eq!(store.high_water().await.expect("read"), (3, Some(Snowflake(7))));
    assert_eq!(store.comment(Snowflake(7)).await.expect("read").expect("kept").like_count, 1);
}

#[test]
fn two_servers_cannot_share_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("barrage.db");
    let first = open(&path).expect("new");
    let refused = open(&path).err().expect("refused");
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(first);
    open(&path).expect("free again");
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("barrage.db");
    drop(open(&path).expect("new"));
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.pragma_update(None, "user_version", 99).expect("written");
    let refused = open(&path).err().expect("refused");
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("read");
    assert_eq!(version, 99);
}

#[test]
fn what_stands_in_the_way_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("nowhere/barrage.db");
    let refused = open(&missing).err().expect("refused").to_string();
    assert!(refused.contains("nowhere"), "{refused}");
    let garbage = directory.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database, however long one looks at it ".repeat(100)).expect("written");
    assert!(matches!(open(&garbage), Err(OpenError::Sqlite(_))));
}

// By chance --------------------------------------------------------------------------------------

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the offsets, deletions, bounds and page size: pages in a row are the whole, once.
    #[test]
    fn replay_pages_are_the_whole(
        offsets in prop::collection::vec((0i64..6, 0u64..3, any::<bool>()), 1..80),
        limit in 1usize..12,
        from_ms in 0i64..4,
        length_ms in 0i64..6,
        session in prop::option::of(0u64..3),
    ) {
        let directory = tempfile::tempdir()?;
        let store = open(&directory.path().join("barrage.db")).expect("new");
        let all: Vec<_> = (1u64..).zip(&offsets).map(|(n, (offset_ms, session, _))| Comment {
            offset_ms: *offset_ms,
            session_id: Some(Snowflake(session + 1)),
            // Ids in no order of time.
            ..comment(Snowflake(n * 7919 % 1009 + 1), "r", "u")
        }).collect();
        let deleted: Vec<_> = all.iter().zip(&offsets).filter(|(_, (_, _, gone))| *gone).map(|(c, _)| c.id).collect();
        let session = session.map(|session| Snowflake(session + 1));
        let to_ms = from_ms + length_ms;
        let mut expected: Vec<_> = all.iter()
            .filter(|c| !deleted.contains(&c.id) && (from_ms..to_ms).contains(&c.offset_ms))
            .filter(|c| session.is_none() || c.session_id == session)
            .map(|c| (c.offset_ms, c.id))
            .collect();
        expected.sort_unstable();
        let met = run(async {
            store.append_comments((1..).zip(all).map(|(n, c)| positioned(c, n)).collect()).await?;
            store.delete_comments(&deleted).await?;
            let mut query = ReplayQuery { session_id: session, from_ms, to_ms, ..whole("r", limit) };
            let mut met = Vec::new();
            loop {
                let page = store.replay(query.clone()).await?;
                met.extend(page.iter().map(|c| (c.offset_ms, c.id)));
                if page.len() < limit {
                    return store::Result::Ok(met);
                }
                query.after = met.last().copied();
            }
        }).expect("no error");
        prop_assert_eq!(met, expected);
    }

    /// A reader who keeps passing the last id it was given meets, in the order of publication,
    /// everything that is not deleted before it gets there.
    #[test]
    fn a_reader_who_follows_misses_nothing(
        script in prop::collection::vec((1u64..5, prop::option::of(0usize..40)), 1..20),
        limit in 1usize..7,
    ) {
        let directory = tempfile::tempdir()?;
        let store = open(&directory.path().join("barrage.db")).expect("new");
        let (met, published, deleted) = run(async {
            let (mut met, mut published, mut deleted) = (Vec::new(), Vec::<Snowflake>::new(), HashSet::new());
            for (count, delete) in script {
                let first = published.len() as u64 + 1;
                let new: Vec<_> = (first..first + count)
                    .map(|n| positioned(comment(Snowflake(n * 7919 % 10_007 + 1), "r", "u"), n))
                    .collect();
                published.extend(new.iter().map(|new| new.comment.id));
                store.append_comments(new).await?;
                if let Some(id) = delete.and_then(|n| published.get(n)) {
                    deleted.extend(store.delete_comments(&[*id]).await?.into_iter().map(|(id, _)| id));
                }
                let since = match met.last() {
                    Some(id) => store.position_of(*id).await?.expect("a place outlives the text").1,
                    None => 0,
                };
                let page = store.comments_after(&room("r"), since, limit).await?;
                met.extend(page.iter().map(|positioned| positioned.comment.id));
            }
            while met.len() < published.len() {
                let since = match met.last() {
                    Some(id) => store.position_of(*id).await?.expect("a place").1,
                    None => 0,
                };
                let page = store.comments_after(&room("r"), since, limit).await?;
                if page.is_empty() {
                    break;
                }
                met.extend(page.iter().map(|positioned| positioned.comment.id));
            }
            store::Result::Ok((met, published, deleted))
        }).expect("no error");
        let read: HashSet<_> = met.iter().collect();
        prop_assert_eq!(read.len(), met.len(), "nothing twice");
        let in_order: Vec<_> = published.iter().filter(|id| read.contains(id)).collect();
        prop_assert_eq!(met.iter().collect::<Vec<_>>(), in_order);
        for id in published.iter().filter(|id| !read.contains(id)) {
            prop_assert!(deleted.contains(id), "{} was missed", id);
        }
    }
}

// Killed -----------------------------------------------------------------------------------------

const VICTIM: &str = "BARRAGE_TEST_STORE_TO_KILL";

/// Not a test by itself: the process that [`acknowledged_survives_kill_9`] starts and kills. It
/// keeps comments from many tasks at once and prints each id once it is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let store = open(Path::new(&path)).expect("opened");
    let first = store.high_water().await.expect("read").0;
    let next = AtomicU64::new(first + 1);
    let writer = || async {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            store.append_comments(vec![positioned(comment(Snowflake(n), "r", "u"), n)]).await.expect("kept");
            writeln!(std::io::stdout(), "kept {n}").expect("a listener");
        }
    };
    join_all((0..16).map(|_| writer())).await;
}

#[tokio::test]
async fn acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("barrage.db");
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.extend(killed_while_writing(&path, rand::random_range(1..600)));
        let store = open(&path).expect("the lock of a dead process is free");
        for id in &kept {
            assert!(store.comment(*id).await.expect("read").is_some(), "{id} was acknowledged and is lost");
        }
        let position = store.high_water().await.expect("read").0;
        let newest = kept.iter().map(|id| id.0).max().expect("some were kept");
        assert!(position >= newest, "positions up to {newest} are taken, the store says {position}");
    }
}

/// Starts the victim, kills it after `lines` acknowledgements, and returns the ids that it printed.
fn killed_while_writing(path: &Path, lines: usize) -> Vec<Snowflake> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["sqlite::victim", "--exact", "--nocapture"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let printed = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut kept = Vec::new();
    for line in printed.map_while(Result::ok) {
        // Each line is one write to the pipe, so the kill cuts none in half.
        kept.extend(line.strip_prefix("kept ").and_then(|id| id.parse::<Snowflake>().ok()));
        if kept.len() == lines {
            child.kill().expect("SIGKILL");
        }
    }
    child.wait().expect("gone");
    kept
}
