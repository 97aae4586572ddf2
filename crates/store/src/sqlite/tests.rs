//! What only this backend promises: how it groups writes, what a failure affects, and that an index serves every frequent
//! query.

use std::pin::Pin;

use futures::poll;
use model::{Comment, Snowflake};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::conformance::{comment, positioned, room, user};
use crate::{AuditQuery, CommentStore, MaintenanceStore, RoomScope};

/// A store in a directory of its own, which goes when the test ends.
fn fresh() -> (TempDir, SqliteStore) {
    let directory = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = SqliteStore::open(&directory.path().join("barrage.db"), metrics).expect("new");
    (directory, store)
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Blocks the writer until the sender is used, so that writes submitted meanwhile form one group.
/// Returns the sender and the writer's answer.
async fn hold_the_writer(store: &SqliteStore) -> (std::sync::mpsc::Sender<()>, Pending<'_, ()>) {
    let (busy, is_busy) = oneshot::channel();
    let (go_on, released) = std::sync::mpsc::channel();
    let mut held: Pending<'_, ()> = Box::pin(store.write("hold", move |_| {
        let _ = busy.send(());
        let _ = released.recv();
        Ok(())
    }));
    assert!(poll!(&mut held).is_pending());
    is_busy.await.expect("the writer has begun");
    (go_on, held)
}

fn append(store: &SqliteStore, n: u64) -> Pending<'_, Vec<model::Repeat>> {
    Box::pin(store.append_comments(vec![positioned(comment(Snowflake(n), "r", "u"), n)]))
}

async fn kept(store: &SqliteStore) -> Vec<u64> {
    let found = store.comments_after(&room("r"), 0, 100_000).await.expect("read");
    found.iter().map(|positioned| positioned.position).collect()
}

#[tokio::test]
async fn a_failing_write_harms_no_other_of_its_group() {
    let (_directory, store) = fresh();
    let (go_on, held) = hold_the_writer(&store).await;
    let (mut first, mut last) = (append(&store, 1), append(&store, 3));
    let mut failing: Pending<'_, ()> = Box::pin(store.write("failing", |db| {
        comments::append(db, &[positioned(comment(Snowflake(2), "r", "u"), 2)])?;
        db.execute_batch("SELECT nonsense")
    }));
    assert!(poll!(&mut first).is_pending() && poll!(&mut failing).is_pending() && poll!(&mut last).is_pending());
    go_on.send(()).expect("the writer waits");
    held.await.expect("held");
    first.await.expect("kept");
    last.await.expect("kept");
    let error = failing.await.expect_err("nonsense");
    assert!(error.to_string().contains("nonsense"), "{error}");
    assert_eq!(kept(&store).await, [1, 3]);
}

#[tokio::test]
async fn a_write_that_fails_alone_leaves_nothing() {
    let (_directory, store) = fresh();
    let failing = store.write("failing", |db| {
        comments::append(db, &[positioned(comment(Snowflake(1), "r", "u"), 1)])?;
        db.execute_batch("SELECT nonsense")
    });
    failing.await.expect_err("nonsense");
    append(&store, 2).await.expect("the writer goes on");
    assert_eq!(kept(&store).await, [2]);
}

#[tokio::test]
async fn a_panic_is_the_loss_of_its_caller_alone() {
    let (_directory, store) = fresh();
    let panicking = || {
        Box::pin(store.write("panicking", |db| -> rusqlite::Result<()> {
            comments::append(db, &[positioned(comment(Snowflake(1), "r", "u"), 1)])?;
            panic!("on purpose")
        })) as Pending<'_, ()>
    };
    panicking().await.expect_err("it was alone in its transaction");

    let (go_on, held) = hold_the_writer(&store).await;
    let (mut first, mut amid, mut last) = (append(&store, 2), panicking(), append(&store, 3));
    assert!(poll!(&mut first).is_pending() && poll!(&mut amid).is_pending() && poll!(&mut last).is_pending());
    go_on.send(()).expect("the writer waits");
    held.await.expect("held");
    first.await.expect("kept");
    last.await.expect("kept");
    amid.await.expect_err("it was one of a group");

    let read = store.read("panicking", |_| -> rusqlite::Result<()> { panic!("on purpose") });
    read.await.expect_err("a read as well");
    assert_eq!(kept(&store).await, [2, 3]);
}

