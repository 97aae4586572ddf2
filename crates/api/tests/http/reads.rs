//! What reading costs: every documented read of a store with a million comments.
//!
//! It counts the steps of SQLite's virtual machine, which are the same on every machine, and no time. `crates/bench` measures
//! that.

use rusqlite::{Connection, params};
use serde_json::Value;
use store::sqlite::SqliteStore;

use crate::world::{KEY, World, token};

const COMMENTS: i64 = 1_000_000;
/// About two milliseconds of one core. A scan of the comments takes five million.
const STEPS_MAX: u64 = 250_000;

/// A room with a million comments of 50,000 users, of whom `u7` said twenty, in two sessions that have ended.
fn seed(path: &std::path::Path) {
    let metrics = model::Metrics::register(&mut prometheus_client::registry::Registry::default());
    drop(SqliteStore::open(path, metrics.into()).expect("a new store"));
    let db = Connection::open(path).expect("the file");
    db.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN")
        .expect("set");
    // Filled first and sorted afterwards, the indexes take seconds rather than minutes.
    let indexes: Vec<(String, String)> = {
        let mut sql = db
            .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'comments' AND sql IS NOT NULL")
            .expect("a query");
        let rows = sql.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("indexes");
        rows.collect::<rusqlite::Result<_>>().expect("names")
    };
    assert!(indexes.len() >= 6, "{indexes:?}");
    for (name, _) in &indexes {
        db.execute_batch(&format!("DROP INDEX {name}")).expect("dropped");
    }
    db.execute_batch(
        "INSERT INTO rooms (room_key, room_id, activity) VALUES (1, 'hall', 1);
         INSERT INTO sessions (id, room_key, started_at_ms, ended_at_ms, explicit, comment_count)
             VALUES (1, 1, 1000, 2000, 1, 500000), (2, 1, 3000, 4000, 1, 500000)",
    )
    .expect("a room");
    let seeded = db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id, username, level,
             content, mode, color, size, kind, like_count)
         SELECT 4194304000 + i, 1, i, 1 + (i > ?1 / 2), i * 10, 1000 + i, 'u' || (i % 50000), 'Somebody', 0,
             'a comment of some length', 0, 16777215, 1, 0, CASE i % 1000 WHEN 0 THEN i / 1000 ELSE 0 END FROM n",
        params![COMMENTS],
    );
    assert_eq!(seeded.expect("seeded") as i64, COMMENTS);
    for (_, sql) in &indexes {
        db.execute_batch(sql).expect("sorted");
    }
    db.execute_batch("UPDATE high_water SET position = 1000000; COMMIT; PRAGMA journal_mode = WAL").expect("done");
}

/// Every GET of the reference, with ids of what is there, and the queries that read most.
async fn documented_reads(world: &World) -> Vec<String> {
    let reference = world.http.get(format!("{}/api/openapi.json", world.url)).send().await.expect("an answer");
    let reference: Value = serde_json::from_str(&reference.text().await.expect("text")).expect("JSON");
    let paths = reference["paths"].as_object().expect("paths").iter();
    let gets = paths.filter(|(_, operations)| operations.get("get").is_some()).filter_map(|(path, _)| {
        let path = path.strip_prefix("/api/v1")?.replace("{room_id}", "hall").replace("{user_id}", "u7");
        // Of segments that name something else: a comment or session of the room.
        Some(
            path.split('/')
                .map(|part| if part.starts_with('{') { "4194304007" } else { part })
                .collect::<Vec<_>>()
                .join("/"),
        )
    });
    let mut reads: Vec<String> = gets.filter(|path| !path.ends_with("/events")).collect();
    assert!(reads.len() > 20, "{reads:?}");
    let queries = [
        "/replay?limit=1000",
        "/replay?limit=1000&session_id=2&from_ms=9000000",
        "/replay?limit=1000&by_user=u7",
        "/replay?limit=1000&by_user=u7&session_id=2",
        "/replay?limit=1000&by_user=nobody",
        "/replay?limit=1000&from_ms=9999990",
        "/comments?limit=500&since_id=0",
        "/comments?limit=500&since_id=4194304005",
        "/comments?limit=500&since_id=4195303999",
        "/hot?limit=100",
        "/sessions?limit=1000",
    ];
    reads.extend(queries.map(|query| format!("/rooms/hall{query}")));
    reads
}

#[tokio::test]
async fn no_read_scans_a_million_comments() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("test.sqlite");
    tokio::task::spawn_blocking(move || seed(&path)).await.expect("seeded");
    let (world, store) = World::over(data).await;
    let ann = token("ann");
    let mut costs = Vec::new();
    // The first reader of an ended session's leaderboard has it counted from all its comments, once.
    world.expect(200, &ann, "GET /rooms/hall/ranking", Value::Null).await;
    for path in documented_reads(&world).await {
        store.take_read_steps();
        let bearer = if path.starts_with("/admin") { KEY } else { &ann };
        let (status, answer) = world.ask(bearer, &format!("GET {path}"), Value::Null).await;
        assert!(status < 500 && status != 429, "{path}: {answer}");
        costs.push((store.take_read_steps(), path));
    }
    // A reader who comes back after everything: what was missed is counted, and some of it given.
    store.take_read_steps();
    let line = "GET /rooms/hall/events?since_id=4194304001&history=100";
    drop(world.request(&ann, line, &Value::Null).send().await.expect("a stream"));
    costs.push((store.take_read_steps(), line.into()));
    costs.sort_unstable();
    let dear: Vec<_> = costs.iter().filter(|(steps, _)| *steps > STEPS_MAX).collect();
    assert!(dear.is_empty(), "{dear:?}");
    let (steps, most) = costs.last().expect("some");
    assert!(*steps > 10_000, "steps are counted: the dearest, {most}, took {steps}");
    for (steps, path) in &costs {
        println!("{steps:>8} {path}");
    }
}