#[tokio::test]
async fn a_failing_commit_keeps_nothing_of_its_group_and_the_next_goes_on() {
    let (_directory, store) = fresh();
    let (go_on, held) = hold_the_writer(&store).await;
    let mut innocent = append(&store, 1);
    // A like without its comment, looked at only by COMMIT.
    let mut breaking: Pending<'_, ()> = Box::pin(store.write("breaking", |db| {
        db.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO likes VALUES (404, 'u', 0)")
    }));
    assert!(poll!(&mut innocent).is_pending() && poll!(&mut breaking).is_pending());
    go_on.send(()).expect("the writer waits");
    held.await.expect("committed before");
    innocent.await.expect_err("it was of the same commit");
    breaking.await.expect_err("it broke the commit");
    assert!(kept(&store).await.is_empty());
    assert!(store.writer.is_failing());
    store.probe().await.expect("the disk takes writes");
    assert!(!store.writer.is_failing());
    append(&store, 2).await.expect("the writer goes on");
    assert_eq!(kept(&store).await, [2]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_again() {
    let (_directory, store) = fresh();
    let (go_on, held) = hold_the_writer(&store).await;
    let mut waiting = Vec::new();
    let refused = loop {
        let mut next = append(&store, waiting.len() as u64 + 1);
        match poll!(&mut next) {
            std::task::Poll::Pending => waiting.push(next),
            std::task::Poll::Ready(answer) => break answer,
        }
        assert!(waiting.len() < 100_000, "the queue has no end");
    };
    refused.expect_err("there is no room");
    go_on.send(()).expect("the writer waits");
    held.await.expect("held");
    let asked = waiting.len();
    for write in waiting {
        write.await.expect("what was taken is kept");
    }
    assert_eq!(kept(&store).await.len(), asked);
    append(&store, 1_000_000).await.expect("there is room again");
}

#[tokio::test]
async fn a_full_disk_is_an_error_until_there_is_space() {
    let (_directory, store) = fresh();
    let long = |n| Comment { content: "长".repeat(200).into(), ..comment(Snowflake(n), "r", "u") };
    let run = |from: u64| (from..from + 100).map(|n| positioned(long(n), n)).collect::<Vec<_>>();
    let limit = |pages: u32| {
        store.write("limit", move |db| db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())))
    };
    limit(80).await.expect("limited");
    let mut acknowledged = 0;
    let error = loop {
        match store.append_comments(run(acknowledged + 1)).await {
            Ok(_) => acknowledged += 100,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "80 pages are full at some time");
    };
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(kept(&store).await.len() as u64, acknowledged, "nothing of the failed run, all of the others");
    store.append_comments(run(acknowledged + 1)).await.expect_err("still full");
    limit(100_000).await.expect("raised");
    store.append_comments(run(acknowledged + 1)).await.expect("there is space again");
    assert_eq!(kept(&store).await.len() as u64, acknowledged + 100);
}

#[tokio::test]
async fn failures_are_counted_by_operation() {
    let directory = tempfile::tempdir().expect("a directory");
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = SqliteStore::open(&directory.path().join("barrage.db"), metrics.clone()).expect("new");
    store.write("a write", |db| db.execute_batch("nonsense")).await.expect_err("nonsense");
    store.read("a read", |db| db.execute_batch("DELETE FROM words")).await.expect_err("readers only read");
    for operation in ["a write", "a read"] {
        let counted = metrics.store_errors.get_or_create(&vec![("operation", operation)]).get();
        assert_eq!(counted, 1, "{operation}");
    }
}

#[tokio::test]
async fn a_dropped_store_finishes_what_was_asked() {
    let (directory, store) = fresh();
    {
        let mut asked = append(&store, 1);
        assert!(poll!(&mut asked).is_pending());
    }
    drop(store);
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = SqliteStore::open(&directory.path().join("barrage.db"), metrics).expect("again");
    assert_eq!(kept(&store).await, [1]);
}

/// The steps SQLite will take for a statement, whatever its parameters.
fn plan(db: &Connection, sql: &str) -> rusqlite::Result<String> {
    let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let parameters = vec![rusqlite::types::Null; explain.parameter_count()];
    let steps: Vec<String> = explain
        .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(steps.join("; "))
}

#[tokio::test]
async fn frequent_queries_are_served_by_an_index_in_its_order() {
    let (_directory, store) = fresh();
    let of_rooms = rooms::Scope::from(&RoomScope::Listed(vec![room("r"), room("s")]));
    let of_target = AuditQuery { target: Some("u".into()), ..AuditQuery::default() };
    let of_actor = AuditQuery { actor: Some("mo".into()), ..AuditQuery::default() };
    let queries = [
        (comments::live_sql("ASC"), "comments_live (room_key=? AND position>?)"),
        (comments::live_sql("DESC"), "comments_live (room_key=? AND position>?)"),
        (comments::replay_sql(false, false), "comments_of_room (room_key=? AND offset_ms>? AND offset_ms<?)"),
        (comments::replay_sql(true, false), "comments_of_session (session_id=? AND offset_ms>? AND offset_ms<?)"),
        (
            comments::replay_sql(false, true),
            "comments_of_user (user_id=? AND room_key=? AND offset_ms>? AND offset_ms<?)",
        ),
        (
            comments::replay_sql(true, true),
            "comments_of_user (user_id=? AND room_key=? AND offset_ms>? AND offset_ms<?)",
        ),
        (comments::by_user_sql(true), "COVERING INDEX comments_of_user (user_id=? AND room_key=?)"),
        (comments::by_user_sql(false), "COVERING INDEX comments_of_user (user_id=?)"),
        (likes::most_liked_sql(false), "comments_liked_in_room (room_key=? AND like_count>?)"),
        (likes::most_liked_sql(true), "comments_liked_in_session (session_id=? AND like_count>?)"),
        (moderation::reviews_sql(true, &rooms::Scope::from(&RoomScope::All)), "reviews_by_status (status=?"),
        (moderation::reviews_of_room_sql(), "reviews_of_room (room_key=? AND status=? AND rowid>?)"),
        (notes::notes_sql(&rooms::Scope::from(&RoomScope::All)), "notes_of_user (user_id=? AND rowid<?)"),
        (notes::notes_sql(&of_rooms), "notes_of_user (user_id=? AND rowid<?)"),
        (
            moderation::audit_trail_sql(&of_target, &rooms::Scope::from(&RoomScope::All)),
            "audit_trail_of_target (target=? AND rowid<?)",
        ),
        (moderation::audit_trail_sql(&of_target, &of_rooms), "audit_trail_of_target (target=? AND rowid<?)"),
        (
            moderation::audit_trail_sql(&of_actor, &rooms::Scope::from(&RoomScope::All)),
            "audit_trail_of_actor (actor=? AND rowid<?)",
        ),
        (rooms::rooms_sql(), "rooms_by_activity"),
        (rooms::sessions_sql(), "sessions_of_room (room_key=? AND rowid<?)"),
        (chat::history_sql(), "messages_of_conversation (conversation=? AND position>? AND position<?)"),
        (chat::UNREAD.to_owned(), "COVERING INDEX messages_of_conversation (conversation=? AND position>?)"),
        (chat::NEXT_POSITIONS.to_owned(), "COVERING INDEX messages_of_conversation (conversation=? AND position>?"),
        (chat::NEXT_CHANGES.to_owned(), "changes_of_conversation (conversation=? AND change>? AND change<?)"),
    ];
    for (sql, index) in queries {
        let steps = store.read("plan", move |db| plan(db, &sql)).await.expect("a plan");
        assert!(steps.contains(index), "expected {index}: {steps}");
        assert!(!steps.contains("TEMP B-TREE"), "nothing is sorted: {steps}");
    }
}

#[tokio::test]
async fn erased_text_leaves_the_file() {
    let (directory, store) = fresh();
    let secret = "a sentence that nobody is to find again, however closely the file is looked at";
    let said = |n: u64| {
        let by = if n.is_multiple_of(2) { "u" } else { "v" };
        let content = if by == "u" { secret } else { "harmless" }.into();
        positioned(Comment { content, ..comment(Snowflake(n), "r", by) }, n)
    };
    store.append_comments((1..=40).map(said).collect()).await.expect("kept");
    assert_eq!(store.purge_user(&user("u"), None, 100, None).await.expect("erased").comments.len(), 20);
    drop(store);
    let file = std::fs::read(directory.path().join("barrage.db")).expect("read");
    let end = &secret.as_bytes()[40..];
    assert!(!file.windows(end.len()).any(|bytes| bytes == end));
}
